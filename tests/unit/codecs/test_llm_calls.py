"""llm_calls.py and the formats' own: recorded answers, with all of their calls kept, and with all of them taken out.

Not here: what policies make of them (policies/test_proposed_calls.py).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import pytest

from ext_proc.codecs.llm_calls import arguments_in
from ext_proc.messages import Completion, Message, Proposals, ProposedCall
from tests.exchange.recordings import Recording
from tests.unit.codecs import openai_building as o
from tests.unit.codecs.anthropic_building import ANTHROPIC
from tests.unit.codecs.gemini_building import GEMINI
from tests.unit.codecs.llm_building import Format
from tests.unit.codecs.openai_responses_building import RESPONSES

CHAT = Format(o.CODEC, "/v1/chat/completions", o.asking(), frozenset({"chat_completions"}))
RECORDED: Mapping[str, tuple[Format, Recording]] = {
    name: (form, recording)
    for form in (CHAT, RESPONSES, ANTHROPIC, GEMINI)
    for name, recording in form.recordings.items()
    if recording.status == 200
}
recorded = pytest.mark.parametrize("name", RECORDED)


def passed(name: str, *, keep: bool) -> tuple[list[ProposedCall], bytes, list[Message]]:
    """The calls of a recorded answer, and what is left of it where all of them are kept, or taken out."""
    form, recording = RECORDED[name]
    decided, calls, left = Proposals(), list[ProposedCall](), b""
    messages: list[Message] = []
    for frame in o.drain(form.answer_to(recording), recording.response):
        changes: dict[int, Message | None] = {}
        for number, message in enumerate(frame.messages):
            if not isinstance(message, Completion):
                continue
            for call in message.proposals:
                calls.append(call)
                (decided.keep if keep else decided.take)(call)
            made = message.without_calls(decided)
            messages += [] if made is None else [made]
            if made is not message:
                changes[number] = made
        left += frame.encode(changes) if changes else frame.raw
    return calls, left, messages


@recorded
def test_a_recorded_answer_whose_calls_are_kept_is_the_same_to_the_byte(name: str) -> None:
    assert passed(name, keep=True)[1] == RECORDED[name][1].response


@recorded
def test_a_recorded_answer_whose_calls_are_taken_out_is_a_readable_answer_without_any(name: str) -> None:
    calls, left, messages = passed(name, keep=False)
    form, recording = RECORDED[name]
    again = form.answer_to(recording)
    read = [message for message in o.messages_of(o.drain(again, left)) if isinstance(message, Completion)]
    assert [type(message) for message in read] == [type(message) for message in messages] or not calls
    assert not any(message.proposals for message in read)
    if not calls:
        assert left == recording.response


def test_recordings_of_every_format_propose_calls() -> None:
    proposing = {id(RECORDED[name][0]) for name in RECORDED if passed(name, keep=True)[0]}
    assert proposing == {id(CHAT), id(RESPONSES), id(ANTHROPIC), id(GEMINI)}


@pytest.mark.parametrize(
    ("text", "arguments"),
    [('{"a": 1}', {"a": 1}), ("", {}), (" ", {}), ("[1]", None), ("{", None), (None, None), ({"a": 1}, None)],
)
def test_arguments_are_an_object_or_nothing_that_a_rule_could_ask_about(
    text: Any, arguments: Mapping[str, Any] | None
) -> None:
    assert arguments_in(text) == arguments


def test_arguments_are_read_where_they_are_whole() -> None:
    called = {"id": "c", "type": "function", "function": {"name": "search", "arguments": '{"q": "x"}'}}
    frames, _ = CHAT.decoded(o.whole({"role": "assistant", "tool_calls": [called]}), o.answer_head())
    (message,) = o.messages_of(frames)
    assert isinstance(message, Completion)
    found: Sequence[ProposedCall] = message.proposals
    assert found == [ProposedCall(0, 0, "search", "c", {"q": "x"})]
