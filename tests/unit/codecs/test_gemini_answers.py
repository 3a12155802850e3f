"""codecs/gemini: answers whole, in events and in an array, errors, usage, and how an exchange ended."""

from __future__ import annotations

import json
from typing import Any

import pytest

from ext_proc.codecs.codec import Frame
from ext_proc.limits import Limits
from ext_proc.messages import (
    Channel,
    ChannelKind,
    Completion,
    CompletionChunk,
    Embedded,
    LlmError,
    Opaque,
    Role,
    TokenCounted,
    Usage,
)
from ext_proc.trail import Outcome
from tests.unit.codecs.gemini_building import (
    BATCH,
    COUNT,
    EMBED,
    GEMINI,
    STREAMED,
    answer,
    array,
    candidate,
    content,
    says,
    stream,
)
from tests.unit.codecs.openai_building import STREAM, answer_head, encoded, messages_of, opaque, texts_of

JSON = answer_head()
CONTENT, REASONING = Channel(ChannelKind.CONTENT), Channel(ChannelKind.REASONING)
ERROR = {"error": {"code": 503, "message": "it is too much", "status": "UNAVAILABLE"}}
CALL = {"functionCall": {"name": "f", "args": {}}}


def outcome(body: Any, response: Any = JSON, **options: Any) -> Outcome:
    return GEMINI.decoded(body, response, **options)[1].outcome


def in_array(*values: Any) -> tuple[list[Frame], Any]:
    return GEMINI.decoded(array(*values), JSON, path=STREAMED)


def test_a_whole_answer_is_one_completion_that_closes_its_candidates() -> None:
    value = answer(candidate({"text": "a"}, {"text": "b"}, finish="STOP"), candidate({"text": "c"}, finish="STOP"))
    (frame,), decoder = GEMINI.decoded(value, JSON)
    (message,) = frame.messages
    assert isinstance(message, Completion)
    assert not isinstance(message, CompletionChunk)
    assert (message.model, message.finish_reasons, message.method) == ("m-001", ("STOP", "STOP"), "chat")
    assert message.pieces == frame.pieces
    assert texts_of([frame]) == {CONTENT: "ab", Channel(ChannelKind.CONTENT, 1): "c"}
    assert (list(frame.closes), decoder.outcome, decoder.unanswered) == ([0, 1], Outcome.OK, ())
    assert json.loads(message.with_model("alias").raw) == {**value, "modelVersion": "alias"}
    snake, _ = GEMINI.decoded({"candidates": [], "model_version": "m"}, JSON)
    (other,) = messages_of(snake)
    assert isinstance(other, Completion)
    assert json.loads(other.with_model("alias").raw) == {"candidates": [], "model_version": "alias"}


def test_every_kind_of_part_has_its_texts_and_grounding_too() -> None:
    grounding = {
        "groundingChunks": [{"web": {"uri": "u", "title": "W"}}, {"retrievedContext": {"text": "R", "title": "RT"}}],
        "groundingSupports": [{"segment": {"endIndex": 1, "text": "a"}, "groundingChunkIndices": [0]}, {}],
        "webSearchQueries": ["q"],
    }
    parts = (
        {"text": "h", "thought": True},
        {"text": "a"},
        {"functionCall": {"name": "f", "args": {"p": [1]}}},
        {"executableCode": {"code": "c"}},
        {"codeExecutionResult": {"output": "o"}},
    )
    (frame,), _ = GEMINI.decoded(answer(candidate(*parts, groundingMetadata=grounding)), JSON)
    tool = Role.TOOL
    assert texts_of([frame]) == {
        REASONING: "h",
        CONTENT: "a",
        Channel(ChannelKind.TOOL_ARGUMENTS, 0, 1): '{"p": [1]}',
        Channel(ChannelKind.TOOL_INPUT, 0, 2): "c",
        Channel(ChannelKind.CONTENT, 0, 3, role=tool): "o",
        Channel(ChannelKind.CONTENT, 0, 4): "a",
        Channel(ChannelKind.CONTENT, 0, 5, role=tool): "R",
        Channel(ChannelKind.CONTENT, 0, 6, role=tool): "RT",
        Channel(ChannelKind.CONTENT, 0, 7, role=tool): "W",
    }
    changed = json.loads(frame.encode({}, texts={5: "A"}))["candidates"][0]["groundingMetadata"]
    assert changed["groundingSupports"][0]["segment"]["text"] == "A"


