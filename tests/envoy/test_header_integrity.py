"""Headers that contradict the body, through a real Envoy: refused as Gatehouse sees them, and no client disturbed."""

from __future__ import annotations

import json
from typing import Any

import httpx2
import pytest
from mcp import Client, MCPError
from mcp.client.streamable_http import streamable_http_client

from tests.envoy.exchanges import answer_to, call
from tests.envoy.harness import Running, Stacks
from tests.envoy.observed import decisions, envoy_stat, mark, nothing_left
from tests.envoy.raw import JSON_LINES, RawAnswer, chunked, raw_client, sized
from tests.envoy.upstream import json_body

BUNDLE = """
apiVersion: gatehouse/v1
kind: Bundle
metadata: {name: headers, revision: "1"}
store: {hosts: one, embedded: {path: headers.db}}
routes:
  - {name: mcp, match: {path: /mcp}, protocol: mcp, policies: [headers]}
policies:
  - {name: headers, type: header-integrity}
"""
MODERN = "2026-07-28"
WIRES = {"legacy": "2025-11-25", MODERN: MODERN, "auto": MODERN}
LIST: dict[str, Any] = {"jsonrpc": "2.0", "id": 1, "method": "tools/list"}
QUERY = {
    "name": "query",
    "inputSchema": {"type": "object", "properties": {"region": {"type": "string", "x-mcp-header": "Region"}}},
}


@pytest.fixture
def running(gatehouse_stack: Stacks) -> Running:
    """In front of the demo's MCP server, which is built on the official SDK."""
    return gatehouse_stack(BUNDLE, demo_upstreams=True)


@pytest.fixture
def scripted(gatehouse_stack: Stacks) -> Running:
    return gatehouse_stack(BUNDLE)


def modern(sent: dict[str, Any]) -> dict[str, Any]:
    meta = {"io.modelcontextprotocol/protocolVersion": MODERN, "io.modelcontextprotocol/clientCapabilities": {}}
    return {**sent, "params": {**sent.get("params", {}), "_meta": meta}}


def lines_of(*others: tuple[str, str], method: str = "tools/call") -> list[tuple[str, str]]:
    return [*JSON_LINES, ("mcp-protocol-version", MODERN), ("mcp-method", method), *others]


def asked(running: Running, sent: dict[str, Any], *lines: tuple[str, str], in_chunks: bool = False) -> RawAnswer:
    """The answer to a request of revision 2026-07-28 with these headers."""
    body = json.dumps(modern(sent)).encode()
    with raw_client(running) as client:
        written = chunked("/mcp", [body[:40], body[40:]], *lines) if in_chunks else sized("/mcp", body, *lines)
        return client.ask(written)


def refusal(answer: RawAnswer) -> tuple[int, str | None, Any, int, str]:
    error = answer.json["error"]
    return answer.status, answer.header("content-type"), answer.json["id"], error["code"], error["data"]["reason"]


@pytest.mark.parametrize("wire", WIRES)
async def test_the_official_client_notices_nothing(running: Running, wire: str) -> None:
    async with (
        httpx2.AsyncClient(timeout=10.0, trust_env=False) as http,
        Client(streamable_http_client(running.stack.mcp_url, http_client=http), mode=wire) as client,
    ):
        assert client.protocol_version == WIRES[wire]
        assert {tool.name for tool in (await client.list_tools()).tools} >= {"docs.echo", "search"}
        echoed = await client.call_tool("docs.echo", {"text": "gr\u00fc\u00dfe \U0001f98a"})
        assert "gr\u00fc\u00dfe" in str(echoed.content)
        with pytest.raises(MCPError):
            await client.read_resource("file:///gr\u00fc\u00dfe b")
        with pytest.raises(MCPError):
            await client.get_prompt("no prompt \U0001f98a ")


@pytest.mark.parametrize("in_chunks", [False, True], ids=["buffered", "duplex"])
def test_a_name_that_the_body_contradicts_does_not_reach_the_upstream(scripted: Running, in_chunks: bool) -> None:
    scripted.upstream.answer_with(json_body(answer_to(call())))
    lied = asked(scripted, call("delete_file"), *lines_of(("mcp-name", "search")), in_chunks=in_chunks)
    assert refusal(lied) == (400, "application/json", 1, -32020, "header-mismatch")
    assert scripted.upstream.requests == []
    honest = asked(scripted, call("delete_file"), *lines_of(("mcp-name", "delete_file")), in_chunks=in_chunks)
    assert honest.status == 200
    assert [request.header("mcp-name") for request in scripted.upstream.requests] == ["delete_file"]


@pytest.mark.parametrize(
    ("lines", "why"),
    [
        (lines_of(), "header-missing"),
        (lines_of(("mcp-name", "search"), ("mcp-name", "search")), "header-duplicated"),
        (lines_of(("mcp-name", "search"), ("Mcp-Method", "tools/list")), "header-duplicated"),
        (lines_of(("mcp-name", "search"), ("mcp-protocol-version", "2025-11-25")), "header-duplicated"),
        (lines_of(("mcp-name", "gr\u00fc\u00dfe")), "header-malformed"),
    ],
)
def test_what_the_headers_alone_show_is_answered_without_the_body(
    scripted: Running, lines: list[tuple[str, str]], why: str
) -> None:
    scripted.upstream.answer_with(json_body(answer_to(call())))
    nothing_left(scripted)
    before = envoy_stat(scripted, "http.clients.ext_proc.stream_msgs_sent")
    since = mark(scripted)
    answer = asked(scripted, call("search"), *lines)
    assert refusal(answer) == (400, "application/json", None, -32020, why)
    assert [decision["outcome"] for decision in decisions(scripted, since)] == ["refused"]
    assert envoy_stat(scripted, "http.clients.ext_proc.stream_msgs_sent") - before == 1, "its headers, and no body"
    assert scripted.upstream.requests == []


def test_a_header_that_repeats_an_argument_is_compared_once_the_tool_was_listed(scripted: Running) -> None:
    listed = {"jsonrpc": "2.0", "id": 1, "result": {"tools": [QUERY]}}
    scripted.upstream.answer_with(json_body(listed))
    assert asked(scripted, LIST, *lines_of(method="tools/list")).json == listed
    scripted.upstream.answer_with(json_body(answer_to(call())))
    for region, status in (("eu", 200), ("us", 400), ("=?base64?ZXU=?=", 200)):
        named = lines_of(("mcp-name", "query"), ("mcp-param-region", region))
        assert asked(scripted, call("query", region="eu"), *named).status == status
    assert asked(scripted, call("query", region="eu"), *lines_of(("mcp-name", "query"))).status == 400
    assert len(scripted.upstream.requests) == 2
