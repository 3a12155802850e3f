"""The steps of the tour: who asks what, with which official client, and what must come of it.

Rules:
- Each step uses a client as its users do: `mcp` on both wires, `openai`; raw HTTP only for what no client would send.
- A step says what the client must see, and which outcome and reason must be on record.

Not here: showing them (tour.py).
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from typing import Any, Literal

import httpx2
from mcp import Client, MCPError
from mcp.client.streamable_http import streamable_http_client
from openai import AsyncOpenAI

from ext_proc.demo.stack import Stack

Wire = Literal["legacy", "2026-07-28"]
NOBODY = "nobody known"
ANALYST = "an analyst"
ADMIN = "an admin"
_CLAIMS: dict[str, tuple[str, dict[str, object]]] = {
    ANALYST: ("bob", {"groups": ["analysts"]}),
    ADMIN: ("ann", {"groups": ["admin"]}),
}


@dataclass(frozen=True, slots=True)
class Step:
    """One step.

    Attributes:
        asked: what is asked, for the reader.
        caller: one of NOBODY, ANALYST, ADMIN.
        ask: does it and says what the client saw.
        sees: text that must be in it.
        exchange: method and target of the exchange on record.
        outcome, reason: what must be on record; a reason of "" is not looked at.
        governed: False where no route matches, so that nothing may be on record.
    """

    asked: str
    caller: str
    ask: Callable[[Stack], Awaitable[str]]
    sees: str
    exchange: tuple[str, str]
    outcome: str = "ok"
    reason: str = ""
    governed: bool = True

    def expected(self, saw: str, decision: dict[str, Any] | None) -> bool:
        """Whether the client saw what it must see, and the decision on record is the one that it must be."""
        if self.sees not in saw:
            return False
        if decision is None or not self.governed:
            return decision is None and not self.governed
        reasons = {entry["reason"] for entry in decision["entries"]}
        return decision["outcome"] == self.outcome and (not self.reason or self.reason in reasons)


def client(stack: Stack, caller: str, wire: Wire) -> AbstractAsyncContextManager[Client]:
    """The official MCP client, as `caller`, on `wire`, through Envoy."""

    @asynccontextmanager
    async def connected() -> Any:
        headers = {}
        if caller in _CLAIMS:
            subject, claims = _CLAIMS[caller]
            headers["authorization"] = f"Bearer {stack.token(subject, claims)}"
        async with (
            httpx2.AsyncClient(headers=headers, timeout=30) as http,
            Client(streamable_http_client(stack.mcp_url, http_client=http), mode=wire) as connection,
        ):
            yield connection

    return connected()


def lists(caller: str, wire: Wire) -> Callable[[Stack], Awaitable[str]]:
    """Lists the tools."""

    async def ask(stack: Stack) -> str:
        async with client(stack, caller, wire) as connection:
            return ", ".join(tool.name for tool in (await connection.list_tools()).tools)

    return ask


def calls(caller: str, wire: Wire, tool: str, **arguments: object) -> Callable[[Stack], Awaitable[str]]:
    """Calls a tool; an error of the protocol's is what the client raises."""

    async def ask(stack: Stack) -> str:
        told: list[float] = []

        async def note(progress: float, total: float | None, message: str | None) -> None:
            told.append(progress)

        async with client(stack, caller, wire) as connection:
            try:
                result = await connection.call_tool(tool, arguments, progress_callback=note)
            except MCPError as error:
                return f"error {error.error.code}: {error.error.message}"
        text = " ".join(getattr(block, "text", "") for block in result.content)
        steps = f" (after {len(told)} progress notifications)" if told else ""
        return f"{'tool error: ' if result.is_error else ''}{text}{steps}"

    return ask


def posts(body: bytes, content_type: str = "application/json") -> Callable[[Stack], Awaitable[str]]:
    """Sends bytes that no client would send."""

    async def ask(stack: Stack) -> str:
        headers = {"content-type": content_type, "accept": "application/json, text/event-stream"}
        async with httpx2.AsyncClient() as http:
            answer = await http.post(stack.mcp_url, content=body, headers=headers)
            error = answer.json()["error"]
            return f"HTTP {answer.status_code}, error {error['code']}: {error['message']}"

    return ask


