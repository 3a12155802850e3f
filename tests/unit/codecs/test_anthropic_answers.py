"""codecs/anthropic: whole answers and streams, errors, usage, and how an exchange ended."""

from __future__ import annotations

import json
from typing import Any

import pytest

from ext_proc.limits import Limits
from ext_proc.messages import (
    Channel,
    ChannelKind,
    Completion,
    CompletionChunk,
    LlmError,
    ModelListing,
    Opaque,
    Role,
    TokenCounted,
    Usage,
)
from ext_proc.trail import Outcome
from tests.unit.codecs.anthropic_building import (
    ANTHROPIC,
    COUNT,
    OVERLOADED,
    PING,
    STOP,
    begin,
    closes,
    delta,
    ends,
    event,
    says,
    shown,
    start,
    story,
    stream,
    text,
    whole,
)
from tests.unit.codecs.openai_building import STREAM, answer_head, messages_of, opaque, texts_of

JSON = answer_head()
CONTENT, REASONING = Channel(ChannelKind.CONTENT), Channel(ChannelKind.REASONING)
THINKING = {"type": "thinking", "thinking": "", "signature": ""}
TOOL = {"type": "tool_use", "id": "t", "name": "f", "input": {}}


def outcome(body: Any, response: Any = JSON) -> Outcome:
    return ANTHROPIC.decoded(body, response)[1].outcome


def test_a_whole_answer_is_one_completion_that_closes_its_blocks() -> None:
    (frame,), decoder = ANTHROPIC.decoded(whole(text("a"), text("b")), JSON)
    (message,) = frame.messages
    assert isinstance(message, Completion)
    assert not isinstance(message, CompletionChunk)
    assert (message.model, message.finish_reasons, message.method) == ("m", ("end_turn",), "chat")
    assert message.pieces == frame.pieces
    assert texts_of([frame]) == {CONTENT: "a", Channel(ChannelKind.CONTENT, 1): "b"}
    assert (list(frame.closes), decoder.outcome, decoder.unanswered) == ([0, 1], Outcome.OK, ())
    renamed = message.with_model("alias")
    assert json.loads(renamed.raw) == {**message.value, "model": "alias"}


def test_every_kind_of_block_has_its_texts() -> None:
    cited = {"type": "web_search_result_location", "cited_text": "q", "title": "T", "url": "https://a.example"}
    answer = whole(
        {"type": "thinking", "thinking": "t", "signature": "s"},
        {"type": "redacted_thinking", "data": "sealed"},
        text("a", citations=[cited]),
        {"type": "tool_use", "id": "1", "name": "f", "input": {"p": [1]}},
        {"type": "mcp_tool_result", "tool_use_id": "2", "content": [text("r")], "is_error": False},
        {
            "type": "web_search_tool_result",
            "tool_use_id": "3",
            "content": [{"type": "web_search_result", "title": "W"}],
        },
        {"type": "bash_code_execution_tool_result", "tool_use_id": "4", "content": {"stdout": "o", "stderr": ""}},
        {"type": "compaction", "content": "summary"},
        {"type": "what nobody knows", "text": "n"},
    )
    (frame,), _ = ANTHROPIC.decoded(answer, JSON)
    tool = Role.TOOL
    assert texts_of([frame]) == {
        Channel(ChannelKind.REASONING, 0): "t",
        Channel(ChannelKind.CONTENT, 2): "a",
        Channel(ChannelKind.CONTENT, 2, 1, role=tool): "q",
        Channel(ChannelKind.CONTENT, 2, 2, role=tool): "T",
        Channel(ChannelKind.TOOL_ARGUMENTS, 3, 1): '{"p": [1]}',
        Channel(ChannelKind.CONTENT, 4, 1, role=tool): "r",
        Channel(ChannelKind.CONTENT, 5, 1, role=tool): "W",
        Channel(ChannelKind.CONTENT, 6, 1, role=tool): "o",
        Channel(ChannelKind.CONTENT, 7): "summary",
        Channel(ChannelKind.CONTENT, 8): "n",
    }


