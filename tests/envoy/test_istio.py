"""envoy/istio through a real Envoy: the patches, put into proxies as Istio configures them, govern what passes."""

from __future__ import annotations

import http.client
import json
import socket
import subprocess
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml

from ext_proc.demo.files import shipped
from ext_proc.demo.stack import Stack, envoy_binary
from tests.envoy.harness import Running, Stacks, wait_for
from tests.envoy.istio import http_filters
from tests.envoy.istio_proxies import (
    APPLICATION_PORT,
    GATEWAY,
    PROXIES,
    SIDECAR,
    SIDECAR_SOCKET,
    UNPATCHED,
    Proxy,
    demo_bootstrap,
)

VERSION = "2026-07-28"
every_proxy = pytest.mark.parametrize("proxy", PROXIES, ids=lambda proxy: proxy.name)


def mesh_bundle() -> str:
    """The bundle in gatehouse.yaml's ConfigMap."""
    resources = yaml.safe_load_all(shipped("envoy/istio/gatehouse.yaml").read_text(encoding="utf-8"))
    (bundle,) = (found["data"]["bundle.yaml"] for found in resources if found["kind"] == "ConfigMap")
    return str(bundle)


def run(gatehouse_stack: Stacks, proxy: Proxy, bundle: str | None = None) -> Running:
    return gatehouse_stack(
        bundle or mesh_bundle(),
        demo_upstreams=True,
        listen="unix" if proxy is SIDECAR_SOCKET else "tcp",
        edit_bootstrap=proxy.runnable,
    )


def rpc(stack: Stack, method: str, params: dict[str, Any], token: str | None = None) -> httpx.Response:
    return httpx.post(stack.mcp_url, content=body(method, params), headers=headers(method, params, token))


def call(stack: Stack, tool: str, token: str | None = None, **arguments: str) -> dict[str, Any]:
    """The answer to a call of `tool`, whether it came as JSON or as one server-sent event."""
    response = rpc(stack, "tools/call", {"name": tool, "arguments": arguments}, token)
    answer = answer_in(response.text)
    # What the headers of this revision rule out by themselves is denied before the body, and its id, were seen.
    by_headers = "error" in answer and answer["id"] is None
    assert response.status_code == (403 if by_headers else 200), response.text
    return answer


def body(method: str, params: dict[str, Any]) -> str:
    """On 2026-07-28, the one revision that needs no handshake."""
    meta = {
        "io.modelcontextprotocol/protocolVersion": VERSION,
        "io.modelcontextprotocol/clientInfo": {"name": "test", "version": "1"},
        "io.modelcontextprotocol/clientCapabilities": {},
    }
    return json.dumps({"jsonrpc": "2.0", "id": 7, "method": method, "params": {**params, "_meta": meta}})


def headers(method: str, params: dict[str, Any], token: str | None = None) -> dict[str, str]:
    found = {
        "content-type": "application/json",
        "accept": "application/json, text/event-stream",
        "mcp-protocol-version": VERSION,
        "mcp-method": method,
    }
    if "name" in params:
        found["mcp-name"] = params["name"]
    return found | ({"authorization": f"Bearer {token}"} if token else {})


def answer_in(body: str) -> dict[str, Any]:
    data = [line.removeprefix("data:") for line in body.splitlines() if line.startswith("data:")]
    found: dict[str, Any] = json.loads(data[-1] if data else body)
    return found


