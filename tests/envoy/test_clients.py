"""Official clients through a real Envoy: each caller sees and may do what the bundle says, and nothing is lost between.

Rules:
- MCP's client speaks every wire: legacy, 2026-07-28, and auto, which finds out by itself.
- Identity is a token that Envoy verified; without one the caller is anonymous.
"""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any
from urllib.parse import urlsplit

import httpx2
import pytest
from mcp import Client, MCPError
from mcp.client.streamable_http import streamable_http_client
from openai import AsyncOpenAI

from tests.envoy.exchanges import CHUNKED, EVENT_STREAM, asked, call, event
from tests.envoy.harness import Running, Stacks, wait_for
from tests.envoy.observed import decisions, log_lines, mark, metric
from tests.envoy.upstream import Connection, Request, json_body, pieces

BUNDLE = """
apiVersion: gatehouse/v1
kind: Bundle
metadata: {name: clients, revision: "1"}
routes:
  - {name: mcp, match: {path: /mcp}, protocol: mcp, policies: [who-may-call]}
policies:
  - name: who-may-call
    type: tool-access
    parameters:
      rules:
        - {methods: ["initialize", "ping", "server/discover", "tools/list", "notifications/*"], allow: true}
        - {tools: ["search", "slow"], allow: true}
        - {tools: ["docs.*"], allow: "identity.groups.exists(g, g in ['analysts', 'admin'])"}
        - {tools: ["delete_*"], allow: "'admin' in identity.groups", message: "deleting needs the admin group"}
"""
WIRES = {"legacy": "2025-11-25", "2026-07-28": "2026-07-28", "auto": "2026-07-28"}
GROUPS: dict[str, list[str] | None] = {"anonymous": None, "analyst": ["analysts"], "admin": ["admin", "staff"]}
READS = ["search", "docs.read", "docs.report", "docs.statistics", "docs.echo", "docs.order"]
SEES = {"anonymous": {"search"}, "analyst": {*READS}, "admin": {*READS, "delete_file"}}
UNICODE = "grüße 🦊 \u0000 \u2028 e\u0301 \ufeff \"'\\ </script> \U0010ffff"


@pytest.fixture
def running(gatehouse_stack: Stacks) -> Running:
    """In front of the demo's MCP server, which is built on the official SDK."""
    return gatehouse_stack(BUNDLE, demo_upstreams=True)


@pytest.fixture
def scripted(gatehouse_stack: Stacks) -> Running:
    return gatehouse_stack(BUNDLE)


def client(
    running: Running, wire: str, caller: str = "anonymous", token: str = ""
) -> AbstractAsyncContextManager[Client]:
    """MCP's client as one of GROUPS, or with a token of its own."""

    @asynccontextmanager
    async def connected() -> AsyncIterator[Client]:
        groups = GROUPS[caller]
        used = token or ("" if groups is None else running.stack.token(caller, {"groups": groups}))
        headers = {"authorization": f"Bearer {used}"} if used else {}
        async with (
            httpx2.AsyncClient(headers=headers, timeout=10.0, trust_env=False, verify=False) as http,
            Client(streamable_http_client(running.stack.mcp_url, http_client=http), mode=wire) as connection,
        ):
            yield connection

    return connected()


@pytest.mark.parametrize("caller", GROUPS)
@pytest.mark.parametrize("wire", WIRES)
async def test_a_caller_sees_exactly_the_tools_that_it_may_call(running: Running, wire: str, caller: str) -> None:
    async with client(running, wire, caller) as connection:
        assert connection.protocol_version == WIRES[wire]
        listed = {tool.name for tool in (await connection.list_tools()).tools}
        assert listed == SEES[caller]
        for tool, arguments in (
            ("search", {"query": "queue"}),
            ("docs.echo", {"text": "x"}),
            ("delete_file", {"path": "/tmp/x"}),
            ("export_salaries", {}),
        ):
            if tool in SEES[caller]:
                assert not (await connection.call_tool(tool, arguments)).is_error
                continue
            with pytest.raises(MCPError) as denied:
                await connection.call_tool(tool, arguments)
            assert denied.value.error.data["reason"] == "tool-not-allowed"


@pytest.mark.parametrize("kind", ["expired", "forged"])
@pytest.mark.parametrize("wire", WIRES)
async def test_a_bad_token_is_no_anonymous_caller(running: Running, wire: str, kind: str) -> None:
    wait_for(lambda: metric(running, "gatehouse_exchanges_active") == 0 or None, "the end of all before it")
    since = mark(running)
    good = running.stack.token("ann", {"groups": ["admin"]}, lifetime=-120.0 if kind == "expired" else 60.0)
    token = good if kind == "expired" else good[:-6] + ("A" * 6 if good[-6:] != "A" * 6 else "B" * 6)
    with pytest.RaisesGroup(MCPError, flatten_subgroups=True):
        async with client(running, wire, token=token) as connection:
            await connection.list_tools()
    async with client(running, "2026-07-28", "admin") as connection:
        await connection.list_tools()
    (only,) = decisions(running, since)
    assert only["subject"] == "admin"


