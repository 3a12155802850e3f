"""Streams through a real Envoy: cut anywhere, silent, broken off on either side, many at once, byte for byte.

Rules:
- `held` is what a policy may change, in full duplex; `read` is what is only looked at, in STREAMED.
- Where the place of a cut counts, the next part is sent only when Envoy has handed the last one to Gatehouse.
"""

from __future__ import annotations

import asyncio
import base64
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.envoy.bootstraps import patient
from tests.envoy.exchanges import (
    CHUNKED,
    EVENT_STREAM,
    HEADERS,
    LIST,
    answer_to,
    asked,
    broken_off,
    call,
    event,
    in_event,
    posted,
    step_by_step,
)
from tests.envoy.harness import Running, Stacks, wait_for
from tests.envoy.observed import decisions, envoy_stat, mark, nothing_left
from tests.envoy.upstream import Connection, Request, Script, cut_after, pieces

DATA = Path(__file__).parents[1] / "data" / "mcp"
BUNDLE = """
apiVersion: gatehouse/v1
kind: Bundle
metadata: {name: streams, revision: "1"}
routes:
  - {name: mcp, match: {path: /mcp}, protocol: mcp, policies: [witness, access]}
policies:
  - {name: witness, type: "tests.envoy.faulty:Witness"}
  - name: access
    type: tool-access
    parameters:
      rules:
        - {methods: ["*"], tools: ["secret*"], allow: false}
        - {methods: ["*"], allow: true}
"""
CALL = call("search", q="x")
WAYS = [pytest.param(LIST, id="held"), pytest.param(CALL, id="read")]


@pytest.fixture
def running(gatehouse_stack: Stacks) -> Running:
    return gatehouse_stack(BUNDLE)


def slowly(body: bytes, pause: float) -> Script:
    """A script that sends byte by byte, with time for Envoy to read most of them by themselves; `pause` in seconds."""

    async def script(request: Request, connection: Connection) -> None:
        await connection.head(200, EVENT_STREAM, CHUNKED)
        for at in range(len(body)):
            await connection.chunk(body[at : at + 1])
            await asyncio.sleep(pause)
        await connection.end()

    return script


def handed_over(running: Running) -> int:
    """How many messages Envoy has sent to Gatehouse."""
    return envoy_stat(running, "http.clients.ext_proc.stream_msgs_sent")


@pytest.mark.parametrize("message", WAYS)
@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
def test_a_stream_cut_at_every_byte_arrives_byte_for_byte(running: Running, message: dict[str, Any], end: str) -> None:
    body = f": hello{end}id: 1{end}data:{end}{end}".encode() + event(answer_to(message, "search"), end)
    for pause in (0.0005, 0.005, 0.05):
        running.upstream.answer_with(slowly(body, pause))
        before, since = handed_over(running), mark(running)
        with asked(running, message) as response:
            assert response.read() == body
        (decision,) = decisions(running, since)
        assert (decision["outcome"], decision["cause"]) == ("ok", "complete")
        if handed_over(running) - before > len(body) / 4:
            return
        # On a busy machine many bytes came at once, which shows nothing.
    pytest.fail("the stream never came in pieces")


@pytest.mark.parametrize("message", WAYS)
@pytest.mark.parametrize(
    ("before", "after"),
    [
        pytest.param(b"\r", b"\n", id="between CR and LF"),
        pytest.param(b"\n\r", b"\n", id="in the empty line"),
        pytest.param(b"gr" + "ü".encode()[:1], "ü".encode()[1:], id="in a character of two bytes"),
        pytest.param("🦊".encode()[:3], "🦊".encode()[3:], id="in a character of four bytes"),
        pytest.param(b"da", b"ta:", id="in a field's name"),
        pytest.param(b'"jsonrpc"', b":", id="in the JSON"),
    ],
)
def test_a_stream_may_be_cut_there(running: Running, message: dict[str, Any], before: bytes, after: bytes) -> None:
    body = event(answer_to(message, "search"), "\r\n")
    at = body.rindex(before + after) + len(before)
    script, gates = step_by_step([body[:at], body[at:]])
    running.upstream.answer_with(script, gates)
    sent = handed_over(running)
    with asked(running, message) as response:
        running.upstream.open(gates[0])
        wait_for(lambda: handed_over(running) == sent + 4 or None, "the first part at Gatehouse")
        running.upstream.open(gates[1])
        assert response.read() == body


def test_a_tool_is_hidden_from_a_stream_however_it_is_cut(running: Running) -> None:
    body = event(answer_to(LIST, "search", "secret-plans"))
    running.upstream.answer_with(pieces([body[at : at + 3] for at in range(0, len(body), 3)]))
    with asked(running, LIST) as response:
        text = response.read()
    assert b"secret" not in text
    (shown,) = in_event(text)["result"]["tools"]
    assert shown["name"] == "search"


