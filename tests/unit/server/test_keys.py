"""Keys are kept up to date: one fetch for all who wait, few for those who only ask, and stale ones rather than none."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from ext_proc.credentials.keys import FileOrigin, KeySet, UrlOrigin, read_jwks
from ext_proc.server import keys as keys_module
from ext_proc.server.fetch import FetchError
from ext_proc.server.keys import Keys
from ext_proc.telemetry.metrics import Metrics
from tests.unit.credentials.minting import Minter, jwks
from tests.unit.server.fakes import MemoryLog, soon
from tests.unit.server.publishers import document, publishing

OLD, NEW = Minter("EdDSA", "old"), Minter("EdDSA", "new")
URL = UrlOrigin("https://issuer.example/jwks", timeout=5.0, refresh=3600.0, stale=100.0, cooldown=10.0)
HOUR = 3600.0


class Issuer:
    """A scripted origin: what it answers, how often it was asked, and a gate that holds its answers."""

    def __init__(self, document: bytes | Exception = b"") -> None:
        self.document = document
        self.asked = 0
        self.gate = asyncio.Event()
        self.gate.set()

    async def fetch(self, url: str, seconds: float, max_bytes: int) -> bytes:
        self.asked += 1
        await self.gate.wait()
        if isinstance(self.document, Exception):
            raise self.document
        return self.document


class Setting:
    """Keys with an issuer, a log, and clocks that a test turns."""

    def __init__(self, issuer: Issuer) -> None:
        self.now, self.time = 1000.0, 1_800_000_000.0
        self.metrics, self.log, self.issuer = Metrics(), MemoryLog(), issuer
        self.keys = Keys(self.metrics, self.log, fetch=issuer.fetch, clock=lambda: self.now, wall=lambda: self.time)

    def refreshes(self, result: str) -> float | None:
        return self.metrics.registry.get_sample_value("gatehouse_key_refreshes_total", {"region": "", "result": result})


@asynccontextmanager
async def setting(document: bytes | Exception) -> AsyncIterator[Setting]:
    found = Setting(Issuer(document))
    try:
        yield found
    finally:
        await found.keys.close()


async def waited(key_set: KeySet) -> bool:
    """Whether there was anything to wait for; waits for it."""
    refreshed = key_set.refresh()
    if refreshed is None:
        return False
    await soon(refreshed)
    return True


def known(key_set: KeySet) -> list[str | None]:
    return [key.key_id for key in key_set.candidates(None, "EdDSA")]


async def until(look: Callable[[], bool]) -> None:
    """Lets everything else run until it is so."""
    async with asyncio.timeout(5.0):
        while not look():  # noqa: ASYNC110  # what is waited for sets no event
            await asyncio.sleep(0.005)


async def test_a_bundle_in_force_has_its_keys() -> None:
    async with setting(jwks(OLD)) as found:
        key_set = KeySet(URL)
        await found.keys.use([key_set])
        assert known(key_set) == ["old"]
        assert key_set.usable(found.time + 100)
        assert not key_set.usable(found.time + 101)
        assert found.refreshes("ok") == 1
        assert found.log.of("info") == ["keys in force"]


async def test_one_origin_of_several_issuers_is_fetched_once() -> None:
    async with setting(jwks(OLD)) as found:
        sets = [KeySet(URL), KeySet(URL)]
        await found.keys.use(sets)
        assert found.issuer.asked == 1
        assert [known(key_set) for key_set in sets] == [["old"], ["old"]]


async def test_a_start_does_not_wait_for_ever() -> None:
    async with setting(jwks(OLD)) as found:
        found.issuer.gate.clear()
        key_set = KeySet(URL)
        await soon(found.keys.use([key_set], seconds=0.01))
        assert known(key_set) == []
        found.issuer.gate.set()
        await until(lambda: known(key_set) == ["old"])


async def test_unknown_keys_are_fetched_once_for_all_who_wait() -> None:
    async with setting(jwks(OLD)) as found:
        key_set = KeySet(URL)
        await found.keys.use([key_set])
        found.issuer.document = jwks(OLD, NEW)
        found.issuer.gate.clear()
        found.now += 10.0
        waiting = [asyncio.ensure_future(waited(key_set)) for _ in range(50)]
        await until(lambda: found.issuer.asked == 2)
        found.issuer.gate.set()
        assert all(await soon(asyncio.gather(*waiting)))
        assert found.issuer.asked == 2
        assert known(key_set) == ["old", "new"]


async def test_whoever_gives_up_waiting_does_not_end_the_fetch_for_the_others() -> None:
    async with setting(jwks(OLD)) as found:
        key_set = KeySet(URL)
        await found.keys.use([key_set])
        found.issuer.document = jwks(NEW)
        found.issuer.gate.clear()
        found.now += 10.0
        impatient, patient = (asyncio.ensure_future(waited(key_set)) for _ in range(2))
        await until(lambda: found.issuer.asked == 2)
        impatient.cancel()
        await asyncio.wait([impatient])
        found.issuer.gate.set()
        assert await soon(patient)
        assert known(key_set) == ["new"]


async def test_between_fetches_lies_the_cooldown_however_often_one_is_asked_for() -> None:
    async with setting(jwks(OLD)) as found:
        key_set = KeySet(URL)
        await found.keys.use([key_set])
        for _ in range(100):
            found.now += 0.099
            assert not await waited(key_set)
        assert found.issuer.asked == 1
        found.now += 0.2
        assert await waited(key_set)
        assert not await waited(key_set)
        assert found.issuer.asked == 2


@pytest.mark.parametrize(
    "trouble",
    [FetchError("it answered with status 500"), b"<html>", b'{"keys":[]}', TimeoutError(), RuntimeError("secret")],
    ids=str,
)
async def test_keys_that_cannot_be_had_anew_stay_and_it_is_said_once(trouble: bytes | Exception) -> None:
    async with setting(jwks(OLD)) as found:
        key_set = KeySet(URL)
        await found.keys.use([key_set])
        found.issuer.document = trouble
        for _ in range(3):
            found.now += 10.0
            assert await waited(key_set)
        assert known(key_set) == ["old"]
        assert found.refreshes("failed") == 3
        assert found.log.of("warning") == ["keys cannot be had; those before stay"]
        assert "secret" not in str(found.log.lines)
        found.issuer.document = jwks(NEW)
        found.now += 10.0
        assert await waited(key_set)
        assert known(key_set) == ["new"]
        assert found.log.of("info") == ["keys in force", "keys in force"]


async def test_an_issuer_that_is_down_at_the_start_is_asked_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(keys_module, "LOOK", 0.01)
    async with setting(FetchError("down")) as found:
        key_set = KeySet(UrlOrigin("https://issuer.example/jwks", 5.0, HOUR, 100.0, cooldown=0.01))
        await found.keys.use([key_set])
        assert known(key_set) == []
        found.issuer.document = jwks(OLD)
        await until(lambda: known(key_set) == ["old"])


async def test_keys_are_fetched_again_from_time_to_time() -> None:
    async with setting(jwks(OLD)) as found:
        key_set = KeySet(UrlOrigin("https://issuer.example/jwks", 5.0, 0.01, 100.0, 10.0))
        await found.keys.use([key_set])
        found.issuer.document = jwks(NEW)
        await until(lambda: known(key_set) == ["new"])


async def test_a_fetch_that_hangs_is_not_joined_by_another() -> None:
    async with setting(jwks(OLD)) as found:
        key_set = KeySet(UrlOrigin("https://issuer.example/jwks", 0.02, HOUR, 100.0, 10.0))
        found.issuer.gate.clear()
        await found.keys.use([key_set])
        for _ in range(3):
            found.now += 10.0
            assert await waited(key_set)
        assert found.issuer.asked == 1
        assert found.refreshes("failed") == 4


async def test_a_new_bundle_begins_with_the_keys_that_were_had() -> None:
    async with setting(jwks(OLD)) as found:
        await found.keys.use([KeySet(URL)])
        found.issuer.document = FetchError("down")
        same, changed = KeySet(URL), KeySet(UrlOrigin(URL.url, 5.0, 60.0, stale=50.0, cooldown=1.0))
        await found.keys.use([same])
        assert known(same) == ["old"]
        assert found.issuer.asked == 1
        await found.keys.use([changed])
        assert known(changed) == ["old"]
        assert not changed.usable(found.time + 51)


async def test_an_exchange_that_began_under_the_bundle_before_still_gets_its_keys() -> None:
    async with setting(jwks(OLD)) as found:
        before, after = KeySet(URL), KeySet(URL)
        await found.keys.use([before])
        await found.keys.use([after])
        found.issuer.document = jwks(NEW)
        found.now += 10.0
        assert await waited(before)
        assert known(before) == known(after) == ["new"]


async def test_origins_of_no_bundle_are_let_go() -> None:
    async with setting(jwks(OLD)) as found:
        key_set = KeySet(UrlOrigin("https://issuer.example/jwks", 5.0, 0.005, 100.0, 10.0))
        await found.keys.use([key_set])
        await found.keys.use([])
        assert asyncio.all_tasks() == {asyncio.current_task()}


def replace_file(path: Path, content: bytes) -> None:
    """As an operator, or Kubernetes, replaces a file: by another one."""
    beside = path.with_suffix(".new")
    beside.write_bytes(content)
    os.replace(beside, path)


async def test_a_file_is_read_again_when_it_changes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(keys_module, "LOOK", 0.01)
    path = tmp_path / "jwks.json"
    path.write_bytes(jwks(OLD))
    async with setting(b"") as found:
        key_set = KeySet(FileOrigin(path), read_jwks(jwks(OLD)))
        await found.keys.use([key_set])
        replace_file(path, jwks(NEW))
        await until(lambda: known(key_set) == ["new"])
        replace_file(path, b"half a docu")
        await until(lambda: "keys cannot be had; those before stay" in found.log.of("warning"))
        assert known(key_set) == ["new"]
        path.unlink()
        await until(lambda: len(found.log.of("warning")) == 2)
        assert key_set.usable(found.time + 1e9)
        replace_file(path, jwks(OLD))
        await until(lambda: known(key_set) == ["old"])


async def test_keys_that_a_reload_read_are_not_set_back_to_those_before(tmp_path: Path) -> None:
    path = tmp_path / "jwks.json"
    path.write_bytes(jwks(OLD))
    async with setting(b"") as found:
        await found.keys.use([KeySet(FileOrigin(path), read_jwks(jwks(OLD)))])
        replace_file(path, jwks(NEW))
        reloaded = KeySet(FileOrigin(path), read_jwks(jwks(NEW)))
        await found.keys.use([reloaded])
        assert known(reloaded) == ["new"]


async def test_a_reload_that_read_the_file_before_it_changed_gets_its_keys_all_the_same(tmp_path: Path) -> None:
    path = tmp_path / "jwks.json"
    path.write_bytes(jwks(OLD))
    async with setting(b"") as found:
        in_force = KeySet(FileOrigin(path), read_jwks(jwks(OLD)))
        await found.keys.use([in_force])
        reloaded = KeySet(FileOrigin(path), read_jwks(jwks(OLD)))
        replace_file(path, jwks(NEW))
        found.now += 0.5
        assert await waited(in_force)
        await found.keys.use([reloaded])
        found.now += 0.5
        assert await waited(reloaded)
        assert known(reloaded) == ["new"]


async def test_a_token_with_an_unknown_key_makes_one_look_at_the_file(tmp_path: Path) -> None:
    path = tmp_path / "jwks.json"
    path.write_bytes(jwks(OLD))
    async with setting(b"") as found:
        key_set = KeySet(FileOrigin(path), read_jwks(jwks(OLD)))
        await found.keys.use([key_set])
        replace_file(path, jwks(NEW))
        assert not await waited(key_set)
        found.now += 0.5
        assert await waited(key_set)
        assert known(key_set) == ["new"]


async def test_over_real_http_a_rotated_key_is_had() -> None:
    with publishing(document(jwks(OLD))) as publisher:
        keys = Keys(Metrics(), MemoryLog())
        key_set = KeySet(UrlOrigin(publisher.url, 5.0, 0.05, 100.0, 0.01))
        try:
            await keys.use([key_set])
            assert known(key_set) == ["old"]
            publisher.answer = document(jwks(NEW))
            await until(lambda: known(key_set) == ["new"])
        finally:
            await keys.close()
