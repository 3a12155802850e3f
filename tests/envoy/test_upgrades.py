"""Upgrades (WebSocket) over both versions of HTTP: bytes go both ways where they may, and nobody holds what has no end.

Rules:
- Where it passes, the client has the same as without Gatehouse; where a policy enforces and the route does not list
  it, nothing of it reaches the upstream.
"""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass

import pytest

from tests.envoy.bootstraps import DIRECT, impatient, transparent
from tests.envoy.exchanges import answer_to, call, posted
from tests.envoy.harness import Running, Stacks, wait_for
from tests.envoy.http2 import http2_client
from tests.envoy.keepalive import bare
from tests.envoy.observed import decisions, envoy_stat, mark, nothing_left
from tests.envoy.raw import JSON_LINES, Lines, RawAnswer, head, raw_client, sized
from tests.envoy.upstream import Connection, Request, json_body, keeping
from tests.envoy.ways import BUNDLE, ENFORCING, FREE, ROUTES, Line, same_both_ways

UPGRADE: Lines = (("connection", "keep-alive, Upgrade"), ("upgrade", "websocket"))
KEY: Lines = (("sec-websocket-version", "13"), ("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ=="))
# A client could send this too, and the headers alone would be those of an event stream.
EVENTS: Lines = (("accept", "text/event-stream"),)
LISTED = "access/socket"
PASSING = [LISTED, "watch", FREE]
HELLO = b"\x81\x05hello"
CALL = call("search")


@pytest.fixture
def running(gatehouse_stack: Stacks) -> Running:
    return gatehouse_stack(BUNDLE, edit_bootstrap=transparent)


async def echoing(request: Request, connection: Connection) -> None:
    """Speaks first, then sends back what comes, until the client leaves."""
    lines = "connection: Upgrade\r\nupgrade: websocket\r\nsec-websocket-accept: x\r\n"
    await connection.send(f"HTTP/1.1 101 Switching Protocols\r\n{lines}\r\n".encode() + HELLO)
    while data := await connection.reader.read(1 << 16):
        await connection.send(data)


@dataclass(frozen=True, slots=True)
class Upgraded:
    """An upgraded stream as its client has it; `read` takes the next so many bytes."""

    status: int
    headers: Lines
    body: bytes
    send: Callable[[bytes], None]
    read: Callable[[int], bytes]


Over = Callable[..., AbstractContextManager[Upgraded]]


@contextmanager
def over_http1(running: Running, path: str, *lines: Line) -> Iterator[Upgraded]:
    with raw_client(running) as client:
        client.send(head(path, *UPGRADE, *KEY, *lines, method="GET"))
        answer = client.answer()
        yield Upgraded(answer.status, answer.headers, answer.body, client.send, client.exactly)


@contextmanager
def over_http2(running: Running, path: str, *lines: Line) -> Iterator[Upgraded]:
    """By extended CONNECT (RFC 8441)."""
    with http2_client(running) as client:
        stream = client.headers("CONNECT", path, (":protocol", "websocket"), *KEY[:1], *lines)
        arrived = client.wait(stream, lambda arrived: arrived.status)
        if arrived.status != 200:
            client.answer(stream)
        position = 0

        def read(count: int) -> bytes:
            nonlocal position
            position += count
            client.wait(stream, lambda arrived: len(arrived.body) >= position)
            return bytes(arrived.body[position - count : position])

        def send(data: bytes) -> None:
            client.data(stream, data)

        yield Upgraded(arrived.status, arrived.headers, bytes(arrived.body), send, read)


BOTH = pytest.mark.parametrize("over", [over_http1, over_http2])


@BOTH
@pytest.mark.parametrize("route", PASSING)
def test_bytes_go_both_ways_on_an_upgraded_stream(running: Running, route: str, over: Over) -> None:
    running.upstream.answer_with(echoing)
    without = talk(over, running, f"/mcp/{route}", DIRECT, *EVENTS)
    through = talk(over, running, f"/mcp/{route}", *EVENTS)
    assert through == without
    first, second = running.upstream.requests
    assert unvarying(second.headers) == unvarying(first.headers)
    nothing_left(running)


def unvarying(headers: Lines) -> list[Line]:
    return [line for line in headers if line[0] not in ("date", "x-request-id", "x-envoy-upstream-service-time")]


def talk(over: Over, running: Running, path: str, *lines: Line) -> tuple[int, list[Line], bytes]:
    """Opens an upgraded stream and has several things said back; gives what it opened with, and all that was heard."""
    rng = random.Random(7)
    with over(running, path, *lines) as upgraded:
        heard = upgraded.read(len(HELLO))
        for size in (1, 2, 125, 70_000, 300_000, 1):
            said = rng.randbytes(size)
            upgraded.send(said)
            assert upgraded.read(size) == said
            heard += said
        return upgraded.status, unvarying(upgraded.headers), heard


