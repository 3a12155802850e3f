"""codecs/anthropic: what a denied caller is told, how a stream ends, and what Anthropic's own client makes of it."""

from __future__ import annotations

import json
from itertools import groupby
from typing import Any

import anthropic
import pytest

from ext_proc.codecs.codec import Frame
from ext_proc.messages import Channel, ChannelKind, LlmError, Message, ModelListing, Opaque
from ext_proc.policy import Deny
from tests.exchange.recordings import RECORDINGS, Recording
from tests.unit.codecs.anthropic_building import (
    ANTHROPIC,
    asking,
    begin,
    says,
    shown,
    start,
    story,
    stream,
    text,
    whole,
)
from tests.unit.codecs.anthropic_client import ask, client, texts_of
from tests.unit.codecs.openai_building import STREAM, answer_head, drain, messages_of
from tests.unit.codecs.openai_building import texts_of as texts_read

DENY = Deny("model-not-allowed", "this model is not for you")
ASKED = ANTHROPIC.read(asking())
MALFORMED = Opaque("anthropic-invalid", "no", malformed=True)
LARGE = Opaque("too-large", "no", too_large=True)
STREAMS = {
    name: recording for name, recording in RECORDINGS.items() if recording.api == "messages" and recording.streams
}


def test_a_denial_is_anthropics_error_object_with_the_trails_id() -> None:
    deny = Deny("a", "b", headers=(("Retry-After", "3"), ("Content-Type", "text/plain")), data={"limit": 5})
    reply = ANTHROPIC.codec.denial([(ASKED, deny)], ANTHROPIC.head(), "t1")
    assert (reply.status, reply.details) == (403, "a")
    assert reply.headers == (("content-type", b"application/json"), ("retry-after", b"3"))
    why = {"trail": "t1", "reason": "a"}
    assert json.loads(reply.body) == {
        "type": "error",
        "error": {"type": "permission_error", "message": "b", "gatehouse": why, "details": {"limit": 5}},
    }


@pytest.mark.parametrize(
    ("message", "deny", "status", "error", "kind"),
    [
        (ASKED, DENY, 403, anthropic.PermissionDeniedError, "permission_error"),
        (ModelListing(b""), DENY, 403, anthropic.PermissionDeniedError, "permission_error"),
        (Opaque("not-this-protocol", "no"), DENY, 403, anthropic.PermissionDeniedError, "permission_error"),
        (MALFORMED, DENY, 400, anthropic.BadRequestError, "invalid_request_error"),
        (LARGE, DENY, 413, anthropic.RequestTooLargeError, "request_too_large"),
        (ASKED, Deny("a", "b", status=401), 401, anthropic.AuthenticationError, "authentication_error"),
        (ASKED, Deny("a", "b", status=402), 402, anthropic.APIStatusError, "billing_error"),
        (ASKED, Deny("a", "b", status=404), 404, anthropic.NotFoundError, "not_found_error"),
        (ASKED, Deny("a", "b", status=429), 429, anthropic.RateLimitError, "rate_limit_error"),
        (ASKED, Deny("a", "b", status=502), 502, anthropic.InternalServerError, "api_error"),
        (ASKED, Deny("a", "b", status=504), 504, anthropic.DeadlineExceededError, "timeout_error"),
        (ASKED, Deny("a", "b", status=529), 529, anthropic.OverloadedError, "overloaded_error"),
    ],
)
def test_the_official_client_raises_what_the_denial_means(
    message: Message, deny: Deny, status: int, error: type[anthropic.APIStatusError], kind: str
) -> None:
    reply = ANTHROPIC.codec.denial([(message, deny)], ANTHROPIC.head(), "t1")
    for streamed in (False, True):
        raised = ask(reply.status, "application/json", reply.body, stream=streamed).error
        assert isinstance(raised, error)
        assert isinstance(raised.body, dict)
        assert (raised.status_code, raised.body["error"]["type"]) == (status, kind)
        assert raised.body["error"]["gatehouse"]["trail"] == "t1"


