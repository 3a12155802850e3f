"""codecs/gemini: what a denied caller is told, and how a stream or an array is ended."""

from __future__ import annotations

import json
from typing import Any

import pytest

from ext_proc.codecs.codec import Frame
from ext_proc.messages import Channel, ChannelKind, LlmError, Message, Opaque
from ext_proc.policy import Deny
from ext_proc.trail import Outcome
from tests.unit.codecs.gemini_building import GEMINI, STREAMED, answer, array, asking, candidate, says, stream
from tests.unit.codecs.openai_building import answer_head, drain, messages_of, texts_of

DENY = Deny("model-not-allowed", "this model is not for you")
ASKED = GEMINI.read(asking())
CONTENT = Channel(ChannelKind.CONTENT)
STREAMS = {name: recording for name, recording in GEMINI.recordings.items() if recording.streams}


@pytest.mark.parametrize(
    ("message", "deny", "status", "word"),
    [
        (ASKED, DENY, 403, "PERMISSION_DENIED"),
        (Opaque("not-this-protocol", "no"), DENY, 403, "PERMISSION_DENIED"),
        (Opaque("gemini-invalid", "no", malformed=True), DENY, 400, "INVALID_ARGUMENT"),
        (Opaque("too-large", "no", too_large=True), DENY, 413, "INVALID_ARGUMENT"),
        (ASKED, Deny("a", "b", status=401), 401, "UNAUTHENTICATED"),
        (ASKED, Deny("a", "b", status=404), 404, "NOT_FOUND"),
        (ASKED, Deny("a", "b", status=429), 429, "RESOURCE_EXHAUSTED"),
        (ASKED, Deny("a", "b", status=503), 503, "UNAVAILABLE"),
        (ASKED, Deny("a", "b", status=500), 500, "INTERNAL"),
        (ASKED, Deny("a", "b", status=451), 451, "FAILED_PRECONDITION"),
    ],
)
def test_a_denial_is_googles_error_object(message: Message, deny: Deny, status: int, word: str) -> None:
    reply = GEMINI.codec.denial([(message, deny)], GEMINI.head(), "t1")
    error = json.loads(reply.body)["error"]
    assert (reply.status, reply.details) == (status, deny.reason)
    assert (error["code"], error["status"], error["message"]) == (status, word, deny.message)
    (why,) = error["details"]
    assert (why["reason"], why["domain"], why["metadata"]) == (deny.reason, "gatehouse", {"trail": "t1"})


def test_a_verdict_adds_headers_and_data() -> None:
    deny = Deny("a", "b", headers=(("Retry-After", "3"), ("Content-Type", "text/plain")), data={"limit": 5})
    reply = GEMINI.codec.denial([(ASKED, deny)], GEMINI.head(), "t1")
    assert reply.headers == (("content-type", b"application/json"), ("retry-after", b"3"))
    assert json.loads(reply.body)["error"]["details"][0]["metadata"] == {"trail": "t1", "data": {"limit": 5}}


def test_a_denied_answer_is_an_error_in_its_place_and_a_denied_piece_is_not_replaced() -> None:
    (frame,), _ = GEMINI.decoded(says("secret", "STOP"), answer_head())
    refused = GEMINI.codec.refusal(frame.messages[0], DENY, "t1")
    assert isinstance(refused, LlmError)
    out = frame.encode({0: refused})
    assert json.loads(out) == refused.value
    assert b"secret" not in out
    (piece,) = messages_of(GEMINI.decoded(stream(says("a")))[0])
    assert GEMINI.codec.refusal(piece, DENY, "t1") is None


def test_an_answer_that_cannot_be_delivered_becomes_an_error() -> None:
    _, decoder = GEMINI.decoded(b"{", answer_head())
    error = json.loads(decoder.stream_end(Deny("unreadable-answer", "no", status=502), "t1"))["error"]
    assert (error["status"], error["details"][0]["reason"]) == ("INTERNAL", "unreadable-answer")


def values_of(raw: bytes) -> list[Any]:
    """The values of events, by the lines that Google's clients look for."""
    return [json.loads(line[6:]) for line in raw.splitlines() if line.startswith(b"data: ")]


