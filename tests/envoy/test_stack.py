"""The stack itself, through a real Envoy: it starts both ways, knows who calls, and fails closed."""

from __future__ import annotations

from typing import Literal

import httpx
import pytest
from mcp import Client

from ext_proc.demo.files import shipped
from tests.envoy.harness import Stacks
from tests.envoy.upstream import json_body

BUNDLE = """
apiVersion: gatehouse/v1
kind: Bundle
metadata: {name: nothing-to-decide, revision: "1"}
routes: []
"""


@pytest.mark.parametrize("listen", ["unix", "tcp"])
def test_a_request_passes_through_envoy_and_gatehouse(gatehouse_stack: Stacks, listen: Literal["unix", "tcp"]) -> None:
    running = gatehouse_stack(BUNDLE, listen=listen)
    running.upstream.answer_with(json_body({"served": True}))
    answer = httpx.post(f"{running.stack.mcp_url}?key=secret", json={"asked": True})
    assert (answer.status_code, answer.json()) == (200, {"served": True})
    (line,) = running.access_log(1, path="/mcp")
    assert (line["status"], line["route"], line["upstream"]) == (200, "mcp", "mcp")
    assert "secret" not in str(line)


def test_a_token_is_verified_and_does_not_reach_the_upstream(gatehouse_stack: Stacks) -> None:
    running = gatehouse_stack(BUNDLE)
    running.upstream.answer_with(json_body({}))
    token = running.stack.token("alice", {"groups": ["analysts"]})
    assert httpx.get(running.stack.mcp_url, headers={"authorization": f"Bearer {token}"}).status_code == 200
    assert running.upstream.requests[0].header("authorization") is None


@pytest.mark.parametrize("kind", ["forged", "expired"])
def test_a_bad_token_is_refused(gatehouse_stack: Stacks, kind: str) -> None:
    running = gatehouse_stack(BUNDLE)
    running.upstream.answer_with(json_body({}))
    good = running.stack.token("alice", lifetime=-120.0 if kind == "expired" else 60.0)
    token = good if kind == "expired" else good[:-4] + "AAAA"
    assert httpx.get(running.stack.mcp_url, headers={"authorization": f"Bearer {token}"}).status_code == 401
    assert running.upstream.requests == []


@pytest.mark.parametrize("path", ["/mcp%2fadmin", "/mcp%5cadmin"])
def test_a_path_that_can_be_read_two_ways_is_refused(gatehouse_stack: Stacks, path: str) -> None:
    running = gatehouse_stack(BUNDLE)
    assert httpx.get(running.stack.url + path).status_code == 400


def test_a_header_that_an_upstream_could_take_for_ours_is_dropped(gatehouse_stack: Stacks) -> None:
    running = gatehouse_stack(BUNDLE)
    running.upstream.answer_with(json_body({}))
    assert httpx.get(running.stack.mcp_url, headers={"x_gatehouse_upstream": "model-b"}).status_code == 200
    assert running.upstream.requests[0].header("x_gatehouse_upstream") is None


def test_without_gatehouse_nothing_passes(gatehouse_stack: Stacks) -> None:
    running = gatehouse_stack(BUNDLE, fresh=True)
    running.upstream.answer_with(json_body({}))
    assert httpx.get(running.stack.mcp_url).status_code == 200
    running.stack.processes.kill("gatehouse")
    running.upstream.answer_with(json_body({}))
    assert httpx.get(running.stack.mcp_url).status_code >= 500
    assert running.upstream.requests == []


@pytest.mark.parametrize(("mode", "revision"), [("auto", "2026-07-28"), ("legacy", "2025-11-25")])
async def test_the_official_client_speaks_both_wires_with_the_demos_server(
    gatehouse_stack: Stacks, mode: Literal["auto", "legacy"], revision: str
) -> None:
    running = gatehouse_stack(shipped("policies/bundles/default.yaml").read_text(), demo_upstreams=True)
    async with Client(running.stack.mcp_url, mode=mode) as client:
        # An answer to server/discover that is lost or cut would send the client back to the legacy wire, silently.
        assert client.protocol_version == revision
        found = await client.call_tool("search", {"query": "queue"})
    assert found.structured_content == {"result": "runbook"}