def explained(running: Running, trail: str) -> str:
    """What the command line says about a trail of the running process."""
    address = urlsplit(running.stack.admin_url).netloc
    command = [sys.executable, "-m", "ext_proc.cli", "explain", trail, "--admin", address]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout


def decision_of(running: Running, trail: str) -> dict[str, Any]:
    """What /decisions says about a trail."""

    def look() -> dict[str, Any] | None:
        answer = httpx2.get(f"{running.stack.admin_url}/decisions", params={"id": trail}).json()
        return next(iter(answer["decisions"]), None)

    return wait_for(look, f"{trail} in /decisions")


@pytest.mark.parametrize("wire", WIRES)
async def test_a_denied_call_says_why_and_can_be_looked_up(running: Running, wire: str) -> None:
    async with client(running, wire, "analyst") as connection:
        with pytest.raises(MCPError) as denied:
            await connection.call_tool("delete_file", {"path": "/tmp/x"})
    error = denied.value.error
    assert (error.code, error.message) == (-31403, "deleting needs the admin group")
    decision = decision_of(running, error.data["trail"])
    assert (decision["subject"], decision["target"], decision["outcome"]) == ("analyst", "delete_file", "refused")
    if wire == "auto":
        shown = explained(running, error.data["trail"])
        assert [
            word for word in ("delete_file", "who-may-call", "tool-not-allowed", "analyst") if word not in shown
        ] == []


@pytest.mark.parametrize("wire", WIRES)
async def test_content_arrives_character_for_character(running: Running, wire: str) -> None:
    async with client(running, wire, "analyst") as connection:
        echoed = await connection.call_tool("docs.echo", {"text": UNICODE})
        assert echoed.structured_content == {"result": UNICODE}
        assert [getattr(block, "text", None) for block in echoed.content] == [UNICODE]
        counted = await connection.call_tool("docs.statistics")
        assert counted.structured_content == {"documents": 3, "words": 35, "longest": "runbook"}


@pytest.mark.parametrize("wire", WIRES)
async def test_a_tools_own_error_is_a_result(running: Running, wire: str) -> None:
    async with client(running, wire, "analyst") as connection:
        found = await connection.call_tool("docs.read", {"name": "no such"})
    assert found.is_error
    assert "no such" in str(found.content)


@pytest.mark.parametrize("wire", ["legacy", "2026-07-28"])
async def test_envoys_access_log_has_the_outcome_and_the_trail(running: Running, wire: str) -> None:
    since = mark(running)
    async with client(running, wire, "analyst") as connection:
        await connection.call_tool("docs.echo", {"text": "x"})
        await connection.call_tool("docs.read", {"name": "no such"})
        with pytest.raises(MCPError):
            await connection.call_tool("delete_file", {"path": "x"})
    calls = {"docs.echo": "ok", "docs.read": "tool_error", "delete_file": "refused"}

    def look() -> dict[str, str] | None:
        told = {line["trail"]: line["outcome"] for line in running.stack.access_log()}
        ended = [line for line in log_lines(running, since) if line.get("target") in calls]
        found = {line["target"]: told[line["id"]] for line in ended if line["id"] in told}
        return found if len(found) == len(calls) else None

    assert wait_for(look, "three calls in the access log") == calls


def test_the_access_log_has_the_outcome_although_the_client_left_with_its_answer(scripted: Running) -> None:
    failed = {"content": [{"type": "text", "text": "no"}], "isError": True}
    answered = event({"jsonrpc": "2.0", "id": 1, "result": failed})

    async def script(request: Request, connection: Connection) -> None:
        await connection.head(200, EVENT_STREAM, CHUNKED)
        await connection.chunk(answered)
        await connection.gate("the client left")

    scripted.upstream.answer_with(script, ["the client left"])
    with asked(scripted, call("slow")) as response:
        assert next(response.iter_raw()) == answered
    assert line_of(scripted, scripted.upstream.requests[0])["outcome"] == "tool_error"
    scripted.upstream.open("the client left")


def line_of(running: Running, request: Request) -> dict[str, Any]:
    """The line of Envoy's access log about a request that came to the upstream."""
    id = request.header("x-request-id")

    def look() -> dict[str, Any] | None:
        return next((line for line in running.stack.access_log() if line["request_id"] == id), None)

    return wait_for(look, "a request in the access log")


async def test_twenty_clients_at_once_do_not_mix(running: Running) -> None:
    async def use(number: int) -> None:
        caller = list(GROUPS)[number % 3]
        async with client(running, list(WIRES)[number % 2], caller) as connection:
            for turn in range(3):
                text = f"{number}/{turn} " + "x" * number * 100
                if caller == "anonymous":
                    with pytest.raises(MCPError) as denied:
                        await connection.call_tool("docs.echo", {"text": text})
                    assert denied.value.error.data["reason"] == "tool-not-allowed"
                else:
                    assert (await connection.call_tool("docs.echo", {"text": text})).structured_content == {
                        "result": text
                    }
            assert {tool.name for tool in (await connection.list_tools()).tools} == SEES[caller]

    async with asyncio.TaskGroup() as group:
        for number in range(20):
            group.create_task(use(number))


