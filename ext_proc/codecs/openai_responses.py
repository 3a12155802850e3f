"""OpenAI's codec for the Responses API.

Rules:
- What is read: POST of plain JSON to a path that ends in /responses. All else (fetching, cancelling or deleting a
  stored answer) is opaque.
- An answer is read as JSON or as server-sent events, as its content type says, whatever the request asked for.
- `answers` promises: no message of another class comes out of a decoder for these requests.

Not here: messages (openai_responses_messages.py), what an answer says (openai_responses_answer.py), texts
(openai_responses_texts.py), frames (llm_frames.py), errors (openai_chat_denials.py: they are the same).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from ext_proc.codecs import openai_chat_denials, openai_responses_messages
from ext_proc.codecs.codec import Decoder, Match
from ext_proc.codecs.content_types import EVENT_STREAM, JSON, plain_type
from ext_proc.codecs.llm_frames import AnswerDecoder, RequestDecoder, StreamDecoder
from ext_proc.codecs.openai_responses_answer import ResponsesReader
from ext_proc.codecs.openai_responses_messages import ResponsesAnswer, ResponsesError, ResponsesRequest, from_client
from ext_proc.limits import Limits
from ext_proc.messages import (
    Completion,
    CompletionChunk,
    HeadersOnly,
    LlmError,
    Message,
    Opaque,
    Piece,
    RequestHead,
    ResponseHead,
    encode_json,
)
from ext_proc.policy import Deny
from ext_proc.replies import ImmediateReply

_ANSWERS: tuple[type[Message], ...] = (Completion, CompletionChunk, LlmError, Opaque)


class OpenAiResponsesCodec:
    """OpenAI's responses; see `codec.Codec`."""

    name = "openai"

    def matches(self, head: RequestHead) -> Match:
        """YES for a request for a response, NO for any other: headers alone tell."""
        found = head.method == "POST" and head.path.endswith("/responses") and plain_type(head.headers) == JSON
        return Match.YES if found else Match.NO

    def transport_message(self, head: RequestHead) -> Message | None:
        """None: what is asked stands in a body."""
        return None

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
        reader = ResponsesReader(requests, limits, failed=not 200 <= response.status < 300)
        return StreamDecoder(reader, limits) if self.streams(response) else AnswerDecoder(reader, limits)

    def streams(self, response: ResponseHead) -> bool:
        """Whether the answer is an event stream."""
        return plain_type(response.headers) == EVENT_STREAM

    def readable(self, response: ResponseHead) -> bool:
        """Whether the answer is JSON or an event stream, in UTF-8."""
        return plain_type(response.headers) in (JSON, EVENT_STREAM)

    def answers(self, requests: Sequence[Message]) -> Sequence[type[Message]]:
        """The classes that can come back. A server may stream unasked, or answer whole what was to be streamed."""
        return _ANSWERS

    def denial(
        self, denials: Sequence[tuple[Message, Deny]], head: RequestHead, trail_id: str, *, batch: bool = False
    ) -> ImmediateReply:
        """An HTTP error with OpenAI's error object; see openai_chat_denials.py."""
        return openai_chat_denials.denial(denials, trail_id)

    def refusal(self, message: Message, deny: Deny, trail_id: str) -> Message | None:
        """The error in the place of a whole answer; None for an event: the engine ends the stream."""
        if not isinstance(message, ResponsesAnswer):
            return None
        value = openai_chat_denials.error_object(deny, trail_id, deny.status or 403)
        return ResponsesError(value, encode_json(value))

    def texts(self, message: Message, limits: Limits) -> Sequence[Piece] | Opaque:
        """The texts of a request; the frames of an answer have its own."""
        return openai_responses_messages.texts_of(message) if isinstance(message, ResponsesRequest) else ()

    def with_texts(self, message: Message, texts: Mapping[int, str]) -> Message:
        """A request with other texts."""
        assert isinstance(message, ResponsesRequest), "nothing else has texts of its own"
        return openai_responses_messages.with_texts(message, texts)

    def mirrored_headers(self, message: Message, head: RequestHead) -> Mapping[str, str]:
        """None: no header repeats the body."""
        return {}
