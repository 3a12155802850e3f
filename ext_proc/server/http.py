"""A small HTTP/1.1 server for the admin endpoint: GET and HEAD, one request per connection.

Rules:
- h11 reads and writes the protocol (no dependencies, sans-IO); asyncio's streams carry it. A framework would be many
  times the code of what it serves here.
- Everything is bounded: bytes of a request's head, seconds of a request, connections at a time. Bodies are not read.
- On a loopback address only a loopback `Host` is answered, so that a web page cannot reach it by rebinding a name.

Not here: what is served (admin.py).
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from urllib.parse import parse_qsl, urlsplit

import h11

from ext_proc.errors import GatehouseError
from ext_proc.server.address import AddressError, TcpAddress, parse_tcp_address
from ext_proc.telemetry.log import Log, fault

MAX_HEAD = 8 * 1024  # bytes
MAX_CONNECTIONS = 32
REQUEST_SECONDS = 10.0
TEXT = "text/plain; charset=utf-8"


@dataclass(frozen=True, slots=True)
class HttpRequest:
    """A request: the path as it came, the query's parameters (the last of a name counts), and `accept`."""

    path: str
    query: Mapping[str, str] = field(default_factory=dict)
    accept: str = ""


@dataclass(frozen=True, slots=True)
class HttpResponse:
    """A whole response."""

    body: bytes
    content_type: str = TEXT
    status: int = 200


Handler = Callable[[HttpRequest], Awaitable[HttpResponse]]


class _Refused(GatehouseError):
    """A request that is answered without asking the handler."""

    def __init__(self, status: int, sentence: str) -> None:
        super().__init__(sentence)
        self.status = status


class HttpServer:
    """Serves `handler`."""

    def __init__(self, handler: Handler, log: Log, request_seconds: float = REQUEST_SECONDS) -> None:
        self._handler = handler
        self._log = log
        self._request_seconds = request_seconds
        self._connections: set[asyncio.Task[None]] = set()
        self._server: asyncio.Server | None = None
        self._loopback = False

    async def start(self, address: TcpAddress) -> TcpAddress:
        """Listens.

        Returns:
            The address, its port filled in where it was 0.

        Raises:
            AddressError: it cannot be had.
        """
        self._loopback = address.is_loopback
        try:
            self._server = await asyncio.start_server(self._connected, address.host, address.port, limit=MAX_HEAD)
        except OSError as error:
            raise AddressError(f"cannot listen on {address}: {(error.strerror or 'unknown reason').lower()}") from error
        return TcpAddress(address.host, self._server.sockets[0].getsockname()[1])

    async def stop(self) -> None:
        """Closes the listener and every connection."""
        if self._server is not None:
            self._server.close()
        for connection in self._connections:
            connection.cancel()
        await asyncio.gather(*self._connections, return_exceptions=True)

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        try:
            if len(self._connections) >= MAX_CONNECTIONS:
                return
            self._connections.add(task)
            # A peer that went away or is too slow is its own loss.
            with contextlib.suppress(OSError, TimeoutError):
                async with asyncio.timeout(self._request_seconds):
                    await self._serve(reader, writer)
        finally:
            self._connections.discard(task)
            writer.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        connection = h11.Connection(h11.SERVER, max_incomplete_event_size=MAX_HEAD)
        head = False
        try:
            event = await _next_event(connection, reader)
            if event is None:
                return
            head = event.method == b"HEAD"
            response = await self._handler(self._read(event))
        except _Refused as refusal:
            response = HttpResponse(f"{refusal}\n".encode(), status=refusal.status)
        except Exception as error:
            self._log.error("the admin endpoint failed", **fault(error))
            response = HttpResponse(b"failed; see the log\n", status=500)
        fields = [
            ("content-type", response.content_type),
            ("content-length", str(len(response.body))),
            ("cache-control", "no-store"),
            ("x-content-type-options", "nosniff"),
            ("connection", "close"),
        ]
        if response.status == 405:
            fields.append(("allow", "GET, HEAD"))
        writer.write(connection.send(h11.Response(status_code=response.status, headers=fields)) or b"")
        if not head:
            writer.write(connection.send(h11.Data(data=response.body)) or b"")
        writer.write(connection.send(h11.EndOfMessage()) or b"")
        await writer.drain()

    def _read(self, event: h11.Request) -> HttpRequest:
        """The request, if it is one to answer."""
        if event.method not in (b"GET", b"HEAD"):
            raise _Refused(405, "only GET and HEAD are served here")
        fields = dict(event.headers)
        if self._loopback and not _names_loopback(fields.get(b"host", b"").decode("latin-1")):
            raise _Refused(421, "this endpoint answers to loopback names only")
        try:
            target = urlsplit(event.target.decode("ascii"))
            query = dict(parse_qsl(target.query, keep_blank_values=True, max_num_fields=16))
        except ValueError:
            raise _Refused(400, "the request target cannot be read") from None
        return HttpRequest(target.path, query, fields.get(b"accept", b"").decode("latin-1"))


async def _next_event(connection: h11.Connection, reader: asyncio.StreamReader) -> h11.Request | None:
    """The request's head; None where the peer left without one."""
    try:
        while (event := connection.next_event()) is h11.NEED_DATA:
            data = await reader.read(MAX_HEAD)
            connection.receive_data(data)
    except h11.RemoteProtocolError as error:
        raise _Refused(error.error_status_hint, "the request cannot be read") from None
    return event if isinstance(event, h11.Request) else None


def _names_loopback(host: str) -> bool:
    """Whether a `Host` field names this machine's loopback, with or without a port."""
    try:
        return parse_tcp_address(host if host.rpartition(":")[2].isdigit() else f"{host}:0").is_loopback
    except AddressError:
        return False