def test_a_changed_thought_loses_its_signature_and_nothing_else_changes() -> None:
    thought = {"type": "thinking", "thinking": "t", "signature": "s"}
    (frame,), _ = ANTHROPIC.decoded(whole(thought, thought, text("a", citations=[{"cited_text": "q"}])), JSON)
    out = json.loads(frame.encode({}, texts={0: "new", 2: "b", 3: "Q"}))
    assert out["content"] == [
        {"type": "thinking", "thinking": "new"},
        thought,
        text("b", citations=[{"cited_text": "Q"}]),
    ]


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        (whole(text("a")), Outcome.OK),
        (whole(text("a"), stop="stop_sequence"), Outcome.OK),
        (whole(TOOL, stop="tool_use"), Outcome.OK),
        (whole(text("a"), stop="pause_turn"), Outcome.OK),
        (whole({"type": "compaction", "content": None}, stop="compaction"), Outcome.OK),
        (whole(text("a"), stop="what nobody knows"), Outcome.OK),
        (whole(text("a"), stop="max_tokens"), Outcome.TRUNCATED),
        (whole(text("a"), stop="model_context_window_exceeded"), Outcome.TRUNCATED),
        (whole(text("a"), stop="refusal"), Outcome.REFUSED),
        (whole(stop="refusal"), Outcome.REFUSED),
        (whole(), Outcome.EMPTY),
        (b"", Outcome.EMPTY),
        ({"type": "error", "error": {"type": "api_error", "message": "no"}}, Outcome.PROTOCOL_ERROR),
        (b"{", Outcome.INVALID),
        ([], Outcome.INVALID),
    ],
)
def test_the_outcome_is_told_by_the_reason_to_stop(answer: Any, expected: Outcome) -> None:
    assert outcome(answer) is expected
    if isinstance(answer, dict) and "content" in answer and answer["content"]:
        events = [
            event for index, block in enumerate(answer["content"]) for event in (begin(block, index), ends(index))
        ]
        assert outcome(story(*events, stop=answer["stop_reason"]), STREAM) is expected


@pytest.mark.parametrize(
    "answer",
    [
        {**whole(), "content": {}},
        {**whole(), "content": ["a"]},
        {**whole(), "stop_reason": 1},
        {**whole(text("a")), "Content": []},
        whole({"type": "text", "text": 1}),
        whole({"type": "text", "Text": "a"}),
        whole({"type": "text", "text": "a", "citations": [1]}),
        whole({"type": "tool_use", "input": "x"}),
    ],
)
def test_an_answer_of_another_shape_is_malformed(answer: Any) -> None:
    frames, decoder = ANTHROPIC.decoded(answer, JSON)
    assert opaque(messages_of(frames)).malformed
    assert (texts_of(frames), decoder.outcome) == ({}, Outcome.INVALID)


def test_an_error_is_one_whatever_the_status_and_its_text_is_read_too() -> None:
    for status in (200, 400, 529):
        (message,) = messages_of(ANTHROPIC.decoded(OVERLOADED, answer_head(status))[0])
        assert isinstance(message, LlmError)
    (frame,), decoder = ANTHROPIC.decoded({**whole(text("a")), "error": {}}, JSON)
    assert isinstance(frame.messages[0], LlmError)
    assert texts_of([frame]) == {CONTENT: "a"}
    assert (decoder.outcome, decoder.unanswered) == (Outcome.PROTOCOL_ERROR, ())
    assert json.loads(frame.encode({}, texts={0: "b"}))["content"] == [text("b")]


@pytest.mark.parametrize("page", [b"<html>", b'{"detail":"not found"}', b"[]", b"\xff"])
def test_a_servers_own_error_page_is_opaque_and_not_malformed(page: bytes) -> None:
    frames, decoder = ANTHROPIC.decoded(page, answer_head(502))
    message = opaque(messages_of(frames))
    assert (message.reason, message.malformed, decoder.outcome) == ("not-anthropic", False, Outcome.PROTOCOL_ERROR)


