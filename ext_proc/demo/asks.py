"""What the steps of the tour ask, with the clients that their users have.

Rules:
- `mcp` on both wires and `openai`; raw HTTP only for what no client would send.
- The environment's proxy is never asked: everything is on this machine.

Not here: what must come of it (steps.py), people (asks_of_people.py), agents (asks_of_agents.py).
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from typing import Any, Literal

import httpx2
import mcp_types as types
from mcp import Client, MCPError
from mcp.client import ClientRequestContext
from mcp.client.streamable_http import streamable_http_client
from openai import APIStatusError, AsyncOpenAI

from ext_proc.demo.stack import Stack

Wire = Literal["legacy", "2026-07-28"]
NOBODY = "nobody known"
ANALYST = "an analyst"
ADMIN = "an admin"
ASSISTANT = "an admin's assistant"
_CLAIMS: dict[str, tuple[str, dict[str, object]]] = {
    ANALYST: ("bob", {"groups": ["analysts"]}),
    ADMIN: ("ann", {"groups": ["admin"]}),
    ASSISTANT: ("ann", {"groups": ["admin"], "act": {"sub": "assistant-7"}}),
}
SECONDS = 30.0
NO_HEADERS: Mapping[str, str] = {}
# Each takes the route of that name in demo.yaml.
AGENTS, CHECKED, PROTECTED, PINNED, ASKED, ASKING, HOSTED, PROPOSING = (
    {"x-demo": name} for name in ("agents", "checked", "protected", "pinned", "asked", "asking", "hosted", "proposing")
)
_TRAIL = "gatehouse/trail"  # in the `_meta` of a result that stands for a denial
_INITIALIZE = {
    "jsonrpc": "2.0",
    "id": 1,
    "method": "initialize",
    "params": {"protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": {"name": "tour", "version": "1"}},
}
_PING = {"jsonrpc": "2.0", "id": 2, "method": "ping"}
DELETES = b'{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"delete_file","arguments":{"path":"/"}}}'


@dataclass(frozen=True, slots=True)
class Seen:
    """What the client saw: `text` for the reader, and the trail's id that a denied client was told, or ""."""

    text: str
    trail: str = ""


Ask = Callable[[Stack], Awaitable[Seen]]
Answer = Callable[[types.ElicitRequestParams], Awaitable[types.ElicitResult]]


def client(
    stack: Stack, caller: str, wire: Wire, headers: Mapping[str, str] = NO_HEADERS, answers: Answer | None = None
) -> AbstractAsyncContextManager[Client]:
    """The official MCP client, as `caller`, on `wire`, through Envoy.

    Args:
        answers: what its user says when asked; None for a client that asks nobody.
    """

    async def elicits(
        context: ClientRequestContext, params: types.ElicitRequestParams
    ) -> types.ElicitResult | types.ErrorData:
        assert answers is not None
        return await answers(params)

    @asynccontextmanager
    async def connected() -> AsyncIterator[Client]:
        lines = {**headers, **authorized(stack, caller)}
        async with (
            httpx2.AsyncClient(headers=lines, timeout=SECONDS, trust_env=False) as http,
            Client(
                streamable_http_client(stack.mcp_url, http_client=http),
                mode=wire,
                elicitation_callback=None if answers is None else elicits,
            ) as connection,
        ):
            yield connection

    return connected()


def authorized(stack: Stack, caller: str) -> dict[str, str]:
    """The header that says who calls; none where nobody vouches."""
    if caller not in _CLAIMS:
        return {}
    subject, claims = _CLAIMS[caller]
    return {"authorization": f"Bearer {stack.token(subject, claims)}"}


def lists(caller: str, wire: Wire) -> Ask:
    """Lists the tools."""

    async def ask(stack: Stack) -> Seen:
        async with client(stack, caller, wire) as connection:
            return Seen(", ".join(tool.name for tool in (await connection.list_tools()).tools))

    return ask


