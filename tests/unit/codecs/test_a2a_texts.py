"""codecs/a2a_texts.py: which texts of requests and answers are shown, whose they are, and what is written back."""

from __future__ import annotations

import json
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ext_proc.events import Direction
from ext_proc.limits import DEFAULTS
from ext_proc.messages import ChannelKind, Form, Message, Piece, Role
from tests.unit.codecs.a2a_building import CODEC, VERSIONS, answered, call, encoded, read, request, result, send

LIST = request(call("ListTasks"))
SAID: Any = {"role": "ROLE_AGENT", "parts": [{"text": "said"}]}
ARTIFACT: Any = {
    **{"artifactId": "a", "name": "title", "description": "about"},
    "parts": [{"text": "made"}, {"data": {"k": "v", "n": 1.50}}, {"url": "https://a.example/"}],
}
TASK: Any = {
    **{"id": "t", "contextId": "c", "metadata": {"text": "unseen"}},
    "status": {"state": "TASK_STATE_COMPLETED", "message": {"parts": [{"text": "done"}]}},
    "artifacts": [ARTIFACT],
    "history": [{"role": "ROLE_USER", "parts": [{"text": "asked"}]}, SAID],
}
TEXTS = ["done", "title", "about", "made", '{"k": "v", "n": 1.5}', "asked", "said"]


def shown(message: Message) -> list[Piece]:
    pieces = CODEC.texts(message, DEFAULTS)
    assert not isinstance(pieces, Message)
    return list(pieces)


def one(value: Any, asked: Message) -> Message:
    (message,), _ = answered(asked, value)
    return message


@pytest.mark.parametrize("version", VERSIONS)
def test_a_messages_texts_and_data_are_the_users_words_whatever_role_it_names(version: str) -> None:
    kinds = [{}, {}] if version == "1.0" else [{"kind": "text"}, {"kind": "data"}]
    parts = [{**kinds[0], "text": "a"}, {**kinds[1], "data": {"b": ["c"]}}]
    pieces = shown(read(send(version, *parts, role="ROLE_AGENT" if version == "1.0" else "agent")))
    assert [(piece.text, piece.form) for piece in pieces] == [("a", Form.PLAIN), ('{"b": ["c"]}', Form.VALID_JSON)]
    assert {piece.channel.role for piece in pieces} == {Role.USER}
    assert {piece.channel.direction for piece in pieces} == {Direction.REQUEST}
    assert [piece.channel.index for piece in pieces] == [0, 1]


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("stream", [False, True])
def test_all_that_a_task_says_is_a_tools_word(version: str, stream: bool) -> None:
    value = {"task": TASK} if version == "1.0" else {**TASK, "kind": "task"}
    pieces = shown(one(result(value), request(send(version, stream=stream))))
    assert [piece.text for piece in pieces] == TEXTS
    assert {(piece.channel.kind, piece.channel.role) for piece in pieces} == {(ChannelKind.CONTENT, Role.TOOL)}


@pytest.mark.parametrize(
    ("value", "texts"),
    [
        ({"message": SAID}, ["said"]),
        ({**SAID, "kind": "message"}, ["said"]),
        ({"statusUpdate": {"taskId": "t", "status": {"message": SAID}}}, ["said"]),
        ({"kind": "status-update", "taskId": "t", "status": {"message": SAID}}, ["said"]),
        ({"artifactUpdate": {"taskId": "t", "artifact": ARTIFACT}}, TEXTS[1:5]),
        ({"kind": "artifact-update", "taskId": "t", "artifact": ARTIFACT}, TEXTS[1:5]),
        ({"message": {"parts": [{"data": "words"}, {"data": 5}, {"data": None}, {"text": ""}, {}]}}, ['"words"']),
        ({}, []),
    ],
)
@pytest.mark.parametrize("version", VERSIONS)
def test_events_and_messages_are_shown_in_either_versions_shape(version: str, value: Any, texts: list[str]) -> None:
    assert [piece.text for piece in shown(one(result(value), request(send(version, stream=True))))] == texts


def test_each_task_of_a_page_is_shown() -> None:
    assert [piece.text for piece in shown(one(result({"tasks": [TASK, {"id": "u"}, TASK]}), LIST))] == TEXTS * 2


@pytest.mark.parametrize(
    ("asked", "value"),
    [
        (call("GetTaskPushNotificationConfig", taskId="t"), {"url": "https://a.example/", "taskId": "t"}),
        (call("tasks/pushNotificationConfig/list") | {"params": {"id": "t"}}, [{"taskId": "t"}]),
        (call("DeleteTaskPushNotificationConfig", taskId="t"), None),
        (call("GetExtendedAgentCard"), {"description": "words", "message": SAID}),
        (call("Vendor"), {"message": SAID}),
    ],
)
def test_configurations_cards_and_unknown_methods_have_no_texts(asked: Any, value: Any) -> None:
    assert shown(one(result(value), request(asked))) == []


def test_requests_about_tasks_and_errors_have_no_texts() -> None:
    asked = request(call("GetTask") | {"params": {"id": "t"}})
    assert shown(asked) == []
    assert shown(one({"jsonrpc": "2.0", "id": 1, "error": {"code": 1, "message": "words"}}, asked)) == []


def test_changed_texts_leave_every_other_byte_as_it_was() -> None:
    parts = b'[ {"text":"\\u0061b"},{"data":[1.50,"x"]}]'
    raw = b'{"jsonrpc":"2.0", "id":1,"result": {"task":{"id":"t","artifacts":[{"parts":' + parts + b"}]}}}"
    before = one(raw, request(send()))
    after = CODEC.with_texts(before, {0: 'new "word"', 1: '[1.50,"y"]'})
    assert after.raw == raw.replace(b'"\\u0061b"', b'"new \\"word\\""').replace(b'[1.50,"x"]', b'[1.50,"y"]')
    assert (type(after), after.method, shown(after)[0].text) == (type(before), "SendMessage", 'new "word"')


@given(
    st.sampled_from(VERSIONS),
    st.lists(st.sampled_from(["text", "data", "file"]), max_size=4),
    st.sets(st.integers(0, 3)),
    st.sampled_from([None, 1]),
)
def test_any_texts_can_be_changed_and_read_again(
    version: str, kinds: list[str], changed: set[int], indent: int | None
) -> None:
    values = {"text": "é\u2028", "data": {"a": ["b"]}, "file": {"uri": "x"}}
    parts = [{"kind": kind, kind: values[kind]} for kind in kinds]
    value = send(version, *parts)
    value["params"]["message"]["parts"] = parts
    before = read(json.dumps(value, indent=indent).encode())
    pieces = shown(before)
    new = {
        index: "new" if piece.form is Form.PLAIN else '{"a":["new"]}'
        for index, piece in enumerate(pieces)
        if index in changed
    }
    after = CODEC.with_texts(before, new)
    assert [piece.text for piece in shown(after)] == [new.get(index, piece.text) for index, piece in enumerate(pieces)]
    assert read(after.raw).raw == after.raw
    if not new:
        assert msgspec.json.decode(after.raw) == msgspec.json.decode(encoded(value))
