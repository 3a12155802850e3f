"""codecs/openai_chat against exchanges recorded with real servers, and against OpenAI's own client."""

from __future__ import annotations

import json
import random
from itertools import pairwise
from typing import Any

import pytest

from ext_proc.codecs.codec import Frame, Match
from ext_proc.limits import DEFAULTS
from ext_proc.messages import (
    Channel,
    ChannelKind,
    Completion,
    CompletionChunk,
    Generation,
    LlmError,
    Opaque,
    Usage,
)
from ext_proc.trail import Outcome
from tests.unit.codecs.openai_building import CODEC, RECORDED, Recorded, drain, head, messages_of, texts_of
from tests.unit.codecs.openai_client import ask

EVERY = pytest.mark.parametrize("recorded", RECORDED.values(), ids=RECORDED)
LONG = 40_000  # bytes; a longer body is not cut at every byte


def frames_of(recorded: Recorded, *chunks: bytes) -> list[Frame]:
    return drain(recorded.decoder(), *(chunks or (recorded.body,)))


def story(frames: list[Frame]) -> list[Any]:
    return [
        (frame.raw, frame.pieces, tuple(frame.closes), [(type(m), m.raw, m.outcome) for m in frame.messages])
        for frame in frames
    ]


def shown(raw: bytes) -> Any:
    """What a document, or an event's data, says."""
    lines = [line[5:] for line in raw.splitlines() if line.startswith(b"data:")]
    return json.loads(lines[0] if lines else raw)


def test_there_are_recordings_of_many_servers() -> None:
    servers = {name.split("-")[1] for name in RECORDED}
    assert {"azure", "cerebras", "deepseek", "groq", "mistral", "openai", "openrouter", "snowflake"} <= servers


@EVERY
def test_every_recorded_request_is_a_generation_that_leaves_as_it_came(recorded: Recorded) -> None:
    assert CODEC.matches(recorded.head) is Match.YES
    (frame,) = drain(CODEC.request_decoder(recorded.head, DEFAULTS), recorded.request)
    (message,) = frame.messages
    assert isinstance(message, Generation)
    asked = json.loads(recorded.request)
    assert (message.model, message.stream) == (asked["model"], asked.get("stream") is True)
    assert frame.raw == frame.encode({}) == recorded.request


@EVERY
def test_any_cutting_of_a_recorded_answer_gives_the_same_frames(recorded: Recorded) -> None:
    body, dice = recorded.body, random.Random(recorded.name)
    whole = frames_of(recorded)
    assert b"".join(frame.raw for frame in whole) == body
    assert all(frame.encode({}) == frame.raw for frame in whole)
    cuts = [[dice.randrange(len(body) + 1) for _ in range(20)] for _ in range(5)]
    if len(body) <= LONG:
        cuts.append(list(range(len(body))))
    for cut in cuts:
        bounds = [0, *sorted(cut), len(body)]
        assert story(frames_of(recorded, *(body[a:b] for a, b in pairwise(bounds)))) == story(whole)


@EVERY
def test_texts_usage_and_ends_are_what_the_official_client_reads(recorded: Recorded) -> None:
    content_type = recorded.response.headers.get("content-type") or ""
    seen = ask(recorded.response.status, content_type, recorded.body, stream=recorded.streams)
    frames = frames_of(recorded)
    messages = messages_of(frames)
    assert texts_of(frames) == seen.texts
    usages = [message.usage for message in messages if isinstance(message, Completion) and message.usage]
    assert (usages[-1] if usages else None) == seen.usage
    reasons = [reason for message in messages if isinstance(message, Completion) for reason in message.finish_reasons]
    assert set(reasons) == set(seen.finished.values())
    assert any(isinstance(message, LlmError) for message in messages) == (seen.error is not None)


OUTCOMES = {
    "006-groq": Outcome.PROTOCOL_ERROR,  # an error in mid-stream
    "010-localhost": Outcome.TRUNCATED,  # max_tokens was 20
    "015-openai": Outcome.PROTOCOL_ERROR,
    "025-openai": Outcome.PROTOCOL_ERROR,
    "030-openrouter": Outcome.PROTOCOL_ERROR,
    "082-openai-interrupted": Outcome.TRUNCATED,
    "086-openrouter-interrupted": Outcome.TRUNCATED,
}


