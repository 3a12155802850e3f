"""From samples to figures: ratios within a round, then their median and spread over the rounds.

Rules:
- Two variants are compared only inside one round, where they were neighbours in time; the median of these ratios is the
  figure, the lowest and the highest are its spread. Where spreads overlap there is no finding.
- Latencies of all rounds are pooled for percentiles: one round has too few for a 99th.

Not here: how samples are taken (rounds.py), how figures are written (report.py).
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Sample:
    """One case on one variant in one round.

    Attributes:
        connections: open connections or streams.
        seconds: for how long was counted.
        count: answers or events in that time.
        nanoseconds: of each of them, sorted.
        cpu: CPU seconds by process: envoy, upstream, load, and processor where there is one.
        foreign: CPU seconds of everything else on the machine.
    """

    variant: str
    case: str
    round: int
    connections: int
    seconds: float
    count: int
    nanoseconds: Sequence[int]
    cpu: Mapping[str, float]
    foreign: float

    @property
    def busy_elsewhere(self) -> float:
        """How many CPUs something else used."""
        return self.foreign / self.seconds

    @property
    def rate(self) -> float:
        """Answers or events per second."""
        return self.count / self.seconds

    def micros(self, process: str) -> float | None:
        """CPU microseconds of a process per answer or event; None if it is not there, or nothing was counted."""
        used = self.cpu.get(process)
        return None if used is None or not self.count else used / self.count * 1e6

    def percentile(self, share: float) -> float:
        """Milliseconds that `share` of the answers or events took at most."""
        return percentile(self.nanoseconds, share)


@dataclass(frozen=True, slots=True)
class Spread:
    """A figure over the rounds."""

    median: float
    low: float
    high: float

    def __str__(self) -> str:
        return f"{_short(self.median)} ({_short(self.low)} to {_short(self.high)})"


def percentile(nanoseconds: Sequence[int], share: float) -> float:
    """The nearest-rank percentile of sorted values, in milliseconds; not a number where there are none."""
    if not nanoseconds:
        return math.nan
    return nanoseconds[max(math.ceil(share * len(nanoseconds)), 1) - 1] / 1e6


class Figures:
    """Figures of a run."""

    def __init__(self, samples: Iterable[Sample]) -> None:
        self.samples = tuple(samples)

    def over_rounds(
        self, variant: str, case: str, connections: int, read: Callable[[Sample], float | None]
    ) -> Spread | None:
        """A value of each round; None where there is none."""
        return spread(read(sample) for sample in self._of(variant, case, connections).values())

    def ratio(
        self, variant: str, against: str, case: str, connections: int, read: Callable[[Sample], float | None]
    ) -> Spread | None:
        """A value of each round over the same of another variant in the same round; None where there is none."""
        return self._pairwise(variant, against, case, connections, read, lambda one, other: one / other)

    def difference(
        self, variant: str, against: str, case: str, connections: int, read: Callable[[Sample], float | None]
    ) -> Spread | None:
        """The same with a difference."""
        return self._pairwise(variant, against, case, connections, read, lambda one, other: one - other)

    def pooled(self, variant: str, case: str, connections: int, share: float) -> float:
        """A percentile over all rounds together, in milliseconds."""
        pool: list[int] = []
        for sample in self._of(variant, case, connections).values():
            pool += sample.nanoseconds
        return percentile(sorted(pool), share)

    def foreign(self) -> Spread | None:
        """How many CPUs were busy with something else, per sample."""
        return spread(sample.busy_elsewhere for sample in self.samples)

    def _pairwise(
        self,
        variant: str,
        against: str,
        case: str,
        connections: int,
        read: Callable[[Sample], float | None],
        combine: Callable[[float, float], float],
    ) -> Spread | None:
        others = self._of(against, case, connections)
        values: list[float] = []
        for number, sample in self._of(variant, case, connections).items():
            one = read(sample)
            other = read(others[number]) if number in others else None
            if one is not None and other:
                values.append(combine(one, other))
        return spread(values)

    def _of(self, variant: str, case: str, connections: int) -> dict[int, Sample]:
        return {
            sample.round: sample
            for sample in self.samples
            if (sample.variant, sample.case, sample.connections) == (variant, case, connections)
        }


def spread(values: Iterable[float | None]) -> Spread | None:
    """Median, lowest and highest; None where no value is left after those that are not there."""
    found = [value for value in values if value is not None and not math.isnan(value)]
    return Spread(statistics.median(found), min(found), max(found)) if found else None


def _short(value: float) -> str:
    """Three digits that count."""
    if abs(value) >= 100:
        return f"{value:.0f}"
    return f"{value:.1f}" if abs(value) >= 10 else f"{value:.2f}"
