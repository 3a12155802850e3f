"""codecs/mcp: any cutting of any body gives the same frames; nothing is lost, nothing raises."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from ext_proc.codecs.codec import Decoder
from ext_proc.limits import Limits
from ext_proc.messages import Message, Opaque, StreamOpen
from tests.unit.codecs.building import (
    CODEC,
    STREAM,
    TEXT,
    TOOLS,
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

DATA = Path(__file__).parents[2] / "data" / "mcp"
RECORDED = [
    base64.b64decode(json.loads((DATA / f"stream-{number}.json").read_text())["response_body_base64"])
    for number in ("045", "046", "047")
]
VALUES: list[Any] = [
    call("tools/call", name="é\u2028", arguments={"a": [1, {"b": 1e3}]}),
    call("tools/list", id="x"),
    notification(),
    result(**TEXT),
    result(id="x", **TOOLS),
    error(),
    error(id=None),
    [call("ping", id=3), notification(), {"jsonrpc": "2.0"}],
    [result(**TEXT), result(id="x", **TOOLS)],
    [],
    {},
    1,
]
PRETTY = [json.dumps(value, indent=1, ensure_ascii=False).encode() for value in VALUES]
LINES = [b"", b": ping", b"id: 1", b"event: ping", b"event: message", b"retry: 5", b"data:", b"data: {", b"x"]
REQUESTS = [asked(call("tools/call", name="a")), asked([call("ping", id=3), call("tools/list", id="x")]), []]
LIMITS = [Limits(), Limits(request_body=40, response_body=40, event=40, json_depth=3, batch=2)]


def as_events(values: list[bytes], ending: bytes) -> bytes:
    return b"".join(
        ending.join([*(b"data: " + line for line in value.split(b"\n")), b"", b""])
        if value.startswith((b"{", b"["))
        else value + ending
        for value in values
    )


DOCUMENTS = st.sampled_from(PRETTY + [encoded(value) for value in VALUES])
STREAMS = st.builds(
    as_events,
    st.lists(DOCUMENTS | st.sampled_from(LINES), max_size=6),
    st.sampled_from([b"\n", b"\r\n", b"\r"]),
) | st.sampled_from(RECORDED)
CUTS = st.lists(st.integers(0, 10_000), max_size=6)


@st.composite
def mutilated(draw: st.DrawFn, bodies: st.SearchStrategy[bytes]) -> bytes:
    """A body as it came, cut short, or with a span of it replaced."""
    raw = draw(bodies)
    start, end = sorted(draw(st.tuples(st.integers(0, len(raw)), st.integers(0, len(raw)))))
    how = draw(st.sampled_from(["whole", "short", "replaced"]))
    if how == "whole":
        return raw
    return raw[:end] if how == "short" else raw[:start] + draw(st.binary(max_size=5)) + raw[end:]


def seen(message: Message) -> tuple[Any, ...]:
    if isinstance(message, Opaque):
        return (Opaque, message.raw, message.reason, message.malformed, message.too_large, message.id)
    return (type(message), message.raw, message.method, message.target)


def check(new: Callable[[], Decoder], raw: bytes, cuts: list[int]) -> list[Message]:
    """Decodes whole, at the cuts and byte by byte: all must agree; the messages."""

    def story(chunks: list[bytes]) -> Any:
        decoder = new()
        frames = drain(decoder, *chunks)
        assert b"".join(frame.raw for frame in frames) == raw
        assert all(frame.encode({}) == frame.raw for frame in frames)
        return (
            [(frame.raw, [seen(message) for message in frame.messages]) for frame in frames],
            decoder.outcome,
            [message.raw for message in decoder.unanswered],
        )

    bounds = [0, *sorted(min(cut, len(raw)) for cut in cuts), len(raw)]
    whole = story([raw])
    assert story([raw[a:b] for a, b in pairwise(bounds)]) == whole
    assert story([raw[i : i + 1] for i in range(len(raw))]) == whole
    return [message for frame in drain(new(), raw) for message in frame.messages]


@given(mutilated(DOCUMENTS), CUTS, st.sampled_from([None, "2025-11-25"]), st.sampled_from(LIMITS))
def test_any_cutting_of_a_request_gives_the_same_frames(
    raw: bytes, cuts: list[int], version: str | None, limits: Limits
) -> None:
    assert check(lambda: CODEC.request_decoder(head(version=version), limits), raw, cuts)


@given(mutilated(DOCUMENTS), CUTS, st.sampled_from(REQUESTS), st.sampled_from([200, 202, 404]), st.sampled_from(LIMITS))
def test_any_cutting_of_a_json_answer_gives_the_same_frames(
    raw: bytes, cuts: list[int], requests: list[Message], status: int, limits: Limits
) -> None:
    messages = check(lambda: CODEC.response_decoder(requests, head(), answer_head(status), limits), raw, cuts)
    assert all(isinstance(message, tuple(CODEC.answers(requests))) for message in messages)


@given(mutilated(STREAMS), CUTS, st.sampled_from([*REQUESTS, [StreamOpen(b"")]]), st.sampled_from(LIMITS))
def test_any_cutting_of_a_stream_gives_the_same_frames(
    raw: bytes, cuts: list[int], requests: list[Message], limits: Limits
) -> None:
    messages = check(lambda: CODEC.response_decoder(requests, head(), STREAM, limits), raw, cuts)
    assert all(isinstance(message, tuple(CODEC.answers(requests))) for message in messages)


@given(st.binary(max_size=80), CUTS)
def test_no_bytes_raise(raw: bytes, cuts: list[int]) -> None:
    check(lambda: CODEC.request_decoder(head(), Limits()), raw, cuts)
    check(lambda: CODEC.response_decoder(REQUESTS[0], head(), answer_head(), Limits()), raw, cuts)
    check(lambda: CODEC.response_decoder(REQUESTS[0], head(), STREAM, Limits()), event(raw), cuts)


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.sampled_from(["2.0", "tools/call", "notifications/x", "x"]),
        lambda inner: (
            st.lists(inner, max_size=3)
            | st.dictionaries(
                st.sampled_from(
                    ["jsonrpc", "id", "method", "params", "result", "error", "name", "tools", "content", "code", "ID"]
                ),
                inner,
                max_size=6,
            )
        ),
        max_leaves=12,
    ),
    st.sampled_from(REQUESTS),
)
def test_no_value_raises_and_every_message_keeps_what_its_class_promises(value: Any, requests: list[Message]) -> None:
    if isinstance(value, dict):
        value.setdefault("jsonrpc", "2.0")
    raw = encoded(value)
    for message in (
        *check(lambda: CODEC.request_decoder(head(), Limits()), raw, []),
        *check(lambda: CODEC.response_decoder(requests, head(), answer_head(), Limits()), raw, []),
    ):
        assert isinstance(message.as_variables(), dict)
        assert isinstance(message.outcome.value, str)
        for name in ("name", "arguments", "id", "code", "result", "tools", "is_error", "params"):
            getattr(message, name, None)
