"""Anthropic's codec: the Messages API, and counting tokens for it.

Rules:
- What is read: POST of plain JSON to a path that ends in /messages or /messages/count_tokens (but not in a thread,
  which is another API's), and GET of one that ends in /models. All else on a governed route is opaque.

Not here: messages (anthropic_messages.py), what an answer says (anthropic_answer.py), texts (anthropic_texts.py,
anthropic_request_texts.py), frames (llm_frames.py), denials (anthropic_denials.py), what all models'
codecs have in common (llm_codec.py).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

from ext_proc.codecs import anthropic_request_texts
from ext_proc.codecs.anthropic_answer import MessageReader
from ext_proc.codecs.anthropic_denials import error_object
from ext_proc.codecs.anthropic_messages import (
    Counted,
    CountRequest,
    MessageAnswer,
    MessageError,
    MessagesRequest,
    from_client,
)
from ext_proc.codecs.codec import Decoder, Match
from ext_proc.codecs.content_types import JSON, plain_type
from ext_proc.codecs.llm_codec import LlmCodec
from ext_proc.codecs.llm_frames import AnswerReader, RequestDecoder
from ext_proc.limits import Limits
from ext_proc.messages import (
    Completion,
    CompletionChunk,
    LlmError,
    Message,
    ModelListing,
    Opaque,
    Piece,
    RequestHead,
    TokenCount,
    TokenCounted,
)
from ext_proc.policy import Deny

_ALWAYS: tuple[type[Message], ...] = (LlmError, Opaque)
_GENERATED: tuple[type[Message], ...] = (Completion, CompletionChunk, *_ALWAYS)
_COUNTED: tuple[type[Message], ...] = (TokenCounted, CompletionChunk, *_ALWAYS)


class AnthropicCodec(LlmCodec):
    """Anthropic's Messages API; see `codec.Codec`."""

    name = "anthropic"
    whole = (MessageAnswer, Counted)
    error = MessageError

    def matches(self, head: RequestHead) -> Match:
        """YES for a message, for counting its tokens and for the list of models, NO for any other."""
        path = head.path
        if head.method == "GET":
            return Match.YES if path.endswith("/models") else Match.NO
        found = path.endswith("/messages/count_tokens") or (path.endswith("/messages") and "/threads/" not in path)
        return Match.YES if found and head.method == "POST" and plain_type(head.headers) == JSON else Match.NO

    def transport_message(self, head: RequestHead) -> Message | None:
        """The message of a GET; None for a POST."""
        return ModelListing(b"") if head.method == "GET" else None

    def request_decoder(self, head: RequestHead, limits: Limits) -> Decoder:
        """A decoder for a POST's body: one frame, at its end."""
        kind = CountRequest if head.path.endswith("/count_tokens") else MessagesRequest
        return RequestDecoder(partial(from_client, kind=kind), limits)

    def reader(
        self, requests: Sequence[Message], request: RequestHead, limits: Limits, *, failed: bool
    ) -> AnswerReader:
        """See `LlmCodec`."""
        return MessageReader(requests, limits, failed=failed)

    def error_object(self, deny: Deny, trail_id: str, status: int) -> Mapping[str, Any]:
        """See `LlmCodec`."""
        return error_object(deny, trail_id, status)

    def answers(self, requests: Sequence[Message]) -> Sequence[type[Message]]:
        """The classes that can come back. A server may stream unasked, or answer whole what was to be streamed."""
        if any(isinstance(request, ModelListing) for request in requests):
            return _ALWAYS
        return _COUNTED if any(isinstance(request, TokenCount) for request in requests) else _GENERATED

    def texts(self, message: Message, limits: Limits) -> Sequence[Piece] | Opaque:
        """The texts of a request; the frames of an answer have its own."""
        if isinstance(message, MessagesRequest | CountRequest):
            return anthropic_request_texts.texts_of(message)
        return ()

    def with_texts(self, message: Message, texts: Mapping[int, str]) -> Message:
        """A request with other texts."""
        assert isinstance(message, MessagesRequest | CountRequest), "nothing else has texts of its own"
        return anthropic_request_texts.with_texts(message, texts)
