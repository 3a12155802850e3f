"""The admin endpoint's HTTP, over real sockets."""

from __future__ import annotations

import asyncio
import contextlib
import stat
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from ext_proc.server.address import Address, AddressError, TcpAddress, UnixAddress
from ext_proc.server.http import (
    ADMIN,
    MAX_CONNECTIONS,
    MAX_HEAD,
    Handler,
    HttpKind,
    HttpRequest,
    HttpResponse,
    HttpServer,
)
from tests.unit.server.fakes import MemoryLog, soon

LOOPBACK = TcpAddress("127.0.0.1", 0)


async def echo(request: HttpRequest) -> HttpResponse:
    if request.path == "/broken":
        raise ValueError("payload")
    return HttpResponse(
        f"{request.path} {dict(request.query)} {request.headers.get('accept')} {request.body!r}".encode()
    )


@contextlib.asynccontextmanager
async def serving(
    log: MemoryLog | None = None,
    handler: Handler = echo,
    seconds: float = 5.0,
    host: str = "127.0.0.1",
    kind: HttpKind = ADMIN,
) -> AsyncIterator[TcpAddress]:
    server = HttpServer(handler, log or MemoryLog(), seconds, kind)
    address = await server.start(TcpAddress(host, 0))
    assert isinstance(address, TcpAddress)
    try:
        yield TcpAddress("127.0.0.1", address.port)
    finally:
        await server.stop()


async def send(address: Address, request: bytes) -> bytes:
    """What comes back until the server closes."""
    if isinstance(address, UnixAddress):
        reader, writer = await asyncio.open_unix_connection(address.path)
    else:
        reader, writer = await asyncio.open_connection(address.host, address.port)
    writer.write(request)
    with contextlib.suppress(ConnectionError):
        await writer.drain()
    answer = b""
    with contextlib.suppress(ConnectionError):
        answer = await soon(reader.read())
    writer.close()
    with contextlib.suppress(ConnectionError):
        await writer.wait_closed()
    return answer


def get(path: str, method: str = "GET", host: str = "localhost", more: str = "") -> bytes:
    return f"{method} {path} HTTP/1.1\r\nhost: {host}\r\n{more}\r\n".encode()


def status(answer: bytes) -> int:
    return int(answer.split(b" ", 2)[1])


async def test_a_get_is_answered_and_the_connection_closed() -> None:
    async with serving() as address:
        answer = await send(address, get("/a?b=c&d=", more="accept: text/x\r\n"))
    head, _, body = answer.partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 200 ")
    assert b"content-type: text/plain; charset=utf-8" in head.lower()
    assert b"connection: close" in head.lower()
    assert body == b"/a {'b': 'c', 'd': ''} text/x b''"


async def test_a_head_is_answered_without_a_body_and_with_its_length() -> None:
    async with serving() as address:
        answer = await send(address, get("/a", "HEAD"))
    head, _, body = answer.partition(b"\r\n\r\n")
    assert (status(answer), body) == (200, b"")
    assert b"content-length: 14" in head.lower()


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "OPTIONS", "CONNECT"])
async def test_other_methods_are_refused(method: str) -> None:
    async with serving() as address:
        answer = await send(address, get("/a", method))
    assert status(answer) == 405
    assert b"allow: GET, HEAD" in answer


@pytest.mark.parametrize(
    ("request_bytes", "expected"),
    [
        (b"nonsense\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\n\r\n", 400),  # no host
        (get("/[%"), 200),
        (b"GET http://[ HTTP/1.1\r\nhost: localhost\r\n\r\n", 400),
        (get("/?" + "&".join(f"a{i}=1" for i in range(40))), 400),
        (get("/", more="x: " + "y" * (2 * MAX_HEAD) + "\r\n"), 431),
    ],
)
async def test_what_cannot_be_read_is_refused(request_bytes: bytes, expected: int) -> None:
    async with serving() as address:
        assert status(await send(address, request_bytes)) == expected


