"""The steps of the tour: who asks what, with which official client, and what must come of it.

Rules:
- Each step uses a client as its users do: `mcp` on both wires, `openai`; raw HTTP only for what no client would send.
- A step says what the client must see, and which exchange, outcome and reason must be on record.
- The environment's proxy is never asked: everything is on this machine.

Not here: walking and showing them (walk.py).
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, Literal

import httpx2
from mcp import Client, MCPError
from mcp.client.streamable_http import streamable_http_client
from openai import APIStatusError, AsyncOpenAI

from ext_proc.demo.stack import Stack

Wire = Literal["legacy", "2026-07-28"]
NOBODY = "nobody known"
ANALYST = "an analyst"
ADMIN = "an admin"
_CLAIMS: dict[str, tuple[str, dict[str, object]]] = {
    ANALYST: ("bob", {"groups": ["analysts"]}),
    ADMIN: ("ann", {"groups": ["admin"]}),
}
_SECONDS = 30.0
NO_HEADERS: Mapping[str, str] = {}
# Take the routes of agents, of what is checked, and of what is protected, in demo.yaml.
_AGENTS = {"x-demo": "agents"}
_CHECKED = {"x-demo": "checked"}
_PROTECTED = {"x-demo": "protected"}
_TRAIL = "gatehouse/trail"  # in the `_meta` of a result that stands for a denial
_INITIALIZE = {
    "jsonrpc": "2.0",
    "id": 1,
    "method": "initialize",
    "params": {"protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": {"name": "tour", "version": "1"}},
}
_PING = {"jsonrpc": "2.0", "id": 2, "method": "ping"}


@dataclass(frozen=True, slots=True)
class Seen:
    """What the client saw: `text` for the reader, and the trail's id that a denied client was told, or ""."""

    text: str
    trail: str = ""


Ask = Callable[[Stack], Awaitable[Seen]]


@dataclass(frozen=True, slots=True)
class Step:
    """One step.

    Attributes:
        asked: what is asked, for the reader.
        caller: one of NOBODY, ANALYST, ADMIN.
        ask: does it, and says what the client saw.
        sees: text that must be in it.
        exchange: method and target of the exchange on record; None where no route may govern it.
        outcome, reason: what must be on record; a reason of "" is not looked at.
        facts: those that must be on record, perhaps among others.
    """

    asked: str
    caller: str
    ask: Ask
    sees: str
    exchange: tuple[str, str] | None
    outcome: str = "ok"
    reason: str = ""
    facts: Mapping[str, object] = field(default_factory=dict)

    def is_fulfilled(self, seen: Seen, decision: Mapping[str, Any] | None) -> bool:
        """Whether the client saw what it must see, and the decision on record is the one that it must be.

        Args:
            decision: the trail on record as /decisions shows it; None where the exchange passed ungoverned.
        """
        if self.sees not in seen.text or (decision is None) != (self.exchange is None):
            return False
        if decision is None:
            return True
        reasons = {entry["reason"] for entry in decision["entries"]}
        return (
            (decision["method"], decision["target"]) == self.exchange
            and decision["outcome"] == self.outcome
            and (not self.reason or self.reason in reasons)
            and self.facts.items() <= decision["facts"].items()
            # A refused client is told where to look; nobody else is.
            and seen.trail == (decision["id"] if self.outcome == "refused" else "")
        )


def client(
    stack: Stack, caller: str, wire: Wire, headers: Mapping[str, str] = NO_HEADERS
) -> AbstractAsyncContextManager[Client]:
    """The official MCP client, as `caller`, on `wire`, through Envoy."""

    @asynccontextmanager
    async def connected() -> AsyncIterator[Client]:
        lines = {**headers, **_authorized(stack, caller)}
        async with (
            httpx2.AsyncClient(headers=lines, timeout=_SECONDS, trust_env=False) as http,
            Client(streamable_http_client(stack.mcp_url, http_client=http), mode=wire) as connection,
        ):
            yield connection

    return connected()


