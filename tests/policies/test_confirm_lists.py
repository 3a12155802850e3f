"""The list of what waits for somebody: who sees what, how much, and that a lost race is no fault."""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace

import pytest

from ext_proc.policy import Keyspace
from ext_proc.stores.embedded import EmbeddedStore
from gatehouse_policies.confirm_lists import MOST, MOST_OF_ONE, Lists
from tests.policies.confirming import (
    ANN,
    ANN_IN_A_BROWSER,
    ANNS_AGENT,
    BOB,
    BOB_IN_A_BROWSER,
    Gate,
    error_of,
    path_of,
    policy,
)
from tests.policies.town import Broken, Interleaving, reason
from tests.redis_server import RedisServer, redis_server
from tests.unit.stores.places import RedisPlace

LEGACY = "2025-11-25"
SRE = {"approvers": {"groups": ["sre"]}}
NOW = 1_800_000_000.0


@dataclass(frozen=True, slots=True)
class Wanted:
    """A request."""

    id: str
    principal: str = "ann"
    until: float = NOW + 600.0


def listed(*requests: Wanted, time: float = NOW) -> list[str]:
    """What is on a list after these came, the newest first."""

    async def all_come() -> list[str]:
        lists, store = Lists(), Keyspace(kept, "ask")
        for one in requests:
            await lists.add("sre", one, store, NOW)
        return list(await lists.ids("sre", store, time))

    with EmbeddedStore.in_memory() as kept:
        return asyncio.run(all_come())


def asks(gate: Gate, path: str, claims: object = ANN) -> str:
    """The path of the page of a call."""
    return path_of(error_of(gate.call({"path": path}, version=LEGACY, claims=claims))["message"])  # type: ignore[arg-type]  # the claims of one above


def links(gate: Gate, who: object = ANN_IN_A_BROWSER) -> list[str]:
    page = gate.visit("/", who)  # type: ignore[arg-type]  # an identity of those above
    assert page.status == 200
    return re.findall(r'href="/gatehouse/ask(/r/[^"]+)"', page.body)


def test_the_newest_are_listed_and_few_of_one() -> None:
    of_ann = [Wanted(f"ann-{number}") for number in range(MOST_OF_ONE + 3)]
    assert listed(Wanted("bob", "bob"), *of_ann) == [*(one.id for one in reversed(of_ann[3:])), "bob"]
    of_many = [Wanted(str(number), f"caller-{number}") for number in range(MOST + 2)]
    assert listed(*of_many) == [one.id for one in reversed(of_many[2:])]


def test_what_ended_is_not_listed() -> None:
    assert listed(Wanted("old", until=NOW + 1.0), Wanted("new"), time=NOW + 2.0) == ["new"]


def test_requests_that_come_at_the_same_time_are_listed_all_the_same() -> None:
    async def at_once() -> list[str]:
        lists, store = Lists(), Keyspace(Interleaving(kept), "ask")
        await asyncio.gather(*(lists.add("sre", Wanted(str(number)), store, NOW) for number in range(3)))
        return sorted(await lists.ids("sre", store, NOW))

    with EmbeddedStore.in_memory() as kept:
        assert asyncio.run(at_once()) == ["0", "1", "2"]


def test_two_hosts_with_one_redis_have_one_list() -> None:
    async def both(server: RedisServer) -> list[Sequence[str]]:
        place = RedisPlace(server)
        first, second = [Keyspace(await place.open(), "ask") for _ in range(2)]
        lists = Lists()
        seen: list[Sequence[str]] = []
        try:
            await asyncio.gather(
                *(lists.add("sre", Wanted(id), host, NOW) for id, host in (("a", first), ("b", second)))
            )
            seen.append(sorted(await lists.ids("sre", first, NOW)))
            for id, host in (("a", second), ("b", first), ("b", second)):
                await lists.remove("sre", id, host, NOW)
                seen.append(await lists.ids("sre", second, NOW))
        finally:
            await place.close()
        return seen

    with redis_server() as server:
        assert asyncio.run(both(server)) == [["a", "b"], ["b"], [], []]


def test_a_request_that_loses_every_race_is_not_listed_and_that_is_no_fault() -> None:
    class Contended(Interleaving):
        async def write(self, writes: object) -> bool:
            return False

    async def comes() -> list[str]:
        lists, store = Lists(), Keyspace(Contended(kept), "ask")
        await lists.add("sre", Wanted("unlucky"), store, NOW)
        return list(await lists.ids("sre", store, NOW))

    with EmbeddedStore.in_memory() as kept:
        assert asyncio.run(comes()) == []


def test_a_principal_finds_what_waits_for_them_until_it_is_decided() -> None:
    gate = Gate()
    assert links(gate) == []
    first, second = asks(gate, "/a", ANNS_AGENT), asks(gate, "/b")
    asks(gate, "/c", BOB)
    assert links(gate) == [second, first]
    assert asks(gate, "/b") == second
    assert links(gate) == [second, first], "each once"
    gate.decide(second, "deny")
    gate.decide(first)
    assert links(gate) == []
    assert "No call waits" in gate.visit("/").body


def test_an_approver_finds_the_calls_of_all_but_their_own() -> None:
    gate = Gate(policy(by=SRE))
    first, own = asks(gate, "/a"), asks(gate, "/b", BOB)
    assert links(gate, BOB_IN_A_BROWSER) == [first]
    carol = replace(BOB_IN_A_BROWSER, subject="carol", credential="browser-of-carol")
    assert links(gate, carol) == [own, first]
    assert gate.visit("/", replace(carol, groups=("interns",))).status == 404
    assert gate.visit("/", ANN_IN_A_BROWSER).status == 404, "who asks is no approver"


def test_it_lists_nothing_to_the_credential_of_a_call() -> None:
    gate = Gate()
    path = asks(gate, "/a", {**ANN, "iat": 1, "jti": "t-1"})
    caller = next(iter(credentials_of(gate, path)))
    assert links(gate, replace(ANN_IN_A_BROWSER, credential=caller)) == []
    assert links(gate) == [path]


def credentials_of(gate: Gate, path: str) -> tuple[str, ...]:
    """What a request remembers of its calls."""
    requests = gate.confirm._requests
    kept = asyncio.run(requests.get(path.removeprefix("/r/"), Keyspace(gate.store, "ask"), time.time()))
    assert kept is not None
    return kept.request.credentials


def test_it_shows_no_arguments_and_no_markup_of_a_call() -> None:
    gate = Gate()
    gate.call({"secret": "s3cr3t"}, version=LEGACY, tool="delete_<b>\u202e")
    body = gate.visit("/").body
    assert "delete_\\u003cb\\u003e\\u202e" in body
    assert "s3cr3t" not in body
    assert "<b>" not in body


def test_a_list_takes_no_form() -> None:
    assert Gate().visit("/", form={"decision": "approve", "token": "x"}).status == 404


def test_a_request_cannot_begin_where_the_store_is_gone() -> None:
    with pytest.raises(Exception, match="gone"):
        Gate(store=Broken()).visit("/")
    assert reason(Gate(store=Broken()).call(version=LEGACY)) == "raised StoreError"