def is_pulled(caller: str, wire: Wire) -> Ask:
    """Lists the tools; then the server says something else of one of them, and they are listed again."""

    async def ask(stack: Stack) -> Seen:
        async with client(stack, caller, wire, PINNED) as connection:
            before = {tool.name for tool in (await connection.list_tools()).tools}
            async with httpx2.AsyncClient(timeout=SECONDS, trust_env=False) as http:
                await http.post(f"{stack.mcp_server_url}/redeploy")
            after = {tool.name for tool in (await connection.list_tools(cache_mode="refresh")).tools}
        return Seen(f"{len(before)} tools, and then {len(after)}: without {', '.join(sorted(before - after))}")

    return ask


def is_sent_elsewhere(caller: str, wire: Wire) -> Ask:
    """Calls a tool whose server sends people to a page; the person would go anywhere."""

    async def goes(asked: types.ElicitRequestParams) -> types.ElicitResult:
        return types.ElicitResult(action="accept")

    async def ask(stack: Stack) -> Seen:
        async with client(stack, caller, wire, ASKING, goes) as connection:
            try:
                result = await connection.call_tool("docs.order", {})
            except MCPError as error:
                return Seen(f"error {error.error.code}: {error.error.message}", trail_in(error.error.data))
        return Seen(" ".join(getattr(block, "text", "") for block in result.content))

    return ask


def calls(caller: str, wire: Wire, tool: str, lines: Mapping[str, str] = NO_HEADERS, **arguments: object) -> Ask:
    """Calls a tool; an error of the protocol's is what the client raises."""

    async def ask(stack: Stack) -> Seen:
        told: list[float] = []

        async def note(progress: float, total: float | None, message: str | None) -> None:
            told.append(progress)

        async with client(stack, caller, wire, lines) as connection:
            try:
                result = await connection.call_tool(tool, arguments, progress_callback=note)
            except MCPError as error:
                return Seen(f"error {error.error.code}: {error.error.message}", trail_in(error.error.data))
        text = " ".join(getattr(block, "text", "") for block in result.content)
        steps = f" (after {len(told)} progress notifications)" if told else ""
        return Seen(f"{'tool error: ' if result.is_error else ''}{text}{steps}")

    return ask


def repeats(times: int, caller: str, wire: Wire, tool: str, **arguments: object) -> Ask:
    """Calls a tool so many times, as an agent that goes round in circles; what the last call came to."""

    async def ask(stack: Stack) -> Seen:
        async with client(stack, caller, wire, AGENTS) as connection:
            for _ in range(times):
                result = await connection.call_tool(tool, arguments)
        text = " ".join(getattr(block, "text", "") for block in result.content)
        return Seen(f"{'tool error: ' if result.is_error else ''}{text}", str((result.meta or {}).get(_TRAIL, "")))

    return ask


def lists_and_calls(caller: str, wire: Wire, tool: str, **arguments: object) -> Ask:
    """Lists the tools, as clients do, and calls one of them."""

    async def ask(stack: Stack) -> Seen:
        async with client(stack, caller, wire, CHECKED) as connection:
            await connection.list_tools()
            result = await connection.call_tool(tool, arguments)
        text = " ".join(getattr(block, "text", "") for block in result.content)
        return Seen(f"{'tool error: ' if result.is_error else ''}{text}", str((result.meta or {}).get(_TRAIL, "")))

    return ask


def takes_over(caller: str, victim: str) -> Ask:
    """Uses the session that somebody else has opened."""

    async def ask(stack: Stack) -> Seen:
        lines = {"accept": "application/json, text/event-stream", **AGENTS}
        async with httpx2.AsyncClient(timeout=SECONDS, trust_env=False) as http:
            opened = await http.post(stack.mcp_url, json=_INITIALIZE, headers={**lines, **authorized(stack, victim)})
            session = {"mcp-session-id": opened.headers["mcp-session-id"]}
            answer = await http.post(
                stack.mcp_url, json=_PING, headers={**lines, **authorized(stack, caller), **session}
            )
        return _refused(answer)

    return ask


