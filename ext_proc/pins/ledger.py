"""Where pins are kept: the records of servers and of names, and the definitions by their digests, in one keyspace.

Rules:
- A store lists no keys, so records are kept together in shards: of each server SHARDS, by the tool's name, and as many
  of the names of all servers. All of a server is one read, and what changes in it is one write, or none.
- Every record is changed by compare-and-set: of two who change the same, one reads again.
- Definitions are written before the records that name them, and deleted after: a record never names what is lost, but
  for one that was too large, or came when there was no more room.
- Nothing of it expires: a pin that was forgotten would be trusted anew. Only a person has it forgotten.

The keys, in the space SPACE:

    servers           index             JSON, the names of the servers
    names             0 .. 31           JSON, by skeleton of a name: [[name, server], ...]
    server:<server>   head              JSON, Head
    server:<server>   0 .. 31           JSON, by the tool's name: Pin
    server:<server>   sha256:<digest>   the canonical form of a definition

Not here: what a record means (records.py), how long what was read is believed (the policy tool-pinning).
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

import msgspec

from ext_proc.pins.canonical import PREFIX
from ext_proc.pins.records import Pin
from ext_proc.stores.keyspace import Keyspace
from ext_proc.stores.store import ABSENT, MAX_VALUE, Entry, Key, StoreError, Write

SPACE: Final = "tool-pins"
SHARDS: Final = 32
VERSION: Final = 1
MAX_DEFINITION: Final = 512 * 1024  # bytes of one definition: half of a value
MAX_SERVERS: Final = 1000  # in the index

_AT_ONCE = 48  # keys of one operation
_BYTES_AT_ONCE = 1024 * 1024
_ATTEMPTS = 5
_INDEX = Key("servers", "index")


class Full(StoreError):
    """There is no more room in a record for what was to be kept."""


class Head(msgspec.Struct, frozen=True, omit_defaults=True):
    """What is kept of a server as a whole.

    Attributes:
        v: that of all of its records.
        opened: when its tools were first listed, in seconds since the Unix epoch; 0 where they were not.
        closed: whether that first listing is over.
        cursor: while it is not, a fingerprint of the cursor that leads on; "" for none.
        tools: how many names there are.
        bytes: of the definitions that are kept.
        instructions: what it says of itself.
    """

    v: int = VERSION
    opened: float = 0.0
    closed: bool = False
    cursor: str = ""
    tools: int = 0
    bytes: int = 0
    instructions: Pin | None = None


@dataclass(frozen=True, slots=True)
class Shard:
    """Some of a server's tools, or of all servers' names.

    Attributes:
        version: of the entry; ABSENT where there is none.
        size: bytes of the entry.
    """

    version: int = ABSENT
    size: int = 0
    pins: Mapping[str, Pin] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Names:
    """Some of the names of all servers: by skeleton, the names and whose they are."""

    version: int = ABSENT
    size: int = 0
    owners: Mapping[str, Sequence[tuple[str, str]]] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Server:
    """What is kept of a server, as far as it was read.

    Attributes:
        version: of the head's entry.
        shards: by number.
    """

    name: str
    head: Head | None = None
    version: int = ABSENT
    shards: Mapping[int, Shard] = field(default_factory=dict)

    def pin(self, tool: str) -> Pin | None:
        """The record of a tool; None for one that was never listed."""
        return self.shards[shard_of(tool)].pins.get(tool)

    @property
    def pins(self) -> Mapping[str, Pin]:
        """The records of all tools, by name."""
        return {name: shard.pins[name] for shard in self.shards.values() for name in sorted(shard.pins)}


_HEADS = msgspec.json.Decoder(Head)
_PINS = msgspec.json.Decoder(dict[str, Pin])
_OWNERS = msgspec.json.Decoder(dict[str, list[tuple[str, str]]])
_SERVERS = msgspec.json.Decoder(list[str])


def shard_of(name: str) -> int:
    """The number of the shard that a name, or a skeleton of one, is in."""
    return hashlib.sha256(name.encode("utf-8", "surrogatepass")).digest()[0] % SHARDS


class Ledger:
    """Reads and writes pins; every method raises StoreError.

    Args:
        space: SPACE, as all share it.
    """

    def __init__(self, space: Keyspace) -> None:
        self._space = space

    async def server(self, name: str, shards: Collection[int] = range(SHARDS), known: Server | None = None) -> Server:
        """What is kept of a server.

        Args:
            shards: those that are wanted.
            known: as it was read before: what has not changed is taken from there.
        """
        keys = [Key(_group(name), "head"), *(Key(_group(name), str(number)) for number in shards)]
        first, *rest = await self._space.read(keys)
        head = None if first is None else _HEADS.decode(first.value)
        if head is not None and head.v != VERSION:
            raise StoreError(f"the pins of {name} are of another version ({head.v})")
        before = {} if known is None else known.shards
        found = {number: _shard(entry, before.get(number)) for number, entry in zip(shards, rest, strict=True)}
        return Server(name, head, ABSENT if first is None else first.version, found)

    async def change(self, before: Server, head: Head, pins: Mapping[str, Pin], forms: Mapping[str, bytes]) -> bool:
        """Keeps what is new of a server; False where somebody else changed it meanwhile, and nothing was.

        Args:
            before: as it was read, with the shards of all these tools.
            pins: the tools whose records are new.
            forms: canonical forms, by digest, that the records name and that are not kept yet.

        Raises:
            Full: its tools take more than a record can hold.
        """
        group = _group(before.name)
        await self._write_forms(group, forms)
        if before.head is None:
            await self.enlist(before.name)
        writes = []
        if head != before.head:
            writes.append(Write(Key(group, "head"), msgspec.json.encode(head), None, before.version))
        numbers = {shard_of(name) for name in pins}
        for number in sorted(numbers):
            shard = before.shards[number]
            mine = {name: pin for name, pin in pins.items() if shard_of(name) == number}
            value = msgspec.json.encode({**shard.pins, **mine})
            writes.append(Write(Key(group, str(number)), _fitting(value), None, shard.version))
        if not await self._space.write(writes):
            return False
        old = [before.shards[shard_of(name)].pins.get(name) for name in pins]
        before_it = None if before.head is None else before.head.instructions
        dropped = _digests([*old, before_it]) - _digests([*pins.values(), head.instructions])
        await self._delete_forms(group, dropped)
        return True

    async def forget(self, before: Server, tools: Collection[str | None] | None = None) -> bool:
        """Drops what is kept of a server; False where somebody changed it meanwhile, and nothing was.

        Args:
            before: as it was read, with all of its shards.
            tools: those that are dropped, None among them for the instructions; None for all of the server.
        """
        group = _group(before.name)
        if before.head is None or tools is None:
            gone = [*before.pins.values(), None if before.head is None else before.head.instructions]
            entries = {"head": before.version, **{str(number): each.version for number, each in before.shards.items()}}
            writes = [Write(Key(group, key), None, None, each) for key, each in entries.items() if each != ABSENT]
        else:
            gone = [before.head.instructions if name is None else before.pin(name) for name in tools]
            head = msgspec.structs.replace(
                before.head,
                tools=before.head.tools - sum(name is not None for name in tools),
                bytes=before.head.bytes - sum(version.size for pin in gone if pin for version in pin.digests.values()),
                instructions=None if None in tools else before.head.instructions,
            )
            writes = [Write(Key(group, "head"), msgspec.json.encode(head), None, before.version)]
            for number in sorted({shard_of(name) for name in tools if name is not None}):
                shard = before.shards[number]
                left = msgspec.json.encode({name: pin for name, pin in shard.pins.items() if name not in tools})
                writes.append(Write(Key(group, str(number)), left, None, shard.version))
        if not await self._space.write(writes):
            return False
        await self._delete_forms(group, _digests(gone))
        return True

    async def release(self, server: str, tools: Collection[str] | None = None) -> int:
        """Gives the names of a server's tools back, or all that it has; how many it had."""
        for _ in range(_ATTEMPTS):
            released, writes = 0, []
            for number, shard in (await self.names(range(SHARDS))).items():
                mine = [
                    name
                    for owners in shard.owners.values()
                    for name, whose in owners
                    if whose == server and (tools is None or name in tools)
                ]
                released += len(mine)
                left = {
                    skeleton: [[name, whose] for name, whose in owners if whose != server or name not in mine]
                    for skeleton, owners in shard.owners.items()
                }
                if mine:
                    value = msgspec.json.encode({skeleton: owners for skeleton, owners in left.items() if owners})
                    writes.append(Write(Key("names", str(number)), value, None, shard.version))
            if await self._space.write(writes):
                return released
        raise StoreError("others change the same names")

    async def form(self, server: str, digest: str) -> bytes | None:
        """A definition's canonical form; None where it is not kept."""
        entry = await self._space.get(Key(_group(server), PREFIX + digest))
        return None if entry is None else entry.value

    async def servers(self) -> Sequence[str]:
        """The servers that something is kept of, by name; at most MAX_SERVERS."""
        entry = await self._space.get(_INDEX)
        return [] if entry is None else sorted(_SERVERS.decode(entry.value))

    async def names(self, shards: Iterable[int], known: Mapping[int, Names] | None = None) -> Mapping[int, Names]:
        """Some of the names of all servers; see `server`."""
        numbers, before = list(shards), known or {}
        entries = await self._space.read([Key("names", str(number)) for number in numbers])
        return {number: _names(entry, before.get(number)) for number, entry in zip(numbers, entries, strict=True)}

    async def claim(self, before: Mapping[int, Names], claims: Mapping[str, Sequence[tuple[str, str]]]) -> bool:
        """Keeps whose names these are; False where somebody else changed one meanwhile, and nothing was.

        Args:
            before: as they were read; all that `claims` are in.
            claims: by skeleton, names and servers.

        Raises:
            Full: there are more names than a record can hold.
        """
        changed: dict[int, dict[str, Sequence[tuple[str, str]]]] = {}
        for skeleton, owners in claims.items():
            shard = changed.setdefault(shard_of(skeleton), dict(before[shard_of(skeleton)].owners))
            shard[skeleton] = list(dict.fromkeys((*shard.get(skeleton, ()), *owners)))
        values = {number: _fitting(msgspec.json.encode(owners)) for number, owners in changed.items()}
        writes = [
            Write(Key("names", str(number)), value, None, before[number].version) for number, value in values.items()
        ]
        return await self._space.write(writes)

    async def _write_forms(self, group: str, forms: Mapping[str, bytes]) -> None:
        batch: list[Write] = []
        for digest, form in forms.items():
            size = sum(len(write.value or b"") for write in batch)
            if batch and (len(batch) >= _AT_ONCE or size + len(form) > _BYTES_AT_ONCE):
                await self._space.write(batch)
                batch = []
            batch.append(Write(Key(group, PREFIX + digest), form, None))
        await self._space.write(batch)

    async def _delete_forms(self, group: str, digests: Iterable[str]) -> None:
        keys = [Key(group, PREFIX + digest) for digest in sorted(digests)]
        for start in range(0, len(keys), _AT_ONCE):
            await self._space.write([Write(key, None, None) for key in keys[start : start + _AT_ONCE]])

    async def enlist(self, server: str, listed: bool = True) -> None:
        """Puts a server into the index, or takes it out; one that finds no place there is kept all the same."""
        for _ in range(_ATTEMPTS):
            entry = await self._space.get(_INDEX)
            servers = [] if entry is None else _SERVERS.decode(entry.value)
            if (server in servers) is listed or (listed and len(servers) >= MAX_SERVERS):
                return
            value = msgspec.json.encode([*servers, server] if listed else [name for name in servers if name != server])
            if await self._space.write([Write(_INDEX, value, None, ABSENT if entry is None else entry.version)]):
                return
        raise StoreError("others change the index of servers")


def _group(server: str) -> str:
    return f"server:{server}"


def _shard(entry: Entry | None, known: Shard | None) -> Shard:
    if known is not None and known.version == (ABSENT if entry is None else entry.version):
        return known
    if entry is None:
        return Shard()
    return Shard(entry.version, len(entry.value), _PINS.decode(entry.value))


def _names(entry: Entry | None, known: Names | None) -> Names:
    if known is not None and known.version == (ABSENT if entry is None else entry.version):
        return known
    if entry is None:
        return Names()
    return Names(entry.version, len(entry.value), _OWNERS.decode(entry.value))


def _fitting(value: bytes) -> bytes:
    if len(value) > MAX_VALUE:
        raise Full("the tools take more than one record of the store can hold")
    return value


def _digests(pins: Iterable[Pin | None]) -> set[str]:
    return {digest for pin in pins if pin is not None for digest in pin.digests}
