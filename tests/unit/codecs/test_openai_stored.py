"""OpenAI's codec for what it keeps: which paths are about what, and what is read of the answers.

Not here: whose it is (policies/test_stored_objects.py), what a response says (test_openai_responses_*.py).
"""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ext_proc.bundle.protocols import PROTOCOLS
from ext_proc.codecs.auto import candidates
from ext_proc.codecs.codec import Decoder, Match
from ext_proc.codecs.mcp import McpCodec
from ext_proc.codecs.openai_stored import OpenAiStoredCodec
from ext_proc.headers import Headers
from ext_proc.limits import DEFAULTS
from ext_proc.messages import (
    Completion,
    CompletionChunk,
    LlmError,
    Message,
    Opaque,
    RequestHead,
    StoredAnswer,
    StoredKind,
    StoredObject,
    StoredRequest,
)
from ext_proc.policy import Deny
from ext_proc.trail import Outcome
from tests.exchange.test_cutting import cut_at
from tests.unit.codecs.openai_building import STREAM, answer_head, drain, encoded
from tests.unit.codecs.openai_responses_building import answer, says, stream, talk

CODEC = OpenAiStoredCodec()
RESPONSE = StoredObject(StoredKind.RESPONSE, "resp_1")
CONVERSATION = StoredObject(StoredKind.CONVERSATION, "conv-1")


def head(method: str, path: str, **lines: str) -> RequestHead:
    return RequestHead(method, path, "example.test", Headers.of(**lines), end_of_stream=True)


@pytest.mark.parametrize(
    ("method", "path", "asked", "about"),
    [
        ("GET", "/v1/responses/resp_1", "responses.retrieve", RESPONSE),
        ("GET", "/openai/v1/responses/resp_1", "responses.retrieve", RESPONSE),
        ("DELETE", "/v1/responses/resp_1", "responses.delete", RESPONSE),
        ("POST", "/v1/responses/resp_1/cancel", "responses.cancel", RESPONSE),
        ("GET", "/v1/conversations/conv-1", "conversations.retrieve", CONVERSATION),
        ("DELETE", "/v1/conversations/conv-1", "conversations.delete", CONVERSATION),
    ],
)
def test_a_path_says_what_is_asked_and_of_what(method: str, path: str, asked: str, about: StoredObject) -> None:
    message = CODEC.transport_message(head(method, path))
    assert isinstance(message, StoredRequest)
    assert CODEC.matches(head(method, path)) is Match.YES
    assert (message.method, message.references, message.target) == (asked, (about,), "")
    assert about.id not in repr(message)


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("POST", "/v1/responses"),
        ("POST", "/v1/responses/resp_1"),
        ("GET", "/v1/responses"),
        ("GET", "/v1/responses/"),
        ("GET", "/v1/responses/resp_1/"),
        ("GET", "/v1/responses/resp_1/cancel"),
        ("DELETE", "/v1/responses/resp_1/cancel"),
        ("GET", "/v1/responses/resp_1/input_items"),
        ("GET", "/v1/responses/resp%5F1"),
        ("GET", "/v1/responses/.."),
        ("GET", "/v1/responses/" + "x" * 257),
        ("GET", "/v1/responses/r\u00e9sp"),
        ("GET", "/conversations/conv_1"),
        ("GET", "/v1/conversations/conv_1/items"),
        ("DELETE", "/v1/conversations/conv_1/items/msg_1"),
        ("POST", "/v1/conversations/conv_1"),
        ("HEAD", "/v1/responses/resp_1"),
        ("PUT", "/v1/responses/resp_1"),
    ],
)
def test_any_other_path_or_method_is_none_of_its(method: str, path: str) -> None:
    assert CODEC.matches(head(method, path)) is Match.NO
    assert CODEC.transport_message(head(method, path)) is None


def decoder(method: str, path: str, *, streams: bool = False, status: int = 200) -> Decoder:
    asked = head(method, path)
    message = CODEC.transport_message(asked)
    assert message is not None
    back = STREAM if streams else answer_head(status)
    return CODEC.response_decoder([message], asked, back, DEFAULTS)


def read(value: Any, *asked: str, **options: Any) -> tuple[list[Message], Outcome]:
    reader = decoder(*asked, **options)
    frames = drain(reader, encoded(value))
    assert b"".join(frame.raw for frame in frames) == encoded(value)
    return [message for frame in frames for message in frame.messages], reader.outcome


