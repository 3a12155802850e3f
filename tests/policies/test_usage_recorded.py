"""Usage over every recorded exchange: what the policy measures is what its provider wrote, as JSON and at any cutting;
and where what it wrote is taken away, what is counted here is close to it.

Rules:
- What a provider wrote is read here anew, from the bytes, by nothing of ours.
- The tables, a line for each recording by API, stand behind the results in the output of the tests.

Not here: answers that nobody recorded (test_usage.py).
"""

from __future__ import annotations

import dataclasses
import json
import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ext_proc.bundle.protocols import PROTOCOLS
from ext_proc.engine.pipeline import Binding, Pipeline
from ext_proc.engine.route import Route, RouteMatch, Rulebook
from ext_proc.limits import Limits
from ext_proc.testing import Played, pass_through, whole
from ext_proc.tokens.counting import count
from ext_proc.tokens.encodings import load
from gatehouse_policies.usage import Parameters, UsageMeter
from gatehouse_policies.usage_tokens import PER_CALL, Tokenizer
from tests.conftest import TABLE
from tests.exchange.recordings import RECORDINGS, Recording
from tests.exchange.test_cutting import cut_at

OPENAI = ("chat_completions", "completions_legacy", "embeddings")
GOOGLE = ("generateContent", "streamGenerateContent", "google_batchEmbedContents")
APIS = (*OPENAI, "responses", "messages", *GOOGLE)
METERED = {name: recording for name, recording in RECORDINGS.items() if recording.api in APIS}
COUNTED = ("input_tokens", "output_tokens", "cached_tokens", "cache_write_tokens", "reasoning_tokens")
METER = UsageMeter("usage", Parameters(tokenizer=Tokenizer(default="o200k_base")))
ASKING = UsageMeter("usage", Parameters(include_usage="add-and-hide"))

Figures = tuple[int, ...]


def book(meter: UsageMeter) -> Rulebook:
    """The bundle of one route with a policy."""
    pipeline = Pipeline([Binding(meter, timeout=60.0)], time.monotonic)
    route = Route("models", RouteMatch(path="/"), "auto", PROTOCOLS["auto"].codecs(), pipeline)
    return Rulebook("test", "r1", (route,), limits=Limits(decision=60.0))


def played(recording: Recording, meter: UsageMeter = METER, cut: Any = whole) -> Played:
    return pass_through(book(meter), recording.asked(), recording.answered(sized=not recording.streams), cut)


def measured(facts: Mapping[str, Any]) -> Figures | None:
    """What the policy has of an exchange, if the provider said all of it."""
    return tuple(facts[name] for name in COUNTED) if facts["usage_reported"] else None


def documents(recording: Recording) -> Iterator[Any]:
    """The JSON of an answer, piece by piece; a piece that the end cut off is none."""
    if not recording.streams:
        yield json.loads(recording.response)
        return
    for line in recording.response.replace(b"\r\n", b"\n").split(b"\n"):
        name, _, value = line.partition(b":")
        if name == b"data" and value.strip() != b"[DONE]":
            try:
                yield json.loads(value)
            except ValueError:
                return


def written(recording: Recording) -> Figures | None:
    """What the provider wrote of the whole of an answer; None where it did not, or the answer is an error."""
    if recording.status != 200 or recording.interrupted:
        return None
    said = list(documents(recording))
    if recording.api in OPENAI:
        found = [one.get("usage") or (one.get("x_groq") or {}).get("usage") for one in said]
        return _openai(next((usage for usage in reversed(found) if usage), None), "prompt", "completion")
    if recording.api == "responses":
        last = said[-1].get("response", said[-1])
        return _openai(last.get("usage"), "input", "output")
    if recording.api == "messages":
        merged: dict[str, Any] = {}
        for one in said:
            usage = one.get("usage") or one.get("message", {}).get("usage") or {}
            merged |= {name: value for name, value in usage.items() if value}
        return _anthropic(merged) if merged else None
    totals = [one["usageMetadata"] for one in said if "usageMetadata" in one]
    return _google(totals[-1]) if totals else None


def _openai(usage: Any, read: str, wrote: str) -> Figures | None:
    if not usage:
        return None
    inner = usage.get(f"{read}_tokens_details") or {}
    outer = usage.get(f"{wrote}_tokens_details") or {}
    cached = inner.get("cached_tokens") or usage.get("num_cached_tokens") or 0
    total = usage.get(f"{read}_tokens", 0), usage.get(f"{wrote}_tokens", 0)
    return (*total, cached, inner.get("cache_write_tokens") or 0, outer.get("reasoning_tokens") or 0)


