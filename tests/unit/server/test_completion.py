"""The end of an exchange: once, owned by the server, recorded in any case."""

from __future__ import annotations

import asyncio
import time
from typing import Any

import pytest

from ext_proc.events import CloseCause, HeadersReceived
from ext_proc.policy import Context, NoParameters, Policy, Verdict
from ext_proc.server.completion import Completions
from ext_proc.server.driver import Driver
from ext_proc.trail import Trail
from tests.unit.server.fakes import Closing, FakeExchange, MemoryLog, headers_message, soon
from tests.unit.server.test_driver import EOF, Wire


class Counting(Policy[NoParameters, None]):
    calls = 0

    def on_request_headers(self, ctx: Context[None]) -> Verdict:
        return None

    def on_complete(self, ctx: Context[None]) -> None:
        self.calls += 1


class Ending:
    """Completions with what they recorded and logged."""

    def __init__(self) -> None:
        self.recorded: list[Trail] = []
        self.log = MemoryLog()
        self.completions = Completions(self.recorded.append, self.log, time.monotonic)


async def driven(exchange: FakeExchange) -> FakeExchange:
    """The exchange after its headers, so that its policies were started."""
    await soon(Driver(exchange, Wire(headers_message(), EOF), time.monotonic).run())
    assert any(isinstance(event, HeadersReceived) for event in exchange.events)
    return exchange


@pytest.mark.parametrize("cause", list(CloseCause))
async def test_a_hook_that_computes_is_done_on_return(cause: CloseCause) -> None:
    policy, ending = Counting("counting", NoParameters()), Ending()
    exchange = await driven(FakeExchange(policy))
    ending.completions.complete(exchange, cause)
    assert (policy.calls, exchange.completed, exchange.causes) == (1, 1, [cause])
    assert ending.recorded == [exchange.trail]


async def test_a_hook_that_waits_goes_on_by_itself_and_the_drain_waits_for_it() -> None:
    policy, ending = Closing(), Ending()
    exchange = await driven(FakeExchange(policy))
    ending.completions.complete(exchange, CloseCause.CANCELLED)
    await soon(policy.started.wait())
    assert ending.recorded == []
    draining = asyncio.ensure_future(ending.completions.drained(5.0))
    policy.go_on.set()
    assert await soon(draining) is True
    assert (policy.finished, exchange.completed) == (1, 1)
    assert ending.recorded == [exchange.trail]


async def test_past_the_drain_a_hook_is_cut_short_and_recorded() -> None:
    policy, ending = Closing(), Ending()
    exchange = await driven(FakeExchange(policy))
    ending.completions.complete(exchange, CloseCause.CANCELLED)
    assert await soon(ending.completions.drained(0.0)) is False
    assert ending.recorded == [exchange.trail]
    assert exchange.trail.notes == ["on_complete was cut short"]


@pytest.mark.parametrize("error", [ValueError, BaseException])
async def test_an_exchange_that_fails_at_its_end_is_logged_without_the_errors_text_and_recorded(
    error: type[BaseException],
) -> None:
    class Broken(FakeExchange):
        def receive(self, event: Any) -> None:
            raise error("payload")

    exchange, ending = Broken(), Ending()
    ending.completions.complete(exchange, CloseCause.FAILED)
    assert ending.recorded == [exchange.trail]
    assert ending.log.of("error") == ["an exchange could not be completed"]
    assert "payload" not in str(ending.log.lines)


async def test_nothing_running_is_drained_at_once() -> None:
    assert await Ending().completions.drained(0.0) is True
