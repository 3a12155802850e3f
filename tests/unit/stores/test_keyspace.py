"""A policy's own part of the store."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from ext_proc.stores.embedded import EmbeddedStore
from ext_proc.stores.keyspace import Keyspace
from ext_proc.stores.store import ABSENT, Count, Counted, Key, Write

HOUR = 3600.0
A, B = Key("g", "a"), Key("g", "b")


@pytest.fixture
def store() -> Iterator[EmbeddedStore]:
    with EmbeddedStore.in_memory() as made:
        yield made


async def test_a_space_has_all_that_a_store_has(store: EmbeddedStore) -> None:
    space = Keyspace(store, "mine")
    assert await space.get(A) is None
    assert await space.write([Write(A, b"one", HOUR, expected=ABSENT), Write(B, b"two", HOUR)])
    first = await space.get(A)
    assert first is not None
    assert await space.read([B, A]) == [await space.get(B), first]
    assert not await space.write([Write(A, b"three", HOUR, expected=first.version + 1)])
    assert await space.count([Count(A, 2, HOUR), Count(B, 1, HOUR)]) == Counted((2, 1))


async def test_spaces_do_not_reach_each_others_keys(store: EmbeddedStore) -> None:
    mine, others = Keyspace(store, "limit"), [Keyspace(store, name) for name in ("limit-2", "li", "shared.limit", "")]
    await mine.write([Write(A, b"one", HOUR)])
    await mine.count([Count(A, 1, HOUR)])
    for other in others:
        for group in ("g", "mit/g", "limit/g", "2/g"):
            assert await other.get(Key(group, "a")) is None
            assert await other.count([Count(Key(group, "a"), 0, HOUR)]) == Counted((0,))


async def test_a_space_opened_again_has_what_it_had(store: EmbeddedStore) -> None:
    await Keyspace(store, "mine").write([Write(A, b"one", HOUR)])
    found = await Keyspace(store, "mine").get(A)
    assert found is not None
    assert found.value == b"one"
