"""The table of states and events: every pair is either a row or a protocol error."""

from __future__ import annotations

import itertools

import pytest

from ext_proc.engine.half import TRANSITIONS, Half, Kind, Phase
from ext_proc.errors import ProtocolError
from ext_proc.events import BodyReceived, Direction, HeadersReceived, TrailersReceived
from ext_proc.headers import Headers

EVENTS: dict[Kind, HeadersReceived | BodyReceived | TrailersReceived] = {
    Kind.HEADERS: HeadersReceived(Direction.REQUEST, Headers()),
    Kind.HEADERS_END: HeadersReceived(Direction.REQUEST, Headers(), end_of_stream=True),
    Kind.BODY: BodyReceived(Direction.REQUEST, b"x"),
    Kind.BODY_END: BodyReceived(Direction.REQUEST, b"", end_of_stream=True),
    Kind.TRAILERS: TrailersReceived(Direction.REQUEST, Headers()),
}
EXPECTED = {
    (Phase.IDLE, Kind.HEADERS): Phase.OPEN,
    (Phase.IDLE, Kind.HEADERS_END): Phase.ENDED,
    (Phase.OPEN, Kind.BODY): Phase.OPEN,
    (Phase.OPEN, Kind.BODY_END): Phase.ENDED,
    (Phase.OPEN, Kind.TRAILERS): Phase.ENDED,
}


@pytest.mark.parametrize(("phase", "kind"), list(itertools.product(Phase, Kind)), ids=lambda value: value.name)
def test_every_state_and_event_is_a_row_or_a_protocol_error(phase: Phase, kind: Kind) -> None:
    half = Half(Direction.REQUEST)
    half.phase = phase
    if (phase, kind) in EXPECTED:
        half.advance(EVENTS[kind])
        assert half.phase is EXPECTED[(phase, kind)]
    else:
        with pytest.raises(ProtocolError, match=f"request {kind.value} while {phase.value}"):
            half.advance(EVENTS[kind])
        assert half.phase is phase


def test_the_table_has_no_other_rows() -> None:
    assert TRANSITIONS == EXPECTED
