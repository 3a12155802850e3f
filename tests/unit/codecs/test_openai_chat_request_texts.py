"""codecs/openai_chat_request_texts.py: which texts the messages of a request hold, and what changes with them."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ext_proc.events import Direction
from ext_proc.limits import DEFAULTS, Limits
from ext_proc.messages import ChannelKind, Form, Message, Opaque, Piece, Role
from tests.unit.codecs.openai_building import (
    ASKED,
    CODEC,
    RECORDED,
    answer_head,
    asking,
    decoded,
    encoded,
    messages_of,
    read_request,
    whole,
)
from tests.unit.codecs.test_openai_chat_cutting import ANY, FIELDS


def texts(message: Message) -> list[Piece]:
    found = CODEC.texts(message, DEFAULTS)
    assert not isinstance(found, Opaque)
    return list(found)


def of(*turns: Any) -> Message:
    return read_request(asking(messages=list(turns)))


@pytest.mark.parametrize(
    ("role", "whose"),
    [
        ("system", Role.SYSTEM),
        ("developer", Role.SYSTEM),
        ("user", Role.USER),
        ("assistant", Role.ASSISTANT),
        ("tool", Role.TOOL),
        ("function", Role.TOOL),
        ("critic", Role.USER),
        (None, Role.USER),
        (["tool"], Role.USER),
    ],
)
def test_whose_words_a_text_is_is_told_by_its_role(role: Any, whose: Role) -> None:
    (piece,) = texts(of({"role": role, "content": "x"}))
    assert (piece.channel.role, piece.channel.direction) == (whose, Direction.REQUEST)


def test_every_field_that_holds_text_in_an_answer_holds_it_in_a_history() -> None:
    turn = {
        "role": "assistant",
        "content": ["", "a", {"type": "text", "text": "b"}, {"type": "thinking", "thinking": "c"}],
        "refusal": "d",
        "reasoning_content": "e",
        "reasoning_details": [{"text": "f", "signature": "s"}, {"summary": "g"}],
        "function_call": {"name": "n", "arguments": "{}"},
        "tool_calls": [{"function": {"arguments": '{"h":1}'}}, {"custom": {"input": "i"}}],
    }
    found = [(p.channel.kind, p.channel.choice, p.channel.index, p.text, p.form) for p in texts(of({}, turn))]
    plain, source = Form.PLAIN, Form.WRITTEN_JSON
    assert found == [
        (ChannelKind.CONTENT, 1, 0, "a", plain),
        (ChannelKind.CONTENT, 1, 1, "b", plain),
        (ChannelKind.REASONING, 1, 0, "c", plain),
        (ChannelKind.REFUSAL, 1, 0, "d", plain),
        (ChannelKind.REASONING, 1, 1, "e", plain),
        (ChannelKind.REASONING, 1, 2, "f", plain),
        (ChannelKind.REASONING, 1, 3, "g", plain),
        (ChannelKind.TOOL_ARGUMENTS, 1, 0, "{}", source),
        (ChannelKind.TOOL_ARGUMENTS, 1, 1, '{"h":1}', source),
        (ChannelKind.TOOL_INPUT, 1, 0, "i", plain),
    ]


def test_what_repeats_or_signs_a_changed_text_goes_with_it_and_all_else_stays() -> None:
    details = '[{"text":"f", "signature":"s"},{"text":"g","signature":"t"}]'
    raw = '{"model":"m","messages":[{"role":"assistant","content":"x","reasoning_details":' + details + "}]}"
    message = read_request(raw.encode())
    assert [piece.text for piece in texts(message)] == ["x", "f", "g"]
    assert CODEC.with_texts(message, {1: "F"}).raw == raw.replace('"f", "signature":"s"', '"F"').encode()
    assert CODEC.with_texts(message, {0: "ü"}).raw == raw.replace('"x"', '"ü"').encode()


def test_a_request_without_text_and_an_answer_have_none() -> None:
    assert texts(of({"role": "user", "content": None}, {"role": "assistant", "content": ""})) == []
    (message,) = messages_of(decoded(whole({"role": "assistant", "content": "x"}), answer_head())[0])
    assert texts(message) == [], "its frames have them"


@pytest.mark.parametrize(
    "turn",
    [
        {"content": 5},
        {"content": {"text": "x"}},
        {"content": [5]},
        {"content": [{"text": 5}]},
        {"content": [{"tExt": "x"}]},
        {"tool_calls": [{"function": {"arguments": {}}}]},
        {"tool_calls": [{"Function": {"arguments": "{}"}}]},
        {"tool_calls": {}},
        {"function_call": "x"},
        {"reasoning_details": [{"Text": "x"}]},
    ],
)
def test_what_should_be_text_and_is_not_is_malformed(turn: Any) -> None:
    found = CODEC.texts(of(turn), DEFAULTS)
    assert isinstance(found, Opaque)
    assert (found.malformed, found.reason) == (True, "openai-invalid")


def test_a_key_of_a_message_that_equals_one_of_its_texts_but_for_case_is_malformed() -> None:
    for key in ("Content", "Reasoning_Content", "TOOL_CALLS"):
        message = of({"role": "user", key: "x"})
        assert isinstance(message, Opaque)
        assert message.reason == "ambiguous-key"


def test_too_many_values_in_all_arguments_together_are_too_large() -> None:
    turn = {"tool_calls": [{"function": {"arguments": '{"a":"b"}'}}]}
    assert len(texts(of(turn, turn))) == 2
    found = CODEC.texts(of(turn, turn), Limits(json_values=5))
    assert isinstance(found, Opaque)
    assert found.too_large


@pytest.mark.parametrize("name", RECORDED)
def test_every_recorded_request_can_be_read_and_written_back(name: str) -> None:
    message = read_request(RECORDED[name].request)
    found = texts(message)
    assert found
    assert CODEC.with_texts(message, {}).raw == message.raw
    changed = CODEC.with_texts(message, {index: piece.text + "!" for index, piece in enumerate(found)})
    assert [piece.text for piece in texts(changed)] == [piece.text + "!" for piece in found]


@given(st.lists(st.dictionaries(st.sampled_from(["role", *FIELDS]), ANY, max_size=5), min_size=1, max_size=3))
def test_no_request_raises_and_new_texts_stand_where_the_old_ones_did(turns: list[Any]) -> None:
    message = read_request(encoded(asking(messages=turns)))
    if isinstance(message, Opaque):
        return
    found = CODEC.texts(message, DEFAULTS)
    if isinstance(found, Opaque):
        return
    changed = CODEC.with_texts(message, dict.fromkeys(range(len(found)), '"new"'))
    assert [piece.text for piece in texts(changed)] == ['"new"'] * len(found)
    assert [piece.channel for piece in texts(changed)] == [piece.channel for piece in found]
    assert json.loads(changed.raw)["model"] == "m"


def test_a_chat_of_one_message_has_one_text() -> None:
    assert [(piece.text, piece.channel.choice) for piece in texts(ASKED)] == [("hello", 0)]
