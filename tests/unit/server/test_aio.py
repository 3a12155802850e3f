"""The gRPC transport, with a real client over loopback and Unix sockets."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import grpc
import grpc.aio
import pytest

from ext_proc.events import CloseCause, Closed, HeadersReceived
from ext_proc.limits import MIB, Limits
from ext_proc.replies import Abort
from ext_proc.server.address import AddressError, TcpAddress, UnixAddress
from ext_proc.server.aio import AioServer, message_length
from ext_proc.wire.service import PROCESS
from tests.unit.server.fakes import (
    Closing,
    FakeExchange,
    MemoryLog,
    Served,
    Waiting,
    body_message,
    headers_message,
    serving,
    soon,
)


class Failing(FakeExchange):
    """Fails at the headers with `error`."""

    error: BaseException = ValueError("payload")

    def receive(self, event: Any) -> None:
        super().receive(event)
        if isinstance(event, HeadersReceived):
            raise self.error


class Aborting(FakeExchange):
    """Aborts at the headers for `reason`."""

    reason = "out of order"

    def receive(self, event: Any) -> None:
        super().receive(event)
        if isinstance(event, HeadersReceived):
            self.replies_to_come = [Abort(self.reason)]


async def exchange_headers(call: Any) -> None:
    """Sends headers and takes the reply."""
    await soon(call.write(headers_message()))
    assert await soon(call.read())


async def test_an_exchange_ends_with_ok_after_envoys_half_close(served: Served) -> None:
    call = served.call()
    await exchange_headers(call)
    await soon(call.done_writing())
    assert await soon(call.code()) is grpc.StatusCode.OK
    assert (await soon(served.recorded.get())).cause == "half_closed"
    assert served.exchanges[0].completed == 1
    assert served.log.lines == []


async def test_every_rpc_is_an_exchange_of_its_own(served: Served) -> None:
    calls = [served.call() for _ in range(5)]
    for call in calls:
        await exchange_headers(call)
    assert served.server.active == 5
    for call in calls:
        await soon(call.done_writing())
        await soon(call.code())
        await soon(served.recorded.get())
    assert len(served.exchanges) == 5
    assert served.server.active == 0


@pytest.mark.parametrize("reason", ["out of order", ""])
async def test_an_abort_ends_the_rpc_with_an_error_status(served: Served, reason: str) -> None:
    class ForAReason(Aborting):
        pass

    ForAReason.reason = reason
    served.make = ForAReason
    call = served.call()
    await soon(call.write(headers_message()))
    assert await soon(call.code()) is grpc.StatusCode.FAILED_PRECONDITION
    assert await soon(call.details()) == reason
    assert served.exchanges[0].causes == [CloseCause.FAILED]


async def test_an_abort_after_the_half_close_is_an_error_status_too(served: Served) -> None:
    class Late(FakeExchange):
        def receive(self, event: Any) -> None:
            super().receive(event)
            if isinstance(event, Closed):
                self.replies_to_come = [Abort("cut short")]

    served.make = Late
    call = served.call()
    await exchange_headers(call)
    await soon(call.done_writing())
    assert await soon(call.code()) is grpc.StatusCode.FAILED_PRECONDITION
    assert await soon(call.details()) == "cut short"


async def test_unreadable_bytes_end_the_rpc_with_an_error_status(served: Served) -> None:
    call = served.call()
    await soon(call.write(b"\xff"))
    assert await soon(call.code()) is grpc.StatusCode.FAILED_PRECONDITION
    assert served.log.of("warning") == ["an exchange was aborted"]


@pytest.mark.parametrize("error", [ValueError("payload"), BaseException("payload"), asyncio.CancelledError()])
async def test_a_fault_of_ours_never_ends_cleanly(served: Served, error: BaseException) -> None:
    class Broken(Failing):
        pass

    Broken.error = error
    served.make = Broken
    call = served.call()
    await soon(call.write(headers_message()))
    assert await soon(call.code()) is grpc.StatusCode.INTERNAL
    assert "payload" not in await soon(call.details()) + str(served.log.lines)
    assert served.log.of("error") == ["an exchange failed"]
    assert (await soon(served.recorded.get())).cause == "failed"


async def test_an_exchange_that_cannot_be_opened_is_an_error_status(served: Served) -> None:
    def fail() -> FakeExchange:
        raise ValueError("payload")

    served.make = fail
    call = served.call()
    assert await soon(call.code()) is grpc.StatusCode.INTERNAL
    assert served.log.of("error") == ["an exchange could not be opened"]


async def test_a_cancelled_rpc_completes_its_exchange_once(served: Served) -> None:
    for _ in range(20):
        call = served.call()
        await exchange_headers(call)
        call.cancel()
        trail = await soon(served.recorded.get())
        assert trail.cause == "cancelled"
        assert served.exchanges[-1].completed == 1
        assert served.exchanges[-1].causes == [CloseCause.CANCELLED]
    assert served.log.lines == []


async def test_a_cancelled_rpc_cuts_its_hook_short(served: Served) -> None:
    hook = Waiting()
    served.make = lambda: FakeExchange(hook)
    call = served.call()
    await soon(call.write(headers_message()))
    await soon(hook.started.wait())
    call.cancel()
    assert (await soon(served.recorded.get())).cause == "cancelled"
    assert hook.cut_short.is_set()
    assert [stage.value for stage, _ in served.exchanges[0].decisions] == ["complete"]


@pytest.mark.parametrize("cancelled", [False, True])
async def test_on_complete_outlives_its_rpc_and_the_server_waits_for_it(served: Served, cancelled: bool) -> None:
    policy = Closing()
    served.make = lambda: FakeExchange(policy)
    call = served.call()
    await exchange_headers(call)
    if cancelled:
        call.cancel()
    else:
        await soon(call.done_writing())
        assert await soon(call.code()) is grpc.StatusCode.OK
    await soon(policy.started.wait())
    stopping = asyncio.ensure_future(served.server.stop(5.0))
    await asyncio.wait((stopping,), timeout=0.1)
    assert not stopping.done()
    policy.go_on.set()
    assert await soon(stopping) is True
    assert policy.finished == 1
    assert served.recorded.qsize() == 1


async def test_stopping_lets_running_exchanges_finish_and_refuses_new_ones(served: Served) -> None:
    hook = Waiting()
    served.make = lambda: FakeExchange(hook)
    running = served.call()
    await soon(running.write(headers_message()))
    await soon(hook.started.wait())
    stopping = asyncio.ensure_future(served.server.stop(5.0))
    await asyncio.sleep(0)
    refused = served.call()
    assert await soon(refused.code()) is not grpc.StatusCode.OK
    assert len(served.exchanges) == 1
    hook.go_on.set()
    assert await soon(running.read())
    await soon(running.done_writing())
    assert await soon(running.code()) is grpc.StatusCode.OK
    assert await soon(stopping) is True


async def test_past_its_time_stopping_cancels_what_runs_and_records_it(served: Served) -> None:
    call = served.call()
    await exchange_headers(call)
    assert await soon(served.server.stop(0.05)) is False
    assert (await soon(served.recorded.get())).cause == "cancelled"
    assert await soon(call.code()) is not grpc.StatusCode.OK


async def test_stopping_in_a_hurry_cancels_what_runs_before_its_time(served: Served) -> None:
    call = served.call()
    await exchange_headers(call)
    stopping = asyncio.ensure_future(served.server.stop(6000.0))
    await asyncio.sleep(0)
    assert not stopping.done()
    served.server.hurry()
    await soon(stopping)
    assert (await soon(served.recorded.get())).cause == "cancelled"
    assert await soon(call.code()) is not grpc.StatusCode.OK


async def test_a_message_longer_than_grpcs_own_limit_passes(served: Served) -> None:
    call = served.call()
    await soon(call.write(body_message(8 * MIB)))
    assert await soon(call.read())
    await soon(call.done_writing())
    assert await soon(call.code()) is grpc.StatusCode.OK


async def test_a_message_past_our_limit_is_no_clean_end() -> None:
    limits = Limits(request_body=64 * MIB, response_body=1 * MIB)
    async with serving(limits=limits) as served:
        call = served.call()
        await soon(call.write(body_message(message_length(limits) + 1)))
        assert await soon(call.code()) is grpc.StatusCode.RESOURCE_EXHAUSTED
        assert served.exchanges[0].completed == 1


async def test_the_longest_message_follows_the_limits() -> None:
    assert message_length(Limits(request_body=100 * MIB)) > 100 * MIB
    assert message_length(Limits(response_body=100 * MIB)) > 100 * MIB


async def test_another_method_is_unimplemented(served: Served) -> None:
    call = served.channel.stream_stream(PROCESS + "ed")()
    assert await soon(call.code()) is grpc.StatusCode.UNIMPLEMENTED


def another_server() -> AioServer:
    return AioServer(FakeExchange, lambda trail: None, MemoryLog(), limits=Limits())


async def test_a_port_that_is_taken_is_a_sentence() -> None:
    first, second = another_server(), another_server()
    address = await first.start(TcpAddress("127.0.0.1", 0))
    with pytest.raises(AddressError, match=rf"^cannot listen on {address}: address already in use$"):
        await second.start(address)
    await first.stop(0.0)


async def test_a_live_servers_socket_is_not_taken_from_it(tmp_path: Path) -> None:
    address = UnixAddress(str(tmp_path / "s"))
    async with serving(address) as served:
        with pytest.raises(AddressError, match="another process serves there"):
            await another_server().start(address)
        call = served.call()
        await exchange_headers(call)
        await soon(call.done_writing())
        await soon(call.code())


async def test_a_socket_is_for_owner_and_group_and_free_again_after_stopping(tmp_path: Path) -> None:
    path = tmp_path / "s"
    async with serving(UnixAddress(str(path))):
        assert path.stat().st_mode & 0o777 == 0o660
    async with serving(UnixAddress(str(path))) as again:
        await exchange_headers(again.call())
