"""codecs/mcp_texts.py: which texts calls and results hold, and that no other byte of them changes."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ext_proc.limits import DEFAULTS
from ext_proc.messages import ChannelKind, Form, McpResult, Message, Opaque, Piece, Role, ToolResult
from tests.unit.codecs.building import CODEC, answered, asked, call, encoded, notification, result


def texts(message: Message) -> list[Piece]:
    found = CODEC.texts(message, DEFAULTS)
    assert not isinstance(found, Opaque)
    return list(found)


def in_result(value: Any, method: str = "tools/call", **params: Any) -> Message:
    requests = asked(call(method, **params))
    (message,), _ = answered(requests, result(**value))
    return message


RAW = (
    b'{"jsonrpc":"2.0", "id":1 ,"result":{"isError":false,"structuredContent":{ "a":"x\\u0079", "n":1.50},'
    b'"content":[{"type":"text","text":"x\\u0079"},{"type":"resource","resource":{"uri":"u:","text":"xy"}}]}}'
)


def test_arguments_are_the_source_that_came() -> None:
    raw = b'{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"t","arguments":{ "q":"\\u0041"}}}'
    (message,) = asked(raw)
    ((piece),) = texts(message)
    assert (piece.text, piece.form) == ('{ "q":"\\u0041"}', Form.VALID_JSON)
    assert (piece.channel.kind, piece.channel.role) == (ChannelKind.TOOL_ARGUMENTS, Role.ASSISTANT)
    changed = CODEC.with_texts(message, {0: '{"q":"é"}'})
    assert changed.raw == raw.replace(b'{ "q":"\\u0041"}', '{"q":"é"}'.encode())
    assert changed.as_variables()["kind"] == "tool_call"
    assert changed.arguments == {"q": "é"}  # type: ignore[attr-defined]  # a ToolCall, as its kind says


def test_new_texts_of_a_result_keep_every_other_byte_and_whose_answer_it_is() -> None:
    requests = asked(call("tools/call", name="t"))
    (message,), _ = answered(requests, RAW)
    assert [(piece.text, piece.form, piece.channel.index) for piece in texts(message)] == [
        ("xy", Form.PLAIN, 0),
        ("xy", Form.PLAIN, 1),
        ('{ "a":"x\\u0079", "n":1.50}', Form.VALID_JSON, 2),
    ]
    changed = CODEC.with_texts(message, {0: 'a"', 2: '{"a":"b", "n":1.50}'})
    assert isinstance(changed, ToolResult)
    assert changed.request is requests[0]
    assert changed.raw == (
        RAW.replace(b'"type":"text","text":"x\\u0079"', b'"type":"text","text":"a\\""').replace(
            b'{ "a":"x\\u0079", "n":1.50}', b'{"a":"b", "n":1.50}'
        )
    )
    assert CODEC.with_texts(message, {}).raw == RAW


@pytest.mark.parametrize(
    ("value", "method", "found"),
    [
        ({"content": [{"type": "text", "text": ""}, {"type": "audio", "data": "eA=="}]}, "tools/call", []),
        ({"content": [], "structuredContent": "x"}, "tools/call", [('"x"', Role.TOOL)]),
        ({"content": [], "structuredContent": 5}, "tools/call", []),
        (
            {"contents": [{"uri": "u:", "text": "x"}, {"uri": "v:", "blob": "eA=="}]},
            "resources/read",
            [("x", Role.TOOL)],
        ),
        (
            {
                "messages": [
                    {"role": "assistant", "content": {"type": "text", "text": "x"}},
                    {"role": "user", "content": {"type": "resource", "resource": {"uri": "u:", "text": "y"}}},
                    {"role": "user", "content": [{"type": "text", "text": "z"}]},
                ]
            },
            "prompts/get",
            [("x", Role.ASSISTANT), ("y", Role.TOOL), ("z", Role.USER)],
        ),
        ({"tools": [{"name": "x", "description": "text"}]}, "tools/list", []),
        ({"serverInfo": {"name": "x"}, "instructions": "text"}, "initialize", []),
    ],
)
def test_each_result_has_its_texts_in_their_order(value: Any, method: str, found: list[Any]) -> None:
    named = {"name": "n"} if method in ("tools/call", "prompts/get") else {"uri": "u:"}
    assert [(p.text, p.channel.role) for p in texts(in_result(value, method, **named))] == found


@pytest.mark.parametrize(
    "value",
    [
        {"content": [{"type": "text", "text": ["x"]}]},
        {"content": [{"type": "resource", "resource": {"Text": "x"}}]},
        {"contents": {}},
        {"contents": [{"TEXT": "x"}]},
        {"messages": ["x"]},
        {"messages": [{"role": "user", "content": "x"}]},
    ],
)
def test_what_should_be_text_and_is_not_is_malformed(value: Any) -> None:
    message = McpResult(result(**value))
    found = CODEC.texts(message, DEFAULTS)
    assert isinstance(found, Opaque)
    assert found.malformed


def test_what_a_client_answers_and_what_is_only_told_has_no_texts() -> None:
    for message in asked(notification("notifications/x"), result(content={"type": "text", "text": "x"})):
        assert texts(message) == []
    assert texts(asked(call("tools/call", name="t"))[0]) == []


anything = st.recursive(
    st.none() | st.booleans() | st.integers(-2, 2) | st.text("ab", max_size=2),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(
                ["content", "contents", "messages", "text", "resource", "role", "structuredContent", "Text"]
            ),
            inner,
            max_size=4,
        )
    ),
    max_leaves=12,
)


@given(st.dictionaries(st.sampled_from(["content", "contents", "messages", "structuredContent"]), anything, max_size=4))
def test_no_result_raises_and_new_texts_stand_where_the_old_ones_did(value: Any) -> None:
    message = McpResult(result(**value), encoded(result(**value)))
    found = CODEC.texts(message, DEFAULTS)
    if isinstance(found, Opaque):
        return
    changed = CODEC.with_texts(message, dict.fromkeys(range(len(found)), '"new"'))
    assert [piece.text for piece in texts(changed)] == ['"new"'] * len(found)
    back = CODEC.with_texts(changed, {index: piece.text for index, piece in enumerate(found)})
    assert back.raw == message.raw