@pytest.mark.parametrize("message", WAYS)
def test_the_client_has_the_headers_while_the_upstream_is_silent(running: Running, message: dict[str, Any]) -> None:
    body = event(answer_to(message, "search"))
    script, gates = step_by_step([body])
    running.upstream.answer_with(script, gates)
    with asked(running, message) as response:  # returns with the headers
        assert response.status_code == 200
        assert response.headers["content-type"] == "text/event-stream"
        running.upstream.open(gates[0])
        assert response.read() == body


@pytest.mark.parametrize("message", WAYS)
def test_what_holds_no_answer_passes_at_once_while_the_tool_runs(running: Running, message: dict[str, Any]) -> None:
    progress = {"jsonrpc": "2.0", "method": "notifications/progress", "params": {"progressToken": 1, "progress": 1}}
    parts = [
        b"id: 1\ndata:\n\n",
        b": still working\n\n",
        b"retry: 500\n\n",
        event(progress),
        event(answer_to(message, "search")),
    ]
    script, gates = step_by_step(parts)
    running.upstream.answer_with(script, gates)
    with asked(running, message) as response:
        arriving = response.iter_raw()
        for gate, part in zip(gates, parts, strict=True):
            running.upstream.open(gate)
            assert read(arriving, len(part)) == part
        assert b"".join(arriving) == b""


def read(arriving: Iterator[bytes], length: int) -> bytes:
    """The next `length` bytes or a little more, however they come."""
    found = b""
    while len(found) < length:
        found += next(arriving)
    return found


def test_a_get_stream_passes_notifications_at_once_and_a_list_in_it_is_filtered(running: Running) -> None:
    changed = event({"jsonrpc": "2.0", "method": "notifications/tools/list_changed"})
    script, gates = step_by_step([changed, event(answer_to(LIST, "search", "secret-plans")), b": over\n\n"])
    running.upstream.answer_with(script, gates)
    since = mark(running)
    headers = {"accept": "text/event-stream", "mcp-session-id": "s1", "last-event-id": "41"}
    with httpx.stream("GET", running.stack.mcp_url, headers=headers) as response:
        arriving = response.iter_raw()
        running.upstream.open(gates[0])
        assert read(arriving, len(changed)) == changed
        running.upstream.open(gates[1])
        filtered = read(arriving, 40)
        while not filtered.endswith(b"\n\n"):
            filtered += next(arriving)
        assert [shown["name"] for shown in in_event(filtered)["result"]["tools"]] == ["search"]
        running.upstream.open(gates[2])
        assert b"".join(arriving) == b": over\n\n"
    assert running.upstream.requests[0].header("last-event-id") == "41"
    (decision,) = decisions(running, since)
    assert (decision["outcome"], decision["cause"]) == ("ok", "complete")


@pytest.mark.parametrize("message", WAYS)
@pytest.mark.parametrize("sent", [[], [b": beat\n\n", b'data: {"jsonrpc":']], ids=["at once", "in an event"])
def test_a_stream_that_the_upstream_breaks_off_never_ends_cleanly(
    running: Running, message: dict[str, Any], sent: list[bytes]
) -> None:
    async def script(request: Request, connection: Connection) -> None:
        await connection.head(200, EVENT_STREAM, CHUNKED)
        for part in sent:
            await connection.chunk(part)
        await connection.gate("cut")  # before the headers have left, Envoy would answer with 502

    running.upstream.answer_with(script, ["cut"])
    since = mark(running)
    arrived = broken_off(running, message, lambda: running.upstream.open("cut"))
    assert b"".join(sent).startswith(arrived)
    (decision,) = decisions(running, since)
    assert (decision["outcome"], decision["cause"]) == ("truncated", "cancelled")
    nothing_left(running)


@pytest.mark.parametrize("message", WAYS)
def test_an_upstream_that_is_gone_at_once_never_gives_a_clean_answer(running: Running, message: dict[str, Any]) -> None:
    running.upstream.answer_with(cut_after([b": beat\n\n"]))
    since = mark(running)
    try:
        with asked(running, message) as response:
            response.read()
        assert response.status_code == 502  # Envoy's own: the headers had not left
    except httpx.RemoteProtocolError:
        pass
    (decision,) = decisions(running, since)
    assert (decision["outcome"], decision["cause"]) == ("truncated", "cancelled")


@pytest.mark.parametrize("message", WAYS)
def test_a_stream_without_its_answer_ends_and_is_recorded_as_truncated(
    running: Running, message: dict[str, Any]
) -> None:
    running.upstream.answer_with(pieces([b": beat\n\n"]))
    since = mark(running)
    with asked(running, message) as response:
        assert response.read() == b": beat\n\n"
    (decision,) = decisions(running, since)
    assert (decision["outcome"], decision["cause"]) == ("truncated", "complete")


def test_an_event_cut_short_by_a_clean_end_does_not_pass_undecided(running: Running) -> None:
    whole = event(answer_to(LIST, "search", "secret-plans"))
    running.upstream.answer_with(pieces([whole[:-1]]))
    with asked(running, LIST) as response:
        text = response.read()
    assert b"secret" not in text
    assert in_event(text)["error"]["data"]["reason"] == "unreadable-answer"


