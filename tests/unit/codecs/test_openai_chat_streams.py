"""codecs/openai_chat: streamed answers: their events, their choices, and what ends them."""

from __future__ import annotations

import json
from typing import Any

import pytest

from ext_proc.limits import Limits
from ext_proc.messages import Channel, ChannelKind, Completion, CompletionChunk, LlmError, Opaque, Usage
from ext_proc.policy import Deny
from ext_proc.trail import Outcome
from tests.unit.codecs.openai_building import (
    ASKED,
    CODEC,
    DONE,
    STREAM,
    chunk,
    decoded,
    drain,
    encoded,
    event,
    head,
    messages_of,
    opaque,
    says,
    stream,
    texts_of,
)
from tests.unit.codecs.openai_client import ask

CONTENT = Channel(ChannelKind.CONTENT)
DENY = Deny("leak", "this may not leave")
END = chunk(finish="stop")


def outcome(body: bytes) -> Outcome:
    return decoded(body)[1].outcome


def test_each_event_is_a_frame_with_its_texts() -> None:
    frames, decoder = decoded(stream(chunk({"role": "assistant", "content": ""}), says("a"), says("b"), END))
    assert [len(frame.messages) for frame in frames] == [1, 1, 1, 1, 0]
    assert all(isinstance(message, CompletionChunk) for message in messages_of(frames))
    assert [[piece.text for piece in frame.pieces] for frame in frames] == [[], ["a"], ["b"], [], []]
    assert [tuple(frame.closes) for frame in frames] == [(), (), (), (0,), ()]
    assert texts_of(frames) == {CONTENT: "ab"}
    assert (decoder.outcome, decoder.unanswered) == (Outcome.OK, ())


def test_a_request_waits_until_its_stream_is_done() -> None:
    decoder = CODEC.response_decoder((ASKED,), head(), STREAM, Limits())
    list(decoder.feed(event(says("a"))))
    assert list(decoder.unanswered) == [ASKED]
    list(decoder.feed(DONE))
    assert list(decoder.unanswered) == []


def test_done_closes_every_choice_that_is_open() -> None:
    frames, _ = decoded(stream(says("a"), says("b", index=1), chunk(finish="stop", index=1), says("c", index=2)))
    assert [tuple(frame.closes) for frame in frames] == [(), (), (1,), (), (0, 2)]


def test_comments_and_events_without_data_carry_nothing() -> None:
    frames, decoder = decoded(b": PROCESSING\n\n" + event(says("a")) + b"id: 1\n\n" + stream(END))
    assert [len(frame.messages) for frame in frames] == [0, 1, 0, 1, 0]
    assert decoder.outcome is Outcome.OK


def test_usage_comes_in_an_event_without_choices_or_with_an_empty_one_after_the_end() -> None:
    usage = {"prompt_tokens": 1, "completion_tokens": 2}
    for last in (chunk({"content": ""}, usage=usage), {**chunk(usage=usage), "choices": []}, {"usage": usage}):
        frames, decoder = decoded(stream(says("a"), END, last))
        message = messages_of(frames)[-1]
        assert isinstance(message, Completion)
        assert message.usage == Usage(1, 2)
        assert decoder.outcome is Outcome.OK


def test_the_type_of_an_event_makes_no_difference() -> None:
    frames, decoder = decoded(event(says("a")) + b'event: error\ndata: {"error":{"message":"no"}}\n\n')
    assert isinstance(messages_of(frames)[-1], LlmError)
    assert (decoder.outcome, decoder.unanswered) == (Outcome.PROTOCOL_ERROR, ())
    frames, _ = decoded(b"event: chunk\ndata: " + encoded(says("a")) + b"\n\n")
    assert texts_of(frames) == {CONTENT: "a"}


def test_an_error_beside_choices_is_one_and_its_text_is_read() -> None:
    frames, decoder = decoded(event({**says("a", finish="error"), "error": {"code": 502}}))
    assert isinstance(frames[0].messages[0], LlmError)
    assert (texts_of(frames), tuple(frames[0].closes)) == ({CONTENT: "a"}, (0,))
    assert decoder.outcome is Outcome.PROTOCOL_ERROR


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        (stream(says("a"), END), Outcome.OK),
        (stream(chunk({"tool_calls": [{"index": 0, "function": {"name": "f"}}]}), END), Outcome.OK),
        (stream(says("a"), chunk(finish="length")), Outcome.TRUNCATED),
        (stream(says("a"), chunk(finish="content_filter")), Outcome.REFUSED),
        (stream(chunk({"refusal": "no"}), END), Outcome.REFUSED),
        (stream(says("a"), chunk(finish="error")), Outcome.PROTOCOL_ERROR),
        (stream(chunk({"reasoning": "hm"}), END), Outcome.EMPTY),
        (stream(), Outcome.EMPTY),
        (b"", Outcome.EMPTY),
        (event(says("a")) + event(END), Outcome.TRUNCATED),
        (stream(says("a")), Outcome.TRUNCATED),
        (stream(says("a"), says("b", index=1), END), Outcome.TRUNCATED),
        (stream({"choices": [{"index": 0, "delta": {"content": "a"}}]}), Outcome.OK),
        (stream(b"{"), Outcome.INVALID),
        (event(says("a"))[:-1], Outcome.TRUNCATED),
    ],
)
def test_the_outcome_of_a_stream_is_how_it_ended(body: bytes, expected: Outcome) -> None:
    assert outcome(body) is expected


