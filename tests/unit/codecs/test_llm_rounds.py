"""llm_rounds.py: how often an agent has gone round, in the words of every format.

Not here: what is done with the figure (policies/test_usage.py).
"""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ext_proc.codecs.llm_rounds import rounds_of
from ext_proc.messages import Generation
from tests.unit.codecs import anthropic_building as a
from tests.unit.codecs import gemini_building as g
from tests.unit.codecs import openai_responses_building as r
from tests.unit.codecs.openai_building import asking
from tests.unit.codecs.test_llm_calls import CHAT

CALL = {"id": "c", "type": "function", "function": {"name": "f", "arguments": "{}"}}
USED = {"type": "tool_use", "id": "t", "name": "f", "input": {}}
GAVE = {"type": "tool_result", "tool_use_id": "t", "content": "x"}

# By format: the caller's words, a turn of calls (one, two at once), what they gave, and the model's own words.
Turns = dict[str, list[dict[str, Any]]]
FORMATS: dict[str, tuple[Any, Any, str, Turns]] = {
    "chat": (
        CHAT,
        asking(),
        "messages",
        {
            "words": [{"role": "user", "content": "go on"}],
            "call": [{"role": "assistant", "content": None, "tool_calls": [CALL]}],
            "calls": [{"role": "assistant", "content": "so", "tool_calls": [CALL, CALL]}],
            "gave": [{"role": "tool", "tool_call_id": "c", "content": "x"}],
            "said": [{"role": "assistant", "content": "done"}],
        },
    ),
    "older chat": (
        CHAT,
        asking(),
        "messages",
        {
            "words": [{"role": "user", "content": "go on"}],
            "call": [{"role": "assistant", "content": None, "function_call": {"name": "f", "arguments": "{}"}}],
            "calls": [{"role": "assistant", "content": None, "function_call": {"name": "f", "arguments": "{}"}}],
            "gave": [{"role": "function", "name": "f", "content": "x"}],
            "said": [{"role": "assistant", "content": "done"}],
        },
    ),
    "responses": (
        r.RESPONSES,
        r.asking(),
        "input",
        {
            "words": [{"role": "user", "content": "go on"}],
            "call": [{"type": "reasoning", "summary": []}, {"type": "function_call", "name": "f", "arguments": "{}"}],
            "calls": [{"type": "function_call", "name": "f"}, {"type": "custom_tool_call", "name": "g", "input": "x"}],
            "gave": [{"type": "function_call_output", "call_id": "c", "output": "x"}],
            "said": [r.says("done"), {"type": "web_search_call", "status": "completed"}],
        },
    ),
    "anthropic": (
        a.ANTHROPIC,
        a.asking(),
        "messages",
        {
            "words": [{"role": "user", "content": "go on"}],
            "call": [{"role": "assistant", "content": [a.text("so"), USED]}],
            "calls": [{"role": "assistant", "content": [USED, USED]}],
            "gave": [{"role": "user", "content": [GAVE, a.text("a client's reminder")]}],
            "said": [{"role": "assistant", "content": [{"type": "server_tool_use", "id": "s", "name": "web_search"}]}],
        },
    ),
    "gemini": (
        g.GEMINI,
        g.asking(),
        "contents",
        {
            "words": [{"parts": [{"text": "go on"}]}],
            "call": [g.content({"functionCall": {"name": "f"}}, role="model")],
            "calls": [g.content({"function_call": {"name": "f"}}, {"functionCall": {"name": "g"}}, role="model")],
            "gave": [g.content({"functionResponse": {"name": "f", "response": {}}})],
            "said": [g.content({"text": "done"}, role="model")],
        },
    ),
}


def rounds(name: str, *turns: str, **more: Any) -> int | None:
    form, asked, where, words = FORMATS[name]
    message = form.read({**asked, where: [each for turn in turns for each in words[turn]], **more})
    assert isinstance(message, Generation)
    return message.rounds


@pytest.mark.parametrize("name", FORMATS)
def test_a_round_is_what_was_proposed_at_once_and_what_it_gave(name: str) -> None:
    assert rounds(name, "words") == 0
    assert rounds(name, "words", "call", "gave") == 1
    assert rounds(name, "words", "calls", "gave", "gave") == 1
    assert rounds(name, "words", "call", "gave", "said", "call", "gave", "calls", "gave") == 3
    assert rounds(name, "words", "call") == 0


@pytest.mark.parametrize("name", FORMATS)
def test_the_callers_next_words_begin_anew(name: str) -> None:
    assert rounds(name, "words", "call", "gave", "said", "words") == 0
    assert rounds(name, "words", "call", "gave", "said", "words", "call", "gave") == 1


@pytest.mark.parametrize("kept", [{"previous_response_id": "resp_1"}, {"conversation": "conv_1"}])
def test_where_the_provider_keeps_the_conversation_nobody_knows(kept: dict[str, Any]) -> None:
    assert rounds("responses", "gave", **kept) is None
    assert rounds("responses", "words", **dict.fromkeys(kept)) == 0


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.sampled_from(["user", "tool_use", "tool", "model"]),
        lambda inner: (
            st.lists(inner, max_size=4)
            | st.dictionaries(
                st.sampled_from(["messages", "input", "role", "type", "content", "parts", "tool_calls"]), inner
            )
        ),
    )
)
def test_whatever_stands_there_is_counted_without_an_exception(value: Any) -> None:
    assert rounds_of({"messages": value}) >= 0
    assert rounds_of(value if isinstance(value, dict) else {}) >= 0