def test_the_official_client_takes_a_denied_list_of_models_for_an_error() -> None:
    reply = ANTHROPIC.codec.denial([(ModelListing(b""), DENY)], ANTHROPIC.head("GET", "/v1/models"), "t1")
    with client(reply.status, "application/json", reply.body) as asked, pytest.raises(anthropic.PermissionDeniedError):
        asked.models.list()


def test_a_denied_answer_is_an_error_in_its_place_and_a_denied_event_is_not_replaced() -> None:
    (frame,), _ = ANTHROPIC.decoded(whole(text("secret")), answer_head())
    refused = ANTHROPIC.codec.refusal(frame.messages[0], DENY, "t1")
    assert isinstance(refused, LlmError)
    out = frame.encode({0: refused})
    assert json.loads(out) == refused.value
    assert b"secret" not in out
    for message in messages_of(ANTHROPIC.decoded(story())[0]):
        assert ANTHROPIC.codec.refusal(message, DENY, "t1") is None
    assert ANTHROPIC.codec.refusal(MALFORMED, DENY, "t1") is None


def test_an_answer_that_cannot_be_delivered_becomes_an_error() -> None:
    _, decoder = ANTHROPIC.decoded(b"{", answer_head())
    value = json.loads(decoder.stream_end(Deny("unreadable-answer", "no", status=502), "t1"))
    assert value["error"]["type"] == "api_error"
    assert value["error"]["gatehouse"] == {"trail": "t1", "reason": "unreadable-answer"}
    assert decoder.text_event(Channel(ChannelKind.CONTENT), "x") == b""


@pytest.mark.parametrize(
    ("channel", "delta"),
    [
        (Channel(ChannelKind.CONTENT, 3), {"type": "text_delta", "text": 'é"'}),
        (Channel(ChannelKind.REASONING), {"type": "thinking_delta", "thinking": 'é"'}),
        (Channel(ChannelKind.TOOL_ARGUMENTS, 1), {"type": "input_json_delta", "partial_json": 'é"'}),
    ],
)
def test_a_new_event_carries_text_on_its_block(channel: Channel, delta: dict[str, str]) -> None:
    raw = ANTHROPIC.decoder().text_event(channel, 'é"')
    assert raw.startswith(b"event: content_block_delta\n")
    assert shown(raw) == {"type": "content_block_delta", "index": channel.choice, "delta": delta}
    assert texts_read(ANTHROPIC.decoded(raw)[0]) == {channel: 'é"'}


def test_a_text_that_no_delta_carries_has_no_event() -> None:
    decoder = ANTHROPIC.decoder()
    assert decoder.text_event(Channel(ChannelKind.CONTENT, 0, 1), "x") == b""
    assert decoder.text_event(Channel(ChannelKind.TOOL_INPUT), "x") == b""


def thinned(recording: Recording) -> list[bytes]:
    """The events of a recorded stream, of each run of alike ones the first two."""
    events = [part + b"\n\n" for part in recording.response.split(b"\n\n")[:-1]]
    runs = [list(run) for _, run in groupby(events, key=lambda event: event[:90].split(b'"text"')[0])]
    return [event for run in runs for event in run[:2]]


@pytest.mark.parametrize("name", STREAMS)
def test_the_official_client_ends_cleanly_wherever_a_recorded_stream_is_stopped(name: str) -> None:
    recording, parts = STREAMS[name], thinned(STREAMS[name])
    beta = "beta=true" in recording.path
    for stop in range(len(parts) + 1):
        decoder = ANTHROPIC.answer_to(recording)
        frames = [frame for part in parts[:stop] for frame in decoder.feed(part)]
        assert len(frames) == stop
        for dropped in range(stop + 1):
            left, unsent = frames[: stop - dropped], frames[stop - dropped :]
            end = decoder.stream_end(DENY, "t1", unsent)
            seen = ask(200, "text/event-stream", b"".join(frame.raw for frame in left) + end, stream=True, beta=beta)
            assert seen.error is None, (stop, dropped)
            assert seen.events[-1].type == "message_stop"
            assert seen.message.stop_reason == ("refusal" if end else STOPS[parts[-2]])
            assert_whole(left, end, seen.message)


