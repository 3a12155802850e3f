"""Language models' answers: what the readers of all formats know of one, and how they tell what cannot be read.

Rules:
- Behind an HTTP status that is no success anything may stand: what is no error of the format's is the server's own.
- After an error nothing more is awaited: official clients read no further.
- Cut off is a stream without its end; empty is an answer in which nothing was produced.

Not here: what a document or an event says (each format's own file), frames (llm_frames.py).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, ClassVar

from ext_proc.codecs.llm_channels import Channels
from ext_proc.codecs.llm_frames import Part
from ext_proc.codecs.llm_texts import Malformed, unreadable
from ext_proc.codecs.opaques import NO_JSON, malformed, unterminated
from ext_proc.framing.json_surrogates import parse_tolerant
from ext_proc.framing.json_view import JsonError
from ext_proc.framing.sse import ServerSentEvent, Span
from ext_proc.limits import Limits
from ext_proc.messages import Message, Opaque, encode_json
from ext_proc.policy import Deny
from ext_proc.trail import Outcome


class Reader:
    """Reads one answer; a base for each format's `llm_frames.AnswerReader`.

    Args:
        requests: what it answers.
        failed: whether the HTTP status is no success: then it need not be of the format at all.
        channels: how many there may be; None for the usual.

    Attributes:
        provider: whose format it is.
        format: as reasons name it.
    """

    provider: ClassVar[str]
    format: ClassVar[str]

    def __init__(
        self, requests: Sequence[Message], limits: Limits, *, failed: bool, channels: Channels | None = None
    ) -> None:
        self._requests = tuple(requests)
        self._limits = limits
        self._failed = failed
        self._channels = channels or Channels()
        self._produced = False
        self._erred = False
        self.outcome = Outcome.PROTOCOL_ERROR if failed else Outcome.OK

    @property
    def done(self) -> bool:
        """Whether the answer's own end was read."""
        return self._channels.done

    @property
    def unanswered(self) -> Sequence[Message]:
        """What was asked, as long as the answer goes on."""
        return () if self._channels.done or self._erred else self._requests

    def document(self, data: bytes) -> Part:
        """See `AnswerReader`."""
        return self._guarded(data, self._document)

    def event(self, event: ServerSentEvent) -> Part:
        """See `AnswerReader`."""
        data = event.data or b""
        if event.span is Span.UNTERMINATED:
            return self._unread(unterminated(data))
        return self._guarded(data, self._event)

    def unread(self, message: Opaque) -> None:
        """See `AnswerReader`."""
        if message.malformed or message.too_large:
            self._worse(Outcome.INVALID)

    def end(self, *, empty: bool, streamed: bool) -> None:
        """See `AnswerReader`."""
        if self._failed or self._erred:
            return
        if empty:
            self._worse(Outcome.EMPTY)
        elif streamed and not self.done:
            self._worse(Outcome.TRUNCATED)
        elif not self._produced:
            self._worse(Outcome.EMPTY)

    def error(self, deny: Deny, trail_id: str) -> bytes:
        """See `AnswerReader`."""
        return encode_json(self._error_object(deny, trail_id, deny.status or 403))

    def _document(self, value: Any, data: bytes) -> Part:
        """What a whole answer says.

        Raises:
            Malformed: it is none.
        """
        raise NotImplementedError

    def _event(self, value: Any, data: bytes) -> Part:
        """What an event's data says.

        Raises:
            Malformed: it is none of the format's.
        """
        raise NotImplementedError

    def _error_object(self, deny: Deny, trail_id: str, status: int) -> Mapping[str, Any]:
        """The format's error object."""
        raise NotImplementedError

    def _is_error(self, value: Mapping[str, Any]) -> bool:
        """Whether an object is an error of the format's."""
        return bool(value.get("error"))

    def _guarded(self, data: bytes, read: Callable[[Any, bytes], Part]) -> Part:
        """What `read` makes of JSON, or the message in the place of what cannot be read. Never raises."""
        try:
            value = parse_tolerant(data, self._limits.json_depth, self._limits.json_values)
            if self._failed and not (isinstance(value, dict) and self._is_error(value)):
                return self._unread(self._foreign(data))
            return read(value, data)
        except JsonError as error:
            own_page = self._failed and error.reason in NO_JSON
            return self._unread(self._foreign(data) if own_page else malformed(error.reason, error.detail, data))
        except Malformed as fault:
            return self._unread(unreadable(self.format, fault, data))

    def _foreign(self, raw: bytes) -> Opaque:
        """The server's own error."""
        detail = f"the server's own error is no message of {self.provider}'s"
        return Opaque(f"not-{self.provider.lower()}", detail, raw=raw)

    def _has_erred(self) -> None:
        """An error of the server's was read."""
        self._erred = True
        self._worse(Outcome.PROTOCOL_ERROR)

    def _unread(self, message: Opaque) -> Part:
        self.unread(message)
        return Part(message)

    def _worse(self, outcome: Outcome) -> None:
        self.outcome = self.outcome.worse(outcome)
