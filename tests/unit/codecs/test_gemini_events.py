"""codecs/gemini_events: an event that is read at a glance is read as any other would be."""

from __future__ import annotations

from typing import Any
from unittest.mock import patch

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from ext_proc.codecs import gemini_answer
from ext_proc.codecs.gemini_events import MAX_CANDIDATES, ordinary
from tests.unit.codecs.gemini_building import GEMINI, answer, candidate, says, stream

STREAMS = [name for name, recording in GEMINI.recordings.items() if recording.streams]
CALL = {"functionCall": {"name": "f", "args": {"a": "x"}}}
PARTS = st.fixed_dictionaries(
    {},
    optional={
        "text": st.sampled_from(["", "a", "é", "\ud83d", "\ude00", None, 1]),
        "thought": st.sampled_from([True, False, None, 1]),
        "thoughtSignature": st.just("s"),
    },
) | st.sampled_from([CALL, {"Text": "a"}, {"thought_signature": "s", "text": "a"}, "no part"])
CANDIDATES = st.fixed_dictionaries(
    {"content": st.builds(lambda parts: {"role": "model", "parts": parts}, st.lists(PARTS, min_size=1, max_size=2))},
    optional={
        "index": st.sampled_from([0, 0, 1, None, -1, MAX_CANDIDATES, True, "0"]),
        "finishReason": st.sampled_from([None, "STOP", "SAFETY", "", 1]),
        "safetyRatings": st.just([{"category": "c"}]),
        "avgLogprobs": st.just(-0.5),
    },
)
CANDIDATE_LISTS: list[Any] = [None, [], [1], "no list", [{}], [{"content": None}]]
CONTENTS: list[Any] = ["a", {}, {"parts": {"text": "a"}}, {"Parts": []}]
# What is wrong with an event, or of no use to it, where something is.
ODD: list[dict[str, Any]] = [
    *({"error": error} for error in (None, {}, {"message": "m"})),
    *({"candidates": candidates} for candidates in CANDIDATE_LISTS),
    *({"candidates": [{"content": content}]} for content in CONTENTS),
    {"candidates": [{**candidate({"text": "a"}), "finish_reason": "STOP"}]},
    {"candidates": [{**candidate({"text": "a"}), "groundingMetadata": {"groundingSupports": []}}]},
    {"Candidates": []},
    {"promptFeedback": {"blockReason": "SAFETY"}},
    *({"modelVersion": name} for name in (1, None, "x" * 300)),
    {"createTime": "2026-11-21T00:00:00Z", "usageMetadata": {"promptTokenCount": 3, "candidatesTokenCount": 2}},
]
EVENTS = st.builds(
    lambda candidates, odd: {**answer(*candidates), **odd},
    st.lists(CANDIDATES, min_size=1, max_size=1) | st.lists(CANDIDATES, max_size=2),
    st.just({}) | st.sampled_from(ODD),
)


def at_length(body: bytes) -> Any:
    with patch.object(gemini_answer, "ordinary", return_value=None):
        return GEMINI.told(body)


@given(st.lists(EVENTS, min_size=1, max_size=4))
@example([says("a", finish="STOP"), says("b")])
@settings(max_examples=600, deadline=None)
def test_events_mean_the_same_read_at_a_glance_and_at_length(values: list[Any]) -> None:
    body = stream(*values)
    assert GEMINI.told(body) == at_length(body)


@pytest.mark.parametrize("name", STREAMS)
def test_a_recorded_stream_means_the_same_read_at_a_glance_and_at_length(name: str) -> None:
    body = GEMINI.recordings[name].response
    assert GEMINI.told(body) == at_length(body)


def test_what_most_of_a_stream_is_needs_only_a_glance() -> None:
    assert ordinary(says("a")) is not None
    assert ordinary(says("a", index=1)) is not None
    assert ordinary(answer(candidate({"text": "a", "thought": True}), usageMetadata={})) is not None


@pytest.mark.parametrize("value", [says("a", finish="STOP"), answer(candidate(CALL)), answer(), {**says("a"), "e": 1}])
def test_what_is_in_any_doubt_is_looked_at(value: Any) -> None:
    assert ordinary(value) is None
