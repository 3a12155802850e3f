"""A process that uses a store as hard as it can, for the test that several of them agree.

    python -m tests.unit.stores.hammer BLOWS LIMIT file=PATH | url=URL prefix=P cluster=False

It prints how many additions to the counter went through, and how many to the number.
"""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

from ext_proc.secret import Secret
from ext_proc.stores.embedded import EmbeddedStore
from ext_proc.stores.redis import RedisStore
from ext_proc.stores.settings import EmbeddedSettings, RedisSettings
from ext_proc.stores.store import ABSENT, Count, Key, Store, Write
from tests.redis_server import GENEROUS

HOUR = 3600.0


async def opened(place: dict[str, str]) -> Store:
    if "file" in place:
        return await EmbeddedStore.open(EmbeddedSettings(Path(place["file"]), 64 << 20, GENEROUS))
    url = Secret("redis", place["url"].encode())
    settings = RedisSettings(
        url, place["prefix"], place["cluster"] == "True", GENEROUS, GENEROUS, max_connections=4, failures=3, pause=1.0
    )
    return await RedisStore.open(settings, must_answer=True)


async def add_one(store: Store, key: Key) -> None:
    """Adds one to the number, for as often as others come first."""
    while True:
        (entry,) = await store.read([key])
        value = str(int(entry.value if entry else 0) + 1).encode()
        if await store.write([Write(key, value, HOUR, expected=entry.version if entry else ABSENT)]):
            return


async def main(blows: int, limit: int, place: dict[str, str]) -> None:
    store = await opened(place)
    counted = 0
    for _ in range(blows):
        found = await store.count([Count(Key("hammer", "counter"), 1, HOUR, limit)])
        counted += found.passed is None
        await add_one(store, Key("hammer", "number"))
    await store.close()
    print(counted, blows)


if __name__ == "__main__":
    asyncio.run(
        main(int(sys.argv[1]), int(sys.argv[2]), dict(argument.split("=", 1) for argument in sys.argv[3:])),
    )
