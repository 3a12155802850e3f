"""codecs/openai_chat: any cutting of any body gives the same frames; nothing is lost, nothing raises."""

from __future__ import annotations

import json
from collections.abc import Callable
from itertools import pairwise
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from ext_proc.codecs.codec import Decoder, Frame
from ext_proc.limits import Limits
from ext_proc.messages import Completion, Generation, Message, ModelListing, Opaque, Setting
from ext_proc.policy import Deny
from tests.unit.codecs.openai_building import (
    ASKED,
    CODEC,
    STREAM,
    answer_head,
    asking,
    chunk,
    decoded,
    drain,
    encoded,
    event,
    head,
    messages_of,
    says,
    texts_of,
    whole,
)

CALL = {"index": 0, "id": "t", "type": "function", "function": {"name": "f", "arguments": '{"a"'}}
VALUES: list[Any] = [
    asking(stream=True, max_tokens=5),
    asking(n=2, tools=[]),
    whole({"content": "é\u2028"}, {"content": None, "tool_calls": [CALL]}),
    whole(),
    says("a😀"),
    says("b", index=1),
    chunk({"reasoning": "hm", "content": ""}),
    chunk({"tool_calls": [CALL]}),
    chunk(finish="stop"),
    chunk(finish="length", index=1),
    chunk({}, usage={"prompt_tokens": 1, "completion_tokens": 2}),
    {"error": {"message": "no"}},
    {},
    [],
    1,
]
RAWS = [
    b'{"choices":[{"index":0,"delta":{"content":"a\\ud83d"},"finish_reason":null}]}',
    b'{"choices":[{"index":0,"delta":{"content":"\\ude00b"},"finish_reason":null}]}',
    b"[DONE]",
]
DOCUMENTS = st.sampled_from(
    [json.dumps(value, indent=1, ensure_ascii=False).encode() for value in VALUES] + [encoded(v) for v in VALUES] + RAWS
)
LINES = st.sampled_from([b"", b": ping", b"id: 1", b"event: error", b"retry: 5", b"data:", b"data: {", b"x"])
REQUESTS: list[tuple[Message, ...]] = [(ASKED,), (), (ModelListing(b""),)]
LIMITS = [Limits(), Limits(request_body=40, response_body=40, event=60, json_depth=3)]
CUTS = st.lists(st.integers(0, 10_000), max_size=6)
DENY = Deny("no", "no")


def as_events(values: list[bytes], ending: bytes) -> bytes:
    return b"".join(
        ending.join([*(b"data: " + line for line in value.split(b"\n")), b"", b""])
        if value.startswith((b"{", b"["))
        else value + ending
        for value in values
    )


STREAMS = st.builds(as_events, st.lists(DOCUMENTS | LINES, max_size=8), st.sampled_from([b"\n", b"\r\n", b"\r"]))


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
        return (Opaque, message.raw, message.reason, message.malformed, message.too_large)
    return (type(message), message.raw, message.method, message.target)


def check(new: Callable[[], Decoder], raw: bytes, cuts: list[int]) -> list[Frame]:
    """Decodes whole, at the cuts and byte by byte: all must agree; the frames."""

    def story(chunks: list[bytes]) -> Any:
        decoder = new()
        frames = drain(decoder, *chunks)
        assert b"".join(frame.raw for frame in frames) == raw
        assert all(frame.encode({}) == frame.raw for frame in frames)
        return (
            [(frame.raw, frame.pieces, tuple(frame.closes), list(map(seen, frame.messages))) for frame in frames],
            decoder.outcome,
            [message.raw for message in decoder.unanswered],
            decoder.stream_end(DENY, "t"),
        )

    bounds = [0, *sorted(min(cut, len(raw)) for cut in cuts), len(raw)]
    story_of_whole = story([raw])
    assert story([raw[a:b] for a, b in pairwise(bounds)]) == story_of_whole
    assert story([raw[i : i + 1] for i in range(len(raw))]) == story_of_whole
    return drain(new(), raw)


@given(mutilated(DOCUMENTS), CUTS, st.sampled_from(LIMITS))
def test_any_cutting_of_a_request_gives_the_same_frames(raw: bytes, cuts: list[int], limits: Limits) -> None:
    assert check(lambda: CODEC.request_decoder(head(), limits), raw, cuts)


@given(mutilated(DOCUMENTS), CUTS, st.sampled_from(REQUESTS), st.sampled_from([200, 404]), st.sampled_from(LIMITS))
def test_any_cutting_of_a_whole_answer_gives_the_same_frames(
    raw: bytes, cuts: list[int], requests: tuple[Message, ...], status: int, limits: Limits
) -> None:
    frames = check(lambda: CODEC.response_decoder(requests, head(), answer_head(status), limits), raw, cuts)
    assert all(isinstance(message, tuple(CODEC.answers(requests))) for message in messages_of(frames))


