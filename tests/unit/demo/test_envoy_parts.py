"""What the demo adds to the bootstrap: Envoy takes it, and each part leads where it says."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

import yaml

from ext_proc.demo.envoy_parts import with_agent, with_keys, with_pages
from ext_proc.demo.stack import envoy_binary
from ext_proc.demo.tokens import TokenSigner
from tests.unit.demo.test_envoy_config import render


def routes_of(config: str) -> list[Any]:
    loaded = yaml.safe_load(config)
    manager = loaded["static_resources"]["listeners"][0]["filter_chains"][0]["filters"][0]["typed_config"]
    found: list[Any] = manager["route_config"]["virtual_hosts"][0]["routes"]
    return found


def cluster_of(config: str, name: str) -> Any:
    (found,) = (c for c in yaml.safe_load(config)["static_resources"]["clusters"] if c["name"] == name)
    return found


def test_a_real_envoy_accepts_all_parts_together(tmp_path: Path) -> None:
    jwks = TokenSigner().jwks()
    config = with_agent(
        with_keys(with_pages(render(), "unix:/tmp/p.sock"), "/jwks.json", jwks), "/agent", "127.0.0.1:1"
    )
    path = tmp_path / "bootstrap.yaml"
    path.write_text(config)
    command = [str(envoy_binary()), "--mode", "validate", "--config-path", str(path), "--log-level", "warning"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    assert "[warning]" not in done.stderr


def test_each_part_stands_before_the_routes_that_were_there_and_changes_none_of_them() -> None:
    plain = render()
    before = routes_of(plain)
    for config, name in (
        (with_pages(plain, "127.0.0.1:2"), "gatehouse-pages"),
        (with_keys(plain, "/keys", "{}"), "keys"),
        (with_agent(plain, "/agent", "127.0.0.1:2"), "agent"),
    ):
        first, *rest = routes_of(config)
        assert first["name"] == name
        assert rest == before


def test_the_keys_are_answered_as_they_stand() -> None:
    jwks = TokenSigner().jwks()
    answer = routes_of(with_keys(render(), "/keys", jwks))[0]["direct_response"]
    assert json.loads(answer["body"]["inline_string"]) == json.loads(jwks)


def test_the_pages_and_the_agent_are_where_they_listen() -> None:
    pages = cluster_of(with_pages(render(), "unix:/tmp/p.sock"), "gatehouse-pages")
    agent = cluster_of(with_agent(render(), "/agent", "127.0.0.1:2"), "agent")
    endpoints = [part["load_assignment"]["endpoints"][0]["lb_endpoints"][0]["endpoint"] for part in (pages, agent)]
    assert [endpoint["address"] for endpoint in endpoints] == [
        {"pipe": {"path": "/tmp/p.sock"}},
        {"socket_address": {"address": "127.0.0.1", "port_value": 2}},
    ]
