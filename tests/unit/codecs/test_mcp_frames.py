"""codecs/mcp_frames.py, codecs/jsonrpc_frames.py: what is written back, whole, changed, dropped and joined."""

from __future__ import annotations

import json
from typing import Any

import pytest

from ext_proc.codecs.codec import Frame
from ext_proc.framing.sse import EventSplitter, Span
from ext_proc.limits import DEFAULTS, Limits
from ext_proc.messages import McpError, McpResult, Message
from tests.unit.codecs.building import (
    CODEC,
    STREAM,
    TEXT,
    answer_head,
    asked,
    call,
    drain,
    encoded,
    error,
    event,
    head,
    notification,
    result,
)

REQUESTS = asked([call("tools/call", id=1, name="a"), call("ping", id=2)])
OTHER: list[Message] = [McpError(error(id=9))]


def frames(body: Any, *, stream: bool = False, limits: Limits = DEFAULTS) -> list[Frame]:
    response = STREAM if stream else answer_head()
    return drain(CODEC.response_decoder(REQUESTS, head(), response, limits), encoded(body))


def one(body: Any, *, stream: bool = False) -> Frame:
    (frame,) = frames(body, stream=stream)
    return frame


def datas(raw: bytes) -> list[Any]:
    """The values that a client would find in a stream."""
    splitter = EventSplitter(1 << 20)
    events = [*splitter.feed(raw), *splitter.close()]
    return [json.loads(found.data) for found in events if found.data and found.span is Span.EVENT]


def ping(**values: Any) -> McpResult:
    return McpResult(result(id=2, **values))


@pytest.mark.parametrize("stream", [False, True])
def test_what_nobody_changed_is_its_own_bytes(stream: bool) -> None:
    spaced = b' [ {"jsonrpc" : "2.0","id":2,"result":{ }} , {"jsonrpc":"2.0","method":"notifications/x"}] '
    body = b"id: 5\r\ndata:" + spaced + b"\r\n\r\n" if stream else spaced
    frame = one(body, stream=stream)
    assert frame.raw == body
    assert frame.encode({}) == body
    assert frame.encode({0: frame.messages[0]}) == body


def test_a_changed_body_is_the_new_message() -> None:
    assert json.loads(one(result(**TEXT)).encode({0: ping(a=1)})) == result(id=2, a=1)


def test_a_dropped_body_leaves_nothing() -> None:
    assert one(result(**TEXT)).encode({0: None}) == b""
    assert one([result(**TEXT)]).encode({0: None}) == b""


def test_in_a_batch_only_the_changed_element_gets_new_bytes() -> None:
    kept = b'{ "jsonrpc":"2.0","id":2,"result":{"n":1.50,"big":123456789012345678901234567890,"x":"\\u00e9"}}'
    frame = one(b"[" + encoded(result(**TEXT)) + b" ,\n" + kept + b"]")
    out = frame.encode({0: McpError(error(id=1))})
    assert kept in out
    assert json.loads(out) == [error(id=1), json.loads(kept)]


def test_a_dropped_element_leaves_the_array_an_array() -> None:
    assert json.loads(one([notification(), result(id=2)]).encode({0: None})) == [result(id=2)]


def test_answers_that_join_make_an_array_of_a_single_body() -> None:
    assert json.loads(one(result(id=2)).encode({}, OTHER)) == [result(id=2), error(id=9)]
    assert json.loads(one([result(id=2)]).encode({}, OTHER)) == [result(id=2), error(id=9)]


def test_an_answer_that_joins_in_the_place_of_a_dropped_one_stands_alone() -> None:
    assert json.loads(one(result(id=2)).encode({0: None}, OTHER)) == error(id=9)


def test_a_changed_event_keeps_all_but_its_data() -> None:
    raw = b": hi\r\nid: 5\r\nevent: message\r\ndata: " + encoded(result(id=2)) + b"\r\nretry: 7\r\n\r\n"
    out = one(raw, stream=True).encode({0: ping(a=1)})
    assert out == b": hi\r\nid: 5\r\nevent: message\r\ndata: " + ping(a=1).raw + b"\r\nretry: 7\r\n\r\n"


def test_a_dropped_event_leaves_its_id_for_resuming() -> None:
    assert one(b"id: 5\n" + event(notification()), stream=True).encode({0: None}) == b"id: 5\n\n"
    assert one(event(notification()), stream=True).encode({0: None}) == b""


def test_one_element_of_an_events_array_can_go() -> None:
    frame = one(event([notification(), result(id=2)]), stream=True)
    assert datas(frame.encode({0: None})) == [[result(id=2)]]


def test_answers_that_join_a_stream_are_events_of_their_own() -> None:
    frame = one(event(result(id=2)), stream=True)
    assert datas(frame.encode({}, OTHER)) == [result(id=2), error(id=9)]
    assert datas(frame.encode({0: None}, OTHER)) == [error(id=9)]
    assert frame.encode({}, OTHER).startswith(frame.raw)


def test_answers_that_join_never_become_part_of_an_unterminated_event() -> None:
    frame = one(event(result(id=2))[:-1], stream=True)
    assert datas(frame.encode({}, OTHER)) == [error(id=9)]
    assert datas(frame.encode({0: None}, OTHER)) == [error(id=9)]


def test_nothing_is_left_of_an_event_past_the_limit_when_its_spans_are_dropped() -> None:
    body = event(result(content=[{"type": "text", "text": "x" * 300_000}])) + event(result(id=2))
    out = b"".join(
        frame.encode({index: None for index, message in enumerate(frame.messages) if message.kind == "opaque"})
        for frame in frames(body, stream=True, limits=Limits(event=1000))
    )
    assert out == event(result(id=2))


def test_a_new_message_with_line_ends_arrives_as_one_event() -> None:
    pretty = McpResult(result(id=2), json.dumps(result(id=2), indent=1).encode())
    assert datas(one(event(result(**TEXT)), stream=True).encode({0: pretty})) == [result(id=2)]


def test_a_request_batch_goes_on_without_its_denied_elements() -> None:
    decoder = CODEC.request_decoder(head(), DEFAULTS)
    values = [call("ping", id=1), call("tools/call", id=2, name="rm"), notification()]
    (frame,) = drain(decoder, encoded(values))
    assert json.loads(frame.encode({1: None})) == [values[0], values[2]]


def test_a_repr_shows_no_payload() -> None:
    secret = result(content=[{"type": "text", "text": "hunter2"}])
    for frame in (one(secret), one(event(secret), stream=True)):
        assert "hunter2" not in repr(frame)
