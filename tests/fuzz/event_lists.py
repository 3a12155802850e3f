"""Lists of events from an input: what Envoy sends, in its order or in any other.

Rules:
- Each event takes a few choices: what happens, then how. Bodies come from the input's other parts, in pieces.
- A piece may come many times over with other numbers in it: so a stream gets long, and its ids differ.
- Told to be orderly, it leaves out what Envoy would not send: what its table of phases or its modes rule out.

Not here: what must hold (event_laws.py).
"""

from __future__ import annotations

import enum
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import cycle

from ext_proc.events import (
    BodyMode,
    BodyReceived,
    CloseCause,
    Closed,
    Direction,
    EnvoyFacts,
    Event,
    HeadersReceived,
    Tick,
    TrailersReceived,
)
from ext_proc.headers import Headers
from tests.fuzz.inputs import Choices

REQUEST, RESPONSE = Direction.REQUEST, Direction.RESPONSE
LONG = 64 * 1024  # bytes that come of a repeated piece
OFTEN = 300  # times that one comes at most
NUMBERS = 16  # that stand in it in turn: ids and positions, of which a stream may have so many


class Happens(enum.Enum):
    """What can happen next."""

    REQUEST_HEADERS = 0
    REQUEST_BODY = 1
    REQUEST_TRAILERS = 2
    RESPONSE_HEADERS = 3
    RESPONSE_BODY = 4
    RESPONSE_TRAILERS = 5
    TICK = 6
    CLOSE = 7
    PAUSE = 8  # decisions take their time: the next events come before them
    RESUME = 9


_HAPPENS = tuple(Happens)
_METHODS = ("POST", "GET", "DELETE", "HEAD")
_TYPES = ("application/json", "text/event-stream", "text/plain", "")
_STATUSES = ("200", "202", "404", "500", "", "²")
_LENGTHS = ("true", "", "5", "99999999999")
_EXTRAS = (
    (),
    (("content-encoding", b"gzip"),),
    (("content-encoding", b"unknown"),),
    (("mcp-protocol-version", b"2026-07-28"),),
    (("mcp-protocol-version", b"2025-03-26"),),
    (("x-gatehouse-tool", b"forged"), ("traceparent", b"x" * 999)),
    (("connection", b"upgrade"), ("upgrade", b"websocket")),
    (("accept", b"text/event-stream"),),
)
SIZES = (1 << 20, 1, 7, 64, 300)
_WAITS = (0.0, 1.0, 400.0)


@dataclass(slots=True)
class Side:
    """One direction, as Envoy sees it.

    Attributes:
        body: what is still to come of it.
        mode: in which it comes, as configured or overridden.
        begun, ended: whether the headers came, and the end of the stream.
        answered: whether the headers were.
        came: what came of the body.
    """

    body: bytes
    mode: BodyMode
    begun: bool = False
    ended: bool = False
    answered: bool = False
    came: bytearray = field(default_factory=bytearray)