@EVERY
def test_the_outcome_of_every_recorded_answer_is_known(recorded: Recorded) -> None:
    decoder = recorded.decoder()
    frames = drain(decoder, recorded.body)
    assert decoder.outcome is OUTCOMES.get(recorded.name, Outcome.OK)
    malformed = [message for message in messages_of(frames) if isinstance(message, Opaque)]
    assert len(malformed) == ("interrupted" in recorded.name)


@EVERY
def test_an_answer_holds_no_other_classes_than_promised(recorded: Recorded) -> None:
    messages = messages_of(frames_of(recorded))
    assert all(isinstance(message, tuple(CODEC.answers(()))) for message in messages)
    whole = {type(message) for message in messages if isinstance(message, Completion)}
    assert all(issubclass(cls, CompletionChunk) == recorded.streams for cls in whole)


@EVERY
def test_a_changed_text_changes_that_text_alone(recorded: Recorded) -> None:
    frames = frames_of(recorded)
    changed = [number for number, frame in enumerate(frames) if frame.pieces]
    for number in changed[:: max(1, len(changed) // 25)]:
        frame = frames[number]
        assert frame.encode({}, texts=dict(enumerate(piece.text for piece in frame.pieces))) == frame.raw
        for index, piece in enumerate(frame.pieces):
            out = frame.encode({}, texts={index: NEW})
            again = frames_of(recorded, *(other.raw for other in frames[:number]), out)
            assert [found.text for found in again[number].pieces] == [
                NEW if position == index else other.text for position, other in enumerate(frame.pieces)
            ]
            assert without_texts(shown(frame.raw)) == without_texts(shown(out))
            if REPEATS.isdisjoint(keys_of(shown(frame.raw))):
                same = alike(frame.raw, out) + alike(frame.raw[::-1], out[::-1])
                assert len(frame.raw) - same <= 12 * len(piece.text) + 2  # its longest spelling


NEW = 'né\n"😀'
TEXTS = {"content", "text", "reasoning", "reasoning_content", "refusal", "arguments"}
REPEATS = {"logprobs", "annotations", "token_id", "signature"}


def alike(one: bytes, other: bytes) -> int:
    """How many bytes both begin with."""
    return next((at for at, (a, b) in enumerate(zip(one, other, strict=False)) if a != b), min(len(one), len(other)))


def without_texts(value: Any) -> Any:
    """The value without the texts, and without what must go with a changed one."""
    if isinstance(value, list):
        return [without_texts(child) for child in value]
    if not isinstance(value, dict):
        return value
    return {key: without_texts(child) for key, child in value.items() if key not in TEXTS | REPEATS}


def keys_of(value: Any) -> set[str]:
    """The keys at any depth that hold something."""
    if isinstance(value, list):
        return set().union(*map(keys_of, value))
    if not isinstance(value, dict):
        return set()
    return {key for key, child in value.items() if child not in (None, [])}.union(*map(keys_of, value.values()))


def test_what_repeats_a_text_in_other_fields_is_a_channel_of_its_own() -> None:
    together = texts_of(frames_of(RECORDED["009-huggingface"]))
    assert together[Channel(ChannelKind.CONTENT, 0, 0)] == together[Channel(ChannelKind.CONTENT, 0, 1)]
    routed = texts_of(frames_of(RECORDED["028-openrouter"]))
    assert routed[Channel(ChannelKind.REASONING, 0, 1)] == routed[Channel(ChannelKind.REASONING, 0, 2)]


def test_usage_is_found_where_each_server_puts_it() -> None:
    def usage(name: str) -> Usage | None:
        found = [m.usage for m in messages_of(frames_of(RECORDED[name])) if isinstance(m, Completion) and m.usage]
        return found[-1] if found else None

    assert usage("005-groq") == Usage(5003, 359)
    assert usage("004-deepseek") == Usage(976, 61, cached_tokens=896, reasoning_tokens=25)
    assert usage("013-mistral") == Usage(86, 703, cached_tokens=85)
    assert usage("014-openai") == Usage(58, 17)
    assert usage("016-openai") is None


def test_a_list_of_models_is_not_for_the_chat_path() -> None:
    assert CODEC.matches(head("GET")) is Match.NO
