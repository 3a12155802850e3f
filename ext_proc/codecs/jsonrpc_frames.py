"""JSON-RPC: frames of a body, as one JSON document or as server-sent events, and the messages in them.

Rules:
- What nobody changed leaves as its own bytes: a frame, an element of a batch, every line of an event but its data.
- A dropped event leaves its `id` behind, so that a client resumes after it (Last-Event-ID).
- Messages that join go to the end of an array, or follow as events of their own. They go before what is no whole event:
  behind it they would become part of it.
- Every span of what is too large is an `Opaque` of its own: where the first is dropped no rest may pass.
- An event without data carries no message (a comment, or the empty event with an id that primes a stream).

Not here: which messages the values are, and what they say of the exchange (mcp_frames.py, a2a_frames.py); how events
are cut (framing/sse.py).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import msgspec

from ext_proc.codecs.codec import NO_TEXTS, Frame
from ext_proc.codecs.opaques import too_large, unterminated
from ext_proc.framing.body import WholeBody
from ext_proc.framing.json_view import JsonError, parse
from ext_proc.framing.sse import EventSplitter, ServerSentEvent, Span, encode_event, with_data, without_data
from ext_proc.limits import Limits
from ext_proc.messages import Channel, Message, Opaque, Piece
from ext_proc.policy import Deny
from ext_proc.trail import Outcome

_ELEMENTS = msgspec.json.Decoder(list[msgspec.Raw])

Changes = Mapping[int, Message | None]


@dataclass(frozen=True, slots=True)
class Payload:
    """A JSON document with its messages: one, or those of an array."""

    messages: tuple[Message, ...] = ()
    is_array: bool = False

    def encode(self, changes: Changes, joined: Sequence[Message] = ()) -> bytes:
        """The document anew; b"" where nothing is left of it."""
        kept = [changes.get(index, message) for index, message in enumerate(self.messages)]
        parts = [message.raw for message in (*kept, *joined) if message is not None]
        if len(parts) > 1 or (parts and self.is_array):
            return b"[" + b",".join(parts) + b"]"
        return b"".join(parts)


class _Carrier:
    """What has a document with messages."""

    __slots__ = ()
    payload: Payload

    @property
    def messages(self) -> Sequence[Message]:
        return self.payload.messages

    @property
    def batch(self) -> bool:
        return self.payload.is_array

    @property
    def pieces(self) -> Sequence[Piece]:
        return ()  # JSON-RPC's texts are whole: see `Codec.texts`

    @property
    def closes(self) -> Sequence[int]:
        return ()


@dataclass(frozen=True, slots=True)
class JsonFrame(_Carrier):
    """A whole body, or a span of one that is too large."""

    raw: bytes = field(repr=False)
    payload: Payload

    def encode(self, changes: Changes, joined: Sequence[Message] = (), texts: Mapping[int, str] = NO_TEXTS) -> bytes:
        """See `codec.Frame`."""
        changes = _real(changes, self.messages)
        return self.payload.encode(changes, joined) if changes or joined else self.raw


@dataclass(frozen=True, slots=True)
class EventFrame(_Carrier):
    """A server-sent event, or a span of one that is too large."""

    event: ServerSentEvent
    payload: Payload

    @property
    def raw(self) -> bytes:
        return self.event.raw

    def encode(self, changes: Changes, joined: Sequence[Message] = (), texts: Mapping[int, str] = NO_TEXTS) -> bytes:
        """See `codec.Frame`."""
        own = self.raw
        changes = _real(changes, self.messages)
        if changes:
            data = self.payload.encode(changes)
            own = with_data(self.event, data) if data else without_data(self.event)
        others = b"".join(encode_event(message.raw) for message in joined)
        return own + others if self.event.span is Span.EVENT else others + own


class Reader(Protocol):
    """What the values of one direction are to a protocol."""

    def message(self, value: Any, raw: bytes) -> Message: ...

    def batch(self, values: Sequence[Any], raws: Sequence[bytes]) -> Sequence[Message]: ...

    def batch_fault(self, values: Sequence[Any], raw: bytes) -> Opaque | None:
        """Why these values must not be a batch."""
        ...

    def unreadable(self, error: JsonError, raw: bytes) -> Opaque: ...

    def well_named(self, message: Message) -> Message:
        """The message, unless a name in it is too long to be compared with every pattern of the rules."""
        ...

    def refusal(self, message: Message, deny: Deny, trail_id: str) -> Message | None:
        """See `codec.Codec.refusal`."""
        ...


class Tally(Protocol):
    """What the messages so far say of how the exchange ended."""

    outcome: Outcome

    @property
    def unanswered(self) -> Sequence[Message]:
        """The requests whose answers have not come."""
        ...

    def bereft(self, dropped: Sequence[Frame]) -> Sequence[Message]:
        """The requests that the client waits for if these frames never reach it, and nothing follows."""
        ...

    def see(self, messages: Sequence[Message]) -> None:
        """Counts the messages of a frame."""
        ...

    def end(self, missing: Outcome) -> None:
        """The body is over; `missing` is what an answer that never came means."""
        ...


class JsonDecoder:
    """One JSON document: nothing can be said before it is whole.

    Args:
        limit: bytes of the body; past it there are only `Opaque` spans.
        required: whether an empty body is malformed (a POST), not just empty (an answer).
    """

    def __init__(self, reader: Reader, tally: Tally, limits: Limits, *, limit: int, required: bool) -> None:
        self._reader = reader
        self._tally = tally
        self._limits = limits
        self._required = required
        self._body = WholeBody(limit)

    @property
    def outcome(self) -> Outcome:
        return self._tally.outcome

    @property
    def unanswered(self) -> Sequence[Message]:
        return self._tally.unanswered

    def text_event(self, channel: Channel, text: str) -> bytes:
        """Nothing: JSON-RPC streams no text."""
        return b""

    def stream_end(self, deny: Deny, trail_id: str, dropped: Sequence[Frame] = ()) -> bytes:
        """See `codec.Decoder`: the errors in place of the document."""
        errors = _errors(self._reader, self._tally.bereft(dropped), deny, trail_id)
        return Payload(tuple(errors)).encode({})

    def feed(self, data: bytes) -> Iterator[Frame]:
        """See `codec.Decoder`."""
        return iter([self._frame(span, Payload((too_large(span),))) for span in self._body.feed(data)])

    def close(self) -> Iterator[Frame]:
        """See `codec.Decoder`."""
        raw = self._body.close()
        frames: list[Frame] = []
        if self._body.too_large:
            frames.append(self._frame(raw, Payload((too_large(raw),))))
        elif raw or self._required:
            frames.append(self._frame(raw, _read(raw, self._reader, self._limits)))
        self._tally.end(Outcome.INVALID if raw else Outcome.EMPTY)
        return iter(frames)

    def _frame(self, raw: bytes, payload: Payload) -> JsonFrame:
        self._tally.see(payload.messages)
        return JsonFrame(raw, payload)


class EventDecoder:
    """A stream of server-sent events; each is a frame as soon as it is whole."""

    def __init__(self, reader: Reader, tally: Tally, limits: Limits) -> None:
        self._reader = reader
        self._tally = tally
        self._limits = limits
        self._splitter = EventSplitter(limits.event)
        self._empty = True

    @property
    def outcome(self) -> Outcome:
        return self._tally.outcome

    @property
    def unanswered(self) -> Sequence[Message]:
        return self._tally.unanswered

    def text_event(self, channel: Channel, text: str) -> bytes:
        """Nothing: JSON-RPC streams no text."""
        return b""

    def stream_end(self, deny: Deny, trail_id: str, dropped: Sequence[Frame] = ()) -> bytes:
        """See `codec.Decoder`: an event with an error for each request that waits."""
        return b"".join(
            encode_event(error.raw) for error in _errors(self._reader, self._tally.bereft(dropped), deny, trail_id)
        )

    def feed(self, data: bytes) -> Iterator[Frame]:
        """See `codec.Decoder`. One by one: what is `unanswered` at a frame must not depend on what shares its chunk."""
        self._empty = self._empty and not data
        for event in self._splitter.feed(data):
            yield self._frame(event)

    def close(self) -> Iterator[Frame]:
        """See `codec.Decoder`."""
        for event in self._splitter.close():
            yield self._frame(event)
        self._tally.end(Outcome.EMPTY if self._empty else Outcome.TRUNCATED)

    def _frame(self, event: ServerSentEvent) -> EventFrame:
        payload = self._payload(event)
        self._tally.see(payload.messages)
        return EventFrame(event, payload)

    def _payload(self, event: ServerSentEvent) -> Payload:
        if event.span in (Span.TOO_LARGE, Span.REST):
            return Payload((too_large(event.raw),))
        if not event.data:
            return Payload()
        if event.span is Span.UNTERMINATED:
            return Payload((unterminated(event.data),))
        payload = _read(event.data, self._reader, self._limits)
        if event.event not in ("", "message") and isinstance(payload.messages[0], Opaque) and not payload.is_array:
            # Messages come as events of the default type (A2A's errors as `error`); clients pass over others.
            return Payload((Opaque("sse-other-event", "an event of another type", raw=event.data),))
        return payload


def _read(raw: bytes, reader: Reader, limits: Limits) -> Payload:
    try:
        value = parse(raw, limits.json_depth, limits.json_values)
    except JsonError as error:
        return Payload((reader.unreadable(error, raw),))
    if not isinstance(value, list):
        return Payload((reader.well_named(reader.message(value, raw)),))
    fault = reader.batch_fault(value, raw)
    if fault is not None:
        return Payload((fault,))
    messages = reader.batch(value, [bytes(element) for element in _ELEMENTS.decode(raw)])
    return Payload(tuple(reader.well_named(message) for message in messages), is_array=True)


def _errors(reader: Reader, requests: Sequence[Message], deny: Deny, trail_id: str) -> list[Message]:
    refusals = (reader.refusal(request, deny, trail_id) for request in requests)
    return [error for error in refusals if error is not None]


def _real(changes: Changes, messages: Sequence[Message]) -> Changes:
    """The changes that change anything: a message in its own place keeps the frame's bytes."""
    return {index: message for index, message in changes.items() if message is not messages[index]}
