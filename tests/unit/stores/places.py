"""Where stores keep things, as tests handle it: open stores on it, and let time pass."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any, Protocol

from ext_proc.stores.embedded import EmbeddedStore
from ext_proc.stores.redis import RedisStore
from ext_proc.stores.settings import EmbeddedSettings, RedisSettings
from ext_proc.stores.store import Store
from tests.redis_server import GENEROUS, RedisServer

MIB = 1 << 20


class Place(Protocol):
    """One place; every store on it has the same content.

    Attributes:
        arguments: those by which hammer.py finds it; in memory none.
    """

    arguments: list[str]

    async def open(self) -> Store:
        """A store on it; in memory always the same one."""
        ...

    def pass_time(self, seconds: float) -> None:
        """What expires within `seconds` is expired now."""
        ...

    async def close(self) -> None:
        """Closes all stores on it."""
        ...


class Clock:
    """Seconds since the Unix epoch, going on only when told to."""

    def __init__(self) -> None:
        self.now = time.time()

    def __call__(self) -> float:
        return self.now


class MemoryPlace:
    arguments: list[str] = []  # noqa: RUF012  # nobody adds to it

    def __init__(self) -> None:
        self._clock = Clock()
        self._store = EmbeddedStore.in_memory(self._clock)

    async def open(self) -> Store:
        return self._store

    def pass_time(self, seconds: float) -> None:
        self._clock.now += seconds

    async def close(self) -> None:
        await self._store.close()


class FilePlace:
    def __init__(self, path: Path, **changes: Any) -> None:
        values: dict[str, Any] = {"path": path, "max_size": 64 * MIB, "timeout": GENEROUS}
        self.settings = EmbeddedSettings(**{**values, **changes})
        self.arguments = [f"file={path}"]
        self.clock = Clock()
        self._stores: list[EmbeddedStore] = []

    async def open(self) -> EmbeddedStore:
        store = await EmbeddedStore.open(self.settings, self.clock)
        self._stores.append(store)
        return store

    def pass_time(self, seconds: float) -> None:
        self.clock.now += seconds

    async def close(self) -> None:
        for store in self._stores:
            await store.close()


class RedisPlace:
    def __init__(self, server: RedisServer, **changes: Any) -> None:
        self.server = server
        self.settings: RedisSettings = server.settings(**changes)
        url, prefix, cluster = self.settings.url.reveal().decode(), self.settings.prefix, self.settings.cluster
        self.arguments = [f"url={url}", f"prefix={prefix}", f"cluster={cluster}"]
        self._stores: list[RedisStore] = []

    async def open(self) -> RedisStore:
        store = await RedisStore.open(self.settings, must_answer=True)
        self._stores.append(store)
        return store

    def pass_time(self, seconds: float) -> None:
        """The server's clock cannot be set: what it keeps for the prefix loses its seconds instead."""
        for key in self.all_keys():
            left = self.server.ask("PTTL", key)
            if left >= 0:
                self.server.ask("PEXPIRE", key, max(left - round(seconds * 1000), 0))

    def all_keys(self) -> list[str]:
        """All keys on it, as the server has them."""
        return [key.decode() for key in self.server.ask("KEYS", f"{self.settings.prefix}:*")]

    async def close(self) -> None:
        for store in self._stores:
            await store.close()
