"""codecs/openai_responses: streamed answers: their events, their items, their repeats, and what ends them."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any, get_args

import openai
import pytest
from openai.types.responses import ResponseStreamEvent

from ext_proc.codecs.codec import Decoder, Frame
from ext_proc.limits import Limits
from ext_proc.messages import Channel, ChannelKind, Completion, CompletionChunk, LlmError, Message, Opaque, Role
from ext_proc.policy import Deny
from ext_proc.trail import Outcome
from tests.unit.codecs.openai_building import DONE, messages_of
from tests.unit.codecs.openai_client import client
from tests.unit.codecs.openai_responses_building import (
    ASKED,
    RESPONSES,
    answer,
    begins,
    delta,
    encoded_event,
    event,
    part,
    says,
    stream,
    talk,
    told,
    uncopied,
)

CONTENT, REASONING, REFUSAL = ChannelKind.CONTENT, ChannelKind.REASONING, ChannelKind.REFUSAL
ARGUMENTS, INPUT = ChannelKind.TOOL_ARGUMENTS, ChannelKind.TOOL_INPUT
DENY = Deny("leak", "this may not leave")
END = event("response.completed", response=answer(says("a")))


def messages(*values: Any) -> list[Message]:
    return messages_of(RESPONSES.decoded(stream(*values))[0])


def opaque(found: Sequence[Message]) -> Opaque:
    (message,) = (message for message in found if isinstance(message, Opaque))
    assert message.malformed
    return message


def test_each_event_is_a_frame_and_each_copy_a_choice_that_ends_with_it() -> None:
    frames, decoder = RESPONSES.decoded(stream(*talk("a", "b")))
    assert all(isinstance(message, CompletionChunk) for message in messages_of(frames))
    assert [[piece.text for piece in frame.pieces] for frame in frames] == [
        *([], [], []),
        *(["a"], ["b"]),
        *(["ab"], ["ab"], ["ab"], ["ab"]),
    ]
    assert [tuple(frame.closes) for frame in frames[3:]] == [(), (), (1024,), (1025,), (1026, 0), (1027,)]
    assert uncopied(frames) == "ab"
    assert (decoder.outcome, decoder.unanswered) == (Outcome.OK, ())


def test_a_request_waits_until_its_stream_is_over() -> None:
    decoder = RESPONSES.decoder(requests=[ASKED])
    list(decoder.feed(stream(*begins(), delta("a"))))
    assert list(decoder.unanswered) == [ASKED]
    list(decoder.feed(stream(END)))
    assert list(decoder.unanswered) == []


def test_what_is_said_for_the_first_time_is_no_copy() -> None:
    search = {"type": "web_search_call", "id": "ws_1", "status": "completed", "action": {"query": "q"}}
    values = [
        event("response.output_item.added", output_index=0, item={"type": "web_search_call", "id": "ws_1"}),
        event("response.output_item.done", output_index=0, item=search),
        event("response.completed", response=answer(search, says("a"))),
    ]
    frames, _ = RESPONSES.decoded(stream(*values))
    said = [(piece.text, piece.channel.copy) for frame in frames for piece in frame.pieces]
    assert said == [("q", False), ("q", True), ("a", False)]


ITEM = {"item_id": "i", "output_index": 0}
SHELL = {"output": [{"stdout": "a", "stderr": "b", "outcome": {"type": "timeout"}}]}
# Every type of event of the official client, with members that it may have and the texts in them.
EVENTS: dict[str, tuple[dict[str, Any], list[tuple[ChannelKind, str]]]] = {
    "response.created": ({"response": answer(status="in_progress")}, []),
    "response.queued": ({"response": answer(status="queued")}, []),
    "response.in_progress": ({"response": answer(says("a"), status="in_progress")}, [(CONTENT, "a")]),
    "response.completed": ({"response": answer(says("a", "b"))}, [(CONTENT, "a"), (CONTENT, "b")]),
    "response.incomplete": ({"response": answer(says("a"), status="incomplete")}, [(CONTENT, "a")]),
    "response.failed": ({"response": answer(says("a"), status="failed")}, [(CONTENT, "a")]),
    "response.output_item.added": ({"item": says("a"), "output_index": 0}, [(CONTENT, "a")]),
    "response.output_item.done": ({"item": says("a"), "output_index": 0}, [(CONTENT, "a")]),
    "response.content_part.added": ({**ITEM, "part": part("a")}, [(CONTENT, "a")]),
    "response.content_part.done": ({**ITEM, "part": {"type": "reasoning_text", "text": "a"}}, [(REASONING, "a")]),
    "response.output_text.delta": ({**ITEM, "content_index": 0, "delta": "a", "logprobs": []}, [(CONTENT, "a")]),
    "response.output_text.done": ({**ITEM, "content_index": 0, "text": "a", "logprobs": []}, [(CONTENT, "a")]),
    "response.output_text.annotation.added": ({**ITEM, "annotation": {"title": "a"}}, []),
    "response.refusal.delta": ({**ITEM, "delta": "a"}, [(REFUSAL, "a")]),
    "response.refusal.done": ({**ITEM, "refusal": "a"}, [(REFUSAL, "a")]),
    "response.reasoning_text.delta": ({**ITEM, "delta": "a"}, [(REASONING, "a")]),
    "response.reasoning_text.done": ({**ITEM, "text": "a"}, [(REASONING, "a")]),
    "response.reasoning_summary_part.added": ({**ITEM, "summary_index": 0, "part": {"text": "a"}}, [(REASONING, "a")]),
    "response.reasoning_summary_part.done": ({**ITEM, "summary_index": 0, "part": {"text": "a"}}, [(REASONING, "a")]),
    "response.reasoning_summary_text.delta": ({**ITEM, "summary_index": 0, "delta": "a"}, [(REASONING, "a")]),
    "response.reasoning_summary_text.done": ({**ITEM, "summary_index": 0, "text": "a"}, [(REASONING, "a")]),
    "response.function_call_arguments.delta": ({**ITEM, "delta": '{"a'}, [(ARGUMENTS, '{"a')]),
    "response.function_call_arguments.done": ({**ITEM, "arguments": '{"a":1}'}, [(ARGUMENTS, '{"a":1}')]),
    "response.mcp_call_arguments.delta": ({**ITEM, "delta": "{}"}, [(ARGUMENTS, "{}")]),
    "response.mcp_call_arguments.done": ({**ITEM, "arguments": "{}"}, [(ARGUMENTS, "{}")]),
    "response.custom_tool_call_input.delta": ({**ITEM, "delta": "a"}, [(INPUT, "a")]),
    "response.custom_tool_call_input.done": ({**ITEM, "input": "a"}, [(INPUT, "a")]),
    "response.code_interpreter_call_code.delta": ({**ITEM, "delta": "a"}, [(INPUT, "a")]),
    "response.code_interpreter_call_code.done": ({**ITEM, "code": "a"}, [(INPUT, "a")]),
    "response.shell_call_command.added": ({"output_index": 0, "command_index": 0, "command": "a"}, [(INPUT, "a")]),
    "response.shell_call_command.delta": ({"output_index": 0, "command_index": 0, "delta": "a"}, [(INPUT, "a")]),
    "response.shell_call_command.done": ({"output_index": 0, "command_index": 0, "command": "a"}, [(INPUT, "a")]),
    "response.shell_call_output_content.delta": (
        {**ITEM, "command_index": 0, "delta": {"stdout": "a", "stderr": "b"}},
        [(CONTENT, "a"), (CONTENT, "b")],
    ),
    "response.shell_call_output_content.done": ({**ITEM, **SHELL}, [(CONTENT, "a"), (CONTENT, "b")]),
    "response.audio.delta": ({"delta": "AAAA"}, []),
    "response.audio.done": ({}, []),
    "response.audio.transcript.delta": ({"delta": "a"}, [(CONTENT, "a")]),
    "response.audio.transcript.done": ({}, []),
    "response.image_generation_call.partial_image": ({**ITEM, "partial_image_b64": "AAAA"}, []),
    "error": ({"code": "server_error", "message": "no", "param": None}, []),
    **{
        f"response.{call}.{state}": (ITEM, [])
        for call, states in {
            "code_interpreter_call": ("in_progress", "interpreting", "completed"),
            "compaction": ("compacting",),
            "file_search_call": ("in_progress", "searching", "completed"),
            "image_generation_call": ("in_progress", "generating", "completed"),
            "mcp_call": ("in_progress", "completed", "failed"),
            "mcp_list_tools": ("in_progress", "completed", "failed"),
            "web_search_call": ("in_progress", "searching", "completed"),
        }.items()
        for state in states
    },
    # What others write.
    "response.reasoning.delta": ({"response": {"id": "r"}, "delta": {"content": "a"}}, [(REASONING, "a")]),
    "response.reasoning_summary.delta": ({**ITEM, "delta": {"type": "summary_text", "text": "a"}}, [(REASONING, "a")]),
    "response.of_tomorrow.delta": ({**ITEM, "delta": "a", "part": part("b")}, [(CONTENT, "a"), (CONTENT, "b")]),
    "response.of_tomorrow.done": ({**ITEM, "text": "a", "outputs": [{"logs": "b"}]}, [(CONTENT, "a"), (CONTENT, "b")]),
    "response.done": ({"response": answer(says("a"))}, [(CONTENT, "a")]),
    "": ({"delta": "a"}, [(CONTENT, "a")]),
}


def test_every_type_of_event_of_the_official_client_is_in_the_table() -> None:
    (union, *_) = get_args(ResponseStreamEvent)
    known = {literal for model in get_args(union) for literal in get_args(model.model_fields["type"].annotation)}
    assert len(known) >= 50
    assert known - set(EVENTS) == set()


@pytest.mark.parametrize("kind", EVENTS)
def test_the_texts_of_an_event_are_read_and_can_be_replaced(kind: str) -> None:
    members, expected = EVENTS[kind]
    raw = encoded_event(event(kind, **members))
    (frame,), _ = RESPONSES.decoded(raw)
    (message,) = frame.messages
    assert isinstance(message, LlmError if kind == "error" else CompletionChunk)
    assert told([frame]) == expected
    assert len({piece.channel for piece in frame.pieces}) == len(expected)
    changed = frame.encode({}, texts=dict.fromkeys(range(len(expected)), '"new"'))
    assert told(RESPONSES.decoded(changed)[0]) == [(of, '"new"') for of, _ in expected]
    assert frame.encode({}) == raw


def test_what_a_tool_gave_back_is_the_tools() -> None:
    for kind in ("response.shell_call_output_content.delta", "response.shell_call_output_content.done"):
        (frame,), _ = RESPONSES.decoded(stream(event(kind, **EVENTS[kind][0])))
        assert {piece.channel.role for piece in frame.pieces} == {Role.TOOL}


def test_texts_of_several_parts_items_and_commands_are_told_apart() -> None:
    values = [
        *(delta("a"), delta("b", at=1), delta("c", item=1)),
        event("response.reasoning_summary_text.delta", output_index=0, summary_index=0, delta="d"),
        event("response.reasoning_text.delta", output_index=0, content_index=0, delta="e"),
        event("response.shell_call_command.delta", output_index=0, command_index=0, delta="f"),
        event("response.shell_call_command.delta", output_index=0, command_index=1, delta="g"),
        event("response.custom_tool_call_input.delta", output_index=0, delta="h"),
        event("response.code_interpreter_call_code.delta", output_index=0, delta="i"),
        event("response.unknown.delta", output_index=0, content_index=0, delta="j"),
    ]
    frames, _ = RESPONSES.decoded(stream(*values))
    assert len({piece.channel for frame in frames for piece in frame.pieces}) == len(values)


def test_a_character_cut_in_two_is_whole_where_policies_read_it() -> None:
    raw = stream(*begins()) + stream(
        b'{"type":"response.output_text.delta","delta":"a\\ud83d"}',
        b'{"type":"response.output_text.delta","delta":"\\ude00b"}',
    )
    frames, _ = RESPONSES.decoded(raw)
    assert [text for _, text in told(frames)] == ["a", "😀b"]
    assert b"".join(frame.raw for frame in frames) == raw


def test_a_changed_delta_keeps_its_other_lines_and_bytes() -> None:
    data = b'{"type":"response.output_text.delta", "delta":"a", "logprobs": [{"x":1}], "n": 1.0}'
    raw = b": note\r\nid: 7\r\ndata: " + data + b"\r\n\r\n"
    (frame,), _ = RESPONSES.decoded(raw)
    assert frame.encode({}, texts={0: "é"}) == raw.replace(b'"a"', '"é"'.encode()).replace(b'[{"x":1}]', b"[]")


def test_an_event_names_the_model_where_it_has_the_answers_object() -> None:
    created, spoken = messages(begins()[0], delta("a"))
    assert isinstance(created, Completion)
    assert isinstance(spoken, Completion)
    renamed = created.with_model("alias")
    assert (renamed.model, json.loads(renamed.raw)["response"]["model"]) == ("alias", "alias")
    assert (spoken.model, spoken.with_model("alias")) == ("", spoken)


def incomplete(reason: str) -> dict[str, Any]:
    ended = answer(says("a"), status="incomplete", incomplete_details={"reason": reason})
    return event("response.incomplete", response=ended)


SAID = [*begins(), delta("a")]
REFUSES = [*begins(), event("response.refusal.delta", **ITEM, delta="no"), END]
FAILED = event("response.failed", response=answer(status="failed", error={"code": "server_error", "message": "no"}))


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        (stream(*SAID, END), Outcome.OK),
        (stream(*SAID, END) + DONE, Outcome.OK),
        (stream(*SAID, END) + DONE[:-1], Outcome.OK),
        (stream(*SAID, event("response.done", response=answer(says("a")))), Outcome.OK),
        (stream(*SAID, incomplete("max_output_tokens")), Outcome.TRUNCATED),
        (stream(*SAID, incomplete("content_filter")), Outcome.REFUSED),
        (stream(*SAID, event("response.cancelled", response=answer(status="cancelled"))), Outcome.TRUNCATED),
        (stream(*SAID, FAILED), Outcome.PROTOCOL_ERROR),
        (stream(*SAID, event("error", message="no")), Outcome.PROTOCOL_ERROR),
        (stream(*SAID, {"error": {"message": "no"}}), Outcome.PROTOCOL_ERROR),
        (stream(*SAID, {**delta("b"), "error": {"message": "no"}}), Outcome.PROTOCOL_ERROR),
        (stream(*REFUSES), Outcome.REFUSED),
        (stream(*SAID), Outcome.TRUNCATED),
        (stream(*SAID) + DONE, Outcome.TRUNCATED),
        (stream(*SAID, END)[:-1], Outcome.TRUNCATED),
        (stream(event("response.created", response=answer()), event("response.completed")), Outcome.EMPTY),
        (b"", Outcome.EMPTY),
        (stream(*SAID, b"{", END), Outcome.INVALID),
    ],
)
def test_the_outcome_of_a_stream_is_how_it_ended(body: bytes, expected: Outcome) -> None:
    assert RESPONSES.decoded(body)[1].outcome is expected


def test_after_an_error_nothing_more_is_awaited_and_text_beside_it_is_read() -> None:
    frames, decoder = RESPONSES.decoded(stream(*begins(), {**delta("a"), "error": {"message": "no"}}))
    assert isinstance(messages_of(frames)[-1], LlmError)
    assert (told(frames), decoder.unanswered) == ([(CONTENT, "a")], ())


@pytest.mark.parametrize(
    "late",
    [
        [END, delta("b")],
        [END, delta("b", item=3)],
        [END, END],
        [event("response.output_item.done", output_index=0, item=says("a")), delta("b")],
    ],
)
def test_text_after_its_end_is_malformed(late: list[Any]) -> None:
    frames, decoder = RESPONSES.decoded(stream(*SAID, *late))
    assert opaque(messages_of(frames)).reason == "openai-invalid"
    assert "b" not in [text for _, text in told(frames)]
    assert decoder.outcome in (Outcome.INVALID, Outcome.TRUNCATED)


def test_what_follows_the_end_without_text_is_read_and_passes() -> None:
    frames, decoder = RESPONSES.decoded(stream(*SAID, END, event("keepalive", sequence_number=9)) + DONE)
    assert [len(frame.messages) for frame in frames[-2:]] == [1, 0]
    assert decoder.outcome is Outcome.OK


@pytest.mark.parametrize(
    "data",
    [
        b"[]",
        b"1",
        b'{"type":5}',
        b'{"type":"response.output_text.delta","delta":["a"]}',
        b'{"type":"response.output_text.delta","delta":{"words":"a"}}',
        b'{"type":"response.output_text.delta","delta":"a","delta":"b"}',
        b'{"type":"response.output_text.delta","Delta":"a"}',
        b'{"type":"response.output_text.delta","output_index":-1,"delta":"a"}',
        b'{"type":"response.output_text.delta","output_index":"0","delta":"a"}',
        b'{"type":"response.output_text.delta","content_index":5000,"delta":"a"}',
        b'{"type":"response.output_text.done","text":{"value":"a"}}',
        b'{"type":"response.output_item.done","item":"a"}',
        b'{"type":"response.output_item.added","item":{"type":"message","id":5}}',
        b'{"type":"response.content_part.done","part":["a"]}',
        b'{"type":"response.completed","response":"a"}',
        b'{"type":"response.completed","response":{"output":"a"}}',
    ],
)
def test_an_event_that_readers_could_read_in_two_ways_is_malformed(data: bytes) -> None:
    frames, _ = RESPONSES.decoded(stream(data))
    assert opaque(messages_of(frames)).malformed
    assert told(frames) == []


def test_an_event_that_the_end_cut_off_is_malformed() -> None:
    frames, _ = RESPONSES.decoded(stream(*SAID)[:-1])
    assert opaque(messages_of(frames)).reason == "sse-unterminated"


def test_an_event_past_the_limit_is_opaque_in_every_span() -> None:
    frames, _ = RESPONSES.decoded(stream(delta("a" * 300)), limits=Limits(event=64))
    assert len(frames) > 1
    assert all(isinstance(message, Opaque) and message.too_large for message in messages_of(frames))


def test_channels_are_bounded_and_long_answers_fit() -> None:
    long = [
        event("response.output_item.done", output_index=number, item=says(*("a",) * 5, id=f"m{number}"))
        for number in range(800)
    ]
    frames, decoder = RESPONSES.decoded(stream(*long))
    assert decoder.outcome is Outcome.TRUNCATED
    assert not [message for message in messages_of(frames) if isinstance(message, Opaque)]
    frames, _ = RESPONSES.decoded(stream(*long, *long[:100]))
    assert any(isinstance(message, Opaque) and message.malformed for message in messages_of(frames))


# What an engine writes into a stream.


@pytest.mark.parametrize(
    ("channel", "item"),
    [
        (Channel(CONTENT, 0, 1), "message"),
        (Channel(REFUSAL, 0, 0), "message"),
        (Channel(REASONING, 0, 1), "reasoning"),
        (Channel(REASONING, 0, 1025), "reasoning"),
        (Channel(ARGUMENTS, 0, 0), "function_call"),
        (Channel(ARGUMENTS, 0, 0), "mcp_call"),
        (Channel(INPUT, 0, 0), "custom_tool_call"),
        (Channel(INPUT, 0, 1), "code_interpreter_call"),
        (Channel(INPUT, 0, 3), "shell_call"),
    ],
)
def test_a_new_event_carries_text_on_its_channel(channel: Channel, item: str) -> None:
    began = {"type": item, "id": "i_1"}
    _, decoder = RESPONSES.decoded(stream(event("response.output_item.added", output_index=0, item=began)))
    raw = decoder.text_event(channel, 'é"')
    (frame,), _ = RESPONSES.decoded(raw)
    assert [(piece.channel, piece.text) for piece in frame.pieces] == [(channel, 'é"')]
    (message,) = frame.messages
    assert isinstance(message, CompletionChunk)
    kind = message.value["type"]
    assert message.value["item_id"] == "i_1"
    assert raw.startswith(b"event: " + kind.encode())
    assert kind.startswith("response.mcp_call") == (item == "mcp_call")
    assert kind in EVENTS


@pytest.mark.parametrize("channel", [Channel(CONTENT, 1024), Channel(CONTENT, 0, 2048), Channel(CONTENT, 0, 9000)])
def test_what_no_delta_carries_has_no_event(channel: Channel) -> None:
    assert RESPONSES.decoder().text_event(channel, "x") == b""


def test_events_of_ours_are_numbered_on() -> None:
    _, decoder = RESPONSES.decoded(stream(*talk("a")[:4]))
    raw = decoder.text_event(Channel(CONTENT), "b") + decoder.stream_end(DENY, "t1")
    values: list[Any] = [m.value for m in messages_of(RESPONSES.decoded(raw)[0]) if isinstance(m, CompletionChunk)]
    assert [value["sequence_number"] for value in values] == [4, 5]


def ended(raw: bytes) -> list[Any]:
    """The events of an ending; it must be done with it."""
    frames, decoder = RESPONSES.decoded(raw)
    values = [message.value for message in messages_of(frames) if isinstance(message, CompletionChunk)]
    assert values[-1]["gatehouse"] == {"trail": "t1", "reason": "leak"}
    assert values[-1]["response"]["incomplete_details"] == {"reason": "content_filter"}
    assert decoder.outcome is Outcome.REFUSED
    return [value["type"] for value in values]


def test_the_end_of_a_stream_is_an_answer_that_is_incomplete() -> None:
    decoder = RESPONSES.decoder()
    assert ended(decoder.stream_end(DENY, "t1")) == ["response.created", "response.incomplete"]
    frames = [*decoder.feed(stream(*SAID))]
    assert ended(decoder.stream_end(DENY, "t1")) == ["response.incomplete"]
    assert ended(decoder.stream_end(DENY, "t1", dropped=frames)) == ["response.created", "response.incomplete"]


def test_after_an_end_that_has_left_there_is_nothing_to_end() -> None:
    frames, decoder = RESPONSES.decoded(stream(*SAID, END))
    assert decoder.stream_end(DENY, "t1", dropped=frames[:1]) == b""
    assert ended(decoder.stream_end(DENY, "t1", dropped=frames[-1:])) == ["response.incomplete"]


def test_an_ending_repeats_nothing_that_is_too_long_and_keeps_the_answers_id() -> None:
    long = answer(status="in_progress", id="r" * 600, model="x" * 2000)
    decoder = RESPONSES.decoder()
    list(decoder.feed(stream(event("response.created", response=long))))
    (last,) = messages_of(RESPONSES.decoded(decoder.stream_end(DENY, "t1"))[0])
    assert isinstance(last, CompletionChunk)
    assert (last.value["response"]["id"], last.model) == ("r" * 600, "m")


def stopped(released: Sequence[Frame], dropped: Sequence[Frame], decoder: Decoder) -> bytes:
    body = b"".join(frame.raw for frame in released)
    return body + decoder.text_event(Channel(CONTENT), " (stopped)") + decoder.stream_end(DENY, "t1", dropped)


@pytest.mark.parametrize("name", ["made up", *(n for n, r in RESPONSES.recordings.items() if r.streams)])
def test_the_official_client_reads_a_stream_that_was_ended_anywhere_to_its_end(name: str) -> None:
    body = stream(*talk("a", "b")) if name == "made up" else RESPONSES.recordings[name].response
    every = RESPONSES.decoded(body)[0]
    for at in range(0, len(every), 1 + len(every) // 30):
        decoder = RESPONSES.decoder()
        frames = [*decoder.feed(b"".join(frame.raw for frame in every[: at + 1]))]
        out = stopped(frames[:at], frames[at:], decoder)
        with client(200, "text/event-stream", out) as asked:
            events = list(asked.responses.create(model="m", input="hello", stream=True))
        assert events[-1].type == "response.incomplete"
        assert events[-1].response.status == "incomplete"
        assert events[-1].response.output_text == ""


def test_the_helper_of_the_official_client_shows_what_came_and_has_no_final_response() -> None:
    decoder = RESPONSES.decoder()
    frames = [*decoder.feed(stream(*talk("a", "b")[:4]))]
    body = stopped(frames, [], decoder)
    with client(200, "text/event-stream", body) as asked, asked.responses.stream(model="m", input="hello") as events:
        kinds = [shown.type for shown in events]
        assert kinds[-2:] == ["response.output_text.delta", "response.incomplete"]
        # As for any answer that is incomplete, OpenAI's own too.
        with pytest.raises(RuntimeError, match=r"response\.completed"):
            events.get_final_response()


def test_an_error_in_a_stream_is_the_official_clients_error_where_it_is_ours() -> None:
    body = stream(*SAID, {"type": "error", "error": {"message": "no"}})
    with client(200, "text/event-stream", body) as asked, pytest.raises(openai.APIError):
        list(asked.responses.create(model="m", input="hello", stream=True))
    frames, _ = RESPONSES.decoded(body)
    assert isinstance(messages_of(frames)[-1], LlmError)
