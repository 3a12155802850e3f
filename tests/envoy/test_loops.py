"""Loops end, through a real Envoy, with the official client on both wires and the embedded store in its file."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any

import httpx2
import pytest
from mcp import Client, MCPError
from mcp.client.streamable_http import streamable_http_client

from tests.envoy.exchanges import HEADERS, call
from tests.envoy.harness import Running, Stacks, wait_for
from tests.envoy.observed import log_lines, mark
from tests.envoy.upstream import json_body

BUNDLE = """
apiVersion: gatehouse/v1
kind: Bundle
metadata: {name: loops, revision: "1"}
store: {hosts: one}
routes:
  - {name: shadowed, match: {path: /mcp, headers: {x-way: shadow}}, protocol: mcp, policies: [sessions, tried]}
  - {name: mcp, match: {path: /mcp}, protocol: mcp, policies: [sessions, loops]}
policies:
  - {name: sessions, type: session-binding}
  - name: loops
    type: loop-guard
    parameters:
      calls_per_session: 12
      calls_per_workflow: 15
      identical_calls: 5
      chain_depth: 2
      workflow: {by: header, name: x-workflow-id}
  - {name: tried, type: loop-guard, mode: shadow, parameters: {identical_calls: 5}}
"""
WIRES = ["legacy", "2026-07-28"]


@pytest.fixture
def running(gatehouse_stack: Stacks) -> Running:
    """In front of the demo's MCP server, which is built on the official SDK."""
    return gatehouse_stack(BUNDLE, demo_upstreams=True)


@pytest.fixture
def scripted(gatehouse_stack: Stacks) -> Running:
    return gatehouse_stack(BUNDLE)


def client(
    running: Running, wire: str, caller: str, claims: Mapping[str, object] | None = None, **headers: str
) -> AbstractAsyncContextManager[Client]:
    """MCP's client as a caller that nobody has been before."""

    @asynccontextmanager
    async def connected() -> AsyncIterator[Client]:
        lines = {name.replace("_", "-"): value for name, value in headers.items()}
        lines["authorization"] = f"Bearer {running.stack.token(caller, claims)}"
        async with (
            httpx2.AsyncClient(headers=lines, timeout=10.0, trust_env=False) as http,
            Client(streamable_http_client(running.stack.mcp_url, http_client=http), mode=wire) as connection,
        ):
            yield connection

    return connected()


async def said(connection: Client, tool: str = "docs.echo", **arguments: object) -> tuple[bool, str]:
    """Whether a call failed as a tool does, and the text that the model reads."""
    result = await connection.call_tool(tool, arguments)
    return result.is_error, " ".join(getattr(block, "text", "") for block in result.content)


@pytest.mark.parametrize("wire", WIRES)
async def test_a_model_that_repeats_itself_reads_why_it_is_stopped_and_goes_on_otherwise(
    running: Running, wire: str
) -> None:
    async with client(running, wire, f"repeats-{wire}") as connection:
        for _ in range(5):
            assert await said(connection, text="same") == (False, "same")
        text = "this call was made 5 times with the same arguments; use what it gave, or call something else"
        for _ in range(3):
            assert await said(connection, text="same") == (True, text)
        assert await said(connection, text="other") == (False, "other")
        assert len((await connection.list_tools()).tools) == 8


@pytest.mark.parametrize("wire", WIRES)
async def test_a_session_ends_its_calls_and_another_of_the_same_caller_begins_where_there_are_sessions(
    running: Running, wire: str
) -> None:
    async def calls(connection: Client, first: int) -> list[bool]:
        return [(await said(connection, text=f"{number}"))[0] for number in range(first, first + 13)]

    async with client(running, wire, f"many-{wire}") as connection:
        assert await calls(connection, 0) == [False] * 12 + [True]
    async with client(running, wire, f"many-{wire}") as connection:
        again = await calls(connection, 100)
    assert again == ([False] * 12 + [True] if wire == "legacy" else [True] * 13)


@pytest.mark.parametrize("wire", WIRES)
async def test_of_calls_at_the_same_time_no_more_go_on_than_the_cap_says(running: Running, wire: str) -> None:
    async with client(running, wire, f"at-once-{wire}") as connection:
        made = await asyncio.gather(*(said(connection, text="same") for _ in range(20)))
    assert [failed for failed, _ in made].count(False) == 5


