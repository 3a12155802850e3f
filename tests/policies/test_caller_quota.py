"""A quota of what a caller begins: places per window, per caller and per kind."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ext_proc.headers import Headers
from ext_proc.identity import from_claims
from ext_proc.messages import RequestHead
from ext_proc.policy import Context, Exchanged
from ext_proc.stores.embedded import EmbeddedStore
from ext_proc.trail import Trail
from gatehouse_policies.caller_quota import Quota
from tests.policies.town import ANN, ANNS_AGENT, BOB

DAY = 86400.0
NOON = 20_000 * DAY + DAY / 2


class Clock:
    def __init__(self) -> None:
        self.time = NOON
        self.store = EmbeddedStore.in_memory(lambda: self.time)

    def ctx(self, claims: Mapping[str, Any] = ANN) -> Context[None]:
        head = RequestHead("POST", "/mcp", "x", Headers())
        exchanged = Exchanged(from_claims(claims), "r", "mcp", head, Trail("t"), store=self.store, time=self.time)
        return Context(exchanged, None, "p")


@pytest.fixture
def clock() -> Clock:
    return Clock()


async def test_a_caller_has_so_many_places_and_its_agents_have_the_same(clock: Clock) -> None:
    quota = Quota("things", DAY, 2)
    assert [await quota.take(clock.ctx(claims)) for claims in (ANN, ANNS_AGENT, ANN, BOB)] == [True, True, False, True]
    assert await Quota("others", DAY, 2).take(clock.ctx())


async def test_a_place_that_is_given_back_is_free_and_the_next_window_is_empty(clock: Clock) -> None:
    quota = Quota("things", DAY, 1)
    assert await quota.take(clock.ctx())
    await quota.give_back(clock.ctx())
    assert await quota.take(clock.ctx())
    clock.time += DAY
    await quota.give_back(clock.ctx(), NOON)
    assert [await quota.take(clock.ctx()) for _ in range(2)] == [True, False], "each window has its own places"


async def test_nothing_is_won_by_giving_back_what_was_not_taken(clock: Clock) -> None:
    quota = Quota("things", DAY, 1)
    for _ in range(3):
        await quota.give_back(clock.ctx())
    assert [await quota.take(clock.ctx()) for _ in range(2)] == [True, False]


@given(seconds=st.floats(0, 3 * DAY))
def test_what_is_older_than_a_window_always_needs_a_place_in_this_one(seconds: float) -> None:
    clock, quota = Clock(), Quota("things", DAY, 1)
    needs = quota.needs_a_place(NOON - seconds, clock.ctx())
    assert needs is (seconds > DAY / 2)
