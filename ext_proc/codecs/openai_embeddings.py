"""OpenAI's codec for embeddings, and for what imitates it.

Rules:
- What is read: POST of plain JSON to a path that ends in /embeddings. An answer is one document; there are no streams.

Not here: messages (openai_embeddings_messages.py), what all of OpenAI's have in common (openai_codec.py).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ext_proc.codecs import openai_embeddings_messages
from ext_proc.codecs.codec import Decoder
from ext_proc.codecs.llm_frames import AnswerReader, Part, RequestDecoder
from ext_proc.codecs.llm_reader import Reader
from ext_proc.codecs.opaques import malformed
from ext_proc.codecs.openai_chat_denials import error_object
from ext_proc.codecs.openai_chat_messages import says_error
from ext_proc.codecs.openai_codec import OpenAiCodec
from ext_proc.codecs.openai_embeddings_messages import (
    EmbeddingAnswer,
    EmbeddingRequest,
    EmbeddingsError,
    from_client,
    from_server,
)
from ext_proc.framing.sse import ServerSentEvent
from ext_proc.limits import Limits
from ext_proc.messages import Channel, Embedded, LlmError, Message, Opaque, Piece, RequestHead
from ext_proc.policy import Deny
from ext_proc.trail import Outcome


class EmbeddingsReader(Reader):
    """Reads one answer; see `llm_frames.AnswerReader`.

    Args:
        requests: what it answers.
        failed: whether the HTTP status is no success: then it need not be OpenAI's at all.
    """

    provider = "OpenAI"
    format = "openai"

    def document(self, data: bytes) -> Part:
        """See `AnswerReader`."""
        self._channels.finish()
        value = from_server(data, self._limits)
        if isinstance(value, Opaque):
            return self._unread(self._foreign(data) if self._failed and value.reason == "json-malformed" else value)
        if says_error(value):
            self._has_erred()
            return Part(EmbeddingsError(value, data))
        return self._unread(self._foreign(data)) if self._failed else Part(EmbeddingAnswer(value, data))

    def event(self, event: ServerSentEvent) -> Part:
        """See `AnswerReader`: no event is an answer to what was asked."""
        return self._unread(malformed("openai-invalid", "vectors come in one document", event.data or b""))

    def end(self, *, empty: bool, streamed: bool) -> None:
        """See `AnswerReader`."""
        if empty and not self._failed:
            self._worse(Outcome.EMPTY)

    def text_event(self, channel: Channel, text: str) -> bytes:
        """Nothing: there is no text."""
        return b""

    def ending(self, deny: Deny, trail_id: str, unsent: Sequence[Part]) -> bytes:
        """Nothing: there is no stream to end."""
        return b""

    def _error_object(self, deny: Deny, trail_id: str, status: int) -> Mapping[str, Any]:
        return error_object(deny, trail_id, status)


class OpenAiEmbeddingsCodec(OpenAiCodec):
    """OpenAI's embeddings; see `codec.Codec`."""

    endings = ("/embeddings",)
    whole = (EmbeddingAnswer,)
    error = EmbeddingsError
    results = (Embedded, LlmError, Opaque)

    def request_decoder(self, head: RequestHead, limits: Limits) -> Decoder:
        """A decoder for a POST's body: one frame, at its end."""
        return RequestDecoder(from_client, limits)

    def reader(
        self, requests: Sequence[Message], request: RequestHead, limits: Limits, *, failed: bool
    ) -> AnswerReader:
        """See `LlmCodec`."""
        return EmbeddingsReader(requests, limits, failed=failed)

    def texts(self, message: Message, limits: Limits) -> Sequence[Piece] | Opaque:
        """The texts of a request; an answer has none."""
        return openai_embeddings_messages.texts_of(message) if isinstance(message, EmbeddingRequest) else ()

    def with_texts(self, message: Message, texts: Mapping[int, str]) -> Message:
        """A request with other texts."""
        assert isinstance(message, EmbeddingRequest), "nothing else has texts of its own"
        return openai_embeddings_messages.with_texts(message, texts)
