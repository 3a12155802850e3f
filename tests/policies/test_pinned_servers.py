"""pinned_servers: what was read is used again for a second, and what is at hand is bounded."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import pytest

from ext_proc.pins import ledger as ledgers
from ext_proc.pins.ledger import SPACE, Head, Ledger, shard_of
from ext_proc.pins.records import PINNED, Pin
from ext_proc.stores.embedded import EmbeddedStore
from ext_proc.stores.keyspace import Keyspace
from ext_proc.stores.store import Entry, Key
from gatehouse_policies import pinned_servers
from gatehouse_policies.pinned_servers import ALL, PinnedServers


class Counted(EmbeddedStore):
    """A store that counts the keys that are read."""

    reads = 0

    async def read(self, keys: Sequence[Key]) -> Sequence[Entry | None]:
        self.reads += len(keys)
        return await super().read(keys)


@pytest.fixture
def store() -> Iterator[Counted]:
    with Counted.in_memory() as made:
        assert isinstance(made, Counted)
        yield made


@pytest.fixture
def ledger(store: Counted) -> Ledger:
    return Ledger(Keyspace(store, f"shared.{SPACE}"))


async def keep(ledger: Ledger, server: str, tool: str, why: str = "") -> None:
    pin = Pin(PINNED, 1.0, why=(why,) if why else ())
    assert await ledger.change(await ledger.server(server), Head(opened=1.0), {tool: pin}, {})


async def test_a_tool_is_read_once_a_second_with_its_servers_head(ledger: Ledger, store: Counted) -> None:
    await keep(ledger, "docs", "read")
    pins = PinnedServers()
    before = store.reads
    for now in (10.0, 10.5, 10.9):
        found = await pins.read("docs", [shard_of("read")], ledger, now)
        assert found.pin("read") is not None
        assert found.head is not None
    assert store.reads - before == 2
    await pins.read("docs", [shard_of("read")], ledger, 11.1)
    assert store.reads - before == 4


async def test_only_what_is_not_fresh_is_read(ledger: Ledger, store: Counted) -> None:
    pins = PinnedServers()
    await pins.read("docs", [0, 1], ledger, 10.0)
    before = store.reads
    await pins.read("docs", [0, 1, 2], ledger, 10.5)
    assert store.reads - before == 2
    await pins.read("docs", [], ledger, 10.6)
    assert store.reads - before == 2
    await pins.read("docs", ALL, ledger, 10.7, anew=True)
    assert store.reads - before == 2 + ledgers.SHARDS + 1


async def test_what_this_process_changed_is_read_at_once(ledger: Ledger) -> None:
    pins = PinnedServers()
    assert (await pins.read("docs", [shard_of("read")], ledger, 10.0)).pin("read") is None
    await keep(ledger, "docs", "read")
    pins.forget("docs")
    pins.forget("unknown")
    assert (await pins.read("docs", [shard_of("read")], ledger, 10.1)).pin("read") is not None


async def test_the_server_that_was_asked_for_longest_ago_makes_room(
    ledger: Ledger, store: Counted, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pinned_servers, "_ROOM", 2500)
    pins = PinnedServers()
    for server in ("a", "b", "c"):
        await keep(ledger, server, "read", "x" * 1000)
        await pins.read(server, ALL, ledger, 10.0)
    before = store.reads
    await pins.read("c", ALL, ledger, 10.1)
    await pins.read("b", ALL, ledger, 10.1)
    assert store.reads == before
    await pins.read("a", ALL, ledger, 10.1)
    assert store.reads > before
