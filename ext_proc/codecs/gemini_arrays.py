"""Gemini: a streamed answer as a JSON array, which is how it comes where the client does not ask for events.

Rules:
- The array is read when it is whole; each element is then a frame, with the bracket or comma before it. Where a text
  of ours leaves before the first, it opens the array, and the first follows it.
- What is taken out leaves an empty object in its place: clients take it for a piece that says nothing.

Not here: what an element says (gemini_answer.py).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import msgspec

from ext_proc.codecs.codec import NO_TEXTS, Frame
from ext_proc.codecs.gemini_answer import GeminiReader
from ext_proc.codecs.llm_frames import NOTHING, LlmFrame, Part
from ext_proc.codecs.opaques import too_large
from ext_proc.framing.body import WholeBody
from ext_proc.framing.json_surrogates import parse_tolerant
from ext_proc.framing.json_view import JsonError
from ext_proc.limits import Limits
from ext_proc.messages import Channel, Message, Piece
from ext_proc.policy import Deny
from ext_proc.trail import Outcome

_ELEMENTS = msgspec.json.Decoder(list[msgspec.Raw])


@dataclass(slots=True)
class Opening:
    """What has left of an array.

    Attributes:
        begun: whether anything has.
        ours: whether it began with a text of ours.
    """

    begun: bool = False
    ours: bool = False


@dataclass(frozen=True, slots=True)
class ElementFrame:
    """An element of an array.

    Attributes:
        before: what stands before it: a bracket or comma, and blanks.
        own: the element as a body of its own.
    """

    before: bytes = field(repr=False)
    own: LlmFrame
    opening: Opening

    @property
    def raw(self) -> bytes:
        return self.before + self.own.raw

    @property
    def messages(self) -> Sequence[Message]:
        return self.own.messages

    @property
    def batch(self) -> bool:
        return False

    @property
    def pieces(self) -> Sequence[Piece]:
        return self.own.pieces

    @property
    def closes(self) -> Sequence[int]:
        return self.own.closes

    def encode(
        self,
        changes: Mapping[int, Message | None],
        joined: Sequence[Message] = (),
        texts: Mapping[int, str] = NO_TEXTS,
    ) -> bytes:
        """See `codec.Frame`."""
        before = self.before.replace(b"[", b",") if self.opening.ours else self.before
        self.opening.begun = True
        return before + (self.own.encode(changes, texts=texts) or b"{}")


class ArrayDecoder:
    """A streamed answer that comes as one document."""

    def __init__(self, reader: GeminiReader, limits: Limits) -> None:
        self._reader = reader
        self._limits = limits
        self._body = WholeBody(limits.response_body)
        self._first: Frame | None = None
        self._opening = Opening()

    @property
    def outcome(self) -> Outcome:
        return self._reader.outcome

    @property
    def unanswered(self) -> Sequence[Message]:
        return self._reader.unanswered

    def text_event(self, channel: Channel, text: str) -> bytes:
        """See `codec.Decoder`: another element, behind the one that left before it."""
        if channel.index:
            return b""
        before = b"," if self._opening.begun else b"["
        self._opening.ours = self._opening.ours or not self._opening.begun
        self._opening.begun = True
        return before + self._reader.piece_with(channel, text)

    def stream_end(self, deny: Deny, trail_id: str, dropped: Sequence[Frame] = ()) -> bytes:
        """See `codec.Decoder`: a last element where others have left, else an error object in place of the document."""
        elements = [frame for frame in dropped if isinstance(frame, ElementFrame)]
        if not self._opening.ours and (self._first is None or self._first in elements):
            return self._reader.error(deny, trail_id)
        return b"," + self._reader.last_piece(deny, trail_id, [frame.own.part for frame in elements]) + b"]"

    def feed(self, data: bytes) -> Iterator[Frame]:
        """See `codec.Decoder`."""
        return iter([self._too_large(span) for span in self._body.feed(data)])

    def close(self) -> Iterator[Frame]:
        """See `codec.Decoder`."""
        raw = self._body.close()
        if self._body.too_large:
            yield self._too_large(raw)
        elif raw:
            yield from self._frames(raw)
        self._reader.end(empty=not raw, streamed=True)

    def _frames(self, raw: bytes) -> Iterator[Frame]:
        """One by one: what is open at an element must not depend on those behind it."""
        try:
            value = parse_tolerant(raw, self._limits.json_depth, self._limits.json_values)
        except JsonError:
            value = None
        if not isinstance(value, list) or not value:
            # An error, as a rule; what it is the reader says.
            yield LlmFrame(raw, self._reader.document(raw))
            return
        at = 0
        for element in _ELEMENTS.decode(raw):
            own = bytes(element)
            start = raw.index(own, at)
            frame = ElementFrame(raw[at:start], LlmFrame(own, self._reader.element(own)), self._opening)
            self._first = self._first or frame
            yield frame
            at = start + len(own)
        yield LlmFrame(raw[at:], NOTHING)

    def _too_large(self, raw: bytes) -> LlmFrame:
        message = too_large(raw)
        self._reader.unread(message)
        return LlmFrame(raw, Part(message))
