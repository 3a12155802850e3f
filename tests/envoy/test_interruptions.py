"""Answers that break off, fall silent or are left, over both versions of HTTP: no end is made up, and nothing is left.

Rules:
- What an upstream broke off never ends cleanly for the client: it is cut off, or an error of Envoy's where no byte had
  left.
- "Nothing is left" is looked up in Envoy (requests, RPCs, connections to the upstream) and in Gatehouse.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from typing import Any

import httpx
import pytest

from tests.envoy.bootstraps import impatient, transparent
from tests.envoy.exchanges import CHUNKED, EVENT_STREAM, HEADERS, LIST, answer_to, call, event, posted
from tests.envoy.harness import Running, Stacks, wait_for
from tests.envoy.http2 import http2_client
from tests.envoy.observed import decisions, envoy_stat, mark, nothing_left
from tests.envoy.raw import JSON_LINES, head, raw_client, sized
from tests.envoy.upstream import Connection, Request, Script
from tests.envoy.ways import BUNDLE, FREE, ROUTES

MIB = 1024 * 1024
CALL = call("search", text="grüße")
BEAT = b": beat\n\n"
VERSIONS = pytest.mark.parametrize("version", [1, 2], ids=["HTTP/1.1", "HTTP/2"])
# On "access" a list is held and a call's result only read; "guard" holds all, and their headers.
ASKED = [("access", LIST), *((route, CALL) for route in ROUTES)]
OPENED: list[tuple[str, dict[str, Any] | None]] = [*ASKED, *((route, None) for route in ROUTES)]


@pytest.fixture
def running(gatehouse_stack: Stacks) -> Running:
    return gatehouse_stack(BUNDLE, edit_bootstrap=transparent)


@contextmanager
def asking(running: Running, version: int, route: str, message: dict[str, Any] | None) -> Iterator[httpx.Response]:
    """The answer to a POST, or to a GET where there is no message: its headers here, its body still to be read."""
    method, body = ("GET", None) if message is None else ("POST", json.dumps(message).encode())
    lines = HEADERS if body is None else {**HEADERS, "content-type": "application/json"}
    url = f"{running.stack.mcp_url}/{route}"
    with (
        httpx.Client(http1=version == 1, http2=version == 2, timeout=10.0, verify=False) as client,
        client.stream(method, url, content=body, headers=lines) as response,
    ):
        yield response


def result_for(request: Request) -> dict[str, Any]:
    return answer_to(json.loads(request.body or json.dumps(CALL)), "search", text="grüße 🦊")


FORMS = ["sized", "chunked", "large sized", "large chunked", "stream", "headers of JSON", "headers of a stream"]


def breaking_off(form: str, sent: list[int], *, at_once: bool) -> Script:
    """Breaks its answer off in the middle, at the gate "cut" unless at once; `sent` gets how much came before."""

    async def script(request: Request, connection: Connection) -> None:
        value = result_for(request)
        if "large" in form:
            value["pad"] = "y" * 2 * MIB
        stream = "stream" in form
        body = BEAT + event(value) if stream else json.dumps(value).encode()
        content_type = EVENT_STREAM if stream else JSON_LINES[0]
        await connection.head(200, content_type, ("content-length", str(len(body))) if "sized" in form else CHUNKED)
        half = b"" if "headers" in form else body[: len(body) // 2]
        if half:
            await (connection.send if "sized" in form else connection.chunk)(half)
        sent.append(len(half))
        if not at_once:
            await connection.gate("cut")
        connection.cut()

    return script


def read_by(running: Running) -> int:
    """How many bytes Envoy has read of the upstream."""
    return envoy_stat(running, "cluster.mcp.upstream_cx_rx_bytes_total")


@VERSIONS
@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("at_once", [True, False], ids=["at once", "when Envoy has its half"])
def test_what_the_upstream_breaks_off_never_ends_cleanly(
    running: Running, form: str, at_once: bool, version: int
) -> None:
    sent: list[int] = []
    running.upstream.answer_with(breaking_off(form, sent, at_once=at_once), ["cut"])
    since, before = mark(running), read_by(running)

    def ask(route: str, message: dict[str, Any] | None) -> str:
        try:
            with asking(running, version, route, message) as response:
                response.read()
        except httpx.RemoteProtocolError:
            return "cut off"
        return "Envoy's error" if response.status_code in (502, 503) else f"{response.status_code} {response.text}"

    with ThreadPoolExecutor(len(OPENED)) as clients:
        asked = [clients.submit(ask, route, message) for route, message in OPENED]
        wait_for(lambda: len(sent) == len(OPENED) or None, "all halves")
        wait_for(lambda: read_by(running) >= before + sum(sent) or None if not at_once else True, "all halves at Envoy")
        running.upstream.open("cut")
        assert {each.result() for each in asked} <= {"cut off", "Envoy's error"}
    nothing_left(running)
    told = [(end["route"], end["method"], end["outcome"]) for end in decisions(running, since, len(OPENED) - 2)]
    # Nobody asks to see the answers on "unread", and a GET waits for none.
    awaited = [(route, message["method"], "truncated") for route, message in ASKED if route not in ("unread", FREE)]
    assert sorted(end for end in told if end[0] != "unread" and end[1] != "GET") == sorted(awaited)


@VERSIONS
@pytest.mark.parametrize("first", [b"", BEAT], ids=["silent from the start", "after an event"])
def test_a_stream_may_be_silent_for_longer_than_envoy_waits_for_a_reply(
    gatehouse_stack: Stacks, first: bytes, version: int
) -> None:
    running = gatehouse_stack(BUNDLE, edit_bootstrap=impatient)

    async def script(request: Request, connection: Connection) -> None:
        await connection.head(200, EVENT_STREAM, CHUNKED)
        if first:
            await connection.chunk(first)
        await connection.gate("speak again")
        await connection.chunk(event(result_for(request)))
        await connection.end()

    running.upstream.answer_with(script, ["speak again"])
    with ExitStack() as stack:
        opened = [stack.enter_context(asking(running, version, route, message)) for route, message in OPENED]
        arriving = [response.iter_raw() for response in opened]
        came = [next(parts) if first else b"" for parts in arriving]
        assert posted(running, CALL, "/slow").status_code == 504  # so long were all of them silent
        running.upstream.open("speak again")
        for (_, message), before, parts in zip(OPENED, came, arriving, strict=True):
            whole = event(answer_to(message or CALL, "search", text="grüße 🦊"))
            assert before + b"".join(parts) == first + whole
    nothing_left(running)


@VERSIONS
@pytest.mark.parametrize("form", ["stream", "JSON"])
@pytest.mark.parametrize("silent", [False, True], ids=["upstream sends on", "upstream is silent"])
def test_a_client_that_leaves_in_mid_answer_leaves_nothing_behind(
    running: Running, silent: bool, form: str, version: int
) -> None:
    begun: list[Request] = []

    async def script(request: Request, connection: Connection) -> None:
        await connection.head(200, EVENT_STREAM if form == "stream" else JSON_LINES[0], CHUNKED)
        begun.append(request)
        while True:
            await connection.chunk(BEAT)
            await asyncio.sleep(3600 if silent else 0.001)

    running.upstream.answer_with(script)
    before = read_by(running)
    with ExitStack() as stack:
        http2 = stack.enter_context(http2_client(running))
        streams = []
        for route, message in OPENED:
            path, body = f"/mcp/{route}", json.dumps(message).encode()
            if version == 1:
                client = stack.enter_context(raw_client(running))
                client.send(sized(path, body) if message else head(path, *JSON_LINES[1:], method="GET"))
            elif message:
                streams.append(http2.headers("POST", path, *JSON_LINES))
                http2.data(streams[-1], body, end=True)
            else:
                streams.append(http2.headers("GET", path, *JSON_LINES[1:], end=True))
        wait_for(lambda: len(begun) == len(OPENED) or None, "all answers' begin")
        wait_for(lambda: read_by(running) >= before + len(begun) * len(BEAT) or None, "what came of them, at Envoy")
        for stream in streams:
            http2.reset(stream)
        if streams:
            nothing_left(running)
    nothing_left(running)


def test_of_streams_over_one_connection_that_are_left_the_others_go_on(running: Running) -> None:
    async def script(request: Request, connection: Connection) -> None:
        await connection.head(200, EVENT_STREAM, CHUNKED)
        await connection.chunk(BEAT)
        await connection.gate("half of them are gone")
        await connection.chunk(event(result_for(request)))
        await connection.end()

    running.upstream.answer_with(script, ["half of them are gone"])
    with http2_client(running) as client:
        streams = []
        for route, message in ASKED * 2:
            streams.append(client.headers("POST", f"/mcp/{route}", *JSON_LINES))
            client.data(streams[-1], json.dumps(message).encode(), end=True)
        for stream in streams:
            client.wait(stream, lambda arrived: bytes(arrived.body) == BEAT)
        for stream in streams[::2]:
            client.reset(stream)
        running.upstream.open("half of them are gone")
        for stream, (_, message) in list(zip(streams, ASKED * 2, strict=True))[1::2]:
            assert client.answer(stream).body == BEAT + event(answer_to(message, "search", text="grüße 🦊"))
        nothing_left(running)
