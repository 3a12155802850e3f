"""A client of HTTP/1.1 that sends any bytes and takes the answer apart to the byte, over one connection.

Rules:
- It believes nothing: an answer with two lengths, or with bytes that belong to no answer, is an AssertionError.

Not here: what is asked (exchanges.py).
"""

from __future__ import annotations

import select
import socket
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import msgspec

from tests.envoy.harness import Running

_PATIENCE = 10.0
Lines = Sequence[tuple[str, str]]
JSON_LINES: Lines = (("content-type", "application/json"), ("accept", "application/json, text/event-stream"))


@dataclass(frozen=True, slots=True)
class RawAnswer:
    """An answer; header names in lower case, the body whole."""

    status: int
    headers: tuple[tuple[str, str], ...]
    body: bytes
    trailers: tuple[tuple[str, str], ...] = ()

    def header(self, name: str) -> str | None:
        """The value of `name` (lower case); there must not be two."""
        values = [value for key, value in self.headers if key == name]
        assert len(values) <= 1, f"{name} twice"
        return values[0] if values else None

    @property
    def json(self) -> Any:
        """The body as JSON."""
        return msgspec.json.decode(self.body)


def head(path: str, *lines: tuple[str, str], method: str = "POST") -> bytes:
    """A request's line and headers."""
    text = "".join(f"{name}: {value}\r\n" for name, value in (("host", "tools.example"), *lines))
    return f"{method} {path} HTTP/1.1\r\n{text}\r\n".encode("latin-1")


def sized(path: str, body: bytes, *lines: tuple[str, str], method: str = "POST") -> bytes:
    """A request with a content-length; with the headers of MCP unless there are others."""
    return head(path, *(lines or JSON_LINES), ("content-length", str(len(body))), method=method) + body


def chunked(path: str, parts: Sequence[bytes], *lines: tuple[str, str], trailers: Lines = ()) -> bytes:
    """A POST in chunks; with the headers of MCP unless there are others."""
    return head(path, *(lines or JSON_LINES), ("transfer-encoding", "chunked")) + in_chunks(parts, trailers)


def in_chunks(parts: Sequence[bytes], trailers: Lines = ()) -> bytes:
    """A chunked body (RFC 9112, section 7.1)."""
    written = b"".join(b"%x\r\n%s\r\n" % (len(part), part) for part in parts if part)
    ends = "".join(f"{name}: {value}\r\n" for name, value in trailers)
    return written + f"0\r\n{ends}\r\n".encode("latin-1")


class RawClient:
    """One connection to Envoy."""

    def __init__(self, connected: socket.socket) -> None:
        self._socket = connected
        self._reader = connected.makefile("rb")

    def send(self, data: bytes) -> None:
        """Writes all of it."""
        self._socket.sendall(data)

    def ask(self, data: bytes, method: str = "POST") -> RawAnswer:
        """The answer to a request."""
        self.send(data)
        return self.answer(method)

    def answer(self, method: str = "POST") -> RawAnswer:
        """The next answer, 100 Continue among them."""
        status, headers = self._head()
        answer = RawAnswer(status, headers, b"")
        length, coding = answer.header("content-length"), answer.header("transfer-encoding")
        assert length is None or coding is None, "two lengths"
        if method == "HEAD" or status < 200 or status in (204, 304):
            return answer
        if coding is not None:
            assert coding == "chunked"
            return RawAnswer(status, headers, *self._chunks())
        if length is None:
            assert answer.header("connection") == "close", "a body without an end"
            return RawAnswer(status, headers, self._reader.read())
        return RawAnswer(status, headers, self.exactly(int(length)))

    def exactly(self, count: int) -> bytes:
        """The next bytes, as they come."""
        data = self._reader.read(count)
        assert len(data) == count, "cut off"
        return data

    def is_silent(self) -> bool:
        """Whether the connection is open and nothing has come that was not read."""
        if select.select([self._socket], [], [], 0)[0]:
            return False
        self._socket.setblocking(False)
        try:
            return not self._reader.peek(1)
        finally:
            self._socket.settimeout(_PATIENCE)

    def is_closed(self) -> bool:
        """Whether Envoy closes the connection, and has sent nothing more."""
        try:
            return self._reader.read(1) == b""
        except ConnectionResetError:
            return True

    def close(self) -> None:
        """Leaves; the socket stays open as long as somebody may read from it."""
        self._reader.close()
        self._socket.close()

    def _head(self) -> tuple[int, tuple[tuple[str, str], ...]]:
        first = self._reader.readline()
        assert first.startswith(b"HTTP/1.1 "), f"no answer: {first!r}"
        return int(first.split(b" ")[1]), self._lines()

    def _lines(self) -> tuple[tuple[str, str], ...]:
        lines = []
        while line := self._reader.readline().decode("latin-1").rstrip("\r\n"):
            name, _, value = line.partition(":")
            lines.append((name.lower(), value.strip()))
        return tuple(lines)

    def _chunks(self) -> tuple[bytes, tuple[tuple[str, str], ...]]:
        body = bytearray()
        while size := self._size():
            body += self.exactly(size)
            assert self.exactly(2) == b"\r\n"
        return bytes(body), self._lines()

    def _size(self) -> int:
        line = self._reader.readline()
        assert line, "cut off"
        return int(line, 16)


@contextmanager
def raw_client(running: Running) -> Iterator[RawClient]:
    """A connection to Envoy for the block."""
    with socket.create_connection(("127.0.0.1", running.stack.port), timeout=_PATIENCE) as connected:
        connected.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        client = RawClient(connected)
        try:
            yield client
        finally:
            client.close()
