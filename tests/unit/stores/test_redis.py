"""What is the Redis store's own: keys, scripts, and what happens when the server does not answer or says no."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest

from ext_proc.demo.processes import LOOPBACK, accepts, free_ports
from ext_proc.stores.redis import RedisStore
from ext_proc.stores.store import Count, Counted, Key, StoreError, Write
from tests.certificates import Authority
from tests.redis_server import GENEROUS, RedisServer, redis_server
from tests.unit.stores.places import RedisPlace

ROOT = Path(__file__).parents[3]
HOUR = 3600.0
A = Key("g", "a")
MIB = 1 << 20


@pytest.fixture
async def place(redis_here: RedisServer) -> AsyncIterator[RedisPlace]:
    found = RedisPlace(redis_here)
    yield found
    await found.close()


@pytest.fixture
def own() -> Iterator[RedisServer]:
    """A server that the test may stop."""
    with redis_server() as server:
        yield server


async def failure(store: RedisStore) -> str:
    """What a read, a write and a count alike fail with."""
    reasons = set()
    for operation in (store.read([A]), store.write([Write(A, b"x", HOUR)]), store.count([Count(A, 1, HOUR)])):
        async with asyncio.timeout(GENEROUS):
            with pytest.raises(StoreError) as caught:
                await operation
        reasons.add(str(caught.value))
    (reason,) = reasons
    return reason


async def test_keys_are_of_one_length_and_show_no_name(place: RedisPlace) -> None:
    store = await place.open()
    for group, name in (("alice@example.com", "secret-name"), ("g" * 10_000, "n" * 10_000), ("", "{x}")):
        await store.write([Write(Key(group, name), b"x", HOUR)])
        await store.count([Count(Key(group, name), 1, HOUR)])
    keys = place.all_keys()
    assert len(keys) == 6
    prefix = re.escape(place.settings.prefix)
    assert all(re.fullmatch(prefix + r":\{[\w-]{43}\}:[ec]:[\w-]{43}", key) for key in keys)


async def test_the_keys_of_an_operation_have_one_slot(cluster_here: RedisServer) -> None:
    place = RedisPlace(cluster_here, url=f"redis://{LOOPBACK}:{cluster_here.port}", cluster=True)
    store = await place.open()
    await store.write([Write(Key("g", str(number)), b"x", HOUR) for number in range(64)])
    await store.count([Count(Key("g", str(number)), 1, HOUR) for number in range(64)])
    slots = {cluster_here.ask("CLUSTER", "KEYSLOT", key) for key in place.all_keys()}
    assert len(slots) == 1
    for group in range(20):
        await store.write([Write(Key(str(group), "n"), b"x", HOUR)])
    assert len({cluster_here.ask("CLUSTER", "KEYSLOT", key) for key in place.all_keys()}) > 10
    await place.close()


@pytest.fixture
def two_nodes() -> Iterator[tuple[RedisServer, RedisServer]]:
    """A cluster of two nodes, each with half of the slots."""
    with redis_server(cluster=True) as one, redis_server(cluster=True) as other:
        one.ask("CLUSTER", "ADDSLOTSRANGE", 0, 8191)
        other.ask("CLUSTER", "ADDSLOTSRANGE", 8192, 16383)
        one.ask("CLUSTER", "MEET", LOOPBACK, other.port, other.bus)
        for node in (one, other):
            node.wait_until_the_cluster_is_up()
        yield one, other


async def test_a_cluster_of_several_nodes_keeps_each_group_on_one(two_nodes: tuple[RedisServer, RedisServer]) -> None:
    one, other = two_nodes
    place = RedisPlace(one, url=f"redis://{LOOPBACK}:{one.port}", cluster=True)
    store = await place.open()
    for group in range(30):
        keys = [Key(str(group), name) for name in "ab"]
        assert await store.write([Write(key, b"x", HOUR) for key in keys])
        assert await store.count([Count(key, 1, HOUR) for key in keys]) == Counted((1, 1))
        assert None not in await store.read(keys)
    sizes = [node.ask("DBSIZE") for node in (one, other)]
    assert sum(sizes) == 30 * 4
    assert 0 not in sizes
    plain = RedisPlace(one, url=f"redis://{LOOPBACK}:{one.port}")
    told = set()
    for group in range(30):
        try:
            await (await plain.open()).read([Key(str(group), "a")])
        except StoreError as error:
            told.add(str(error))
    assert told == {"it is a node of a cluster: set cluster: true"}
    await plain.close()
    await place.close()


async def test_a_server_that_forgot_the_scripts_is_taught_them(place: RedisPlace) -> None:
    store = await place.open()
    for _ in range(2):
        assert await store.count([Count(A, 1, HOUR, limit=2)])
        assert await store.write([Write(A, b"one", HOUR)])
        assert None not in await store.read([A])
        place.server.ask("SCRIPT", "FLUSH")


@pytest.fixture
def own_cluster() -> Iterator[RedisServer]:
    """A cluster of one node that the test may stop."""
    with redis_server("--requirepass", "hunter2", cluster=True) as server:
        server.ask("CLUSTER", "ADDSLOTSRANGE", 0, 16383, password="hunter2")
        server.wait_until_the_cluster_is_up(password="hunter2")
        yield server


async def test_a_cluster_that_is_gone_or_hangs_fails_each_operation(own_cluster: RedisServer) -> None:
    url = f"redis://:hunter2@{LOOPBACK}:{own_cluster.port}"
    place = RedisPlace(own_cluster, url=url, cluster=True, failures=1000, timeout=0.05, connect_timeout=0.05)
    store = await place.open()
    own_cluster.hold()
    try:
        assert await failure(store) == "it did not answer in time"
    finally:
        own_cluster.release()
    own_cluster.end()
    assert await failure(store) == "it cannot be reached"
    await place.close()
    assert "cannot be reached" in await refusal(own_cluster, must_answer=True, url=url, cluster=True)


async def test_a_cluster_refuses_wrong_credentials_at_the_start(own_cluster: RedisServer) -> None:
    url = f"redis://:hunter2-wrong@{LOOPBACK}:{own_cluster.port}"
    assert "credentials" in await refusal(own_cluster, url=url, cluster=True)


async def test_a_server_that_is_gone_fails_each_operation_and_works_when_it_is_back(own: RedisServer) -> None:
    place = RedisPlace(own, failures=1000)
    store = await place.open()
    assert await store.write([Write(A, b"one", HOUR)])
    own.end()
    assert await failure(store) == "it cannot be reached"
    own.start()
    assert await store.read([A]) == [None]
    assert await store.write([Write(A, b"one", HOUR)])
    await place.close()


async def test_a_server_that_hangs_fails_the_operation_in_time(own: RedisServer) -> None:
    place = RedisPlace(own, failures=1000, timeout=0.05, connect_timeout=0.05)
    store = await place.open()
    own.hold()
    try:
        assert await failure(store) == "it did not answer in time"
    finally:
        own.release()
    patient = await RedisPlace(own).open()
    await patient.write([Write(A, b"one", HOUR)])
    await patient.close()
    await place.close()


async def test_after_failures_in_a_row_the_server_is_not_asked_for_a_while(own: RedisServer) -> None:
    place = RedisPlace(own, failures=3, pause=3600.0)
    store = await place.open()
    own.end()
    assert await failure(store) == "it cannot be reached"
    own.start()
    assert await failure(store) == "it did not answer several times, and is not asked for a while"
    assert own.ask("DBSIZE") == 0
    await place.close()


async def test_after_the_while_it_is_asked_again(own: RedisServer, monkeypatch: pytest.MonkeyPatch) -> None:
    place = RedisPlace(own, failures=3, pause=3600.0)
    store = await place.open()
    own.end()
    await failure(store)
    own.start()
    now = asyncio.get_running_loop().time()
    monkeypatch.setattr(store._breaker, "_clock", lambda: now + 3601.0)
    assert await store.write([Write(A, b"one", HOUR)])
    assert None not in await store.read([A])
    await place.close()


async def test_operations_that_a_policy_gave_up_count_as_failures_once_an_answer_was_due(own: RedisServer) -> None:
    place = RedisPlace(own, failures=2, timeout=0.02, connect_timeout=GENEROUS)
    store = await place.open()
    own.hold()
    try:
        with pytest.raises(StoreError):
            await store.read([A])  # and the connection is dropped: from here on there is one to be made, which hangs
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.1):
                await store.read([A])
        with pytest.raises(StoreError, match="not asked for a while"):
            await store.read([A])
    finally:
        own.release()
    await place.close()


async def test_an_operation_given_up_early_is_no_failure(place: RedisPlace) -> None:
    store = await place.open()
    for _ in range(place.settings.failures + 1):
        operation = asyncio.ensure_future(store.read([A]))
        await asyncio.sleep(0)
        operation.cancel()
        with pytest.raises(asyncio.CancelledError):
            await operation
    assert await store.read([A]) == [None]


async def test_a_full_server_refuses_writes_as_a_whole_and_still_reads() -> None:
    with redis_server("--maxmemory-policy", "noeviction") as server:
        place = RedisPlace(server)
        store = await place.open()
        await store.write([Write(A, b"one", HOUR)])
        await store.count([Count(A, 1, HOUR)])
        server.ask("CONFIG", "SET", "maxmemory", "1mb")
        for operation in (
            store.write([Write(A, None, None), Write(Key("g", "b"), b"x", HOUR)]),
            store.count([Count(A, 1, HOUR)]),
        ):
            with pytest.raises(StoreError, match="full"):
                await operation
        assert None not in await store.read([A])
        server.ask("CONFIG", "SET", "maxmemory", "0")
        assert await store.count([Count(A, 0, HOUR)]) == Counted((1,))
        await place.close()


def connections_made(server: RedisServer) -> int:
    """How many connections it has accepted, ours included."""
    return int(server.ask("INFO", "stats")["total_connections_received"])


async def test_a_server_that_became_a_replica_fails_until_it_is_none(own: RedisServer) -> None:
    place = RedisPlace(own)
    store = await place.open()
    own.ask("REPLICAOF", LOOPBACK, free_ports(1)[0])
    await store.read([A])
    before = connections_made(own)
    for _ in range(place.settings.failures + 1):  # it answers: the breaker stays closed
        with pytest.raises(StoreError, match="replica"):
            await store.write([Write(A, b"one", HOUR)])
    # Each time anew but for the first: the name may lead to the primary by then. And the one that asks this.
    assert connections_made(own) - before == place.settings.failures + 1
    own.ask("REPLICAOF", "NO", "ONE")
    assert await store.write([Write(A, b"one", HOUR)])
    await place.close()


async def test_a_server_that_may_evict_is_warned_of() -> None:
    with redis_server("--maxmemory", "100mb", "--maxmemory-policy", "allkeys-lru") as server:
        place = RedisPlace(server)
        (warning,) = (await place.open()).warnings
        assert "noeviction" in warning
        server.ask("CONFIG", "SET", "maxmemory-policy", "noeviction")
        assert (await place.open()).warnings == ()
        await place.close()


async def refusal(server: RedisServer, must_answer: bool = False, **changes: Any) -> str:
    with pytest.raises(StoreError) as caught:
        await RedisStore.open(server.settings(**changes), must_answer=must_answer)
    error: BaseException | None = caught.value
    while error is not None:
        assert "hunter2" not in repr(error)
        error = error.__cause__ or error.__context__
    return str(caught.value)


async def test_credentials_in_the_url_are_used_and_wrong_ones_are_refused_at_the_start() -> None:
    with redis_server("--requirepass", "hunter2") as server:
        server.ask("ACL", "SETUSER", "app", "on", ">hunter2-app", "~*", "+@all", password="hunter2")
        for user in (":hunter2", "app:hunter2-app"):
            store = await RedisStore.open(server.settings(f"unix://{user}@{server.socket}"), must_answer=True)
            assert await store.write([Write(A, b"one", HOUR)])
            assert "hunter2" not in repr(vars(store))
            await store.close()
        for user in (":hunter2-wrong", "nobody:hunter2"):
            assert "credentials" in await refusal(server, url=f"unix://{user}@{server.socket}")
        assert "credentials" in await refusal(server)


async def test_a_user_who_may_not_run_scripts_is_refused_at_the_start() -> None:
    with redis_server("--user", "app", "on", ">hunter2", "~*", "+@read") as server:
        assert "what they may do" in await refusal(server, url=f"unix://app:hunter2@{server.socket}")


@pytest.mark.parametrize("cluster", [False, True])
async def test_the_rights_that_the_documents_name_are_enough(cluster: bool) -> None:
    documented = (ROOT / "docs" / "operations.md").read_text()
    more = ["+@connection", "+cluster", "+command"] if cluster else []
    with redis_server(port=True, cluster=cluster) as server:
        if cluster:
            server.ask("CLUSTER", "ADDSLOTSRANGE", 0, 16383)
            server.wait_until_the_cluster_is_up()
        place = RedisPlace(server, url=f"redis://app:hunter2@{LOOPBACK}:{server.port}", cluster=cluster)
        rights = ["+@scripting", "+@read", "+@write", "+info", *more]
        assert all(right in documented for right in rights)
        server.ask("ACL", "SETUSER", "app", "on", ">hunter2", f"~{place.settings.prefix}:*", *rights)
        store = await place.open()
        assert await store.write([Write(A, b"one", HOUR), Write(Key("g", "b"), None, None)])
        assert await store.count([Count(A, 1, HOUR)]) == Counted((1,))
        assert await store.count([Count(A, 1, HOUR)]) == Counted((2,))
        assert None not in await store.read([A])
        await place.close()


async def test_a_user_who_may_not_ask_about_the_server_is_served() -> None:
    with redis_server("--user", "app", "on", ">hunter2", "~*", "+@all", "-info") as server:
        store = await RedisStore.open(server.settings(f"unix://app:hunter2@{server.socket}"), must_answer=True)
        assert store.warnings == ()
        assert await store.write([Write(A, b"one", HOUR)])
        await store.close()


async def test_a_server_that_cannot_be_reached_is_an_error_only_where_it_must_answer(own: RedisServer) -> None:
    own.end()
    assert await refusal(own, must_answer=True) == "cannot use Redis as a store: it cannot be reached"
    store = await RedisStore.open(own.settings(failures=1000), must_answer=False)
    assert store.silence == "it cannot be reached"
    with pytest.raises(StoreError):
        await store.read([A])
    own.start()
    assert await store.read([A]) == [None]
    await store.close()


async def test_tls_is_checked_and_used(tmp_path: Path) -> None:
    authority = Authority(tmp_path)
    issued = authority.issue("redis")
    (port,) = free_ports(1)
    tls = ("--tls-port", str(port), "--tls-cert-file", str(issued.certificate), "--tls-key-file", str(issued.key))
    with redis_server(*tls, "--tls-auth-clients", "no", "--requirepass", "hunter2") as server:
        assert accepts(LOOPBACK, port)()
        url = f"rediss://:hunter2@{LOOPBACK}:{port}"
        store = await RedisStore.open(server.settings(f"{url}?ssl_ca_certs={authority.certificate}"), must_answer=True)
        assert await store.write([Write(A, b"one", HOUR)])
        await store.close()
        assert "TLS failed" in await refusal(server, url=url)
