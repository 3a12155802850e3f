"""Clients of HTTP/2: requests end as they please, many share a connection, and each is an exchange of its own.

Rules:
- Where it passes, either end has the same as without Gatehouse (ways.py).
- A GET, DELETE or POST is what it is, whether END_STREAM comes with its headers, with an empty DATA frame or with
  trailers.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import pytest

from tests.envoy.bootstraps import transparent
from tests.envoy.exchanges import CHUNKED, EVENT_STREAM, LIST, answer_to, call, event
from tests.envoy.harness import Running, Stacks, wait_for
from tests.envoy.http2 import Arrived, Http2Client, http2_client
from tests.envoy.keepalive import bare
from tests.envoy.observed import decisions, mark, nothing_left
from tests.envoy.raw import Lines, RawAnswer, head, in_chunks, raw_client
from tests.envoy.upstream import Connection, Request, keeping
from tests.envoy.ways import BUNDLE, ENFORCING, FREE, ROUTES, Line, once, same_both_ways

JSON = ("content-type", "application/json")
CALL = call("search", text="grüße 🦊")
BODY = json.dumps(CALL).encode()
TRAILERS = (("x-checksum", "17"),)


@pytest.fixture
def running(gatehouse_stack: Stacks) -> Running:
    return gatehouse_stack(BUNDLE, edit_bootstrap=transparent)


def at_the_headers(client: Http2Client, method: str, path: str, lines: Lines) -> int:
    return client.headers(method, path, *lines, end=True)


def with_an_empty_frame(client: Http2Client, method: str, path: str, lines: Lines) -> int:
    stream = client.headers(method, path, *lines)
    client.data(stream, end=True)
    return stream


def with_two_empty_frames(client: Http2Client, method: str, path: str, lines: Lines) -> int:
    stream = client.headers(method, path, *lines)
    client.data(stream)
    client.data(stream, end=True)
    return stream


def with_a_length_and_an_empty_frame(client: Http2Client, method: str, path: str, lines: Lines) -> int:
    return with_an_empty_frame(client, method, path, (*lines, ("content-length", "0")))


def with_trailers(client: Http2Client, method: str, path: str, lines: Lines) -> int:
    stream = client.headers(method, path, *lines)
    client.trailers(stream, TRAILERS)
    return stream


def with_a_length_and_trailers(client: Http2Client, method: str, path: str, lines: Lines) -> int:
    return with_trailers(client, method, path, (*lines, ("content-length", "0")))


ENDS: list[Callable[[Http2Client, str, str, Lines], int]] = [
    at_the_headers,
    with_an_empty_frame,
    with_two_empty_frames,
    with_a_length_and_an_empty_frame,
    with_trailers,
    with_a_length_and_trailers,
]
LINES: dict[str, Lines] = {"GET": (("accept", "text/event-stream"), ("last-event-id", "7")), "POST": (JSON,)}
STREAMED = keeping(bare(200, EVENT_STREAM, CHUNKED, body=in_chunks([b": beat\n\n", event(answer_to(CALL))])))
DONE = keeping(bare(200, JSON, ("content-length", "0")))


@pytest.mark.parametrize("ends", ENDS)
@pytest.mark.parametrize("method", ["GET", "DELETE"])
@pytest.mark.parametrize("route", ROUTES)
def test_a_get_or_delete_without_a_body_is_the_same_however_it_ends(
    running: Running, route: str, method: str, ends: Callable[[Http2Client, str, str, Lines], int]
) -> None:
    def ask(path: str, more: tuple[Line, ...]) -> RawAnswer:
        with http2_client(running) as client:
            return client.answer(ends(client, method, path, (*LINES.get(method, ()), *more)))

    since = mark(running)
    same_both_ways(running, STREAMED if method == "GET" else DONE, ask, route)
    if route != FREE:
        (decision,) = decisions(running, since)
        assert (decision["method"], decision["outcome"], decision["cause"]) == (method, "ok", "complete")


@pytest.mark.parametrize("trailers", [(), TRAILERS], ids=["nothing", "trailers"])
@pytest.mark.parametrize("method", ["GET", "POST"])
@pytest.mark.parametrize("route", ROUTES)
def test_over_http1_chunks_that_hold_nothing_are_no_body_either(
    running: Running, route: str, method: str, trailers: Lines
) -> None:
    def ask(path: str, more: tuple[Line, ...]) -> RawAnswer:
        lines = head(path, *LINES[method], *more, ("transfer-encoding", "chunked"), method=method)
        with raw_client(running) as client:
            return client.ask(lines + in_chunks([], trailers))

    if method == "POST" and route in ENFORCING:
        refused = once(running, DONE, ask, route)
        assert (refused.answer.status, refused.reached) == (400, None)
    else:
        through = same_both_ways(running, STREAMED if method == "GET" else DONE, ask, route)
        assert through.reached is not None
        assert through.reached.trailers == trailers


@pytest.mark.parametrize("ends", ENDS)
@pytest.mark.parametrize("route", ROUTES)
def test_a_post_without_a_body_is_malformed_where_a_policy_enforces_however_it_ends(
    running: Running, route: str, ends: Callable[[Http2Client, str, str, Lines], int]
) -> None:
    def ask(path: str, more: tuple[Line, ...]) -> RawAnswer:
        with http2_client(running) as client:
            return client.answer(ends(client, "POST", path, (JSON, *more)))

    if route not in ENFORCING:
        same_both_ways(running, DONE, ask, route)
        return
    refused = once(running, DONE, ask, route)
    assert refused.reached is None
    assert (refused.answer.status, refused.answer.json["error"]["code"] in (-32600, -32700)) == (400, True)


@pytest.mark.parametrize("method", ["GET", "DELETE"])
@pytest.mark.parametrize("is_sized", [True, False], ids=["sized", "unsized"])
@pytest.mark.parametrize("route", ROUTES)
def test_a_get_or_delete_with_a_body_is_denied_where_a_policy_enforces(
    running: Running, route: str, is_sized: bool, method: str
) -> None:
    def ask(path: str, more: tuple[Line, ...]) -> RawAnswer:
        lines = (*LINES.get(method, ()), *more, *((("content-length", str(len(BODY))),) if is_sized else ()))
        with http2_client(running) as client:
            stream = client.headers(method, path, *lines)
            client.data(stream)
            client.data(stream, BODY, end=True)
            return client.answer(stream)

    if route not in ENFORCING:
        same_both_ways(running, STREAMED, ask, route)
        return
    denied = once(running, STREAMED, ask, route)
    assert denied.reached is None
    assert denied.answer.json["error"]["data"]["reason"] == "unexpected-body"


@pytest.mark.parametrize("is_sized", [True, False], ids=["sized", "unsized"])
@pytest.mark.parametrize("ends", ["with its last frame", "with an empty frame", "with trailers"])
@pytest.mark.parametrize("route", ROUTES)
def test_a_post_is_the_same_however_it_ends(running: Running, route: str, ends: str, is_sized: bool) -> None:
    def ask(path: str, more: tuple[Line, ...]) -> RawAnswer:
        with http2_client(running) as client:
            size = (("content-length", str(len(BODY))),) if is_sized else ()
            stream = client.headers("POST", path, JSON, *more, *size)
            client.data(stream, BODY[:9])
            client.data(stream, BODY[9:], end=ends == "with its last frame")
            if ends == "with an empty frame":
                client.data(stream, end=True)
            elif ends == "with trailers":
                client.trailers(stream, TRAILERS)
            return client.answer(stream)

    through = same_both_ways(running, STREAMED, ask, route)
    assert through.reached is not None
    # Towards an upstream of HTTP/1.1 a length leaves no room for trailers (RFC 9112, section 7.1.2).
    assert through.reached.trailers == (TRAILERS if ends == "with trailers" and not is_sized else ())


@pytest.mark.parametrize("route", ENFORCING)
def test_a_post_that_is_shorter_than_it_says_reaches_nobody(running: Running, route: str) -> None:
    running.upstream.answer_with(DONE)
    for sent in (b"", BODY[:-1]):
        for ends_with_trailers in (True, False):
            with http2_client(running) as client:
                stream = client.headers("POST", f"/mcp/{route}", JSON, ("content-length", str(len(BODY))))
                client.data(stream, sent, end=not ends_with_trailers)
                if ends_with_trailers:
                    client.trailers(stream, TRAILERS)
                assert client.cut_off(stream).status == 0
    assert running.upstream.requests == []
    nothing_left(running, pooled=True)


# Not a list on "access" whose trailers follow its headers at once: where full duplex is chosen with the response, Envoy
# 1.40 then never tells the end (test_facts_duplex.py).
TRAILED = [(route, CALL, what) for route in ROUTES for what in ("body", "nothing")] + [("access", LIST, "body")]


@pytest.mark.parametrize(("route", "message", "what"), TRAILED)
def test_trailers_of_an_answer_arrive(running: Running, route: str, message: dict[str, Any], what: str) -> None:
    body = [event(answer_to(message, "search"))] if what == "body" else []
    script = keeping(bare(200, EVENT_STREAM, CHUNKED, body=in_chunks(body, TRAILERS)))

    def ask(path: str, more: tuple[Line, ...]) -> RawAnswer:
        with http2_client(running) as client:
            return client.ask("POST", path, JSON, *more, body=json.dumps(message).encode())

    assert same_both_ways(running, script, ask, route).answer.trailers == TRAILERS


@dataclass(frozen=True)
class Mixed:
    """One of many exchanges at once."""

    number: int

    @property
    def kind(self) -> str:
        return ["call", "list", "denied", "cut", "large", "GET", "DELETE", "free", "reset", "text"][self.number % 10]

    @property
    def method(self) -> str:
        return self.kind if self.kind in ("GET", "DELETE") else "POST"

    @property
    def path(self) -> str:
        routes = {"free": FREE, "list": "access", "denied": "access"}
        return f"/mcp/{routes.get(self.kind, ['access', 'watch', 'guard', 'unread'][self.number // 10 % 4])}"

    @property
    def message(self) -> dict[str, Any]:
        if self.kind == "list":
            return {**LIST, "id": self.number}
        return call("secret-plans" if self.kind == "denied" else "search", self.number, text="x" * self.number)

    @property
    def answer(self) -> dict[str, Any]:
        text = f"answer {self.number}" + ("🦊" * 100_000 if self.kind == "large" else "")
        return answer_to(self.message, f"tool-{self.number}", text=text)

    def open(self, client: Http2Client) -> int:
        """Sends its headers; those without a body end with them, or are still open."""
        lines = (("x-number", str(self.number)), *LINES.get(self.method, ()))
        return client.headers(self.method, self.path, *lines, end=self.method != "POST" and self.number > 25)

    def check(self, arrived: Arrived) -> None:
        """Asserts that it has its own answer, and nothing of another's."""
        if self.kind == "cut":
            assert (bytes(arrived.body), arrived.ended) == (event(self.answer), False)
            return
        assert arrived.reset is None
        if self.kind == "denied":
            told = json.loads(arrived.body)
            assert (told["id"], told["error"]["data"]["reason"]) == (self.number, "tool-not-allowed")
        elif self.kind == "DELETE":
            assert (arrived.status, bytes(arrived.body)) == (204, b"")
        elif self.kind == "text":
            assert (arrived.status, bytes(arrived.body)) == (404, str(self.number).encode())
        else:
            assert arrived.body == event(self.answer)


