"""The lines to paste are whole commands, safe in a shell; tests/envoy/test_demo.py runs them."""

from __future__ import annotations

import shlex
from pathlib import Path

import pytest

from ext_proc.demo.curls import curls
from ext_proc.demo.stack import Stack


@pytest.fixture
def stack(tmp_path: Path) -> Stack:
    """A stack that is not started: it only has its addresses and its issuer."""
    unstarted = Stack(tmp_path / "bundle.yaml")
    unstarted.port, unstarted._admin_port, unstarted.logs = 10000, 9902, tmp_path
    return unstarted


def test_every_line_is_one_line_of_ascii_that_an_interactive_shell_leaves_alone(stack: Stack) -> None:
    for line in curls(stack):
        assert line.command.isascii()
        assert "\n" not in line.command
        assert "!" not in line.command  # bash's history
        assert shlex.split(line.command)


def test_every_line_says_what_it_is_for_and_what_it_must_show(stack: Stack) -> None:
    assert all(line.says and line.shows for line in curls(stack))


def test_every_line_talks_to_the_running_demo(stack: Stack) -> None:
    for line in curls(stack):
        assert stack.url in line.command or stack.admin_url.removeprefix("http://") in line.command


def test_curl_is_told_not_to_ask_a_proxy_only_where_there_is_one(stack: Stack, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("http_proxy", "https_proxy", "all_proxy", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)
    monkeypatch.setattr("ext_proc.demo.curls.getproxies", dict)
    assert not any("--noproxy" in line.command for line in curls(stack))
    monkeypatch.setattr("ext_proc.demo.curls.getproxies", lambda: {"http": "http://127.0.0.1:1"})
    for line in curls(stack):
        assert line.command.count("curl -s") == line.command.count("curl -s --noproxy '*'")
