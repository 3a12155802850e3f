"""MCP: frames of a body, as one JSON document or as server-sent events, and what they say of the exchange.

Rules:
- What nobody changed leaves as its own bytes: a frame, an element of a batch, every line of an event but its data.
- A dropped event leaves its `id` behind, so that a client resumes after it (Last-Event-ID).
- Messages that join go to the end of an array, or follow as events of their own. They go before what is no whole event:
  behind it they would become part of it.
- Every span of what is too large is an `Opaque` of its own: where the first is dropped no rest may pass.
- An event without data carries no message (a comment, or the empty event with an id that primes a stream).

Not here: the classes of messages (mcp_messages.py), how events are cut (framing/sse.py).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import msgspec

from ext_proc.codecs.codec import NO_TEXTS, Frame
from ext_proc.codecs.mcp_denials import refusal
from ext_proc.codecs.mcp_messages import Asked, from_client, from_server, longest_name, malformed
from ext_proc.framing.body import WholeBody
from ext_proc.framing.json_view import JsonError, parse
from ext_proc.framing.sse import EventSplitter, ServerSentEvent, Span, encode_event, with_data, without_data
from ext_proc.limits import Limits
from ext_proc.messages import Channel, McpAnswer, McpRequest, Message, Opaque, Piece
from ext_proc.policy import Deny
from ext_proc.trail import Outcome

_ELEMENTS = msgspec.json.Decoder(list[msgspec.Raw])
# What any error page is; on an error status it claims nothing about MCP.
_NO_JSON = frozenset({"json-empty", "json-malformed", "json-not-utf8"})

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


@dataclass(frozen=True, slots=True)
class JsonFrame:
    """A whole body, or a span of one that is too large."""

    raw: bytes = field(repr=False)
    payload: Payload

    @property
    def messages(self) -> Sequence[Message]:
        return self.payload.messages

    @property
    def batch(self) -> bool:
        return self.payload.is_array

    @property
    def pieces(self) -> Sequence[Piece]:
        return ()  # MCP's texts are whole: see mcp_texts.py

    @property
    def closes(self) -> Sequence[int]:
        return ()

    def encode(self, changes: Changes, joined: Sequence[Message] = (), texts: Mapping[int, str] = NO_TEXTS) -> bytes:
        """See `codec.Frame`."""
        changes = _real(changes, self.messages)
        return self.payload.encode(changes, joined) if changes or joined else self.raw


@dataclass(frozen=True, slots=True)
class EventFrame:
    """A server-sent event, or a span of one that is too large."""

    event: ServerSentEvent
    payload: Payload

    @property
    def raw(self) -> bytes:
        return self.event.raw

    @property
    def messages(self) -> Sequence[Message]:
        return self.payload.messages

    @property
    def batch(self) -> bool:
        return self.payload.is_array

    @property
    def pieces(self) -> Sequence[Piece]:
        return ()  # MCP's texts are whole: see mcp_texts.py

    @property
    def closes(self) -> Sequence[int]:
        return ()

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
    """Which messages the values of one direction are."""

    def message(self, value: Any, raw: bytes) -> Message: ...

    def batch(self, values: Sequence[Any], raws: Sequence[bytes]) -> Sequence[Message]: ...

    def batch_fault(self, values: Sequence[Any], raw: bytes) -> Opaque | None:
        """Why these values must not be a batch."""
        ...

    def unreadable(self, error: JsonError, raw: bytes) -> Opaque: ...


class ClientReader:
    """Reads what a client sends.

    Args:
        arrays: whether the revision knows batches.
    """

    def __init__(self, *, arrays: bool, limits: Limits) -> None:
        self._arrays = arrays
        self._limits = limits

    def message(self, value: Any, raw: bytes) -> Message:
        return from_client(value, raw)

    def batch(self, values: Sequence[Any], raws: Sequence[bytes]) -> Sequence[Message]:
        """The elements; requests that share an id are malformed, all of them, for no answer could tell them apart."""
        messages = [from_client(value, raw) for value, raw in zip(values, raws, strict=True)]
        seen: set[str | int] = set()
        repeated: set[str | int] = set()
        for message in messages:
            if isinstance(message, McpRequest):
                (repeated if message.id in seen else seen).add(message.id)
        return [
            malformed("jsonrpc-invalid", "two requests of a batch share an id", message.raw, id=message.id)
            if isinstance(message, McpRequest) and message.id in repeated
            else message
            for message in messages
        ]

    def batch_fault(self, values: Sequence[Any], raw: bytes) -> Opaque | None:
        if not self._arrays:
            return malformed("batch-not-allowed", "this revision of MCP knows no batches", raw)
        if any(isinstance(value, dict) and value.get("method") == "initialize" for value in values):
            return malformed("batch-not-allowed", "initialize must not be part of a batch", raw)
        return _size_fault(values, raw, self._limits)

    def unreadable(self, error: JsonError, raw: bytes) -> Opaque:
        return malformed(error.reason, error.detail, raw)


class ServerReader:
    """Reads what a server sends.

    Args:
        failed: whether the HTTP status is no success: then a body need not be MCP at all.
    """

    def __init__(self, asked: Asked, *, failed: bool, limits: Limits) -> None:
        self._asked = asked
        self._failed = failed
        self._limits = limits

    def message(self, value: Any, raw: bytes) -> Message:
        if self._failed and not (isinstance(value, dict) and "jsonrpc" in value):
            return _not_mcp(raw)
        return from_server(value, raw, self._asked)

    def batch(self, values: Sequence[Any], raws: Sequence[bytes]) -> Sequence[Message]:
        return [self.message(value, raw) for value, raw in zip(values, raws, strict=True)]

    def batch_fault(self, values: Sequence[Any], raw: bytes) -> Opaque | None:
        return _size_fault(values, raw, self._limits)

    def unreadable(self, error: JsonError, raw: bytes) -> Opaque:
        if self._failed and error.reason in _NO_JSON:
            return _not_mcp(raw)
        return malformed(error.reason, error.detail, raw)


class Tally:
    """What the messages so far say of how the exchange ended.

    Args:
        asked: the requests that wait for answers.
        status: of the HTTP response; None on the request's side.
    """

    def __init__(self, asked: Asked, status: int | None = None) -> None:
        self._asked = asked
        self._failed = status is not None and not 200 <= status < 300
        self.outcome = Outcome.PROTOCOL_ERROR if self._failed else Outcome.OK

    @property
    def unanswered(self) -> Sequence[Message]:
        """The requests whose answers have not come."""
        return self._asked.waiting

    def see(self, messages: Sequence[Message]) -> None:
        """Counts the messages of a frame."""
        for message in messages:
            if isinstance(message, McpAnswer):
                self.outcome = self.outcome.worse(message.outcome)
                self._asked.settle(message)
            elif isinstance(message, Opaque) and (message.malformed or message.too_large):
                self.outcome = self.outcome.worse(message.outcome)

    def end(self, missing: Outcome) -> None:
        """The body is over; `missing` is what an answer that never came means (an error status answers all)."""
        if self._asked.waiting and not self._failed:
            self.outcome = self.outcome.worse(missing)


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
        """Nothing: MCP streams no text."""
        return b""

    def stream_end(self, deny: Deny, trail_id: str, dropped: Sequence[Frame] = ()) -> bytes:
        """See `codec.Decoder`: the errors in place of the document."""
        errors = _errors(self.unanswered, deny, trail_id)
        return Payload(tuple(errors)).encode({})

    def feed(self, data: bytes) -> Iterator[Frame]:
        """See `codec.Decoder`."""
        return iter([self._frame(span, _too_large(span)) for span in self._body.feed(data)])

    def close(self) -> Iterator[Frame]:
        """See `codec.Decoder`."""
        raw = self._body.close()
        frames: list[Frame] = []
        if self._body.too_large:
            frames.append(self._frame(raw, _too_large(raw)))
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
        """Nothing: MCP streams no text."""
        return b""

    def stream_end(self, deny: Deny, trail_id: str, dropped: Sequence[Frame] = ()) -> bytes:
        """See `codec.Decoder`: an event with an error for each request that waits."""
        return b"".join(encode_event(error.raw) for error in _errors(self.unanswered, deny, trail_id))

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
            return _too_large(event.raw)
        if not event.data:
            return Payload()
        if event.span is Span.UNTERMINATED:
            # Clients drop it, but not all of them: undecided it must not pass.
            return Payload((malformed("sse-unterminated", "the stream ended inside an event", event.data),))
        payload = _read(event.data, self._reader, self._limits)
        if event.event not in ("", "message") and isinstance(payload.messages[0], Opaque) and not payload.is_array:
            # MCP's messages come as events of the default type; clients pass over others.
            return Payload((Opaque("sse-other-event", "an event of another type", raw=event.data),))
        return payload


def _read(raw: bytes, reader: Reader, limits: Limits) -> Payload:
    try:
        value = parse(raw, limits.json_depth, limits.json_values)
    except JsonError as error:
        return Payload((reader.unreadable(error, raw),))
    if not isinstance(value, list):
        return Payload((_well_named(reader.message(value, raw), limits),))
    fault = reader.batch_fault(value, raw)
    if fault is not None:
        return Payload((fault,))
    messages = reader.batch(value, [bytes(element) for element in _ELEMENTS.decode(raw)])
    return Payload(tuple(_well_named(message, limits) for message in messages), is_array=True)


def _well_named(message: Message, limits: Limits) -> Message:
    """The message, unless a name in it is too long to be compared with every pattern of the rules."""
    if longest_name(message) <= limits.name:
        return message
    request = message.id if isinstance(message, McpRequest) else None
    return malformed("name-too-long", f"a name has at most {limits.name} characters", message.raw, id=request)


def _errors(requests: Sequence[Message], deny: Deny, trail_id: str) -> list[Message]:
    refusals = (refusal(request, deny, trail_id) for request in requests)
    return [error for error in refusals if error is not None]


def _real(changes: Changes, messages: Sequence[Message]) -> Changes:
    """The changes that change anything: a message in its own place keeps the frame's bytes."""
    return {index: message for index, message in changes.items() if message is not messages[index]}


def _size_fault(values: Sequence[Any], raw: bytes, limits: Limits) -> Opaque | None:
    if not values:
        return malformed("jsonrpc-invalid", "a batch must not be empty", raw)
    if len(values) > limits.batch:
        return Opaque("batch-too-large", f"a batch holds at most {limits.batch} messages", raw=raw, too_large=True)
    return None


def _too_large(raw: bytes) -> Payload:
    return Payload((Opaque("too-large", "this is larger than the gateway reads", raw=raw, too_large=True),))


def _not_mcp(raw: bytes) -> Opaque:
    return Opaque("not-mcp", "the server's own error is no MCP message", raw=raw)
