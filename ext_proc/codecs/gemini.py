"""Gemini's codec: generating content, counting tokens and embeddings, of the Gemini API and of Vertex AI.

Rules:
- What is asked stands in the path behind the model: `.../models/MODEL:generateContent`. Other actions are opaque.
- Another model is another path: `mirrored_headers` writes it, so that Envoy routes and the server reads the same.
- JSON that answers `streamGenerateContent` is an array of pieces.

Not here: messages (gemini_messages.py), what an answer says (gemini_answer.py), how it comes in pieces
(gemini_streams.py, gemini_arrays.py), texts (gemini_texts.py, gemini_request_texts.py), denials (gemini_denials.py),
what all models' codecs have in common (llm_codec.py).
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any
from urllib.parse import quote, unquote

from ext_proc.codecs import gemini_request_texts
from ext_proc.codecs.codec import Decoder, Match
from ext_proc.codecs.content_types import JSON, plain_type
from ext_proc.codecs.gemini_answer import GeminiReader
from ext_proc.codecs.gemini_arrays import ArrayDecoder
from ext_proc.codecs.gemini_denials import error_object
from ext_proc.codecs.gemini_messages import (
    GeminiAnswer,
    GeminiCount,
    GeminiCounted,
    GeminiEmbedded,
    GeminiEmbedding,
    GeminiError,
    GeminiRequest,
    from_client,
)
from ext_proc.codecs.gemini_streams import EventDecoder
from ext_proc.codecs.llm_codec import LlmCodec
from ext_proc.codecs.llm_frames import AnswerDecoder, RequestDecoder
from ext_proc.limits import Limits
from ext_proc.messages import (
    Completion,
    CompletionChunk,
    Embedded,
    Embedding,
    LlmError,
    Message,
    Opaque,
    Piece,
    RequestHead,
    ResponseHead,
    TokenCount,
    TokenCounted,
)
from ext_proc.policy import Deny

_PATH = re.compile(
    r"(?P<before>.*/(?:models|tunedModels|endpoints)/)(?P<model>[^/:]+)"
    r":(?P<action>generateContent|streamGenerateContent|countTokens|embedContent|batchEmbedContents)"
)
_ALWAYS: tuple[type[Message], ...] = (LlmError, Opaque)
_REQUESTS = (GeminiRequest, GeminiCount, GeminiEmbedding)


class GeminiCodec(LlmCodec):
    """Google's Gemini; see `codec.Codec`."""

    name = "gemini"
    whole = (GeminiAnswer, GeminiCounted, GeminiEmbedded)
    error = GeminiError

    def matches(self, head: RequestHead) -> Match:
        """YES for the actions that are read, NO for any other: headers alone tell."""
        found = head.method == "POST" and plain_type(head.headers) == JSON and _PATH.fullmatch(head.path)
        return Match.YES if found else Match.NO

    def request_decoder(self, head: RequestHead, limits: Limits) -> Decoder:
        """A decoder for a POST's body: one frame, at its end."""
        model, action = _asked(head)
        return RequestDecoder(partial(from_client, model=model, action=action), limits)

    def reader(
        self, requests: Sequence[Message], request: RequestHead, limits: Limits, *, failed: bool
    ) -> GeminiReader:
        """See `LlmCodec`."""
        return GeminiReader(requests, limits, failed=failed)

    def response_decoder(
        self, requests: Sequence[Message], request: RequestHead, response: ResponseHead, limits: Limits
    ) -> Decoder:
        """A decoder for what answers `requests`: a frame per event or element, or one for a JSON body."""
        reader = self.reader(requests, request, limits, failed=not 200 <= response.status < 300)
        if self.streams(response):
            return EventDecoder(reader, limits)
        if _asked(request)[1] == "streamGenerateContent":
            return ArrayDecoder(reader, limits)
        return AnswerDecoder(reader, limits)

    def error_object(self, deny: Deny, trail_id: str, status: int) -> Mapping[str, Any]:
        """See `LlmCodec`."""
        return error_object(deny, trail_id, status)

    def answers(self, requests: Sequence[Message]) -> Sequence[type[Message]]:
        """The classes that can come back."""
        if any(isinstance(request, TokenCount) for request in requests):
            return (TokenCounted, *_ALWAYS)
        if any(isinstance(request, Embedding) for request in requests):
            return (Embedded, *_ALWAYS)
        return (Completion, CompletionChunk, *_ALWAYS)

    def texts(self, message: Message, limits: Limits) -> Sequence[Piece] | Opaque:
        """The texts of a request; the frames of an answer have its own."""
        return gemini_request_texts.texts_of(message) if isinstance(message, _REQUESTS) else ()

    def with_texts(self, message: Message, texts: Mapping[int, str]) -> Message:
        """A request with other texts."""
        assert isinstance(message, _REQUESTS), "nothing else has texts of its own"
        return gemini_request_texts.with_texts(message, texts)

    def mirrored_headers(self, message: Message, head: RequestHead) -> Mapping[str, str]:
        """The path, which names the model."""
        found = _PATH.fullmatch(head.path)
        if found is None or not isinstance(message, _REQUESTS):
            return {}
        named = unquote(found["model"]) == message.model
        model = found["model"] if named else quote(message.model, safe="@")
        path = f"{found['before']}{model}:{found['action']}"
        return {":path": f"{path}?{head.query}" if head.query else path}


def _asked(head: RequestHead) -> tuple[str, str]:
    """The model and the action of a request's path."""
    found = _PATH.fullmatch(head.path)
    return (unquote(found["model"]), found["action"]) if found else ("", "")
