"""One direction of an exchange as Envoy may send it: a table of states and events.

Rules:
- What is not in the table is Envoy's or its configuration's fault: a ProtocolError, and the RPC is aborted (fail
  closed).
- Response events may come although no request headers came (an earlier filter replied locally); the directions are
  independent tables.

Not here: what an event leads to (request_side.py, response_side.py).
"""

from __future__ import annotations

import enum

from ext_proc.errors import ProtocolError
from ext_proc.events import BodyReceived, Direction, HeadersReceived, TrailersReceived


class Phase(enum.Enum):
    """How far a direction has come."""

    IDLE = "idle"  # nothing yet
    OPEN = "open"  # headers seen, more may come
    ENDED = "ended"  # the end of the stream was seen


class Kind(enum.Enum):
    """What can happen to a direction."""

    HEADERS = "headers"
    HEADERS_END = "headers, end of stream"
    BODY = "body"
    BODY_END = "body, end of stream"
    TRAILERS = "trailers"


TRANSITIONS: dict[tuple[Phase, Kind], Phase] = {
    (Phase.IDLE, Kind.HEADERS): Phase.OPEN,
    (Phase.IDLE, Kind.HEADERS_END): Phase.ENDED,
    (Phase.OPEN, Kind.BODY): Phase.OPEN,
    (Phase.OPEN, Kind.BODY_END): Phase.ENDED,
    (Phase.OPEN, Kind.TRAILERS): Phase.ENDED,
}


def kind_of(event: HeadersReceived | BodyReceived | TrailersReceived) -> Kind:
    """The event's row in the table."""
    if isinstance(event, HeadersReceived):
        return Kind.HEADERS_END if event.end_of_stream else Kind.HEADERS
    if isinstance(event, BodyReceived):
        return Kind.BODY_END if event.end_of_stream else Kind.BODY
    return Kind.TRAILERS


class Half:
    """The state of one direction."""

    __slots__ = ("direction", "phase")

    def __init__(self, direction: Direction) -> None:
        self.direction = direction
        self.phase = Phase.IDLE

    def advance(self, event: HeadersReceived | BodyReceived | TrailersReceived) -> None:
        """Moves on by one event.

        Raises:
            ProtocolError: the table has no such row.
        """
        if self.phase is Phase.OPEN and isinstance(event, BodyReceived) and not event.end_of_stream:
            return  # as the table says, of nearly all events
        kind = kind_of(event)
        following = TRANSITIONS.get((self.phase, kind))
        if following is None:
            raise ProtocolError(f"{self.direction.value} {kind.value} while {self.phase.value}")
        self.phase = following
