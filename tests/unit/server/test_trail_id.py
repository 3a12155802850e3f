"""Ids of trails."""

from __future__ import annotations

from ext_proc.server.trail_id import new_trail_id


def test_an_id_is_short_and_plain() -> None:
    trail_id = new_trail_id()
    assert len(trail_id) == 20
    assert trail_id.isalnum()
    assert trail_id == trail_id.lower()


def test_ids_sort_by_time_whatever_chance_adds() -> None:
    early = new_trail_id(lambda: 1_700_000_000.000, lambda size: b"\xff" * size)
    late = new_trail_id(lambda: 1_700_000_000.001, lambda size: b"\x00" * size)
    assert early < late


def test_ids_of_one_moment_differ_in_every_random_bit() -> None:
    def with_bit(bit: int) -> str:
        return new_trail_id(lambda: 0.0, lambda size: (2 << bit).to_bytes(size))

    assert len({with_bit(bit) for bit in range(55)}) == 55


def test_the_whole_time_is_in_the_id() -> None:
    assert new_trail_id(lambda: (2**45 - 1) / 1000, bytes) == "zzzzzzzzz00000000000"