def test_what_vouches_for_a_changed_text_goes_with_it_and_what_spells_it_by_tokens() -> None:
    parts = ({"text": "a", "thoughtSignature": "s"}, {"text": "b", "thought_signature": "s"})
    value = answer(candidate(*parts, logprobsResult={"chosenCandidates": [{"token": "a"}]}))
    (frame,), _ = GEMINI.decoded(value, JSON)
    (out,) = json.loads(frame.encode({}, texts={0: "A"}))["candidates"]
    assert out == candidate({"text": "A"}, parts[1])
    (kept,) = GEMINI.decoded(answer(candidate({**CALL, "thoughtSignature": "s"}, {"text": "a"})), JSON)[0]
    (out,) = json.loads(kept.encode({}, texts={0: "A"}))["candidates"]
    assert out == candidate({**CALL, "thoughtSignature": "s"}, {"text": "A"})


REASONS = {
    **dict.fromkeys(["STOP", "OTHER", "FINISH_REASON_UNSPECIFIED", "IMAGE_OTHER", "WHAT_NOBODY_KNOWS"], Outcome.OK),
    **dict.fromkeys(["MAX_TOKENS", "CONTINUATION", "TOO_MANY_TOOL_CALLS"], Outcome.TRUNCATED),
    **dict.fromkeys(["MALFORMED_FUNCTION_CALL", "UNEXPECTED_TOOL_CALL", "MALFORMED_RESPONSE"], Outcome.INVALID),
    **dict.fromkeys(["MISSING_THOUGHT_SIGNATURE"], Outcome.INVALID),
    **dict.fromkeys(["SAFETY", "RECITATION", "LANGUAGE", "BLOCKLIST", "PROHIBITED_CONTENT", "SPII"], Outcome.REFUSED),
    **dict.fromkeys(["IMAGE_SAFETY", "IMAGE_PROHIBITED_CONTENT", "IMAGE_RECITATION"], Outcome.REFUSED),
    **dict.fromkeys(["ESCALATION", "PUP_LIMITED_DISABLED", "MODEL_ARMOR"], Outcome.REFUSED),
}


@pytest.mark.parametrize("reason", REASONS)
def test_the_outcome_is_told_by_the_reason_to_stop(reason: str) -> None:
    for finish in ("finishReason", "finish_reason"):
        value = answer({**candidate({"text": "a"}), finish: reason})
        assert outcome(value) is REASONS[reason]
        assert outcome(stream(says("b"), value), STREAM) is REASONS[reason]
        assert outcome(array(says("b"), value), path=STREAMED) is REASONS[reason]


@pytest.mark.parametrize("name", ["promptFeedback", "prompt_feedback"])
def test_a_blocked_prompt_is_refused(name: str) -> None:
    value = {name: {"blockReason": "SAFETY"}}
    for body, response in ((value, JSON), (stream(value), STREAM)):
        frames, decoder = GEMINI.decoded(body, response)
        (message,) = messages_of(frames)
        assert isinstance(message, Completion)
        assert (message.finish_reasons, decoder.outcome) == (("SAFETY",), Outcome.REFUSED)


