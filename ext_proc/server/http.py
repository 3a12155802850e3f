"""A small HTTP/1.1 server for the admin endpoint and for pages: one request per connection.

Rules:
- h11 reads and writes the protocol (no dependencies, sans-IO); asyncio's streams carry it. A framework would be many
  times the code of what it serves here.
- Everything is bounded: bytes of a request's head and body, seconds of a request, connections at a time. A body is read
  only where it may be asked for, and what is too long is refused before it is taken.
- On a loopback address only a loopback `Host` is answered, so that a web page cannot reach it by rebinding a name;
  unless whoever answers looks at `Host` itself.
- Who is refused hears why, although more of the request may be on its way (RFC 9112 section 9.6).

Not here: what is served (admin.py, pages.py).
"""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from urllib.parse import parse_qsl, urlsplit

import h11

from ext_proc.errors import GatehouseError
from ext_proc.headers import Headers
from ext_proc.server.address import (
    Address,
    AddressError,
    TcpAddress,
    UnixAddress,
    parse_tcp_address,
    reserved,
    restrict,
)
from ext_proc.telemetry.log import Log, fault

MAX_HEAD = 8 * 1024  # bytes
MAX_CONNECTIONS = 32
REQUEST_SECONDS = 10.0  # to read a request; likewise to answer it
TEXT = "text/plain; charset=utf-8"
_LINGER_SECONDS = 1.0
_LINGER = 1024 * 1024  # bytes that are thrown away, so that a refusal is not lost with the connection


@dataclass(frozen=True, slots=True)
class HttpRequest:
    """A request: the path as it came, the query's parameters (the last of a name counts), headers and body."""

    path: str
    query: Mapping[str, str] = field(default_factory=dict)
    headers: Headers = field(default_factory=Headers)
    method: str = "GET"
    body: bytes = field(default=b"", repr=False)


@dataclass(frozen=True, slots=True)
class HttpResponse:
    """A whole response; `headers` go beside those that every response has."""

    body: bytes
    content_type: str = TEXT
    status: int = 200
    headers: Sequence[tuple[str, str]] = ()


Handler = Callable[[HttpRequest], Awaitable[HttpResponse]]


def no_body() -> int:
    """The largest body where none is read."""
    return 0


@dataclass(frozen=True, slots=True)
class HttpKind:
    """What a server takes, and how it answers.

    Attributes:
        name: what the log calls it.
        methods: those that are served; a body is read for POST alone.
        head: the longest head of a request, in bytes.
        body: gives the longest body, in bytes.
        connections: the most at a time; one more is closed.
        headers: of every response, refusals too.
        loopback_names: on a loopback address, answer to loopback names alone.
    """

    name: str
    methods: tuple[str, ...] = ("GET", "HEAD")
    head: int = MAX_HEAD
    body: Callable[[], int] = no_body
    connections: int = MAX_CONNECTIONS
    headers: Sequence[tuple[str, str]] = ()
    loopback_names: bool = True


ADMIN = HttpKind("the admin endpoint")


class _Refused(GatehouseError):
    """A request that is answered without asking the handler."""

    def __init__(self, status: int, sentence: str) -> None:
        super().__init__(sentence)
        self.status = status


