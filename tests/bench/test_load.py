"""The load and the upstream, without an Envoy between them."""

from __future__ import annotations

import asyncio
import time
from dataclasses import replace
from typing import cast

import pytest

from tests.bench.cases import (
    ALLOWED_TOOLS,
    DENIED_TOOLS,
    STAMP,
    STAMP_LENGTH,
    Case,
    answers,
    cases,
    event,
    idle_stream,
)
from tests.bench.load import Load, LoadError, _Listener
from tests.bench.upstream import Connection, Streams, chunk

_ASKING = [case for case in cases() if not case.streams]
_STREAMING = [case for case in cases() if case.streams]


async def _until(load: Load, count: int) -> None:
    async with asyncio.timeout(10):
        while len(load.counted) < count:
            load.check()
            await asyncio.sleep(0)


@pytest.mark.parametrize("case", _ASKING, ids=lambda case: case.name)
async def test_every_connection_asks_again_and_again(upstream_port: int, case: Case) -> None:
    async with Load(upstream_port, case, 3, len(answers()[case.answer])) as load:
        load.begin()
        await _until(load, 10)
        load.check()


@pytest.mark.parametrize("case", _STREAMING, ids=lambda case: case.name)
async def test_events_arrive_on_every_stream_with_the_time_they_took(upstream_port: int, case: Case) -> None:
    async with Load(upstream_port, case, case.streams, None) as load:
        load.begin()
        began = time.monotonic_ns()
        await _until(load, case.streams)
        load.check()
        assert all(0 <= delay <= time.monotonic_ns() - began + 10**9 for delay in load.counted)


async def test_a_silent_stream_has_one_event(upstream_port: int) -> None:
    async with Load(upstream_port, Case("idle", "", idle_stream(), "idle", 2), 2, None) as load:
        assert len(load.counted) == 2


async def test_an_answer_of_another_length_is_a_failure(upstream_port: int) -> None:
    """So a refusal, which is HTTP 200 too, is never taken for a fast answer."""
    with pytest.raises(LoadError, match="not the expected one"):
        async with Load(upstream_port, _ASKING[0], 1, 299):
            pass


async def test_a_stream_that_is_none_is_a_failure(upstream_port: int) -> None:
    broken = replace(_STREAMING[0], request=_STREAMING[0].request.replace(b"x-bench: stream", b"x-bench: absent"))
    with pytest.raises(LoadError, match="closed"):
        async with Load(upstream_port, broken, 1, None):
            pass


def test_stamps_are_read_once_each_however_the_bytes_are_cut() -> None:
    data = b"HTTP/1.1 200 OK\r\n\r\n" + b"".join(chunk(event(stamp)) for stamp in (1, 2, 3))
    for size in (20, 29, 31, 64, 1000):
        load = Load(0, _STREAMING[0], 1, None)
        listener = _Listener(load, b"")
        for start in range(0, len(data), size):
            listener.data_received(data[start : start + size])
        assert len(load.counted) == 3


def test_a_stamp_is_as_long_as_the_load_takes_it_to_be() -> None:
    found = STAMP.search(event(time.monotonic_ns()))
    assert found is not None
    assert len(found[0]) == STAMP_LENGTH
    assert abs(time.monotonic_ns() - int(found[1])) < 10**10


@pytest.mark.parametrize(
    ("answer", "size"), [("chat-small", 300), ("chat-large", 32768), ("call-small", 300), ("call-large", 32768)]
)
def test_bodies_have_the_sizes_that_the_cases_are_named_by(answer: str, size: int) -> None:
    assert len(answers()[answer]) == size
    (case,) = (case for case in cases() if case.answer == answer)
    assert len(case.request.partition(b"\r\n\r\n")[2]) == size


def test_the_listed_tools_are_some_that_pass_and_some_that_do_not() -> None:
    assert all(name.encode() in answers()["list"] for name in (*ALLOWED_TOOLS, *DENIED_TOOLS))


class _Recorded(asyncio.Transport):
    """A transport that keeps what is written."""

    def __init__(self) -> None:
        super().__init__()
        self.written: list[bytes] = []

    def write(self, data: bytes | bytearray | memoryview) -> None:
        self.written.append(bytes(data))


def test_a_stream_whose_reader_is_slow_misses_events() -> None:
    transport = _Recorded()
    connection = Connection({}, Streams())
    connection.connection_made(cast(asyncio.BaseTransport, transport))
    connection.pause_writing()
    connection.write_event()
    assert transport.written == []
    connection.resume_writing()
    connection.write_event()
    assert len(transport.written) == 1


def test_a_request_is_answered_however_its_bytes_are_cut() -> None:
    request = _ASKING[0].request.replace(b"host:", b"content-type: x\r\nhost:")
    for cut in range(1, len(request)):
        transport = _Recorded()
        connection = Connection({b"chat-small": b"answer"}, Streams())
        connection.connection_made(cast(asyncio.BaseTransport, transport))
        connection.data_received(request[:cut])
        assert transport.written == []
        connection.data_received(request[cut:])
        assert transport.written == [b"answer"]
