"""The load: keep-alive connections that ask again as soon as they are answered, and open event streams.

Rules:
- It costs little beside an Envoy: bytes made beforehand, one search per answer, no HTTP library.
- An answer other than the one that was checked beforehand fails the sample: a fast refusal is not a fast answer.
- Opened first, warmed up, then counted: `counted` is what came since `begin`.

Not here: whose CPU it costs (meter.py).
"""

from __future__ import annotations

import asyncio
import time
from typing import cast

from tests.bench.cases import STAMP, STAMP_LENGTH, Case

_PATIENCE = 10.0
_LENGTH = b"\r\ncontent-length: "


class LoadError(Exception):
    """The answers are not what was expected."""


class Load:
    """Connections to one Envoy under one case.

    Args:
        expected: the length of each whole answer's body, in bytes.

    Attributes:
        counted: nanoseconds of each answer (from request to its last byte) or event (from its stamp to its arrival).
    """

    def __init__(self, port: int, case: Case, connections: int, expected: int | None) -> None:
        self.counted: list[int] = []
        self._port = port
        self._case = case
        self._expected = expected
        self._ready = connections
        self._all_ready = asyncio.Event()
        self._failure: str | None = None
        self._connections: list[_Connection] = []
        self._size = connections

    async def __aenter__(self) -> Load:
        loop = asyncio.get_running_loop()
        for _ in range(self._size):
            _, connection = await loop.create_connection(self._make, "127.0.0.1", self._port)
            self._connections.append(connection)
        try:
            async with asyncio.timeout(_PATIENCE):
                await self._all_ready.wait()
        except TimeoutError:
            self.fail(f"{self._ready} of {self._size} connections were never answered")
        if self._failure is not None:
            self.close()
            raise LoadError(self._failure)
        return self

    async def __aexit__(self, *error: object) -> None:
        self.close()

    def begin(self) -> None:
        """Counts from here."""
        self.counted.clear()

    def check(self) -> None:
        """Raises LoadError if an answer was not the expected one, or a connection was lost."""
        if self._failure is not None:
            raise LoadError(self._failure)

    def close(self) -> None:
        """Drops all connections."""
        for connection in self._connections:
            connection.drop()
        self._connections.clear()

    def answered(self) -> None:
        """A connection had its first answer or event."""
        self._ready -= 1
        if self._ready == 0:
            self._all_ready.set()

    def fail(self, reason: str) -> None:
        """The first reason stays."""
        self._failure = self._failure or f"{self._case.name}: {reason}"
        self._all_ready.set()  # nobody has to wait for the others

    def _make(self) -> _Connection:
        if self._expected is None:
            return _Listener(self, self._case.request)
        return _Asker(self, self._case.request, self._expected)


class _Connection(asyncio.Protocol):
    def __init__(self, load: Load, request: bytes) -> None:
        self._load = load
        self._request = request
        self._first = True
        self._dropped = False
        self._transport: asyncio.Transport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)  # uvloop's are not its subclasses
        self._transport.write(self._request)

    def connection_lost(self, error: Exception | None) -> None:
        if not self._dropped:
            self._load.fail("Envoy closed the connection")

    def drop(self) -> None:
        self._dropped = True
        self._transport.abort()

    def _answered(self) -> None:
        if self._first:
            self._first = False
            self._load.answered()


class _Asker(_Connection):
    """Asks, waits for the whole answer, asks again."""

    def __init__(self, load: Load, request: bytes, expected: int) -> None:
        super().__init__(load, request)
        self._expected = expected
        self._asked = time.monotonic_ns()
        self._buffer = b""

    def data_received(self, data: bytes) -> None:
        self._buffer = buffer = self._buffer + data if self._buffer else data
        end = buffer.find(b"\r\n\r\n")
        if end < 0 or len(buffer) < end + 4 + self._expected:
            if end >= 0 and not self._is_right(buffer[:end]):
                self._stop(buffer)
            return
        if len(buffer) != end + 4 + self._expected or not self._is_right(buffer[:end]):
            self._stop(buffer)
            return
        self._buffer = b""
        now = time.monotonic_ns()
        self._load.counted.append(now - self._asked)
        self._answered()
        if not self._dropped:
            self._asked = now
            self._transport.write(self._request)

    def _is_right(self, head: bytes) -> bool:
        return head.startswith(b"HTTP/1.1 200 ") and _LENGTH + b"%d" % self._expected in head

    def _stop(self, buffer: bytes) -> None:
        self._load.fail(f"an answer that is not the expected one: {buffer[:300]!r}")
        self.drop()


class _Listener(_Connection):
    """Opens an event stream and reads stamps.

    It does not undo the chunked coding: a stamp that the coding cuts in two is missed, which whole chunks never are.
    """

    def __init__(self, load: Load, request: bytes) -> None:
        super().__init__(load, request)
        self._rest = b""

    def data_received(self, data: bytes) -> None:
        now = time.monotonic_ns()
        data = self._rest + data
        if self._first and not data.startswith(b"HTTP/1.1 200 "):
            self._load.fail(f"not a stream: {data[:300]!r}")
            self.drop()
            return
        end = 0
        for found in STAMP.finditer(data):
            self._load.counted.append(now - int(found[1]))
            end = found.end()
        if end:
            self._answered()
        # While the head is incomplete all is kept; later only what may be the beginning of a stamp.
        self._rest = data if self._first else data[max(end, len(data) - STAMP_LENGTH + 1) :]
