"""URLs, numbers of connections, and the time that commands get."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Any

import pytest

from ext_proc.secret import Secret
from ext_proc.stores.redis_connections import Connections, connections_of, options_of
from tests.redis_server import GENEROUS, RedisServer


def options(url: str, cluster: bool = False) -> dict[str, Any]:
    return dict(options_of(Secret("redis", url.encode()), cluster))


@contextlib.asynccontextmanager
async def connected(server: RedisServer, **changes: Any) -> AsyncIterator[Connections]:
    made = connections_of(replace(server.settings(), **changes))
    try:
        yield made
    finally:
        await made.close()


def test_an_url_says_where_and_as_whom() -> None:
    found = options("redis://app:p%40ss@redis.example:6380/3?client_name=gatehouse&health_check_interval=5")
    found.pop("connection_class", None)
    assert found == {
        "host": "redis.example",
        "port": 6380,
        "db": 3,
        "username": "app",
        "password": "p@ss",
        "client_name": "gatehouse",
        "health_check_interval": 5,
    }
    assert options("unix://app:secret@/run/redis.sock?db=2")["path"] == "/run/redis.sock"


def test_an_url_of_tls_has_options_of_tls() -> None:
    found = options("rediss://redis.example?ssl_ca_certs=/etc/ca.pem&ssl_cert_reqs=none&ssl_check_hostname=false")
    assert (found["ssl_ca_certs"], found["ssl_cert_reqs"], found["ssl_check_hostname"]) == (
        "/etc/ca.pem",
        "none",
        False,
    )
    with pytest.raises(ValueError, match="only client_name"):
        options("redis://redis.example?ssl_ca_certs=/etc/ca.pem")


@pytest.mark.parametrize(
    ("url", "cluster"),
    [
        ("", False),
        ("hunter2", False),
        ("http://:hunter2@host", False),
        ("redis://:hunter2@host:port", False),
        ("redis://:hunter2@host?decode_responses=yes", False),
        ("redis://:hunter2@host?hunter2=1", False),
        ("redis://:hunter2@host?health_check_interval=hunter2", False),
        ("redis://:hunter2@", False),
        ("redis://[hunter2", False),
        ("unix://:hunter2@/run/s", True),
        ("redis://:hunter2\udc80@host", False),
    ],
)
def test_an_url_that_cannot_be_used_is_refused_without_showing_it(url: str, cluster: bool) -> None:
    with pytest.raises(ValueError, match="expected") as caught:
        options_of(Secret("redis", url.encode(errors="surrogateescape")), cluster)
    assert "hunter2" not in str(caught.value)
    assert caught.value.__cause__ is None


async def test_commands_share_a_few_connections(redis_here: RedisServer) -> None:
    async with connected(redis_here, max_connections=3) as connections:
        before = len(redis_here.ask("CLIENT", "LIST").splitlines())
        answers = await asyncio.gather(*(connections.execute("ECHO", str(number)) for number in range(50)))
        assert answers == [str(number).encode() for number in range(50)]
        assert len(redis_here.ask("CLIENT", "LIST").splitlines()) - before <= 3


async def test_who_waits_for_a_connection_is_given_up_in_time(redis_here: RedisServer) -> None:
    async with connected(redis_here, max_connections=1, timeout=0.05) as connections:
        waiting = asyncio.ensure_future(connections.execute("BLPOP", "nothing", 0, patience=GENEROUS))
        await asyncio.sleep(0)
        async with asyncio.timeout(GENEROUS):
            with pytest.raises(TimeoutError):
                await connections.execute("ECHO", "late")
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting


@pytest.mark.parametrize("kind", ["a server", "a cluster"])
async def test_a_late_answer_is_not_taken_for_the_next_one(
    kind: str, redis_here: RedisServer, cluster_here: RedisServer
) -> None:
    server, changes = redis_here, {}
    if kind == "a cluster":
        url = Secret("redis", f"redis://127.0.0.1:{cluster_here.port}".encode())
        server, changes = cluster_here, {"url": url, "cluster": True}
    async with connected(server, max_connections=1, **changes) as connections:
        await connections.execute("SET", "other", "right")
        pending = asyncio.ensure_future(connections.execute("BLPOP", "queue", 0))
        until = time.monotonic() + GENEROUS
        while b"cmd=blpop" not in server.ask("CLIENT", "LIST"):
            assert time.monotonic() < until
            await asyncio.sleep(0)
        pending.cancel()
        with pytest.raises(asyncio.CancelledError):
            await pending
        server.ask("RPUSH", "queue", "wrong")
        assert await connections.execute("GET", "other") == b"right"
        server.ask("DEL", "queue")