@every_proxy
def test_a_real_envoy_accepts_the_proxy_as_istio_would_send_it(proxy: Proxy, tmp_path: Path) -> None:
    patched = proxy.patched(demo_bootstrap())
    assert patched.unused == ()
    path = tmp_path / "proxy.yaml"
    path.write_text(yaml.safe_dump(patched.config))
    result = subprocess.run(
        [envoy_binary(), "--mode", "validate", "--config-path", str(path), "--log-level", "warning"],
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert result.returncode == 0, result.stderr
    assert "[warning]" not in result.stderr


@every_proxy
def test_a_listed_tool_is_called(gatehouse_stack: Stacks, proxy: Proxy) -> None:
    stack = run(gatehouse_stack, proxy).stack
    before = upstream_requests(stack)
    assert "result" in call(stack, "search", query="queue")
    assert upstream_requests(stack) == before + 1


@every_proxy
def test_another_tool_is_denied_and_the_server_never_asked(gatehouse_stack: Stacks, proxy: Proxy) -> None:
    running = run(gatehouse_stack, proxy)
    before = upstream_requests(running.stack)
    answer = call(running.stack, "delete_file", path="/tmp/x")
    assert (answer["id"], answer["error"]["message"]) == (None, "deleting needs the admin group")
    assert upstream_requests(running.stack) == before
    line = logged(running, trail=answer["error"]["data"]["trail"])
    assert (line["outcome"], line["details"]) == ("refused", "gatehouse_tool-not-allowed")


@every_proxy
def test_a_tool_that_may_not_be_called_is_not_listed(gatehouse_stack: Stacks, proxy: Proxy) -> None:
    listed = answer_in(rpc(run(gatehouse_stack, proxy).stack, "tools/list", {}).text)["result"]["tools"]
    names = {tool["name"] for tool in listed}
    assert "search" in names
    assert "delete_file" not in names


@every_proxy
def test_the_claims_that_istio_verified_decide(gatehouse_stack: Stacks, proxy: Proxy) -> None:
    stack = run(gatehouse_stack, proxy).stack
    admin = stack.token("ada", {"groups": ["admin"]})
    assert "result" in call(stack, "delete_file", admin, path="/tmp/x")
    analyst = stack.token("alice", {"groups": ["analysts"]})
    assert "error" in call(stack, "delete_file", analyst, path="/tmp/x")


@pytest.mark.parametrize("proxy", [SIDECAR, GATEWAY], ids=lambda proxy: proxy.name)
def test_a_scope_claim_that_istio_splits_is_read(gatehouse_stack: Stacks, proxy: Proxy) -> None:
    bundle = mesh_bundle().replace("'admin' in identity.groups", "'tools.delete' in identity.scopes")
    stack = run(gatehouse_stack, proxy, bundle).stack
    assert "result" in call(stack, "delete_file", stack.token("ada", {"scope": "a tools.delete"}), path="/tmp/x")
    assert "error" in call(stack, "delete_file", stack.token("ada", {"scope": "a"}), path="/tmp/x")


@every_proxy
def test_istios_authorization_comes_first(gatehouse_stack: Stacks, proxy: Proxy) -> None:
    running = run(gatehouse_stack, proxy)
    assert httpx.post(f"{running.stack.mcp_url}/internal", json={}).status_code == 403
    line = logged(running, path="/mcp/internal")
    # A request that Gatehouse was asked about has a trail.
    assert (line["details"].partition("[")[0], line["trail"]) == ("rbac_access_denied_matched_policy", None)


@every_proxy
def test_a_path_that_can_be_read_two_ways_is_refused(gatehouse_stack: Stacks, proxy: Proxy) -> None:
    stack = run(gatehouse_stack, proxy).stack
    assert httpx.post(f"{stack.url}/mcp%2fadmin", json={}).status_code == 400


def test_slashes_that_repeat_do_not_lead_around_the_route(gatehouse_stack: Stacks) -> None:
    stack = run(gatehouse_stack, SIDECAR).stack
    params = {"name": "delete_file", "arguments": {"path": "/tmp/x"}}
    answer = httpx.post(f"{stack.url}//mcp", content=body("tools/call", params), headers=headers("tools/call", params))
    assert "deleting needs the admin group" in answer.text


def test_the_tool_chooses_the_route_of_a_gateway(gatehouse_stack: Stacks) -> None:
    # Nobody else's lines are in the log of a bundle of its own.
    running = run(gatehouse_stack, GATEWAY, mesh_bundle() + "\n# routes by tool\n")
    call(running.stack, "delete_file", running.stack.token("ada", {"groups": ["admin"]}), path="/tmp/x")
    call(running.stack, "search", query="queue")
    lines = running.access_log(2, path="/mcp")
    assert [line["route"] for line in lines] == ["deletes", "mcp"]


@pytest.mark.parametrize("proxy", [SIDECAR, SIDECAR_SOCKET], ids=lambda proxy: proxy.name)
def test_what_comes_through_an_hbone_tunnel_is_governed_too(gatehouse_stack: Stacks, proxy: Proxy) -> None:
    stack = run(gatehouse_stack, proxy).stack
    assert "result" in through_tunnel(stack, "search", query="queue")
    assert through_tunnel(stack, "delete_file", path="/tmp/x")["error"]["message"] == "deleting needs the admin group"


def test_without_the_patches_the_same_call_passes(gatehouse_stack: Stacks) -> None:
    stack = run(gatehouse_stack, UNPATCHED).stack
    assert "result" in call(stack, "delete_file", path="/tmp/x")
    assert "result" in through_tunnel(stack, "delete_file", path="/tmp/x")


@every_proxy
def test_without_gatehouse_nothing_passes(gatehouse_stack: Stacks, proxy: Proxy) -> None:
    # A bundle of its own is a stack of its own, for this test breaks it.
    stack = run(gatehouse_stack, proxy, mesh_bundle() + "\n# killed\n").stack
    assert rpc(stack, "tools/list", {}).status_code == 200
    stack.processes.kill("gatehouse")
    assert rpc(stack, "tools/list", {}).status_code >= 500


def test_other_chains_and_the_tunnel_itself_are_left_alone() -> None:
    config = SIDECAR.patched(demo_bootstrap()).config
    listeners = {listener["name"]: listener for listener in config["static_resources"]["listeners"]}
    governed = {
        (listener, chain["name"])
        for listener, found in listeners.items()
        for chain in found["filter_chains"]
        if "envoy.filters.http.ext_proc" in json.dumps(chain)
    }
    assert governed == {("virtualInbound", "0.0.0.0_8080"), ("main_internal", "0.0.0.0_8080")}
    names = [http_filter["name"] for http_filter in http_filters(listeners["virtualInbound"], "0.0.0.0_8080")]
    assert names[-2:] == ["envoy.filters.http.ext_proc", "envoy.filters.http.router"]
    assert names.index("envoy.filters.http.rbac") < names.index("envoy.filters.http.ext_proc")


def logged(running: Running, **having: str) -> dict[str, Any]:
    """The last line of Envoy's access log that has these values."""

    def look() -> dict[str, Any] | None:
        lines = [line for line in running.stack.access_log() if having.items() <= line.items()]
        return lines[-1] if lines else None

    return wait_for(look, f"a line in the access log with {having}")


def upstream_requests(stack: Stack) -> int:
    """How many requests Envoy has sent to the MCP server."""
    stats = httpx.get(f"{stack.envoy_admin_url}/stats?filter=8080.*upstream_rq_total$").text
    return sum(int(line.rpartition(" ")[2]) for line in stats.splitlines())


def through_tunnel(stack: Stack, tool: str, **arguments: str) -> dict[str, Any]:
    """A call as `call`, in a CONNECT tunnel to the application's port."""
    params = {"name": tool, "arguments": arguments}
    authority = f"127.0.0.1:{APPLICATION_PORT}"
    inside = http.client.HTTPConnection(authority)
    with socket.socket(socket.AF_UNIX) as tunnel:
        tunnel.settimeout(10)
        tunnel.connect(str(stack.logs / "tunnel.sock"))
        tunnel.sendall(f"CONNECT {authority} HTTP/1.1\r\nhost: {authority}\r\n\r\n".encode())
        established = b""
        while not established.endswith(b"\r\n\r\n"):
            established += tunnel.recv(1)
        assert established.startswith(b"HTTP/1.1 200"), established
        inside.sock = tunnel
        inside.request("POST", "/mcp", body("tools/call", params), headers("tools/call", params))
        return answer_in(inside.getresponse().read().decode())
