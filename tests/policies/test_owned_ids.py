"""Ids that servers hand out: bound to a principal, exclusive or not, prolonged in use, bounded in number."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from ext_proc.headers import Headers
from ext_proc.identity import from_claims
from ext_proc.messages import RequestHead
from ext_proc.policy import Context, Exchanged, Key, Write
from ext_proc.stores.embedded import EmbeddedStore
from ext_proc.trail import Trail
from gatehouse_policies.caller_quota import Quota, principal
from gatehouse_policies.owned_ids import Bound, claim, claim_all, keep, prolong, those_kept
from tests.policies.town import ANN, ANNS_AGENT, BOB, Interleaving

HOUR = 3600.0
PLACE = Key("session", "principal")


class Shop:
    def __init__(self) -> None:
        self.time = 1_000_000 * HOUR
        self.store = Interleaving(EmbeddedStore.in_memory(lambda: self.time))

    def ctx(self, claims: Mapping[str, Any] = ANN) -> Context[None]:
        head = RequestHead("POST", "/mcp", "x", Headers())
        exchanged = Exchanged(from_claims(claims), "r", "mcp", head, Trail("t"), store=self.store, time=self.time)
        return Context(exchanged, None, "p")


def key_of(name: str, ctx: Context[None]) -> Key:
    return Key(principal(ctx), name)


async def test_what_one_alone_may_have_belongs_to_the_first() -> None:
    shop, quota = Shop(), Quota("sessions", HOUR, 10)
    assert await claim(PLACE, "here", quota, shop.ctx(ANN)) is True
    assert await claim(PLACE, "", quota, shop.ctx(ANNS_AGENT)) is True
    assert await claim(PLACE, "", quota, shop.ctx(BOB)) is False
    entry = await shop.ctx().store.get(PLACE)
    assert entry is not None
    assert Bound.read(entry).affinity == "here"


async def test_of_two_that_claim_at_the_same_time_one_has_it() -> None:
    shop, quota = Shop(), Quota("sessions", HOUR, 1)
    answers = await asyncio.gather(*(claim(PLACE, "", quota, shop.ctx(who)) for who in (ANN, BOB)))
    assert sorted(answers, key=bool) == [False, True]
    loser = (ANN, BOB)[answers.index(False)]
    assert await claim(Key("another", "principal"), "", quota, shop.ctx(loser)) is True, "it has its place back"


async def test_a_claim_that_fails_takes_no_place() -> None:
    shop, quota = Shop(), Quota("sessions", HOUR, 1)
    await claim(PLACE, "", quota, shop.ctx(ANN))
    for _ in range(3):
        assert await claim(PLACE, "", quota, shop.ctx(BOB)) is False
    assert await claim(Key("another", "principal"), "", quota, shop.ctx(BOB)) is True
    assert await claim(Key("third", "principal"), "", quota, shop.ctx(BOB)) is None


def keys_of(names: Iterable[str]) -> list[Key]:
    return [Key("stored", name) for name in names]


async def owners(shop: Shop, keys: Sequence[Key]) -> list[str]:
    found = [await shop.ctx().store.get(key) for key in keys]
    return ["" if entry is None else Bound.read(entry).principal for entry in found]


async def test_of_many_each_belongs_to_the_first_that_claims_it() -> None:
    shop, quota = Shop(), Quota("stored", HOUR, 200)
    ann, bob = shop.ctx(ANN), shop.ctx(BOB)
    first, second = keys_of(map(str, range(100))), keys_of(map(str, range(50, 150)))  # more than one operation holds
    assert await claim_all(first, "here", quota, ann)
    assert await claim_all(second, "", quota, bob)
    assert await owners(shop, first) == [principal(ann)] * 100
    assert await owners(shop, second) == [principal(ann)] * 50 + [principal(bob)] * 50


async def test_of_two_that_claim_many_at_the_same_time_each_is_ones_and_places_are_given_back() -> None:
    shop, quota = Shop(), Quota("stored", HOUR, 3)
    ann, bob = shop.ctx(ANN), shop.ctx(BOB)
    both = await asyncio.gather(claim_all(keys_of("ab"), "", quota, ann), claim_all(keys_of("bac"), "", quota, bob))
    assert all(both)
    had = await owners(shop, keys_of("abc"))
    assert set(had) <= {principal(ann), principal(bob)}
    for ctx in (ann, bob):
        left = 3 - had.count(principal(ctx))
        assert await claim_all(keys_of("xyz"[:left]), "", quota, ctx)
        assert not await claim_all([Key("stored", f"more {principal(ctx)}")], "", quota, ctx)
        assert await shop.ctx().store.write([Write(key, None, None) for key in keys_of("xyz")])


async def test_many_that_somebody_has_take_no_place() -> None:
    shop, quota = Shop(), Quota("stored", HOUR, 2)
    assert await claim_all(keys_of("ab"), "", quota, shop.ctx(ANN))
    for ctx in (shop.ctx(ANN), shop.ctx(BOB)):
        assert await claim_all(keys_of("ab"), "", quota, ctx)
    assert not await claim_all(keys_of("abc"), "", quota, shop.ctx(ANN))
    assert await claim_all(keys_of("abcd"), "", quota, shop.ctx(BOB))


async def test_what_is_kept_is_its_principals_only() -> None:
    shop, quota = Shop(), Quota("tasks", HOUR, 100)
    ann, bob = shop.ctx(ANN), shop.ctx(BOB)
    names = [f"t{number}" for number in range(80)]  # more than one operation holds
    for name in names:
        assert await keep({key_of(name, ann): quota}, "", ann)
    assert await those_kept({name: key_of(name, ann) for name in names}, ann) == set(names)
    assert await those_kept({name: key_of(name, bob) for name in names}, bob) == frozenset()


async def test_what_is_kept_again_takes_no_second_place() -> None:
    shop, quota = Shop(), Quota("tasks", HOUR, 1)
    ctx = shop.ctx()
    assert await keep({key_of("t1", ctx): quota}, "", ctx)
    assert await keep({key_of("t1", ctx): quota}, "", ctx)
    assert not await keep({key_of("t2", ctx): quota}, "", ctx)


async def test_what_is_used_stays_and_what_is_not_expires() -> None:
    shop, quota = Shop(), Quota("tasks", HOUR, 100)
    ctx = shop.ctx()
    await keep({key_of("used", ctx): quota, key_of("left", ctx): quota}, "", ctx)
    for _ in range(4):
        shop.time += HOUR / 2
        ctx = shop.ctx()
        entry = await ctx.store.get(key_of("used", ctx))
        assert entry is not None
        await prolong(key_of("used", ctx), entry, quota, ctx)
    assert await those_kept({name: key_of(name, ctx) for name in ("used", "left")}, ctx) == {"used"}


async def test_what_was_used_a_moment_ago_is_not_written_again() -> None:
    shop, quota = Shop(), Quota("tasks", HOUR, 100)
    ctx = shop.ctx()
    await keep({key_of("t1", ctx): quota}, "", ctx)
    shop.time += HOUR / 10
    before = await ctx.store.get(key_of("t1", ctx))
    assert before is not None
    await prolong(key_of("t1", ctx), before, quota, shop.ctx())
    assert await ctx.store.get(key_of("t1", ctx)) == before