@given(mutilated(STREAMS), CUTS, st.sampled_from(REQUESTS), st.sampled_from(LIMITS))
def test_any_cutting_of_a_stream_gives_the_same_frames(
    raw: bytes, cuts: list[int], requests: tuple[Message, ...], limits: Limits
) -> None:
    frames = check(lambda: CODEC.response_decoder(requests, head(), STREAM, limits), raw, cuts)
    assert all(isinstance(message, tuple(CODEC.answers(requests))) for message in messages_of(frames))


@given(st.binary(max_size=80), CUTS)
def test_no_bytes_raise(raw: bytes, cuts: list[int]) -> None:
    check(lambda: CODEC.request_decoder(head(), Limits()), raw, cuts)
    check(lambda: CODEC.response_decoder((ASKED,), head(), answer_head(), Limits()), raw, cuts)
    check(lambda: CODEC.response_decoder((ASKED,), head(), STREAM, Limits()), event(raw), cuts)


FIELDS = [
    *("model", "messages", "stream", "n", "max_tokens", "choices", "index", "delta", "message", "error", "Content"),
    *("content", "text", "refusal", "reasoning", "reasoning_details", "thinking", "thinking_blocks", "annotations"),
    *("tool_calls", "function", "custom", "input", "arguments", "audio", "transcript", "finish_reason", "logprobs"),
    *("usage", "x_groq", "prompt_tokens", "completion_tokens", "prompt_tokens_details"),
]
ANY = st.recursive(
    st.none() | st.booleans() | st.integers(-2, 2) | st.sampled_from(["", "a", "stop", "length", "\ud83d", "\ude00"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(FIELDS), inner, max_size=6),
    max_leaves=14,
)
TURNS = st.fixed_dictionaries(
    {},
    optional={
        "index": st.integers(0, 2) | ANY,
        "delta": st.dictionaries(st.sampled_from(FIELDS), ANY, max_size=4),
        "message": st.dictionaries(st.sampled_from(FIELDS), ANY, max_size=4),
        "finish_reason": st.sampled_from([None, "stop", "length"]) | ANY,
        "logprobs": ANY,
    },
)


@given(
    ANY
    | st.fixed_dictionaries(
        {"choices": st.lists(TURNS, max_size=3)}, optional={"usage": ANY, "error": ANY, "id": ANY, "model": ANY}
    )
)
def test_no_value_raises_and_every_message_keeps_what_its_class_promises(value: Any) -> None:
    raw = encoded(value)
    frames = [
        *check(lambda: CODEC.request_decoder(head(), Limits()), raw, []),
        *check(lambda: CODEC.response_decoder((ASKED,), head(), answer_head(), Limits()), raw, []),
        *check(lambda: CODEC.response_decoder((ASKED,), head(), STREAM, Limits()), event(raw), []),
    ]
    for frame in frames:
        for message in frame.messages:
            assert isinstance(message.as_variables(), dict)
            assert isinstance(message.outcome.value, str)
            if isinstance(message, Generation):
                assert not {type(message.setting(setting)) for setting in Setting} & {dict, list, bool}
                assert json.loads(message.with_model("b").raw) == {**value, "model": "b"}
            elif isinstance(message, Completion):
                assert message.pieces == tuple(frame.pieces)
                assert message.usage is None or message.usage.total_tokens >= 0
                assert all(isinstance(reason, str) for reason in message.finish_reasons)
        for index in range(len(frame.pieces)):
            assert frame.encode({}, texts={index: "new"}) != frame.raw


@given(
    st.lists(
        st.tuples(st.integers(0, 1), st.text(alphabet=st.sampled_from("aé😀\ud83d\ude00"), max_size=6)), max_size=5
    ),
    st.lists(st.integers(1, 3), max_size=20),
)
def test_the_texts_are_the_same_however_the_deltas_were_cut(said: list[tuple[int, str]], sizes: list[int]) -> None:
    def body(deltas: list[tuple[int, str]]) -> bytes:
        return b"".join(event(says(text, index=index)) for index, text in deltas)

    cut: list[tuple[int, str]] = []
    for index, text in said:
        rest = text
        while rest:
            size = sizes[len(cut) % len(sizes)] if sizes else 1
            cut.append((index, rest[:size]))
            rest = rest[size:]
    whole_texts, cut_texts = texts_of(decoded(body(said))[0]), texts_of(decoded(body(cut))[0])
    assert cut_texts == whole_texts
    assert all(text.encode().decode() == text for text in whole_texts.values())