def has(length: int, arrived: Arrived) -> bool:
    return len(arrived.body) == length


def test_fifty_mixed_exchanges_over_one_connection_do_not_mix(running: Running) -> None:
    all_of_them = [Mixed(number) for number in range(50)]

    async def script(request: Request, connection: Connection) -> None:
        mixed = Mixed(int(request.header("x-number") or ""))
        await connection.gate("all are there")
        if mixed.kind == "DELETE":
            await connection.head(204)
        elif mixed.kind == "text":
            await connection.head(404, ("content-type", "text/plain"), CHUNKED)
            await connection.chunk(str(mixed.number).encode())
            await connection.end()
        else:
            answer = event(mixed.answer)
            await connection.head(200, EVENT_STREAM, CHUNKED)
            for at in range(0, len(answer), size := 11 + mixed.number % 13 + len(answer) // 50):
                await connection.chunk(answer[at : at + size])
                await asyncio.sleep(0)
            # Cut while the headers are on their way, Envoy may send those of its own 502 after them on the same stream.
            gates = {"reset": "they are reset", "cut": "they have come"}
            await (connection.gate(gates[mixed.kind]) if mixed.kind in gates else asyncio.sleep(0))
            connection.cut() if mixed.kind == "cut" else await connection.end()

    running.upstream.answer_with(script, ["all are there", "they have come", "they are reset"])
    since = mark(running)
    with http2_client(running) as client:
        streams = {mixed: mixed.open(client) for mixed in all_of_them}
        posts = {mixed: json.dumps(mixed.message).encode() for mixed in all_of_them if mixed.method == "POST"}
        for mixed, body in posts.items():
            client.data(streams[mixed], body[:20])
        for mixed, stream in streams.items():
            if mixed in posts:
                client.data(stream, posts[mixed][20:], end=True)
            elif mixed.number <= 25:
                client.data(stream, end=True)
        reached = sum(mixed.kind != "denied" for mixed in all_of_them)
        wait_for(lambda: len(running.upstream.requests) == reached or None, f"{reached} requests at the upstream")
        running.upstream.open("all are there")
        for mixed, stream in streams.items():
            if mixed.kind in ("reset", "cut"):
                client.wait(stream, partial(has, len(event(mixed.answer))))
            if mixed.kind == "reset":
                client.reset(stream)
        running.upstream.open("they have come")
        for mixed, stream in streams.items():
            if mixed.kind == "reset":
                continue
            mixed.check(client.wait(stream, lambda arrived: arrived.ended or arrived.reset is not None))
    running.upstream.open("they are reset")
    for request in running.upstream.requests:
        mixed = Mixed(int(request.header("x-number") or ""))
        assert (request.path, request.body) == (mixed.path, posts.get(mixed, b""))
    nothing_left(running)
    governed = sum(mixed.kind != "free" for mixed in all_of_them)
    assert len({decision["id"] for decision in decisions(running, since, governed)}) == governed
