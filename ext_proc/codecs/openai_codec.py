"""What OpenAI's codecs have in common: POST of JSON to a path that tells the format, one shape of errors.

Rules:
- A path's end tells the format, for deployments and gateways put what they like before it. What no codec names is
  opaque: a stored response, one model, files, images, sound.
- An answer is read as JSON or as server-sent events, as its content type says, whatever the request asked for.
- `answers` promises: no message of another class comes out of a decoder for these requests.

Not here: any of the formats (openai_chat.py, openai_responses.py, openai_completions.py, openai_embeddings.py).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import ClassVar

from ext_proc.codecs import openai_chat_denials
from ext_proc.codecs.codec import Decoder, Match
from ext_proc.codecs.content_types import EVENT_STREAM, JSON, plain_type
from ext_proc.codecs.llm_frames import AnswerDecoder, AnswerReader, StreamDecoder
from ext_proc.limits import Limits
from ext_proc.messages import (
    Completion,
    CompletionChunk,
    HeadersOnly,
    LlmError,
    Message,
    Opaque,
    RequestHead,
    ResponseHead,
    encode_json,
)
from ext_proc.policy import Deny
from ext_proc.replies import ImmediateReply


class OpenAiCodec:
    """A format of OpenAI's; see `codec.Codec`.

    Attributes:
        endings: how the path of a request ends.
        whole: the class of a whole answer, in whose place an error may stand.
        error: the class of an error.
        results: the classes that can come back.
    """

    name = "openai"
    endings: ClassVar[tuple[str, ...]]
    whole: ClassVar[type[Message]]
    error: ClassVar[type[LlmError]]
    results: ClassVar[tuple[type[Message], ...]] = (Completion, CompletionChunk, LlmError, Opaque)

    def matches(self, head: RequestHead) -> Match:
        """YES for a request of the format, NO for any other: headers alone tell."""
        found = head.method == "POST" and head.path.endswith(self.endings) and plain_type(head.headers) == JSON
        return Match.YES if found else Match.NO

    def transport_message(self, head: RequestHead) -> Message | None:
        """None: what is asked stands in a body."""
        return None

    def header_message(self, head: RequestHead) -> HeadersOnly | None:
        """None: no header says what is asked."""
        return None

    def reader(
        self, requests: Sequence[Message], request: RequestHead, limits: Limits, *, failed: bool
    ) -> AnswerReader:
        """What reads the answer to `requests`.

        Args:
            failed: whether the HTTP status is no success.
        """
        raise NotImplementedError

    def response_decoder(
        self, requests: Sequence[Message], request: RequestHead, response: ResponseHead, limits: Limits
    ) -> Decoder:
        """A decoder for what answers `requests`: a frame per event, or one for a JSON body."""
        reader = self.reader(requests, request, limits, failed=not 200 <= response.status < 300)
        return StreamDecoder(reader, limits) if self.streams(response) else AnswerDecoder(reader, limits)

    def streams(self, response: ResponseHead) -> bool:
        """Whether the answer is an event stream."""
        return plain_type(response.headers) == EVENT_STREAM

    def readable(self, response: ResponseHead) -> bool:
        """Whether the answer is JSON or an event stream, in UTF-8."""
        return plain_type(response.headers) in (JSON, EVENT_STREAM)

    def answers(self, requests: Sequence[Message]) -> Sequence[type[Message]]:
        """The classes that can come back. A server may stream unasked, or answer whole what was to be streamed."""
        return self.results

    def denial(
        self, denials: Sequence[tuple[Message, Deny]], head: RequestHead, trail_id: str, *, batch: bool = False
    ) -> ImmediateReply:
        """An HTTP error with OpenAI's error object; see openai_chat_denials.py."""
        return openai_chat_denials.denial(denials, trail_id)

    def refusal(self, message: Message, deny: Deny, trail_id: str) -> Message | None:
        """The error in the place of a whole answer; None for an event: the engine ends the stream."""
        if not isinstance(message, self.whole):
            return None
        value = openai_chat_denials.error_object(deny, trail_id, openai_chat_denials.status_of(message, deny))
        return self.error(value, encode_json(value))

    def mirrored_headers(self, message: Message, head: RequestHead) -> Mapping[str, str]:
        """None: no header repeats the body."""
        return {}