def _authorized(stack: Stack, caller: str) -> dict[str, str]:
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


def calls(caller: str, wire: Wire, tool: str, **arguments: object) -> Ask:
    """Calls a tool; an error of the protocol's is what the client raises."""

    async def ask(stack: Stack) -> Seen:
        told: list[float] = []

        async def note(progress: float, total: float | None, message: str | None) -> None:
            told.append(progress)

        async with client(stack, caller, wire) as connection:
            try:
                result = await connection.call_tool(tool, arguments, progress_callback=note)
            except MCPError as error:
                return Seen(f"error {error.error.code}: {error.error.message}", _trail(error.error.data))
        text = " ".join(getattr(block, "text", "") for block in result.content)
        steps = f" (after {len(told)} progress notifications)" if told else ""
        return Seen(f"{'tool error: ' if result.is_error else ''}{text}{steps}")

    return ask


def repeats(times: int, caller: str, wire: Wire, tool: str, **arguments: object) -> Ask:
    """Calls a tool so many times, as an agent that goes round in circles; what the last call came to."""

    async def ask(stack: Stack) -> Seen:
        async with client(stack, caller, wire, _AGENTS) as connection:
            for _ in range(times):
                result = await connection.call_tool(tool, arguments)
        text = " ".join(getattr(block, "text", "") for block in result.content)
        return Seen(f"{'tool error: ' if result.is_error else ''}{text}", str((result.meta or {}).get(_TRAIL, "")))

    return ask


def lists_and_calls(caller: str, wire: Wire, tool: str, **arguments: object) -> Ask:
    """Lists the tools, as clients do, and calls one of them."""

    async def ask(stack: Stack) -> Seen:
        async with client(stack, caller, wire, _CHECKED) as connection:
            await connection.list_tools()
            result = await connection.call_tool(tool, arguments)
        text = " ".join(getattr(block, "text", "") for block in result.content)
        return Seen(f"{'tool error: ' if result.is_error else ''}{text}", str((result.meta or {}).get(_TRAIL, "")))

    return ask


def takes_over(caller: str, victim: str) -> Ask:
    """Uses the session that somebody else has opened."""

    async def ask(stack: Stack) -> Seen:
        lines = {"accept": "application/json, text/event-stream", **_AGENTS}
        async with httpx2.AsyncClient(timeout=_SECONDS, trust_env=False) as http:
            opened = await http.post(stack.mcp_url, json=_INITIALIZE, headers={**lines, **_authorized(stack, victim)})
            session = {"mcp-session-id": opened.headers["mcp-session-id"]}
            answer = await http.post(
                stack.mcp_url, json=_PING, headers={**lines, **_authorized(stack, caller), **session}
            )
        return _refused(answer)

    return ask


def posts(body: bytes, content_type: str = "application/json", lines: Mapping[str, str] = NO_HEADERS) -> Ask:
    """Sends bytes that no client would send."""

    async def ask(stack: Stack) -> Seen:
        headers = {"content-type": content_type, "accept": "application/json, text/event-stream", **lines}
        async with httpx2.AsyncClient(timeout=_SECONDS, trust_env=False) as http:
            answer = await http.post(stack.mcp_url, content=body, headers=headers)
        return _refused(answer)

    return ask


def is_challenged(caller: str) -> Ask:
    """Deletes a file behind OAuth, and is told what token to come with."""

    async def ask(stack: Stack) -> Seen:
        headers = {"content-type": "application/json", "accept": "application/json, text/event-stream", **_PROTECTED}
        headers |= _authorized(stack, caller)
        async with httpx2.AsyncClient(timeout=_SECONDS, trust_env=False) as http:
            answer = await http.post(stack.mcp_url, content=_DELETES, headers=headers)
        told = f"HTTP {answer.status_code}, {answer.headers.get('www-authenticate')}"
        return Seen(told, _refused(answer).trail)

    return ask


def _refused(answer: httpx2.Response) -> Seen:
    """What an error of JSON-RPC's says."""
    error = answer.json()["error"]
    text = f"HTTP {answer.status_code}, error {error['code']}: {error['message']}"
    return Seen(text, _trail(error.get("data")))


