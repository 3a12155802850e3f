"""The loop of one RPC, without gRPC."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import time
import weakref
from typing import Any

import grpc.aio
import pytest

from ext_proc.errors import GatehouseError, ProtocolError
from ext_proc.events import BodyReceived, HeadersReceived, Tick
from ext_proc.policy import Context, Deny, NoParameters, Policy, Verdict
from ext_proc.replies import Abort, Finish
from ext_proc.server.driver import Aborted, Driver, PeerGone
from ext_proc.trail import Stage, Word
from ext_proc.wire.pb.external_processor_pb2 import ProcessingResponse
from tests.unit.server.fakes import FakeExchange, Waiting, body_message, headers_message, soon

EOF = grpc.aio.EOF  # type: ignore[attr-defined]  # the stubs lack it


class Wire:
    """An RPC whose messages a test puts in; counts reads that were begun."""

    def __init__(self, *messages: Any) -> None:
        self.incoming: asyncio.Queue[Any] = asyncio.Queue()
        for message in messages:
            self.incoming.put_nowait(message)
        self.written: list[str | None] = []
        self.reads = 0
        self.reading = asyncio.Event()
        self.broken = False

    async def read(self) -> Any:
        self.reads += 1
        self.reading.set()
        message = await self.incoming.get()
        if isinstance(message, Exception):
            raise message
        return message

    async def write(self, message: bytes) -> None:
        if self.broken:
            raise RuntimeError("closed")
        self.written.append(ProcessingResponse.FromString(message).WhichOneof("response"))


class Hook(Policy[NoParameters, None]):
    """Does at the headers what a test wants."""

    def __init__(self, work: Any) -> None:
        super().__init__("hook", NoParameters())
        self._work = work

    async def on_request_headers(self, ctx: Context[None]) -> Verdict:
        verdict: Verdict = await self._work()
        return verdict


async def drive(exchange: FakeExchange, *messages: Any) -> Wire:
    wire = Wire(*messages, EOF)
    await soon(Driver(exchange, wire, time.monotonic).run())
    return wire


async def test_every_event_comes_after_a_tick() -> None:
    exchange = FakeExchange()
    await drive(exchange, headers_message(), body_message())
    assert [type(event) for event in exchange.events] == [Tick, HeadersReceived, Tick, BodyReceived]


async def test_replies_leave_in_order() -> None:
    wire = await drive(FakeExchange(), headers_message(), body_message())
    assert wire.written == ["request_headers", "request_body"]


async def test_bytes_that_are_no_message_end_the_loop() -> None:
    with pytest.raises(ProtocolError):
        await drive(FakeExchange(), b"\xff")


async def test_an_abort_ends_the_loop_with_its_reason() -> None:
    exchange = FakeExchange()
    exchange.replies_to_come.append(Abort("out of order"))
    with pytest.raises(Aborted, match="out of order"):
        await drive(exchange, headers_message())


async def test_a_clean_end_before_the_half_close_is_an_error() -> None:
    exchange = FakeExchange()
    exchange.replies_to_come.append(Finish())
    with pytest.raises(GatehouseError):
        await drive(exchange, headers_message())


async def test_the_value_of_an_async_hook_is_its_verdict() -> None:
    async def deny() -> Verdict:
        await asyncio.sleep(0)
        return Deny("no", "no")

    exchange = FakeExchange(Hook(deny))
    await drive(exchange, headers_message())
    assert exchange.decisions[0][1].denial == Deny("no", "no")


async def test_a_hook_past_its_time_has_failed() -> None:
    exchange = FakeExchange(Waiting(), timeout=0.01)
    await drive(exchange, headers_message())
    assert [(entry.verdict, entry.reason) for entry in exchange.trail.entries] == [(Word.ERROR, "timeout")]


async def test_a_hook_that_goes_on_past_its_time_has_failed_too() -> None:
    async def stubborn() -> Verdict:
        with contextlib.suppress(asyncio.CancelledError):
            await asyncio.Event().wait()
        return None

    exchange = FakeExchange(Hook(stubborn), timeout=0.01)
    await drive(exchange, headers_message())
    assert exchange.trail.entries[0].reason == "timeout"


@pytest.mark.parametrize(
    "error", [ValueError("secret"), asyncio.CancelledError(), BaseException("a native panic"), SystemExit("secret")]
)
async def test_what_a_hook_raises_is_its_own_failure_and_not_the_exchanges(error: BaseException) -> None:
    async def fail() -> Verdict:
        raise error

    exchange = FakeExchange(Hook(fail))
    wire = await drive(exchange, headers_message())
    entry = exchange.trail.entries[0]
    assert (entry.verdict, entry.enforced) == (Word.ERROR, True)
    assert entry.reason == f"raised {type(error).__name__}"
    assert wire.written == ["request_headers"]


async def test_without_a_wake_up_time_no_task_is_made_for_a_message() -> None:
    made = []
    loop = asyncio.get_running_loop()

    def counting(loop: Any, coroutine: Any, **kwargs: Any) -> asyncio.Task[Any]:
        made.append(coroutine)
        return asyncio.Task(coroutine, loop=loop, **kwargs)

    wire = Wire(headers_message(), *[body_message()] * 20, EOF)
    driver = Driver(FakeExchange(), wire, time.monotonic)
    loop.set_task_factory(counting)
    try:
        await driver.run()
    finally:
        loop.set_task_factory(None)
    assert len(wire.written) == 21
    assert made == []


async def test_an_exchange_is_woken_while_no_message_comes_and_loses_none() -> None:
    class Sleeper(FakeExchange):
        def receive(self, event: Any) -> None:
            super().receive(event)
            if isinstance(event, HeadersReceived):
                self.wake_times = [time.monotonic() + 0.01]
            elif isinstance(event, Tick) and self.wake_times and event.now >= self.wake_times[0]:
                self.wake_times = []
                woken.set()

    woken = asyncio.Event()
    wire = Wire(headers_message())
    exchange = Sleeper()
    running = asyncio.ensure_future(Driver(exchange, wire, time.monotonic).run())
    await soon(woken.wait())
    wire.incoming.put_nowait(body_message())
    wire.incoming.put_nowait(EOF)
    await soon(running)
    assert wire.written == ["request_headers", "request_body"]
    assert wire.reads == 3


async def test_a_wake_up_time_in_the_past_does_not_spin() -> None:
    exchange = FakeExchange()
    exchange.wake_times = [0.0]
    wire = Wire()
    running = asyncio.ensure_future(Driver(exchange, wire, time.monotonic).run())
    asyncio.get_running_loop().call_later(0.05, wire.incoming.put_nowait, EOF)
    await soon(running)
    assert 1 <= len(exchange.events) <= 60


@pytest.mark.parametrize("wakes", [False, True])
async def test_cancelling_ends_a_waiting_read(wakes: bool) -> None:
    exchange, wire = FakeExchange(), Wire()
    exchange.wake_times = [time.monotonic() + 60] if wakes else []
    running = asyncio.ensure_future(Driver(exchange, wire, time.monotonic).run())
    await soon(wire.reading.wait())
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await soon(running)
    assert len(asyncio.all_tasks()) == 1


@pytest.mark.parametrize("ended", [False, True], ids=["waiting", "half-closed"])
async def test_a_cancelled_exchange_is_freed_at_once_and_its_payload_with_it(ended: bool) -> None:
    """Not at the next full run of the garbage collector: bodies are large, and such runs far apart."""
    exchange, wire = FakeExchange(), Wire()
    exchange.wake_times = [time.monotonic() + 60.0]
    gone = weakref.ref(exchange)
    task = asyncio.create_task(Driver(exchange, wire, time.monotonic).run())
    del exchange
    gc.disable()
    try:
        await soon(wire.reading.wait())
        wire.reading.clear()
        wire.incoming.put_nowait(headers_message())
        await soon(wire.reading.wait())
        if ended:
            wire.incoming.put_nowait(EOF)
            await asyncio.sleep(0)
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await soon(task)
        del task
        await asyncio.sleep(0)  # the loop's own last look at the task
        assert gone() is None
    finally:
        gc.enable()


async def test_cancelling_cuts_a_hook_short_and_resolves_nothing() -> None:
    hook = Waiting()
    exchange = FakeExchange(hook)
    running = asyncio.ensure_future(Driver(exchange, Wire(headers_message()), time.monotonic).run())
    await soon(hook.started.wait())
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await soon(running)
    assert hook.cut_short.is_set()
    assert exchange.decisions == []
    assert exchange.next_checkpoint() is not None


async def test_a_peer_that_cannot_be_written_to_is_gone() -> None:
    wire = Wire(headers_message())
    wire.broken = True
    with pytest.raises(PeerGone):
        await soon(Driver(FakeExchange(), wire, time.monotonic).run())


@pytest.mark.parametrize("wakes", [False, True])
async def test_a_peer_that_cannot_be_read_from_is_gone(wakes: bool) -> None:
    exchange = FakeExchange()
    exchange.wake_times = [time.monotonic() + 60] if wakes else []
    with pytest.raises(PeerGone):
        await soon(Driver(exchange, Wire(RuntimeError("broken")), time.monotonic).run())


async def test_decisions_are_taken_before_the_replies_leave() -> None:
    hook = Waiting()
    exchange, wire = FakeExchange(hook), Wire(headers_message(), EOF)
    running = asyncio.ensure_future(Driver(exchange, wire, time.monotonic).run())
    await soon(hook.started.wait())
    assert wire.written == []
    hook.go_on.set()
    await soon(running)
    assert [stage for stage, _ in exchange.decisions] == [Stage.REQUEST_HEADERS]
    assert wire.written == ["request_headers"]