def _anthropic(usage: Mapping[str, Any]) -> Figures:
    passes = usage.get("iterations") or [usage]
    plain, wrote, cached, cache_write = (
        sum(one.get(name) or 0 for one in passes)
        for name in ("input_tokens", "output_tokens", "cache_read_input_tokens", "cache_creation_input_tokens")
    )
    thought = (usage.get("output_tokens_details") or {}).get("thinking_tokens") or 0
    return plain + cached + cache_write, wrote, cached, cache_write, thought


def _google(usage: Mapping[str, int]) -> Figures:
    thoughts = usage.get("thoughtsTokenCount", 0)
    read = usage.get("promptTokenCount", 0) + usage.get("toolUsePromptTokenCount", 0)
    return read, usage.get("candidatesTokenCount", 0) + thoughts, usage.get("cachedContentTokenCount", 0), 0, thoughts


@pytest.mark.parametrize("api", APIS)
def test_what_is_measured_is_what_the_provider_wrote(api: str, record_property: Callable[[str, object], None]) -> None:
    table, wrong = [], []
    for name, recording in METERED.items():
        if recording.api != api:
            continue
        size = 1 + len(recording.response) // 150
        expected = written(recording)
        ways = {
            "whole": played(recording),
            "in pieces": played(recording, cut=lambda body, size=size: cut_at(body, range(0, len(body), size))),
            "asked": played(recording, ASKING),
        }
        found = {way: measured(one.trail.facts) for way, one in ways.items()}
        table.append(f"{name:28}{'stream' if recording.streams else 'JSON':8}{expected!s:34}{found['whole']}")
        wrong += [(name, way, figures, expected) for way, figures in found.items() if figures != expected]
    head = f"{api:36}{'written (' + ', '.join(COUNTED) + ')'}, measured"
    record_property(TABLE, "\n".join([head, *table]))
    assert len(table) >= 1
    assert wrong == []


def test_there_is_something_to_compare_in_every_api() -> None:
    told = {recording.api for recording in METERED.values() if written(recording) is not None}
    assert told == set(APIS) - {"completions_legacy"}  # which no recording tells the usage of


@given(st.sampled_from(sorted(METERED)), st.lists(st.integers(0, 300_000), max_size=12))
@settings(max_examples=120, deadline=None)
def test_any_cutting_gives_the_same_figures(name: str, where: list[int]) -> None:
    recording = METERED[name]
    found = played(recording, cut=lambda body: cut_at(body, where))
    assert measured(found.trail.facts) == written(recording)
    if written(recording) is not None:
        assert tuple(found.metadata[name] for name in COUNTED) == written(recording)


def bare(recording: Recording) -> Recording:
    """The same without what the provider counted: the members are there by names that nobody reads."""
    body = recording.response.replace(b'"usage"', b'"usagx"').replace(b'"usageMetadata"', b'"usagxMetadata"')
    return dataclasses.replace(recording, response=body)


# Where the provider ran tools or agents of its own, or put prompts before the model, or took words back: what it
# counted there, no one else saw.
_UNSEEN_INPUT = {
    *("002-cerebras", "004-deepseek", "005-groq", "008-groq", "029-openrouter", "031-openrouter", "027-openrouter"),
    *("032-snowflake", "040-google", "064-deepseek", "066-openai", "067-openai", "071-openai", "074-openai"),
    *("075-openai", "053-anthropic", "054-anthropic", "055-anthropic", "057-anthropic", "059-anthropic"),
    *("060-anthropic", "058-anthropic", "028-openrouter", "081-google", "042-google"),
}
_UNSEEN_OUTPUT = {"005-groq", "008-groq", "068-openai", "029-openrouter", "073-openai", "049-anthropic", "077-google"}
# Models of OpenAI's are counted by their own encoding, others by one that is not theirs.
_OWN_ENCODING = (*OPENAI, "responses")


def bounds(recording: Recording) -> tuple[float, float, float]:
    """How far an estimate may be from the provider's figure: tokens, and parts of the input, of the output."""
    own = recording.api in _OWN_ENCODING and "openai" in recording.name
    return (16, 0.35, 0.15) if own else (60, 0.45, 0.45)


