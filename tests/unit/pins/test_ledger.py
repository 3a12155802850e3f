"""ledger: what is written is read, changes are by compare-and-set, definitions are kept as long as they are named."""

from __future__ import annotations

from collections.abc import Iterator

import msgspec
import pytest

from ext_proc.pins.canonical import canonical, digest_of
from ext_proc.pins.ledger import MAX_SERVERS, SHARDS, SPACE, Full, Head, Ledger, shard_of
from ext_proc.pins.records import PINNED, Pin, Terms, Version, approved, listed
from ext_proc.stores.embedded import EmbeddedStore
from ext_proc.stores.keyspace import Keyspace
from ext_proc.stores.store import Key, StoreError, Write

FORM = canonical({"name": "read"})
DIGEST = digest_of(FORM)


@pytest.fixture
def space() -> Iterator[Keyspace]:
    with EmbeddedStore.in_memory() as store:
        yield Keyspace(store, f"shared.{SPACE}")


@pytest.fixture
def ledger(space: Keyspace) -> Ledger:
    return Ledger(space)


def pin(digest: str = DIGEST, size: int = len(FORM)) -> Pin:
    return Pin(PINNED, 1.0, approved=(Version(digest, size, 1.0),))


async def test_what_is_kept_of_a_server_is_read_again(ledger: Ledger) -> None:
    assert (await ledger.server("docs")).head is None
    pins = {f"tool-{number}": pin() for number in range(200)}
    head = Head(opened=1.0, tools=200, instructions=pin("b" * 64, 0))
    assert await ledger.change(await ledger.server("docs"), head, pins, {DIGEST: FORM})
    found = await ledger.server("docs")
    assert (found.head, found.pins) == (head, pins)
    assert {shard_of(name) for name in pins} == set(range(SHARDS))
    assert await ledger.form("docs", DIGEST) == FORM
    assert await ledger.form("mail", DIGEST) is None
    assert list(await ledger.servers()) == ["docs"]
    assert (await ledger.server("mail")).head is None


async def test_of_two_who_change_the_same_one_reads_again(ledger: Ledger) -> None:
    one, other = await ledger.server("docs"), await ledger.server("docs")
    assert await ledger.change(one, Head(tools=1), {"a": pin()}, {})
    assert not await ledger.change(other, Head(tools=1), {"b": pin()}, {})
    assert set((await ledger.server("docs")).pins) == {"a"}


async def test_some_of_the_shards_are_enough_for_one_tool(ledger: Ledger) -> None:
    await ledger.change(await ledger.server("docs"), Head(tools=2), {"a": pin(), "b": pin()}, {})
    found = await ledger.server("docs", [shard_of("a")])
    assert found.pin("a") == pin()
    assert set(found.shards) == {shard_of("a")}


async def test_what_has_not_changed_is_not_read_into_objects_again(ledger: Ledger) -> None:
    await ledger.change(await ledger.server("docs"), Head(), {"a": pin()}, {})
    first = await ledger.server("docs")
    again = await ledger.server("docs", known=first)
    assert again.shards[shard_of("a")] is first.shards[shard_of("a")]


async def test_a_definition_is_kept_as_long_as_a_record_names_it(ledger: Ledger) -> None:
    first = listed(None, DIGEST, len(FORM), (), Terms(opens=True), 1.0)
    await ledger.change(await ledger.server("docs"), Head(), {"read": first}, {DIGEST: FORM})
    other = canonical({"name": "read", "title": "x"})
    second = listed(first, digest_of(other), len(other), (), Terms(), 2.0)
    await ledger.change(await ledger.server("docs"), Head(), {"read": second}, {digest_of(other): other})
    assert await ledger.form("docs", DIGEST) == FORM
    last = approved(second, digest_of(other), "ann", 3.0, 4, only=True)
    await ledger.change(await ledger.server("docs"), Head(), {"read": last}, {})
    assert await ledger.form("docs", DIGEST) is None
    assert await ledger.form("docs", digest_of(other)) == other


async def test_many_large_definitions_are_written_in_bounded_operations(ledger: Ledger) -> None:
    forms = {f"{number:064x}": b"x" * 300_000 for number in range(10)}
    assert await ledger.change(await ledger.server("docs"), Head(), {}, forms)
    for digest, form in forms.items():
        assert await ledger.form("docs", digest) == form


