"""Uploads: slow, large, answered before they end, asked for by 100 Continue; over both versions of HTTP.

Rules:
- What goes on is the same as without Gatehouse at either end (ways.py); what is held until it is decided reaches the
  upstream whole or not at all.
- That time has passed is known from another request, which Envoy gave up (`/mcp/slow`).
"""

from __future__ import annotations

import json
from contextlib import ExitStack
from itertools import pairwise

import pytest

from tests.envoy.bootstraps import DIRECT, impatient, transparent
from tests.envoy.exchanges import answer_to, call, posted
from tests.envoy.harness import Running, Stacks, wait_for
from tests.envoy.http2 import Http2Client, http2_client
from tests.envoy.keepalive import bare
from tests.envoy.observed import decisions, mark, metric, nothing_left
from tests.envoy.raw import JSON_LINES, RawAnswer, RawClient, head, in_chunks, raw_client
from tests.envoy.upstream import Connection, Request, Script, keeping
from tests.envoy.ways import BUNDLE, ENFORCING, FREE, GOVERNED, ROUTES, Line, same_both_ways

MIB = 1024 * 1024
CHUNKED = ("transfer-encoding", "chunked")
BODY = json.dumps(call(text="grüße")).encode()
DONE = json.dumps(answer_to(call())).encode()


@pytest.fixture
def running(gatehouse_stack: Stacks) -> Running:
    return gatehouse_stack(BUNDLE, edit_bootstrap=transparent)


def length(body: bytes) -> Line:
    return "content-length", str(len(body))


def answered(status: int = 200, body: bytes = DONE) -> Script:
    return keeping(bare(status, JSON_LINES[0], length(body), body=body))


class OverHttp1:
    """An upload piece by piece, in chunks or sized."""

    def __init__(self, client: RawClient, path: str, body: bytes, is_sized: bool, *lines: Line) -> None:
        self._client = client
        self._is_sized = is_sized
        client.send(head(path, *JSON_LINES, *lines, length(body) if is_sized else CHUNKED))

    def send(self, data: bytes, *, end: bool) -> None:
        chunk = data if self._is_sized else in_chunks([data]) if end else in_chunks([data])[:-5]
        self._client.send(chunk)

    def answer(self) -> RawAnswer:
        return self._client.answer()


class OverHttp2:
    """The same in frames."""

    def __init__(self, client: Http2Client, path: str, body: bytes, is_sized: bool, *lines: Line) -> None:
        self._client = client
        self._stream = client.headers("POST", path, *JSON_LINES, *lines, *([length(body)] if is_sized else []))

    def send(self, data: bytes, *, end: bool) -> None:
        self._client.data(self._stream, data, end=end)

    def answer(self) -> RawAnswer:
        return self._client.answer(self._stream)


def upload(
    running: Running, stack: ExitStack, version: int, path: str, body: bytes, is_sized: bool, *lines: Line
) -> OverHttp1 | OverHttp2:
    """Begins an upload over a connection of its own, which stays open as long as `stack`."""
    if version == 1:
        return OverHttp1(stack.enter_context(raw_client(running)), path, body, is_sized, *lines)
    return OverHttp2(stack.enter_context(http2_client(running)), path, body, is_sized, *lines)


VERSIONS = pytest.mark.parametrize("version", [1, 2], ids=["HTTP/1.1", "HTTP/2"])
SIZED = pytest.mark.parametrize("is_sized", [True, False], ids=["sized", "unsized"])


