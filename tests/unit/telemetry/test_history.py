"""The ring of the last trails."""

from __future__ import annotations

from ext_proc.telemetry.history import SIZE, History
from ext_proc.trail import Trail


def test_the_newest_come_first() -> None:
    history = History(3)
    trails = [Trail(str(number)) for number in range(3)]
    for trail in trails:
        history.record(trail)
    assert [remembered.trail for remembered in history.newest_first()] == trails[::-1]


def test_a_full_ring_forgets_the_oldest_also_by_id() -> None:
    history = History(2)
    for number in range(3):
        history.record(Trail(str(number)))
    assert len(history) == 2
    assert history.find("0") is None
    found = history.find("1")
    assert found is not None
    assert found.trail.id == "1"


def test_a_trail_is_remembered_with_its_time() -> None:
    history = History(1, wall_clock=lambda: 12.5)
    history.record(Trail("a"))
    assert [remembered.recorded for remembered in history.newest_first()] == [12.5]


def test_of_two_trails_with_one_id_the_later_is_found_and_stays() -> None:
    history = History(2)
    first, second = Trail("a"), Trail("a")
    history.record(first)
    history.record(second)
    history.record(Trail("b"))
    found = history.find("a")
    assert found is not None
    assert found.trail is second


def test_memory_does_not_grow() -> None:
    history = History()
    for number in range(2 * SIZE):
        history.record(Trail(str(number)))
    assert len(history) == SIZE
    assert len(history._by_id) == SIZE