class HttpServer:
    """Serves `handler`.

    Args:
        request_seconds: to read a request, and again to answer it.
    """

    def __init__(
        self, handler: Handler, log: Log, request_seconds: float = REQUEST_SECONDS, kind: HttpKind = ADMIN
    ) -> None:
        self._handler = handler
        self._log = log
        self._request_seconds = request_seconds
        self._kind = kind
        self._connections: set[asyncio.Task[None]] = set()
        self._server: asyncio.Server | None = None
        self._held = contextlib.ExitStack()
        self._loopback_only = False

    async def start(self, address: Address) -> Address:
        """Listens.

        Returns:
            The address, its port filled in where it was 0.

        Raises:
            AddressError: it cannot be had.
        """
        try:
            if isinstance(address, UnixAddress):
                await self._start_unix(address)
                return address
            self._loopback_only = self._kind.loopback_names and address.is_loopback
            self._server = await asyncio.start_server(
                self._connected, address.host, address.port, limit=self._kind.head
            )
        except OSError as error:
            self._held.close()
            raise AddressError(f"cannot listen on {address}: {(error.strerror or 'unknown reason').lower()}") from error
        return TcpAddress(address.host, self._server.sockets[0].getsockname()[1])

    async def _start_unix(self, address: UnixAddress) -> None:
        self._held.enter_context(reserved(address))
        self._server = await asyncio.start_unix_server(self._connected, address.path, limit=self._kind.head)
        self._held.callback(_remove, address.path)  # while the path is still held
        restrict(address)

    async def stop(self, seconds: float = 0.0) -> None:
        """Closes the listener, and every connection; those that are served get `seconds` to end."""
        if self._server is not None:
            self._server.close()
        if self._connections and seconds > 0:
            await asyncio.wait(self._connections, timeout=seconds)
        for connection in self._connections:
            connection.cancel()
        await asyncio.gather(*self._connections, return_exceptions=True)
        self._held.close()

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        try:
            if len(self._connections) >= self._kind.connections:
                return
            self._connections.add(task)
            # A peer that went away or is too slow is its own loss.
            with contextlib.suppress(OSError, TimeoutError):
                await self._serve(reader, writer)
        finally:
            self._connections.discard(task)
            writer.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        connection = h11.Connection(h11.SERVER, max_incomplete_event_size=self._kind.head)
        head = refused = False
        try:
            async with asyncio.timeout(self._request_seconds):
                event = await self._next_event(connection, reader)
                if not isinstance(event, h11.Request):
                    return
                head = event.method == b"HEAD"
                request = self._read(event)
                if request.method == "POST":
                    request = await self._with_body(request, connection, reader)
        except _Refused as refusal:
            refused = True
            response = HttpResponse(f"{refusal}\n".encode(), status=refusal.status)
        else:
            response = await self._answer(request)
        async with asyncio.timeout(self._request_seconds):
            self._write(connection, writer, response, head)
            await writer.drain()
        if refused:
            await _linger(reader, writer)

    async def _answer(self, request: HttpRequest) -> HttpResponse:
        try:
            async with asyncio.timeout(self._request_seconds):
                return await self._handler(request)
        except Exception as error:
            self._log.error(f"{self._kind.name} failed", **fault(error))
            return HttpResponse(b"failed; see the log\n", status=500)

    def _write(
        self, connection: h11.Connection, writer: asyncio.StreamWriter, response: HttpResponse, head: bool
    ) -> None:
        fields = [
            ("content-type", response.content_type),
            ("content-length", str(len(response.body))),
            ("cache-control", "no-store"),
            ("x-content-type-options", "nosniff"),
            ("connection", "close"),
            *self._kind.headers,
            *response.headers,
        ]
        if response.status == 405:
            fields.append(("allow", ", ".join(self._kind.methods)))
        writer.write(connection.send(h11.Response(status_code=response.status, headers=fields)) or b"")
        if not head:
            writer.write(connection.send(h11.Data(data=response.body)) or b"")
        writer.write(connection.send(h11.EndOfMessage()) or b"")

    def _read(self, event: h11.Request) -> HttpRequest:
        """The request without its body, if it is one to answer."""
        method = event.method.decode("ascii")
        if method not in self._kind.methods:
            *others, last = self._kind.methods
            raise _Refused(405, f"only {', '.join(others)} and {last} are served here")
        headers = Headers((name.decode("ascii"), value) for name, value in event.headers)
        if self._loopback_only and not _names_loopback(headers.get("host") or ""):
            raise _Refused(421, "this endpoint answers to loopback names only")
        try:
            target = urlsplit(event.target.decode("ascii"))
            query = dict(parse_qsl(target.query, keep_blank_values=True, max_num_fields=16))
        except ValueError:
            raise _Refused(400, "the request target cannot be read") from None
        return HttpRequest(target.path, query, headers, method)

    async def _with_body(
        self, request: HttpRequest, connection: h11.Connection, reader: asyncio.StreamReader
    ) -> HttpRequest:
        """The request with all of its body."""
        most = self._kind.body()
        declared = request.headers.get("content-length")
        too_long = _Refused(413, f"a body has at most {most} bytes here")
        if declared is not None and int(declared) > most:  # a number, or h11 would have refused it
            raise too_long
        body = bytearray()
        while not isinstance(event := await self._next_event(connection, reader), h11.EndOfMessage):
            assert isinstance(event, h11.Data)
            if len(body) + len(event.data) > most:
                raise too_long
            body += event.data
        return HttpRequest(request.path, request.query, request.headers, request.method, bytes(body))

    async def _next_event(self, connection: h11.Connection, reader: asyncio.StreamReader) -> object:
        """What comes next of the request; ConnectionClosed where the peer left without one."""
        try:
            while (event := connection.next_event()) is h11.NEED_DATA:
                connection.receive_data(await reader.read(self._kind.head))
        except h11.RemoteProtocolError as error:
            raise _Refused(error.error_status_hint, "the request cannot be read") from None
        return event


async def _linger(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Ends our side and lets the other end its own: closed at once, the connection could take the answer with it."""
    writer.write_eof()
    left = _LINGER
    async with asyncio.timeout(_LINGER_SECONDS):
        while left > 0 and (data := await reader.read(MAX_HEAD)):
            left -= len(data)


def _remove(path: str) -> None:
    with contextlib.suppress(FileNotFoundError):
        os.unlink(path)


def _names_loopback(host: str) -> bool:
    """Whether a `Host` field names this machine's loopback, with or without a port."""
    try:
        return parse_tcp_address(host if host.rpartition(":")[2].isdigit() else f"{host}:0").is_loopback
    except AddressError:
        return False
