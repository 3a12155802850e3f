"""A policy's own part of the store.

Rules:
- Two policies cannot reach each other's keys, unless both open a space by the same name on purpose.
- The space is the policy's name in the bundle, so what is kept survives a swap of bundles.

Not here: where it is kept (store.py).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from ext_proc.stores.store import Count, Counted, Entry, Key, Store, Write


class Keyspace:
    """The keys of one space; see `Store` for the methods, and for what they raise.

    Args:
        space: the policy's name, or the name that several policies agreed on.
    """

    __slots__ = ("_prefix", "_store")

    def __init__(self, store: Store, space: str) -> None:
        self._store = store
        # A name is a slug: the first slash ends it, so no space is the beginning of another.
        self._prefix = space + "/"

    async def get(self, key: Key) -> Entry | None:
        """What is under one key."""
        (entry,) = await self._store.read([self._own(key)])
        return entry

    async def read(self, keys: Sequence[Key]) -> Sequence[Entry | None]:
        """What is there, in the order of `keys`."""
        return await self._store.read([self._own(key) for key in keys])

    async def write(self, writes: Sequence[Write]) -> bool:
        """All changes, or none."""
        return await self._store.write([replace(write, key=self._own(write.key)) for write in writes])

    async def count(self, counts: Sequence[Count]) -> Counted:
        """All additions, or none."""
        return await self._store.count([replace(count, key=self._own(count.key)) for count in counts])

    def _own(self, key: Key) -> Key:
        return Key(self._prefix + key.group, key.name)