def test_counts_and_lists_of_models_are_what_was_asked_for() -> None:
    (frame,), decoder = ANTHROPIC.decoded({"input_tokens": 5}, JSON, path=COUNT)
    assert isinstance(frame.messages[0], TokenCounted)
    assert decoder.outcome is Outcome.OK
    listing = (ModelListing(b""),)
    frames, decoder = ANTHROPIC.decoded({"data": [{"id": "m"}]}, JSON, requests=listing)
    assert (messages_of(frames), decoder.outcome) == ([], Outcome.OK)
    assert ANTHROPIC.codec.answers(listing) == (LlmError, Opaque)


# Usage.

TOLD = {
    "input_tokens": 3,
    "cache_read_input_tokens": 10,
    "cache_creation_input_tokens": 20,
    "output_tokens": 5,
    "output_tokens_details": {"thinking_tokens": 4},
}
PASS = {"input_tokens": 1, "output_tokens": 2, "cache_read_input_tokens": 3, "cache_creation_input_tokens": 4}


@pytest.mark.parametrize(
    ("usage", "expected"),
    [
        (TOLD, Usage(33, 5, cached_tokens=10, cache_write_tokens=20, reasoning_tokens=4)),
        ({"input_tokens": 1, "output_tokens": 2, "cache_read_input_tokens": None}, Usage(1, 2)),
        (
            {**TOLD, "iterations": [{**PASS, "type": "compaction"}, {**PASS, "type": "message"}]},
            Usage(16, 4, cached_tokens=6, cache_write_tokens=8, reasoning_tokens=4),
        ),
        ({"input_tokens": 1, "output_tokens": 2, "iterations": None}, Usage(1, 2)),
        ({"input_tokens": 1, "output_tokens": 2, "iterations": []}, Usage(1, 2)),
        ({"input_tokens": 1, "output_tokens": 2, "iterations": [{"input_tokens": "1"}]}, None),
        ({"input_tokens": -1, "output_tokens": 2}, None),
        ({"input_tokens": True, "output_tokens": 2}, None),
        ([], None),
        (None, None),
    ],
)
def test_usage_adds_up_caches_and_passes(usage: Any, expected: Usage | None) -> None:
    (message,) = messages_of(ANTHROPIC.decoded(whole(text("a"), usage=usage), JSON)[0])
    assert isinstance(message, Completion)
    assert message.usage == expected


def test_each_event_that_counts_tells_all_that_was_counted_so_far() -> None:
    body = stream(
        start(usage={**TOLD, "output_tokens": 1}),
        begin(text("a")),
        ends(),
        closes(output_tokens=7, input_tokens=None),
        closes(output_tokens=9, input_tokens=4),
        STOP,
    )
    usages = [m.usage for m in messages_of(ANTHROPIC.decoded(body)[0]) if isinstance(m, CompletionChunk) and m.usage]
    assert [(usage.input_tokens, usage.output_tokens) for usage in usages] == [(33, 1), (33, 7), (34, 9)]
    assert {usage.cached_tokens for usage in usages} == {10}


# Streams.


