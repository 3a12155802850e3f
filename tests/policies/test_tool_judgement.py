"""tool_judgement: many who judge the same at once agree, and what is known costs no write."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

import pytest

from ext_proc.headers import Headers
from ext_proc.identity import UNKNOWN
from ext_proc.messages import RequestHead
from ext_proc.pins.ledger import SPACE, Ledger
from ext_proc.pins.lock import Lock
from ext_proc.policy import Context, Exchanged, StoreError
from ext_proc.stores.embedded import EmbeddedStore
from ext_proc.stores.keyspace import Keyspace
from ext_proc.stores.store import Store, Write
from ext_proc.trail import Trail
from gatehouse_policies.pinned_servers import PinnedServers
from gatehouse_policies.tool_examination import Checks
from gatehouse_policies.tool_judgement import TOO_MANY, Judge, Judged, Place, fingerprint_of
from tests.policies.town import Interleaving

CHECKS = Checks("deny", "quarantine", plain=True, largest=10_000)
NEVER = float("inf")
ONLY = Place()  # a page that is all of its list


class Writing(Interleaving):
    """A store that counts its writes, lets others go first, and may lose every race."""

    loses = False

    def __init__(self, store: Store) -> None:
        super().__init__(store)
        self.writes = 0

    async def write(self, writes: Sequence[Write]) -> bool:
        self.writes += bool(writes)
        if self.loses and any(write.expected is not None for write in writes):
            return False
        return await super().write(writes)


class Host:
    """A process that judges, over a store that it shares."""

    def __init__(self, store: Store, **bounds: Any) -> None:
        self.store = store
        values = {"most_tools": 100, "most_bytes": 1 << 20, "most_versions": 4, "first_use": 300.0, **bounds}
        self.judge = Judge(PinnedServers(), Lock(), trusts_first=True, one_owner=True, **values)

    def ctx(self, server: str, now: float) -> Context[None]:
        head = RequestHead("POST", "/mcp", "", Headers())
        exchanged = Exchanged(UNKNOWN, "r", "mcp", head, Trail("t"), server, now=now, time=now, store=self.store)
        return Context(exchanged, None, "p")

    async def tools(
        self, *tools: dict[str, Any], server: str = "docs", now: float = 10.0, at: Place = ONLY, until: float = NEVER
    ) -> Judged:
        examined = [CHECKS.of_tool(tool) for tool in tools]
        return await self.judge.tools(tools, examined, at=at, until=until, ctx=self.ctx(server, now))


def tool(name: str, **parts: Any) -> dict[str, Any]:
    return {"name": name, **parts}


@pytest.fixture
def store() -> Writing:
    return Writing(EmbeddedStore.in_memory())


async def test_what_is_known_is_not_written_again(store: Writing) -> None:
    host = Host(store)
    await host.tools(tool("read"), tool("send"))
    before = store.writes
    for now in (10.5, 12.0, 400.0):
        assert (await host.tools(tool("read"), tool("send"), now=now)).held == {}
    assert store.writes == before
    for now in (401.0, 402.0, 403.0):
        assert set((await Host(store).tools(tool("read", title="x"), now=now)).held) == {"read"}
    # The change was written once, though three hosts saw it: its text and its record.
    assert store.writes - before == 2


async def test_of_two_servers_that_list_one_name_at_once_one_has_it(store: Writing) -> None:
    judged = await asyncio.gather(*(Host(store).tools(tool("read"), server=server) for server in "abcd"))
    assert sorted(len(each.held) for each in judged) == [0, 1, 1, 1]
    assert {why for each in judged for whys in each.held.values() for why in whys} == {"name-taken"}


async def test_many_servers_that_are_listed_for_the_first_time_at_once_are_in_nobodys_way(store: Writing) -> None:
    def tools(server: int) -> list[dict[str, Any]]:
        return [tool(f"from_{server}_number_{number}") for number in range(40)]

    judged = await asyncio.gather(*(Host(store).tools(*tools(n), server=f"server-{n}") for n in range(12)))
    assert [each.held for each in judged] == [{}] * 12


async def test_of_two_definitions_that_two_hosts_are_shown_at_once_none_is_lost(store: Writing) -> None:
    hosts = [Host(store) for _ in range(4)]
    judged = await asyncio.gather(*(host.tools(tool("read", title=str(n))) for n, host in enumerate(hosts)))
    assert sorted(len(each.held) for each in judged) == [0, 1, 1, 1]
    pin = (await Ledger(Keyspace(store, f"shared.{SPACE}")).server("docs")).pin("read")
    assert pin is not None
    assert (pin.state, len(pin.approved), len(pin.offered)) == ("quarantined", 1, 3)


async def test_who_loses_every_race_fails(store: Writing) -> None:
    store.loses = True
    with pytest.raises(StoreError, match="others change"):
        await Host(store).tools(tool("read"))


async def test_what_there_is_no_time_for_is_judged_when_it_is_listed_again(store: Writing) -> None:
    host = Host(store)
    tools = [tool(f"number_{number}", title=str(number)) for number in range(60)]
    rounds = 1
    while not (judged := await host.tools(*tools, until=0.0)).finished:
        rounds += 1
        assert rounds < 10
    assert (judged.held, rounds > 2) == ({}, True)


async def test_a_first_listing_that_is_not_finished_is_not_over(store: Writing) -> None:
    host = Host(store)
    tools = [tool(f"number_{number}", title=str(number)) for number in range(40)]
    assert not (await host.tools(*tools, until=0.0)).finished
    assert (await host.tools(*tools)).held == {}
    assert set((await host.tools(tool("later"))).held) == {"later"}


async def test_a_server_has_no_more_tools_than_are_kept(store: Writing) -> None:
    host = Host(store, most_tools=3)
    first = await host.tools(*(tool(name) for name in "abcde"))
    assert first.held == {"d": (TOO_MANY,), "e": (TOO_MANY,)}
    head = (await Ledger(Keyspace(store, f"shared.{SPACE}")).server("docs")).head
    assert head is not None
    assert (head.tools, head.closed) == (3, True)


async def test_the_bytes_that_are_kept_are_counted(store: Writing) -> None:
    host = Host(store, most_bytes=100)
    await host.tools(tool("read", title="x" * 60), tool("send", title="x" * 60))
    kept = await Ledger(Keyspace(store, f"shared.{SPACE}")).server("docs")
    sizes = [version.size for pin in kept.pins.values() for version in pin.approved]
    assert kept.head is not None
    assert (kept.head.bytes, sorted(sizes)) == (sum(sizes), [0, max(sizes)])


def page(asked: object, follows: object) -> Place:
    """Where a page stands, by its cursors."""
    return Place(fingerprint_of(asked), fingerprint_of(follows))


async def closed(store: Store) -> bool:
    head = (await Ledger(Keyspace(store, f"shared.{SPACE}")).server("docs")).head
    return head is not None and head.closed


async def test_a_first_listing_is_over_with_the_page_that_its_cursors_lead_to(store: Writing) -> None:
    one, other = Host(store), Host(store)
    await one.tools(tool("first"), at=page(None, "2"))
    for cursor in ("99", "", 7):  # made up: whatever the server says to it
        assert (await other.tools(tool(f"made_up_{cursor}"), at=page(cursor, None))).held == {}
        assert not await closed(store)
    # Another host, which has seen nothing of the pages before.
    await one.tools(tool("second"), at=page("2", "3"))
    await other.tools(tool("third"), at=page("3", None))
    assert await closed(store)
    assert set((await one.tools(tool("fourth"), now=12.0)).held) == {"fourth"}


async def test_the_last_page_ends_a_first_listing_whichever_host_saw_the_one_before(store: Writing) -> None:
    one, other = Host(store), Host(store)
    await one.tools(tool("first"), at=page(None, "2"))
    await other.tools(tool("first"), at=page(None, "2"))
    await one.tools(tool("second"), at=page("2", "3"))
    await other.tools(tool("first"), at=page("3", None))  # nothing that is new to it
    assert await closed(store)


async def test_what_a_made_up_cursor_leads_to_is_no_way_to_the_end(store: Writing) -> None:
    host = Host(store)
    await host.tools(tool("first"), at=page(None, "2"))
    await host.tools(tool("made_up"), at=page("50", "51"))
    await host.tools(tool("last"), at=page("51", None))
    assert not await closed(store)
    await host.tools(tool("second"), at=page("2", None))
    assert await closed(store)


async def test_pages_that_lead_back_end_with_the_time_for_a_first_listing(store: Writing) -> None:
    host = Host(store)
    for number in range(4):
        at = page(None if not number else number % 2, (number + 1) % 2)
        assert (await host.tools(tool(f"number_{number}"), at=at, now=10.0 + number)).held == {}
    assert set((await host.tools(tool("later"), at=page(0, 1), now=400.0)).held) == {"later"}
    assert await closed(store)


async def test_an_answer_to_a_request_that_nobody_knows_ends_no_first_listing(store: Writing) -> None:
    host = Host(store)
    assert (await host.tools(tool("first"), at=Place(Place.UNKNOWN))).held == {}
    assert not await closed(store)


async def test_a_list_of_nothing_begins_nothing(store: Writing) -> None:
    host = Host(store)
    await host.tools()
    assert not await closed(store)
    assert (await host.tools(tool("read"), now=4000.0)).held == {}
    assert await closed(store)
    await host.tools(now=4001.0)
    assert set((await host.tools(tool("send"), now=4002.0)).held) == {"send"}


async def test_a_host_whose_clock_is_behind_sees_the_same_first_listing(store: Writing) -> None:
    await Host(store).tools(tool("first"), at=page(None, "2"), now=100.0)
    assert (await Host(store).tools(tool("second"), at=page("2", None), now=98.0)).held == {}
    assert await closed(store)
