"""An upstream that does what a test tells it, down to the byte: pieces, cut connections, trailers, silence.

Rules:
- It runs an event loop in a thread of its own, so that tests with and without an event loop can use it alike.
- One script answers each request; it waits for the test by `gate`, never by time.
- One connection carries one exchange, so that what was sent is what the connection held; a script under `keeping`
  leaves its connection open for the next request, as a pool wants it.

Not here: the demo's servers, which behave.
"""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace

_PATIENCE = 10.0

Script = Callable[["Request", "Connection"], Awaitable[None]]
Lines = tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True)
class Request:
    """What came through Envoy; header names in lower case, repeated ones kept, the body whole.

    Attributes:
        connection: the number of the connection that it came over, from 1.
        trailers: what followed a chunked body.
    """

    method: str
    path: str
    headers: Lines
    body: bytes
    connection: int = 0
    trailers: Lines = ()

    def header(self, name: str) -> str | None:
        """The first value of `name` (lower case)."""
        return next((value for key, value in self.headers if key == name), None)


@dataclass(slots=True)
class Connection:
    """What a script answers with.

    Attributes:
        reader: what comes after what was read of the request: the rest of its body (see `answer_with`), or the bytes of
            an upgrade.
        kept: whether it stays open after the script.
    """

    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter
    _gates: Mapping[str, threading.Event] = field(default_factory=dict)
    kept: bool = False

    async def send(self, data: bytes) -> None:
        """Writes `data` as it is and waits until it has left."""
        self.writer.write(data)
        await self.writer.drain()

    async def head(self, status: int, *lines: tuple[str, str]) -> None:
        """A status line and headers; `connection: close` is added unless the connection is kept."""
        closing = () if self.kept else (("connection", "close"),)
        text = "".join(f"{name}: {value}\r\n" for name, value in (*lines, *closing))
        await self.send(f"HTTP/1.1 {status} Scripted\r\n{text}\r\n".encode("latin-1"))

    async def chunk(self, data: bytes) -> None:
        """One chunk of a body that was announced with `transfer-encoding: chunked`."""
        await self.send(b"%x\r\n%s\r\n" % (len(data), data))

    async def end(self, *trailers: tuple[str, str]) -> None:
        """The end of a chunked body, with trailers if there are any."""
        lines = "".join(f"{name}: {value}\r\n" for name, value in trailers)
        await self.send(f"0\r\n{lines}\r\n".encode("latin-1"))

    def cut(self) -> None:
        """Resets the connection in the middle of whatever it is."""
        self.writer.transport.abort()

    async def gate(self, name: str) -> None:
        """Waits until the test opens this gate (`Upstream.open`), 10 s at most."""
        opened = await asyncio.to_thread(self._gates[name].wait, _PATIENCE)
        if not opened:
            raise TimeoutError(f"the test never opened the gate {name!r}")


def whole(status: int, body: bytes, *lines: tuple[str, str]) -> Script:
    """Answers at once with a sized body."""

    async def script(request: Request, connection: Connection) -> None:
        await connection.head(status, *lines, ("content-length", str(len(body))))
        await connection.send(body)

    return script


def json_body(value: object, status: int = 200, *lines: tuple[str, str]) -> Script:
    """Answers with `value` as JSON."""
    return whole(status, json.dumps(value).encode(), ("content-type", "application/json"), *lines)


def empty(status: int = 204) -> Script:
    """Answers with a status and no body."""

    async def script(request: Request, connection: Connection) -> None:
        lines = () if status == 204 else (("content-length", "0"),)
        await connection.head(status, *lines)

    return script


def pieces(
    parts: Sequence[bytes], content_type: str = "text/event-stream", trailers: Sequence[tuple[str, str]] = ()
) -> Script:
    """Answers with a chunked body, each part on its way before the next is written."""

    async def script(request: Request, connection: Connection) -> None:
        await connection.head(200, ("content-type", content_type), ("transfer-encoding", "chunked"))
        for part in parts:
            await connection.chunk(part)
            await asyncio.sleep(0)
        await connection.end(*trailers)

    return script


def cut_after(parts: Sequence[bytes], content_type: str = "text/event-stream") -> Script:
    """Answers with a chunked body that never ends: the connection closes after the last part."""

    async def script(request: Request, connection: Connection) -> None:
        await connection.head(200, ("content-type", content_type), ("transfer-encoding", "chunked"))
        for part in parts:
            await connection.chunk(part)

    return script


