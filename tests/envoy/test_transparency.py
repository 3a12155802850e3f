"""Gatehouse is not seen: with it and without it, either end has the same exchange.

Rules:
- Each exchange takes place without Gatehouse first, then with it, through the same Envoy (ways.py).
"""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import partial
from typing import Any

import pytest

from tests.envoy.bootstraps import DIRECT, transparent
from tests.envoy.exchanges import LIST, answer_to, call, event
from tests.envoy.harness import Running, Stacks
from tests.envoy.http2 import http2_client
from tests.envoy.keepalive import bare
from tests.envoy.observed import envoy_stat
from tests.envoy.raw import RawAnswer, head, in_chunks, raw_client
from tests.envoy.upstream import Connection, Request, Script, keeping
from tests.envoy.ways import BUNDLE, FREE, ROUTES, Line, once, same_both_ways

CALL = call("search", text="grüße 🦊")
JSON = ("content-type", "application/json")
TEXT = ("content-type", "text/plain; charset=latin-1")
STREAM = ("content-type", "text/event-stream")
IN_CHUNKS = ("transfer-encoding", "chunked")
ODD = (
    ("set-cookie", "a=1"),
    ("set-cookie", "b=2; path=/"),
    ("x-empty", ""),
    ("x-latin", "gr\xfc\xdfe"),
    ("x-long", "y" * 20_000),
)


@pytest.fixture
def running(gatehouse_stack: Stacks) -> Running:
    return gatehouse_stack(BUNDLE, edit_bootstrap=transparent)


def length(body: bytes) -> Line:
    return "content-length", str(len(body))


def result_of(request: Request) -> dict[str, Any]:
    """What answers a request's message; a call's result where there is none."""
    return answer_to(LIST, "search") if b"tools/list" in request.body else answer_to(CALL)


def with_result(*lines: Line, stream: bool = False, status: int = 200) -> Script:
    """Answers with a result: sized, or in two chunks."""

    async def script(request: Request, connection: Connection) -> None:
        value = result_of(request)
        body = event(value) if stream else json.dumps(value, ensure_ascii=False, indent=1).encode()
        sized_ = IN_CHUNKS not in lines
        written = body if sized_ else in_chunks([body[:9], body[9:]])
        await bare(status, *lines, *([length(body)] if sized_ else []), body=written)(request, connection)

    return keeping(script)


def answered(status: int, body: bytes, *lines: Line) -> Script:
    return kept(status, *lines, length(body), body=body)


def kept(status: int, *lines: Line, body: bytes = b"") -> Script:
    return keeping(bare(status, *lines, body=body))


REQUESTS: dict[str, tuple[str, bytes, tuple[Line, ...]]] = {
    "call": ("POST", json.dumps(CALL).encode(), (JSON, ("accept", "application/json, text/event-stream"))),
    "list": ("POST", json.dumps(LIST).encode(), (JSON, ("accept-encoding", "gzip, br"))),
    "GET": ("GET", b"", (("accept", "text/event-stream"), ("last-event-id", "7"))),
    "DELETE": ("DELETE", b"", (("mcp-session-id", "s"),)),
    "HEAD": ("HEAD", b"", ()),
    "OPTIONS": ("OPTIONS", b"", (("origin", "http://a.example"), ("access-control-request-method", "POST"))),
    "OPTIONS with a body": ("OPTIONS", b"asks", (TEXT,)),
    "PUT": ("PUT", b"\x00\xff", (("content-type", "application/octet-stream"),)),
    "PATCH in text": ("PATCH", b"text", (TEXT,)),
    "GET of a page": ("GET", b"", (("accept", "text/html"),)),
    "no JSON at all": ("POST", b"{,", (JSON,)),
    "an empty body": ("POST", b"", (JSON,)),
}
MCP = ["call", "list", "GET", "DELETE"]
# What a route of the bundle lets through unread, or all where nothing enforces.
PASSES = {
    "access": [*MCP, "HEAD", "OPTIONS", "OPTIONS with a body"],
    "guard": MCP,
    "unread": MCP,
    "watch": list(REQUESTS),
    FREE: list(REQUESTS),
}
ANSWERS: dict[str, Script] = {
    "200": with_result(JSON),
    "200 in chunks": with_result(JSON, IN_CHUNKS),
    "200 as a stream": with_result(STREAM, IN_CHUNKS, stream=True),
    "200 as a sized stream": with_result(STREAM, stream=True),
    "201 with odd headers": with_result(JSON, *ODD, status=201),
    "202": answered(202, b""),
    "204": kept(204, ("allow", "GET, POST"), ("access-control-allow-origin", "*")),
    "205": answered(205, b""),
    "304": kept(304, ("etag", '"1"'), ("content-length", "77")),
    "307": answered(307, b"", ("location", "/mcp/other")),
    "400": answered(400, b'{"jsonrpc":"2.0","id":null,"error":{"code":-32600,"message":"no"}}', JSON),
    "401": answered(401, b'{"error":"invalid_token"}', JSON, ("www-authenticate", 'Bearer realm="a"')),
    "403 in text": answered(403, b"no\xff", TEXT),
    "404 without a type": answered(404, b"nothing here"),
    "405": answered(405, b"", ("allow", "POST")),
    "429": answered(429, b'{"error":{"message":"slow down"}}', JSON, ("retry-after", "7")),
    "500": answered(500, b"{}", JSON),
    "500 in chunks": kept(500, JSON, IN_CHUNKS, body=in_chunks([b'{"detail":', b'"x"}'])),
    "502 as a page": answered(502, b"<h1>bad gateway</h1>", ("content-type", "text/html")),
    "503 without a body": answered(503, b"", ("retry-after", "1")),
    "504 without a length": bare(504, TEXT, ("connection", "close"), body=b"until the end of the connection"),
}  # fmt: skip


def over_http1(running: Running, request: str, path: str, more: tuple[Line, ...]) -> RawAnswer:
    method, body, lines = REQUESTS[request]
    sized = [length(body)] if body or method != "GET" else []
    with raw_client(running) as client:
        return client.ask(head(path, *lines, *more, *sized, method=method) + body, method)


def over_http2(running: Running, request: str, path: str, more: tuple[Line, ...]) -> RawAnswer:
    method, body, lines = REQUESTS[request]
    with http2_client(running) as client:
        return client.ask(method, path, *lines, *more, body=body)


@pytest.mark.parametrize("over", [over_http1, over_http2])
@pytest.mark.parametrize("answer", ANSWERS.values(), ids=ANSWERS.keys())
@pytest.mark.parametrize("route", ROUTES)
def test_every_method_and_every_status_is_the_same_on_either_end(
    running: Running, route: str, answer: Script, over: Callable[..., RawAnswer]
) -> None:
    for request in PASSES[route]:
        same_both_ways(running, answer, partial(over, running, request), route)


def test_what_goes_without_gatehouse_is_not_told_to_it_and_a_difference_would_be_seen(running: Running) -> None:
    """Else this file would show nothing."""

    def asked() -> int:
        return envoy_stat(running, "http.clients.ext_proc.streams_started")

    before = asked()
    once(running, ANSWERS["200"], partial(over_http1, running, "call"), FREE, DIRECT)
    assert asked() == before
    once(running, ANSWERS["200"], partial(over_http1, running, "call"), FREE)
    assert asked() == before + 1
    with pytest.raises(AssertionError):
        same_both_ways(running, ANSWERS["200"], partial(over_http1, running, "call"), "changed")