STEPS = 4


async def slow_server(request: Request, connection: Connection) -> None:
    """An MCP server with one tool, which tells its progress each time the test opens a gate."""
    if request.method != "POST":
        return await json_body({}, 405)(request, connection)
    message = json.loads(request.body)
    if message["method"] == "tools/call":
        return await slow_call(message, connection)
    results: dict[str, Any] = {
        "initialize": {
            "protocolVersion": "2025-11-25",
            "capabilities": {"tools": {}},
            "serverInfo": {"name": "slow", "version": "1"},
        },
        "tools/list": {"tools": [{"name": "slow", "inputSchema": {"type": "object"}}]},
    }
    if message["method"] not in results:
        return await connection.head(202, ("content-length", "0"))
    common = {"resultType": "complete", "ttlMs": 0, "cacheScope": "private"}
    result = {**common, **results[message["method"]]}
    return await json_body({"jsonrpc": "2.0", "id": message["id"], "result": result})(request, connection)


async def slow_call(message: dict[str, Any], connection: Connection) -> None:
    """The tool, as a stream: STEPS notifications and the result, each behind its gate."""
    await connection.head(200, EVENT_STREAM, CHUNKED)
    for step in range(1, STEPS + 1):
        await connection.gate(f"step {step}")
        params = {"progressToken": message["params"]["_meta"]["progressToken"], "progress": step, "total": STEPS}
        await connection.chunk(event({"jsonrpc": "2.0", "method": "notifications/progress", "params": params}))
    await connection.gate("result")
    result = {"content": [{"type": "text", "text": "done"}], "resultType": "complete"}
    await connection.chunk(event({"jsonrpc": "2.0", "id": message["id"], "result": result}))
    await connection.end()


@pytest.mark.parametrize("wire", ["legacy", "2026-07-28"])
async def test_progress_arrives_step_by_step_while_the_tool_runs(scripted: Running, wire: str) -> None:
    scripted.upstream.answer_with(slow_server, [*(f"step {step}" for step in range(1, STEPS + 1)), "result"])
    told: asyncio.Queue[float] = asyncio.Queue()

    async def note(progress: float, total: float | None, message: str | None) -> None:
        told.put_nowait(progress)

    async with client(scripted, wire) as connection, asyncio.timeout(20):
        calling = asyncio.create_task(connection.call_tool("slow", progress_callback=note))
        for step in range(1, STEPS + 1):
            scripted.upstream.open(f"step {step}")
            assert await told.get() == step  # the next gate is closed: what comes now came through at once
            assert told.empty()
        assert not calling.done()
        scripted.upstream.open("result")
        found = await calling
    assert "done" in str(found.content)
    assert scripted.upstream.failures == []


def models(running: Running) -> AsyncOpenAI:
    """OpenAI's client; the stubs look at no key, and Envoy wants a token that verifies."""
    http = httpx2.AsyncClient(timeout=10.0, trust_env=False, verify=False)
    return AsyncOpenAI(
        api_key=running.stack.token("bob"), base_url=running.stack.models_url, max_retries=0, http_client=http
    )


FORGED = {"x-gatehouse-upstream": "model-b", "x-gatehouse-tenant": "other"}
QUESTION: Any = [{"role": "user", "content": UNICODE}]


async def test_openais_client_is_untouched_on_an_ungoverned_route(scripted: Running) -> None:
    choice = {"index": 0, "message": {"role": "assistant", "content": UNICODE}, "finish_reason": "stop"}
    head = {"id": "c1", "object": "chat.completion", "created": 1, "model": "m"}
    scripted.upstream.answer_with(json_body(head | {"choices": [choice]}))
    async with models(scripted) as openai:
        answer = await openai.chat.completions.create(model="m", messages=QUESTION, extra_headers=FORGED)
    assert answer.choices[0].message.content == UNICODE
    untouched(scripted)


async def test_openais_stream_is_untouched_on_an_ungoverned_route(scripted: Running) -> None:
    head = {"id": "c1", "object": "chat.completion.chunk", "created": 1, "model": "m"}
    deltas = [head | {"choices": [{"index": 0, "delta": {"content": part}}]} for part in UNICODE]
    body = b"".join(event(delta) for delta in deltas) + b"data: [DONE]\n\n"
    scripted.upstream.answer_with(pieces([body[at : at + 11] for at in range(0, len(body), 11)]))
    async with models(scripted) as openai:
        chunks = await openai.chat.completions.create(model="m", messages=QUESTION, stream=True, extra_headers=FORGED)
        parts = [chunk.choices[0].delta.content async for chunk in chunks]
    assert parts == list(UNICODE)
    untouched(scripted)


def untouched(running: Running) -> None:
    """Asserts that the request arrived as it was sent, but for the headers that only Gatehouse may set."""
    (request,) = running.upstream.requests
    assert json.loads(request.body)["messages"] == QUESTION
    assert [name for name, _ in request.headers if name.startswith("x-gatehouse-")] == []
    line = line_of(running, request)
    assert (line["path"], line["status"], line["upstream"]) == ("/v1/chat/completions", 200, "model-a")