@pytest.mark.parametrize(
    ("body", "response", "expected"),
    [
        (b"", JSON, Outcome.EMPTY),
        (answer(), JSON, Outcome.EMPTY),
        (answer(candidate(finish="STOP")), JSON, Outcome.EMPTY),
        (answer(candidate(CALL, finish="STOP")), JSON, Outcome.OK),
        (b"{", JSON, Outcome.INVALID),
        (b"", STREAM, Outcome.EMPTY),
        (stream(answer()), STREAM, Outcome.EMPTY),
        (stream(says("a")), STREAM, Outcome.TRUNCATED),
        (stream(says("a"), says("b", "STOP", index=1)), STREAM, Outcome.TRUNCATED),
        (stream(says("a"), answer(candidate(finish="STOP"), usageMetadata={})), STREAM, Outcome.OK),
    ],
)
def test_an_answer_that_says_nothing_or_never_ends_has_its_outcome(body: Any, response: Any, expected: Outcome) -> None:
    assert outcome(body, response) is expected


SHAPES = [
    [],
    1,
    {"candidates": {}},
    {"candidates": ["a"]},
    {"Candidates": []},
    {"model_version": "a", "modelVersion": "b"},
    answer({"content": "", "index": "0"}),
    answer({"content": "a", "index": -1}),
    answer({"content": "a", "index": 999}),
    answer({"content": 1}),
    answer({"content": {"parts": ["a"]}}),
    answer({"content": {"Parts": []}}),
    answer({"content": content(), "Content": content()}),
    answer({"finishReason": 1}),
    answer({"finishReason": "STOP", "finish_reason": "STOP"}),
    answer(candidate({"text": 1})),
    answer(candidate({"text": "a"}, groundingMetadata=[])),
    answer(candidate(groundingMetadata={"groundingSupports": [{"segment": {"text": 1}}]})),
    answer(candidate(groundingMetadata={"GroundingSupports": []})),
]


@pytest.mark.parametrize("value", SHAPES)
def test_an_answer_of_another_shape_is_malformed(value: Any) -> None:
    for body, response in ((value, JSON), (stream(value), STREAM)):
        frames, decoder = GEMINI.decoded(body, response)
        assert opaque(messages_of(frames)).malformed
        assert texts_of(frames) == {}
        assert decoder.outcome in (Outcome.INVALID, Outcome.TRUNCATED)


def test_an_error_is_one_whatever_the_status_and_its_text_is_read_too() -> None:
    for status in (200, 400, 503):
        assert isinstance(messages_of(GEMINI.decoded(ERROR, answer_head(status))[0])[0], LlmError)
        frames, decoder = GEMINI.decoded(stream(says("a"), ERROR), STREAM)
        assert isinstance(messages_of(frames)[-1], LlmError)
        assert (decoder.outcome, decoder.unanswered) == (Outcome.PROTOCOL_ERROR, ())
    for body, response in (({**says("a"), **ERROR}, JSON), (stream({**says("a"), **ERROR}), STREAM)):
        (frame,), _ = GEMINI.decoded(body, response)
        assert isinstance(frame.messages[0], LlmError)
        assert texts_of([frame]) == {CONTENT: "a"}


@pytest.mark.parametrize("page", [b"<html>", b'{"detail":"not found"}', b"[]", b"\xff"])
def test_a_servers_own_error_page_is_opaque_and_not_malformed(page: bytes) -> None:
    frames, decoder = GEMINI.decoded(page, answer_head(502))
    message = opaque(messages_of(frames))
    assert (message.reason, message.malformed, decoder.outcome) == ("not-google", False, Outcome.PROTOCOL_ERROR)


@pytest.mark.parametrize(
    ("path", "value", "kind"),
    [
        (COUNT, {"totalTokens": 3}, TokenCounted),
        (EMBED, {"embedding": {"values": [0.5]}, "usageMetadata": {"promptTokenCount": 7}}, Embedded),
        (BATCH, {"embeddings": [{"values": [0.5]}], "usage_metadata": {"prompt_token_count": 7}}, Embedded),
    ],
)
def test_counts_and_vectors_are_what_was_asked_for(path: str, value: Any, kind: type) -> None:
    asked = [GEMINI.read({}, path=path)]
    (frame,), decoder = GEMINI.decoded(value, JSON, path=path, requests=asked)
    (message,) = frame.messages
    assert isinstance(message, kind)
    assert decoder.outcome is Outcome.OK
    if isinstance(message, Embedded):
        assert message.usage == Usage(7)


