"""codecs/openai_embeddings: what is asked for vectors, and answers whose vectors nobody reads."""

from __future__ import annotations

import json
from functools import partial
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ext_proc.codecs import openai_embeddings_messages
from ext_proc.codecs.codec import Match
from ext_proc.limits import DEFAULTS, Limits
from ext_proc.messages import ChannelKind, Embedded, Embedding, LlmError, Opaque, Usage
from ext_proc.policy import Deny
from ext_proc.trail import Outcome
from tests.unit.codecs.openai_building import answer_head, encoded, messages_of
from tests.unit.codecs.openai_client import client
from tests.unit.codecs.openai_completions_building import EMBEDDINGS, vectors
from tests.unit.codecs.test_openai_chat_cutting import CUTS, check, mutilated

CODEC = EMBEDDINGS.codec
JSON, STREAM = answer_head(), answer_head(content_type="text/event-stream")


def asking(**fields: Any) -> dict[str, Any]:
    return {"model": "m", "input": "hello", **fields}


def embedding(**fields: Any) -> Embedding:
    message = EMBEDDINGS.read(asking(**fields))
    assert isinstance(message, Embedding)
    return message


def test_only_a_post_of_json_is_read() -> None:
    assert CODEC.matches(EMBEDDINGS.head()) is Match.YES
    assert CODEC.matches(EMBEDDINGS.head(content_type="text/plain")) is Match.NO
    assert CODEC.matches(EMBEDDINGS.head("GET")) is Match.NO


PICTURE = {"type": "image_url", "image_url": {"url": "data:"}}
PARTS = [{"type": "text", "text": "a"}, PICTURE]


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({}, ["hello"]),
        ({"input": ["a", "", "b"]}, ["a", "b"]),
        ({"input": [1, 2]}, []),
        ({"input": [[1, 2], [3]]}, []),
        ({"input": [{"content": PARTS}, {"text": "b"}, {"content": "c"}]}, ["a", "b", "c"]),
        ({"input": None, "messages": [{"role": "user", "content": PARTS}]}, ["a"]),
    ],
)
def test_what_is_asked_is_text_and_tokens_and_pictures_are_none(fields: dict[str, Any], expected: list[str]) -> None:
    message = embedding(**fields)
    found = EMBEDDINGS.texts(message)
    assert [piece.text for piece in found] == expected
    assert {piece.channel.kind for piece in found} <= {ChannelKind.CONTENT}
    changed = CODEC.with_texts(message, dict.fromkeys(range(len(found)), '"new"'))
    assert [piece.text for piece in EMBEDDINGS.texts(changed)] == ['"new"'] * len(found)
    assert [piece.channel for piece in EMBEDDINGS.texts(changed)] == [piece.channel for piece in found]
    assert CODEC.with_texts(message, {}).raw == message.raw


def test_a_request_tells_its_model() -> None:
    message = embedding(dimensions=3)
    assert (message.method, message.target, message.as_variables()["model"]) == ("embeddings", "m", "m")
    assert json.loads(message.with_model("b").raw) == asking(model="b", dimensions=3)
    assert CODEC.answers([message]) == (Embedded, LlmError, Opaque)


@pytest.mark.parametrize(
    "fields",
    [
        {"model": 1},
        {"input": 5},
        {"input": {"text": "a"}},
        {"input": ["a", 1]},
        {"input": ["a", {"text": "b"}]},
        {"messages": "a"},
        {"messages": []},
    ],
)
def test_a_request_of_another_shape_is_malformed(fields: dict[str, Any]) -> None:
    message = EMBEDDINGS.read(asking(**fields))
    assert isinstance(message, Opaque)
    assert (message.reason, message.malformed) == ("openai-invalid", True)


@pytest.mark.parametrize("each", [{"text": 5}, {"content": 5}, {"content": [5]}])
def test_what_should_be_text_and_is_not_is_malformed(each: Any) -> None:
    found = CODEC.texts(embedding(input=[each]), DEFAULTS)
    assert isinstance(found, Opaque)
    assert found.malformed


def test_a_key_that_differs_in_case_alone_is_malformed_in_both_directions() -> None:
    for message in (
        EMBEDDINGS.read(asking(Input="x")),
        *messages_of(EMBEDDINGS.decoded(vectors([0.5], Usage={}), JSON)[0]),
    ):
        assert isinstance(message, Opaque)
        assert (message.reason, message.malformed) == ("ambiguous-key", True)