def chats(*, stream: bool) -> Callable[[Stack], Awaitable[str]]:
    """Asks the default model, with a forged copy of the header that Envoy routes models by."""

    async def ask(stack: Stack) -> str:
        # The stubs look at no key, and Envoy refuses a token that is not the demo's.
        forged = {"x-gatehouse-upstream": "model-b"}
        async with AsyncOpenAI(api_key=stack.token("bob"), base_url=stack.models_url, max_retries=0) as models:
            question: Any = [{"role": "user", "content": "who are you?"}]
            if not stream:
                answer = await models.chat.completions.create(model="any", messages=question, extra_headers=forged)
                return answer.choices[0].message.content or ""
            pieces = await models.chat.completions.create(
                model="any", messages=question, extra_headers=forged, stream=True
            )
            text = [piece.choices[0].delta.content or "" async for piece in pieces if piece.choices]
            return "".join(text)

    return ask


_SMUGGLED = (
    b'{"jsonrpc":"2.0","id":1,"method":"tools/call",'
    b'"params":{"name":"search","name":"delete_file","arguments":{"path":"/"}}}'
)
LIST, CALL = "tools/list", "tools/call"
STEPS: tuple[Step, ...] = (
    Step("list the tools", NOBODY, lists(NOBODY, "legacy"), "search", (LIST, ""), reason="hid 2 of 7 tools"),
    Step("list them on 2026-07-28", ADMIN, lists(ADMIN, "2026-07-28"), "delete_file", (LIST, ""), reason="hid 1 of 7 tools"),
    Step("search", NOBODY, calls(NOBODY, "legacy", "search", query="queue"), "runbook", (CALL, "search"), reason="rules[1]"),
    Step("a report that takes its time", ANALYST, calls(ANALYST, "legacy", "docs.report"),
         "the report is done (after 5 progress", (CALL, "docs.report"), reason="rules[1]"),
    Step("structured statistics", ANALYST, calls(ANALYST, "2026-07-28", "docs.statistics"),
         '"documents"', (CALL, "docs.statistics"), reason="rules[1]"),
    Step("text in any script", NOBODY, calls(NOBODY, "2026-07-28", "docs.echo", text="Grüße, 世界 🌍"),
         "Grüße, 世界 🌍", (CALL, "docs.echo"), reason="rules[1]"),
    Step("a document that is not there: a failure inside HTTP 200", NOBODY,
         calls(NOBODY, "2026-07-28", "docs.read", name="salaries"), "tool error", (CALL, "docs.read"), "tool_error"),
    Step("delete a file", ANALYST, calls(ANALYST, "legacy", "delete_file", path="/tmp/x"),
         "deleting needs the admin group", (CALL, "delete_file"), "refused", "tool-not-allowed"),
    Step("delete a file", ADMIN, calls(ADMIN, "2026-07-28", "delete_file", path="/tmp/x"),
         "deleted /tmp/x", (CALL, "delete_file"), reason="rules[2]"),
    Step("a tool that no rule names", ADMIN, calls(ADMIN, "2026-07-28", "export_salaries"),
         "not allowed here", (CALL, "export_salaries"), "refused", "tool-not-allowed"),
    Step("a call cut off in the middle", NOBODY, posts(_SMUGGLED[:60]),
         "HTTP 400, error -32700", ("", ""), "refused", "json-malformed"),
    Step("a call with two names, for two readers", NOBODY, posts(_SMUGGLED),
         "HTTP 400, error", ("", ""), "refused", "json-duplicate-key"),
    Step("something that is not MCP", NOBODY, posts(b"DROP TABLE users", "text/plain"),
         "HTTP 4", ("", ""), "refused", "not-this-protocol"),
    Step("chat with a model, the routing header forged", ANALYST, chats(stream=False),
         "This is model-a", ("", ""), governed=False),
    Step("the same as a stream", ANALYST, chats(stream=True), "This is model-a", ("", ""), governed=False),
)  # fmt: skip