@pytest.mark.parametrize("asked", [("GET", "/v1/responses/resp_1"), ("POST", "/v1/responses/resp_1/cancel")])
def test_a_response_is_read_with_all_its_texts(asked: tuple[str, str]) -> None:
    (message,), outcome = read(answer(says("hello"), usage={"input_tokens": 1, "output_tokens": 2}), *asked)
    assert isinstance(message, Completion)
    assert [piece.text for piece in message.pieces] == ["hello"]
    assert outcome is Outcome.OK
    (begun,), outcome = read(answer(status="queued"), *asked)
    assert (isinstance(begun, Completion), outcome) == (True, Outcome.OK)


def test_a_response_may_be_fetched_as_a_stream() -> None:
    messages, outcome = read(stream(*talk("hel", "lo")), "GET", "/v1/responses/resp_1", streams=True)
    assert all(isinstance(message, CompletionChunk) for message in messages)
    assert outcome is Outcome.OK


@pytest.mark.parametrize(
    ("asked", "value"),
    [
        (("DELETE", "/v1/responses/resp_1"), {"id": "resp_1", "object": "response", "deleted": True}),
        (("GET", "/v1/conversations/conv_1"), {"id": "conv_1", "object": "conversation", "metadata": {}}),
        (("DELETE", "/v1/conversations/conv_1"), {"id": "conv_1", "object": "conversation.deleted", "deleted": True}),
    ],
)
def test_what_is_no_answer_of_the_models_says_that_something_is_there_or_was(asked: Any, value: Any) -> None:
    (message,), outcome = read(value, *asked)
    assert (type(message), outcome) == (StoredAnswer, Outcome.OK)


@pytest.mark.parametrize("asked", [("GET", "/v1/responses/resp_1"), ("DELETE", "/v1/responses/resp_1")])
def test_an_error_is_an_error(asked: tuple[str, str]) -> None:
    (message,), outcome = read({"error": {"message": "no such response"}}, *asked, status=404)
    assert (isinstance(message, LlmError), outcome) == (True, Outcome.PROTOCOL_ERROR)


@pytest.mark.parametrize("value", [[], "x", {"ID": "resp_1"}, {"id": 1}, b"{", b""])
def test_what_is_none_of_it_is_malformed_and_never_an_exception(value: Any) -> None:
    messages, outcome = read(value, "DELETE", "/v1/responses/resp_1")
    assert all(isinstance(message, Opaque) for message in messages)
    assert outcome is (Outcome.INVALID if value != b"" else Outcome.EMPTY)


def test_a_stream_where_a_document_is_due_is_malformed() -> None:
    messages, outcome = read(stream(*talk("hello")), "DELETE", "/v1/responses/resp_1", streams=True)
    assert all(isinstance(message, Opaque) for message in messages)
    assert outcome is not Outcome.OK
    ended = decoder("DELETE", "/v1/responses/resp_1", streams=True).stream_end(Deny("no", "no"), "t")
    assert ended == b""


@pytest.mark.parametrize(
    ("method", "path", "lines", "mcp"),
    [
        ("DELETE", "/v1/responses/resp_1", {}, False),
        ("GET", "/v1/responses/resp_1", {"accept": "text/event-stream"}, False),
        ("DELETE", "/v1/responses/resp_1", {"mcp_session_id": "s"}, True),
        ("GET", "/v1/responses/resp_1", {"mcp_session_id": "s"}, True),
        ("DELETE", "/v1/other", {}, True),
    ],
)
def test_beside_mcp_it_is_openais_unless_a_session_is_named(
    method: str, path: str, lines: dict[str, str], mcp: bool
) -> None:
    (found,) = candidates(PROTOCOLS["auto"].codecs(), head(method, path, **lines))
    assert isinstance(found, McpCodec) is mcp


@given(st.lists(st.integers(0, 300), max_size=6), st.integers(0, 120))
@settings(max_examples=60, deadline=None)
def test_at_any_cutting_and_any_end_the_same_is_read(where: list[int], end: int) -> None:
    body = encoded({"id": "resp_1", "object": "response", "deleted": True})[:end]
    one, other = (decoder("DELETE", "/v1/responses/resp_1") for _ in range(2))
    cut, whole = drain(one, *cut_at(body, where)), drain(other, body)
    assert [type(m) for frame in cut for m in frame.messages] == [type(m) for frame in whole for m in frame.messages]
    assert one.outcome is other.outcome