@pytest.mark.parametrize(
    "late",
    [
        stream(says("a"), END, says("b")),
        stream(says("a"), END) + event(says("b")),
        stream(says("a"), END) + event(says("b", index=1)),
    ],
)
def test_text_after_its_end_is_malformed(late: bytes) -> None:
    frames, decoder = decoded(late)
    assert opaque(m for m in messages_of(frames) if isinstance(m, Opaque)).malformed
    assert texts_of(frames) == {CONTENT: "a"}
    assert decoder.outcome is Outcome.INVALID


def test_text_in_the_event_that_ends_its_choice_belongs_to_it() -> None:
    frames, decoder = decoded(stream(says("a", finish="stop")))
    assert (texts_of(frames), decoder.outcome) == ({CONTENT: "a"}, Outcome.OK)


@pytest.mark.parametrize(
    "data",
    [
        b"[DONE] and more",
        b"[]",
        b"1",
        b'{"choices":[{"index":0,"message":{"content":"a"}}]}',
        b'{"choices":[{"index":0,"delta":{"content":"a"},"message":{"content":"a"}}]}',
        b'{"choices":[{"index":0,"delta":{"content":"a"}}],"choices":[]}',
        b'{"choices":[{"index":0,"delta":{"cOntent":"a"}}]}',
    ],
)
def test_an_event_that_readers_could_read_in_two_ways_is_malformed(data: bytes) -> None:
    frames, _ = decoded(event(data))
    assert opaque(messages_of(frames)).malformed
    assert texts_of(frames) == {}


def test_an_event_that_the_end_cut_off_is_malformed_but_not_a_done() -> None:
    frames, decoder = decoded(event(says("a")) + event(END)[:-1])
    assert opaque(messages_of(frames)[1:]).reason == "sse-unterminated"
    assert decoder.outcome is Outcome.TRUNCATED
    frames, decoder = decoded(event(says("a")) + event(END) + DONE[:-1])
    assert (len(messages_of(frames)), decoder.outcome) == (2, Outcome.OK)


def test_an_event_past_the_limit_is_opaque_in_every_span() -> None:
    decoder = CODEC.response_decoder((ASKED,), head(), STREAM, Limits(event=64))
    frames = drain(decoder, stream(says("a" * 100)))
    large = messages_of(frames)
    assert len(large) == 2
    assert all(isinstance(message, Opaque) and message.too_large for message in large)


def test_channels_are_bounded() -> None:
    calls = [{"index": index, "function": {"arguments": "{"}} for index in range(1000)]
    body = stream(chunk({"tool_calls": calls}), chunk({"tool_calls": calls}, index=1))
    frames, _ = decoded(body)
    assert opaque(m for m in messages_of(frames) if isinstance(m, Opaque)).malformed
    assert len(texts_of(frames)) == 1000


# What an engine writes into a stream.


def test_a_changed_event_keeps_its_other_lines_and_bytes() -> None:
    data = b'{"choices": [{"index":0,"delta":{"content":"a"}, "logprobs": {"x":1}}], "n": 1.0}'
    raw = b": note\r\nid: 7\r\ndata: " + data + b"\r\n\r\n"
    (frame,), _ = decoded(raw)
    assert frame.encode({}, texts={0: "é"}) == raw.replace(b'"a"', '"é"'.encode()).replace(
        b', "logprobs": {"x":1}', b""
    )
    assert frame.encode({0: None}) == b": note\r\nid: 7\r\n\r\n"
    (message,) = frame.messages
    assert frame.encode({0: message}, [ASKED]) == raw + event(ASKED.raw)
    (cut,), _ = decoded(raw[:-2])
    # Behind what is no whole event, another would become part of it.
    assert cut.encode({}, [ASKED]) == event(ASKED.raw) + raw[:-2]