async def test_a_record_that_grows_too_large_is_refused(ledger: Ledger) -> None:
    large = Pin(PINNED, 1.0, why=("x" * 1_100_000,))
    with pytest.raises(Full):
        await ledger.change(await ledger.server("docs"), Head(), {"a": large}, {})
    assert (await ledger.server("docs")).pin("a") is None


async def test_the_index_of_servers_is_bounded(ledger: Ledger, space: Keyspace) -> None:
    full = msgspec.json.encode([f"s{number}" for number in range(MAX_SERVERS)])
    await space.write([Write(Key("servers", "index"), full, None)])
    await ledger.change(await ledger.server("docs"), Head(), {"a": pin()}, {})
    assert "docs" not in await ledger.servers()
    assert (await ledger.server("docs")).pin("a") == pin()


async def test_pins_of_another_version_are_not_guessed_at(ledger: Ledger, space: Keyspace) -> None:
    await space.write([Write(Key("server:docs", "head"), b'{"v": 99}', None)])
    with pytest.raises(StoreError, match="another version"):
        await ledger.server("docs")


async def test_names_are_taken_by_compare_and_set(ledger: Ledger) -> None:
    known = await ledger.names(range(SHARDS))
    assert await ledger.claim(known, {"read": [("read", "docs")], "send": [("send", "docs")]})
    assert not await ledger.claim(known, {"read": [("read", "mail")]})
    found = await ledger.names([shard_of("read")], known)
    assert list(found[shard_of("read")].owners["read"]) == [("read", "docs")]
    assert await ledger.claim(found, {"read": [("read", "mail"), ("read", "docs")]})
    found = await ledger.names([shard_of("read")])
    assert list(found[shard_of("read")].owners["read"]) == [("read", "docs"), ("read", "mail")]


async def two(ledger: Ledger) -> None:
    """Two tools and instructions, of which everything is kept."""
    pins = {name: pin(f"{number:064x}", 5) for number, name in enumerate(("read", "send"))}
    head = Head(closed=True, tools=2, bytes=15, instructions=pin("b" * 64, 5))
    forms = dict.fromkeys([f"{0:064x}", f"{1:064x}", "b" * 64], b"12345")
    assert await ledger.change(await ledger.server("docs"), head, pins, forms)


async def test_a_tool_that_is_forgotten_leaves_nothing_behind(ledger: Ledger) -> None:
    await two(ledger)
    assert await ledger.forget(await ledger.server("docs"), ["read", None])
    left = await ledger.server("docs")
    assert left.head == Head(closed=True, tools=1, bytes=5)
    assert set(left.pins) == {"send"}
    assert [await ledger.form("docs", digest) for digest in (f"{0:064x}", "b" * 64)] == [None, None]
    assert await ledger.form("docs", f"{1:064x}") == b"12345"


async def test_a_server_that_is_forgotten_leaves_nothing_behind(ledger: Ledger) -> None:
    await two(ledger)
    known = await ledger.server("docs")
    assert await ledger.forget(known)
    left = await ledger.server("docs", known=known)
    assert (left.head, left.pins) == (None, {})
    assert await ledger.form("docs", f"{1:064x}") is None
    assert await ledger.forget(left)


async def test_what_changed_meanwhile_is_not_forgotten(ledger: Ledger) -> None:
    await two(ledger)
    before = await ledger.server("docs")
    assert await ledger.change(before, Head(tools=3), {"read": pin("c" * 64, 0)}, {})
    assert not await ledger.forget(before)
    assert not await ledger.forget(before, ["read"])
    assert set((await ledger.server("docs")).pins) == {"read", "send"}


async def test_names_are_given_back_by_their_server_alone(ledger: Ledger) -> None:
    both = [("read", "docs"), ("read", "mail")]
    claims = {"read": both, "send": [("send", "docs")], "add": [("add", "mail")]}
    assert await ledger.claim(await ledger.names(range(SHARDS)), claims)

    async def owned() -> set[tuple[str, str]]:
        shards = (await ledger.names(range(SHARDS))).values()
        return {(name, whose) for shard in shards for owners in shard.owners.values() for name, whose in owners}

    assert await ledger.release("docs", ["read", "add"]) == 1
    assert await owned() == {("read", "mail"), ("send", "docs"), ("add", "mail")}
    assert (await ledger.release("docs"), await ledger.release("docs")) == (1, 0)
    assert await owned() == {("read", "mail"), ("add", "mail")}


async def test_a_server_is_taken_out_of_the_index(ledger: Ledger) -> None:
    await two(ledger)
    for _ in range(2):
        await ledger.enlist("docs", listed=False)
        assert list(await ledger.servers()) == []