@pytest.mark.parametrize("wire", WIRES)
async def test_a_workflow_is_counted_over_sessions_and_agents_and_is_nobody_elses(running: Running, wire: str) -> None:
    flow, owner = f"flow-{wire}", f"owner-{wire}"
    acting = {"act": {"sub": "agent-7"}}
    made: list[bool] = []
    for turn in range(4):
        claims = acting if turn % 2 else None
        async with client(running, wire, owner, claims, x_workflow_id=flow) as connection:
            made += [(await said(connection, text=f"{turn}/{number}"))[0] for number in range(4)]
    # Where there are no sessions the workflow stands for them: their cap is the lower one.
    most = 15 if wire == "legacy" else 12
    assert made == [False] * most + [True] * (16 - most)
    async with client(running, wire, f"thief-{wire}", x_workflow_id=flow) as connection:
        with pytest.raises(MCPError) as denied:
            await said(connection, text="mine")
    error = denied.value.error
    assert (error.code, error.data["reason"]) == (-31403, "workflow-not-yours")


@pytest.mark.parametrize("wire", WIRES)
async def test_a_chain_of_agents_ends_where_its_token_is_too_long(running: Running, wire: str) -> None:
    act: dict[str, object] = {"sub": "agent-0"}
    for depth in (1, 2, 3):
        async with client(running, wire, f"chain-{wire}", {"act": act}, x_gatehouse_depth="0") as connection:
            failed, text = await said(connection, text=f"{depth}")
        assert (failed, text) == (
            (False, f"{depth}") if depth < 3 else (True, "at most 2 agents may act for each other here")
        )
        act = {"sub": f"agent-{depth}", "act": act}


async def test_a_caller_that_makes_sessions_up_escapes_nothing(running: Running) -> None:
    token = running.stack.token("makes-up")
    async with httpx2.AsyncClient(timeout=10.0, trust_env=False) as http:
        for number in range(3):
            headers = {**HEADERS, "authorization": f"Bearer {token}", "mcp-session-id": f"made-up-{number}"}
            answer = await http.post(running.stack.mcp_url, json=call("docs.echo", text="x"), headers=headers)
            assert (answer.status_code, answer.json()["error"]["data"]["reason"]) == (404, "session-unknown")


def test_each_element_of_a_batch_counts_once(scripted: Running) -> None:
    batch = [call("docs.echo", id=number, text="same") for number in range(7)]
    answers = [{"jsonrpc": "2.0", "id": number, "result": {"content": []}} for number in range(5)]
    scripted.upstream.answer_with(json_body(answers))
    headers = {
        **HEADERS,
        "authorization": f"Bearer {scripted.stack.token('batches')}",
        "mcp-protocol-version": "2025-03-26",
    }
    answer = httpx2.post(scripted.stack.mcp_url, json=batch, headers=headers).json()
    assert {one["id"]: one["result"].get("isError", False) for one in answer} == dict.fromkeys(range(5), False) | {
        5: True,
        6: True,
    }
    (request,) = scripted.upstream.requests
    assert [one["id"] for one in json.loads(request.body)] == [0, 1, 2, 3, 4]


async def test_what_is_kept_goes_with_the_stack(running: Running) -> None:
    async with client(running, "2026-07-28", "keeps") as connection:
        await said(connection, text="x")
    assert (running.stack.logs / "loops.db").exists()


async def test_in_shadow_nothing_is_denied_and_the_record_says_what_would_be(running: Running) -> None:
    since = mark(running)
    async with client(running, "2026-07-28", "shadowed", x_way="shadow") as connection:
        for _ in range(7):
            assert await said(connection, text="same") == (False, "same")

    def look() -> list[Any] | None:
        ended = [line for line in log_lines(running, since) if line.get("target") == "docs.echo"]
        return ended if len(ended) == 7 else None

    words = [
        (entry["verdict"], entry["reason"], entry["enforced"])
        for line in await asyncio.to_thread(wait_for, look, "seven decisions")
        for entry in line["entries"]
        if entry["policy"] == "tried"
    ]
    assert words == [("allow", "", False)] * 5 + [("deny", "identical-calls", False)] * 2