def chats(model: str, *, forged: str, stream: bool = False, max_tokens: int | None = None) -> Ask:
    """Asks a model, with a forged copy of the header that Envoy routes models by."""

    async def ask(stack: Stack) -> Seen:
        asked: Any = {
            "model": model,
            "messages": [{"role": "user", "content": "who are you?"}],
            "extra_headers": {"x-gatehouse-upstream": forged},
        }
        if max_tokens is not None:
            asked["max_tokens"] = max_tokens
        async with (
            httpx2.AsyncClient(timeout=_SECONDS, trust_env=False) as http,
            # The stubs look at no key, and Envoy refuses a token that is not the demo's.
            AsyncOpenAI(
                api_key=stack.token("bob"), base_url=stack.models_url, max_retries=0, http_client=http
            ) as models,
        ):
            try:
                if not stream:
                    answer = await models.chat.completions.create(**asked)
                    return Seen(f"{answer.model}: {answer.choices[0].message.content}")
                asked["stream_options"] = {"include_usage": True}
                pieces = [piece async for piece in await models.chat.completions.create(**asked, stream=True)]
            except APIStatusError as error:
                # The client keeps what stands in "error", and nothing beside it.
                return Seen(f"{type(error).__name__}: {error.message}", _trail(error.body))
        words = [word for piece in pieces for choice in piece.choices if (word := choice.delta.content)]
        names = ", ".join(dict.fromkeys(piece.model for piece in pieces))
        return Seen(f"{names}: {''.join(words)} (in {len(words)} pieces)")

    return ask


def gets(path: str) -> Ask:
    """Asks for a path, as a browser would."""

    async def ask(stack: Stack) -> Seen:
        async with httpx2.AsyncClient(timeout=_SECONDS, trust_env=False) as http:
            return Seen(f"HTTP {(await http.get(stack.url + path)).status_code}")

    return ask


def _trail(data: object) -> str:
    """The trail's id in the data of a denial's error."""
    return str(data.get("trail", "")) if isinstance(data, Mapping) else ""


