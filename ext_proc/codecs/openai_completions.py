"""OpenAI's codec for completions, the older API, and for what imitates it.

Rules:
- What is read: POST of plain JSON to a path that ends in /completions and not in /chat/completions. Mistral's
  fill-in-the-middle (/fim/completions) is asked alike and answered as a chat.

Not here: messages (openai_completions_messages.py), what an answer says (openai_chat_frames.py: it has chat's shape),
what all of OpenAI's have in common (openai_codec.py).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from ext_proc.codecs import openai_completions_messages
from ext_proc.codecs.codec import Decoder, Match
from ext_proc.codecs.llm_frames import AnswerReader, RequestDecoder
from ext_proc.codecs.openai_chat_answer import Answer
from ext_proc.codecs.openai_chat_frames import ChatReader
from ext_proc.codecs.openai_chat_messages import ChatCompletion
from ext_proc.codecs.openai_codec import OpenAiCodec
from ext_proc.codecs.openai_completions_messages import CompletionRequest, CompletionsError, from_client
from ext_proc.limits import Limits
from ext_proc.messages import Message, Opaque, Piece, RequestHead

_CHATS = "/chat/completions"
_IN_THE_MIDDLE = "/fim/completions"


class OpenAiCompletionsCodec(OpenAiCodec):
    """OpenAI's completions; see `codec.Codec`."""

    endings = ("/completions",)
    whole = (ChatCompletion,)  # the older ones are of a class below it
    error = CompletionsError

    def matches(self, head: RequestHead) -> Match:
        """YES for a request for a completion that is no chat, NO for any other: headers alone tell."""
        return Match.NO if head.path.endswith(_CHATS) else super().matches(head)

    def request_decoder(self, head: RequestHead, limits: Limits) -> Decoder:
        """A decoder for a POST's body: one frame, at its end."""
        return RequestDecoder(from_client, limits)

    def reader(
        self, requests: Sequence[Message], request: RequestHead, limits: Limits, *, failed: bool
    ) -> AnswerReader:
        """See `LlmCodec`."""
        legacy = not request.path.endswith(_IN_THE_MIDDLE)
        return ChatReader(Answer(requests, failed=failed, legacy=legacy), limits)

    def texts(self, message: Message, limits: Limits) -> Sequence[Piece] | Opaque:
        """The texts of a request; the frames of an answer have its own."""
        return openai_completions_messages.texts_of(message) if isinstance(message, CompletionRequest) else ()

    def with_texts(self, message: Message, texts: Mapping[int, str]) -> Message:
        """A request with other texts."""
        assert isinstance(message, CompletionRequest), "nothing else has texts of its own"
        return openai_completions_messages.with_texts(message, texts)
