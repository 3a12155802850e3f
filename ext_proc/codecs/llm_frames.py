"""Language models' bodies as frames, the same for every format: one JSON document, or server-sent events.

Rules:
- What nobody changed leaves as its own bytes. A changed text is spliced into its document; all else of it stays.
- Every event is read whatever its type: official clients read them all, errors and the stream's end included.
- An event without data is nobody's (a comment, as OpenRouter sends them while it waits).
- Every span of what is too large is an `Opaque` of its own: where the first is dropped no rest may pass.

Not here: what a document or an event says (each format has an `AnswerReader` of its own).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from ext_proc.codecs.codec import NO_TEXTS, Frame
from ext_proc.codecs.llm_texts import Spot, Texts, pieces_of
from ext_proc.codecs.opaques import malformed, too_large
from ext_proc.framing.body import WholeBody
from ext_proc.framing.json_splice import Path, splice
from ext_proc.framing.json_view import JsonError, parse
from ext_proc.framing.sse import EventSplitter, ServerSentEvent, Span, encode_event, with_data, without_data
from ext_proc.limits import Limits
from ext_proc.messages import Channel, LlmMessage, Message, Opaque, Piece
from ext_proc.policy import Deny
from ext_proc.trail import Outcome

# What is to be spliced into a message for new texts of some spots: the message's value, the spots, the texts by number.
Changes = Callable[[Mapping[str, Any], Sequence[Spot], Texts], Mapping[Path, bytes | None]]


def no_changes(value: Mapping[str, Any], spots: Sequence[Spot], texts: Texts) -> Mapping[Path, bytes | None]:
    """For what has no texts."""
    return {}


@dataclass(slots=True, eq=False)  # made for every event, as is the frame: frozen ones take three times as long
class Part:
    """What a document or an event says; never changed.

    Attributes:
        message: what is in it; None for what is nobody's.
        spots: the texts in it, and where they stand.
        closes: the choices that end with it.
        ends: whether it is the stream's end.
        changes: what new texts change in it.
        late: what changes in it because of what left before it; asked when it leaves itself.
    """

    message: Message | None = None
    spots: Sequence[Spot] = field(default=(), repr=False)
    closes: Sequence[int] = ()
    ends: bool = False
    changes: Changes = no_changes
    late: Callable[[], Mapping[Path, bytes | None]] | None = None


NOTHING = Part()


class AnswerReader(Protocol):
    """What is known of one answer. Its methods never raise on what came over the network."""

    @property
    def outcome(self) -> Outcome: ...

    @property
    def unanswered(self) -> Sequence[Message]: ...

    @property
    def done(self) -> bool:
        """Whether the stream's own end was read."""
        ...

    def document(self, data: bytes) -> Part:
        """What a whole answer says."""
        ...

    def event(self, event: ServerSentEvent) -> Part:
        """What an event with data says; one that the stream's end cut off too."""
        ...

    def unread(self, message: Opaque) -> None:
        """Notes what could not be read."""
        ...

    def end(self, *, empty: bool, streamed: bool) -> None:
        """The body is over."""
        ...

    def error(self, deny: Deny, trail_id: str) -> bytes:
        """The format's error, in place of a whole answer."""
        ...

    def text_event(self, channel: Channel, text: str) -> bytes:
        """See `codec.Decoder`."""
        ...

    def ending(self, deny: Deny, trail_id: str, unsent: Sequence[Part]) -> bytes:
        """The events that end what is open to the client, and the stream.

        Args:
            unsent: what did not reach the client.
        """
        ...


@dataclass(slots=True)
class LlmFrame:
    """A body, an event, or a span of one that is too large; never changed.

    Attributes:
        event: None for a body.
    """

    raw: bytes = field(repr=False)
    part: Part = NOTHING
    event: ServerSentEvent | None = None

    @property
    def messages(self) -> Sequence[Message]:
        return () if self.part.message is None else (self.part.message,)

    @property
    def batch(self) -> bool:
        return False  # there are none in these formats

    @property
    def pieces(self) -> Sequence[Piece]:
        return pieces_of(self.part.spots)

    @property
    def closes(self) -> Sequence[int]:
        return self.part.closes

    def encode(
        self,
        changes: Mapping[int, Message | None],
        joined: Sequence[Message] = (),
        texts: Mapping[int, str] = NO_TEXTS,
    ) -> bytes:
        """See `codec.Frame`. Texts go into a replaced message too, where it still has them."""
        own, others = self._own(changes, texts), b"".join(encode_event(message.raw) for message in joined)
        return own + others if self.event is None or self.event.span is Span.EVENT else others + own

    def _own(self, changes: Mapping[int, Message | None], texts: Mapping[int, str]) -> bytes:
        part = self.part
        message = changes.get(0, part.message)
        if message is None:
            dropped = part.message is not None
            return (b"" if self.event is None else without_data(self.event)) if dropped else self.raw
        texts = {number: text for number, text in texts.items() if text != part.spots[number].joined.text}
        late = part.late() if part.late is not None else {}
        if message is part.message and not texts and not late:
            return self.raw
        data = message.raw
        if (texts or late) and isinstance(message, LlmMessage):
            moved = getattr(message, "spots", ())  # a changed message may have them in other places, or at none
            spots = moved if len(moved) == len(part.spots) else part.spots
            texts = {number: text for number, text in texts.items() if spots[number].path}
            data = splice(data, {**(part.changes(message.value, spots, texts) if texts else {}), **late})
        return data if self.event is None else with_data(self.event, data)


