"""What all models' codecs have in common: one message per request, an answer as JSON or as events, errors by status.

Rules:
- An answer is read as JSON or as server-sent events, as its content type says, whatever the request asked for.
- `answers` promises: no message of another class comes out of a decoder for these requests.

Not here: which requests are a format's, its messages, what its answers say (each format's own files).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

from ext_proc.codecs.codec import Decoder
from ext_proc.codecs.content_types import EVENT_STREAM, JSON, plain_type
from ext_proc.codecs.error_replies import reply, status_of
from ext_proc.codecs.llm_frames import AnswerDecoder, AnswerReader, StreamDecoder
from ext_proc.limits import Limits
from ext_proc.messages import HeadersOnly, LlmError, Message, RequestHead, ResponseHead, encode_json
from ext_proc.policy import Deny
from ext_proc.replies import ImmediateReply


class LlmCodec:
    """A format of models' APIs; see `codec.Codec`.

    Attributes:
        whole: the classes of whole answers, in whose place an error may stand.
        error: the class of an error.
    """

    whole: ClassVar[tuple[type[Message], ...]]
    error: ClassVar[type[LlmError]]

    def error_object(self, deny: Deny, trail_id: str, status: int) -> Mapping[str, Any]:
        """The format's error object."""
        raise NotImplementedError

    def reader(
        self, requests: Sequence[Message], request: RequestHead, limits: Limits, *, failed: bool
    ) -> AnswerReader:
        """What reads the answer to `requests`.

        Args:
            failed: whether the HTTP status is no success.
        """
        raise NotImplementedError

    def transport_message(self, head: RequestHead) -> Message | None:
        """None: what is asked stands in a body."""
        return None

    def header_message(self, head: RequestHead) -> HeadersOnly | None:
        """None: policies are shown requests, not what headers say of them."""
        return None

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

    def denial(
        self, denials: Sequence[tuple[Message, Deny]], head: RequestHead, trail_id: str, *, batch: bool = False
    ) -> ImmediateReply:
        """An HTTP error with the format's error object; there are no batches."""
        message, deny = denials[0]
        status = status_of(message, deny)
        return reply(deny, status, self.error_object(deny, trail_id, status))

    def refusal(self, message: Message, deny: Deny, trail_id: str) -> Message | None:
        """The error in the place of a whole answer; None for an event: the engine ends the stream."""
        if not isinstance(message, self.whole):
            return None
        value = self.error_object(deny, trail_id, status_of(message, deny))
        return self.error(value, encode_json(value))

    def mirrored_headers(self, message: Message, head: RequestHead) -> Mapping[str, str]:
        """None: no header repeats the body."""
        return {}
