"""The demo's processes start together, tell why if they cannot, and leave nothing behind."""

from __future__ import annotations

import signal
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from ext_proc.demo.processes import (
    DemoError,
    Processes,
    accepts,
    answers,
    every_end_is_ctrl_c,
    free_ports,
    require_free,
)
from tests.envoy.harness import wait_for

# Ends only when it is made to; says so when it runs.
SLEEPER = [sys.executable, "-c", "import signal; print('running', flush=True); signal.pause()"]
STUBBORN = [
    sys.executable,
    "-c",
    "import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('running', flush=True); signal.pause()",
]
# Has a child of its own, which tells its id and ignores SIGTERM; itself it ends at once when asked to.
WITH_A_CHILD = [
    sys.executable,
    "-c",
    "import signal, subprocess, sys; subprocess.Popen([sys.executable, '-c', sys.argv[1]]); signal.pause()",
    "import os, signal; signal.signal(signal.SIGTERM, signal.SIG_IGN); print(os.getpid(), flush=True); signal.pause()",
]


def says(log: Path) -> bool:
    return log.exists() and log.read_bytes().endswith(b"\n")


def runs(pid: int) -> bool:
    """Whether a process that is no child of ours runs; a zombie that nobody has collected yet does not."""
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return False
    return state != "Z"


def must_end(pid: int) -> None:
    wait_for(lambda: None if runs(pid) else True, f"the end of process {pid}")


def test_a_ready_child_runs_until_the_block_is_left(tmp_path: Path) -> None:
    with Processes(tmp_path) as processes:
        child = processes.start("sleeper", SLEEPER, lambda: says(tmp_path / "sleeper.log"))
        processes.wait_until_ready()
        assert child.process.poll() is None
    assert child.process.returncode == -signal.SIGTERM


def test_a_child_that_ignores_sigterm_is_killed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ext_proc.demo.processes._STOP_GRACE", 0.1)
    with Processes(tmp_path) as processes:
        child = processes.start("stubborn", STUBBORN, lambda: says(tmp_path / "stubborn.log"))
        processes.wait_until_ready()
    assert child.process.returncode == -signal.SIGKILL


@pytest.mark.skipif(
    sys.platform != "linux", reason="the state of a process that is no child of ours is read from /proc"
)
def test_the_children_of_a_child_go_with_it(tmp_path: Path) -> None:
    log = tmp_path / "parent.log"
    with Processes(tmp_path) as processes:
        processes.start("parent", WITH_A_CHILD, lambda: says(log))
        processes.wait_until_ready()
        grandchild = int(log.read_text())
        assert runs(grandchild)
    must_end(grandchild)


def test_a_child_that_ends_early_is_reported_with_its_last_words_and_the_others_are_stopped(tmp_path: Path) -> None:
    broken = [sys.executable, "-c", "import sys; sys.exit('no such bundle')"]
    with Processes(tmp_path) as processes:
        other = processes.start("sleeper", SLEEPER, lambda: says(tmp_path / "sleeper.log"))
        processes.start("broken", broken, lambda: False)
        with pytest.raises(DemoError, match=r"broken ended with status 1\. Its last words:\nno such bundle"):
            processes.wait_until_ready()
    assert other.process.returncode is not None


def test_a_child_that_is_never_ready_is_given_up_at_the_deadline(tmp_path: Path) -> None:
    with Processes(tmp_path, deadline=0.05) as processes:
        processes.start("sleeper", SLEEPER, lambda: False)
        with pytest.raises(DemoError, match=r"sleeper was not ready after 0\.05 s"):
            processes.wait_until_ready()


def test_a_missing_program_is_named(tmp_path: Path) -> None:
    with (
        Processes(tmp_path) as processes,
        pytest.raises(DemoError, match=r"ghost cannot be started: .*/no/such/program"),
    ):
        processes.start("ghost", ["/no/such/program"], lambda: True)


def test_a_killed_child_is_gone_at_once(tmp_path: Path) -> None:
    with Processes(tmp_path) as processes:
        child = processes.start("sleeper", SLEEPER, lambda: says(tmp_path / "sleeper.log"))
        processes.wait_until_ready()
        processes.kill("sleeper")
        assert child.process.returncode == -signal.SIGKILL


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP, signal.SIGINT])
def test_every_end_leaves_the_block_as_ctrl_c_does(number: signal.Signals) -> None:
    before = signal.getsignal(number)
    with pytest.raises(KeyboardInterrupt), every_end_is_ctrl_c():
        signal.raise_signal(number)
    assert signal.getsignal(number) is before


@pytest.mark.skipif(
    sys.platform != "linux", reason="the state of a process that is no child of ours is read from /proc"
)
def test_a_program_ended_by_sigterm_leaves_no_child_behind(tmp_path: Path) -> None:
    program = f"""
import sys
from pathlib import Path
from ext_proc.demo.processes import Processes, every_end_is_ctrl_c
logs = Path({str(tmp_path)!r})
with every_end_is_ctrl_c(), Processes(logs) as processes:
    child = processes.start("sleeper", {SLEEPER!r}, lambda: (logs / "sleeper.log").read_bytes() != b"")
    processes.wait_until_ready()
    print(child.process.pid, flush=True)
    child.process.wait()
"""
    with subprocess.Popen(
        [sys.executable, "-c", program],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        cwd=Path(__file__).parents[3],
    ) as parent:
        assert parent.stdout is not None
        child = int(parent.stdout.readline())
        parent.send_signal(signal.SIGTERM)
        parent.wait(10)
    must_end(child)


def test_a_signal_that_comes_while_a_child_is_started_leaves_none_behind(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Between the child's start and its being known nobody could end it."""
    started: list[subprocess.Popen[bytes]] = []

    def start(*arguments: Any, **options: Any) -> subprocess.Popen[bytes]:
        started.append(popen(*arguments, **options))
        signal.raise_signal(signal.SIGINT)
        return started[0]

    popen = subprocess.Popen
    monkeypatch.setattr("ext_proc.demo.processes.subprocess.Popen", start)
    with pytest.raises(KeyboardInterrupt), Processes(tmp_path) as processes:
        processes.start("sleeper", SLEEPER, lambda: True)
    assert started[0].poll() is not None


def test_free_ports_are_different_and_can_be_listened_on() -> None:
    ports = free_ports(5)
    assert len(set(ports)) == 5
    with socket.create_server(("127.0.0.1", ports[0])):
        assert accepts("127.0.0.1", ports[0])()
    assert not accepts("127.0.0.1", ports[0])()


def test_an_occupied_port_is_one_sentence_that_says_what_to_do() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
        with pytest.raises(DemoError, match=f"^Port {port} is already in use: .* choose another with --port\\.$"):
            require_free(port)
        assert not answers(f"http://127.0.0.1:{free_ports(1)[0]}/ready")()
