"""OpenAI's codec for the Responses API.

Rules:
- What is read: POST of plain JSON to a path that ends in /responses. Compacting a stored answer is opaque, and so
  is counting its tokens.

Not here: messages (openai_responses_messages.py), what an answer says (openai_responses_answer.py), texts
(openai_responses_texts.py), frames (llm_frames.py), what all of OpenAI's have in common (openai_codec.py).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from ext_proc.codecs import openai_responses_messages
from ext_proc.codecs.codec import Decoder
from ext_proc.codecs.llm_frames import AnswerReader, RequestDecoder
from ext_proc.codecs.openai_codec import OpenAiCodec
from ext_proc.codecs.openai_responses_answer import ResponsesReader
from ext_proc.codecs.openai_responses_messages import ResponsesAnswer, ResponsesError, ResponsesRequest, from_client
from ext_proc.limits import Limits
from ext_proc.messages import Message, Opaque, Piece, RequestHead


class OpenAiResponsesCodec(OpenAiCodec):
    """OpenAI's responses; see `codec.Codec`."""

    endings = ("/responses",)
    whole = (ResponsesAnswer,)
    error = ResponsesError

    def request_decoder(self, head: RequestHead, limits: Limits) -> Decoder:
        """A decoder for a POST's body: one frame, at its end."""
        return RequestDecoder(from_client, limits)

    def reader(
        self, requests: Sequence[Message], request: RequestHead, limits: Limits, *, failed: bool
    ) -> AnswerReader:
        """See `LlmCodec`."""
        return ResponsesReader(requests, limits, failed=failed)

    def texts(self, message: Message, limits: Limits) -> Sequence[Piece] | Opaque:
        """The texts of a request; the frames of an answer have its own."""
        return openai_responses_messages.texts_of(message, limits) if isinstance(message, ResponsesRequest) else ()

    def with_texts(self, message: Message, texts: Mapping[int, str]) -> Message:
        """A request with other texts."""
        assert isinstance(message, ResponsesRequest), "nothing else has texts of its own"
        return openai_responses_messages.with_texts(message, texts)
