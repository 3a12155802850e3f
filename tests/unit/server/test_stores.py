"""Which stores are open, for how long, and what is told of them."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from pathlib import Path

import pytest

from ext_proc.secret import Secret
from ext_proc.server.stores import QUIET, Opened, Stores, WatchedStore, open_store
from ext_proc.stores.embedded import EmbeddedStore
from ext_proc.stores.settings import EmbeddedSettings, RedisSettings, StoreSettings
from ext_proc.stores.store import NO_STORE, Count, Counted, Entry, Key, StoreError, Write
from ext_proc.telemetry.metrics import Metrics
from tests.unit.server.fakes import MemoryLog, soon

HOUR = 3600.0
A = Key("g", "a")
FILE = EmbeddedSettings(Path("/one"), 1 << 20, 0.02)
OTHER = EmbeddedSettings(Path("/other"), 1 << 20, 0.02)
REDIS = RedisSettings(Secret("u", b"redis://h"), "p", False, 0.02, 0.05, 4, 3, 1.0)


class Scripted:
    """A store whose operations do what the test says."""

    def __init__(self) -> None:
        self.error: BaseException | None = None
        self.done, self.passed = True, None
        self.closed = 0

    async def read(self, keys: Sequence[Key]) -> Sequence[Entry | None]:
        self._fail()
        return [None] * len(keys)

    async def write(self, writes: Sequence[Write]) -> bool:
        self._fail()
        return self.done

    async def count(self, counts: Sequence[Count]) -> Counted:
        self._fail()
        return Counted((1,), self.passed)

    async def close(self) -> None:
        self.closed += 1
        self._fail()

    def _fail(self) -> None:
        if self.error is not None:
            raise self.error


class Setting:
    """Stores whose opener makes scripted ones."""

    def __init__(self) -> None:
        self.metrics, self.log = Metrics("eu"), MemoryLog()
        self.made: dict[StoreSettings, Scripted] = {}
        self.asked: list[bool] = []
        self.stores = Stores(self.metrics, self.log, self.open)

    async def open(self, settings: StoreSettings, must_answer: bool) -> Opened:
        self.asked.append(must_answer)
        self.made[settings] = Scripted()
        return Opened(self.made[settings], ["it may evict"] if settings == REDIS else ())

    async def put_in_force(self, settings: StoreSettings | None) -> None:
        self.stores.put_in_force(await self.stores.prepare(settings, must_answer=True))

    def closed(self, settings: StoreSettings) -> int:
        return self.made[settings].closed

    def up(self, kind: str) -> float | None:
        return self.metrics.registry.get_sample_value("gatehouse_store_up", {"region": "eu", "store": kind})


async def turns() -> None:
    """Lets what is ready run."""
    for _ in range(5):
        await asyncio.sleep(0)


async def test_one_store_serves_all_bundles_with_the_same_settings() -> None:
    setting = Setting()
    await setting.put_in_force(FILE)
    first = setting.stores.lease("t")
    await setting.put_in_force(EmbeddedSettings(Path("/one"), 1 << 20, 0.02))
    assert setting.stores.lease("u") is first
    assert len(setting.asked) == 1
    await turns()
    assert setting.closed(FILE) == 0
    await soon(setting.stores.close())
    assert setting.closed(FILE) == 1


async def test_a_store_is_closed_when_the_last_exchange_that_began_with_it_is_over() -> None:
    setting = Setting()
    await setting.put_in_force(FILE)
    early = [setting.stores.lease(trail) for trail in ("t", "u")]
    await setting.put_in_force(OTHER)
    assert setting.stores.lease("v") is not early[0]
    setting.stores.release("t")
    await turns()
    assert setting.closed(FILE) == 0
    setting.stores.release("u")
    await turns()
    assert (setting.closed(FILE), setting.closed(OTHER)) == (1, 0)
    setting.stores.release("v")
    setting.stores.release("v")
    setting.stores.release("unknown")
    await turns()
    assert setting.closed(OTHER) == 0
    await soon(setting.stores.close())
    assert (setting.closed(FILE), setting.closed(OTHER)) == (1, 1)


async def test_a_store_that_comes_back_into_force_before_it_was_closed_is_kept() -> None:
    setting = Setting()
    await setting.put_in_force(FILE)
    first = setting.stores.lease("t")
    await setting.put_in_force(OTHER)
    await setting.put_in_force(FILE)
    assert setting.stores.lease("u") is first
    setting.stores.release("t")
    await turns()
    assert (setting.closed(FILE), setting.closed(OTHER)) == (0, 1)
    await soon(setting.stores.close())


async def test_a_store_that_is_about_to_come_into_force_is_not_closed_by_an_exchange_that_ends() -> None:
    setting = Setting()
    await setting.put_in_force(FILE)
    setting.stores.lease("t")
    await setting.put_in_force(REDIS)
    coming = await setting.stores.prepare(OTHER, must_answer=True)
    setting.stores.release("t")
    await turns()
    assert (setting.closed(FILE), setting.closed(OTHER)) == (1, 0)
    setting.stores.put_in_force(coming)
    await turns()
    assert (setting.closed(REDIS), setting.closed(OTHER)) == (1, 0)
    await soon(setting.stores.close())


async def test_a_store_that_never_came_into_force_is_closed_with_the_next_that_does() -> None:
    setting = Setting()
    await setting.put_in_force(FILE)
    await setting.stores.prepare(OTHER, must_answer=True)
    await setting.put_in_force(FILE)
    await turns()
    assert (setting.closed(FILE), setting.closed(OTHER)) == (0, 1)
    await soon(setting.stores.close())


async def test_a_bundle_without_a_store_has_none_and_the_one_before_is_closed() -> None:
    setting = Setting()
    await setting.put_in_force(None)
    assert setting.stores.lease("t") is NO_STORE
    await setting.put_in_force(REDIS)
    await setting.put_in_force(None)
    assert setting.stores.lease("u") is NO_STORE
    await turns()
    assert setting.closed(REDIS) == 1


async def test_a_store_that_does_not_close_in_order_is_logged_and_holds_up_nothing() -> None:
    setting = Setting()
    await setting.put_in_force(FILE)
    setting.made[FILE].error = OSError("no")
    await soon(setting.stores.close())
    assert setting.log.of("error") == ["a store was not closed in order"]


async def test_what_is_to_be_known_of_a_store_is_logged_when_it_is_opened() -> None:
    setting = Setting()
    await setting.put_in_force(REDIS)
    assert setting.log.lines == [("warning", "the store has a weakness", {"store": "redis", "message": "it may evict"})]
    await soon(setting.stores.close())


async def test_whether_a_store_is_open_and_works_is_a_metric() -> None:
    setting = Setting()
    assert setting.up("embedded") is None
    await setting.put_in_force(FILE)
    assert (setting.up("embedded"), setting.up("redis")) == (1, None)
    setting.made[FILE].error = StoreError("locked")
    with pytest.raises(StoreError):
        await setting.stores.lease("t").read([A])
    assert setting.up("embedded") == 0
    await setting.put_in_force(OTHER)
    setting.stores.release("t")
    assert setting.up("embedded") == 1, "the other one is of this kind, too"
    await setting.put_in_force(REDIS)
    assert (setting.up("embedded"), setting.up("redis")) == (None, 1)
    await soon(setting.stores.close())
    assert setting.up("redis") is None


async def test_a_server_that_did_not_answer_when_it_was_opened_is_down() -> None:
    setting = Setting()

    async def open_silent(settings: StoreSettings, must_answer: bool) -> Opened:
        return Opened(Scripted(), silence="it cannot be reached")

    stores = Stores(setting.metrics, setting.log, open_silent)
    stores.put_in_force(await stores.prepare(REDIS, must_answer=False))
    assert setting.up("redis") == 0
    assert setting.log.lines[-1][2]["reason"] == "it cannot be reached"
    await stores.lease("t").read([A])
    assert setting.up("redis") == 1
    await soon(stores.close())


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


class Watched:
    def __init__(self) -> None:
        self.metrics, self.log, self.clock, self.inner = Metrics("eu"), MemoryLog(), Clock(), Scripted()
        self.store = WatchedStore(self.inner, "redis", self.metrics, self.log, self.clock)

    async def fail(self) -> None:
        self.inner.error = StoreError("it cannot be reached")
        with pytest.raises(StoreError, match="cannot be reached"):
            await self.store.count([Count(A, 1, HOUR)])
        self.inner.error = None

    def results(self) -> dict[tuple[str, str], float]:
        found = {}
        for metric in self.metrics.registry.collect():
            for sample in metric.samples:
                if sample.name == "gatehouse_store_operations_total":
                    found[sample.labels["operation"], sample.labels["result"]] = sample.value
        return found


async def test_each_operation_is_counted_by_its_result() -> None:
    watched = Watched()
    assert await watched.store.read([A]) == [None]
    assert await watched.store.write([Write(A, b"", HOUR)])
    assert await watched.store.count([Count(A, 1, HOUR)]) == Counted((1,))
    watched.inner.done, watched.inner.passed = False, 0  # type: ignore[assignment]
    assert not await watched.store.write([Write(A, b"", HOUR)])
    assert await watched.store.count([Count(A, 1, HOUR)]) == Counted((1,), passed=0)
    await watched.fail()
    watched.inner.error = ValueError("too many keys")
    with pytest.raises(ValueError, match="too many"):
        await watched.store.read([A])
    watched.inner.error = asyncio.CancelledError()
    with pytest.raises(asyncio.CancelledError):
        await watched.store.read([A])
    assert watched.results() == {
        ("read", "ok"): 1,
        ("write", "ok"): 1,
        ("count", "ok"): 1,
        ("write", "conflict"): 1,
        ("count", "limited"): 1,
        ("count", "failed"): 1,
        ("read", "failed"): 1,
        ("read", "cancelled"): 1,
    }


async def test_a_failure_is_logged_once_and_so_is_its_end() -> None:
    watched = Watched()
    for _ in range(5):
        await watched.fail()
    for _ in range(5):
        await watched.store.read([A])
    assert watched.log.lines == [
        (
            "error",
            "the store fails; each policy's on_error decides",
            {"store": "redis", "reason": "it cannot be reached"},
        ),
        ("info", "the store works again", {"store": "redis"}),
    ]


async def test_a_store_that_fails_now_and_then_does_not_fill_the_log() -> None:
    watched = Watched()
    for _ in range(50):
        await watched.fail()
        await watched.store.read([A])
    assert len(watched.log.lines) == 2
    watched.clock.now += QUIET
    await watched.fail()
    await watched.store.read([A])
    assert len(watched.log.lines) == 4


async def test_the_embedded_store_is_opened_where_the_settings_say(tmp_path: Path) -> None:
    opened = await open_store(EmbeddedSettings(tmp_path / "s.db", 1 << 20, 0.02), must_answer=False)
    assert isinstance(opened.store, EmbeddedStore)
    assert (opened.warnings, opened.silence) == ((), "")
    assert (tmp_path / "s.db").exists()
    await opened.store.close()


async def test_a_redis_that_is_not_there_is_opened_unless_it_must_answer(tmp_path: Path) -> None:
    url = Secret("u", f"unix://{tmp_path}/nobody".encode())
    settings = RedisSettings(url, "p", False, 0.02, 0.05, 4, 3, 1.0)
    opened = await open_store(settings, must_answer=False)
    assert opened.silence == "it cannot be reached"
    await opened.store.close()
    with pytest.raises(StoreError, match="cannot be reached"):
        await open_store(settings, must_answer=True)