class RequestDecoder:
    """A request's body: one frame, at its end.

    Args:
        read: the message that a JSON value is; it never raises.
    """

    def __init__(self, read: Callable[[Any, bytes], Message], limits: Limits) -> None:
        self._read = read
        self._limits = limits
        self._body = WholeBody(limits.request_body)
        self.outcome = Outcome.OK

    @property
    def unanswered(self) -> Sequence[Message]:
        return ()

    def text_event(self, channel: Channel, text: str) -> bytes:
        """Nothing: a request is no stream."""
        return b""

    def stream_end(self, deny: Deny, trail_id: str, dropped: Sequence[Frame] = ()) -> bytes:
        """Nothing: a request is no stream."""
        return b""

    def feed(self, data: bytes) -> Iterator[Frame]:
        """See `codec.Decoder`."""
        return iter([self._frame(span, too_large(span)) for span in self._body.feed(data)])

    def close(self) -> Iterator[Frame]:
        """See `codec.Decoder`."""
        raw = self._body.close()
        return iter([self._frame(raw, too_large(raw) if self._body.too_large else self._message(raw))])

    def _message(self, raw: bytes) -> Message:
        try:
            message = self._read(parse(raw, self._limits.json_depth, self._limits.json_values), raw)
        except JsonError as error:
            return malformed(error.reason, error.detail, raw)
        if len(message.target) > self._limits.name:
            return malformed("name-too-long", f"a name has at most {self._limits.name} characters", raw)
        return message

    def _frame(self, raw: bytes, message: Message) -> LlmFrame:
        self.outcome = self.outcome.worse(message.outcome)
        return LlmFrame(raw, Part(message))


class AnswerDecoder:
    """A whole answer: one JSON document, of which nothing can be said before it is whole."""

    def __init__(self, reader: AnswerReader, limits: Limits) -> None:
        self._reader = reader
        self._body = WholeBody(limits.response_body)

    @property
    def outcome(self) -> Outcome:
        return self._reader.outcome

    @property
    def unanswered(self) -> Sequence[Message]:
        return self._reader.unanswered

    def text_event(self, channel: Channel, text: str) -> bytes:
        """Nothing: a document has no events."""
        return b""

    def stream_end(self, deny: Deny, trail_id: str, dropped: Sequence[Frame] = ()) -> bytes:
        """See `codec.Decoder`: an error object in place of the document."""
        return self._reader.error(deny, trail_id)

    def feed(self, data: bytes) -> Iterator[Frame]:
        """See `codec.Decoder`."""
        return iter([self._too_large(span) for span in self._body.feed(data)])

    def close(self) -> Iterator[Frame]:
        """See `codec.Decoder`."""
        raw = self._body.close()
        frames: list[Frame] = []
        if self._body.too_large:
            frames.append(self._too_large(raw))
        elif raw:
            frames.append(LlmFrame(raw, self._reader.document(raw)))
        self._reader.end(empty=not raw, streamed=False)
        return iter(frames)

    def _too_large(self, raw: bytes) -> LlmFrame:
        message = too_large(raw)
        self._reader.unread(message)
        return LlmFrame(raw, Part(message))


class StreamDecoder:
    """A streamed answer: each event is a frame as soon as it is whole."""

    def __init__(self, reader: AnswerReader, limits: Limits) -> None:
        self._reader = reader
        self._splitter = EventSplitter(limits.event)
        self._empty = True

    @property
    def outcome(self) -> Outcome:
        return self._reader.outcome

    @property
    def unanswered(self) -> Sequence[Message]:
        return self._reader.unanswered

    def text_event(self, channel: Channel, text: str) -> bytes:
        """See `codec.Decoder`."""
        return self._reader.text_event(channel, text)

    def stream_end(self, deny: Deny, trail_id: str, dropped: Sequence[Frame] = ()) -> bytes:
        """See `codec.Decoder`: what is open to the client is finished, then the stream."""
        unsent = [frame.part for frame in dropped if isinstance(frame, LlmFrame)]
        if self._reader.done and not any(part.ends for part in unsent):
            return b""  # the stream's own end has left
        return self._reader.ending(deny, trail_id, unsent)

    def feed(self, data: bytes) -> Iterator[Frame]:
        """See `codec.Decoder`. One by one: what is open at a frame must not depend on what shares its chunk."""
        self._empty = self._empty and not data
        return map(self._frame, self._splitter.feed(data))

    def close(self) -> Iterator[Frame]:
        """See `codec.Decoder`."""
        for event in self._splitter.close():
            yield self._frame(event)
        self._reader.end(empty=self._empty, streamed=True)

    def _frame(self, event: ServerSentEvent) -> LlmFrame:
        if event.data:
            return LlmFrame(event.raw, self._reader.event(event), event)
        if event.span is Span.TOO_LARGE or event.span is Span.REST:
            message = too_large(event.raw)
            self._reader.unread(message)
            return LlmFrame(event.raw, Part(message), event)
        return LlmFrame(event.raw, NOTHING, event)
