"""What the tour asks of people: calls that need a yes, and the person who says it.

Rules:
- On 2026-07-28 the official client asks its user in its own form. On 2025-11-25 it is sent to a page, which a person
  opens with a token of their own: the agent's opens it for nobody.
- The person's browser is stood in for by HTTP: a form is read and sent back as it stands (tests use a real one).

Not here: what must come of it (steps.py).
"""

from __future__ import annotations

import html
import re

import httpx2
import mcp_types as types
from mcp import MCPError, UrlElicitationRequiredError

from ext_proc.demo.asks import ASKED, SECONDS, Ask, Seen, Wire, client, trail_in
from ext_proc.demo.stack import Stack

_HIDDEN = re.compile(r'<input type="hidden" name="([a-z]+)" value="([^"]*)">')
_FORM = re.compile(r"<form.*?</form>", re.DOTALL)


def says(confirmed: bool, caller: str, wire: Wire, path: str) -> Ask:
    """Deletes a file; the client's user is asked, and says yes or no."""
    told: list[str] = []

    async def answers(asked: types.ElicitRequestParams) -> types.ElicitResult:
        told.append(asked.message)
        if not confirmed:
            return types.ElicitResult(action="decline")
        return types.ElicitResult(action="accept", content={"confirmed": True})

    async def ask(stack: Stack) -> Seen:
        async with client(stack, caller, wire, ASKED, answers) as connection:
            result = await connection.call_tool("delete_file", {"path": path})
        text = " ".join(getattr(block, "text", "") for block in result.content)
        question = told[0].partition("?")[0] if told else "nothing"
        return Seen(f"asked {question!r}; then: {text}", str((result.meta or {}).get("gatehouse/trail", "")))

    return ask


def visits(caller: str, path: str) -> Ask:
    """Deletes a file on 2025-11-25: the client is sent to a page, a person says yes there, and it is called again."""

    async def ask(stack: Stack) -> Seen:
        async with client(stack, caller, "legacy", ASKED) as connection:
            try:
                await connection.call_tool("delete_file", {"path": path})
            except MCPError as error:
                if error.error.code != types.URL_ELICITATION_REQUIRED:
                    return Seen(f"error {error.error.code}: {error.error.message}", trail_in(error.error.data))
                (asked,) = UrlElicitationRequiredError.from_error(error.error).elicitations
                status = await _approves(stack, asked.url)
            result = await connection.call_tool("delete_file", {"path": path})
        text = " ".join(getattr(block, "text", "") for block in result.content)
        return Seen(f"sent to a page, where a person's yes was taken with {status}; then: {text}")

    return ask


async def _approves(stack: Stack, url: str) -> int:
    """What a person's yes at a page is answered with."""
    token = stack.token("ann", {"groups": ["admin"], "client_id": "portal"})
    lines = {"authorization": f"Bearer {token}", "origin": stack.url}
    async with httpx2.AsyncClient(headers=lines, timeout=SECONDS, trust_env=False) as browser:
        page = (await browser.get(url)).text
        form = next(form for form in _FORM.findall(page) if 'value="approve"' in form)
        fields = {name: html.unescape(value) for name, value in _HIDDEN.findall(form)}
        return (await browser.post(url, data=fields)).status_code
