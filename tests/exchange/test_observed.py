"""Answers that are only observed: no checkpoint, and nothing that Envoy, the trail or a policy could tell from one."""

from __future__ import annotations

import time
from functools import partial
from typing import Any
from unittest.mock import patch

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ext_proc.bundle.protocols import PROTOCOLS
from ext_proc.engine.exchange import Exchange
from ext_proc.engine.observers import Observers
from ext_proc.engine.pipeline import Binding, Pipeline
from ext_proc.engine.route import Route, RouteMatch, Rulebook
from ext_proc.events import BodyReceived, Direction, HeadersReceived, Tick
from ext_proc.headers import Headers
from ext_proc.limits import Limits
from ext_proc.policy import Policy
from ext_proc.replies import BodyReply
from ext_proc.running import decide
from ext_proc.testing import Played, pass_through
from gatehouse_policies.usage import Parameters, UsageMeter
from tests.exchange.policies import Guard, Watcher
from tests.exchange.recordings import RECORDINGS
from tests.exchange.test_cutting import cut_at, seen

STREAMS = [name for name, recording in RECORDINGS.items() if recording.streams]
LIMITS = Limits(decision=60.0)


def observing() -> list[Policy[Any, Any]]:
    return [Watcher(), UsageMeter("usage", Parameters())]


def rulebook(*policies: Policy[Any, Any]) -> Rulebook:
    bindings = [*map(Binding, policies), Binding(Guard(b"a", name="shadow"), enforce=False)]
    pipeline = Pipeline(bindings, time.monotonic)
    route = Route("all", RouteMatch(path="/"), "auto", PROTOCOLS["auto"].codecs(), pipeline)
    return Rulebook("observed", "1", (route,), limits=LIMITS)


def play(name: str, cuts: list[int]) -> tuple[Played, list[str]]:
    recording, (watcher, meter) = RECORDINGS[name], observing()
    assert isinstance(watcher, Watcher)
    cut = partial(cut_at, positions=cuts)
    return pass_through(rulebook(watcher, meter), recording.asked(), recording.answered(sized=False), cut), watcher.seen


@given(st.sampled_from(STREAMS), st.lists(st.integers(0, 4000), max_size=8))
@settings(max_examples=60, deadline=None)
def test_a_recorded_stream_leaves_the_same_whether_observers_are_told_or_asked(name: str, cuts: list[int]) -> None:
    told = play(name, cuts)
    with patch.object(Pipeline, "observers", return_value=None):
        asked = play(name, cuts)
    assert seen(told[0]) == seen(asked[0])
    assert told[0].trail.facts == asked[0].trail.facts
    assert told[1] == asked[1]
    assert told[0].client is not None
    assert told[0].client.body == RECORDINGS[name].response


def opened(*policies: Policy[Any, Any]) -> Exchange:
    """An exchange whose stream is about to come."""
    recording = RECORDINGS["012-mistral"]
    exchange = Exchange(rulebook(*policies), "t")
    pseudo = {":method": recording.method, ":path": recording.path, ":authority": recording.host, ":scheme": "http"}
    asked = Headers((name, value.encode()) for name, value in {**pseudo, **recording.request_headers}.items())
    answered = Headers.of(content_type="text/event-stream")
    for event in (
        Tick(1.0),
        HeadersReceived(Direction.REQUEST, asked),
        BodyReceived(Direction.REQUEST, recording.request, end_of_stream=True),
        HeadersReceived(Direction.RESPONSE, Headers([(":status", b"200"), *answered.lines])),
    ):
        exchange.receive(event)
        decide(exchange)
        exchange.replies()
    return exchange


@pytest.mark.parametrize("guarded", [False, True])
def test_only_where_somebody_decides_an_event_is_put_to_the_policies(guarded: bool) -> None:
    exchange = opened(*observing(), *([Guard()] if guarded else []))
    event = RECORDINGS["012-mistral"].response.split(b"\n\n")[0] + b"\n\n"
    exchange.receive(BodyReceived(Direction.RESPONSE, event))
    assert (exchange.next_checkpoint() is not None) is guarded
    if not guarded:
        assert exchange.replies() == [BodyReply(Direction.RESPONSE)]


def test_the_time_of_each_piece_is_its_own() -> None:
    exchange = opened(*observing())
    with patch.object(Observers, "tell") as tell:
        for _ in range(3):
            exchange._scope.budget.left = -1.0  # as if hooks had taken it all
            exchange.receive(BodyReceived(Direction.RESPONSE, b'data: {"choices":[]}\n\n'))
            assert exchange._scope.budget.left == LIMITS.decision
    assert tell.call_count == 3