@pytest.mark.parametrize("vector", [[0.5, -1.0], "AACAPw=="])
def test_an_answer_tells_its_model_and_usage_and_leaves_as_it_came(vector: Any) -> None:
    raw = encoded(vectors(vector, vector))
    (frame,), decoder = EMBEDDINGS.decoded(raw, JSON)
    (message,) = frame.messages
    assert isinstance(message, Embedded)
    assert (message.method, message.model, message.usage) == ("embeddings", "m", Usage(5, 0))
    assert (message.raw, frame.encode({}), frame.pieces, decoder.outcome) == (raw, raw, (), Outcome.OK)
    assert json.loads(message.with_model("alias").raw) == vectors(vector, vector, model="alias")
    assert decoder.unanswered == ()


def test_vectors_are_not_decoded_however_many_there_are() -> None:
    many = vectors(*[[0.25] * 1000] * 600)
    (message,) = messages_of(EMBEDDINGS.decoded(many, JSON, limits=Limits(json_values=50))[0])
    assert isinstance(message, Embedded)
    assert "data" not in message.value
    assert message.usage == Usage(5, 0)


@pytest.mark.parametrize(
    ("body", "response", "expected"),
    [
        (vectors([0.5]), JSON, Outcome.OK),
        (vectors([0.5], usage=None), JSON, Outcome.OK),
        (b"", JSON, Outcome.EMPTY),
        ({"error": {"message": "no"}}, JSON, Outcome.PROTOCOL_ERROR),
        ({"error": "model not found"}, answer_head(404), Outcome.PROTOCOL_ERROR),
        ({"object": "error", "message": "no"}, answer_head(400), Outcome.PROTOCOL_ERROR),
        (b"<html>", answer_head(502), Outcome.PROTOCOL_ERROR),
        ({"detail": "no"}, answer_head(422), Outcome.PROTOCOL_ERROR),
        (b"", answer_head(502), Outcome.PROTOCOL_ERROR),
        (b"{", JSON, Outcome.INVALID),
        ([], JSON, Outcome.INVALID),
        (b'{"data":' + b"[" * 100_000, JSON, Outcome.INVALID),
        (vectors([0.5], usage=[[[1]]]), JSON, Outcome.OK),
        (b"data: {}\n\n", STREAM, Outcome.INVALID),
    ],
)
def test_the_outcome_is_read_from_the_body(body: Any, response: Any, expected: Outcome) -> None:
    frames, decoder = EMBEDDINGS.decoded(body, response)
    assert decoder.outcome is expected
    assert all(isinstance(message, tuple(CODEC.answers(()))) for message in messages_of(frames))


def test_what_is_beside_the_vectors_is_bounded() -> None:
    (message,) = messages_of(EMBEDDINGS.decoded(vectors(usage=[[[1]]]), JSON, limits=Limits(json_depth=2))[0])
    assert isinstance(message, Opaque)
    assert (message.reason, message.malformed) == ("json-too-deep", True)


def test_an_error_stands_in_the_place_of_an_answer() -> None:
    (message,) = messages_of(EMBEDDINGS.decoded(vectors([0.5]), JSON)[0])
    refusal = CODEC.refusal(message, Deny("leak", "this may not leave"), "t1")
    assert isinstance(refusal, LlmError)
    assert (refusal.method, json.loads(refusal.raw)["error"]["trail"]) == ("embeddings", "t1")
    decoder = EMBEDDINGS.decoder(JSON)
    assert json.loads(decoder.stream_end(Deny("leak", "no"), "t1"))["error"]["code"] == "leak"
    assert EMBEDDINGS.decoder(STREAM).stream_end(Deny("leak", "no"), "t1") == b""


def test_the_official_client_reads_an_answer_by_another_name_of_the_model() -> None:
    (message,) = messages_of(EMBEDDINGS.decoded(vectors("AACAPw=="), JSON)[0])
    assert isinstance(message, openai_embeddings_messages.EmbeddingAnswer)
    with client(200, "application/json", message.with_model("alias").raw) as asked:
        answer = asked.embeddings.create(model="m", input="hello")
    assert (answer.model, answer.data[0].embedding) == ("alias", [1.0])


BODIES = st.sampled_from([vectors([0.5], "AA=="), asking(input=[1]), asking(), {"error": {"message": "no"}}, {}, [], 1])


@given(mutilated(BODIES.map(encoded)), CUTS)
@settings(max_examples=60)
def test_any_cutting_of_any_body_gives_the_same_frames(body: bytes, cuts: list[int]) -> None:
    asked, head = (embedding(),), EMBEDDINGS.head()
    check(partial(CODEC.request_decoder, head, DEFAULTS), body, cuts)
    for response in (JSON, answer_head(404), STREAM):
        for limits in (DEFAULTS, Limits(response_body=40, event=40)):
            check(partial(CODEC.response_decoder, asked, head, response, limits), body, cuts)
