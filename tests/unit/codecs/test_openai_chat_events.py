"""codecs/openai_chat: an event that is read at a glance is read as any other would be."""

from __future__ import annotations

import json
from typing import Any
from unittest.mock import patch

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ext_proc.codecs import openai_chat_events, openai_chat_frames
from ext_proc.codecs.llm_frames import LlmFrame
from ext_proc.codecs.openai_chat_events import LONGEST_KEYS, MOST_KEYS, MOST_KNOWN, ordinary
from ext_proc.limits import DEFAULTS
from ext_proc.messages import Channel, ChannelKind, Opaque
from ext_proc.policy import Deny
from tests.exchange.recordings import RECORDINGS
from tests.unit.codecs.openai_building import CODEC, STREAM, asking, chunk, head, read_request, says

STREAMS = [name for name, recording in RECORDINGS.items() if recording.api == "chat_completions" and recording.streams]
CALL = {"index": 0, "id": "c", "function": {"name": "f", "arguments": '{"a'}}
TEXTS = st.sampled_from([None, "", "a", "é", "\ud83d", "\ude00"])
CALLS = st.sampled_from([None, [], [CALL], [CALL, {"index": 1, "custom": {"input": "i"}}]])
DELTAS: st.SearchStrategy[dict[str, Any]] = st.fixed_dictionaries(
    {},
    optional={
        **dict.fromkeys(("content", "refusal", "reasoning", "reasoning_content"), TEXTS),
        "role": st.just("assistant"),
        "tool_calls": CALLS,
        "images": st.sampled_from([None, ["i"]]),
        "audio": st.sampled_from([None, {"transcript": "t"}, {"data": "d"}]),
        "reasoning_details": st.sampled_from([None, [{"text": "r"}]]),
    },
)
# What is wrong with an event, where something is: in its envelope, its choice or its delta.
ODD: list[tuple[str, dict[str, Any]]] = [
    *(("envelope", {"error": error}) for error in (None, {}, {"message": "m"})),
    ("envelope", {"object": "error"}),
    ("envelope", {"Choices": []}),
    *(("envelope", {"choices": choices}) for choices in (None, [], [1], "no list")),
    *(("choice", {"index": index}) for index in (-1, 1024, True, "0", None)),
    *(("choice", {"finish_reason": reason}) for reason in ("", "stop", "length", 1)),
    *(("choice", {"message": message}) for message in (None, {}, {"content": "m"})),
    ("choice", {"delta": []}),
    *(("choice", {"delta": delta}) for delta in (None, "d", 1)),
    ("choice", {"text": 1}),
    ("choice", {"INDEX": 0}),
    *(("delta", {"content": content}) for content in (1, ["x"], [{"type": "text", "text": "p"}])),
    ("delta", {"Content": "a"}),
    *(
        ("delta", {"tool_calls": calls})
        for calls in ([{**CALL, "index": 9999}], [{**CALL, "Index": 0}], "no list", [1])
    ),
    ("delta", {"reasoning_details": [{"summary": 1}]}),
    ("delta", {"audio": "no object"}),
]


@st.composite
def events(draw: st.DrawFn) -> dict[str, Any]:
    """An event's value: mostly an ordinary one."""
    odd, fields = draw(st.none() | st.sampled_from(ODD)) or ("", {})
    delta = draw(DELTAS) | (fields if odd == "delta" else {})
    choice = {"index": draw(st.sampled_from([0, 0, 1])), "delta": delta}
    choice |= draw(st.sampled_from([{}, {"finish_reason": None}]))
    choice |= draw(st.fixed_dictionaries({}, optional={"text": TEXTS})) | (fields if odd == "choice" else {})
    envelope: dict[str, Any] = draw(st.sampled_from([{}, {"id": "c"}, {"model": "x" * 300}, {"usage": {}}]))
    return {
        **envelope,
        "choices": [choice] * draw(st.sampled_from([1, 1, 1, 2])),
        **(fields if odd == "envelope" else {}),
    }


def read(body: bytes) -> Any:
    """All that an answer's frames and its end say."""
    decoder = CODEC.response_decoder((read_request(asking(stream=True)),), head(), STREAM, DEFAULTS)
    frames, unanswered = [], []
    for frame in decoder.feed(body):
        frames.append(frame)
        unanswered.append(len(decoder.unanswered))
    # What it would write of its own shows which choices are open and what the stream's envelope is.
    written = decoder.text_event(Channel(ChannelKind.CONTENT), "x"), decoder.stream_end(Deny("no", "no"), "t")
    frames += decoder.close()
    return [told(frame) for frame in frames], unanswered, written, decoder.outcome


def told(frame: Any) -> Any:
    assert isinstance(frame, LlmFrame)
    messages = [
        (type(message), message.raw, message.reason if isinstance(message, Opaque) else message.as_variables())
        for message in frame.messages
    ]
    copies = [piece.channel.copy for piece in frame.pieces]
    part = frame.part
    return frame.raw, messages, part.spots, copies, part.closes, part.ends, part.changes


def at_length(body: bytes) -> Any:
    with patch.object(openai_chat_frames, "ordinary", return_value=None):
        return read(body)


@given(st.lists(events(), min_size=1, max_size=4), st.booleans())
@settings(max_examples=600, deadline=None)
def test_events_mean_the_same_read_at_a_glance_and_at_length(values: list[Any], ends: bool) -> None:
    body = b"".join(b"data: " + json.dumps(value).encode() + b"\n\n" for value in values)
    body += b"data: [DONE]\n\n" if ends else b""
    assert read(body) == at_length(body)


@pytest.mark.parametrize("name", STREAMS)
def test_a_recorded_stream_means_the_same_read_at_a_glance_and_at_length(name: str) -> None:
    body = RECORDINGS[name].response
    assert read(body) == at_length(body)


def test_what_most_of_a_stream_is_needs_only_a_glance() -> None:
    assert ordinary(says("a")) is not None
    assert ordinary(chunk({"reasoning": "a"})) is not None
    assert ordinary(chunk({"tool_calls": [CALL]})) is not None
    assert ordinary(chunk({})) is not None


@pytest.mark.parametrize(
    "value",
    [
        says("a", finish="stop"),
        chunk({"content": 1}),
        chunk({"Content": "a"}),
        chunk({"tool_calls": [{**CALL, "index": 9999}]}),
        {**says("a"), "error": {"message": "m"}},
        {**says("a"), "choices": []},
        {**says("a"), "choices": [{"index": 0, "delta": {}, "message": {"content": "a"}}]},
        [],
        None,
    ],
)
def test_what_is_in_any_doubt_is_looked_at(value: Any) -> None:
    assert ordinary(value) is None


def test_what_is_remembered_of_keys_is_bounded() -> None:
    for number in range(2 * MOST_KNOWN):
        assert ordinary(chunk({"content": "a", f"own{number}": 1})) is not None
    before = dict(openai_chat_events._known)
    assert 0 < len(before) <= MOST_KNOWN
    assert ordinary(chunk({"content": "a", **dict.fromkeys(map(str, range(MOST_KEYS)), 1)})) is not None
    assert ordinary(chunk({"content": "a", "k" * LONGEST_KEYS: 1})) is not None
    assert openai_chat_events._known == before