@pytest.mark.parametrize("message", WAYS)
@pytest.mark.parametrize("silent", [False, True], ids=["upstream sends on", "upstream is silent"])
def test_a_client_that_leaves_in_mid_stream_leaves_nothing_behind(
    running: Running, message: dict[str, Any], silent: bool
) -> None:
    async def script(request: Request, connection: Connection) -> None:
        await connection.head(200, EVENT_STREAM, CHUNKED)
        await connection.chunk(b": beat\n\n")
        while True:
            await asyncio.sleep(3600 if silent else 0.001)
            await connection.chunk(b": beat\n\n")

    running.upstream.answer_with(script)
    since = mark(running)
    with asked(running, message) as response:
        next(response.iter_raw())
    nothing_left(running)
    (decision,) = decisions(running, since)
    assert decision["outcome"] == "truncated"
    assert decision["cause"] == "cancelled"
    (complete,) = (entry for entry in decision["entries"] if entry["stage"] == "complete")
    assert (complete["policy"], complete["count"]) == ("witness", 1)


def test_a_client_that_leaves_before_any_answer_leaves_nothing_behind(running: Running) -> None:
    came = asyncio.Event()

    async def script(request: Request, connection: Connection) -> None:
        came.set()
        await asyncio.sleep(3600)

    running.upstream.answer_with(script)
    since = mark(running)
    timeout = httpx.Timeout(5.0, read=0.2)
    with pytest.raises(httpx.ReadTimeout):
        posted(running, CALL, timeout=timeout)
    assert came.is_set()
    nothing_left(running)
    (decision,) = decisions(running, since)
    assert (decision["outcome"], decision["cause"]) == ("truncated", "cancelled")


async def test_fifty_streams_at_once_do_not_mix(gatehouse_stack: Stacks) -> None:
    running = gatehouse_stack(BUNDLE, edit_bootstrap=patient)

    async def script(request: Request, connection: Connection) -> None:
        message = json.loads(request.body)
        answer = event(answer_to(message, f"tool-{message['id']}", "secret-plans", text=f"answer {message['id']}"))
        await connection.head(200, EVENT_STREAM, CHUNKED)
        await connection.gate("all are there")
        for at in range(0, len(answer), 7 + message["id"] % 13):
            await connection.chunk(answer[at : at + 7 + message["id"] % 13])
            await asyncio.sleep(0)
        if message["id"] % 5 == 0:
            connection.cut()
        else:
            await connection.end()

    running.upstream.answer_with(script, ["all are there"])
    since = mark(running)
    streams = 50

    async def ask(client: httpx.AsyncClient, id: int) -> str:
        message = {**(CALL if id % 2 else LIST), "id": id}
        if id % 7 == 0:
            message = call("secret-plans", id)
        try:
            answer = await client.post(running.stack.mcp_url, json=message, headers=HEADERS)
        except httpx.RemoteProtocolError:
            return "cut"
        value = json.loads(answer.text.partition("data: ")[2] or answer.text)
        assert value["id"] == id
        if "error" in value:
            return str(value["error"]["data"]["reason"])
        if message["method"] == "tools/list":
            (shown,) = value["result"]["tools"]
            assert (shown["name"], shown["description"]) == (f"tool-{id}", f"answer {id}")
        else:
            assert value["result"]["content"][0]["text"] == f"answer {id}"
        return "answered"

    def expected(id: int) -> str:
        return "tool-not-allowed" if id % 7 == 0 else "cut" if id % 5 == 0 else "answered"

    limits = httpx.Limits(max_connections=streams)
    async with httpx.AsyncClient(limits=limits) as client, asyncio.TaskGroup() as group:
        asking = [group.create_task(ask(client, id)) for id in range(1, streams + 1)]
        governed = sum(expected(id) != "tool-not-allowed" for id in range(1, streams + 1))
        await asyncio.to_thread(
            wait_for, lambda: len(running.upstream.requests) == governed or None, f"{governed} requests at the upstream"
        )
        running.upstream.open("all are there")
    assert [task.result() for task in asking] == [expected(id) for id in range(1, streams + 1)]
    assert running.upstream.failures == []
    nothing_left(running)
    ends = decisions(running, since, streams)
    assert len({decision["id"] for decision in ends}) == streams


@pytest.mark.parametrize("name", ["stream-045", "stream-046", "stream-047"])
@pytest.mark.parametrize("size", [1, 17, 65536])
def test_a_recorded_stream_passes_byte_for_byte(running: Running, name: str, size: int) -> None:
    recorded = json.loads((DATA / f"{name}.json").read_text(encoding="utf-8"))
    body = base64.b64decode(recorded["response_body_base64"])
    running.upstream.answer_with(pieces([body[at : at + size] for at in range(0, len(body), size)]))
    since = mark(running)
    answer = httpx.post(
        running.stack.mcp_url, content=recorded["request_body"].encode(), headers=recorded["request_headers"]
    )
    assert answer.content == body
    assert running.upstream.requests[0].body == recorded["request_body"].encode()
    (decision,) = decisions(running, since)
    assert (decision["outcome"], decision["cause"]) == ("ok", "complete")