def test_half_a_character_is_whole_where_policies_read_it() -> None:
    def half(text: bytes) -> bytes:
        return event(b'{"choices":[{"index":0,"delta":{"content":"%s"},"finish_reason":null}]}' % text)

    body = half(b"a\\ud83d") + half(b"\\ude00b") + event(END) + DONE
    frames, decoder = decoded(body)
    assert [piece.text for frame in frames for piece in frame.pieces] == ["a", "😀b"]
    assert b"".join(frame.raw for frame in frames) == body
    assert decoder.outcome is Outcome.OK
    assert b'"A\\ud83d"' in frames[0].encode({}, texts={0: "A"})
    assert b'"\\ude00B"' in frames[1].encode({}, texts={0: "😀B"})
    assert b'"B"' in frames[1].encode({}, texts={0: "B"})
    (lone,) = decoded(half(b"\\ude00x"))[0]
    assert [piece.text for piece in lone.pieces] == ["\ufffdx"]
    assert json.loads(lone.encode({}, texts={0: "y"})[6:])["choices"][0]["delta"] == {"content": "y"}


CHANNELS = [
    CONTENT,
    Channel(ChannelKind.CONTENT, 0, 1),
    Channel(ChannelKind.CONTENT, 0, 2),
    Channel(ChannelKind.REFUSAL),
    *(Channel(ChannelKind.REASONING, 0, index) for index in range(5)),
    Channel(ChannelKind.TOOL_ARGUMENTS, 0, -1),
    Channel(ChannelKind.TOOL_ARGUMENTS, 2, 3),
    Channel(ChannelKind.TOOL_INPUT, 0, 1),
]


@pytest.mark.parametrize("channel", CHANNELS, ids=str)
def test_a_new_event_carries_text_on_its_channel_in_the_streams_own_shape(channel: Channel) -> None:
    _, decoder = decoded(event({**chunk(), "id": "", "choices": []}) + event(says("a")))
    raw = decoder.text_event(channel, 'é"')
    (frame,), _ = decoded(raw)
    assert texts_of([frame]) == {channel: 'é"'}
    (message,) = frame.messages
    assert isinstance(message, CompletionChunk)
    assert {key: value for key, value in message.value.items() if key != "choices"} == {
        "id": "c1",
        "object": "chat.completion.chunk",
        "created": 7,
        "model": "m",
        "system_fingerprint": "fp",
    }


def test_a_new_event_repeats_nothing_long_or_odd_of_the_stream() -> None:
    envelope = {"id": "x" * 1000, "created": {"a": [1]}, "model": "\ud83d", "system_fingerprint": 2**70}
    _, decoder = decoded(event({**says("a"), **envelope}))
    (frame,), _ = decoded(decoder.text_event(CONTENT, "b"))
    (message,) = frame.messages
    assert isinstance(message, CompletionChunk)
    assert [message.value[name] for name in envelope] == ["", 0, "\ud83d", 2**70]


def ends(raw: bytes) -> dict[int, str]:
    """The choices that an ending ends, and how; it must be done with it."""
    frames, _ = decoded(raw)
    values: list[Any] = [message.value for message in messages_of(frames) if isinstance(message, CompletionChunk)]
    assert raw.endswith(DONE)
    assert all(value["gatehouse"] == {"trail": "t1", "reason": "leak"} for value in values)
    return {choice["index"]: choice["finish_reason"] for value in values for choice in value["choices"]}


def test_the_end_of_a_stream_ends_every_open_choice() -> None:
    decoder = CODEC.response_decoder((ASKED,), head(), STREAM, Limits())
    assert ends(decoder.stream_end(DENY, "t1")) == {0: "content_filter"}
    body = [event(says("a")), event(says("b", index=1)), event(chunk(finish="stop"))]
    frames = [frame for raw in body for frame in decoder.feed(raw)]
    assert ends(decoder.stream_end(DENY, "t1", dropped=[])) == {1: "content_filter"}
    assert ends(decoder.stream_end(DENY, "t1", dropped=frames[2:])) == {0: "content_filter", 1: "content_filter"}
    # An event after its end, as usage comes in, opens no choice again.
    list(decoder.feed(event(chunk({"content": ""}))))
    assert ends(decoder.stream_end(DENY, "t1")) == {1: "content_filter"}


def test_after_a_done_that_has_left_there_is_nothing_to_end() -> None:
    frames, decoder = decoded(stream(says("a"), END))
    assert decoder.stream_end(DENY, "t1", dropped=frames[:1]) == b""
    assert ends(decoder.stream_end(DENY, "t1", dropped=frames[-1:])) == {}
    assert ends(decoder.stream_end(DENY, "t1", dropped=frames[-2:])) == {0: "content_filter"}


def test_the_official_client_takes_a_stream_that_was_ended_for_one_that_ended() -> None:
    decoder = CODEC.response_decoder((ASKED,), head(), STREAM, Limits())
    released = b"".join(frame.raw for frame in decoder.feed(event(says("a")) + event(says("b", index=1))))
    body = released + decoder.text_event(CONTENT, " (stopped)") + decoder.stream_end(DENY, "t1")
    seen = ask(200, "text/event-stream", body, stream=True)
    assert seen.error is None
    assert seen.texts == {CONTENT: "a (stopped)", Channel(ChannelKind.CONTENT, 1): "b"}
    assert seen.finished == {0: "content_filter", 1: "content_filter"}
