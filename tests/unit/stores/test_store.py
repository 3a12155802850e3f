"""What every store does alike: in memory, in a file, in Redis, in a Redis Cluster."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

import pytest

from ext_proc.stores.store import (
    ABSENT,
    MAX_EXPIRES,
    MAX_KEYS,
    MAX_SUM,
    MAX_VALUE,
    NO_STORE,
    Count,
    Counted,
    Key,
    Store,
    StoreError,
    Write,
)
from tests.unit.stores.places import Place

ROOT = Path(__file__).parents[3]
HOUR = 3600.0
A, B = Key("session/1", "a"), Key("session/1", "b")


@pytest.fixture
async def store(place: Place) -> Store:
    return await place.open()


async def version_of(store: Store, key: Key) -> int:
    (entry,) = await store.read([key])
    return ABSENT if entry is None else entry.version


async def value_of(store: Store, key: Key) -> bytes | None:
    (entry,) = await store.read([key])
    return None if entry is None else entry.value


async def put(store: Store, key: Key, value: bytes, expires: float | None = HOUR) -> None:
    assert await store.write([Write(key, value, expires)])


async def test_what_was_written_is_read_again(store: Store) -> None:
    assert await store.read([A, B]) == [None, None]
    await put(store, A, b"one")
    first, second = await store.read([A, B])
    assert first is not None
    assert first.value == b"one"
    assert first.version >= 1
    assert second is None
    assert (await store.read([B, A]))[1] == first


async def test_what_was_deleted_is_gone(store: Store) -> None:
    await put(store, A, b"one")
    assert await store.write([Write(A, None, None)])
    assert await store.read([A]) == [None]
    assert await store.write([Write(A, None, None)])


async def test_a_write_that_expects_another_version_changes_nothing(store: Store) -> None:
    await put(store, A, b"one")
    version = await version_of(store, A)
    await put(store, A, b"two")
    assert not await store.write([Write(A, b"three", HOUR, expected=version)])
    assert not await store.write([Write(A, None, None, expected=version)])
    assert await value_of(store, A) == b"two"
    assert await store.write([Write(A, b"three", HOUR, expected=await version_of(store, A))])
    assert await value_of(store, A) == b"three"


async def test_a_write_that_expects_nothing_is_the_first_one_only(store: Store) -> None:
    assert await store.write([Write(A, b"one", HOUR, expected=ABSENT)])
    assert not await store.write([Write(A, b"two", HOUR, expected=ABSENT)])
    assert not await store.write([Write(B, b"two", HOUR, expected=1)])
    assert await value_of(store, A) == b"one"
    assert await value_of(store, B) is None


async def test_several_keys_are_written_together_or_not_at_all(store: Store) -> None:
    await put(store, A, b"one")
    stale = await version_of(store, A)
    await put(store, A, b"two")
    assert not await store.write([Write(B, b"b", HOUR, expected=ABSENT), Write(A, b"a", HOUR, expected=stale)])
    assert await value_of(store, B) is None
    fresh = await version_of(store, A)
    assert await store.write([Write(B, b"b", HOUR, expected=ABSENT), Write(A, None, None, expected=fresh)])
    assert await value_of(store, B) == b"b"
    assert await value_of(store, A) is None


async def test_a_key_that_was_gone_in_between_has_a_version_of_its_own(place: Place) -> None:
    store = await place.open()
    seen = set()
    for _ in range(5):
        await put(store, A, b"same", expires=10.0)
        seen.add(await version_of(store, A))
        assert await store.write([Write(A, None, None)])
        await put(store, A, b"same", expires=10.0)
        seen.add(await version_of(store, A))
        place.pass_time(11.0)
    assert len(seen) == 10


async def test_nothing_is_handed_out_past_its_expiry(place: Place) -> None:
    store = await place.open()
    await put(store, A, b"one", expires=100.0)
    await put(store, B, b"for ever", expires=None)
    version = await version_of(store, A)
    place.pass_time(60.0)
    assert await value_of(store, A) == b"one"
    place.pass_time(41.0)
    assert await value_of(store, A) is None
    assert not await store.write([Write(A, b"two", HOUR, expected=version)])
    assert await store.write([Write(A, b"two", HOUR, expected=ABSENT)])
    place.pass_time(MAX_EXPIRES)
    assert await value_of(store, B) == b"for ever"


async def test_each_write_has_an_expiry_of_its_own(place: Place) -> None:
    store = await place.open()
    await put(store, A, b"one", expires=100.0)
    await put(store, A, b"two", expires=1000.0)
    await put(store, B, b"one", expires=100.0)
    await put(store, B, b"two", expires=None)
    place.pass_time(500.0)
    assert [await value_of(store, A), await value_of(store, B)] == [b"two", b"two"]


async def test_counters_add_up_to_their_limit_and_not_past_it(store: Store) -> None:
    assert await store.count([Count(A, 3, HOUR, limit=5)]) == Counted((3,))
    assert await store.count([Count(A, 3, HOUR, limit=5)]) == Counted((3,), passed=0)
    assert await store.count([Count(A, 2, HOUR, limit=5)]) == Counted((5,))
    assert await store.count([Count(A, 7, HOUR)]) == Counted((12,))


async def test_several_counters_are_added_to_together_or_not_at_all(store: Store) -> None:
    await store.count([Count(B, 9, HOUR)])
    assert await store.count([Count(A, 1, HOUR, 10), Count(B, 2, HOUR, 10)]) == Counted((0, 9), passed=1)
    assert await store.count([Count(A, 1, HOUR, 10), Count(B, 1, HOUR, 10)]) == Counted((1, 10))
    assert await store.count([Count(B, 1, HOUR, 10), Count(A, 99, HOUR, 10)]) == Counted((10, 1), passed=0)


async def test_an_amount_of_nothing_reads_and_is_held_to_the_limit(store: Store) -> None:
    assert await store.count([Count(A, 0, HOUR, limit=0)]) == Counted((0,))
    await store.count([Count(A, 7, HOUR)])
    assert await store.count([Count(A, 0, HOUR)]) == Counted((7,))
    assert await store.count([Count(A, 0, HOUR, limit=7)]) == Counted((7,))
    assert await store.count([Count(B, 1, HOUR), Count(A, 0, HOUR, limit=6)]) == Counted((0, 7), passed=1)


async def test_giving_back_is_never_refused_and_never_gains(store: Store) -> None:
    await store.count([Count(A, 9, HOUR)])
    assert await store.count([Count(A, -2, HOUR, limit=5)]) == Counted((7,))
    assert await store.count([Count(A, -50, HOUR, limit=5)]) == Counted((0,))
    assert await store.count([Count(B, -50, HOUR)]) == Counted((0,))
    assert await store.count([Count(A, 6, HOUR, limit=5)]) == Counted((0,), passed=0)


async def test_a_counter_starts_anew_when_its_first_addition_expires(place: Place) -> None:
    store = await place.open()
    await store.count([Count(A, 1, 100.0)])
    place.pass_time(60.0)
    assert await store.count([Count(A, 1, 100.0)]) == Counted((2,))
    place.pass_time(41.0)
    assert await store.count([Count(A, 0, 100.0)]) == Counted((0,))
    assert await store.count([Count(A, 1, 100.0)]) == Counted((1,))
    place.pass_time(99.0)
    assert await store.count([Count(A, -1, 1000.0)]) == Counted((0,))
    assert await store.count([Count(A, 1, 1000.0)]) == Counted((1,))
    place.pass_time(2.0)
    assert await store.count([Count(A, 0, 100.0)]) == Counted((0,))


async def test_giving_back_does_not_begin_a_counters_time(place: Place) -> None:
    store = await place.open()
    await store.count([Count(A, -1, 100.0)])
    await store.count([Count(A, 1, 1000.0)])
    place.pass_time(500.0)
    assert await store.count([Count(A, 0, 100.0)]) == Counted((1,))


async def test_sums_are_exact_up_to_the_largest_which_cannot_be_passed(store: Store) -> None:
    assert await store.count([Count(A, MAX_SUM - 1, HOUR)]) == Counted((MAX_SUM - 1,))
    assert await store.count([Count(A, 2, HOUR)]) == Counted((MAX_SUM - 1,), passed=0)
    assert await store.count([Count(A, 1, HOUR, limit=2**70)]) == Counted((MAX_SUM,))
    assert await store.count([Count(A, MAX_SUM, HOUR, limit=2**70)]) == Counted((MAX_SUM,), passed=0)
    assert await store.count([Count(A, -1, HOUR)]) == Counted((MAX_SUM - 1,))


async def test_a_key_may_have_a_value_and_a_counter(store: Store) -> None:
    await put(store, A, b"text")
    assert await store.count([Count(A, 1, HOUR)]) == Counted((1,))
    assert await value_of(store, A) == b"text"
    assert await store.write([Write(A, None, None)])
    assert await store.count([Count(A, 1, HOUR)]) == Counted((2,))


@pytest.mark.parametrize(
    "other",
    [Key("session/1a", ""), Key("session/", "1a"), Key("", "session/1a"), Key("a", "session/1"), Key("session/2", "a")],
    ids=str,
)
async def test_keys_that_read_alike_are_different(store: Store, other: Key) -> None:
    await put(store, A, b"one")
    await store.count([Count(A, 1, HOUR)])
    assert await value_of(store, other) is None
    assert await store.count([Count(other, 0, HOUR)]) == Counted((0,))


@pytest.mark.parametrize(
    "name", ["", "x" * 100_000, "{a}b", "a b\n*?\x00\x7f", "é字😀", "half \ud83d"], ids=lambda name: ascii(name[:9])
)
async def test_groups_and_names_are_any_text(store: Store, name: str) -> None:
    key = Key(name, name)
    await put(store, key, b"one")
    assert await value_of(store, key) == b"one"
    assert await value_of(store, Key(name, name + "!")) is None
    assert await store.count([Count(key, 1, HOUR)]) == Counted((1,))


@pytest.mark.parametrize("value", [b"", bytes(range(256)), b"\xff" * MAX_VALUE], ids=len)
async def test_values_come_back_byte_for_byte(store: Store, value: bytes) -> None:
    await put(store, A, value)
    assert await value_of(store, A) == value


async def test_as_many_keys_as_may_be_are_one_operation(store: Store) -> None:
    keys = [Key("many", str(number)) for number in range(MAX_KEYS)]
    assert await store.write([Write(key, key.name.encode(), HOUR, expected=ABSENT) for key in keys])
    assert not await store.write([Write(key, b"again", HOUR, expected=ABSENT) for key in keys])
    found = await store.read(keys)
    assert [entry.value if entry else None for entry in found] == [key.name.encode() for key in keys]
    assert await store.count([Count(key, 2, HOUR) for key in keys]) == Counted((2,) * MAX_KEYS)


async def test_an_operation_on_no_keys_does_nothing(store: Store) -> None:
    assert list(await store.read([])) == []
    assert await store.write([])
    assert await store.count([]) == Counted(())


@pytest.mark.parametrize(
    ("keys", "sentence"),
    [
        ([Key("g", str(number)) for number in range(MAX_KEYS + 1)], "at most"),
        ([Key("g", "a"), Key("h", "b")], "one group"),
        ([A, B, A], "each key once"),
    ],
    ids=["too many", "of several groups", "twice"],
)
async def test_keys_outside_of_the_bounds_are_an_error_of_the_callers(
    store: Store, keys: list[Key], sentence: str
) -> None:
    with pytest.raises(ValueError, match=sentence):
        await store.read(keys)
    with pytest.raises(ValueError, match=sentence):
        await store.write([Write(key, b"", HOUR) for key in keys])
    with pytest.raises(ValueError, match=sentence):
        await store.count([Count(key, 1, HOUR) for key in keys])


@pytest.mark.parametrize("expires", [0.0, -1.0, float("inf"), float("nan"), MAX_EXPIRES * 1.01])
async def test_an_expiry_outside_of_the_bounds_is_an_error_of_the_callers(store: Store, expires: float) -> None:
    with pytest.raises(ValueError, match="expiry"):
        await store.write([Write(A, b"", expires)])
    with pytest.raises(ValueError, match="expiry"):
        await store.count([Count(A, 1, expires)])


async def test_what_is_too_large_is_an_error_of_the_callers(store: Store) -> None:
    with pytest.raises(ValueError, match="bytes"):
        await store.write([Write(A, b"x" * (MAX_VALUE + 1), HOUR)])
    for amount in (MAX_SUM + 1, -MAX_SUM - 1):
        with pytest.raises(ValueError, match="amount"):
            await store.count([Count(A, amount, HOUR)])
    assert await store.read([A]) == [None]


async def test_an_expiry_shorter_than_a_store_can_tell_is_no_error(store: Store) -> None:
    await put(store, A, b"gone at once", expires=1e-9)
    assert await store.count([Count(A, 1, 1e-9)]) == Counted((1,))


async def test_two_stores_on_one_place_have_the_same_content(shared_place: Place) -> None:
    one, other = await shared_place.open(), await shared_place.open()
    await put(one, A, b"one")
    version = await version_of(other, A)
    await put(other, A, b"two")
    assert not await one.write([Write(A, b"three", HOUR, expected=version)])
    assert await value_of(one, A) == b"two"
    assert await one.count([Count(A, 1, HOUR)]) == Counted((1,))
    assert await other.count([Count(A, 1, HOUR)]) == Counted((2,))


async def test_what_was_kept_is_there_when_a_store_is_opened_again(shared_place: Place) -> None:
    first = await shared_place.open()
    await put(first, A, b"one")
    await first.count([Count(A, 5, HOUR)])
    await first.close()
    second = await shared_place.open()
    assert await value_of(second, A) == b"one"
    assert await second.count([Count(A, 0, HOUR)]) == Counted((5,))


async def test_operations_that_run_at_once_do_not_mix(store: Store) -> None:
    async def add_ten(name: str) -> None:
        for _ in range(10):
            await store.count([Count(Key("g", name), 1, HOUR), Count(Key("g", "all"), 1, HOUR)])

    await asyncio.gather(*(add_ten(str(number)) for number in range(20)))
    names = [*map(str, range(20)), "all"]
    sums = await store.count([Count(Key("g", name), 0, HOUR) for name in names])
    assert sums == Counted((*[10] * 20, 200))


HAMMERS, BLOWS, LIMIT = 2, 300, 450


async def test_processes_agree_on_counters_and_versions(shared_place: Place) -> None:
    """Each adds to a counter up to a limit, and to a number in an entry by compare-and-set."""
    store = await shared_place.open()
    command = [sys.executable, "-m", "tests.unit.stores.hammer", str(BLOWS), str(LIMIT), *shared_place.arguments]
    running = [
        await asyncio.create_subprocess_exec(*command, cwd=ROOT, stdout=asyncio.subprocess.PIPE) for _ in range(HAMMERS)
    ]
    told = [await process.communicate() for process in running]
    assert [process.returncode for process in running] == [0] * HAMMERS
    counted = [int(out.split()[0]) for out, _ in told]
    written = [int(out.split()[1]) for out, _ in told]
    assert sum(counted) == LIMIT
    assert written == [BLOWS] * HAMMERS
    assert await store.count([Count(Key("hammer", "counter"), 0, HOUR)]) == Counted((LIMIT,))
    assert await value_of(store, Key("hammer", "number")) == str(HAMMERS * BLOWS).encode()


async def test_where_there_is_no_store_every_operation_fails() -> None:
    for operation in (
        NO_STORE.read([A]),
        NO_STORE.write([Write(A, b"", HOUR)]),
        NO_STORE.count([Count(A, 1, HOUR)]),
    ):
        with pytest.raises(StoreError, match="no store"):
            await operation
    await NO_STORE.close()
