"""codecs/llm_codec.py: what is the same for every format of models' APIs."""

from __future__ import annotations

import json

import pytest

from ext_proc.codecs.anthropic import AnthropicCodec
from ext_proc.codecs.gemini import GeminiCodec
from ext_proc.codecs.llm_codec import LlmCodec
from ext_proc.codecs.openai_chat import OpenAiChatCodec
from ext_proc.codecs.openai_completions import OpenAiCompletionsCodec
from ext_proc.codecs.openai_embeddings import OpenAiEmbeddingsCodec
from ext_proc.codecs.openai_responses import OpenAiResponsesCodec
from ext_proc.limits import DEFAULTS
from ext_proc.messages import LlmError, Opaque
from ext_proc.policy import Deny
from tests.unit.codecs.openai_building import answer_head, head

CODECS: list[LlmCodec] = [
    AnthropicCodec(),
    GeminiCodec(),
    OpenAiChatCodec(),
    OpenAiCompletionsCodec(),
    OpenAiEmbeddingsCodec(),
    OpenAiResponsesCodec(),
]
DENY = Deny("why", "not for you")


@pytest.mark.parametrize("codec", CODECS, ids=lambda codec: type(codec).__name__)
def test_an_error_stands_in_the_place_of_every_whole_answer_and_of_nothing_else(codec: LlmCodec) -> None:
    for kind in codec.whole:
        message = kind.__new__(kind)
        error = codec.refusal(message, DENY, "t-1")
        assert isinstance(error, LlmError)
        assert b"t-1" in error.raw
        assert b"why" in error.raw
        assert json.loads(error.raw) == error.value
    assert codec.refusal(Opaque("not-this", "no"), DENY, "t-1") is None


@pytest.mark.parametrize("codec", CODECS, ids=lambda codec: type(codec).__name__)
def test_a_denial_says_in_its_body_what_its_status_says(codec: LlmCodec) -> None:
    reply = codec.denial([(Opaque("too-large", "no", too_large=True), DENY)], head(), "t-1")
    assert reply.status == 413
    assert b"t-1" in reply.body
    assert json.loads(reply.body)["error"]["message"] == "not for you"


@pytest.mark.parametrize("codec", CODECS, ids=lambda codec: type(codec).__name__)
@pytest.mark.parametrize(
    ("type_", "streams", "readable"),
    [
        ("text/event-stream; charset=utf-8", True, True),
        ("application/json", False, True),
        ("text/html", False, False),
        ("application/json; charset=latin-1", False, False),
    ],
)
def test_an_answer_is_read_as_its_content_type_says(codec: LlmCodec, type_: str, streams: bool, readable: bool) -> None:
    response = answer_head(content_type=type_)
    assert (codec.streams(response), codec.readable(response)) == (streams, readable)


@pytest.mark.parametrize("codec", CODECS, ids=lambda codec: type(codec).__name__)
@pytest.mark.parametrize("body", [b"null", b"[1]", b"{", b'"a"'])
def test_a_success_that_is_no_object_is_malformed(codec: LlmCodec, body: bytes) -> None:
    decoder = codec.response_decoder([], head(), answer_head(), DEFAULTS)
    (message,) = [message for frame in (*decoder.feed(body), *decoder.close()) for message in frame.messages]
    assert isinstance(message, Opaque)
    assert message.malformed
