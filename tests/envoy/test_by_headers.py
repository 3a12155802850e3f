"""What headers decide, through a real Envoy: Envoy's own counters say that it was not asked for the body."""

from __future__ import annotations

import json
from typing import Any

import httpx
import httpx2
import pytest
from mcp import Client, MCPError
from mcp.client.streamable_http import streamable_http_client

from tests.envoy.exchanges import HEADERS, answer_to, call
from tests.envoy.harness import Running, Stacks
from tests.envoy.observed import decisions, envoy_stat, mark, nothing_left
from tests.envoy.upstream import json_body

BUNDLE = """
apiVersion: gatehouse/v1
kind: Bundle
metadata: {name: by-headers, revision: "1"}
routes:
  - name: scoped
    match: {path: /mcp/scoped}
    protocol: mcp
    policies: [resource]
    headers: HEADERS
    outcome: policies
  - {name: mcp, match: {path: /mcp}, protocol: mcp, policies: [who-may-call], headers: HEADERS, outcome: policies}
policies:
  - name: who-may-call
    type: tool-access
    parameters:
      rules:
        - {methods: ["server/discover", "tools/list", "notifications/*"], allow: true}
        - {tools: ["docs.*", "search"], allow: true}
  - name: resource
    type: oauth-resource
    parameters:
      resource: https://tools.example/mcp
      authorization_servers: ["https://id.example"]
      audience: [gatehouse]
"""
MODERN = "2026-07-28"
SENT = "http.clients.ext_proc.stream_msgs_sent"


def bundle(headers: str) -> str:
    return BUNDLE.replace("HEADERS", headers)


def asked(running: Running, tool: str, path: str = "") -> tuple[httpx.Response, int, dict[str, Any]]:
    """The answer to a call, the messages that Envoy sent Gatehouse for it, and the decision on record."""
    named = {"mcp-protocol-version": MODERN, "mcp-method": "tools/call", "mcp-name": tool}
    lines = {**HEADERS, **named, "authorization": f"Bearer {running.stack.token('ann')}"}
    nothing_left(running)
    before, since = envoy_stat(running, SENT), mark(running)
    answer = httpx.post(running.stack.mcp_url + path, json=call(tool), headers=lines)
    (decision,) = decisions(running, since)
    nothing_left(running)
    return answer, envoy_stat(running, SENT) - before, decision


@pytest.mark.parametrize(
    ("headers", "sent"),
    # The request's headers, its body, the answer's headers.
    [("untrusted", 3), ("trusted", 2)],
)
@pytest.mark.parametrize("path", ["/scoped", ""], ids=["oauth-resource", "tool-access"])
def test_only_where_headers_are_trusted_is_the_body_of_an_allowed_call_not_asked_for(
    gatehouse_stack: Stacks, headers: str, sent: int, path: str
) -> None:
    running = gatehouse_stack(bundle(headers))
    running.upstream.answer_with(json_body(answer_to(call())))
    answer, count, decision = asked(running, "search", path)
    assert answer.json() == answer_to(call())
    (request,) = running.upstream.requests
    assert json.loads(request.body) == call("search")
    assert request.header("x-gatehouse-tool") == "search"
    assert (decision["method"], decision["target"], decision["outcome"]) == ("tools/call", "search", "ok")
    # Of a request that was not read any answer may be a list of tools, which tool-access would filter.
    looks_at_the_answer = headers == "trusted" and path == ""
    assert count == sent + looks_at_the_answer


@pytest.mark.parametrize("headers", ["untrusted", "trusted"])
def test_a_denial_by_headers_costs_one_message_and_names_what_was_asked(gatehouse_stack: Stacks, headers: str) -> None:
    running = gatehouse_stack(bundle(headers))
    running.upstream.answer_with(json_body(answer_to(call())))
    answer, sent, decision = asked(running, "delete_file")
    assert (answer.status_code, answer.headers["content-type"], sent) == (403, "application/json", 1)
    assert answer.json()["error"]["data"]["reason"] == "tool-not-allowed"
    assert (decision["method"], decision["target"], decision["outcome"]) == ("tools/call", "delete_file", "refused")
    assert running.upstream.requests == []


async def test_the_official_client_is_served_and_denied_without_its_bodies_being_read(gatehouse_stack: Stacks) -> None:
    running = gatehouse_stack(bundle("trusted"), demo_upstreams=True)
    async with (
        httpx2.AsyncClient(timeout=10.0, trust_env=False) as http,
        Client(streamable_http_client(running.stack.mcp_url, http_client=http), mode=MODERN) as client,
    ):
        text = "gr\u00fc\u00dfe \U0001f98a"
        assert text in str((await client.call_tool("docs.echo", {"text": text})).content)
        with pytest.raises(MCPError, match="not allowed here"):
            await client.call_tool("delete_file", {"path": "/x"})