class EventList:
    """The events of one run; what was answered meanwhile counts only where it is to be orderly.

    Args:
        fixed: the filter's body modes.
    """

    def __init__(
        self, choices: Choices, path: str, bodies: tuple[bytes, bytes], fixed: tuple[BodyMode, BodyMode]
    ) -> None:
        self.orderly = choices.of((True, False))
        self.observed = choices.of((False, False, False, True))
        self.sides = {REQUEST: Side(bodies[0], fixed[0]), RESPONSE: Side(bodies[1], fixed[1])}
        self.paused = self.has_paused = False
        self.own_answer = False  # the client was answered by us, before any answer came
        self.was_illegal = False  # the last event breaks ext_proc's order
        self.was_long = False  # the last event ended a piece that came many times over
        self._choices = choices
        self._path = path
        self._fixed = fixed
        self._now = 10.0
        self._numbers = cycle(range(1, NUMBERS + 1))

    def __iter__(self) -> Iterator[Event]:
        yield Tick(self._now)
        while self._choices:
            what = self._choices.of(_HAPPENS)
            if what in (Happens.PAUSE, Happens.RESUME):
                self.paused = what is Happens.PAUSE
                self.has_paused = True
                continue
            self.was_long = False
            for event in self._events(what):
                self.was_illegal = False
                if isinstance(event, Tick | Closed):
                    yield event
                elif not self.orderly or self._is_possible(event):
                    self.was_illegal = not self._is_legal(event)
                    self._advance(event)
                    yield event
        self.paused = False

    def _events(self, what: Happens) -> Iterator[Event]:
        of = self._choices.of
        match what:
            case Happens.REQUEST_HEADERS:
                yield self._headers(REQUEST, ((":method", of(_METHODS)), (":path", self._path), (":authority", "h:1")))
            case Happens.RESPONSE_HEADERS:
                yield self._headers(RESPONSE, ((":status", of(_STATUSES)),))
            case Happens.REQUEST_BODY:
                yield from self._pieces(REQUEST)
            case Happens.RESPONSE_BODY:
                yield from self._pieces(RESPONSE)
            case Happens.REQUEST_TRAILERS:
                yield TrailersReceived(REQUEST, Headers.of(x_t="1"))
            case Happens.RESPONSE_TRAILERS:
                yield TrailersReceived(RESPONSE, Headers.of(x_t="1"))
            case Happens.TICK:
                self._now += of(_WAITS)
                yield Tick(self._now)
            case Happens.CLOSE:
                yield Closed(of(tuple(CloseCause)))

    def _headers(self, direction: Direction, lines: tuple[tuple[str, str], ...]) -> HeadersReceived:
        of = self._choices.of
        kind, length, extra, end = of(_TYPES), of(_LENGTHS), of(_EXTRAS), of((False, True))
        length = str(len(self.sides[direction].body)) if length == "true" else length
        given = (*lines, ("content-type", kind), ("content-length", length))
        found = Headers((*((name, value.encode()) for name, value in given if value), *extra))
        facts = EnvoyFacts(
            request_body_mode=self._fixed[0], response_body_mode=self._fixed[1], observability_mode=self.observed
        )
        return HeadersReceived(direction, found, end, facts)

    def _pieces(self, direction: Direction) -> Iterator[BodyReceived]:
        of, side = self._choices.of, self.sides[direction]
        size, repeated, ends = of(SIZES), of((False, False, True)), of((False, True))
        if self.orderly and side.mode is BodyMode.BUFFERED:
            size, repeated = len(side.body), False
        piece, side.body = side.body[:size], side.body[size:]
        times = min(LONG // len(piece), OFTEN) if repeated and piece else 1
        for left in reversed(range(times)):
            data = piece if times == 1 else re.sub(rb"\d+", b"%d" % next(self._numbers), piece)
            self.was_long = times > 1 and not left
            yield BodyReceived(direction, data, ends and not left)

    def _is_legal(self, event: HeadersReceived | BodyReceived | TrailersReceived) -> bool:
        """Whether headers come first and once, and nothing after the end."""
        side = self.sides[event.direction]
        return not side.begun if isinstance(event, HeadersReceived) else side.begun and not side.ended

    def _is_possible(self, event: HeadersReceived | BodyReceived | TrailersReceived) -> bool:
        side = self.sides[event.direction]
        if not self._is_legal(event):
            return False
        if isinstance(event, HeadersReceived):
            return event.direction is RESPONSE or not self.sides[RESPONSE].begun
        held = side.mode is BodyMode.FULL_DUPLEX_STREAMED
        if self.own_answer and event.direction is RESPONSE:
            return side.answered
        if isinstance(event, BodyReceived) and side.mode is BodyMode.BUFFERED and side.came:
            return False
        return side.mode is not BodyMode.NONE and (side.answered or held)

    def _advance(self, event: HeadersReceived | BodyReceived | TrailersReceived) -> None:
        side = self.sides[event.direction]
        side.begun = side.begun or isinstance(event, HeadersReceived)
        side.ended = side.ended or isinstance(event, TrailersReceived) or event.end_of_stream
        if isinstance(event, BodyReceived):
            side.came += event.data
