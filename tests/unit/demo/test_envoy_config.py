"""envoy/bootstrap.yaml, filled in: Envoy takes it, and it keeps the promises that Gatehouse builds on."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from ext_proc.demo.envoy_config import Addresses, address, bootstrap
from ext_proc.demo.files import shipped
from ext_proc.demo.stack import envoy_binary
from ext_proc.demo.tokens import TokenSigner
from ext_proc.limits import DEFAULTS
from tests.envoy.harness import gatehouse_parts, with_gatehouse_parts

ADDRESSES = Addresses(
    listen="127.0.0.1:10000",
    admin="127.0.0.1:9901",
    gatehouse="127.0.0.1:50051",
    mcp="127.0.0.1:18081",
    model_a="127.0.0.1:18082",
    model_b="127.0.0.1:18083",
)


def render(gatehouse: str = ADDRESSES.gatehouse) -> str:
    addresses = Addresses(
        listen=ADDRESSES.listen,
        admin=ADDRESSES.admin,
        gatehouse=gatehouse,
        mcp=ADDRESSES.mcp,
        model_a=ADDRESSES.model_a,
        model_b=ADDRESSES.model_b,
    )
    return bootstrap(addresses, TokenSigner().jwks())


@pytest.mark.parametrize("gatehouse", ["127.0.0.1:50051", "[::1]:18080", "unix:/tmp/gatehouse.sock"])
def test_a_real_envoy_accepts_the_configuration(gatehouse: str, tmp_path: Path) -> None:
    path = tmp_path / "bootstrap.yaml"
    path.write_text(render(gatehouse))
    result = subprocess.run(
        [envoy_binary(), "--mode", "validate", "--config-path", str(path), "--log-level", "warning"],
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert result.returncode == 0, result.stderr
    # Envoy warns of deprecated fields and of missing limits.
    assert "[warning]" not in result.stderr


def test_only_placeholders_differ_from_the_file_in_the_repository() -> None:
    before = shipped("envoy/bootstrap.yaml").read_text().splitlines()
    after = render().splitlines()
    changed = [line for line, rendered in zip(before, after, strict=True) if line != rendered]
    assert changed
    assert all("${" in line for line in changed)
    assert not any("${" in line for line in after)


def test_the_filter_fails_closed_and_starts_with_the_cheapest_modes() -> None:
    http_filter, cluster = gatehouse_parts(render())
    config = http_filter["typed_config"]
    assert config["failure_mode_allow"] is False
    assert config["allow_mode_override"] is True
    assert config["mutation_rules"] == {"disallow_is_error": True}
    assert config["processing_mode"] == {
        "request_header_mode": "SEND",
        "response_header_mode": "SEND",
        "request_body_mode": "NONE",
        "response_body_mode": "NONE",
        "request_trailer_mode": "SKIP",
        "response_trailer_mode": "SKIP",
    }
    assert config["metadata_options"]["receiving_namespaces"]["untyped"] == ["gatehouse"]
    assert cluster["name"] == config["grpc_service"]["envoy_grpc"]["cluster_name"]


def test_envoys_numbers_are_those_that_gatehouse_assumes() -> None:
    config = yaml.safe_load(render())
    (listener,) = config["static_resources"]["listeners"]
    assert listener["per_connection_buffer_limit_bytes"] == DEFAULTS.envoy_buffer
    upstreams = [cluster for cluster in config["static_resources"]["clusters"] if cluster["name"] != "gatehouse"]
    assert {cluster["per_connection_buffer_limit_bytes"] for cluster in upstreams} == {DEFAULTS.envoy_buffer}
    http_filter, _ = gatehouse_parts(render())
    assert float(http_filter["typed_config"]["message_timeout"].removesuffix("s")) > DEFAULTS.decision


def test_gatehouse_stands_after_authentication_and_before_the_router() -> None:
    (manager,) = yaml.safe_load(render())["static_resources"]["listeners"][0]["filter_chains"][0]["filters"]
    assert [item["name"] for item in manager["typed_config"]["http_filters"]] == [
        "envoy.filters.http.jwt_authn",
        "envoy.filters.http.ext_proc",
        "envoy.filters.http.router",
    ]


def test_no_route_cuts_a_stream_short() -> None:
    (manager,) = yaml.safe_load(render())["static_resources"]["listeners"][0]["filter_chains"][0]["filters"]
    (host,) = manager["typed_config"]["route_config"]["virtual_hosts"]
    assert {route["route"]["timeout"] for route in host["routes"]} == {"0s"}


def test_other_parts_replace_ours_and_keep_the_address() -> None:
    text = render("unix:/tmp/x.sock")
    http_filter, cluster = gatehouse_parts(text)
    changed = with_gatehouse_parts(text, http_filter | {"disabled": True}, cluster | {"load_assignment": {}})
    new_filter, new_cluster = gatehouse_parts(changed)
    assert new_filter["disabled"] is True
    assert new_cluster == cluster


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("127.0.0.1:80", {"socket_address": {"address": "127.0.0.1", "port_value": 80}}),
        ("[::1]:80", {"socket_address": {"address": "::1", "port_value": 80}}),
        ("unix:/run/gatehouse.sock", {"pipe": {"path": "/run/gatehouse.sock"}}),
    ],
)
def test_an_address_is_rendered_as_envoy_writes_it(text: str, expected: dict[str, Any]) -> None:
    assert yaml.safe_load(address(text)) == expected


@pytest.mark.parametrize("text", ["localhost", ":80", "127.0.0.1:http", ""])
def test_what_is_no_address_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="neither HOST:PORT nor unix:PATH"):
        address(text)


def test_the_folder_of_envoys_configuration_is_no_python_package() -> None:
    assert not list(shipped("envoy/bootstrap.yaml").parent.glob("*.py"))


def test_a_file_that_is_not_shipped_is_named() -> None:
    with pytest.raises(FileNotFoundError, match=r"envoy/nothing\.yaml"):
        shipped("envoy/nothing.yaml")
