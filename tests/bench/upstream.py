"""A fast upstream: it answers what the request asks for, and costs little beside an Envoy.

    python -m tests.bench.upstream --port 18081

Rules:
- Answers are made before the first request; a request costs two searches and one write.
- Events are written by one clock for all streams, half of them each millisecond. A stream whose reader is slower misses
  events: nothing piles up here.

Not here: correctness of HTTP beyond what Envoy sends.
"""

from __future__ import annotations

import argparse
import asyncio
import time
from typing import cast

import uvloop

from tests.bench.cases import EVENT_EVERY, answers, event

_PHASES = 2
_STREAM_HEAD = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n"


class Streams:
    """The open streams, in as many groups as the clock has phases."""

    def __init__(self) -> None:
        self._groups: tuple[set[Connection], ...] = tuple(set() for _ in range(_PHASES))
        self._some = asyncio.Event()

    def add(self, connection: Connection) -> None:
        """Events go to it from now on."""
        min(self._groups, key=len).add(connection)
        self._some.set()

    def remove(self, connection: Connection) -> None:
        """None any more; nothing happens if it was no stream."""
        for group in self._groups:
            group.discard(connection)
        if not any(self._groups):
            self._some.clear()

    async def run(self) -> None:
        """Writes events until it is cancelled. Late phases are left out, not caught up in a burst."""
        interval = EVENT_EVERY / _PHASES
        due, phase = time.monotonic(), 0
        while True:
            await self._some.wait()  # without streams the clock stands still
            for connection in self._groups[phase]:
                connection.write_event()
            phase = (phase + 1) % _PHASES
            due = max(due + interval, time.monotonic() - interval)
            await asyncio.sleep(due - time.monotonic())


class Connection(asyncio.Protocol):
    """One connection from Envoy: requests one after another, or one that became a stream."""

    def __init__(self, answers: dict[bytes, bytes], streams: Streams) -> None:
        self._answers = answers
        self._streams = streams
        self._buffer = b""
        self._paused = False
        self._transport: asyncio.Transport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)  # uvloop's are not its subclasses

    def connection_lost(self, error: Exception | None) -> None:
        self._streams.remove(self)

    def pause_writing(self) -> None:
        self._paused = True

    def resume_writing(self) -> None:
        self._paused = False

    def data_received(self, data: bytes) -> None:
        self._buffer = buffer = self._buffer + data if self._buffer else data
        end = buffer.find(b"\r\n\r\n")
        if end < 0:
            return
        head = buffer[:end]
        if _value(head, b"transfer-encoding") is None:
            # Envoy has one request under way on a connection, so nothing follows this one.
            if len(buffer) < end + 4 + int(_value(head, b"content-length") or b"0"):
                return
        elif not buffer.endswith(b"\r\n0\r\n\r\n"):
            return
        self._buffer = b""
        self._answer(_value(head, b"x-bench") or b"")

    def write_event(self) -> None:
        """The next event, unless the last ones have not left."""
        if not self._paused:
            self._transport.write(chunk(event(time.monotonic_ns())))

    def _answer(self, name: bytes) -> None:
        if name == b"stream":
            self._transport.write(_STREAM_HEAD)
            self._streams.add(self)
        elif name == b"idle":
            self._transport.write(_STREAM_HEAD + chunk(event(time.monotonic_ns())))
        else:
            self._transport.write(self._answers[name])


def chunk(data: bytes) -> bytes:
    """One chunk of a chunked body."""
    return b"%x\r\n%b\r\n" % (len(data), data)


def _value(head: bytes, name: bytes) -> bytes | None:
    """The value of a header as Envoy writes it, its name in lower case; None if it is not there."""
    start = head.find(b"\r\n" + name + b":")
    if start < 0:
        return None
    start += len(name) + 3
    end = head.find(b"\r\n", start)
    return head[start : end if end >= 0 else len(head)].strip()


async def serve(port: int) -> None:
    """Listens on the loopback until it is cancelled."""
    head = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n%b"
    whole = {name.encode(): head % (len(body), body) for name, body in answers().items()}
    streams = Streams()
    loop = asyncio.get_running_loop()
    server = await loop.create_server(lambda: Connection(whole, streams), "127.0.0.1", port, backlog=1024)
    async with server:
        await streams.run()


def main() -> None:
    """Serves until it is ended."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--port", type=int, required=True)
    uvloop.run(serve(parser.parse_args().port))


if __name__ == "__main__":
    main()