@pytest.mark.parametrize(
    ("usage", "expected"),
    [
        (
            {
                "promptTokenCount": 10,
                "cachedContentTokenCount": 4,
                "candidatesTokenCount": 5,
                "thoughtsTokenCount": 3,
                "toolUsePromptTokenCount": 2,
                "totalTokenCount": 20,
            },
            Usage(12, 8, cached_tokens=4, reasoning_tokens=3),
        ),
        ({"prompt_token_count": 10, "candidates_token_count": 5}, Usage(10, 5)),
        (
            {
                "promptTokenCount": 10,
                "promptTokensDetails": [{"modality": "TEXT", "tokenCount": 4}, {"modality": "AUDIO", "tokenCount": 6}],
                "candidatesTokenCount": 5,
                "candidatesTokensDetails": [{"modality": "AUDIO", "tokenCount": 5}, "x", {"modality": "AUDIO"}],
            },
            Usage(10, 5, input_audio_tokens=6, output_audio_tokens=5),
        ),
        ({"promptTokenCount": 10}, Usage(10, 0)),
        ({"promptTokenCount": "10"}, None),
        ({"promptTokenCount": -1}, None),
        ([], None),
        (None, None),
    ],
)
def test_usage_is_read_with_its_details(usage: Any, expected: Usage | None) -> None:
    (message,) = messages_of(GEMINI.decoded(answer(candidate({"text": "a"}), usageMetadata=usage), JSON)[0])
    assert isinstance(message, Completion)
    assert message.usage == expected


# Streams.


def test_each_piece_is_a_message_as_soon_as_it_is_whole() -> None:
    decoder = GEMINI.decoder(STREAM, path=STREAMED)
    (frame,) = decoder.feed(stream(says("a")) + b"data: {")
    (message,) = frame.messages
    assert isinstance(message, CompletionChunk)
    assert json.loads(message.with_model("alias").raw)["modelVersion"] == "alias"
    assert list(decoder.unanswered) != []


@pytest.mark.parametrize("ending", [b"\n", b"\r\n", b"\r"])
def test_comments_line_ends_and_a_byte_order_mark_change_nothing(ending: bytes) -> None:
    body = b"\xef\xbb\xbf: hello\n\n" + stream(says("a"), says("b", "STOP")).replace(b"\r\n", b"\n")
    body = body.replace(b"data:", b"id: 7\nretry\ndata:")
    frames, decoder = GEMINI.decoded(body.replace(b"\n", ending))
    assert (texts_of(frames), decoder.outcome) == ({CONTENT: "ab"}, Outcome.OK)


def test_text_after_the_end_of_a_candidate_is_malformed_and_figures_are_not() -> None:
    frames, decoder = GEMINI.decoded(stream(says("a", "STOP"), says("b")))
    assert opaque(messages_of(frames)[1:]).malformed
    assert decoder.outcome is Outcome.INVALID
    assert outcome(stream(says("a", "STOP"), answer(usageMetadata={"promptTokenCount": 1})), STREAM) is Outcome.OK


def test_half_an_event_at_the_end_is_malformed() -> None:
    frames, decoder = GEMINI.decoded(stream(says("a"), says("b", "STOP"))[:-2])
    assert opaque(messages_of(frames)[1:]).reason == "sse-unterminated"
    assert decoder.outcome is Outcome.TRUNCATED


def test_an_event_past_the_limit_is_opaque_in_every_span() -> None:
    frames, _ = GEMINI.decoded(stream(says("a" * 200)), limits=Limits(event=64))
    assert all(isinstance(message, Opaque) and message.too_large for message in messages_of(frames))