def test_every_type_of_event_is_read() -> None:
    cited = {"type": "char_location", "cited_text": "q"}
    body = story(
        PING,
        *(begin(THINKING), delta(type="thinking_delta", thinking="h"), delta(type="thinking_delta", thinking="m")),
        *(delta(type="signature_delta", signature="s"), ends()),
        *(begin(text(""), 1), says("a", 1), says("b", 1), delta(1, type="citations_delta", citation=cited), ends(1)),
        *(begin(TOOL, 2), delta(2, type="input_json_delta", partial_json='{"p":'), PING),
        *(delta(2, type="input_json_delta", partial_json="1}"), ends(2)),
        *(begin({"type": "compaction"}, 3), delta(3, type="compaction_delta", content="c"), ends(3)),
        *(begin({"type": "fallback", "from": {"model": "a"}, "to": {"model": "b"}}, 4), ends(4)),
    )
    frames, decoder = ANTHROPIC.decoded(body)
    assert all(isinstance(message, CompletionChunk) for message in messages_of(frames))
    assert texts_of(frames) == {
        REASONING: "hm",
        Channel(ChannelKind.CONTENT, 1): "ab",
        Channel(ChannelKind.CONTENT, 1, 1, role=Role.TOOL): "q",
        Channel(ChannelKind.TOOL_ARGUMENTS, 2): '{"p":1}',
        Channel(ChannelKind.CONTENT, 3): "c",
    }
    assert [choice for frame in frames for choice in frame.closes] == [0, 1, 2, 3, 4]
    assert (decoder.outcome, decoder.unanswered) == (Outcome.OK, ())
    first, last = messages_of(frames)[0], messages_of(frames)[-2]
    assert isinstance(first, CompletionChunk)
    assert isinstance(last, CompletionChunk)
    assert (first.model, last.model, last.finish_reasons) == ("m", "", ("end_turn",))
    renamed = first.with_model("alias")
    assert json.loads(renamed.raw)["message"] == {**first.value["message"], "model": "alias"}


@pytest.mark.parametrize("ending", [b"\n", b"\r\n", b"\r"])
def test_comments_line_ends_and_a_byte_order_mark_change_nothing(ending: bytes) -> None:
    body = b"\xef\xbb\xbf: hello\n\n" + story(begin(text("")), says("a"), ends()).replace(b"data:", b"id: 7\ndata:")
    frames, decoder = ANTHROPIC.decoded(body.replace(b"\n", ending))
    assert (texts_of(frames), decoder.outcome) == ({CONTENT: "a"}, Outcome.OK)


def test_an_event_of_a_type_that_is_not_known_passes_unless_it_carries_text() -> None:
    frames, decoder = ANTHROPIC.decoded(story({"type": "new", "n": 1}, {"n": 1}, begin(text("a")), ends()))
    assert decoder.outcome is Outcome.OK
    for value in ({"type": "new", "delta": {"text": "a"}}, {"type": "error", "error": {}, "content_block": {}}):
        frames, _ = ANTHROPIC.decoded(stream(start(), value))
        assert opaque(messages_of(frames)[1:]).reason == "anthropic-invalid"


def test_the_name_of_an_event_hides_nothing_of_its_data() -> None:
    body = stream(start(), begin(text(""))) + event(says("a"), "ping") + event(says("b"), "error")
    assert texts_of(ANTHROPIC.decoded(body)[0]) == {CONTENT: "ab"}
    assert texts_of(ANTHROPIC.decoded(stream(start(), {**says("a"), "error": {}}))[0]) == {CONTENT: "a"}


def test_an_error_in_mid_stream_ends_what_is_awaited() -> None:
    frames, decoder = ANTHROPIC.decoded(stream(start(), begin(text("")), says("a"), OVERLOADED))
    assert isinstance(messages_of(frames)[-1], LlmError)
    assert (decoder.outcome, decoder.unanswered) == (Outcome.PROTOCOL_ERROR, ())
    frames, _ = ANTHROPIC.decoded(stream({"error": {"message": "no"}}))
    assert isinstance(messages_of(frames)[0], LlmError)


@pytest.mark.parametrize(
    "late",
    [
        [ends(), says("b")],
        [ends(), begin(text("b"))],
        [closes(), STOP, says("b")],
        [closes(), STOP, STOP],
        [closes(), STOP, closes()],
    ],
)
def test_what_follows_the_end_of_a_block_or_of_the_message_is_malformed(late: list[Any]) -> None:
    frames, _ = ANTHROPIC.decoded(stream(start(), begin(text("a")), *late))
    assert opaque(messages_of(frames)[-1:]).malformed
    frames, decoder = ANTHROPIC.decoded(stream(start(), begin(text("a")), *late, STOP))
    assert decoder.outcome is Outcome.INVALID


