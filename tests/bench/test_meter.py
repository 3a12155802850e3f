"""CPU time, memory and threads of a process, read from the kernel."""

from __future__ import annotations

import os
import sys
import time

import pytest

if sys.platform != "linux":
    pytest.skip("the benchmark runs on Linux only", allow_module_level=True)

from tests.bench.meter import Meter, cpu_seconds, resident_bytes, thread_seconds


def test_cpu_time_is_the_whole_process_s() -> None:
    before = time.process_time()
    read = cpu_seconds(os.getpid())
    assert before <= read <= time.process_time()


def test_a_meter_counts_from_its_making() -> None:
    meter = Meter({"own": os.getpid()})
    until = time.process_time() + 0.01
    while time.process_time() < until:
        pass
    usage = meter.read()
    assert 0.01 <= usage.cpu["own"] <= usage.seconds * 1000
    assert usage.foreign >= 0.0


def test_a_process_that_is_not_there_is_an_error() -> None:
    gone = 2**22 + 1  # past the kernel's highest process id
    with pytest.raises(OSError, match="Invalid argument"):
        cpu_seconds(gone)
    with pytest.raises(FileNotFoundError):
        resident_bytes(gone)


def test_memory_is_in_bytes() -> None:
    assert 1 << 20 < resident_bytes(os.getpid()) < 1 << 40


def test_threads_are_named_by_id_and_name() -> None:
    assert any(name.startswith(f"{os.getpid()} ") for name in thread_seconds(os.getpid()))
