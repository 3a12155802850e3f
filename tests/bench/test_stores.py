"""The figures of the stores' benchmark."""

from __future__ import annotations

from ext_proc.stores.embedded import EmbeddedStore
from ext_proc.stores.store import NO_STORE
from tests.bench.stores import Timed, measure, table, timed


def test_figures_are_of_the_sorted_durations() -> None:
    found = timed("read", [number * 1000 for number in range(1000, 0, -1)], failed=2)
    assert (round(found.p50), round(found.p99), round(found.p999), found.failed) == (500, 990, 999, 2)


async def test_every_kind_of_operation_is_timed_and_none_fails() -> None:
    with EmbeddedStore.in_memory() as store:
        figures = await measure(store, 20)
    assert [(one.operation, one.failed) for one in figures] == [("write", 0), ("read", 0), ("count", 0)]
    assert all(0 < one.p50 <= one.p99 <= one.p999 for one in figures)


def test_a_table_shows_the_worst_process_and_all_failures() -> None:
    figures = [Timed(name, p50, 90.0, 99.0, 1) for name in ("read", "write", "count") for p50 in (10.0, 20.0)]
    assert "| read | 20 | 90 | 99 | 2 |" in table("embedded", figures, 5)


async def test_failures_are_counted() -> None:
    class Failing:
        read = EmbeddedStore.in_memory().read
        write, count, close = NO_STORE.write, NO_STORE.count, NO_STORE.close

    figures = await measure(Failing(), 10)
    assert {one.operation: one.failed > 0 for one in figures} == {"write": True, "read": False, "count": True}
