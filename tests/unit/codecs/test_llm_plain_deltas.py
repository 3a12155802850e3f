"""Anthropic's and Responses' plain deltas: what is read at a glance is read as any other event would be."""

from __future__ import annotations

from typing import Any
from unittest.mock import patch

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ext_proc.codecs import anthropic_answer, openai_responses_answer
from ext_proc.codecs.anthropic_texts import plain_delta as anthropic_delta
from ext_proc.codecs.openai_responses_events import plain_delta as responses_delta
from tests.unit.codecs import anthropic_building as messages
from tests.unit.codecs import openai_responses_building as responses
from tests.unit.codecs.anthropic_building import ANTHROPIC
from tests.unit.codecs.openai_responses_building import RESPONSES

TEXTS = st.sampled_from(["a", "a", "é", "", "\ud83d", "\ude00", None, 1, ["a"], {"text": "a"}])
INDICES = st.sampled_from([0, 0, 0, 1, None, -1, 1024, True, "0"])
ANTHROPIC_KINDS: list[Any] = [
    "text_delta",
    "thinking_delta",
    "input_json_delta",
    "signature_delta",
    "unknown_delta",
    None,
    1,
    [],
]
ANTHROPIC_DELTAS = st.fixed_dictionaries(
    {"type": st.sampled_from(ANTHROPIC_KINDS)},
    optional=dict.fromkeys(("text", "thinking", "partial_json", "signature", "Text", "other"), TEXTS),
)
ANTHROPIC_EVENTS = st.one_of(
    st.builds(lambda index, delta: {**messages.delta(index), "delta": delta}, INDICES, ANTHROPIC_DELTAS),
    st.builds(messages.says, st.sampled_from(["a", "é", "\ud83d"]), st.sampled_from([0, 1])),
    st.sampled_from(
        [
            *(messages.start(), messages.begin(messages.text("")), messages.ends(), messages.ends(1)),
            *(messages.closes(), messages.STOP, messages.PING, messages.OVERLOADED),
            {**messages.says("a"), "usage": {}},
            {**messages.says("a"), "Delta": {}},
            {**messages.says("a"), "type": "unknown"},
            {**messages.says("a"), "delta": "a"},
        ]
    ),
)
RESPONSES_KINDS = [
    *("response.output_text.delta", "response.refusal.delta", "response.function_call_arguments.delta"),
    *("response.reasoning_summary_text.delta", "response.audio.delta", "response.unknown.delta", "delta", ".delta"),
    *("response.output_text.done", "response.output_text.added", "response.shell_call_command.delta", "error"),
]
RESPONSES_EVENTS = st.one_of(
    st.fixed_dictionaries(
        {"type": st.sampled_from([*RESPONSES_KINDS, None, 1])},
        optional={
            "delta": TEXTS,
            **dict.fromkeys(("output_index", "content_index", "summary_index", "command_index"), INDICES),
            "item_id": st.just("i"),
            "sequence_number": st.sampled_from([0, 9, "9", True, None]),
            "logprobs": st.just([]),
            "obfuscation": st.just("x"),
            "text": TEXTS,
            "error": st.sampled_from([None, {"message": "m"}]),
            "Delta": st.just("a"),
        },
    ),
    st.builds(
        lambda text, item, at: responses.delta(text, item=item, at=at),
        st.sampled_from(["a", "é", "\ud83d"]),
        st.sampled_from([0, 1]),
        st.sampled_from([0, 1]),
    ),
    st.sampled_from(responses.talk("a", "b")),
    st.sampled_from(responses.begins({"type": "function_call", "id": "f", "name": "f", "arguments": ""})),
)


@given(st.lists(ANTHROPIC_EVENTS, min_size=1, max_size=5))
@settings(max_examples=600, deadline=None)
def test_anthropics_events_mean_the_same_read_at_a_glance_and_at_length(values: list[Any]) -> None:
    _compare_messages(messages.stream(*values))


@given(st.lists(RESPONSES_EVENTS, min_size=1, max_size=5))
@settings(max_examples=600, deadline=None)
def test_events_of_responses_mean_the_same_read_at_a_glance_and_at_length(values: list[Any]) -> None:
    _compare_responses(responses.stream(*values))


@pytest.mark.parametrize("name", [name for name, recording in ANTHROPIC.recordings.items() if recording.streams])
def test_anthropics_recorded_streams_mean_the_same_too(name: str) -> None:
    _compare_messages(ANTHROPIC.recordings[name].response)


@pytest.mark.parametrize("name", [name for name, recording in RESPONSES.recordings.items() if recording.streams])
def test_recorded_streams_of_responses_mean_the_same_too(name: str) -> None:
    _compare_responses(RESPONSES.recordings[name].response)


def test_what_most_of_a_stream_is_needs_only_a_glance() -> None:
    assert anthropic_delta(messages.says("a")) is not None
    assert anthropic_delta(messages.delta(type="input_json_delta", partial_json="{")) is not None
    assert responses_delta(responses.delta("a", sequence_number=4, logprobs=[], obfuscation="x")) is not None


@pytest.mark.parametrize(
    "value",
    [
        messages.delta(type="signature_delta", signature="s"),
        messages.delta(type="text_delta", partial_json="a"),
        messages.delta(type="text_delta", text="a", citation={}),
        {**messages.says("a"), "error": {}},
        [],
    ],
)
def test_what_is_more_than_a_delta_of_anthropics_is_looked_at(value: Any) -> None:
    assert anthropic_delta(value) is None


@pytest.mark.parametrize(
    "value",
    [
        responses.delta("a", item=-1),
        responses.delta("a", at=5000),
        responses.delta("a", error=None),
        responses.delta(""),
        responses.event("response.unknown.delta", delta="a", output_index=0),
        None,
    ],
)
def test_what_is_more_than_a_delta_of_responses_is_looked_at(value: Any) -> None:
    assert responses_delta(value) is None


def _compare_messages(body: bytes) -> None:
    at_a_glance = ANTHROPIC.told(body)
    with patch.object(anthropic_answer, "plain_delta", return_value=None):
        assert ANTHROPIC.told(body) == at_a_glance


def _compare_responses(body: bytes) -> None:
    at_a_glance = RESPONSES.told(body)
    with patch.object(openai_responses_answer, "plain_delta", return_value=None):
        assert RESPONSES.told(body) == at_a_glance
