"""`gatehouse demo` as a person starts it: the tour, the lines to paste, and nothing left behind."""

from __future__ import annotations

import os
import re
import select
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from ext_proc.demo.curls import curls
from ext_proc.demo.files import shipped
from ext_proc.demo.steps import STEPS
from tests.envoy.harness import Stacks, wait_for

DEMO = [sys.executable, "-m", "ext_proc.cli", "demo", "--port", "0"]
DEFAULT = shipped("policies/bundles/demo.yaml")
LAST_LINE = "The demo stays up until Ctrl-C.\n"
SECONDS = 60.0


def demo_once(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([*DEMO, "--once", *arguments], capture_output=True, text=True, timeout=SECONDS)


@dataclass
class Demo:
    """A demo that is up: its process, what it printed so far, and its children's ids."""

    process: subprocess.Popen[str]
    output: str
    children: list[int]

    def ports(self) -> list[int]:
        return [int(port) for port in re.findall(r"http://127\.0\.0\.1:(\d+)", self.output.splitlines()[0])]


@contextmanager
def staying_demo() -> Iterator[Demo]:
    """A demo in a session of its own, which has walked its tour."""
    process = subprocess.Popen(
        DEMO, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, start_new_session=True
    )
    with ended(process):
        yield Demo(process, read_until(process, LAST_LINE), children_of(process.pid))


@contextmanager
def ended(process: subprocess.Popen[str]) -> Iterator[None]:
    """However a test ends, its demo is asked to end, so that it can end its children."""
    try:
        yield
    finally:
        process.terminate()
        process.communicate(timeout=SECONDS)


def read_until(process: subprocess.Popen[str], last: str) -> str:
    assert process.stdout is not None
    until = time.monotonic() + SECONDS
    output = ""
    while not output.endswith(last):
        readable, _, _ = select.select([process.stdout], [], [], max(0.0, until - time.monotonic()))
        assert readable, f"not within {SECONDS:g} s; so far: {output}"
        piece = os.read(process.stdout.fileno(), 65536).decode()
        assert piece, f"ended early: {output}"
        output += piece
    return output


def children_of(parent: int) -> list[int]:
    if Path("/proc/self/stat").exists():
        # The name may hold blanks, and is in parentheses; the parent's id is the second field after it.
        stats = [(int(path.parent.name), read_stat(path)) for path in Path("/proc").glob("[0-9]*/stat")]
        return [pid for pid, stat in stats if stat.rpartition(")")[2].split()[1:2] == [str(parent)]]
    listed = subprocess.run(["ps", "-A", "-o", "pid=,ppid="], capture_output=True, text=True, check=True).stdout
    pairs = [tuple(map(int, line.split())) for line in listed.splitlines()]
    return [pid for pid, ppid in pairs if ppid == parent]


def read_stat(path: Path) -> str:
    try:
        return path.read_text()
    except (FileNotFoundError, ProcessLookupError):
        return ""  # it has ended meanwhile


def group_lives(leader: int) -> bool:
    """Whether any process of the group is there; the demo's children lead one each."""
    try:
        os.killpg(leader, 0)
    except ProcessLookupError:
        return False
    return True


def test_the_tour_ends_with_0_when_every_step_was_as_expected() -> None:
    done = demo_once()
    assert done.returncode == 0, done.stdout + done.stderr
    assert f"All {len(STEPS)} steps were as expected." in done.stdout
    assert done.stderr == ""
    assert max(len(line) for line in done.stdout.splitlines()) == 120


def test_the_tour_ends_with_1_when_a_bundle_decides_otherwise(tmp_path: Path) -> None:
    lenient = tmp_path / "lenient.yaml"
    lenient.write_text(DEFAULT.read_text().replace("default: deny", "default: allow"))
    done = demo_once("--bundle", str(lenient))
    assert done.returncode == 1
    # Nothing is hidden from lists any more, and the tool that no rule names can be called.
    assert f"4 of {len(STEPS)} steps were not as expected." in done.stdout
    assert "name,salary" in done.stdout


def test_a_bundle_with_a_mistake_is_told_with_its_place(tmp_path: Path) -> None:
    broken = tmp_path / "broken.yaml"
    broken.write_text(DEFAULT.read_text().replace("protocol: mcp", "protocol: mpc"))
    done = demo_once("--bundle", str(broken))
    assert done.returncode == 1
    assert "routes[0].protocol: unknown protocol" in done.stderr
    assert "Traceback" not in done.stderr


def test_an_occupied_port_is_told_in_one_sentence() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        done = demo_once("--port", str(port))
    assert done.returncode == 1
    assert done.stderr == f"Port {port} is already in use: end what listens there, or choose another with --port.\n"


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_the_demo_stays_up_until_it_is_told_to_end_and_leaves_nothing_behind(number: signal.Signals) -> None:
    with staying_demo() as demo:
        assert demo.process.poll() is None
        assert "Try it yourself, in another terminal:" in demo.output
        assert demo.output.count("curl -s ") >= 8
        assert len(demo.children) == 6  # Envoy, Gatehouse, the MCP server, an agent, two models
        assert len(demo.ports()) == 2
        demo.process.send_signal(number)
        rest, _ = demo.process.communicate(timeout=SECONDS)
        assert rest == "\nStopped; nothing is left running.\n"
        assert demo.process.returncode == 0, demo.output
        for child in demo.children:
            assert not group_lives(child)
        for port in demo.ports():
            socket.create_server(("127.0.0.1", port)).close()


def test_a_tour_that_is_interrupted_was_not_as_expected_and_leaves_nothing_behind() -> None:
    process = subprocess.Popen(
        [*DEMO, "--once"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True
    )
    with ended(process):
        # All six are started, and the tour is at its beginning or about to begin.
        children = wait_for(lambda: found if len(found := children_of(process.pid)) == 6 else None, "six children")
        process.send_signal(signal.SIGINT)
        _, told = process.communicate(timeout=SECONDS)
    assert process.returncode == 1
    assert told == "\nStopped; nothing is left running.\n"
    assert not any(group_lives(child) for child in children)


@pytest.mark.parametrize("shell", ["sh", "bash"])
def test_every_line_to_paste_does_what_it_says(gatehouse_stack: Stacks, shell: str) -> None:
    if shutil.which(shell) is None or shutil.which("curl") is None:
        pytest.skip(f"needs {shell} and curl")
    running = gatehouse_stack(DEFAULT.read_text(), demo_upstreams=True)
    for line in curls(running.stack):
        done = subprocess.run([shell, "-c", line.command], capture_output=True, text=True, timeout=SECONDS)
        assert done.returncode == 0, f"{line.says}: {done.stderr}"
        assert line.shows in done.stdout, f"{line.says}: {done.stdout}"