_SMUGGLED = (
    b'{"jsonrpc":"2.0","id":1,"method":"tools/call",'
    b'"params":{"name":"search","name":"delete_file","arguments":{"path":"/"}}}'
)
# A header for what reads headers only, and a body for the server.
_TWO_FACED = {"mcp-protocol-version": "2026-07-28", "mcp-method": "tools/call", "mcp-name": "search"}
_DELETES = b'{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"delete_file","arguments":{"path":"/"}}}'
LIST, CALL, CHAT = "tools/list", "tools/call", "chat"
STEPS: tuple[Step, ...] = (
    Step("list the tools", NOBODY, lists(NOBODY, "legacy"),
         "search, docs.read, docs.report, docs.statistics, docs.echo", (LIST, ""), reason="hid 2 of 7 tools"),
    Step("list them on the wire of 2026-07-28", ADMIN, lists(ADMIN, "2026-07-28"),
         "search, docs.read, delete_file, docs.report", (LIST, ""), reason="hid 1 of 7 tools"),
    Step("search for a word", NOBODY, calls(NOBODY, "legacy", "search", query="queue"),
         "runbook", (CALL, "search"), reason="rules[1]"),
    Step("a report that takes its time", ANALYST, calls(ANALYST, "legacy", "docs.report"),
         "the report is done (after 5 progress", (CALL, "docs.report"), reason="rules[1]"),
    Step("statistics as structured content", ANALYST, calls(ANALYST, "2026-07-28", "docs.statistics"),
         '"documents": 3', (CALL, "docs.statistics"), reason="rules[1]"),
    Step("text in any script", NOBODY, calls(NOBODY, "2026-07-28", "docs.echo", text="Grüße, 世界 🌍"),
         "Grüße, 世界 🌍", (CALL, "docs.echo"), reason="rules[1]"),
    Step("a document that is not there: a failure inside HTTP 200", NOBODY,
         calls(NOBODY, "2026-07-28", "docs.read", name="salaries"),
         "tool error: ", (CALL, "docs.read"), "tool_error", "rules[1]"),
    Step("delete a file", ANALYST, calls(ANALYST, "legacy", "delete_file", path="/tmp/x"),
         "error -31403: deleting needs the admin group", (CALL, "delete_file"), "refused", "tool-not-allowed"),
    Step("delete a file", ADMIN, calls(ADMIN, "2026-07-28", "delete_file", path="/tmp/x"),
         "deleted /tmp/x", (CALL, "delete_file"), reason="rules[2]"),
    Step("a tool that no rule names", ADMIN, calls(ADMIN, "2026-07-28", "export_salaries"),
         "error -31403: this tool is not allowed here", (CALL, "export_salaries"), "refused", "tool-not-allowed"),
    Step("a call cut off in the middle", NOBODY, posts(_SMUGGLED[:60]),
         "HTTP 400, error -32700", ("", ""), "refused", "json-malformed"),
    Step("a call with two names, for two readers", NOBODY, posts(_SMUGGLED),
         "HTTP 400, error -32700", ("", ""), "refused", "json-duplicate-key"),
    Step("something that is not MCP", NOBODY, posts(b"DROP TABLE users", "text/plain"),
         "HTTP 403, error -31403", ("", ""), "refused", "not-this-protocol"),
    Step("read a document by its number", NOBODY, lists_and_calls(NOBODY, "2026-07-28", "docs.read", name=5),
         "These arguments do not fit the tool. name: expected text.", (CALL, "docs.read"), "refused",
         "arguments-invalid"),
    Step("a text that the bundle does not let through", ANALYST,
         lists_and_calls(ANALYST, "legacy", "docs.echo", text="<script>"),
         "text: expected text that matches ^[a-z ]+$.", (CALL, "docs.echo"), "refused", "arguments-invalid"),
    Step("a call whose headers name another tool", NOBODY, posts(_DELETES, lines={**_AGENTS, **_TWO_FACED}),
         "HTTP 400, error -32020: the header Mcp-Name", (CALL, "delete_file"), "refused", "header-mismatch"),
    Step("the same search, four times in a row", ANALYST, repeats(4, ANALYST, "2026-07-28", "search", query="queue"),
         "tool error: this call was made 3 times", (CALL, "search"), "refused", "identical-calls"),
    Step("ping in a session that an admin opened", ANALYST, takes_over(ANALYST, ADMIN),
         "HTTP 404, error -32600: session not found", ("", ""), "refused", "session-unknown",
         facts={"session_of_another": True}),
    Step("delete a file behind OAuth, without a token", NOBODY, is_challenged(NOBODY),
         "HTTP 401, Bearer resource_metadata=", ("", ""), "refused", "token-needed"),
    Step("the same with a token that is for less", ADMIN, is_challenged(ADMIN),
         'error="insufficient_scope"', (CALL, "delete_file"), "refused", "scope-missing"),
    Step("chat with a model by its alias", ANALYST, chats("small", forged="model-a"),
         "small: This is model-b. You said: who are you?", (CHAT, "small"), reason="upstream model-b",
         facts={"upstream": "model-b", "model": "model-b", "input_tokens": 3, "output_tokens": 8}),
    Step("chat as a stream, the routing header forged, a million tokens asked for", ANALYST,
         chats("model-a", forged="model-b", stream=True, max_tokens=1_000_000),
         "model-a: This is model-a. You said: who are you? (in 8", (CHAT, "model-a"), reason="changed max_tokens",
         facts={"upstream": "model-a", "usage_reported": True, "output_tokens": 8}),
    Step("a model that nobody listed", ANALYST, chats("model-x", forged="model-a"),
         "NotFoundError: ", (CHAT, "model-x"), "refused", "model-unknown"),
    Step("a page that no route is for", NOBODY, gets("/"), "HTTP 404", None),
)  # fmt: skip
