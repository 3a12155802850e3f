"""Any sequence of operations, on stores of any kind, does what the same does to two dictionaries."""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule, run_state_machine_as_test

from ext_proc.stores.store import ABSENT, MAX_SUM, Count, Counted, Key, Store, Write
from tests.redis_server import RedisServer
from tests.unit.stores.places import FilePlace, MemoryPlace, Place, RedisPlace

NEVER = float("inf")
NAMES = "abcd"
names = st.lists(st.sampled_from(NAMES), min_size=1, max_size=len(NAMES), unique=True)
groups = st.sampled_from(["g", "h"])
# Multiples of 1000 s expire while time passes in multiples of 701 s: what happens in between takes less than a second.
expiries = st.integers(1, 5).map(lambda number: number * 1000.0)
amounts = st.one_of(st.integers(-5, 5), st.sampled_from([MAX_SUM, -MAX_SUM]))
limits = st.one_of(st.none(), st.integers(-1, 12))


class Machine(RuleBasedStateMachine):
    """Two stores on one place, used in turn, beside a model of what must be there."""

    make: Callable[[], Place]

    def __init__(self) -> None:
        super().__init__()
        self.runner = asyncio.Runner()
        self.now = 0.0
        self.entries: dict[Key, tuple[bytes, int, float]] = {}  # value, version, when it expires
        self.counters: dict[Key, tuple[int, float]] = {}
        self.versions: set[int] = set()

    @initialize()
    def open(self) -> None:
        self.place = type(self).make()
        self.stores = [self.runner.run(self.place.open()) for _ in range(2)]

    def teardown(self) -> None:
        if hasattr(self, "place"):
            self.runner.run(self.place.close())
        self.runner.close()

    def store(self, which: bool) -> Store:
        return self.stores[which]

    def entry(self, key: Key) -> tuple[bytes, int] | None:
        value, version, expires = self.entries.get(key, (b"", ABSENT, 0.0))
        return (value, version) if expires > self.now else None

    def counter(self, key: Key) -> int:
        total, expires = self.counters.get(key, (0, 0.0))
        return total if expires > self.now else 0

    @rule(which=st.booleans(), group=groups, chosen=names)
    def read(self, which: bool, group: str, chosen: list[str]) -> None:
        keys = [Key(group, name) for name in chosen]
        found = self.runner.run(self.store(which).read(keys))
        assert [entry and (entry.value, entry.version) for entry in found] == [self.entry(key) for key in keys]

    @rule(which=st.booleans(), group=groups, chosen=names, data=st.data())
    def write(self, which: bool, group: str, chosen: list[str], data: st.DataObject) -> None:
        writes, holds = [], True
        for name in chosen:
            key = Key(group, name)
            now = self.entry(key)
            right = ABSENT if now is None else now[1]
            expected = data.draw(st.sampled_from([None, right, right, ABSENT, *sorted(self.versions)[:2]]), "expected")
            holds = holds and expected in (None, right)
            value = data.draw(st.one_of(st.none(), st.binary(max_size=3)), "value")
            writes.append(Write(key, value, data.draw(st.one_of(st.none(), expiries), "expires"), expected))
        assert self.runner.run(self.store(which).write(writes)) is holds
        if not holds:
            return
        kept = [write for write in writes if write.value is not None]
        for write in writes:
            self.entries.pop(write.key, None)
        found = self.runner.run(self.store(not which).read([write.key for write in kept])) if kept else []
        made = set()
        for write, entry in zip(kept, found, strict=True):
            assert entry is not None
            assert write.value == entry.value
            made.add(entry.version)
            self.entries[write.key] = entry.value, entry.version, self.now + (write.expires or NEVER)
        assert not made & self.versions, "a version came again"
        self.versions |= made

    @rule(which=st.booleans(), group=groups, chosen=names, data=st.data())
    def count(self, which: bool, group: str, chosen: list[str], data: st.DataObject) -> None:
        counts = [
            Count(Key(group, name), data.draw(amounts, "amount"), data.draw(expiries, "expires"), data.draw(limits))
            for name in chosen
        ]
        sums = [self.counter(count.key) for count in counts]
        passed = None
        for number, count in enumerate(counts):
            limit = MAX_SUM if count.limit is None else count.limit
            if count.amount >= 0 and sums[number] + count.amount > limit:
                passed = number
                break
        if passed is None:
            for number, count in enumerate(counts):
                sums[number] = max(sums[number] + count.amount, 0)
                _, expires = self.counters.get(count.key, (0, 0.0))
                if expires > self.now:
                    self.counters[count.key] = sums[number], expires
                elif sums[number]:
                    self.counters[count.key] = sums[number], self.now + count.expires
        assert self.runner.run(self.store(which).count(counts)) == Counted(tuple(sums), passed)

    @rule(steps=st.integers(1, 4))
    def pass_time(self, steps: int) -> None:
        self.now += steps * 701.0
        self.place.pass_time(steps * 701.0)

    @invariant()
    def both_show_the_same(self) -> None:
        if not hasattr(self, "place"):
            return
        for group in ("g", "h"):
            keys = [Key(group, name) for name in NAMES]
            found = self.runner.run(self.stores[0].read(keys))
            assert list(found) == list(self.runner.run(self.stores[1].read(keys)))


@pytest.fixture
def folder() -> Iterator[Path]:
    with tempfile.TemporaryDirectory() as made:
        yield Path(made)


def tried(make: Callable[[], Place], examples: int) -> None:
    machine = type("Tried", (Machine,), {"make": staticmethod(make)})
    run_state_machine_as_test(
        machine,
        settings=settings(
            max_examples=examples, stateful_step_count=20, suppress_health_check=list(HealthCheck), deadline=None
        ),
    )


def test_a_store_in_memory_is_like_the_model() -> None:
    tried(MemoryPlace, 60)


def test_a_store_in_a_file_is_like_the_model(folder: Path) -> None:
    made = 0

    def make() -> Place:
        nonlocal made
        made += 1
        return FilePlace(folder / f"{made}.db")

    tried(make, 30)


def test_a_store_in_redis_is_like_the_model(redis_here: RedisServer) -> None:
    tried(lambda: RedisPlace(redis_here), 30)
