"""A real Redis for tests: started on a Unix socket, and where a test needs them on free ports of the loopback.

A machine without redis-server skips what needs it; in CI, where .ci/run installs it, that is a failure.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import socket
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
import redis

from ext_proc.demo.processes import LOOPBACK, Processes, accepts, free_ports
from ext_proc.secret import Secret
from ext_proc.stores.settings import RedisSettings

MISSING = "needs redis-server, which is not here: apt-get install redis-server"
GENEROUS = 10.0  # seconds: on a busy machine 20 ms are soon over


class RedisServer:
    """One server with nothing on disk.

    Attributes:
        port: on the loopback; 0 where it has its socket only.
        bus: the port on which the nodes of a cluster talk to each other; 0 where it is none.
    """

    def __init__(self, folder: Path, options: Sequence[str] = (), port: int = 0, bus: int = 0) -> None:
        self.folder = folder
        self.port = port
        self.bus = bus
        self.socket = folder / "s"
        self._options = options
        self._processes = Processes(folder)
        self.start()

    def start(self) -> None:
        """Starts it, or starts it again with nothing in it."""
        command = ["redis-server", "--port", str(self.port), "--bind", LOOPBACK, "--unixsocket", str(self.socket)]
        if self.bus:
            command += ["--cluster-enabled", "yes", "--cluster-port", str(self.bus)]
        ready = accepts(LOOPBACK, self.port) if self.port else self._listens
        self._processes.start(
            "redis", [*command, "--dir", str(self.folder), "--save", "", "--appendonly", "no", *self._options], ready
        )
        self._processes.wait_until_ready()

    def end(self) -> None:
        self._processes.stop()
        self.socket.unlink(missing_ok=True)

    def hold(self) -> None:
        """It goes on listening, and does nothing (SIGSTOP)."""
        self._signal(signal.SIGSTOP)

    def release(self) -> None:
        """It goes on."""
        self._signal(signal.SIGCONT)

    def ask(self, *command: str | int, password: str | None = None) -> Any:
        """The answer to a command of an administrator's."""
        with redis.Redis(unix_socket_path=str(self.socket), password=password, socket_timeout=GENEROUS) as client:
            return client.execute_command(*command)

    def wait_until_the_cluster_is_up(self, password: str | None = None) -> None:
        """Returns when all slots are served, as far as this node knows."""
        until = time.monotonic() + GENEROUS
        while b"cluster_state:ok" not in self.ask("CLUSTER", "INFO", password=password):
            assert time.monotonic() < until, "the cluster did not come up"

    def settings(self, url: str = "", **changes: Any) -> RedisSettings:
        """Settings that lead to it, with time-outs that a busy machine keeps."""
        values = {
            "url": Secret("redis", (url or f"unix://{self.socket}").encode()),
            "prefix": f"test-{os.urandom(8).hex()}",
            "cluster": False,
            "timeout": GENEROUS,
            "connect_timeout": GENEROUS,
            "max_connections": 8,
            "failures": 3,
            "pause": 60.0,
        }
        return RedisSettings(**{**values, **changes})

    def _listens(self) -> bool:
        with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX) as trial:
            trial.connect(str(self.socket))
            return True
        return False

    def _signal(self, number: signal.Signals) -> None:
        os.kill(self._processes["redis"].process.pid, number)


@contextlib.contextmanager
def redis_server(*options: str, port: bool = False, cluster: bool = False) -> Iterator[RedisServer]:
    """A server that runs inside the block.

    Args:
        options: more of redis-server's, e.g. "--maxmemory", "2mb".
        port: whether it also listens on a port.
        cluster: whether it is a node of a cluster, without slots yet; it has ports then.
    """
    if shutil.which("redis-server") is None:
        if os.environ.get("CI"):
            pytest.fail(MISSING)
        pytest.skip(MISSING)
    # Not pytest's own folder: the path of a Unix socket has at most 107 bytes.
    with tempfile.TemporaryDirectory(prefix="gatehouse-") as folder:
        first, second = free_ports(2)
        server = RedisServer(Path(folder), options, first if port or cluster else 0, second if cluster else 0)
        try:
            yield server
        finally:
            server.end()
