"""The keys of confirm: given ones, and random ones that hosts share, and that are replaced in time."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any, TypeVar

import pytest

from ext_proc.policy import Keyspace, Secret, StoreError
from ext_proc.stores.embedded import EmbeddedStore
from gatehouse_policies.confirm_keys import ROTATED, SHORTEST, Keys
from tests.policies.town import Broken, Interleaving

NOW = 1_800_000_000.0
HOLDS = 100.0
Result = TypeVar("Result")


def run(coroutine: Coroutine[Any, Any, Result]) -> Result:
    return asyncio.run(coroutine)


def keys(*given: Secret, name: str = "ask") -> Keys:
    return Keys(name, given, HOLDS)


def space(store: EmbeddedStore) -> Keyspace:
    return Keyspace(store, "ask")


def test_what_was_signed_verifies_for_its_purpose_text_and_policy_alone() -> None:
    with EmbeddedStore.in_memory() as store:
        given = Secret("k", b"0" * SHORTEST)
        signed = run(keys(given).sign("state", "text", space(store), NOW))
        assert (signed.key.partition(".")[0], len(signed.mac)) == ("k", 64)

        def holds(by: Keys, purpose: str = "state", text: str = "text") -> bool:
            return run(by.verifies(signed, purpose, text, space(store), NOW))

        assert holds(keys(given))
        assert not holds(keys(given), "form")
        assert not holds(keys(given), text="text ")
        assert not holds(keys(given, name="ask2"))
        assert not holds(keys(Secret("k", b"1" * SHORTEST)))
        assert not holds(keys(Secret("other", b"0" * SHORTEST)))


def test_hosts_that_begin_at_the_same_time_have_one_random_key() -> None:
    async def all_sign() -> set[str]:
        hosts = [keys() for _ in range(5)]
        shared = Keyspace(Interleaving(store), "ask")
        signed = await asyncio.gather(*(host.sign("state", "x", shared, NOW) for host in hosts))
        return {one.mac for one in signed}

    with EmbeddedStore.in_memory() as store:
        assert len(run(all_sign())) == 1


def test_a_random_key_is_replaced_in_time_and_verifies_until_what_it_signed_is_over() -> None:
    with EmbeddedStore.in_memory() as store:
        first, second = keys(), keys()
        old = run(first.sign("state", "x", space(store), NOW))
        late = NOW + ROTATED + 1
        new = run(second.sign("state", "x", space(store), late))
        assert new.key != old.key
        assert run(first.verifies(new, "state", "x", space(store), NOW + 1)), "the other host's new one is looked for"
        assert run(second.verifies(old, "state", "x", space(store), late))
        later = late + ROTATED + 1
        run(second.sign("state", "x", space(store), later))
        assert not run(second.verifies(old, "state", "x", space(store), later))


def test_a_clock_that_is_behind_makes_no_key_that_others_do_not_know() -> None:
    with EmbeddedStore.in_memory() as store:
        ahead = run(keys().sign("state", "x", space(store), NOW + 600))
        assert run(keys().sign("state", "x", space(store), NOW)) == ahead


def test_without_the_store_nothing_is_signed_or_verified() -> None:
    broken = Keyspace(Broken(), "ask")
    with pytest.raises(StoreError):
        run(keys().sign("state", "x", broken, NOW))
    given = keys(Secret("k", b"0" * SHORTEST))
    with EmbeddedStore.in_memory() as store:
        signed = run(given.sign("state", "x", space(store), NOW))
    for one in (given, keys()):
        with pytest.raises(StoreError):
            run(one.verifies(signed, "state", "x", broken, NOW))


@pytest.mark.parametrize("secrets", [(), (Secret("k", b"0" * SHORTEST),)], ids=["random", "given"])
def test_what_was_signed_counts_only_where_its_uses_are_counted(secrets: tuple[Secret, ...]) -> None:
    one = keys(*secrets)
    with EmbeddedStore.in_memory() as store, EmbeddedStore.in_memory() as emptied:
        signed = run(one.sign("state", "x", space(store), NOW))
        assert run(one.verifies(signed, "state", "x", space(store), NOW))
        assert not run(one.verifies(signed, "state", "x", space(emptied), NOW))
        its_own = run(one.sign("state", "y", space(emptied), NOW))
        assert not run(one.verifies(signed._replace(key=its_own.key), "state", "x", space(emptied), NOW))


def test_who_knows_the_store_and_not_the_secret_cannot_sign() -> None:
    with EmbeddedStore.in_memory() as store:
        given = keys(Secret("k", b"0" * SHORTEST))
        signed = run(given.sign("state", "x", space(store), NOW))
        forged = run(keys().sign("state", "x", space(store), NOW))._replace(key=signed.key)
        assert not run(given.verifies(forged, "state", "x", space(store), NOW))
