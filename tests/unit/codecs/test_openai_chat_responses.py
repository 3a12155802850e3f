"""codecs/openai_chat: whole answers, errors, and how an exchange ended."""

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
    ResponseHead,
    Usage,
)
from ext_proc.trail import Outcome
from tests.unit.codecs.openai_building import (
    ASKED,
    CODEC,
    answer_head,
    chunk,
    decoded,
    messages_of,
    opaque,
    says,
    stream,
    texts_of,
    whole,
)

JSON = answer_head()
CONTENT = Channel(ChannelKind.CONTENT)
CALL = {"id": "t", "type": "function", "function": {"name": "f", "arguments": "{}"}}


def outcome(body: Any, response: ResponseHead = JSON) -> Outcome:
    return decoded(body, response)[1].outcome


def test_a_whole_answer_is_one_completion_that_closes_its_choices() -> None:
    (frame,), decoder = decoded(whole({"role": "assistant", "content": "a"}, {"content": "b"}), JSON)
    (message,) = frame.messages
    assert isinstance(message, Completion)
    assert not isinstance(message, CompletionChunk)
    assert (message.model, message.finish_reasons, message.method) == ("m", ("stop", "stop"), "chat")
    assert message.pieces == frame.pieces
    assert texts_of([frame]) == {CONTENT: "a", Channel(ChannelKind.CONTENT, 1): "b"}
    assert frame.closes == (0, 1)
    assert (decoder.outcome, decoder.unanswered) == (Outcome.OK, ())


def test_what_json_may_hold_is_the_bundles_limit_in_answers_too() -> None:
    body = whole({"content": "a"})
    assert opaque(messages_of(decoded(body, JSON, limits=Limits(json_values=5))[0])).reason == "json-too-many"
    assert opaque(messages_of(decoded(body, JSON, limits=Limits(json_depth=2))[0])).reason == "json-too-deep"


def test_every_kind_of_text_has_its_channel() -> None:
    said = {
        "content": "c",
        "refusal": "r",
        "reasoning_content": "x",
        "reasoning": "y",
        "reasoning_details": [{"text": "d1"}, {"summary": "d2"}, {"data": "sealed"}],
        "thinking_blocks": [{"type": "thinking", "thinking": "b"}],
        "audio": {"id": "a", "transcript": "t", "data": "AAAA"},
        "function_call": {"name": "f", "arguments": "{1"},
        "tool_calls": [
            {"function": {"name": "f", "arguments": "{2"}},
            {"custom": {"name": "g", "input": "free"}},
            {"index": 7, "function": {"name": "f", "arguments": "{3"}},
        ],
    }
    frames, _ = decoded(whole(said), JSON)
    assert texts_of(frames) == {
        Channel(ChannelKind.CONTENT, 0, 0): "c",
        Channel(ChannelKind.CONTENT, 0, 2): "t",
        Channel(ChannelKind.REFUSAL): "r",
        Channel(ChannelKind.REASONING, 0, 0): "x",
        Channel(ChannelKind.REASONING, 0, 1): "y",
        Channel(ChannelKind.REASONING, 0, 2): "d1d2",
        Channel(ChannelKind.REASONING, 0, 4): "b",
        Channel(ChannelKind.TOOL_ARGUMENTS, 0, -1): "{1",
        Channel(ChannelKind.TOOL_ARGUMENTS, 0, 0): "{2",
        Channel(ChannelKind.TOOL_INPUT, 0, 1): "free",
        Channel(ChannelKind.TOOL_ARGUMENTS, 0, 7): "{3",
    }


def test_content_in_parts_is_read_part_by_part() -> None:
    parts = [
        {"type": "thinking", "thinking": [{"type": "text", "text": "hm"}]},
        {"type": "text", "text": "a"},
        {"type": "text", "text": "b"},
        {"type": "refusal", "refusal": "no"},
        {"type": "reference", "reference_ids": [1]},
    ]
    (frame,), _ = decoded(whole({"content": parts}), JSON)
    assert texts_of([frame]) == {
        Channel(ChannelKind.REASONING, 0, 3): "hm",
        CONTENT: "ab",
        Channel(ChannelKind.REFUSAL): "no",
    }
    out = json.loads(frame.encode({}, texts={1: "A"}))
    assert [part.get("text") for part in out["choices"][0]["message"]["content"]] == [None, "A", "b", None, None]


