"""codecs/openai_responses: whole answers, errors, usage, and how an exchange ended."""

from __future__ import annotations

import json
from typing import Any

import pytest

from ext_proc.limits import Limits
from ext_proc.messages import Channel, ChannelKind, Completion, CompletionChunk, LlmError, Opaque, Usage
from ext_proc.policy import Deny
from ext_proc.trail import Outcome
from tests.unit.codecs.openai_building import answer_head, messages_of
from tests.unit.codecs.openai_responses_building import ASKED, CODEC, RESPONSES, answer, part, says, told

JSON = answer_head()
CONTENT = ChannelKind.CONTENT
THOUGHT = {"type": "reasoning", "id": "rs_1", "summary": [{"type": "summary_text", "text": "hm"}]}
CALL = {"type": "function_call", "id": "fc_1", "call_id": "c", "name": "f", "arguments": '{"a":1}'}
REFUSED = says(content=[{"type": "refusal", "refusal": "no"}])


def completion(value: Any) -> Completion:
    (message,) = messages_of(RESPONSES.decoded(value, JSON)[0])
    assert isinstance(message, Completion)
    return message


def test_a_whole_answer_is_one_completion_whose_items_are_choices() -> None:
    (frame,), decoder = RESPONSES.decoded(answer(THOUGHT, says("a", "b"), CALL), JSON)
    (message,) = frame.messages
    assert isinstance(message, Completion)
    assert not isinstance(message, CompletionChunk)
    assert (message.model, message.finish_reasons, message.method) == ("m", ("completed",), "responses")
    assert message.pieces == frame.pieces
    assert [(piece.channel, piece.text) for piece in frame.pieces] == [
        (Channel(ChannelKind.REASONING, 0, 0), "hm"),
        (Channel(CONTENT, 1, 0), "a"),
        (Channel(CONTENT, 1, 1), "b"),
        (Channel(ChannelKind.TOOL_ARGUMENTS, 2, 0), '{"a":1}'),
    ]
    assert frame.closes == (0, 1, 2)
    assert (decoder.outcome, decoder.unanswered) == (Outcome.OK, ())


def test_the_text_of_all_items_together_is_a_copy() -> None:
    (frame,), _ = RESPONSES.decoded(answer(says("ab"), output_text="ab"), JSON)
    assert [(piece.text, piece.channel.copy) for piece in frame.pieces] == [("ab", False), ("ab", True)]
    assert {piece.channel.choice for piece in frame.pieces} == set(frame.closes)
    out = json.loads(frame.encode({}, texts={0: "new", 1: "new"}))
    assert (out["output_text"], out["output"][0]["content"][0]["text"]) == ("new", "new")


def test_what_repeats_a_changed_text_is_emptied_and_every_other_byte_stays() -> None:
    said = says(content=[part("a", logprobs=[{"token": "a"}], annotations=[{"type": "url_citation"}]), part("b")])
    raw = json.dumps(answer(said, temperature=1.0)).encode()
    (frame,), _ = RESPONSES.decoded(raw, JSON)
    changed = frame.encode({}, texts={0: "é"})
    expected = raw.replace(b'"text": "a"', '"text": "é"'.encode())
    expected = expected.replace(b'[{"token": "a"}]', b"[]").replace(b'[{"type": "url_citation"}]', b"[]")
    assert changed == expected
    assert frame.encode({}, texts={1: "c"}) == raw.replace(b'"text": "b"', b'"text": "c"')


def test_arguments_that_are_an_object_are_texts_as_json() -> None:
    item = {"type": "tool_search_call", "arguments": {"q": "a"}, "status": "completed"}
    (frame,), _ = RESPONSES.decoded(answer(item), JSON)
    assert [piece.text for piece in frame.pieces] == ['{"q": "a"}']
    assert json.loads(frame.encode({}, texts={0: '{"q":"b"}'}))["output"][0]["arguments"] == {"q": "b"}


def test_an_answer_by_another_name_keeps_its_texts() -> None:
    message = completion(answer(says("a")))
    renamed = message.with_model("alias")
    assert isinstance(renamed, Completion)
    assert (renamed.model, renamed.pieces) == ("alias", message.pieces)
    assert json.loads(renamed.raw) == {**message.value, "model": "alias"}


def test_usage_is_read_with_its_details() -> None:
    usage = {
        "input_tokens": 10,
        "input_tokens_details": {"cached_tokens": 4, "cache_write_tokens": 3},
        "output_tokens": 5,
        "output_tokens_details": {"reasoning_tokens": 2},
        "total_tokens": 15,
    }
    expected = Usage(10, 5, cached_tokens=4, cache_write_tokens=3, reasoning_tokens=2)
    assert completion(answer(says("a"), usage=usage)).usage == expected


@pytest.mark.parametrize(
    ("usage", "expected"),
    [
        (None, None),
        ([], None),
        ({"input_tokens": "1", "output_tokens": 1}, None),
        ({"input_tokens": -1, "output_tokens": 1}, None),
        ({"input_tokens": 1}, None),
        ({"input_tokens": 1, "output_tokens": 2, "input_tokens_details": None}, Usage(1, 2)),
        ({"input_tokens": 1, "output_tokens": 2, "output_tokens_details": {"reasoning_tokens": "9"}}, Usage(1, 2)),
        ({"input_tokens": 1, "output_tokens": 2, "input_tokens_details": {"audio_tokens": 1}}, Usage(1, 2, 0, 0, 0, 1)),
    ],
)
def test_usage_that_is_no_count_is_none(usage: Any, expected: Usage | None) -> None:
    assert completion(answer(says("a"), usage=usage)).usage == expected


