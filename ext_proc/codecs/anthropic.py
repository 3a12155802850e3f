"""Anthropic's codec: the Messages API, and counting tokens for it.

Rules:
- What is read: POST of plain JSON to a path that ends in /messages or /messages/count_tokens (but not in a thread,
  which is another API's), and GET of one that ends in /models. All else on a governed route is opaque.
- An answer is read as JSON or as server-sent events, as its content type says, whatever the request asked for.
- `answers` promises: no message of another class comes out of a decoder for these requests.

Not here: messages (anthropic_messages.py), what an answer says (anthropic_answer.py), texts (anthropic_texts.py,
anthropic_request_texts.py), frames (llm_frames.py), denials (anthropic_denials.py).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial

from ext_proc.codecs import anthropic_denials, anthropic_request_texts
from ext_proc.codecs.anthropic_answer import MessageReader
from ext_proc.codecs.anthropic_messages import CountRequest, MessagesRequest, from_client
from ext_proc.codecs.codec import Decoder, Match
from ext_proc.codecs.content_types import EVENT_STREAM, JSON, plain_type
from ext_proc.codecs.llm_frames import AnswerDecoder, RequestDecoder, StreamDecoder
from ext_proc.limits import Limits
from ext_proc.messages import (
    Completion,
    CompletionChunk,
    HeadersOnly,
    LlmError,
    Message,
    ModelListing,
    Opaque,
    Piece,
    RequestHead,
    ResponseHead,
    TokenCount,
    TokenCounted,
)
from ext_proc.policy import Deny
from ext_proc.replies import ImmediateReply

_ALWAYS: tuple[type[Message], ...] = (LlmError, Opaque)
_GENERATED: tuple[type[Message], ...] = (Completion, CompletionChunk, *_ALWAYS)
_COUNTED: tuple[type[Message], ...] = (TokenCounted, CompletionChunk, *_ALWAYS)


class AnthropicCodec:
    """Anthropic's Messages API; see `codec.Codec`."""

    name = "anthropic"

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

    def header_message(self, head: RequestHead) -> HeadersOnly | None:
        """None: no header says what is asked."""
        return None

    def request_decoder(self, head: RequestHead, limits: Limits) -> Decoder:
        """A decoder for a POST's body: one frame, at its end."""
        kind = CountRequest if head.path.endswith("/count_tokens") else MessagesRequest
        return RequestDecoder(partial(from_client, kind=kind), limits)

    def response_decoder(
        self, requests: Sequence[Message], request: RequestHead, response: ResponseHead, limits: Limits
    ) -> Decoder:
        """A decoder for what answers `requests`: a frame per event, or one for a JSON body."""
        reader = MessageReader(requests, limits, failed=not 200 <= response.status < 300)
        return StreamDecoder(reader, limits) if self.streams(response) else AnswerDecoder(reader, limits)

    def streams(self, response: ResponseHead) -> bool:
        """Whether the answer is an event stream."""
        return plain_type(response.headers) == EVENT_STREAM

    def readable(self, response: ResponseHead) -> bool:
        """Whether the answer is JSON or an event stream, in UTF-8."""
        return plain_type(response.headers) in (JSON, EVENT_STREAM)

    def answers(self, requests: Sequence[Message]) -> Sequence[type[Message]]:
        """The classes that can come back. A server may stream unasked, or answer whole what was to be streamed."""
        if any(isinstance(request, ModelListing) for request in requests):
            return _ALWAYS
        return _COUNTED if any(isinstance(request, TokenCount) for request in requests) else _GENERATED

    def denial(
        self, denials: Sequence[tuple[Message, Deny]], head: RequestHead, trail_id: str, *, batch: bool = False
    ) -> ImmediateReply:
        """An HTTP error with Anthropic's error object; see anthropic_denials.py."""
        return anthropic_denials.denial(denials, trail_id)

    def refusal(self, message: Message, deny: Deny, trail_id: str) -> Message | None:
        """The error in the place of a whole answer; None for an event: the engine ends the stream."""
        return anthropic_denials.refusal(message, deny, trail_id)

    def texts(self, message: Message, limits: Limits) -> Sequence[Piece] | Opaque:
        """The texts of a request; the frames of an answer have its own."""
        if isinstance(message, MessagesRequest | CountRequest):
            return anthropic_request_texts.texts_of(message)
        return ()

    def with_texts(self, message: Message, texts: Mapping[int, str]) -> Message:
        """A request with other texts."""
        assert isinstance(message, MessagesRequest | CountRequest), "nothing else has texts of its own"
        return anthropic_request_texts.with_texts(message, texts)

    def mirrored_headers(self, message: Message, head: RequestHead) -> Mapping[str, str]:
        """None: no header repeats the body."""
        return {}
