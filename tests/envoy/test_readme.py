"""README.md's filter and cluster, taken out of its own text: Envoy takes them, and they govern traffic."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml

from ext_proc.demo.envoy_config import Addresses, bootstrap
from ext_proc.demo.files import shipped
from ext_proc.demo.stack import envoy_binary
from tests.envoy.harness import Running, Stacks, gatehouse_parts
from tests.envoy.upstream import json_body

README = (Path(__file__).parents[2] / "README.md").read_text(encoding="utf-8")
DEFAULT = shipped("policies/bundles/default.yaml").read_text(encoding="utf-8")
TYPES = "type.googleapis.com/envoy.extensions"
ROUTER = {"name": "envoy.filters.http.router", "typed_config": {"@type": f"{TYPES}.filters.http.router.v3.Router"}}


def block(marker: str) -> Any:
    """The YAML under `<!-- marker -->`; the filter and the cluster are a list's one element each."""
    found = re.search(rf"<!-- {re.escape(marker)} -->\n```yaml\n(.*?)```", README, re.DOTALL)
    assert found is not None, f"README.md has no block {marker!r}"
    (part,) = yaml.safe_load(found[1])
    return part


def plain(ours: str) -> str:
    """An Envoy configuration of somebody else's, with the README's two parts put in; the addresses are of `ours`."""
    config = yaml.safe_load(ours)["static_resources"]
    addresses = {cluster["name"]: cluster["load_assignment"] for cluster in config["clusters"]}
    cluster = block("the cluster") | {"load_assignment": addresses["gatehouse"]}
    upstream = {"name": "mcp", "type": "STATIC", "connect_timeout": "1s", "load_assignment": addresses["mcp"]}
    route = {"match": {"prefix": "/"}, "route": {"cluster": "mcp", "timeout": "0s"}}
    manager = {
        "@type": f"{TYPES}.filters.network.http_connection_manager.v3.HttpConnectionManager",
        "stat_prefix": "plain",
        "http_filters": [block("the filter"), ROUTER],
        "route_config": {"virtual_hosts": [{"name": "all", "domains": ["*"], "routes": [route]}]},
    }
    connection_manager = {"name": "envoy.filters.network.http_connection_manager", "typed_config": manager}
    listener = {
        "name": "plain",
        "address": config["listeners"][0]["address"],
        "filter_chains": [{"filters": [connection_manager]}],
    }
    whole = {
        "admin": {"address": yaml.safe_load(ours)["admin"]["address"]},
        "static_resources": {"listeners": [listener], "clusters": [cluster, upstream]},
    }
    return yaml.safe_dump(whole, sort_keys=False)


def rendered() -> str:
    port = (f"127.0.0.1:{port}" for port in range(10000, 10006))
    addresses = Addresses(
        listen=next(port),
        admin=next(port),
        gatehouse="127.0.0.1:50051",
        mcp=next(port),
        model_a=next(port),
        model_b=next(port),
    )
    return bootstrap(addresses, jwks='{"keys":[]}')


@pytest.fixture
def governed(gatehouse_stack: Stacks) -> Running:
    return gatehouse_stack(DEFAULT, edit_bootstrap=plain)


def call(running: Running, tool: str) -> httpx.Response:
    body = {"jsonrpc": "2.0", "id": 7, "method": "tools/call", "params": {"name": tool, "arguments": {}}}
    return httpx.post(running.stack.mcp_url, json=body, headers={"accept": "application/json, text/event-stream"})


def test_they_are_the_ones_that_the_demo_and_the_tests_run() -> None:
    assert (block("the filter"), block("the cluster")) == gatehouse_parts(rendered())


def test_envoy_takes_them_in_a_configuration_of_somebody_else_s(tmp_path: Path) -> None:
    path = tmp_path / "envoy.yaml"
    path.write_text(plain(rendered()), encoding="utf-8")
    command = [str(envoy_binary()), "--mode", "validate", "--config-path", str(path), "--log-level", "error"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    # Envoy does look: a field that it does not know is refused.
    path.write_text(path.read_text().replace("allow_mode_override", "allow_mode_overrides"), encoding="utf-8")
    assert subprocess.run(command, capture_output=True, timeout=60).returncode != 0


def test_a_call_that_a_rule_allows_reaches_the_upstream_with_its_facts(governed: Running) -> None:
    answer = {"jsonrpc": "2.0", "id": 7, "result": {"content": []}}
    governed.upstream.answer_with(json_body(answer))
    assert call(governed, "search").json() == answer
    (request,) = governed.upstream.requests
    assert request.header("x-gatehouse-tool") == "search"


def test_a_call_that_no_rule_allows_is_denied(governed: Running) -> None:
    governed.upstream.answer_with(json_body({}))
    error = call(governed, "delete_file").json()["error"]
    assert (error["message"], error["data"]["reason"]) == ("deleting needs the admin group", "tool-not-allowed")
    assert governed.upstream.requests == []


def test_without_gatehouse_nothing_passes(gatehouse_stack: Stacks) -> None:
    running = gatehouse_stack(DEFAULT, edit_bootstrap=plain, fresh=True)
    running.stack.processes.kill("gatehouse")
    running.upstream.answer_with(json_body({}))
    assert call(running, "search").status_code >= 500
    assert running.upstream.requests == []
