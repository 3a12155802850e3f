"""The stores under test: in memory, in a file, in Redis, in a Redis Cluster of one node."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from tests.redis_server import RedisServer, redis_server
from tests.unit.stores.places import FilePlace, MemoryPlace, Place, RedisPlace


@pytest.fixture(scope="session")
def redis_here() -> Iterator[RedisServer]:
    """A server that all tests share, each with a prefix of its own."""
    with redis_server() as server:
        yield server


@pytest.fixture(scope="session")
def cluster_here() -> Iterator[RedisServer]:
    """A cluster of one node, which has all slots."""
    with redis_server(cluster=True) as server:
        server.ask("CLUSTER", "ADDSLOTSRANGE", 0, 16383)
        server.wait_until_the_cluster_is_up()
        yield server


def place_of(kind: str, request: pytest.FixtureRequest, folder: Path) -> Place:
    """A fresh place of this kind."""
    match kind:
        case "memory":
            return MemoryPlace()
        case "file":
            return FilePlace(folder / "store.db")
        case "redis":
            return RedisPlace(request.getfixturevalue("redis_here"))
    server: RedisServer = request.getfixturevalue("cluster_here")
    return RedisPlace(server, url=f"redis://127.0.0.1:{server.port}", cluster=True)


@pytest.fixture(params=["memory", "file", "redis", "cluster"])
async def place(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Place]:
    """Where stores keep what the test writes; nothing is there yet."""
    found = place_of(request.param, request, tmp_path)
    yield found
    await found.close()


@pytest.fixture(params=["file", "redis", "cluster"])
async def shared_place(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Place]:
    """One that several processes can use at once."""
    found = place_of(request.param, request, tmp_path)
    yield found
    await found.close()