def test_what_repeats_a_changed_text_goes_with_it() -> None:
    said = {
        "content": "c",
        "annotations": [{"type": "url_citation"}],
        "token_id": 0,
        "thinking_blocks": [{"thinking": "h", "signature": "s"}],
        "reasoning_details": [{"text": "d", "signature": "s"}, {"text": "e", "signature": "s"}],
        "audio": {"transcript": "t", "data": "AAAA"},
    }
    answer = whole(said, {"content": "z", "annotations": []})
    for choice in answer["choices"]:
        choice["logprobs"] = {"content": []}
        choice["token_ids"] = [1]
    (frame,), _ = decoded(answer, JSON)
    where = {piece.text: index for index, piece in enumerate(frame.pieces)}

    def changed(text: str) -> Any:
        return json.loads(frame.encode({}, texts={where[text]: "new"}))["choices"]

    first, second = changed("c")
    assert (first["message"]["content"], first.keys()) == ("new", {"index", "message", "finish_reason"})
    assert first["message"].keys() == {"content", "thinking_blocks", "reasoning_details", "audio"}
    assert second == answer["choices"][1]
    assert changed("d")[0]["message"]["reasoning_details"] == [{"text": "new"}, {"text": "e", "signature": "s"}]
    assert changed("t")[0]["message"]["audio"] == {"transcript": "new"}
    assert changed("h")[0]["message"]["thinking_blocks"] == [{"thinking": "new"}]
    first, second = changed("z")
    assert first == answer["choices"][0]
    assert second["message"] == {"content": "new", "annotations": []}


def test_new_texts_go_into_a_message_that_a_policy_changed_too() -> None:
    (frame,), _ = decoded(whole({"content": "c"}), JSON)
    (message,) = frame.messages
    assert isinstance(message, Completion)
    out = json.loads(frame.encode({0: message.with_model("alias")}, texts={0: "new"}))
    assert (out["model"], out["choices"][0]["message"]["content"]) == ("alias", "new")
    emptied = type(message)({"choices": []}, b'{"choices":[]}')
    assert frame.encode({0: emptied}, texts={0: "new"}) == b'{"choices":[]}'


def test_usage_is_read_with_its_details() -> None:
    usage = {
        "prompt_tokens": 10,
        "completion_tokens": 5,
        "prompt_tokens_details": {"cached_tokens": 4, "cache_write_tokens": 3},
        "completion_tokens_details": {"reasoning_tokens": 2},
    }
    (message,) = messages_of(decoded(whole({"content": "a"}, usage=usage), JSON)[0])
    assert isinstance(message, Completion)
    assert message.usage == Usage(10, 5, cached_tokens=4, cache_write_tokens=3, reasoning_tokens=2)


@pytest.mark.parametrize(
    ("usage", "expected"),
    [
        (None, None),
        ([], None),
        ({"prompt_tokens": "1", "completion_tokens": 1}, None),
        ({"prompt_tokens": -1, "completion_tokens": 1}, None),
        ({"prompt_tokens": 1}, Usage(1, 0)),
        ({"prompt_tokens": 1, "completion_tokens": 2, "prompt_tokens_details": None}, Usage(1, 2)),
        ({"prompt_tokens": 9, "completion_tokens": 2, "prompt_cache_hit_tokens": 8}, Usage(9, 2, cached_tokens=8)),
    ],
)
def test_usage_that_is_no_count_is_none(usage: Any, expected: Usage | None) -> None:
    (message,) = messages_of(decoded(whole({"content": "a"}, usage=usage), JSON)[0])
    assert isinstance(message, Completion)
    assert message.usage == expected


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        (whole({"content": "a"}), Outcome.OK),
        (whole({"content": None, "tool_calls": [CALL]}, finish="tool_calls"), Outcome.OK),
        (whole({"content": None, "tool_calls": [{"function": {"name": "f", "arguments": ""}}]}), Outcome.OK),
        (whole({"content": "", "images": [{}]}), Outcome.OK),
        (whole({"content": ""}), Outcome.EMPTY),
        (whole({"content": None, "reasoning": "hm"}), Outcome.EMPTY),
        (whole(), Outcome.EMPTY),
        (b"", Outcome.EMPTY),
        (whole({"content": "a"}, finish="length"), Outcome.TRUNCATED),
        (whole({"content": ""}, finish="length"), Outcome.TRUNCATED),
        (whole({"content": "a"}, finish="content_filter"), Outcome.REFUSED),
        (whole({"content": None, "refusal": "no"}), Outcome.REFUSED),
        (whole({"content": "a", "refusal": ""}), Outcome.OK),
        ({"error": {"message": "no"}}, Outcome.PROTOCOL_ERROR),
        (b"{", Outcome.INVALID),
        ({}, Outcome.INVALID),
        ([], Outcome.INVALID),
    ],
)
def test_the_outcome_of_a_whole_answer_is_read_from_its_body(answer: Any, expected: Outcome) -> None:
    assert outcome(answer) is expected