def test_a_ping_may_follow_the_end() -> None:
    assert outcome(story(begin(text("a")), ends()) + stream(PING), STREAM) is Outcome.OK


@pytest.mark.parametrize(
    "value",
    [
        start(content=[text("a")]),
        {"type": "message_start"},
        {"type": "content_block_start", "index": 0},
        {"type": "content_block_start", "content_block": text("a")},
        begin(text("a"), -1),
        begin(text("a"), 5000),
        {**says("a"), "index": True},
        {**says("a"), "delta": "a"},
        delta(type="text_delta", text=1),
        delta(type="text_delta", text="a", Text="b"),
        delta(type="signature_delta", signature=1),
        delta(type="citations_delta", citation="q"),
        {"type": "content_block_stop"},
        {"type": "message_delta", "delta": {"stop_reason": 1}},
        {"type": 1},
        {**says("a"), "Delta": {}},
        [],
        1,
    ],
)
def test_an_event_of_another_shape_is_malformed(value: Any) -> None:
    frames, decoder = ANTHROPIC.decoded(event(value) + event(STOP))
    assert opaque(messages_of(frames)[:1]).malformed
    assert (texts_of(frames), decoder.outcome) == ({}, Outcome.INVALID)


def test_a_stream_without_its_end_was_cut_off_and_half_an_event_is_malformed() -> None:
    assert outcome(stream(start(), begin(text("a")), ends(), closes()), STREAM) is Outcome.TRUNCATED
    assert outcome(stream(start(), PING), STREAM) is Outcome.TRUNCATED
    assert outcome(story(), STREAM) is Outcome.EMPTY
    assert outcome(b"", STREAM) is Outcome.EMPTY
    frames, decoder = ANTHROPIC.decoded(stream(start(), begin(text("")), says("a"))[:-1])
    assert opaque(messages_of(frames)[2:]).reason == "sse-unterminated"
    assert decoder.outcome is Outcome.TRUNCATED


def test_an_event_past_the_limit_is_opaque_in_every_span() -> None:
    frames, _ = ANTHROPIC.decoded(stream(says("a" * 200)), limits=Limits(event=64))
    assert len(messages_of(frames)) >= 2
    assert all(isinstance(message, Opaque) and message.too_large for message in messages_of(frames))


def test_a_changed_event_keeps_its_other_lines_and_bytes() -> None:
    data = b'{"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": "a"}   }'
    raw = b": note\r\nid: 7\r\nevent: content_block_delta\r\ndata: " + data + b"\r\n\r\n"
    (frame,), _ = ANTHROPIC.decoded(raw)
    assert frame.encode({}, texts={0: "é"}) == raw.replace(b'"a"', '"é"'.encode())


def test_the_signature_of_a_thought_that_left_changed_leaves_empty() -> None:
    thinks = [delta(index, type="thinking_delta", thinking="t") for index in (0, 1)]
    signs = [delta(index, type="signature_delta", signature="s") for index in (0, 1)]
    frames, _ = ANTHROPIC.decoded(stream(begin(THINKING), begin(THINKING, 1), *thinks, *signs))
    assert shown(frames[2].encode({}, texts={0: "new"}))["delta"]["thinking"] == "new"
    assert shown(frames[4].encode({})) == delta(type="signature_delta", signature="")
    assert frames[3].encode({}, texts={0: "t"}) == frames[3].raw  # the same text is no change
    assert frames[5].encode({}) == frames[5].raw


@pytest.mark.parametrize(
    ("content_type", "streams", "readable"),
    [
        ("application/json", False, True),
        ("text/event-stream; charset=utf-8", True, True),
        ("text/html", False, False),
        ("application/json; charset=utf-16", False, False),
    ],
)
def test_json_and_event_streams_can_be_read(content_type: str, streams: bool, readable: bool) -> None:
    response = answer_head(content_type=content_type)
    assert (ANTHROPIC.codec.streams(response), ANTHROPIC.codec.readable(response)) == (streams, readable)