def posts(body: bytes, content_type: str = "application/json", lines: Mapping[str, str] = NO_HEADERS) -> Ask:
    """Sends bytes that no client would send."""

    async def ask(stack: Stack) -> Seen:
        headers = {"content-type": content_type, "accept": "application/json, text/event-stream", **lines}
        async with httpx2.AsyncClient(timeout=SECONDS, trust_env=False) as http:
            answer = await http.post(stack.mcp_url, content=body, headers=headers)
        return _refused(answer)

    return ask


def is_challenged(caller: str) -> Ask:
    """Deletes a file behind OAuth, and is told what token to come with."""

    async def ask(stack: Stack) -> Seen:
        headers = {"content-type": "application/json", "accept": "application/json, text/event-stream", **PROTECTED}
        headers |= authorized(stack, caller)
        async with httpx2.AsyncClient(timeout=SECONDS, trust_env=False) as http:
            answer = await http.post(stack.mcp_url, content=DELETES, headers=headers)
        told = f"HTTP {answer.status_code}, {answer.headers.get('www-authenticate')}"
        return Seen(told, _refused(answer).trail)

    return ask


def _refused(answer: httpx2.Response) -> Seen:
    """What an error of JSON-RPC's says."""
    error = answer.json()["error"]
    text = f"HTTP {answer.status_code}, error {error['code']}: {error['message']}"
    return Seen(text, trail_in(error.get("data")))


def chats(
    model: str,
    *,
    forged: str,
    stream: bool = False,
    max_tokens: int | None = None,
    lines: Mapping[str, str] = NO_HEADERS,
    more: Mapping[str, Any] | None = None,
) -> Ask:
    """Asks a model, with a forged copy of the header that Envoy routes models by, and with `more` in the body."""

    async def ask(stack: Stack) -> Seen:
        asked: Any = {
            "model": model,
            "messages": [{"role": "user", "content": "who are you?"}],
            "extra_headers": {"x-gatehouse-upstream": forged, **lines},
            **(more or {}),
        }
        if max_tokens is not None:
            asked["max_tokens"] = max_tokens
        async with (
            httpx2.AsyncClient(timeout=SECONDS, trust_env=False) as http,
            # The stubs look at no key, and Envoy refuses a token that is not the demo's.
            AsyncOpenAI(
                api_key=stack.token("bob"), base_url=stack.models_url, max_retries=0, http_client=http
            ) as models,
        ):
            try:
                if not stream:
                    answer = await models.chat.completions.create(**asked)
                    return Seen(f"{answer.model}: {answer.choices[0].message.content}")
                pieces = [piece async for piece in await models.chat.completions.create(**asked, stream=True)]
            except APIStatusError as error:
                # The client keeps what stands in "error", and nothing beside it.
                return Seen(f"{type(error).__name__}: {error.message}", trail_in(error.body))
        words = [word for piece in pieces for choice in piece.choices if (word := choice.delta.content)]
        names = ", ".join(dict.fromkeys(piece.model for piece in pieces))
        proposed = [
            call.function.name
            for piece in pieces
            for choice in piece.choices
            for call in choice.delta.tool_calls or ()
            if call.function is not None and call.function.name
        ]
        calls = f", and calls {', '.join(proposed)}" if proposed else ""
        usage = ", and usage" if any(piece.usage is not None for piece in pieces) else ""
        return Seen(f"{names}: {''.join(words)} (in {len(words)} pieces{usage}){calls}")

    return ask


def functions(*names: str) -> list[dict[str, Any]]:
    """Functions that a client can run, as a request offers them to a model."""
    schema = {"type": "object", "properties": {"path": {"type": "string"}}, "required": ["path"]}
    return [{"type": "function", "function": {"name": name, "parameters": schema}} for name in names]


def gets(path: str) -> Ask:
    """Asks for a path, as a browser would."""

    async def ask(stack: Stack) -> Seen:
        async with httpx2.AsyncClient(timeout=SECONDS, trust_env=False) as http:
            return Seen(f"HTTP {(await http.get(stack.url + path)).status_code}")

    return ask


def trail_in(data: object) -> str:
    """The trail's id in the data of a denial's error."""
    return str(data.get("trail", "")) if isinstance(data, Mapping) else ""
