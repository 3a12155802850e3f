"""A client of HTTP/2 that sends frame by frame what a test says, many streams over one connection.

Rules:
- A stream that was reset is no answer: asking for it is an AssertionError, so that a cut is never taken for an end.
- Waiting is reading: nothing is awaited by time alone, and nothing longer than 10 s.

Not here: HTTP/1.1 (raw.py), what is asked (exchanges.py).
"""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field

import h2.config
import h2.connection
import h2.events

from tests.envoy.harness import Running
from tests.envoy.raw import Lines, RawAnswer

_PATIENCE = 10.0


class _Gone(AssertionError):
    """Envoy closes the connection."""


@dataclass(slots=True)
class Arrived:
    """What has come on one stream.

    Attributes:
        told: the statuses of interim answers (100 Continue).
        ended: the end of the stream was seen.
        reset: the error code that the stream was reset with.
    """

    status: int = 0
    headers: tuple[tuple[str, str], ...] = ()
    body: bytearray = field(default_factory=bytearray)
    trailers: tuple[tuple[str, str], ...] = ()
    told: list[int] = field(default_factory=list)
    ended: bool = False
    reset: int | None = None


class Http2Client:
    """One connection to Envoy, with prior knowledge."""

    def __init__(self, connected: socket.socket) -> None:
        self._socket = connected
        self._connection = h2.connection.H2Connection(h2.config.H2Configuration(header_encoding=None))
        self._connection.initiate_connection()
        self._flush()
        self._streams: dict[int, Arrived] = {}

    def headers(self, method: str, path: str, *lines: tuple[str, str], end: bool = False) -> int:
        """Opens a stream with a request's headers.

        Args:
            lines: further headers; pseudo-headers among them take the place of the usual ones.
            end: whether they carry END_STREAM.

        Returns:
            The stream's number.
        """
        pseudo = {":method": method, ":scheme": "http", ":authority": "tools.example", ":path": path}
        pseudo |= {name: value for name, value in lines if name.startswith(":")}
        stream = self._connection.get_next_available_stream_id()
        regular = [line for line in lines if not line[0].startswith(":")]
        self._connection.send_headers(stream, [*pseudo.items(), *regular], end_stream=end)
        self._streams[stream] = Arrived()
        self._flush()
        return stream

    def data(self, stream: int, data: bytes = b"", *, end: bool = False) -> None:
        """Sends DATA, as much at a time as Envoy's windows have room for; an empty frame if there is no data."""
        rest = memoryview(data)
        while True:
            room = min(
                self._connection.local_flow_control_window(stream), self._connection.max_outbound_frame_size, len(rest)
            )
            if rest and not room:
                self._receive()
                assert self._streams[stream].reset is None, "reset"
                continue
            self._connection.send_data(stream, bytes(rest[:room]), end_stream=end and room == len(rest))
            self._flush()
            rest = rest[room:]
            if not rest:
                return

    def trailers(self, stream: int, lines: Lines) -> None:
        """Ends the request with trailers."""
        self._connection.send_headers(stream, list(lines), end_stream=True)
        self._flush()

    def ask(self, method: str, path: str, *lines: tuple[str, str], body: bytes = b"") -> RawAnswer:
        """The answer to a whole request, sized if it has a body."""
        length = (("content-length", str(len(body))),) if body else ()
        stream = self.headers(method, path, *lines, *length, end=not body)
        if body:
            self.data(stream, body, end=True)
        return self.answer(stream)

    def reset(self, stream: int) -> None:
        """Gives the stream up (CANCEL)."""
        self._connection.reset_stream(stream, 8)
        self._flush()

    def answer(self, stream: int) -> RawAnswer:
        """The whole answer on a stream."""
        found = self.wait(stream, lambda arrived: arrived.ended)
        return RawAnswer(found.status, found.headers, bytes(found.body), found.trailers)

    def wait(self, stream: int, until: Callable[[Arrived], object]) -> Arrived:
        """What has come on a stream, once `until` is true of it.

        Raises:
            AssertionError: it was cut off before.
        """
        arrived = self._streams[stream]
        while not until(arrived):
            assert arrived.reset is None, f"cut off: reset with {arrived.reset}"
            assert not arrived.ended, f"ended before: {arrived}"
            self._receive()
        return arrived

    def cut_off(self, stream: int) -> Arrived:
        """What came on a stream that is cut off, by itself or with the whole connection, once it is.

        Raises:
            AssertionError: it ended cleanly.
        """
        arrived = self._streams[stream]
        with suppress(_Gone):
            while arrived.reset is None and not arrived.ended:
                self._receive()
        assert not arrived.ended, f"it ended cleanly: {arrived}"
        return arrived

    def _flush(self) -> None:
        self._socket.sendall(self._connection.data_to_send())

    def _receive(self) -> None:
        try:
            data = self._socket.recv(1 << 20)
        except ConnectionResetError:
            data = b""
        if not data:
            raise _Gone("Envoy closed the connection")
        for event in self._connection.receive_data(data):
            self._take(event)
        self._flush()

    def _take(self, event: h2.events.Event) -> None:
        if isinstance(event, h2.events.ConnectionTerminated):
            raise _Gone(f"Envoy gives the connection up: {event.error_code}")
        found = self._streams.get(getattr(event, "stream_id", None) or 0)
        if found is None:
            return
        if isinstance(event, h2.events.InformationalResponseReceived):
            found.told.append(_status(event.headers))
        elif isinstance(event, h2.events.ResponseReceived):
            found.status, found.headers = _status(event.headers), _lines(event.headers)[1:]
        elif isinstance(event, h2.events.DataReceived):
            found.body += event.data
            self._connection.acknowledge_received_data(event.flow_controlled_length, event.stream_id)
        elif isinstance(event, h2.events.TrailersReceived):
            found.trailers = _lines(event.headers)
        elif isinstance(event, h2.events.StreamEnded):
            found.ended = True
        elif isinstance(event, h2.events.StreamReset):
            found.reset = int(event.error_code)


def _lines(headers: Sequence[tuple[bytes, bytes]]) -> tuple[tuple[str, str], ...]:
    return tuple((name.decode("latin-1"), value.decode("latin-1")) for name, value in headers)


def _status(headers: Sequence[tuple[bytes, bytes]]) -> int:
    """The one pseudo-header of a response, which comes first (RFC 9113, section 8.3.2)."""
    assert headers[0][0] == b":status"
    return int(headers[0][1])


@contextmanager
def http2_client(running: Running) -> Iterator[Http2Client]:
    """A connection to Envoy for the block."""
    with socket.create_connection(("127.0.0.1", running.stack.port), timeout=_PATIENCE) as connected:
        connected.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        yield Http2Client(connected)
