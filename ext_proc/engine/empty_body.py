"""The body of a request that its headers alone say, where they did not end it: it has to be empty.

Rules:
- HTTP/2 may end a GET with an empty DATA frame or with trailers, and HTTP/1.1 with chunks that hold nothing: that is no
  body, and the request is what its headers say.
- The first byte is `Opaque`: nobody would read it.
- Frames partition the body; what comes after the first byte is one frame per piece.

Not here: a length that is declared, and upgrades, whose bytes have no end (request_side.py).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from ext_proc.codecs.codec import NO_TEXTS, Frame
from ext_proc.messages import Channel, Message, Opaque, Piece
from ext_proc.policy import Deny
from ext_proc.trail import Outcome


def unexpected_body(method: str) -> Opaque:
    """What stands for a body that such a request must not have."""
    return Opaque("unexpected-body", f"{method} carries no body here")


@dataclass(frozen=True, slots=True)
class _Frame:
    """A span of the body; see `codec.Frame`."""

    raw: bytes
    messages: Sequence[Message]
    batch: bool = False
    pieces: Sequence[Piece] = ()
    closes: Sequence[int] = ()

    def encode(
        self,
        changes: Mapping[int, Message | None],
        joined: Sequence[Message] = (),
        texts: Mapping[int, str] = NO_TEXTS,
    ) -> bytes:
        """The bytes as they came: the message is in the headers."""
        return self.raw


class EmptyBody:
    """A decoder (see `codec.Decoder`) of a body that should hold nothing.

    Args:
        message: what the headers say.
        method: the HTTP method.
    """

    outcome = Outcome.OK
    unanswered: Sequence[Message] = ()

    def __init__(self, message: Message, method: str) -> None:
        self._message = message
        self._method = method
        self._empty = True

    def feed(self, data: bytes) -> Iterator[Frame]:
        """A frame for `data`, unless it is empty; the first with an `Opaque`."""
        if data:
            first, self._empty = self._empty, False
            yield _Frame(data, (unexpected_body(self._method),) if first else ())

    def close(self) -> Iterator[Frame]:
        """The frame of the request itself, where nothing came."""
        if self._empty:
            yield _Frame(b"", (self._message,))

    def text_event(self, channel: Channel, text: str) -> bytes:
        """Nothing: a request streams no text."""
        return b""

    def stream_end(self, deny: Deny, trail_id: str, dropped: Sequence[Frame] = ()) -> bytes:
        """Nothing: a request is answered, not ended."""
        return b""
