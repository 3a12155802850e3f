"""OpenAI's codec: chat completions, as OpenAI and the many servers that imitate it speak them.

Rules:
- What is read: POST of plain JSON to a path that ends in /chat/completions, and GET of one that ends in /models. One
  model by its name, and stored completions, are opaque.

Not here: frames (llm_frames.py, openai_chat_frames.py), messages (openai_chat_messages.py), texts and channels
(openai_chat_texts.py, openai_chat_request_texts.py), denials (openai_chat_denials.py), what all of OpenAI's have in
common (openai_codec.py).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from ext_proc.codecs import openai_chat_request_texts
from ext_proc.codecs.codec import Decoder, Match
from ext_proc.codecs.llm_frames import AnswerReader, RequestDecoder
from ext_proc.codecs.openai_chat_answer import Answer
from ext_proc.codecs.openai_chat_frames import ChatReader
from ext_proc.codecs.openai_chat_messages import ChatCompletion, ChatError, ChatRequest, from_client
from ext_proc.codecs.openai_codec import OpenAiCodec
from ext_proc.limits import Limits
from ext_proc.messages import (
    Generation,
    LlmError,
    Message,
    ModelListing,
    Opaque,
    Piece,
    RequestHead,
)

_ALWAYS: tuple[type[Message], ...] = (LlmError, Opaque)


class OpenAiChatCodec(OpenAiCodec):
    """OpenAI's chat completions; see `codec.Codec`."""

    endings = ("/chat/completions",)
    whole = (ChatCompletion,)
    error = ChatError

    def matches(self, head: RequestHead) -> Match:
        """YES for a chat request and for the list of models, NO for any other: headers alone tell."""
        if head.method == "GET" and head.path.endswith("/models"):
            return Match.YES
        return super().matches(head)

    def transport_message(self, head: RequestHead) -> Message | None:
        """The message of a GET; None for a POST."""
        return ModelListing(b"") if head.method == "GET" else None

    def request_decoder(self, head: RequestHead, limits: Limits) -> Decoder:
        """A decoder for a POST's body: one frame, at its end."""
        return RequestDecoder(from_client, limits)

    def reader(
        self, requests: Sequence[Message], request: RequestHead, limits: Limits, *, failed: bool
    ) -> AnswerReader:
        """See `LlmCodec`."""
        return ChatReader(Answer(requests, failed=failed), limits)

    def answers(self, requests: Sequence[Message]) -> Sequence[type[Message]]:
        """The classes that can come back. A server may stream unasked, or answer whole what was to be streamed."""
        if requests and not any(isinstance(request, Generation) for request in requests):
            return _ALWAYS
        return self.results

    def texts(self, message: Message, limits: Limits) -> Sequence[Piece] | Opaque:
        """The texts of a request; the frames of an answer have its own."""
        return openai_chat_request_texts.texts_of(message, limits) if isinstance(message, ChatRequest) else ()

    def with_texts(self, message: Message, texts: Mapping[int, str]) -> Message:
        """A request with other texts."""
        assert isinstance(message, ChatRequest), "nothing else has texts of its own"
        return openai_chat_request_texts.with_texts(message, texts)
