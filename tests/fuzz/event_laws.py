"""The laws of the engine under lists of events, in Envoy's order and in any other.

Rules:
- A target takes bytes and returns nothing; a broken law is an exception. Laws are asserts: this is test code.
- Nothing raises; each reply can be written; an abort is the last word; COMPLETE comes once.
- What an exchange keeps in memory depends on its limits, not on the length of its bodies.
- Towards an orderly Envoy there is one reply to each event outside full duplex.

Not here: what may leave (leak_laws.py), the events (event_lists.py), exchanges that a whole simulated Envoy plays
(exchange_laws.py).
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from unittest.mock import patch

from ext_proc.events import (
    BodyMode,
    BodyReceived,
    CloseCause,
    Closed,
    Direction,
    Event,
    HeadersReceived,
    Tick,
    TrailersReceived,
)
from ext_proc.framing import body, sse
from ext_proc.headers import HeaderMutation
from ext_proc.replies import (
    Abort,
    BodyReply,
    Finish,
    HeadersReply,
    ImmediateReply,
    ModesReply,
    Reply,
    StreamedBody,
    TrailersReply,
)
from ext_proc.trail import Stage
from ext_proc.wire.encode import encode
from tests.fuzz.event_lists import REQUEST, RESPONSE
from tests.fuzz.event_run import Judge, Run
from tests.fuzz.leak_laws import no_answer_leaks, no_request_leaks
from tests.fuzz.retained import retained

MOST_KEPT = 40 * 1024  # bytes, with small limits; less than what comes where a piece comes many times over
_SPAN = 256  # bytes, in place of framing's own: what grows by spans shows in short bodies
_DUE: Mapping[type[Event], type[Reply]] = {
    HeadersReceived: HeadersReply,
    BodyReceived: BodyReply,
    TrailersReceived: TrailersReply,
}


def events(data: bytes) -> None:
    """An exchange under any list of events."""
    with patch.object(body, "SPAN", _SPAN), patch.object(sse, "SPAN", _SPAN):
        run = Run(data)
        before = retained(run.exchange)
        protocol = _Protocol(run)
        for event, replies in run:
            for reply in replies:
                _can_be_written(reply)
            protocol.check(event, replies)
            # A transport reads one message at a time: what waits while a decision takes its time is its own.
            if run.events.orderly and run.events.was_long and not run.events.paused:
                assert retained(run.exchange) - before < MOST_KEPT, "an exchange keeps more and more"
        _end(run)
        if isinstance(run.policy, Judge) and not run.events.observed and run.events.orderly:
            no_request_leaks(run, run.policy)
            no_answer_leaks(run, run.policy)


def _can_be_written(reply: Reply) -> None:
    if isinstance(reply, Abort | Finish):
        return
    assert encode(reply)
    if isinstance(reply, HeadersReply | BodyReply | TrailersReply):
        _is_clean(reply.mutation)
    elif isinstance(reply, ImmediateReply):
        assert 200 <= reply.status <= 599, "no status of HTTP"
        _is_clean(HeaderMutation(set=reply.headers))


def _is_clean(mutation: HeaderMutation) -> None:
    assert all(name == name.lower() and not set(value) & set(b"\r\n\0") for name, value in mutation.set), (
        "a header line that could become two"
    )


class _Protocol:
    """ext_proc's own rules for replies."""

    def __init__(self, run: Run) -> None:
        self._run = run
        self._due: list[tuple[Direction, type[Reply]]] = []
        self._over = self._answered = self._closed = False

    def check(self, event: Event, replies: Sequence[Reply]) -> None:
        """What one event was answered with."""
        run = self._run
        assert not run.was_lowered, "full duplex that was chosen early is lowered: Envoy loses bodies"
        for reply in replies:
            assert not self._over, "a reply after the last"
            self._over = isinstance(reply, Abort | Finish)
            assert not isinstance(reply, Finish) or event == Closed(CloseCause.HALF_CLOSED), "an end before Envoy's"
            if isinstance(reply, ModesReply):
                assert reply.modes.request_body is BodyMode.FULL_DUPLEX_STREAMED, "an override that may not stand alone"
            if self._answered:
                self._goes_no_further(reply)
            self._answered = self._answered or isinstance(reply, ImmediateReply)
        if run.events.was_illegal and not (run.events.paused or self._over or self._closed):
            raise AssertionError("what breaks ext_proc's order has to end the RPC")
        self._closed = self._closed or isinstance(event, Closed)
        if run.events.observed and run.heads:
            assert all(isinstance(reply, Abort | Finish) for reply in replies), "a reply where none is expected"
        elif run.events.orderly and not isinstance(event, Closed):
            self._one_to_one(event, replies)

    def _goes_no_further(self, reply: Reply) -> None:
        """The client has its answer from us: all that may follow is that answer on its way out."""
        assert not isinstance(reply, ImmediateReply), "the client was answered twice"
        if isinstance(reply, HeadersReply | BodyReply | StreamedBody | TrailersReply):
            is_ours = self._run.events.own_answer and reply.direction is RESPONSE
            assert is_ours, "what was answered in its place goes on"

    def _one_to_one(self, event: Event, replies: Sequence[Reply]) -> None:
        """Outside full duplex one reply to each event, in their order."""
        run = self._run
        if run.answer is not None or run.aborted:
            return
        if not isinstance(event, Tick | Closed) and not run.was_duplex:
            self._due.append((event.direction, _DUE[type(event)]))
        for reply in replies:
            assert not isinstance(reply, ImmediateReply | Abort | Finish)
            direction = REQUEST if isinstance(reply, ModesReply) else reply.direction
            if self._due and self._due[0] == (
                direction,
                HeadersReply if isinstance(reply, ModesReply) else type(reply),
            ):
                self._due.pop(0)
            else:
                assert run.events.sides[direction].mode is BodyMode.FULL_DUPLEX_STREAMED, "a spurious reply"
        assert run.events.paused or not self._due, "an event without a reply"


def _end(run: Run) -> None:
    """The exchange is over, its policies were told once, and its trail can be written."""
    assert run.exchange.over, "an exchange that does not end"
    assert run.exchange.wake_at() is None, "an exchange that is over wants to be woken"
    json.dumps(run.exchange.trail.as_dict())
    if isinstance(run.policy, Judge):
        asked = run.policy.decided(Stage.REQUEST) + run.policy.decided(Stage.RESPONSE)
        assert run.policy.completed == (1 if asked else 0), "COMPLETE came another number of times"
