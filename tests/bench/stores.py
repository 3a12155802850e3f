"""What an operation on a store takes: the embedded one with one and with two processes, and a Redis on the same host.

    python -m tests.bench.stores [--operations N] [--folder PATH] [--redis]

Rules:
- Each process asks again as soon as it is answered: with two of them the file is locked most of the time, which is the
  worst that can happen to it.
- A compare-and-set is timed without the read before it; an operation that failed counts with its time, and is told.

Not here: what the figures should be (docs/operations.md).
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path

import uvloop

from ext_proc.secret import Secret
from ext_proc.stores.embedded import EmbeddedStore
from ext_proc.stores.settings import EmbeddedSettings, RedisSettings
from ext_proc.stores.store import ABSENT, Count, Key, Store, StoreError, Write
from tests.bench.figures import percentile
from tests.redis_server import redis_server

_KEYS = 500
_VALUE = b"x" * 100
_LIMIT = 10**9
_HOUR = 3600.0
_WARMING = 200


@dataclass(frozen=True, slots=True)
class Timed:
    """What one kind of operation took in one process.

    Attributes:
        p50, p99, p999: microseconds.
        failed: how many of them failed.
    """

    operation: str
    p50: float
    p99: float
    p999: float
    failed: int


def timed(operation: str, nanoseconds: list[int], failed: int) -> Timed:
    """The figures of single durations."""
    ordered = sorted(nanoseconds)
    p50, p99, p999 = (percentile(ordered, share) * 1000 for share in (0.5, 0.99, 0.999))
    return Timed(operation, p50, p99, p999, failed)


async def measure(store: Store, operations: int) -> list[Timed]:
    """Reads, compare-and-sets and counts, `operations` of each, one after the other."""

    async def cas(key: Key) -> Callable[[], Awaitable[object]]:
        (entry,) = await store.read([key])
        expected = ABSENT if entry is None else entry.version
        return lambda: store.write([Write(key, _VALUE, _HOUR, expected)])

    async def read(key: Key) -> Callable[[], Awaitable[object]]:
        return lambda: store.read([key])

    async def count(key: Key) -> Callable[[], Awaitable[object]]:
        return lambda: store.count([Count(key, 1, _HOUR, _LIMIT)])

    found = []
    for name, make in (("write", cas), ("read", read), ("count", count)):
        nanoseconds: list[int] = []
        failed = 0
        for number in range(operations + _WARMING):
            began = time.perf_counter_ns()
            try:
                operation = await make(Key(f"limit/{number % 7}", str(number % _KEYS)))
                began = time.perf_counter_ns()
                await operation()
            except StoreError:
                failed += 1
            if number >= _WARMING:
                nanoseconds.append(time.perf_counter_ns() - began)
            await asyncio.sleep(0)  # as between two messages of an exchange
        found.append(timed(name, nanoseconds, failed))
    return found


async def _one_process(place: str, operations: int) -> None:
    store: Store
    if place.startswith("unix://"):
        from ext_proc.stores.redis import RedisStore

        url = Secret("bench", place.encode())
        store = await RedisStore.open(RedisSettings(url, "bench", False, 0.02, 0.05, 16, 1000, 1.0), must_answer=True)
    else:
        store = await EmbeddedStore.open(EmbeddedSettings(Path(place), 256 << 20, 0.02))
    figures = await measure(store, operations)
    await store.close()
    print(json.dumps([[one.operation, one.p50, one.p99, one.p999, one.failed] for one in figures]))


def run(place: str, processes: int, operations: int) -> list[Timed]:
    """The figures of `processes` that use the store at `place` at once."""
    command = [sys.executable, "-m", "tests.bench.stores", "--operations", str(operations), "--place", place]
    running = [subprocess.Popen(command, stdout=subprocess.PIPE) for _ in range(processes)]
    told = [process.communicate()[0] for process in running]
    if any(process.returncode for process in running):
        sys.exit(f"the store at {place} could not be measured")
    return [Timed(*row) for out in told for row in json.loads(out)]


def table(title: str, figures: list[Timed], operations: int) -> str:
    """A Markdown table, the worst of several processes in each cell."""
    lines = [f"{title}, {operations} operations of each kind, µs:", "", "| | p50 | p99 | p99.9 | failed |"]
    lines.append("|---|---|---|---|---|")
    for operation in ("read", "write", "count"):
        of_it = [one for one in figures if one.operation == operation]
        worst = [max(getattr(one, name) for one in of_it) for name in ("p50", "p99", "p999")]
        failed = sum(one.failed for one in of_it)
        lines.append(f"| {operation} | {' | '.join(f'{figure:.0f}' for figure in worst)} | {failed} |")
    return "\n".join(lines) + "\n"


def main() -> int:
    """Prints the tables; the exit code."""
    parser = argparse.ArgumentParser(prog="python -m tests.bench.stores", description="Measure the stores.")
    parser.add_argument("--operations", type=int, default=20_000, help="of each kind, in each process")
    parser.add_argument("--folder", type=Path, help="where the file is made; the system's temporary folder")
    parser.add_argument("--redis", action="store_true", help="also a Redis over its Unix socket")
    parser.add_argument("--place", help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.place:
        uvloop.run(_one_process(asked.place, asked.operations))
        return 0
    print(f"{os.cpu_count()} CPUs, load {os.getloadavg()[0]:.1f}\n")
    with tempfile.TemporaryDirectory(prefix="gatehouse-", dir=asked.folder) as folder:
        for processes in (1, 2):
            figures = run(f"{folder}/{processes}.db", processes, asked.operations)
            print(table(f"embedded, {processes} process(es)", figures, asked.operations))
    if asked.redis:
        with redis_server() as server:
            for processes in (1, 2):
                figures = run(f"unix://{server.socket}", processes, asked.operations)
                print(table(f"Redis, {processes} process(es)", figures, asked.operations))
    return 0


if __name__ == "__main__":
    sys.exit(main())
