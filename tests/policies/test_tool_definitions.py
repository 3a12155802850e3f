"""tool_definitions: what servers list is kept, as their last word, within bounds, and written no more than needed."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from mcp.shared.inbound import find_invalid_x_mcp_header, x_mcp_header_map
from pydantic import ValidationError

from ext_proc.headers import Headers
from ext_proc.identity import UNKNOWN
from ext_proc.messages import RequestHead, ToolList
from ext_proc.policy import Context, Entry, Exchanged, Key, StoreError, Write
from ext_proc.stores.embedded import EmbeddedStore
from ext_proc.stores.store import Count, Counted, Store
from ext_proc.trail import Trail
from gatehouse_policies.tool_definitions import (
    SPACE,
    VERSION,
    KnownTools,
    Learning,
    Mirrored,
    ToolDefinition,
    define,
    mirrored_by,
)
from tests.policies.town import Broken

SCHEMA = {"type": "object", "properties": {"path": {"type": "string"}}}
DAY = 86400.0


class Clock:
    """Seconds that pass when the test says so."""

    def __init__(self) -> None:
        self.now = 1_000_000.0

    def __call__(self) -> float:
        return self.now


class Counting:
    """A store that counts what it is asked."""

    def __init__(self, store: Store) -> None:
        self.store = store
        self.reads: list[int] = []
        self.writes: list[int] = []

    async def read(self, keys: Sequence[Key]) -> Sequence[Entry | None]:
        self.reads.append(len(keys))
        return await self.store.read(keys)

    async def write(self, writes: Sequence[Write]) -> bool:
        self.writes.append(len(writes))
        return await self.store.write(writes)

    async def count(self, counts: Sequence[Count]) -> Counted:
        return await self.store.count(counts)

    async def close(self) -> None:
        await self.store.close()


class Host:
    """A worker with its own memory, over a store that others may share."""

    def __init__(self, clock: Clock, store: Store | None = None, **learning: Any) -> None:
        self.clock = clock
        self.store = Counting(EmbeddedStore.in_memory(clock) if store is None else store)
        self.known: KnownTools[ToolDefinition] = KnownTools(
            lambda definition: (definition, 100), Learning.model_validate(learning)
        )

    def ctx(self, server: str = "files") -> Context[None]:
        head = RequestHead("POST", "/mcp", "", Headers())
        exchanged = Exchanged(
            UNKNOWN, "r", "mcp", head, Trail("t"), server, now=self.clock.now, time=self.clock.now, store=self.store
        )
        return Context(exchanged, None, "p")

    def learn(self, *tools: Mapping[str, Any], server: str = "files", hurry: bool = False) -> str:
        """Shows a page, perhaps with no time for it; what is said of it."""
        ctx = self.ctx(server)
        ctx.deadline = ctx.now if hurry else float("inf")
        asyncio.run(self.known.learn(ToolList({"jsonrpc": "2.0", "id": 1, "result": {"tools": list(tools)}}), ctx))
        return ctx.take_reason()

    def get(self, name: str, server: str = "files") -> ToolDefinition | None:
        return asyncio.run(self.known.get(name, self.ctx(server)))


def tool(name: str = "read", **parts: Any) -> dict[str, Any]:
    return {"name": name, "inputSchema": SCHEMA, **parts}


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def host(clock: Clock) -> Host:
    return Host(clock)


def test_a_listed_tool_is_known_with_all_that_policies_decide_by(host: Host) -> None:
    assert host.get("read") is None
    output = {"type": "object"}
    host.learn(tool(outputSchema=output, annotations={"readOnlyHint": True, "title": "x"}, description="long"))
    found = host.get("read")
    assert found is not None
    assert (found.v, found.input, found.output, found.annotations) == (VERSION, SCHEMA, output, {"readOnlyHint": True})
    assert (found.mirrored, found.unusable) == ((), "")


def test_the_record_is_the_documented_json(host: Host, clock: Clock) -> None:
    argument = {"type": "string", "x-mcp-header": "Region"}
    schema = {"type": "object", "properties": {"where": {"type": "object", "properties": {"region": argument}}}}
    host.learn({"name": "a", "inputSchema": schema, "description": "not kept"})
    entry = asyncio.run(host.ctx().shared(SPACE).get(Key("files", "a")))
    assert entry is not None
    record = json.loads(entry.value)
    assert record.pop("digest")
    assert record == {
        "v": 1,
        "since": clock.now,
        "input": schema,
        "mirrored": [{"header": "Region", "path": ["where", "region"], "type": "string"}],
    }


def test_what_is_known_of_one_server_is_not_of_another(host: Host) -> None:
    host.learn(tool(), server="files")
    assert host.get("read", "files") is not None
    assert host.get("read", "mail") is None


def test_the_servers_last_word_counts_at_once_where_it_was_heard_and_soon_elsewhere(clock: Clock) -> None:
    first = Host(clock)
    other = Host(clock, first.store)
    first.learn(tool())
    assert other.get("read") is not None
    changed = {"type": "object", "required": ["path"]}
    first.learn(tool(inputSchema=changed))
    for host in (first, other):
        clock.now += 1.0
        found = host.get("read")
        assert found is not None
        assert found.input == changed


def test_a_word_that_is_taken_back_counts_again_though_another_host_heard_the_one_between(clock: Clock) -> None:
    first = Host(clock)
    other = Host(clock, first.store)
    changed = {"type": "object", "required": ["path"]}
    first.learn(tool())
    other.learn(tool(inputSchema=changed))
    clock.now += 1.0
    found = first.get("read")
    assert found is not None
    assert found.input == changed
    first.learn(tool())
    for host in (first, other):
        clock.now += 1.0
        found = host.get("read")
        assert found is not None
        assert found.input == SCHEMA


def test_a_page_adds_to_what_other_pages_said(host: Host) -> None:
    host.learn(tool("a"), tool("b"))
    host.learn(tool("c"))
    assert all(host.get(name) is not None for name in "abc")


def test_what_is_there_already_is_not_written_again(clock: Clock) -> None:
    first = Host(clock)
    page = [tool(f"t{number}") for number in range(100)]
    first.learn(*page)
    assert first.store.writes == [64, 36]
    first.learn(*page)
    other = Host(clock, first.store.store)
    other.learn(*page)
    assert first.store.writes == [64, 36]
    assert first.store.reads == [64, 36]  # believed for a minute
    assert (other.store.writes, other.store.reads) == ([], [64, 36])


def test_what_is_listed_again_is_kept_for_longer(clock: Clock) -> None:
    host = Host(clock, expires="30d")
    host.learn(tool())
    for _ in range(10):
        clock.now += 10 * DAY
        host.learn(tool())
    assert host.get("read") is not None
    clock.now += 31 * DAY
    assert host.get("read") is None


def test_what_the_store_lost_comes_back_with_the_next_list(host: Host, clock: Clock) -> None:
    host.learn(tool())
    host.store.store = EmbeddedStore.in_memory(clock)
    clock.now += 2.0
    assert host.get("read") is None
    host.learn(tool())
    assert host.get("read") is not None


def test_what_was_read_is_used_again_for_a_second(host: Host, clock: Clock) -> None:
    host.learn(tool())
    host.store.reads.clear()
    for _ in range(5):
        host.get("read")
    assert host.store.reads == [1]
    clock.now += 1.0
    host.get("read")
    assert host.store.reads == [1, 1]


def test_schemas_past_the_limit_replace_what_was_known(clock: Clock) -> None:
    host = Host(clock, definition="4KiB")
    host.learn(tool(annotations={"destructiveHint": True}))
    host.learn(tool(inputSchema={"type": "object", "description": "x" * 5000}, annotations={"destructiveHint": True}))
    found = host.get("read")
    assert found is not None
    assert (found.input, found.unusable, found.annotations) == (None, "too-large", {"destructiveHint": True})


def test_a_megabyte_of_description_beside_the_schemas_costs_nothing(host: Host) -> None:
    host.learn(tool(description="d" * (1 << 20), title="t" * (1 << 20)))
    entry = asyncio.run(host.ctx().shared(SPACE).get(Key("files", "read")))
    assert entry is not None
    assert len(entry.value) < 500


def test_a_name_with_two_definitions_on_a_page_is_unusable_and_with_one_twice_is_not(host: Host) -> None:
    safe = {"readOnlyHint": True}
    host.learn(tool("a", annotations=safe), tool("a", inputSchema={"type": "object"}), tool("b"), tool("b"))
    found = host.get("a")
    assert found is not None
    assert (found.input, found.annotations, found.unusable) == (None, {}, "ambiguous")
    assert host.get("b") == host.get("b") is not None


def test_of_ten_thousand_tools_as_many_are_kept_as_the_limit_says(clock: Clock) -> None:
    host = Host(clock, tools=3000)
    host.learn(*[tool(f"t{number}") for number in range(10_000)])
    assert max(host.store.writes) <= 64
    assert host.get("t2999") is not None
    assert host.get("t3000") is None


def test_a_list_that_is_too_long_for_its_time_is_learned_a_part_at_each_listing(host: Host) -> None:
    page = [tool(f"t{number}") for number in range(150)]
    told = [host.learn(*page, hurry=True) for _ in range(3)]
    assert told == [*["the rest of a long list is learned when it is listed again"] * 2, ""]
    assert host.store.writes == [64, 64, 22]
    assert all(host.get(f"t{number}") is not None for number in range(150))
    assert host.learn(*page, hurry=True) == ""


def test_operations_are_bounded_in_bytes_too(clock: Clock) -> None:
    host = Host(clock)
    large = {"type": "object", "description": "x" * 200_000}
    host.learn(*[tool(f"t{number}", inputSchema=large) for number in range(12)])
    assert sum(host.store.writes) == 12
    assert max(host.store.writes) <= 5


def test_a_server_cannot_fill_the_store(clock: Clock) -> None:
    host = Host(clock, total="256KiB")
    large = {"type": "object", "description": "x" * 50_000}
    told = [host.learn(tool(f"t{number}", inputSchema=large)) for number in range(20)]
    assert sum(host.get(f"t{number}") is not None for number in range(20)) == 5
    assert told[-1] == "the server's tools take more than is kept of them"
    assert host.learn(tool("t0", inputSchema=large), server="mail") == ""
    assert host.get("t0", "mail") is not None


def test_what_is_written_anew_counts_once(clock: Clock) -> None:
    host = Host(clock, expires="30d", total="100KiB")
    page = tool(inputSchema={"type": "object", "description": "x" * 40_000})
    for _ in range(5):
        assert host.learn(page) == ""
        clock.now += 5 * DAY
    assert len(host.store.writes) == 5
    assert host.get("read") is not None


def test_with_a_larger_limit_what_was_too_large_is_known(clock: Clock) -> None:
    small = Host(clock, definition="4KiB")
    large = Host(clock, small.store.store, definition="64KiB")
    page = tool(inputSchema={"type": "object", "description": "x" * 5000})
    for host, unusable in ((small, "too-large"), (large, "")):
        host.learn(page)
        found = host.get("read")
        assert found is not None
        assert found.unusable == unusable


def test_what_can_no_longer_be_kept_is_no_longer_known_either(clock: Clock) -> None:
    host = Host(clock, total="64KiB")
    host.learn(tool(inputSchema={"type": "object", "description": "x" * 40_000}))
    assert host.get("read") is not None
    host.learn(tool(inputSchema={"type": "object", "description": "y" * 40_000}))
    assert host.get("read") is None


def test_a_name_that_is_too_long_is_not_kept(host: Host) -> None:
    host.learn(tool("n" * 257), tool("n" * 256))
    assert host.get("n" * 257) is None
    assert host.get("n" * 256) is not None


def test_a_record_of_another_version_says_nothing(host: Host) -> None:
    write = Write(Key("files", "read"), b'{"v":2,"input":"of another form"}', None)
    asyncio.run(host.ctx().shared(SPACE).write([write]))
    assert host.get("read") is None
    host.learn(tool())
    assert host.get("read") is not None


def test_what_is_at_hand_is_bounded_in_bytes(clock: Clock) -> None:
    host = Host(clock, total="1GiB")
    large = {"type": "object", "description": "x" * 250_000}
    for number in range(200):
        host.learn(tool(f"t{number}", inputSchema=large))
        assert host.get(f"t{number}") is not None
    held = sum(len(encoded(found[2])) for found in host.known._at_hand.values())
    assert 16 * 1024 * 1024 < held <= 32 * 1024 * 1024


def encoded(definition: ToolDefinition) -> bytes:
    return msgspec.json.encode(definition)


def test_a_store_that_fails_is_told_and_nothing_counts_as_known(clock: Clock) -> None:
    host = Host(clock, Broken())
    with pytest.raises(StoreError):
        host.learn(tool())
    with pytest.raises(StoreError):
        host.get("read")
    host.store.store = EmbeddedStore.in_memory(clock)
    host.learn(tool())
    assert host.get("read") is not None


def test_integers_longer_than_64_bits_are_kept(host: Host) -> None:
    schema = {"type": "object", "properties": {"n": {"maximum": 10**40}}}
    host.learn(tool(inputSchema=schema))
    found = host.get("read")
    assert found is not None
    assert found.input == schema


def test_a_definition_without_a_schema_of_its_arguments_has_none() -> None:
    assert define({"name": "a"}, 1000).input is None
    assert define({"name": "a", "inputSchema": "any"}, 1000).input == "any"


NAMES = st.sampled_from(["A", "b", "a", "x-y", "", "ü", "a b", 5])
ARGUMENTS = st.recursive(
    st.fixed_dictionaries(
        {},
        optional={
            "type": st.sampled_from(["string", "integer", "boolean", "number", "object", ["string"], None]),
            "x-mcp-header": NAMES,
        },
    ),
    lambda inner: st.fixed_dictionaries(
        {},
        optional={
            "type": st.just("object"),
            "properties": st.dictionaries(st.sampled_from("pqr"), inner, max_size=2),
            "items": inner,
            "anyOf": st.lists(inner, max_size=2),
            "$defs": st.dictionaries(st.sampled_from("pq"), inner, max_size=1),
            "additionalProperties": inner,
        },
    ),
    max_leaves=5,
)


@given(ARGUMENTS)
def test_mirrored_arguments_are_those_that_the_official_sdk_finds(schema: Any) -> None:
    found = mirrored_by(schema)
    if find_invalid_x_mcp_header(schema) is not None:
        assert found is None
    else:
        assert found is not None
        assert {mirrored.path: mirrored.header for mirrored in found} == x_mcp_header_map(schema)


def test_a_mirrored_argument_has_its_type() -> None:
    schema = {"properties": {"n": {"type": "integer", "x-mcp-header": "Count"}}}
    assert mirrored_by(schema) == (Mirrored("Count", ("n",), "integer"),)


@pytest.mark.parametrize("learning", [{"tools": 0}, {"definition": "1MiB"}, {"expires": "0s"}, {"lists": 1}])
def test_limits_that_mean_nothing_are_refused(learning: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        Learning.model_validate(learning)