def assert_whole(left: list[Frame], end: bytes, message: Any) -> None:
    """Every block that began ended, once; and the client has all text that left, and no other."""
    values = [shown(part + b"\n\n") for part in (b"".join(f.raw for f in left) + end).split(b"\n\n")[:-1]]
    begun = [value["index"] for value in values if value["type"] == "content_block_start"]
    ended = [value["index"] for value in values if value["type"] == "content_block_stop"]
    assert sorted(ended) == begun
    kinds = [value["type"] for value in values]
    assert (kinds.count("message_start"), kinds.count("message_stop"), kinds[0]) == (1, 1, "message_start")
    plain = {
        (channel.choice, name): said
        for channel, said in texts_read(left).items()
        for kind, name in ((ChannelKind.CONTENT, "text"), (ChannelKind.REASONING, "thinking"))
        if channel.kind is kind and channel.index == 0
    }
    assert {key: said for key, said in texts_of(message).items() if key[1] != "input"} == plain


class Stops(dict[bytes, str]):
    """The reason to stop that a recorded `message_delta` gives."""

    def __missing__(self, raw: bytes) -> str:
        return str(shown(raw)["delta"]["stop_reason"])


STOPS = Stops()


def test_a_stream_that_is_stopped_says_why_and_what_was_counted() -> None:
    decoder = ANTHROPIC.decoder()
    frames = drain_open(
        decoder, stream(start(usage={"input_tokens": 3, "output_tokens": 2}), begin(text("")), says("a"))
    )
    values = [shown(part + b"\n\n") for part in decoder.stream_end(DENY, "t1", frames[2:]).split(b"\n\n")[:-1]]
    assert values == [
        {"type": "content_block_stop", "index": 0},
        {
            "type": "message_delta",
            "delta": {"stop_reason": "refusal", "stop_sequence": None},
            "usage": {"output_tokens": 2},
            "gatehouse": {"trail": "t1", "reason": "model-not-allowed"},
        },
        {"type": "message_stop"},
    ]


def test_after_an_end_that_has_left_there_is_nothing_to_end() -> None:
    decoder = ANTHROPIC.decoder()
    frames = drain(decoder, story(begin(text("a"))))
    assert decoder.stream_end(DENY, "t1") == decoder.stream_end(DENY, "t1", frames[:1]) == b""
    assert b"message_stop" in decoder.stream_end(DENY, "t1", frames[-1:])


def drain_open(decoder: Any, raw: bytes) -> list[Frame]:
    return list(decoder.feed(raw))


@pytest.mark.parametrize("name", [name for name in STREAMS if not STREAMS[name].interrupted])
def test_texts_of_a_recorded_stream_are_what_the_official_client_puts_together(name: str) -> None:
    recording = STREAMS[name]
    beta = "beta=true" in recording.path
    seen = ask(200, "text/event-stream", recording.response, stream=True, beta=beta)
    found: dict[tuple[int, str], str] = {}
    for channel, said in texts_read(drain(ANTHROPIC.answer_to(recording), recording.response)).items():
        if channel.index == 0:
            kinds = {ChannelKind.CONTENT: "text", ChannelKind.REASONING: "thinking"}
            kind = kinds.get(channel.kind, "input")
            found[channel.choice, kind] = json.dumps(json.loads(said), sort_keys=True) if kind == "input" else said
    assert found == texts_of(seen.message)


def test_the_client_shows_a_text_of_ours_at_the_end_of_the_block_that_was_stopped() -> None:
    decoder = ANTHROPIC.decoder(STREAM)
    frames = drain_open(decoder, stream(start(), begin(text("")), says("a")))
    body = b"".join(frame.raw for frame in frames) + decoder.text_event(Channel(ChannelKind.CONTENT), " (stopped)")
    seen = ask(200, "text/event-stream", body + decoder.stream_end(DENY, "t1"), stream=True)
    assert texts_of(seen.message) == {(0, "text"): "a (stopped)"}
