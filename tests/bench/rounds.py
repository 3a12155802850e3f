"""The rounds: every case on every variant, one after the other, again and again.

Rules:
- Within a round a case goes through all variants at once, so that what disturbs one disturbs its neighbours; each round
  begins with another variant.
- A sample starts when its variant is idle: what is left to do after another load is not part of it.
- A sample during which something else used more than a quarter of a CPU is taken again, a bounded number of times.
- Samples are kept as they were measured; ratios are made of them later (figures.py).

Not here: how the load is made (load.py), what follows from it (figures.py).
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from tests.bench.cases import Case, idle_stream
from tests.bench.figures import Sample
from tests.bench.load import Load, LoadError
from tests.bench.meter import Meter, cpu_seconds, resident_bytes
from tests.bench.variants import Running

CONNECTIONS = 32
_DISTURBED = 0.25  # CPUs in use by something else
_TRIES = 3
_QUIET = 0.02  # CPU seconds in a twentieth of a second: below it a process is idle
_PATIENCE = 40  # looks


@dataclass(frozen=True, slots=True)
class Pace:
    """How long everything takes; seconds.

    Attributes:
        alone: requests on one connection, for latency.
        loaded: requests on 32 connections, for throughput and CPU time.
        streaming: open streams.
        warm_up: load that is not counted, before each of them.
        again: how many samples of a round may be taken again.
    """

    rounds: int
    alone: float
    loaded: float
    streaming: float
    warm_up: float
    again: int


FULL = Pace(rounds=5, alone=0.5, loaded=1.0, streaming=1.3, warm_up=0.15, again=16)
QUICK = Pace(rounds=2, alone=0.2, loaded=0.35, streaming=0.45, warm_up=0.1, again=3)


@dataclass(frozen=True, slots=True)
class Memory:
    """Resident bytes of a variant's processes.

    Attributes:
        idle: the processor after its first few exchanges; None without a processor.
        loaded: the processor after all rounds.
        per_stream: what one more open, silent stream takes in the processor.
        per_stream_envoy: the same in Envoy.
    """

    idle: int | None
    loaded: int | None
    per_stream: float | None
    per_stream_envoy: float


class Rounds:
    """Runs the rounds.

    Args:
        lengths: bytes of each JSON case's answer, by (variant, case).
        upstream: the upstream's process id.
        say: is told where the run stands.

    Attributes:
        again: how many samples were taken again so far, because something else kept the machine busy.
        failures: of samples that were taken again for them, in words.
    """

    def __init__(
        self,
        stacks: Sequence[Running],
        cases: Sequence[Case],
        lengths: Mapping[tuple[str, str], int],
        upstream: int,
        pace: Pace,
        say: Callable[[str], None],
    ) -> None:
        self.again = 0
        self.failures: list[str] = []
        self._may_repeat = 0
        self._stacks = stacks
        self._cases = cases
        self._lengths = lengths
        self._upstream = upstream
        self._pace = pace
        self._say = say

    async def run(self) -> list[Sample]:
        """All samples, in the order they were taken.

        Raises:
            LoadError: an answer was not the expected one, three times over.
        """
        samples: list[Sample] = []
        for number in range(self._pace.rounds):
            shift = number % len(self._stacks)
            self._may_repeat = self._pace.again
            for case in self._cases:
                self._say(f"round {number + 1} of {self._pace.rounds}: {case.name}")
                for running in (*self._stacks[shift:], *self._stacks[:shift]):
                    samples += await self.sample(running, case, number)
        return samples

    async def sample(self, running: Running, case: Case, number: int) -> list[Sample]:
        """One case on one variant in one round: the streams, or one connection and then 32."""
        if case.streams:
            return [await self._sample(running, case, number, case.streams, self._pace.streaming)]
        return [
            await self._sample(running, case, number, 1, self._pace.alone),
            await self._sample(running, case, number, CONNECTIONS, self._pace.loaded),
        ]

    async def _sample(self, running: Running, case: Case, number: int, connections: int, seconds: float) -> Sample:
        """The least disturbed of up to three; what failed is taken again too, and named in the report.

        Raises:
            LoadError: all three failed.
        """
        taken: list[Sample] = []
        for attempt in range(1, _TRIES + 1):
            try:
                taken.append(await self._measure(running, case, number, connections, seconds))
            except LoadError as error:
                self.failures.append(f"{running.variant.name}: {error}")
                self._say(f"FAILED: {self.failures[-1]}")
                if attempt == _TRIES and not taken:
                    raise LoadError(self.failures[-1]) from error
                continue
            if taken[-1].busy_elsewhere <= _DISTURBED or self._may_repeat <= 0 or attempt == _TRIES:
                break
            self.again += 1
            self._may_repeat -= 1
        return min(taken, key=lambda sample: sample.busy_elsewhere)

    async def _measure(self, running: Running, case: Case, number: int, connections: int, seconds: float) -> Sample:
        await self._settled(running)
        processes = {"envoy": running.envoy, "upstream": self._upstream, "load": os.getpid()}
        if running.processor is not None:
            processes["processor"] = running.processor
        expected = self._lengths.get((running.variant.name, case.name))
        async with Load(running.port, case, connections, expected) as load:
            await asyncio.sleep(self._pace.warm_up)
            load.begin()
            meter = Meter(processes)
            await asyncio.sleep(seconds)
            usage = meter.read()
            counted = sorted(load.counted)
            load.check()
        return Sample(
            variant=running.variant.name,
            case=case.name,
            round=number,
            connections=connections,
            seconds=usage.seconds,
            count=len(counted),
            nanoseconds=counted,
            cpu=usage.cpu,
            foreign=usage.foreign,
        )

    async def _settled(self, running: Running) -> None:
        """Waits until the variant's processes are idle, two seconds at most."""
        processes = [process for process in (running.envoy, running.processor) if process is not None]
        before = [cpu_seconds(process) for process in processes]
        for _ in range(_PATIENCE):
            await asyncio.sleep(0.05)
            after = [cpu_seconds(process) for process in processes]
            if all(late - early < _QUIET for late, early in zip(after, before, strict=True)):
                return
            before = after


async def memory_per_stream(running: Running, few: int, many: int) -> tuple[float | None, float]:
    """What one more silent stream takes in the processor and in Envoy, in resident bytes.

    It is the slope between `few` and `many` open streams: what the first streams make room for is not theirs.
    """
    case = Case("idle streams", "", idle_stream(), "idle", many)

    def resident() -> tuple[int | None, int]:
        own = None if running.processor is None else resident_bytes(running.processor)
        return own, resident_bytes(running.envoy)

    async with Load(running.port, case, few, None):
        first = resident()
        async with Load(running.port, case, many - few, None) as load:
            second = resident()
            load.check()
    own = None if first[0] is None or second[0] is None else (second[0] - first[0]) / (many - few)
    return own, (second[1] - first[1]) / (many - few)
