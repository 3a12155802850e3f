"""codecs/openai_conversations: what begins a conversation, its items' texts and references, and its id."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ext_proc.codecs.codec import Match
from ext_proc.codecs.openai_conversations import OpenAiConversationsCodec
from ext_proc.limits import DEFAULTS, Limits
from ext_proc.messages import (
    ConversationStart,
    ConversationStarted,
    LlmError,
    Opaque,
    StoredKind,
    StoredObject,
)
from ext_proc.policy import Deny
from ext_proc.trail import Outcome
from tests.unit.codecs.llm_building import Format
from tests.unit.codecs.openai_building import STREAM, answer_head, encoded, messages_of
from tests.unit.codecs.openai_responses_building import encoded_event, says
from tests.unit.codecs.test_openai_chat_cutting import CUTS, check, mutilated

CODEC = OpenAiConversationsCodec()
CONVERSATIONS = Format(CODEC, "/v1/conversations", {"items": [{"role": "user", "content": "hello"}]}, frozenset())
JSON = answer_head()
CONVERSATION = {"id": "conv_1", "object": "conversation", "created_at": 1, "metadata": {}}
HOSTED = {"type": "additional_tools", "tools": [{"type": "web_search"}]}
OWN = {"type": "additional_tools", "tools": [{"type": "function", "name": "f"}]}


def start(**fields: Any) -> ConversationStart:
    message = CONVERSATIONS.read(fields)
    assert isinstance(message, ConversationStart)
    return message


@pytest.mark.parametrize(
    ("method", "path", "match"),
    [
        ("POST", "/v1/conversations", Match.YES),
        ("POST", "/openai/v1/conversations", Match.YES),
        ("POST", "/mcp/conversations", Match.NO),
        ("GET", "/v1/conversations/conv_1", Match.NO),
        ("POST", "/v1/conversations/conv_1", Match.NO),
        ("POST", "/v1/conversations/conv_1/items", Match.NO),
        ("DELETE", "/v1/conversations/conv_1", Match.NO),
    ],
)
def test_only_what_begins_a_conversation_is_read(method: str, path: str, match: Match) -> None:
    assert CODEC.matches(CONVERSATIONS.head(method, path)) is match


@pytest.mark.parametrize("fields", [{}, {"items": None}, {"items": []}, {"metadata": {"a": "b"}}, {"items": [OWN]}])
def test_it_may_begin_empty(fields: dict[str, Any]) -> None:
    message = start(**fields)
    assert (message.method, message.target, message.references) == ("conversations", "", ())
    assert CONVERSATIONS.texts(message) == []
    assert CODEC.answers([message]) == (ConversationStarted, LlmError, Opaque)


def test_its_items_are_those_of_a_request_for_a_response() -> None:
    items = [{"role": "system", "content": "a"}, says("b"), {"type": "item_reference", "id": "i"}]
    message = start(items=items)
    assert message.references == (StoredObject(StoredKind.ITEM, "i"),)
    assert [piece.text for piece in CONVERSATIONS.texts(message)] == ["a", "b"]
    assert [piece.channel.role for piece in CONVERSATIONS.texts(message)] == ["system", "assistant"]
    changed = CODEC.with_texts(message, {1: "ü"})
    assert [piece.text for piece in CONVERSATIONS.texts(changed)] == ["a", "ü"]
    assert json.loads(changed.raw)["items"] == [items[0], says("ü"), items[2]]
    assert CODEC.with_texts(message, {}).raw == message.raw


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        ([], "openai-invalid"),
        ({"items": {}}, "openai-invalid"),
        ({"items": ["x"]}, "openai-invalid"),
        ({"items": [{"type": "item_reference"}]}, "openai-invalid"),
        ({"items": [{"type": "additional_tools", "tools": {}}]}, "openai-invalid"),
        ({"Items": []}, "ambiguous-key"),
        ({"items": [{"role": "user", "Content": "x"}]}, "ambiguous-key"),
    ],
)
def test_a_request_of_another_shape_is_malformed(value: Any, reason: str) -> None:
    message = CONVERSATIONS.read(value)
    assert isinstance(message, Opaque)
    assert (message.reason, message.malformed) == (reason, True)


def test_what_should_be_text_and_is_not_is_malformed() -> None:
    found = CODEC.texts(start(items=[{"role": "user", "content": [{"text": 5}]}]), DEFAULTS)
    assert isinstance(found, Opaque)
    assert found.malformed


@pytest.mark.parametrize("fields", [{"items": [HOSTED]}, {"inputs": "hello", "model": "m"}, {"items": [], "x": 1}])
def test_what_brings_hosted_tools_along_or_is_another_apis_is_opaque(fields: dict[str, Any]) -> None:
    message = CONVERSATIONS.read(fields)
    assert isinstance(message, Opaque)
    assert (message.reason, message.malformed) == ("conversation-unread", False)


def test_an_answer_names_the_conversation() -> None:
    frames, decoder = CONVERSATIONS.decoded(CONVERSATION, JSON)
    (message,) = messages_of(frames)
    assert isinstance(message, ConversationStarted)
    assert (message.method, message.handed_out) == ("conversations", (StoredObject(StoredKind.CONVERSATION, "conv_1"),))
    assert decoder.outcome is Outcome.OK
    assert CODEC.texts(message, DEFAULTS) == ()


def test_an_answer_without_an_id_names_nothing() -> None:
    (message,) = messages_of(CONVERSATIONS.decoded({}, JSON)[0])
    assert isinstance(message, ConversationStarted)
    assert message.handed_out == ()


@pytest.mark.parametrize("value", [{"id": 1}, {"ID": "c"}, []])
def test_an_answer_of_another_shape_is_malformed(value: Any) -> None:
    frames, decoder = CONVERSATIONS.decoded(value, JSON)
    (message,) = messages_of(frames)
    assert isinstance(message, Opaque)
    assert message.malformed
    assert decoder.outcome is Outcome.INVALID


@pytest.mark.parametrize("status", [200, 404])
def test_an_error_of_openais_is_one(status: int) -> None:
    frames, decoder = CONVERSATIONS.decoded({"error": {"message": "no"}}, answer_head(status))
    (message,) = messages_of(frames)
    assert isinstance(message, LlmError)
    assert (message.method, decoder.outcome) == ("conversations", Outcome.PROTOCOL_ERROR)


def test_a_conversation_comes_in_one_document() -> None:
    frames, decoder = CONVERSATIONS.decoded(encoded_event(CONVERSATION), STREAM)
    (message,) = messages_of(frames)
    assert isinstance(message, Opaque)
    assert message.malformed
    assert decoder.stream_end(Deny("no", "no"), "t") == b""


def test_a_denied_answer_is_an_error_of_openais() -> None:
    (message,) = messages_of(CONVERSATIONS.decoded(CONVERSATION, JSON)[0])
    refusal = CODEC.refusal(message, Deny("no", "not this", status=429), "t1")
    assert isinstance(refusal, LlmError)
    assert json.loads(refusal.raw)["error"]["code"] == "no"


VALUES: list[Any] = [{"items": [says("é")]}, CONVERSATION, {"items": [HOSTED]}, {}, []]
DOCUMENTS = st.sampled_from([encoded(value) for value in VALUES])


@given(mutilated(DOCUMENTS), CUTS, st.sampled_from([DEFAULTS, Limits(request_body=40, response_body=40)]))
@settings(max_examples=60)
def test_any_cutting_gives_the_same_frames(raw: bytes, cuts: list[int], limits: Limits) -> None:
    assert check(lambda: CODEC.request_decoder(CONVERSATIONS.head(), limits), raw, cuts)
    frames = check(lambda: CODEC.response_decoder((), CONVERSATIONS.head(), JSON, limits), raw, cuts)
    assert all(isinstance(message, tuple(CODEC.answers(()))) for message in messages_of(frames))
