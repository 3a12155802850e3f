"""Starts and stops the demo's processes together, and leaves none behind.

Rules:
- All or none: if one cannot start, or is not ready in time, those already running are stopped and a sentence says why.
- However the block is left, Ctrl-C too, the children are ended. Each is a process group of its own, so that its own
  children go with it; groups are ended by the ids that were started here, never by name.
- A process is asked whether it is ready (its port, its ready endpoint) until it is, has ended, or the deadline is past.

Not here: which processes there are (stack.py).
"""

from __future__ import annotations

import contextlib
import os
import random
import signal
import socket
import subprocess
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType

from ext_proc.errors import GatehouseError

LOOPBACK = "127.0.0.1"
# Below the ports that systems hand to outgoing connections: none of those can take one between our look and our use.
_PORTS = range(20_000, 30_000)
_PROBE_INTERVAL = 0.02
_STOP_GRACE = 5.0
_LOG_TAIL = 2_000

Probe = Callable[[], bool]


class DemoError(GatehouseError):
    """The demo cannot start; the message is for the person at the terminal."""


@dataclass(frozen=True, slots=True)
class Child:
    """One process started here, the leader of its own group."""

    name: str
    process: subprocess.Popen[bytes]
    log: Path
    ready: Probe


class Processes:
    """Children as a context manager: `start` each, then `wait_until_ready`; leaving the block stops them all.

    Args:
        logs: an existing folder; each child writes its output to NAME.log there.
        deadline: seconds that all of them together have to become ready.
    """

    def __init__(self, logs: Path, deadline: float = 30.0) -> None:
        self._logs = logs
        self._deadline = deadline
        self._children: dict[str, Child] = {}

    def __enter__(self) -> Processes:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.stop()

    def __getitem__(self, name: str) -> Child:
        return self._children[name]

    def start(self, name: str, command: Sequence[str], ready: Probe, env: Mapping[str, str] | None = None) -> Child:
        """Starts `command` with `env` added to the environment; `ready` is asked later.

        Raises:
            DemoError: there is no such program.
        """
        log = self._logs / f"{name}.log"
        with log.open("wb") as output, _undisturbed():
            try:
                process = subprocess.Popen(
                    command,
                    stdin=subprocess.DEVNULL,
                    stdout=output,
                    stderr=subprocess.STDOUT,
                    env={**os.environ, **(env or {})},
                    start_new_session=True,
                )
            except OSError as error:
                raise DemoError(f"{name} cannot be started: {error.strerror}: {command[0]}") from error
            child = self._children[name] = Child(name, process, log, ready)
        return child

    def wait_until_ready(self) -> None:
        """Returns when every child has said that it is ready.

        Raises:
            DemoError: one has ended, or the deadline is past; with the last lines of its log.
        """
        until = time.monotonic() + self._deadline
        for child in self._children.values():
            while not child.ready():
                if _ended_within(child.process, _PROBE_INTERVAL):
                    raise DemoError(f"{child.name} ended with status {child.process.returncode}.{_tail(child.log)}")
                if time.monotonic() > until:
                    raise DemoError(f"{child.name} was not ready after {self._deadline:g} s.{_tail(child.log)}")

    def kill(self, name: str) -> None:
        """Ends one child at once, as a crash would (SIGKILL)."""
        child = self._children.pop(name)
        _signal_group(child.process, signal.SIGKILL)
        child.process.wait()

    def stop(self) -> None:
        """Ends all, the last started first: asked with SIGTERM, then made to. A second Ctrl-C skips the asking."""
        children = list(reversed(self._children.values()))
        try:
            for child in children:
                _signal_group(child.process, signal.SIGTERM)
            until = time.monotonic() + _STOP_GRACE
            for child in children:
                _ended_within(child.process, max(0.0, until - time.monotonic()))
        finally:
            for child in children:
                _signal_group(child.process, signal.SIGKILL)
                child.process.wait()
            self._children.clear()


@contextlib.contextmanager
def every_end_is_ctrl_c() -> Iterator[None]:
    """Inside the block SIGTERM and SIGHUP raise KeyboardInterrupt, as Ctrl-C does: what is open is closed.

    For the outermost block of a program, in its main thread: Python sets signal handlers nowhere else.
    """
    numbers = (signal.SIGTERM, signal.SIGHUP)
    before = [signal.signal(number, signal.default_int_handler) for number in numbers]
    try:
        yield
    finally:
        for number, handler in zip(numbers, before, strict=True):
            signal.signal(number, handler)


@contextlib.contextmanager
def _undisturbed() -> Iterator[None]:
    """Inside the block signals wait: between a child's start and its being known one would leave it behind."""
    if threading.current_thread() is not threading.main_thread():
        yield  # signals do not come here
        return
    waiting: list[int] = []
    numbers = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    before = [signal.signal(number, lambda came, frame: waiting.append(came)) for number in numbers]
    try:
        yield
    finally:
        for number, handler in zip(numbers, before, strict=True):
            signal.signal(number, handler)
        for came in waiting:
            signal.raise_signal(came)


def _ended_within(process: subprocess.Popen[bytes], seconds: float) -> bool:
    try:
        process.wait(seconds)
    except subprocess.TimeoutExpired:
        return False
    return True


def _signal_group(process: subprocess.Popen[bytes], number: signal.Signals) -> None:
    # The group is signalled even when its leader has ended: its workers may not have. Nobody left is what we want.
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, number)


def _tail(log: Path) -> str:
    text = log.read_bytes()[-_LOG_TAIL:].decode("utf-8", "replace").strip()
    return f" Its last words:\n{text}" if text else " It said nothing."


def accepts(host: str, port: int) -> Probe:
    """Ready when a connection is accepted."""

    def probe() -> bool:
        try:
            with socket.create_connection((host, port), timeout=1.0):
                return True
        except OSError:
            return False

    return probe


def answers(url: str) -> Probe:
    """Ready when GET `url` is answered with 200. The environment's proxy is not asked: `url` is on this machine."""
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))

    def probe() -> bool:
        try:
            with opener.open(url, timeout=1.0) as response:
                return bool(response.status == 200)
        except (OSError, urllib.error.URLError):
            return False

    return probe


def free_ports(count: int) -> list[int]:
    """So many different TCP ports of the loopback that nothing listens on.

    Raises:
        DemoError: there are not enough.
    """
    found: list[int] = []
    for port in random.sample(_PORTS, k=len(_PORTS)):
        if len(found) == count:
            break
        if _is_free(LOOPBACK, port):
            found.append(port)
    if len(found) < count:
        raise DemoError(f"No {count} free ports between {_PORTS[0]} and {_PORTS[-1]}: end some servers and try again.")
    return found


def require_free(port: int, host: str = LOOPBACK) -> None:
    """Raises a DemoError, one sentence, if something listens on `port` already."""
    if not _is_free(host, port):
        raise DemoError(f"Port {port} is already in use: end what listens there, or choose another with --port.")


def _is_free(host: str, port: int) -> bool:
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as listener:
        # As servers do: a port whose last connections are only waiting to be forgotten counts as free.
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind((host, port))
        except OSError:
            return False
    return True
