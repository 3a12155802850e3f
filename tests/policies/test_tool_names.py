"""tool_names: a name is its owner's, look-alikes are one name, and nobody speaks of others' tools."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any

import pytest

from ext_proc.pins.ledger import SPACE, Ledger
from ext_proc.scanning.names import skeleton
from ext_proc.stores.embedded import EmbeddedStore
from ext_proc.stores.keyspace import Keyspace
from gatehouse_policies.tool_names import CONFUSABLE, MENTIONS, TAKEN, AllNames


@asynccontextmanager
async def ledger(*owned: tuple[str, str]) -> AsyncIterator[Ledger]:
    """Names that have owners: (name, server)."""
    with EmbeddedStore.in_memory() as store:
        made = Ledger(Keyspace(store, f"shared.{SPACE}"))
        for name, server in owned:
            assert await made.claim(await made.names(range(32)), {skeleton(name): [(name, server)]})
        yield made


async def found(
    made: Ledger,
    name: str,
    server: str,
    *,
    one_owner: bool = True,
    claims: Mapping[str, Sequence[tuple[str, str]]] | None = None,
    own: frozenset[str] = frozenset(),
    **parts: Any,
) -> tuple[str, ...]:
    names = AllNames(one_owner)
    known = await names.read(made, 0.0, anew=False)
    return names.found({"name": name, **parts}, server, known, claims or {}, own)


async def test_a_name_is_its_first_owners() -> None:
    async with ledger(("send", "mail")) as made:
        assert await found(made, "send", "mail") == ()
        assert await found(made, "send", "evil") == (TAKEN,)
        assert await found(made, "send", "evil", one_owner=False) == ()
        assert await found(made, "other", "evil") == ()


async def test_what_looks_like_another_name_is_one_on_any_server() -> None:
    async with ledger(("send_mail", "mail")) as made:
        for server in ("mail", "evil"):
            assert await found(made, "send-mail", server) == (CONFUSABLE,)
            assert await found(made, "s\u0435nd_mail", server, one_owner=False) == (CONFUSABLE,)


async def test_two_owners_after_an_approval_have_it_both() -> None:
    async with ledger(("send", "mail"), ("send", "mirror"), ("s3nd", "mail")) as made:
        assert await found(made, "send", "mirror") == ()


async def test_what_is_about_to_be_taken_is_taken() -> None:
    async with ledger() as made:
        claims = {skeleton("read"): [("read", "docs")]}
        assert await found(made, "READ", "docs", claims=claims) == (CONFUSABLE,)
        assert await found(made, "read", "docs", claims=claims) == ()


@pytest.mark.parametrize(
    "parts",
    [
        {"description": "Use send_mail afterwards."},
        {"inputSchema": {"properties": {"a": {"description": "What `send_mail` takes."}}}},
        {"annotations": {"title": "Better than send_mail"}},
    ],
)
async def test_a_definition_speaks_of_no_tool_that_others_alone_have(parts: dict[str, Any]) -> None:
    async with ledger(("send_mail", "mail")) as made:
        assert await found(made, "read", "evil", **parts) == (MENTIONS,)
        assert await found(made, "read", "mail", **parts) == ()
        assert await found(made, "read", "evil", own=frozenset({"send_mail"}), **parts) == ()
        assert await found(made, "read", "evil", _meta=parts) == ()


async def test_who_has_tools_itself_speaks_of_no_others_either() -> None:
    async with ledger(("send_mail", "mail"), ("look_up", "evil")) as made:
        assert await found(made, "read", "evil", description="Use send_mail afterwards.") == (MENTIONS,)
        assert await found(made, "read", "evil", description="Use look_up afterwards.") == ()


async def test_names_are_read_again_after_a_second_or_when_they_changed() -> None:
    async with ledger(("send", "mail")) as made:
        names = AllNames(True)
        first = await names.read(made, 10.0, anew=False)
        assert await made.claim(first, {skeleton("read"): [("read", "docs")]})
        assert await names.read(made, 10.5, anew=False) is first
        assert await names.read(made, 10.5, anew=True) is not first
        second = await names.read(made, 10.6, anew=False)
        assert await made.claim(second, {skeleton("add"): [("add", "docs")]})
        names.changed()
        owned = (await names.read(made, 10.7, anew=False)).values()
        assert skeleton("add") in {key for shard in owned for key in shard.owners}
        third = await names.read(made, 12.0, anew=False)
        assert await names.read(made, 14.0, anew=False) is third  # nothing changed