def test_an_index_that_is_left_out_is_zero_unless_all_are() -> None:
    second, first = candidate({"text": "b"}, index=1), candidate({"text": "a"})
    frames, _ = GEMINI.decoded(stream(answer(second, first), answer(second)))
    assert texts_of(frames) == {CONTENT: "a", Channel(ChannelKind.CONTENT, 1): "bb"}
    frames, _ = GEMINI.decoded(stream(answer(first, candidate({"text": "b"}))))
    assert texts_of(frames) == {CONTENT: "a", Channel(ChannelKind.CONTENT, 1): "b"}


@pytest.mark.parametrize("ending", [b"\r\n\r\n", b"\n", b""])
def test_an_error_that_is_no_event_is_read_as_an_error(ending: bytes) -> None:
    lines = json.dumps(ERROR, indent=2).replace("\n", "\r\n").encode()
    frames, decoder = GEMINI.decoded(stream(says("a")) + lines + ending)
    assert isinstance(messages_of(frames)[-1], LlmError)
    assert decoder.outcome is Outcome.PROTOCOL_ERROR
    assert b"".join(frame.raw for frame in frames).endswith(lines + ending)


@pytest.mark.parametrize(
    "lines",
    [
        encoded(says("secret")),
        encoded({**says("secret"), **ERROR}),
        b"hello",
        b"Data: {}",
        b"data: {}\n" + encoded(says("secret")),
        b"\xef\xbb\xbf" + encoded(says("secret")),
    ],
)
def test_lines_that_are_no_fields_do_not_pass_the_policies_unread(lines: bytes) -> None:
    for body in (lines + b"\n\n", stream(says("a")) + lines + b"\n\n", lines):
        frames, _ = GEMINI.decoded(body)
        assert opaque(messages_of(frames)[-1:]).malformed
        assert "secret" not in str(texts_of(frames))


# Without `alt=sse`.


def test_each_element_of_an_array_is_a_piece_and_every_byte_is_in_a_frame() -> None:
    frames, decoder = in_array(says("a"), says("b"), says("c", "STOP"))
    assert b"".join(frame.raw for frame in frames) == array(says("a"), says("b"), says("c", "STOP"))
    assert all(isinstance(message, CompletionChunk) for message in messages_of(frames))
    assert (texts_of(frames), decoder.outcome) == ({CONTENT: "abc"}, Outcome.OK)
    out = frames[0].raw + frames[1].encode({}, texts={0: "B"}) + frames[2].encode({0: None}) + frames[3].raw
    assert json.loads(out) == [says("a"), says("B"), {}]


def test_an_array_that_is_none_is_read_as_a_document() -> None:
    assert isinstance(messages_of(GEMINI.decoded(ERROR, JSON, path=STREAMED)[0])[0], LlmError)
    frames, decoder = in_array(says("a"), ERROR)
    assert isinstance(messages_of(frames)[-1], LlmError)
    assert decoder.outcome is Outcome.PROTOCOL_ERROR
    (frame,), _ = GEMINI.decoded(b"[]", JSON, path=STREAMED)
    assert opaque(frame.messages).malformed
    frames, _ = GEMINI.decoded(array(says("a" * 99)), JSON, path=STREAMED, limits=Limits(response_body=50))
    assert all(isinstance(message, Opaque) and message.too_large for message in messages_of(frames))


@pytest.mark.parametrize(
    ("content_type", "streams", "readable"),
    [
        ("application/json; charset=UTF-8", False, True),
        ("text/event-stream", True, True),
        ("text/html", False, False),
    ],
)
def test_json_and_event_streams_can_be_read(content_type: str, streams: bool, readable: bool) -> None:
    response = answer_head(content_type=content_type)
    assert (GEMINI.codec.streams(response), GEMINI.codec.readable(response)) == (streams, readable)
