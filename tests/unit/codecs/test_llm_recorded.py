"""codecs/anthropic, codecs/gemini and what they share (llm_*.py), against exchanges recorded with real servers."""

from __future__ import annotations

import json
import random
from collections.abc import Mapping
from itertools import pairwise
from typing import Any

import pytest

from ext_proc.codecs.codec import Frame, Match
from ext_proc.framing.sse import EventSplitter
from ext_proc.messages import (
    Completion,
    CompletionChunk,
    Embedded,
    Embedding,
    Generation,
    LlmError,
    ModelAnswer,
    Opaque,
    TokenCount,
    TokenCounted,
    Usage,
)
from ext_proc.trail import Outcome
from tests.exchange.recordings import Recording
from tests.unit.codecs.anthropic_building import ANTHROPIC
from tests.unit.codecs.gemini_building import GEMINI
from tests.unit.codecs.llm_building import Format
from tests.unit.codecs.openai_building import drain, messages_of

CASES = {f"{name}": (form, recording) for form in (ANTHROPIC, GEMINI) for name, recording in form.recordings.items()}
EVERY = pytest.mark.parametrize(("form", "recording"), CASES.values(), ids=CASES)
LONG = 20_000  # bytes; a longer body is not cut at every byte


def frames_of(form: Format, recording: Recording, *chunks: bytes) -> list[Frame]:
    return drain(form.answer_to(recording), *(chunks or (recording.response,)))


def story(frames: list[Frame]) -> list[Any]:
    return [
        (frame.raw, frame.pieces, tuple(frame.closes), [(type(m), m.raw, m.outcome) for m in frame.messages])
        for frame in frames
    ]


def values_of(recording: Recording) -> list[Any]:
    """What was answered, without any of our reading but the splitting of events."""
    if not recording.streams:
        return [json.loads(recording.response)]
    splitter = EventSplitter(1_000_000)
    events = [*splitter.feed(recording.response), *splitter.close()]
    return [json.loads(event.data) for event in events if event.data and event.span.value == "event"]


@EVERY
def test_every_recorded_request_is_read_and_leaves_as_it_came(form: Format, recording: Recording) -> None:
    head, asked = form.asked_in(recording)
    assert form.codec.matches(head) is Match.YES
    (message,) = asked
    kind = {"count_tokens": TokenCount, "google_batchEmbedContents": Embedding}.get(recording.api, Generation)
    assert isinstance(message, kind)
    assert message.model == (json.loads(recording.request).get("model") or head.path.rpartition("/")[2].split(":")[0])
    assert message.raw == recording.request
    if isinstance(message, Generation):
        assert message.stream == recording.streams


@EVERY
def test_every_text_of_a_recorded_request_can_be_read_and_written_back(form: Format, recording: Recording) -> None:
    _, (message,) = form.asked_in(recording)
    found = form.texts(message)
    assert found
    assert form.codec.with_texts(message, {}).raw == message.raw
    plain = {index: piece.text + "!" for index, piece in enumerate(found) if piece.form.value == "plain"}
    changed = form.texts(form.codec.with_texts(message, plain))
    assert [piece.text for piece in changed] == [plain.get(n, piece.text) for n, piece in enumerate(found)]


@EVERY
def test_any_cutting_of_a_recorded_answer_gives_the_same_frames(form: Format, recording: Recording) -> None:
    body, dice = recording.response, random.Random(recording.name)
    whole = frames_of(form, recording)
    assert b"".join(frame.raw for frame in whole) == body
    assert all(frame.encode({}) == frame.raw for frame in whole)
    cuts = [[dice.randrange(len(body) + 1) for _ in range(20)] for _ in range(3)]
    if len(body) <= LONG:
        cuts.append(list(range(len(body))))
    for cut in cuts:
        bounds = [0, *sorted(cut), len(body)]
        assert story(frames_of(form, recording, *(body[a:b] for a, b in pairwise(bounds)))) == story(whole)


OUTCOMES = {
    "039-google": Outcome.PROTOCOL_ERROR,
    "062-anthropic": Outcome.PROTOCOL_ERROR,
    "083-anthropic-interrupted": Outcome.TRUNCATED,
    "085-google-interrupted": Outcome.TRUNCATED,
    "087-anthropic-interrupted": Outcome.TRUNCATED,
}