def incomplete(reason: str) -> dict[str, Any]:
    return answer(says("a"), status="incomplete", incomplete_details={"reason": reason})


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (answer(says("a")), Outcome.OK),
        (answer(THOUGHT, CALL), Outcome.OK),
        (answer({"type": "compaction", "encrypted_content": "A"}), Outcome.OK),
        (incomplete("max_output_tokens"), Outcome.TRUNCATED),
        (incomplete("content_filter"), Outcome.REFUSED),
        (answer(status="failed", error={"code": "server_error", "message": "no"}), Outcome.PROTOCOL_ERROR),
        (answer(says("a"), status="cancelled"), Outcome.TRUNCATED),
        (answer(status="queued"), Outcome.OK),
        (answer(status="in_progress"), Outcome.OK),
        (answer(REFUSED), Outcome.REFUSED),
        (answer(THOUGHT), Outcome.EMPTY),
        (answer(), Outcome.EMPTY),
        (b"", Outcome.EMPTY),
        ({"error": {"message": "no"}}, Outcome.PROTOCOL_ERROR),
        (b"{", Outcome.INVALID),
        ({}, Outcome.INVALID),
        ([], Outcome.INVALID),
        ({"choices": [{"index": 0, "message": {"content": "a"}}]}, Outcome.INVALID),
    ],
)
def test_the_outcome_of_a_whole_answer_is_read_from_its_body(value: Any, expected: Outcome) -> None:
    assert RESPONSES.decoded(value, JSON)[1].outcome is expected


@pytest.mark.parametrize(
    ("status", "details", "reason"),
    [
        ("completed", None, ("completed",)),
        ("incomplete", {"reason": "max_output_tokens"}, ("max_output_tokens",)),
        ("failed", None, ("failed",)),
        ("cancelled", {}, ("cancelled",)),
        ("in_progress", None, ()),
        ("queued", None, ()),
    ],
)
def test_why_an_answer_ended_is_its_status_or_what_is_missing(status: str, details: Any, reason: tuple[str]) -> None:
    assert completion(answer(says("a"), status=status, incomplete_details=details)).finish_reasons == reason


@pytest.mark.parametrize(
    "value",
    [
        {**answer(), "output": {}},
        {**answer(), "output": ["a"]},
        answer(says(content="a", summary=[5])),
        answer(says(content=["a"])),
        answer(says(content=[{"type": "output_text", "text": {"value": "a"}}])),
        answer({"type": "mcp_call", "output": [{"stdout": ["a"]}]}),
        {**answer(says("a")), "status": 5},
        answer(says("a"), output_text=["a"]),
        answer(*[says("a")] * 1025),
    ],
)
def test_an_answer_of_another_shape_is_malformed(value: Any) -> None:
    frames, decoder = RESPONSES.decoded(value, JSON)
    (message,) = messages_of(frames)
    assert isinstance(message, Opaque)
    assert (message.reason, message.malformed) == ("openai-invalid", True)
    assert (told(frames), decoder.outcome) == ([], Outcome.INVALID)


@pytest.mark.parametrize(
    "value", [{**answer(), "Output": []}, answer({**says("a"), "Content": []}), answer(says(content=[{"Text": "a"}]))]
)
def test_a_key_of_an_answer_that_differs_in_case_alone_is_malformed(value: Any) -> None:
    (message,) = messages_of(RESPONSES.decoded(value, JSON)[0])
    assert isinstance(message, Opaque)
    assert (message.reason, message.malformed) == ("ambiguous-key", True)


def test_an_error_is_one_whatever_the_status() -> None:
    for status in (200, 400, 429, 500):
        frames, decoder = RESPONSES.decoded({"error": {"message": "no"}}, answer_head(status))
        (message,) = messages_of(frames)
        assert isinstance(message, LlmError)
        assert (message.method, decoder.outcome) == ("responses", Outcome.PROTOCOL_ERROR)
        assert decoder.unanswered == ()


@pytest.mark.parametrize("page", [b"<html>", b'{"detail":"not found"}', b"[]", b"\xff"])
def test_a_servers_own_error_page_is_opaque_and_not_malformed(page: bytes) -> None:
    frames, decoder = RESPONSES.decoded(page, answer_head(404))
    (message,) = messages_of(frames)
    assert isinstance(message, Opaque)
    assert (message.reason, message.malformed, decoder.outcome) == ("not-openai", False, Outcome.PROTOCOL_ERROR)


def test_an_answer_past_the_limit_is_opaque_in_every_span() -> None:
    frames, decoder = RESPONSES.decoded(answer(says("a")), JSON, limits=Limits(response_body=20))
    assert all(isinstance(message, Opaque) and message.too_large for message in messages_of(frames))
    assert decoder.outcome is Outcome.INVALID


def test_a_refusal_stands_in_the_place_of_a_whole_answer_alone() -> None:
    deny = Deny("leak", "this may not leave", data={"rule": 1})
    (whole,) = messages_of(RESPONSES.decoded(answer(says("a")), JSON)[0])
    refusal = CODEC.refusal(whole, deny, "t1")
    assert isinstance(refusal, LlmError)
    error = json.loads(refusal.raw)["error"]
    assert (error["message"], error["code"], error["trail"]) == ("this may not leave", "leak", "t1")
    assert CODEC.refusal(ASKED, deny, "t1") is None
    assert json.loads(RESPONSES.decoder(JSON).stream_end(deny, "t1"))["error"]["code"] == "leak"


def test_a_denied_request_is_answered_with_openais_error_object() -> None:
    reply = CODEC.denial([(ASKED, Deny("no", "not here"))], RESPONSES.head(), "t1")
    assert (reply.status, json.loads(reply.body)["error"]["code"]) == (403, "no")