@BOTH
@pytest.mark.parametrize("route", ENFORCING)
@pytest.mark.parametrize("lines", [(), EVENTS], ids=["plain", "as an event stream"])
def test_an_upgrade_that_no_route_lists_is_denied_at_once(
    running: Running, lines: Lines, route: str, over: Over
) -> None:
    running.upstream.answer_with(echoing)
    with over(running, f"/mcp/{route}", *lines) as refused:
        assert refused.status == 403
        assert json.loads(refused.body)["error"]["data"]["reason"] == "upgrade"
    assert running.upstream.requests == []
    nothing_left(running)


@pytest.mark.parametrize("route", [*ENFORCING, "watch", FREE])
def test_a_post_that_is_an_upgrade_is_not_waited_for(running: Running, route: str) -> None:
    """Its body never ends: to hold it for its JSON would be to hold it until the limit."""
    running.upstream.answer_with(echoing)
    with raw_client(running) as client:
        client.send(head(f"/mcp/{route}", *JSON_LINES, *UPGRADE, *KEY) + b'{"jsonrpc":')
        answer = client.answer()
        if route in ENFORCING:
            assert (answer.status, running.upstream.requests) == (403, [])
        else:
            assert (answer.status, client.exactly(len(HELLO) + 11)) == (101, HELLO + b'{"jsonrpc":')
    nothing_left(running)


@pytest.mark.parametrize("route", ROUTES)
def test_an_offer_of_h2c_is_no_upgrade_to_envoy_and_the_call_is_governed(running: Running, route: str) -> None:
    """What curl --http2 sends with its first request."""
    offer = (("connection", "Upgrade, HTTP2-Settings"), ("upgrade", "h2c"), ("http2-settings", "AAMAAABk"))

    def ask(path: str, more: tuple[Line, ...]) -> RawAnswer:
        with raw_client(running) as client:
            return client.ask(sized(path, json.dumps(CALL).encode(), *JSON_LINES, *offer, *more))

    since = mark(running)
    body = json.dumps(answer_to(CALL)).encode()
    script = keeping(bare(200, *JSON_LINES[:1], ("content-length", str(len(body))), body=body))
    through = same_both_ways(running, script, ask, route)
    assert through.reached is not None
    assert through.reached.header("x-gatehouse-tool") == (None if route == FREE else "search")
    if route != FREE:
        assert decisions(running, since)[0]["target"] == "search"


@BOTH
@pytest.mark.parametrize("route", PASSING)
@pytest.mark.parametrize("status", [200, 401, 426])
def test_an_upgrade_that_the_upstream_refuses_is_answered_as_it_says(
    running: Running, status: int, route: str, over: Over
) -> None:
    lines = (("upgrade", "websocket"), ("content-type", "text/plain"))
    found = []
    for more in ((DIRECT,), ()):
        running.upstream.answer_with(
            bare(status, *lines, ("content-length", "4"), ("connection", "close"), body=b"no.\n")
        )
        with over(running, f"/mcp/{route}", *more) as refused:
            found.append((refused.status, unvarying(refused.headers), refused.body))
    assert found[0] == found[1]
    nothing_left(running)


@BOTH
@pytest.mark.parametrize("route", PASSING)
def test_an_upgraded_stream_may_be_silent_for_longer_than_envoy_waits_for_a_reply(
    gatehouse_stack: Stacks, route: str, over: Over
) -> None:
    running = gatehouse_stack(BUNDLE, edit_bootstrap=impatient)
    running.upstream.answer_with(echoing)
    with over(running, f"/mcp/{route}") as upgraded:
        assert upgraded.read(len(HELLO)) == HELLO
        assert posted(running, CALL, "/slow").status_code == 504  # so long has nothing been said
        upgraded.send(b"still there?")
        assert upgraded.read(12) == b"still there?"
    nothing_left(running)


@BOTH
@pytest.mark.parametrize("route", PASSING)
def test_while_bytes_go_both_ways_nothing_is_open_to_gatehouse(running: Running, route: str, over: Over) -> None:
    running.upstream.answer_with(echoing)
    with over(running, f"/mcp/{route}") as upgraded:
        upgraded.read(len(HELLO))
        wait_for(lambda: envoy_stat(running, "cluster.gatehouse.upstream_rq_active") == 0 or None, "the end of its RPC")
        upgraded.send(b"on")
        assert upgraded.read(2) == b"on"


def test_where_envoy_allows_no_upgrades_nothing_of_one_reaches_the_upstream(gatehouse_stack: Stacks) -> None:
    running = gatehouse_stack(BUNDLE)
    running.upstream.answer_with(json_body({}))
    for route in ROUTES:
        with over_http1(running, f"/mcp/{route}") as refused:
            assert refused.status == 403
    assert running.upstream.requests == []
    nothing_left(running)
