"""codecs/openai_responses: any cutting of any body gives the same frames; nothing is lost, nothing raises."""

from __future__ import annotations

import json
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from ext_proc.limits import Limits
from ext_proc.messages import Completion, Generation, Message, Opaque, Setting
from tests.unit.codecs.openai_building import answer_head, encoded, event, messages_of
from tests.unit.codecs.openai_responses_building import (
    ASKED,
    CODEC,
    RESPONSES,
    answer,
    asking,
    delta,
    encoded_event,
    says,
    talk,
)
from tests.unit.codecs.test_openai_chat_cutting import CUTS, check, mutilated
from tests.unit.codecs.test_openai_responses_requests import ITEMS
from tests.unit.codecs.test_openai_responses_streams import EVENTS

HEAD = RESPONSES.head()
STREAM = answer_head(content_type="text/event-stream")
LIMITS = [Limits(), Limits(request_body=60, response_body=60, event=80, json_depth=4)]
REQUESTS: list[tuple[Message, ...]] = [(ASKED,), ()]
HISTORY = [{"type": kind, **item} for kind, (item, _) in ITEMS.items()]
VALUES = [asking(stream=True), asking(input=HISTORY), answer(says("é\u2028")), {"error": {"message": "no"}}, {}, [], 1]
EVENT_VALUES = [*talk("a😀", "b"), *({"type": kind, **members} for kind, (members, _) in EVENTS.items())]
DOCUMENTS = st.sampled_from([encoded(value) for value in VALUES])
LINES = st.sampled_from([b": ping\n\n", b"id: 1\n", b"data: [DONE]\n\n", b"data:\n\n", b"data: {\n\n", b"x\r\n"])
HALVES = st.sampled_from([event(encoded(delta("a")).replace(b'"a"', half)) for half in (b'"\\ud83d"', b'"\\ude00"')])
BODIES = st.lists(st.sampled_from([encoded_event(value) for value in EVENT_VALUES]) | LINES | HALVES, max_size=7)


@given(mutilated(DOCUMENTS), CUTS, st.sampled_from(LIMITS))
@settings(max_examples=60)
def test_any_cutting_of_a_request_gives_the_same_frames(raw: bytes, cuts: list[int], limits: Limits) -> None:
    assert check(lambda: CODEC.request_decoder(HEAD, limits), raw, cuts)


@given(mutilated(DOCUMENTS), CUTS, st.sampled_from(REQUESTS), st.sampled_from([200, 404]), st.sampled_from(LIMITS))
@settings(max_examples=60)
def test_any_cutting_of_a_whole_answer_gives_the_same_frames(
    raw: bytes, cuts: list[int], requests: tuple[Message, ...], status: int, limits: Limits
) -> None:
    frames = check(lambda: CODEC.response_decoder(requests, HEAD, answer_head(status), limits), raw, cuts)
    assert all(isinstance(message, tuple(CODEC.answers(requests))) for message in messages_of(frames))


@given(mutilated(BODIES.map(b"".join)), CUTS, st.sampled_from(REQUESTS), st.sampled_from(LIMITS))
@settings(max_examples=100, deadline=None)
def test_any_cutting_of_a_stream_gives_the_same_frames(
    raw: bytes, cuts: list[int], requests: tuple[Message, ...], limits: Limits
) -> None:
    frames = check(lambda: CODEC.response_decoder(requests, HEAD, STREAM, limits), raw, cuts)
    assert all(isinstance(message, tuple(CODEC.answers(requests))) for message in messages_of(frames))
    ended: set[int] = set()
    for frame in frames:
        assert ended.isdisjoint(piece.channel.choice for piece in frame.pieces)
        ended.update(frame.closes)


FIELDS = [
    *("type", "response", "item", "part", "delta", "output", "content", "summary", "text", "refusal", "arguments"),
    *("input", "code", "command", "commands", "action", "query", "queries", "result", "results", "outputs", "logs"),
    *("stdout", "error", "output_text", "status", "usage", "input_tokens", "output_tokens", "id", "model", "Content"),
    *("output_index", "content_index", "incomplete_details", "instructions", "tools", "annotations", "logprobs"),
]
ANY = st.recursive(
    st.none() | st.booleans() | st.integers(-2, 2) | st.sampled_from(["", "a", "reasoning", "completed", "\ud83d"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(FIELDS), inner, max_size=6),
    max_leaves=14,
)
KINDS = st.sampled_from(list(EVENTS))


@given(ANY | st.dictionaries(st.sampled_from(FIELDS), ANY, max_size=8), KINDS)
@settings(max_examples=150, deadline=None)
def test_no_value_raises_and_every_message_keeps_what_its_class_promises(value: Any, kind: str) -> None:
    raw = encoded(value)
    named = encoded({**value, "type": kind}) if isinstance(value, dict) else raw
    frames = [
        *check(lambda: CODEC.request_decoder(HEAD, Limits()), raw, []),
        *check(lambda: CODEC.response_decoder((ASKED,), HEAD, answer_head(), Limits()), raw, []),
        *check(lambda: CODEC.response_decoder((ASKED,), HEAD, STREAM, Limits()), event(named), []),
    ]
    for frame in frames:
        for message in frame.messages:
            assert isinstance(message.as_variables(), dict)
            if isinstance(message, Generation):
                assert not {type(message.setting(setting)) for setting in Setting} & {dict, list, bool}
                assert json.loads(message.with_model("b").raw) == {**value, "model": "b"}
                keeps_its_texts(message)
            elif isinstance(message, Completion):
                assert message.pieces == tuple(frame.pieces)
                assert message.usage is None or message.usage.total_tokens >= 0
                assert all(isinstance(reason, str) for reason in message.finish_reasons)
                assert message.with_model("b").model in ("b", "")
        for index, piece in enumerate(frame.pieces):
            assert frame.encode({}, texts={index: "[]" if piece.form.value == "valid" else "new"}) != frame.raw


def keeps_its_texts(message: Message) -> None:
    """New texts of a request stand where the old ones did."""
    found = CODEC.texts(message, Limits())
    if isinstance(found, Opaque):
        assert found.malformed
        return
    new = {number: "new" for number, piece in enumerate(found) if piece.form.value != "valid"}
    again = CODEC.texts(CODEC.with_texts(message, new), Limits())
    assert not isinstance(again, Opaque)
    assert [(piece.channel, new.get(n, piece.text)) for n, piece in enumerate(found)] == [
        (piece.channel, piece.text) for piece in again
    ]