async def test_a_request_may_come_in_pieces() -> None:
    async with serving() as address:
        reader, writer = await asyncio.open_connection(address.host, address.port)
        for byte in get("/a"):
            writer.write(bytes([byte]))
            await writer.drain()
        assert status(await soon(reader.read())) == 200
        writer.close()
        await writer.wait_closed()


async def test_a_connection_without_a_request_is_just_closed() -> None:
    log = MemoryLog()
    async with serving(log) as address:
        reader, writer = await asyncio.open_connection(address.host, address.port)
        writer.write_eof()
        assert await soon(reader.read()) == b""
        writer.close()
        await writer.wait_closed()
    assert log.lines == []


async def test_a_handler_that_breaks_is_an_error_and_is_logged_without_its_text() -> None:
    log = MemoryLog()
    async with serving(log) as address:
        answer = await send(address, get("/broken"))
    assert status(answer) == 500
    assert log.of("error") == ["the admin endpoint failed"]
    assert "payload" not in str(log.lines) + answer.decode()


async def test_a_request_that_takes_too_long_is_cut_off() -> None:
    async with serving(seconds=0.05) as address:
        assert await send(address, b"GET / HTTP/1.1\r\n") == b""


async def test_connections_past_the_bound_are_closed_at_once() -> None:
    arrived: asyncio.Queue[None] = asyncio.Queue()
    go_on = asyncio.Event()

    async def slow(request: HttpRequest) -> HttpResponse:
        arrived.put_nowait(None)
        await go_on.wait()
        return HttpResponse(b"done")

    async with serving(handler=slow) as address:
        waiting = [asyncio.ensure_future(send(address, get("/"))) for _ in range(MAX_CONNECTIONS)]
        for _ in waiting:
            await soon(arrived.get())
        assert await send(address, get("/")) == b""
        go_on.set()
        assert {status(answer) for answer in await soon(asyncio.gather(*waiting))} == {200}


@pytest.mark.parametrize("host", ["localhost", "localhost:9901", "127.0.0.1:1", "[::1]:1", "[::1]", "127.0.0.1"])
async def test_loopback_names_are_answered(host: str) -> None:
    async with serving() as address:
        assert status(await send(address, get("/", host=host))) == 200


@pytest.mark.parametrize("host", ["rebound.example", "rebound.example:9901", "localhost.example", "10.0.0.1:9901", ""])
async def test_on_loopback_other_names_are_refused(host: str) -> None:
    async with serving() as address:
        assert status(await send(address, get("/", host=host))) == 421


async def test_on_an_open_address_any_name_is_answered() -> None:
    async with serving(host="0.0.0.0") as address:
        assert status(await send(address, get("/", host="gatehouse.example"))) == 200


async def test_a_port_that_is_taken_is_a_sentence() -> None:
    async with serving() as address:
        with pytest.raises(AddressError, match=f"^cannot listen on {address}: .*in use"):
            await HttpServer(echo, MemoryLog()).start(address)


# --- a server that takes bodies, as the one for pages does


FORMS = HttpKind("forms", methods=("GET", "HEAD", "POST"), body=lambda: 10, headers=(("x-frame-options", "DENY"),))


def post(body: bytes, more: str = "", length: int | None = None) -> bytes:
    declared = f"content-length: {len(body) if length is None else length}\r\n"
    return get("/a", "POST", more=declared + more) + body


async def test_a_body_is_read_whole() -> None:
    async with serving(kind=FORMS) as address:
        assert (await send(address, post(b"0123456789"))).endswith(b"b'0123456789'")
        chunked = get("/a", "POST", more="transfer-encoding: chunked\r\n") + b"2\r\nab\r\n3\r\ncde\r\n0\r\n\r\n"
        assert (await send(address, chunked)).endswith(b"b'abcde'")


@pytest.mark.parametrize("cut", range(1, len(post(b"0123456789"))))
async def test_a_body_that_comes_in_two_pieces_is_the_same(cut: int) -> None:
    request = post(b"0123456789")
    async with serving(kind=FORMS) as address:
        reader, writer = await asyncio.open_connection(address.host, address.port)
        writer.write(request[:cut])
        await writer.drain()
        await asyncio.sleep(0)
        writer.write(request[cut:])
        assert (await soon(reader.read())).endswith(b"b'0123456789'")
        writer.close()
        await writer.wait_closed()


