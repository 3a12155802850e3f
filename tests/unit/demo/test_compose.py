"""docker-compose.yaml starts what Envoy's configuration expects, where it expects it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).parents[3]


@pytest.fixture(scope="module")
def services() -> dict[str, Any]:
    compose = yaml.safe_load((ROOT / "docker-compose.yaml").read_text())
    return dict(compose["services"])


@pytest.fixture(scope="module")
def bootstrap(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What the envoy service renders when it starts."""
    key = tmp_path_factory.mktemp("issuer") / "issuer.pem"
    command = [sys.executable, "-m", "ext_proc.demo.envoy_config", "--listen", "0.0.0.0:10000", "--key", str(key)]
    text = subprocess.run(command, capture_output=True, text=True, check=True, cwd=ROOT).stdout
    return dict(yaml.safe_load(text))


def ports_of(bootstrap: dict[str, Any]) -> dict[str, str]:
    clusters = bootstrap["static_resources"]["clusters"]
    found = {}
    for cluster in clusters:
        (endpoint,) = cluster["load_assignment"]["endpoints"][0]["lb_endpoints"]
        address = endpoint["endpoint"]["address"]["socket_address"]
        assert address["address"] == "127.0.0.1"
        found[cluster["name"]] = str(address["port_value"])
    return found


def test_every_cluster_is_a_service_on_the_port_that_envoy_calls(
    services: dict[str, Any], bootstrap: dict[str, Any]
) -> None:
    ports = ports_of(bootstrap)
    assert set(services) == {"envoy", *ports}
    for name in ("mcp", "model-a", "model-b"):
        assert ports[name] in services[name]["entrypoint"]
    assert f"127.0.0.1:{ports['gatehouse']}" in services["gatehouse"]["command"]


def test_every_service_shares_envoys_network_and_only_envoys_listener_is_published(services: dict[str, Any]) -> None:
    assert {service.get("network_mode") for name, service in services.items() if name != "envoy"} == {"service:envoy"}
    assert {name: service["ports"] for name, service in services.items() if "ports" in service} == {
        "envoy": ["127.0.0.1:10000:10000"]
    }


def test_no_two_processes_of_the_one_network_want_the_same_port(
    services: dict[str, Any], bootstrap: dict[str, Any]
) -> None:
    command = services["gatehouse"]["command"]
    gatehouse_admin = command[command.index("--admin") + 1].rpartition(":")[2]
    envoy_admin = str(bootstrap["admin"]["address"]["socket_address"]["port_value"])
    wanted = [gatehouse_admin, envoy_admin, "10000", *ports_of(bootstrap).values()]
    assert len(set(wanted)) == len(wanted)
