"""OpenAI's codec: chat completions, as OpenAI and the many servers that imitate it speak them.

Rules:
- What is read: POST of plain JSON to a path that ends in /chat/completions, and GET of one that ends in /models. All
  else on a governed route is opaque.
- An answer is read as JSON or as server-sent events, as its content type says, whatever the request asked for.
- `answers` promises: no message of another class comes out of a decoder for these requests.

Not here: frames (llm_frames.py, openai_chat_frames.py), messages (openai_chat_messages.py), texts and channels
(openai_chat_texts.py, openai_chat_request_texts.py), denials (openai_chat_denials.py).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from ext_proc.codecs import openai_chat_denials, openai_chat_request_texts
from ext_proc.codecs.codec import Decoder, Match
from ext_proc.codecs.content_types import EVENT_STREAM, JSON, plain_type
from ext_proc.codecs.llm_frames import AnswerDecoder, RequestDecoder, StreamDecoder
from ext_proc.codecs.openai_chat_answer import Answer
from ext_proc.codecs.openai_chat_frames import ChatReader
from ext_proc.codecs.openai_chat_messages import ChatRequest, from_client
from ext_proc.limits import Limits
from ext_proc.messages import (
    Completion,
    CompletionChunk,
    Generation,
    HeadersOnly,
    LlmError,
    Message,
    ModelListing,
    Opaque,
    Piece,
    RequestHead,
    ResponseHead,
)
from ext_proc.policy import Deny
from ext_proc.replies import ImmediateReply

_ALWAYS: tuple[type[Message], ...] = (LlmError, Opaque)
_ANYTHING: tuple[type[Message], ...] = (Completion, CompletionChunk, *_ALWAYS)


class OpenAiChatCodec:
    """OpenAI's chat completions; see `codec.Codec`."""

    name = "openai"

    def matches(self, head: RequestHead) -> Match:
        """YES for a chat request and for the list of models, NO for any other: headers alone tell."""
        if head.method == "POST":
            found = head.path.endswith("/chat/completions") and plain_type(head.headers) == JSON
        else:
            found = head.method == "GET" and head.path.endswith("/models")
        return Match.YES if found else Match.NO

    def transport_message(self, head: RequestHead) -> Message | None:
        """The message of a GET; None for a POST."""
        return ModelListing(b"") if head.method == "GET" else None

    def header_message(self, head: RequestHead) -> HeadersOnly | None:
        """None: no header says what is asked."""
        return None

    def request_decoder(self, head: RequestHead, limits: Limits) -> Decoder:
        """A decoder for a POST's body: one frame, at its end."""
        return RequestDecoder(from_client, limits)

    def response_decoder(
        self, requests: Sequence[Message], request: RequestHead, response: ResponseHead, limits: Limits
    ) -> Decoder:
        """A decoder for what answers `requests`: a frame per event, or one for a JSON body."""
        reader = ChatReader(Answer(requests, failed=not 200 <= response.status < 300), limits)
        return StreamDecoder(reader, limits) if self.streams(response) else AnswerDecoder(reader, limits)

    def streams(self, response: ResponseHead) -> bool:
        """Whether the answer is an event stream."""
        return plain_type(response.headers) == EVENT_STREAM

    def readable(self, response: ResponseHead) -> bool:
        """Whether the answer is JSON or an event stream, in UTF-8."""
        return plain_type(response.headers) in (JSON, EVENT_STREAM)

    def answers(self, requests: Sequence[Message]) -> Sequence[type[Message]]:
        """The classes that can come back. A server may stream unasked, or answer whole what was to be streamed."""
        if requests and not any(isinstance(request, Generation) for request in requests):
            return _ALWAYS
        return _ANYTHING

    def denial(
        self, denials: Sequence[tuple[Message, Deny]], head: RequestHead, trail_id: str, *, batch: bool = False
    ) -> ImmediateReply:
        """An HTTP error with OpenAI's error object; see openai_chat_denials.py."""
        return openai_chat_denials.denial(denials, trail_id)

    def refusal(self, message: Message, deny: Deny, trail_id: str) -> Message | None:
        """The error in the place of a whole answer; None for an event: the engine ends the stream."""
        return openai_chat_denials.refusal(message, deny, trail_id)

    def texts(self, message: Message, limits: Limits) -> Sequence[Piece] | Opaque:
        """The texts of a request; the frames of an answer have its own."""
        return openai_chat_request_texts.texts_of(message, limits) if isinstance(message, ChatRequest) else ()

    def with_texts(self, message: Message, texts: Mapping[int, str]) -> Message:
        """A request with other texts."""
        assert isinstance(message, ChatRequest), "nothing else has texts of its own"
        return openai_chat_request_texts.with_texts(message, texts)

    def mirrored_headers(self, message: Message, head: RequestHead) -> Mapping[str, str]:
        """None: no header repeats the body."""
        return {}
