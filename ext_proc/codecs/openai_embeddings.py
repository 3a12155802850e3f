"""OpenAI's codec for embeddings, and for what imitates it.

Rules:
- What is read: POST of plain JSON to a path that ends in /embeddings. An answer is one document; there are no streams.

Not here: messages (openai_embeddings_messages.py), what all of OpenAI's have in common (openai_codec.py).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from ext_proc.codecs import openai_embeddings_messages
from ext_proc.codecs.codec import Decoder
from ext_proc.codecs.llm_frames import AnswerReader, Part, RequestDecoder, malformed
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
from ext_proc.messages import Channel, Embedded, LlmError, Message, Opaque, Piece, RequestHead, encode_json
from ext_proc.policy import Deny
from ext_proc.trail import Outcome


class EmbeddingsReader:
    """Reads one answer; see `llm_frames.AnswerReader`.

    Args:
        requests: what it answers.
        failed: whether the HTTP status is no success: then it need not be OpenAI's at all.
    """

    def __init__(self, requests: Sequence[Message], limits: Limits, *, failed: bool) -> None:
        self._requests = tuple(requests)
        self._limits = limits
        self._failed = failed
        self.done = False
        self.outcome = Outcome.PROTOCOL_ERROR if failed else Outcome.OK

    @property
    def unanswered(self) -> Sequence[Message]:
        """What was asked, until the answer is there."""
        return () if self.done else self._requests

    def document(self, data: bytes) -> Part:
        """See `AnswerReader`."""
        self.done = True
        value = from_server(data, self._limits)
        if isinstance(value, Opaque):
            foreign = Opaque("not-openai", "the server's own error is no message of OpenAI's", raw=data)
            return self._unread(foreign if self._failed and value.reason == "json-malformed" else value)
        if says_error(value):
            self.outcome = self.outcome.worse(Outcome.PROTOCOL_ERROR)
            return Part(EmbeddingsError(value, data))
        if self._failed:
            return self._unread(Opaque("not-openai", "the server's own error is no message of OpenAI's", raw=data))
        return Part(EmbeddingAnswer(value, data))

    def event(self, event: ServerSentEvent) -> Part:
        """See `AnswerReader`: no event is an answer to what was asked."""
        return self._unread(malformed("openai-invalid", "vectors come in one document", event.data or b""))

    def unread(self, message: Opaque) -> None:
        """See `AnswerReader`."""
        if message.malformed or message.too_large:
            self.outcome = self.outcome.worse(Outcome.INVALID)

    def end(self, *, empty: bool, streamed: bool) -> None:
        """See `AnswerReader`."""
        if empty and not self._failed:
            self.outcome = self.outcome.worse(Outcome.EMPTY)

    def error(self, deny: Deny, trail_id: str) -> bytes:
        """See `AnswerReader`."""
        return encode_json(error_object(deny, trail_id, deny.status or 403))

    def text_event(self, channel: Channel, text: str) -> bytes:
        """Nothing: there is no text."""
        return b""

    def ending(self, deny: Deny, trail_id: str, unsent: Sequence[Part]) -> bytes:
        """Nothing: there is no stream to end."""
        return b""

    def _unread(self, message: Opaque) -> Part:
        self.unread(message)
        return Part(message)


class OpenAiEmbeddingsCodec(OpenAiCodec):
    """OpenAI's embeddings; see `codec.Codec`."""

    endings = ("/embeddings",)
    whole = EmbeddingAnswer
    error = EmbeddingsError
    results = (Embedded, LlmError, Opaque)

    def request_decoder(self, head: RequestHead, limits: Limits) -> Decoder:
        """A decoder for a POST's body: one frame, at its end."""
        return RequestDecoder(from_client, limits)

    def reader(
        self, requests: Sequence[Message], request: RequestHead, limits: Limits, *, failed: bool
    ) -> AnswerReader:
        """See `OpenAiCodec`."""
        return EmbeddingsReader(requests, limits, failed=failed)

    def texts(self, message: Message, limits: Limits) -> Sequence[Piece] | Opaque:
        """The texts of a request; an answer has none."""
        return openai_embeddings_messages.texts_of(message) if isinstance(message, EmbeddingRequest) else ()

    def with_texts(self, message: Message, texts: Mapping[int, str]) -> Message:
        """A request with other texts."""
        assert isinstance(message, EmbeddingRequest), "nothing else has texts of its own"
        return openai_embeddings_messages.with_texts(message, texts)