@pytest.mark.parametrize("name", STREAMS)
def test_wherever_a_recorded_stream_is_stopped_what_left_is_whole_and_ends(name: str) -> None:
    recording = STREAMS[name]
    parts = [part + b"\r\n\r\n" for part in recording.response.split(b"\r\n\r\n")[:-1]][:20]
    for stop in range(len(parts) + 1):
        decoder = GEMINI.answer_to(recording)
        frames = [frame for part in parts[:stop] for frame in decoder.feed(part)]
        for dropped in range(stop + 1):
            left, unsent = frames[: stop - dropped], frames[stop - dropped :]
            body = b"".join(frame.raw for frame in left) + decoder.stream_end(DENY, "t1", unsent)
            again = GEMINI.answer_to(recording)
            assert texts_of(drain(again, body)) == texts_of(left)
            ended = [c["finishReason"] for v in values_of(body) for c in v.get("candidates", ()) if "finishReason" in c]
            assert len(ended) == 1
            assert again.outcome is (Outcome.REFUSED if values_of(body)[-1]["candidates"] else Outcome.OK)
            assert values_of(body)[-1]["gatehouse"] == {"trail": "t1", "reason": "model-not-allowed"}


def test_the_end_of_a_stream_ends_every_open_candidate_in_the_streams_own_shape() -> None:
    decoder = GEMINI.decoder()
    (end,) = values_of(decoder.stream_end(DENY, "t1"))
    assert end["candidates"] == [{"finishReason": "PROHIBITED_CONTENT", "index": 0}]
    frames = list(
        decoder.feed(stream(answer(candidate({"text": "a"}), candidate({"text": "b"}, index=1)), says("c", "STOP")))
    )
    (end,) = values_of(decoder.stream_end(DENY, "t1"))
    assert [each["index"] for each in end["candidates"]] == [1]
    assert (end["modelVersion"], end["responseId"]) == ("m-001", "r1")
    (end,) = values_of(decoder.stream_end(DENY, "t1", frames[1:]))
    assert [each["index"] for each in end["candidates"]] == [0, 1]


def test_a_piece_of_ours_repeats_nothing_long_of_the_stream() -> None:
    decoder = GEMINI.decoder()
    list(decoder.feed(stream({**says("a"), "responseId": "x" * 1000})))
    (piece,) = values_of(decoder.text_event(CONTENT, "é"))
    assert piece == {
        "candidates": [{"content": {"parts": [{"text": "é"}], "role": "model"}, "index": 0}],
        "modelVersion": "m-001",
    }
    (thought,) = values_of(decoder.text_event(Channel(ChannelKind.REASONING, 1), "h"))
    assert thought["candidates"][0]["content"]["parts"] == [{"text": "h", "thought": True}]
    assert decoder.text_event(Channel(ChannelKind.CONTENT, 0, 1), "x") == b""


# Without `alt=sse`.


def in_array(*values: Any) -> tuple[list[Frame], Any]:
    return GEMINI.decoded(array(*values), answer_head(), path=STREAMED)


def test_an_array_that_is_stopped_before_its_first_piece_becomes_an_error() -> None:
    frames, decoder = in_array(says("a"), says("b", "STOP"))
    assert json.loads(decoder.stream_end(DENY, "t1", frames))["error"]["status"] == "PERMISSION_DENIED"
    assert json.loads(decoder.stream_end(DENY, "t1", frames[:1]))["error"]["code"] == 403


def test_an_array_that_is_stopped_later_is_ended_as_an_array() -> None:
    frames, decoder = in_array(says("a"), says("b", "STOP"))
    left = frames[0].encode({})
    value = json.loads(left + decoder.text_event(CONTENT, "!") + decoder.stream_end(DENY, "t1", frames[1:]))
    assert value[0] == says("a")
    assert value[1]["candidates"][0]["content"]["parts"] == [{"text": "!"}]
    assert value[2]["candidates"] == [{"finishReason": "PROHIBITED_CONTENT", "index": 0}]


def test_a_text_of_ours_before_the_first_piece_opens_the_array() -> None:
    frames, decoder = in_array(says("a"), says("b", "STOP"))
    opened = decoder.text_event(CONTENT, "!")
    whole = json.loads(opened + b"".join(frame.encode({}) for frame in frames))
    assert [len(value["candidates"]) for value in whole] == [1, 1, 1]
    frames, decoder = in_array(says("a"))
    stopped = json.loads(decoder.text_event(CONTENT, "!") + decoder.stream_end(DENY, "t1", frames))
    assert stopped[1]["candidates"][0]["finishReason"] == "PROHIBITED_CONTENT"


def test_an_array_has_no_event_for_other_channels() -> None:
    assert in_array(says("a"))[1].text_event(Channel(ChannelKind.CONTENT, 0, 1), "x") == b""