def keeping(script: Script) -> Script:
    """`script`, over a connection that stays open: its answer must say where it ends."""

    async def kept(request: Request, connection: Connection) -> None:
        connection.kept = True
        await script(request, connection)

    return kept


class Upstream:
    """A server on a free loopback port, as a context manager.

    Attributes:
        requests: what came since the last `answer_with`.
        failures: what a script raised; a test that cares asserts that it is empty.
    """

    def __init__(self) -> None:
        self.port = 0
        self.requests: list[Request] = []
        self.failures: list[BaseException] = []
        self._script: Script = whole(200, b"ok", ("content-type", "text/plain"))
        self._at_headers = False
        self._gates: dict[str, threading.Event] = {}
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="upstream", daemon=True)
        self._tasks: set[asyncio.Task[None]] = set()
        self._connections = 0

    @property
    def address(self) -> str:
        """HOST:PORT."""
        return f"127.0.0.1:{self.port}"

    def answer_with(self, script: Script, gates: Sequence[str] = (), *, at_headers: bool = False) -> None:
        """Answers every further request with `script`, which may wait at `gates`; forgets earlier requests.

        Args:
            at_headers: the script begins when the headers are there, and reads as much of the body as it wants to.
        """
        self._at_headers = at_headers
        self.requests = []
        self.failures = []
        self._gates = {name: threading.Event() for name in gates}
        self._script = script

    def open(self, gate: str) -> None:
        """Lets the script pass this gate."""
        self._gates[gate].set()

    def __enter__(self) -> Upstream:
        self._thread.start()
        self._server = asyncio.run_coroutine_threadsafe(self._serve(), self._loop).result(_PATIENCE)
        return self

    def __exit__(self, *error: object) -> None:
        for gate in self._gates.values():
            gate.set()
        asyncio.run_coroutine_threadsafe(self._close(), self._loop).result(_PATIENCE)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(_PATIENCE)
        self._loop.close()

    async def _serve(self) -> asyncio.Server:
        server = await asyncio.start_server(self._accept, "127.0.0.1", 0)
        self.port = server.sockets[0].getsockname()[1]
        return server

    async def _close(self) -> None:
        self._server.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._loop.shutdown_default_executor()

    def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = self._loop.create_task(self._answer(reader, writer))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._connections += 1
        number, kept = self._connections, True
        try:
            while kept:
                request = await _read_head(reader, number)
                if not self._at_headers:
                    body, trailers = await _read_body(reader, dict(request.headers))
                    request = replace(request, body=body, trailers=trailers)
                self.requests.append(request)
                connection = Connection(reader, writer, self._gates)
                await self._script(request, connection)
                kept = connection.kept
        except (ConnectionError, asyncio.IncompleteReadError):
            pass  # the client or Envoy went away first: a test that provokes this looks at its own side
        except Exception as error:
            self.failures.append(error)
        finally:
            writer.close()
            with suppress(ConnectionError):
                await writer.wait_closed()


async def _read_head(reader: asyncio.StreamReader, connection: int) -> Request:
    """One HTTP/1.1 request, as Envoy writes it, without its body."""
    first, *lines = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")[:-2]
    method, path, _ = first.split(" ", 2)
    return Request(method, path, tuple(_line(line) for line in lines), b"", connection)


async def _read_body(reader: asyncio.StreamReader, headers: Mapping[str, str]) -> tuple[bytes, Lines]:
    if headers.get("transfer-encoding") == "chunked":
        return await _read_chunks(reader)
    return await reader.readexactly(int(headers.get("content-length", "0"))), ()


async def _read_chunks(reader: asyncio.StreamReader) -> tuple[bytes, Lines]:
    body, trailers = bytearray(), []
    while size := int((await reader.readline()).split(b";")[0], 16):
        body += await reader.readexactly(size)
        await reader.readline()
    while line := (await reader.readline()).decode("latin-1").strip():
        trailers.append(_line(line))
    return bytes(body), tuple(trailers)


def _line(text: str) -> tuple[str, str]:
    name, _, value = text.partition(":")
    return name.lower(), value.strip()