@pytest.mark.parametrize(
    "answer",
    [
        {"choices": {}},
        {"choices": ["a"]},
        {"choices": [{"index": "0", "message": {}}]},
        {"choices": [{"index": True, "message": {}}]},
        {"choices": [{"index": -1, "message": {}}]},
        {"choices": [{"index": 5000, "message": {}}]},
        {"choices": [{"index": 0, "message": "a"}]},
        {"choices": [{"index": 0, "message": {}, "delta": {"content": "a"}}]},
        {"choices": [{"index": 0, "message": {}, "finish_reason": 1}]},
        whole({"content": 1}),
        whole({"content": ["a"]}),
        whole({"content": [{"type": "text", "text": {"value": "a"}}]}),
        whole({"refusal": {}}),
        whole({"reasoning": ["a"]}),
        whole({"tool_calls": {}}),
        whole({"tool_calls": [{"function": {"arguments": {"a": 1}}}]}),
        whole({"tool_calls": [{"index": "a"}]}),
        whole({"Content": "a"}),
        {**whole({"content": "a"}), "Choices": []},
    ],
)
def test_an_answer_of_another_shape_is_malformed(answer: Any) -> None:
    frames, decoder = decoded(answer, JSON)
    assert opaque(messages_of(frames)).malformed
    assert texts_of(frames) == {}
    assert decoder.outcome is Outcome.INVALID


@pytest.mark.parametrize(
    "name", ["Content", "refusAl", "Reasoning", "Reasoning_content", "Tool_calls", "Audio", "thinking_Blocks", "ROLE"]
)
def test_a_key_of_an_answer_that_differs_in_case_alone_is_malformed(name: str) -> None:
    assert opaque(messages_of(decoded(whole({name: None}), JSON)[0])).reason == "ambiguous-key"


def test_an_error_is_one_whatever_the_status_and_beside_choices_too() -> None:
    for status in (200, 400, 429, 500):
        (message,) = messages_of(decoded({"error": {"message": "no"}}, answer_head(status))[0])
        assert isinstance(message, LlmError)
        assert message.outcome is Outcome.PROTOCOL_ERROR
    (frame,), decoder = decoded({**whole({"content": "a"}), "error": {"code": 502}}, JSON)
    assert isinstance(frame.messages[0], LlmError)
    assert texts_of([frame]) == {CONTENT: "a"}
    assert decoder.unanswered == ()


@pytest.mark.parametrize("page", [b"<html>", b'{"detail":"not found"}', b"[]", b"\xff"])
def test_a_servers_own_error_page_is_opaque_and_not_malformed(page: bytes) -> None:
    frames, decoder = decoded(page, answer_head(404))
    message = opaque(messages_of(frames))
    assert (message.reason, message.malformed, decoder.outcome) == ("not-openai", False, Outcome.PROTOCOL_ERROR)


def test_an_answer_past_the_limit_is_opaque_in_every_span() -> None:
    frames, decoder = decoded(whole({"content": "a"}), JSON, limits=Limits(response_body=20))
    assert all(isinstance(message, Opaque) and message.too_large for message in messages_of(frames))
    assert decoder.outcome is Outcome.INVALID


def test_a_list_of_models_passes_with_nothing_to_decide() -> None:
    asked = (ModelListing(b""),)
    frames, decoder = decoded({"object": "list", "data": [{"id": "m"}]}, JSON, asked)
    assert messages_of(frames) == []
    assert (decoder.outcome, decoder.unanswered) == (Outcome.OK, ())
    assert CODEC.answers(asked) == (LlmError, Opaque)
    assert opaque(messages_of(decoded(whole({"content": "a"}), JSON, asked)[0])).malformed
    assert opaque(messages_of(decoded(stream(says("a")), requests=asked)[0])).malformed
    (message,) = messages_of(decoded({"error": {"message": "no"}}, answer_head(401), asked)[0])
    assert isinstance(message, LlmError)


def test_any_answer_to_a_generation_may_come_whole_or_in_pieces() -> None:
    for requests in ((), (ASKED,)):
        assert CODEC.answers(requests) == (Completion, CompletionChunk, LlmError, Opaque)


@pytest.mark.parametrize(
    ("content_type", "streams", "readable"),
    [
        ("application/json", False, True),
        ("application/json; charset=utf-8", False, True),
        ("text/event-stream", True, True),
        ("text/html", False, False),
        ("application/json; charset=utf-16", False, False),
    ],
)
def test_json_and_event_streams_can_be_read(content_type: str, streams: bool, readable: bool) -> None:
    response = answer_head(content_type=content_type)
    assert (CODEC.streams(response), CODEC.readable(response)) == (streams, readable)


def test_a_chunk_renamed_keeps_its_texts() -> None:
    frames, _ = decoded(stream(chunk({"content": "a"}, finish="stop")))
    (message,) = messages_of(frames)
    assert isinstance(message, CompletionChunk)
    renamed = message.with_model("alias")
    assert isinstance(renamed, CompletionChunk)
    assert (renamed.model, renamed.pieces) == ("alias", message.pieces)
    assert json.loads(renamed.raw) == {**message.value, "model": "alias"}
