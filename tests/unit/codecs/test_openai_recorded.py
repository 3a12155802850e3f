"""codecs/openai_responses, completions and embeddings against exchanges recorded with real servers."""

from __future__ import annotations

import json
import random
from itertools import pairwise
from typing import Any

import pytest

from ext_proc.codecs.codec import Frame, Match
from ext_proc.messages import (
    ChannelKind,
    Completion,
    CompletionChunk,
    Embedded,
    Embedding,
    Generation,
    LlmError,
    Message,
    ModelAnswer,
    ModelRequest,
    Opaque,
    Usage,
)
from ext_proc.trail import Outcome
from tests.exchange.recordings import Recording
from tests.unit.codecs.llm_building import Format
from tests.unit.codecs.openai_building import drain, messages_of
from tests.unit.codecs.openai_completions_building import COMPLETIONS, EMBEDDINGS
from tests.unit.codecs.openai_responses_building import RESPONSES, uncopied

CASES = {
    name: (form, recording)
    for form in (RESPONSES, COMPLETIONS, EMBEDDINGS)
    for name, recording in form.recordings.items()
}
EVERY = pytest.mark.parametrize(("form", "recording"), CASES.values(), ids=CASES)
LONG = 20_000  # bytes; a longer body is not cut at every byte
INTERRUPTED = "084-openai-interrupted"


def frames_of(form: Format, recording: Recording, *chunks: bytes) -> list[Frame]:
    return drain(form.answer_to(recording), *(chunks or (recording.response,)))


def values_of(recording: Recording) -> list[Any]:
    """What was answered, by no reading of ours."""
    if not recording.streams:
        return [json.loads(recording.response)]
    lines = [line[6:] for line in recording.response.splitlines() if line.startswith(b"data: {")]
    return [json.loads(line) for line in (lines[:-1] if recording.interrupted else lines)]


def story(frames: list[Frame]) -> list[Any]:
    return [
        (frame.raw, frame.pieces, tuple(frame.closes), [(type(m), m.raw, m.outcome) for m in frame.messages])
        for frame in frames
    ]


@EVERY
def test_every_recorded_request_is_read_and_leaves_as_it_came(form: Format, recording: Recording) -> None:
    head, (message,) = form.asked_in(recording)
    assert form.codec.matches(head) is Match.YES
    assert isinstance(message, Embedding if form is EMBEDDINGS else Generation)
    assert message.model == json.loads(recording.request)["model"]
    assert message.raw == recording.request
    found = form.texts(message)
    plain = {number: piece.text + "!" for number, piece in enumerate(found) if piece.form.value == "plain"}
    assert found
    assert form.codec.with_texts(message, {}).raw == recording.request
    changed = form.texts(form.codec.with_texts(message, plain))
    assert [piece.text for piece in changed] == [plain.get(n, piece.text) for n, piece in enumerate(found)]


@EVERY
def test_any_cutting_of_a_recorded_answer_gives_the_same_frames_and_usage(form: Format, recording: Recording) -> None:
    body, dice = recording.response, random.Random(recording.name)
    uncut = frames_of(form, recording)
    assert b"".join(frame.raw for frame in uncut) == body
    assert all(frame.encode({}) == frame.raw for frame in uncut)
    cuts = [[dice.randrange(len(body) + 1) for _ in range(20)] for _ in range(3)]
    if len(body) <= LONG:
        cuts.append(list(range(len(body))))
    for cut in cuts:
        bounds = [0, *sorted(cut), len(body)]
        frames = frames_of(form, recording, *(body[a:b] for a, b in pairwise(bounds)))
        assert story(frames) == story(uncut)
        assert usage_in(messages_of(frames)) == by_the_provider(recording)


def usage_in(messages: list[Message]) -> Usage | None:
    found = [message.usage for message in messages if isinstance(message, ModelAnswer) and message.usage]
    return found[-1] if found else None


def by_the_provider(recording: Recording) -> Usage | None:
    """Usage, from the JSON as it came."""
    told = [value.get("usage") or (value.get("response") or {}).get("usage") for value in values_of(recording)]
    if not any(told):
        return None
    usage: Any = [each for each in told if each][-1]
    if "prompt_tokens" in usage:
        return Usage(usage["prompt_tokens"], usage.get("completion_tokens") or 0)
    assert usage["total_tokens"] == usage["input_tokens"] + usage["output_tokens"]
    read, written = usage["input_tokens_details"], usage["output_tokens_details"]
    return Usage(
        usage["input_tokens"],
        usage["output_tokens"],
        cached_tokens=read["cached_tokens"],
        cache_write_tokens=read.get("cache_write_tokens", 0),
        reasoning_tokens=written["reasoning_tokens"],
    )


OUTCOMES = {
    "033-openai": Outcome.TRUNCATED,  # max_tokens is 16 unless set
    "038-openai": Outcome.PROTOCOL_ERROR,
    INTERRUPTED: Outcome.TRUNCATED,
}


@EVERY
def test_the_outcome_and_the_classes_of_every_recorded_answer_are_known(form: Format, recording: Recording) -> None:
    decoder = form.answer_to(recording)
    found = messages_of(drain(decoder, recording.response))
    assert decoder.outcome is OUTCOMES.get(recording.name, Outcome.OK)
    assert isinstance(found[0], LlmError) == (recording.status != 200)
    _, asked = form.asked_in(recording)
    assert isinstance(asked[0], ModelRequest)
    assert all(isinstance(message, tuple(form.codec.answers(asked))) for message in found)
    kind = Embedded if form is EMBEDDINGS else CompletionChunk if recording.streams else Completion
    assert all(isinstance(message, kind | LlmError | Opaque) for message in found)
    assert len([m for m in found if isinstance(m, Opaque)]) == (recording.name == INTERRUPTED)


STREAMED = [name for name, (form, r) in CASES.items() if form is RESPONSES and r.streams and not r.interrupted]


@pytest.mark.parametrize("name", STREAMED)
def test_what_is_said_once_is_what_the_final_answer_says(name: str) -> None:
    form, recording = CASES[name]
    said = [
        part.get("text", "")
        for item in values_of(recording)[-1]["response"]["output"]
        for part in item.get("content") or ()
        if item["type"] == "message"
    ]
    frames = frames_of(form, recording)
    content = [p.text for f in frames for p in f.pieces if p.channel.kind is ChannelKind.CONTENT and not p.channel.copy]
    assert "".join(content) == "".join(said)
    assert len(uncopied(frames)) < sum(len(piece.text) for frame in frames for piece in frame.pieces)