@EVERY
def test_the_outcome_and_the_classes_of_every_recorded_answer_are_known(form: Format, recording: Recording) -> None:
    decoder = form.answer_to(recording)
    found = messages_of(drain(decoder, recording.response))
    assert decoder.outcome is OUTCOMES.get(recording.name, Outcome.OK)
    assert isinstance(found[0], LlmError) == (recording.status != 200)
    _, asked = form.asked_in(recording)
    assert all(isinstance(message, tuple(form.codec.answers(asked))) for message in found)
    assert not any(isinstance(message, Opaque) for message in found)
    own = {"count_tokens": TokenCounted, "google_batchEmbedContents": Embedded}
    kind = own.get(recording.api, CompletionChunk if recording.streams else Completion)
    assert all(isinstance(message, kind | LlmError) for message in found)


def by_the_provider(recording: Recording) -> Usage | None:
    """Usage as the provider's documentation adds its figures up, from the JSON as it came."""
    values = values_of(recording)
    began = (values[0].get("message") or {}).get("usage")
    told = [began, *(value.get("usageMetadata") or value.get("usage") for value in values)]
    counts = [usage for usage in told if usage]
    if not counts:
        return None
    if recording.api in GEMINI.apis:  # each says all of it
        last = counts[-1]
        prompt = last["promptTokenCount"] + last.get("toolUsePromptTokenCount", 0)
        cached, thoughts = last.get("cachedContentTokenCount", 0), last.get("thoughtsTokenCount", 0)
        output = last.get("totalTokenCount", prompt) - prompt
        return Usage(prompt, output, cached_tokens=cached, reasoning_tokens=thoughts)
    found: dict[str, Any] = {}
    for usage in counts:  # each says what changed
        found |= usage
    passes = found.get("iterations") or [found]

    def taken(*names: str) -> int:
        return sum(each.get(name) or 0 for each in passes for name in names)

    cache = ("cache_read_input_tokens", "cache_creation_input_tokens")
    thought = (found.get("output_tokens_details") or {}).get("thinking_tokens") or 0
    return Usage(
        taken("input_tokens", *cache),
        taken("output_tokens"),
        cached_tokens=taken(cache[0]),
        cache_write_tokens=taken(cache[1]),
        reasoning_tokens=thought,
    )


@EVERY
def test_usage_is_the_providers_own_figures(form: Format, recording: Recording) -> None:
    messages = messages_of(frames_of(form, recording))
    usages = [message.usage for message in messages if isinstance(message, ModelAnswer) and message.usage]
    expected = by_the_provider(recording)
    if expected is None:
        assert usages == []
        return
    assert usages[-1] == expected


def test_recordings_have_every_kind_of_usage() -> None:
    totals = [usage for _, recording in CASES.values() if (usage := by_the_provider(recording)) is not None]
    assert any(usage.cached_tokens for usage in totals)
    assert any(usage.cache_write_tokens for usage in totals)
    assert any(usage.reasoning_tokens for usage in totals)
    assert any(b'"iterations":[' in recording.response for _, recording in CASES.values())


NEW = 'né\n"😀'


@EVERY
def test_a_changed_text_changes_that_text_alone(form: Format, recording: Recording) -> None:
    frames = frames_of(form, recording)
    changed = [number for number, frame in enumerate(frames) if any(p.form.value != "valid" for p in frame.pieces)]
    for number in changed[:: max(1, len(changed) // 15)]:
        frame = frames[number]
        assert frame.encode({}, texts=dict(enumerate(piece.text for piece in frame.pieces))) == frame.raw
        for index, piece in enumerate(frame.pieces):
            if piece.form.value == "valid":
                continue
            out = frame.encode({}, texts={index: NEW})
            again = frames_of(form, recording, *(other.raw for other in frames[:number]), out)
            assert [found.text for found in again[number].pieces] == [
                NEW if position == index else other.text for position, other in enumerate(frame.pieces)
            ]
            before, after = ([*leaves(json.loads(data))] for data in (data_of(frame), data_of(again[number])))
            differ = [new for old, new in zip(before, after, strict=True) if old != new]
            assert differ == [NEW]


def data_of(frame: Frame) -> bytes:
    (message,) = frame.messages
    return message.raw


VOUCHING = {"signature", "thoughtSignature", "logprobsResult"}


def leaves(value: Any) -> Any:
    """Every scalar, but for what vouches for a text."""
    if isinstance(value, Mapping):
        for name, inner in value.items():
            if name not in VOUCHING:
                yield from leaves(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from leaves(inner)
    else:
        yield value