@VERSIONS
@SIZED
@pytest.mark.parametrize("size", [100, 2 * MIB])
def test_an_upload_may_take_longer_than_envoy_waits_for_a_reply(
    gatehouse_stack: Stacks, size: int, is_sized: bool, version: int
) -> None:
    running = gatehouse_stack(BUNDLE, edit_bootstrap=impatient)
    body = json.dumps(call(text="ü" * (size // 2))).encode()
    cuts = [0, 30, len(body) // 2, len(body)]
    parts = [body[start:end] for start, end in pairwise(cuts)]
    running.upstream.answer_with(answered())
    with ExitStack() as stack:
        uploads = [upload(running, stack, version, f"/mcp/{route}", body, is_sized) for route in ROUTES]
        for number, part in enumerate(parts):
            for each in uploads:
                each.send(part, end=number == len(parts) - 1)
            if number < len(parts) - 1:
                assert posted(running, call(), "/slow").status_code == 504  # so long were all of them silent
        assert [each.answer().body for each in uploads] == [DONE] * len(ROUTES)
    assert [request.body == body for request in running.upstream.requests] == [True] * len(ROUTES)
    nothing_left(running, pooled=True)


@VERSIONS
@SIZED
@pytest.mark.parametrize("route", ROUTES)
def test_an_upload_of_24_mib_arrives(running: Running, route: str, is_sized: bool, version: int) -> None:
    body = json.dumps(call(text="y" * 24 * MIB)).encode()

    def ask(path: str, more: tuple[Line, ...]) -> RawAnswer:
        with ExitStack() as stack:
            begun = upload(running, stack, version, path, body, is_sized, *more)
            for at in range(0, len(body), MIB):
                begun.send(body[at : at + MIB], end=at + MIB >= len(body))
            return begun.answer()

    since = mark(running)
    through = same_both_ways(running, answered(), ask, route)
    assert through.reached is not None
    assert through.reached.body == body
    if route != FREE:
        (decision,) = decisions(running, since)
        assert (decision["target"], decision["outcome"], decision["cause"]) == ("search", "ok", "complete")


@pytest.mark.parametrize("is_sized", [True, False], ids=["sized", "chunked"])
@pytest.mark.parametrize("route", ROUTES)
def test_over_http2_an_answer_of_24_mib_arrives(running: Running, route: str, is_sized: bool) -> None:
    body = json.dumps(answer_to(call(), text="y" * 24 * MIB)).encode()
    parts = [body[at : at + MIB] for at in range(0, len(body), MIB)]

    async def script(request: Request, connection: Connection) -> None:
        await connection.head(200, JSON_LINES[0], length(body) if is_sized else CHUNKED)
        for part in parts:
            await (connection.send if is_sized else connection.chunk)(part)
        if not is_sized:
            await connection.end()

    def ask(path: str, more: tuple[Line, ...]) -> RawAnswer:
        with http2_client(running) as client:
            return client.ask("POST", path, *JSON_LINES, *more, body=json.dumps(call()).encode())

    assert len(same_both_ways(running, keeping(script), ask, route).answer.body) > 24 * MIB


@VERSIONS
@pytest.mark.parametrize("route", ROUTES)
def test_a_client_that_expects_100_continue_is_told_to(running: Running, route: str, version: int) -> None:
    def ask(path: str, more: tuple[Line, ...]) -> RawAnswer:
        lines = (*JSON_LINES, *more, length(BODY), ("expect", "100-continue"))
        if version == 1:
            with raw_client(running) as client:
                client.send(head(path, *lines))
                assert client.answer().status == 100
                return client.ask(BODY)
        with http2_client(running) as http2:
            stream = http2.headers("POST", path, *lines)
            assert http2.wait(stream, lambda arrived: arrived.told).told == [100]
            http2.data(stream, BODY, end=True)
            return http2.answer(stream)

    same_both_ways(running, answered(), ask, route)


REFUSAL = b'{"error":"invalid_token"}'


def refusing() -> Script:
    """Answers 401 when it has seen the headers, and reads nothing more."""

    async def script(request: Request, connection: Connection) -> None:
        refused = bare(401, JSON_LINES[0], ("www-authenticate", "Bearer"), length(REFUSAL), body=REFUSAL)
        await refused(request, connection)
        await connection.gate("the client has it")

    return script


def refused(answer: RawAnswer) -> None:
    assert (answer.status, answer.body, answer.header("www-authenticate")) == (401, REFUSAL, "Bearer")


@VERSIONS
@SIZED
@pytest.mark.parametrize("lines", [(DIRECT,), ()], ids=["without Gatehouse", "with it"])
def test_on_an_ungoverned_route_an_answer_comes_before_the_upload_ends(
    running: Running, lines: tuple[Line, ...], is_sized: bool, version: int
) -> None:
    body = json.dumps(call(text="y" * MIB)).encode()
    running.upstream.answer_with(refusing(), ["the client has it"], at_headers=True)
    with ExitStack() as stack:
        begun = upload(running, stack, version, f"/mcp/{FREE}", body, is_sized, *lines)
        begun.send(body[:1000], end=False)
        refused(begun.answer())
        running.upstream.open("the client has it")
    nothing_left(running)


@VERSIONS
@SIZED
@pytest.mark.parametrize("route", GOVERNED)
@pytest.mark.parametrize("size", [1000, 8 * MIB])
def test_where_an_upload_was_held_its_upstream_may_answer_without_reading_it(
    running: Running, size: int, route: str, is_sized: bool, version: int
) -> None:
    """It comes all at once then; the upstream answers in the middle of it."""
    body = json.dumps(call(text="y" * size)).encode()
    running.upstream.answer_with(refusing(), ["the client has it"], at_headers=True)
    with ExitStack() as stack:
        begun = upload(running, stack, version, f"/mcp/{route}", body, is_sized)
        begun.send(body, end=True)
        refused(begun.answer())
        running.upstream.open("the client has it")
    nothing_left(running)


@VERSIONS
@SIZED
@pytest.mark.parametrize("route", ENFORCING)
def test_past_the_limit_the_client_has_its_answer_before_the_upload_ends(
    running: Running, route: str, is_sized: bool, version: int
) -> None:
    body = b" " * (26 * MIB)
    running.upstream.answer_with(answered())
    with ExitStack() as stack:
        begun = upload(running, stack, version, f"/mcp/{route}", body, is_sized)
        if not is_sized:
            begun.send(body[: 25 * MIB + 1], end=False)
        answer = begun.answer()
    assert (answer.status, answer.json["error"]["code"]) == (413, -31413)
    assert running.upstream.requests == []
    nothing_left(running, pooled=True)


@VERSIONS
@SIZED
@pytest.mark.parametrize("size", [1000, 2 * MIB])
def test_a_client_that_leaves_in_mid_upload_leaves_nothing_behind(
    running: Running, size: int, is_sized: bool, version: int
) -> None:
    body = json.dumps(call(text="y" * size)).encode()
    running.upstream.answer_with(answered())
    since = mark(running)
    with ExitStack() as stack:
        for route in ROUTES:
            begun = upload(running, stack, version, f"/mcp/{route}", body, is_sized)
            begun.send(body[:-10], end=False)
        # What came so far is on its way to Gatehouse, or waits in Envoy.
        wait_for(lambda: metric(running, "gatehouse_exchanges_active") >= len(GOVERNED) or None, "all of them there")
    nothing_left(running, pooled=True)
    assert running.upstream.requests == []
    ends = {decision["route"]: decision for decision in decisions(running, since, len(GOVERNED))}
    assert sorted(ends) == sorted(GOVERNED)
    assert {(end["outcome"], end["cause"]) for end in ends.values()} == {("truncated", "cancelled")}


def test_of_streams_that_their_client_resets_in_mid_upload_nothing_is_left_and_the_others_go_on(
    running: Running,
) -> None:
    running.upstream.answer_with(answered())
    with http2_client(running) as client:
        streams = [client.headers("POST", f"/mcp/{route}", *JSON_LINES) for route in ROUTES for _ in range(2)]
        for stream in streams:
            client.data(stream, BODY[:10])
        for stream in streams[::2]:
            client.reset(stream)
        for stream in streams[1::2]:
            client.data(stream, BODY[10:], end=True)
            assert client.answer(stream).body == DONE
        nothing_left(running, pooled=True)
        assert [request.body for request in running.upstream.requests] == [BODY] * len(ROUTES)