@pytest.mark.parametrize(
    "request_bytes",
    [
        post(b"", length=11),  # refused by its word alone: nothing of it is sent
        post(b"x" * 100_000),
        get("/a", "POST", more="transfer-encoding: chunked\r\n") + b"b\r\n0123456789a\r\n0\r\n\r\n",
        get("/a", "POST", more="transfer-encoding: chunked\r\n") + b"6\r\n012345\r\n6\r\n012345\r\n",
    ],
)
async def test_a_body_that_is_too_long_is_refused_in_words(request_bytes: bytes) -> None:
    async with serving(kind=FORMS) as address:
        answer = await send(address, request_bytes)
    assert status(answer) == 413
    assert answer.endswith(b"a body has at most 10 bytes here\n")


@pytest.mark.parametrize(
    "request_bytes",
    [
        get("/a", "POST", more="content-length: -1\r\n"),
        get("/a", "POST", more="content-length: 1\r\ncontent-length: 2\r\n"),
        get("/a", "POST", more="transfer-encoding: chunked\r\n") + b"zz\r\n",
        post(b"x", "transfer-encoding: gzip\r\n"),
    ],
)
async def test_a_body_without_one_end_is_refused(request_bytes: bytes) -> None:
    async with serving(kind=FORMS) as address:
        assert status(await send(address, request_bytes)) in (400, 501)


async def test_a_body_that_does_not_come_is_cut_off() -> None:
    async with serving(kind=FORMS, seconds=0.05) as address:
        assert await send(address, post(b"", length=5)) == b""


async def test_every_answer_has_the_headers_of_its_kind() -> None:
    async with serving(kind=FORMS) as address:
        for request, expected in (
            (get("/a"), 200),
            (get("/broken"), 500),
            (get("/a", "PUT"), 405),
            (b"nonsense\r\n\r\n", 400),
            (post(b"", length=11), 413),
        ):
            answer = await send(address, request)
            assert status(answer) == expected
            assert b"\r\nx-frame-options: DENY\r\n" in answer
            assert (b"\r\nallow: GET, HEAD, POST\r\n" in answer) is (expected == 405)


async def test_a_handler_that_takes_too_long_is_an_error() -> None:
    async def never(request: HttpRequest) -> HttpResponse:
        await asyncio.Event().wait()
        raise AssertionError

    log = MemoryLog()
    async with serving(log, never, seconds=0.05) as address:
        assert status(await send(address, get("/"))) == 500
    assert log.of("error") == ["the admin endpoint failed"]


async def test_a_request_that_is_served_may_end_before_the_server_does() -> None:
    arrived, go_on = asyncio.Event(), asyncio.Event()

    async def slow(request: HttpRequest) -> HttpResponse:
        arrived.set()
        await go_on.wait()
        return HttpResponse(b"done")

    server = HttpServer(slow, MemoryLog())
    address = await server.start(LOOPBACK)
    waiting = asyncio.ensure_future(send(address, get("/")))
    await soon(arrived.wait())
    stopping = asyncio.ensure_future(server.stop(5.0))
    await asyncio.sleep(0)
    with pytest.raises(ConnectionError):
        await send(address, get("/"))
    go_on.set()
    await soon(stopping)
    assert (await soon(waiting)).endswith(b"done")


async def test_a_unix_socket_is_for_the_group_and_is_gone_afterwards(tmp_path: Path) -> None:
    path = tmp_path / "pages.sock"
    server = HttpServer(echo, MemoryLog())
    address = await server.start(UnixAddress(str(path)))
    try:
        assert stat.S_IMODE(path.stat().st_mode) == 0o660
        assert status(await send(address, get("/a", host="gate.example"))) == 200
        with pytest.raises(AddressError, match="another process serves there"):
            await HttpServer(echo, MemoryLog()).start(address)
    finally:
        await server.stop()
    assert not path.exists()