@pytest.mark.parametrize("api", APIS)
def test_without_what_the_provider_wrote_the_estimate_is_close(
    api: str, record_property: Callable[[str, object], None]
) -> None:
    table: list[str] = []
    far: list[tuple[Any, ...]] = []
    for name, recording in METERED.items():
        expected = written(recording)
        if recording.api != api or expected is None:
            continue
        facts = played(bare(recording)).trail.facts
        assert (facts["usage_estimated"], facts["usage_reported"]) == (True, False)
        reads, writes = expected[0], expected[1]
        seen = writes - expected[4]  # reasoning is mostly hidden
        some, of_input, of_output = bounds(recording)
        table.append(f"{name:28}{reads:8}{facts['input_tokens']:8}   {writes:8}{facts['output_tokens']:8}")
        if name not in _UNSEEN_INPUT and abs(facts["input_tokens"] - reads) > some + of_input * reads:
            far.append((name, "input", reads, facts["input_tokens"]))
        low, high = seen - some - of_output * seen, writes + some + of_output * writes
        if name not in _UNSEEN_OUTPUT and not low <= facts["output_tokens"] <= high:
            far.append((name, "output", seen, writes, facts["output_tokens"]))
    record_property(TABLE, "\n".join([f"{api:30}input written, estimated; output written, estimated", *table]))
    assert far == []


# Of what came before the cut: Anthropic says the input at once, Gemini how much it was so far.
_SAID_BEFORE = {
    "083-anthropic-interrupted": {"input_tokens": 17},
    "087-anthropic-interrupted": {"input_tokens": 1171},
    "085-google-interrupted": {"input_tokens": 9, "reasoning_tokens": 35},
}


@pytest.mark.parametrize("name", [name for name, recording in METERED.items() if recording.interrupted])
def test_of_an_interrupted_stream_what_came_is_estimated(name: str) -> None:
    facts = played(METERED[name]).trail.facts
    assert (facts["usage_reported"], facts["usage_estimated"]) == (False, True)
    assert facts["tokenizer"] in ("o200k_base", "cl100k_base")
    assert facts.items() >= _SAID_BEFORE.get(name, {}).items()
    assert facts["input_tokens"] > 0
    assert facts["output_tokens"] > 0
    assert facts["total_tokens"] == facts["input_tokens"] + facts["output_tokens"]


def last_texts(recording: Recording) -> list[str] | None:
    """The model's texts in the last event of a stream of OpenAI's responses; None where there are others beside."""
    items = list(documents(recording))[-1]["response"]["output"]
    if not {item["type"] for item in items} <= {"message", "reasoning", "function_call"}:
        return None
    return [item["arguments"] for item in items if item["type"] == "function_call"] + [
        part["text"] for item in items for name in ("summary", "content") for part in item.get(name) or ()
    ]


def test_texts_that_a_stream_repeats_are_counted_once() -> None:
    encoding, compared = load("o200k_base"), 0
    for recording in METERED.values():
        if recording.api != "responses" or not recording.streams or recording.interrupted:
            continue
        texts = last_texts(recording)
        if texts is not None:
            calls = sum(text.startswith("{") for text in texts)
            words = sum(count(text, encoding) for text in texts)
            assert played(bare(recording)).trail.facts["output_tokens"] == words + calls * PER_CALL, recording.name
            compared += 1
    assert compared >= 3


def test_a_question_for_tokens_is_answered_and_nothing_was_used() -> None:
    (recording,) = [recording for recording in RECORDINGS.values() if recording.api == "count_tokens"]
    facts = played(recording).trail.facts
    assert facts["counted_tokens"] == json.loads(recording.response)["input_tokens"]
    assert not {"input_tokens", "usage_reported", "cost"} & facts.keys()


@pytest.mark.parametrize("said", [{"totalTokens": 31}, {"totalTokens": -1}, {"totalTokens": "31"}, {}])
def test_geminis_answer_to_that_question_is_read_too(said: dict[str, Any]) -> None:
    (asked,) = [recording for recording in RECORDINGS.values() if recording.api == "google_batchEmbedContents"]
    question = dataclasses.replace(
        asked,
        path="/v1beta/models/gemini-2.5-flash:countTokens",
        request=b'{"contents":[{"parts":[{"text":"hello"}]}]}',
        response=json.dumps(said).encode(),
    )
    facts = played(question).trail.facts
    assert facts["method"] == "count_tokens"
    assert facts.get("counted_tokens") == (31 if said == {"totalTokens": 31} else None)
