"""What is the embedded store's own: its file, its locks, its bounds, and what happens when they are met."""

from __future__ import annotations

import asyncio
import errno
import os
import sqlite3
import stat
import sys
import threading
from collections.abc import AsyncIterator
from contextlib import closing
from pathlib import Path

import pytest

from ext_proc.stores import embedded, embedded_file
from ext_proc.stores.embedded import EmbeddedStore
from ext_proc.stores.settings import EmbeddedSettings
from ext_proc.stores.store import Count, Counted, Key, StoreError, Write
from tests.unit.stores.places import MIB, FilePlace

HOUR = 3600.0
PATIENCE = 10.0
A = Key("g", "a")


@pytest.fixture
async def place(tmp_path: Path) -> AsyncIterator[FilePlace]:
    found = FilePlace(tmp_path / "store.db")
    yield found
    await found.close()


@pytest.fixture
async def store(place: FilePlace) -> EmbeddedStore:
    return await place.open()


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def keys(count: int, group: str = "g") -> list[Key]:
    return [Key(group, str(number)) for number in range(count)]


def rows(path: Path, table: str) -> int:
    with closing(sqlite3.connect(path)) as connection:
        ((count,),) = connection.execute(f"SELECT count(*) FROM {table}")
    return int(count)


async def fill(store: EmbeddedStore, size: int) -> None:
    """Writes values of `size` bytes until there is no room."""

    async def write_on() -> None:
        for key in keys(2000):
            await store.write([Write(key, b"x" * size, HOUR)])

    with pytest.raises(StoreError, match="full"):
        await write_on()


async def refused(path: Path, **changes: int) -> str:
    """Why the file at `path` cannot be a store."""
    settings = EmbeddedSettings(path, changes.get("max_size", 64 * MIB), 0.01)
    with pytest.raises(StoreError) as caught:
        await EmbeddedStore.open(settings)
    assert str(path) in str(caught.value)
    return str(caught.value)


class Locked:
    """Another process's transaction on the file: its own connection, on a thread of its own."""

    def __init__(self, path: Path, begin: str = "BEGIN IMMEDIATE") -> None:
        self._connection = sqlite3.connect(path, timeout=PATIENCE, isolation_level=None)
        self._connection.execute(begin)

    def __enter__(self) -> Locked:
        return self

    def __exit__(self, *_: object) -> None:
        self.end()

    def end(self) -> None:
        self._connection.close()


async def test_a_file_that_another_process_has_locked_fails_the_operation_in_time(tmp_path: Path) -> None:
    place = FilePlace(tmp_path / "store.db", timeout=0.02)
    store = await place.open()
    with Locked(tmp_path / "store.db"):
        for operation in (store.write([Write(A, b"", HOUR)]), store.count([Count(A, 1, HOUR)])):
            async with asyncio.timeout(PATIENCE):
                with pytest.raises(StoreError, match="another process has it locked"):
                    await operation
    assert await store.count([Count(A, 1, HOUR)]) == Counted((1,))
    await place.close()


async def test_a_lock_never_holds_up_what_else_runs(place: FilePlace, store: EmbeddedStore) -> None:
    lock = Locked(place.settings.path)
    writing = asyncio.ensure_future(store.write([Write(A, b"one", HOUR)]))
    for _ in range(50):
        await asyncio.sleep(0)  # others have their turn, as often as they like, before it is done
    assert not writing.done()
    lock.end()
    async with asyncio.timeout(PATIENCE):
        assert await writing
    (entry,) = await store.read([A])
    assert entry is not None


async def test_what_only_reads_waits_for_nobody(place: FilePlace, store: EmbeddedStore) -> None:
    await store.write([Write(A, b"one", HOUR)])
    with Locked(place.settings.path):
        (entry,) = await store.read([A])
        assert entry is not None
        assert await store.count([Count(A, 0, HOUR)]) == Counted((0,))


async def test_an_operation_that_is_given_up_leaves_nothing_behind(place: FilePlace, store: EmbeddedStore) -> None:
    with Locked(place.settings.path):
        writing = asyncio.ensure_future(store.write([Write(A, b"one", HOUR)]))
        await asyncio.sleep(0)
        writing.cancel()
        with pytest.raises(asyncio.CancelledError):
            await writing
    assert await store.read([A]) == [None]
    assert await store.write([Write(A, b"two", HOUR)])


async def test_a_full_store_refuses_writes_and_still_reads(tmp_path: Path) -> None:
    place = FilePlace(tmp_path / "store.db", max_size=MIB)
    store = await place.open()
    await fill(store, 50_000)
    (entry,) = await store.read([Key("g", "0")])
    assert entry is not None
    assert entry.value == b"x" * 50_000
    await store.close()
    assert (tmp_path / "store.db").stat().st_size <= MIB


async def test_a_full_store_takes_more_once_something_expired(tmp_path: Path) -> None:
    place = FilePlace(tmp_path / "store.db", max_size=MIB)
    store = await place.open()
    await fill(store, 5_000)
    place.pass_time(HOUR + 1)
    for key in keys(150, "other"):
        assert await store.write([Write(key, b"x" * 5_000, HOUR)])
    await place.close()


async def test_counters_are_bounded_too(tmp_path: Path) -> None:
    place = FilePlace(tmp_path / "store.db", max_size=MIB)
    store = await place.open()

    async def count_on() -> None:
        for number in range(1000):
            await store.count([Count(key, 1, HOUR) for key in keys(64, str(number))])

    with pytest.raises(StoreError, match="full"):
        await count_on()
    await store.close()
    assert (tmp_path / "store.db").stat().st_size <= MIB


async def test_rows_that_expired_do_not_pile_up(place: FilePlace, store: EmbeddedStore) -> None:
    for round_ in range(40):
        group = str(round_)
        await store.write([Write(key, b"x", 10.0) for key in keys(50, group)])
        await store.count([Count(key, 1, 10.0) for key in keys(50, group)])
        place.pass_time(11.0)
    assert rows(place.settings.path, "entries") < 200
    assert rows(place.settings.path, "counters") < 200


async def test_a_backlog_of_expired_rows_goes_with_the_next_writes(place: FilePlace, store: EmbeddedStore) -> None:
    for number in range(10):
        await store.write([Write(key, b"x", 10.0) for key in keys(50, str(number))])
    place.pass_time(11.0)
    for key in keys(40, "later"):
        await store.write([Write(key, b"x", HOUR)])
    assert rows(place.settings.path, "entries") == 40


async def test_the_file_and_its_log_are_its_owners_alone(tmp_path: Path) -> None:
    path = tmp_path / "made" / "on the way" / "store.db"
    place = FilePlace(path)
    store = await place.open()
    await store.write([Write(A, b"one", HOUR)])
    assert {file.name: mode(file) for file in path.parent.iterdir()} == {
        "store.db": 0o600,
        "store.db-wal": 0o600,
        "store.db-shm": 0o600,
    }
    assert mode(path.parent) == 0o700
    await place.close()


async def test_names_and_groups_do_not_stand_in_the_file(place: FilePlace, store: EmbeddedStore) -> None:
    await store.write([Write(Key("alice@example.com", "secret-name"), b"the value", HOUR)])
    await store.count([Count(Key("alice@example.com", "secret-name"), 1, HOUR)])
    await place.close()
    content = place.settings.path.read_bytes()
    assert b"the value" in content
    assert b"alice" not in content
    assert b"secret-name" not in content


async def test_a_file_that_is_no_database_is_refused_and_stays_as_it_is(tmp_path: Path) -> None:
    path = tmp_path / "bundle.yaml"
    path.write_text("apiVersion: gatehouse/v1\n" * 100)
    assert "not a database" in await refused(path)
    assert path.read_text() == "apiVersion: gatehouse/v1\n" * 100


async def test_another_programs_database_is_refused_and_stays_as_it_is(tmp_path: Path) -> None:
    path = tmp_path / "other.db"
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("CREATE TABLE theirs (x)")
    before = path.read_bytes()
    assert "another program's" in await refused(path)
    assert path.read_bytes() == before
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("PRAGMA application_id=7")
    assert "another program's" in await refused(path)


async def test_a_file_of_another_schema_is_refused(place: FilePlace, store: EmbeddedStore) -> None:
    await place.close()
    with closing(sqlite3.connect(place.settings.path)) as connection:
        connection.execute("PRAGMA user_version=2")
    assert "version 2 of the schema" in await refused(place.settings.path)


async def test_what_cannot_be_a_file_is_refused_in_a_sentence(tmp_path: Path) -> None:
    (tmp_path / "a file").write_bytes(b"")
    assert "is no folder" in await refused(tmp_path / "a file" / "store.db")
    assert "not a regular file" in await refused(tmp_path)
    os.mkfifo(tmp_path / "pipe")
    assert "not a regular file" in await refused(tmp_path / "pipe")


@pytest.mark.parametrize("reason", ["Permission denied", "Read-only file system"])
async def test_a_folder_that_cannot_be_written_is_refused_in_a_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, reason: str
) -> None:
    def fails(*_: object) -> int:  # the tests may run as root, who may write everywhere
        raise OSError(errno.EACCES if "denied" in reason else errno.EROFS, reason)

    monkeypatch.setattr(os, "open", fails)
    assert (await refused(tmp_path / "store.db")).endswith(reason)


async def test_opening_waits_for_whoever_makes_the_file_at_the_same_time(tmp_path: Path) -> None:
    path = tmp_path / "store.db"
    path.touch()
    lock = Locked(path, "BEGIN EXCLUSIVE")
    place = FilePlace(path)
    opening = asyncio.ensure_future(place.open())
    for _ in range(50):
        await asyncio.sleep(0)
    assert not opening.done()
    lock.end()
    async with asyncio.timeout(PATIENCE):
        store = await opening
    assert await store.write([Write(A, b"one", HOUR)])
    await place.close()


async def test_a_file_that_stays_locked_is_refused_in_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(embedded, "OPENING", 0.01)
    path = tmp_path / "store.db"
    path.touch()
    with Locked(path, "BEGIN EXCLUSIVE"):
        assert "another process has it locked" in await refused(path)


async def test_stores_that_are_opened_at_once_share_one_file(tmp_path: Path) -> None:
    script = (
        "import asyncio, sys\n"
        "from pathlib import Path\n"
        "from ext_proc.stores.embedded import EmbeddedStore\n"
        "from ext_proc.stores.settings import EmbeddedSettings\n"
        "from ext_proc.stores.store import Count, Key\n"
        "async def main():\n"
        "    store = await EmbeddedStore.open(EmbeddedSettings(Path(sys.argv[1]), 1 << 26, 10.0))\n"
        "    await store.count([Count(Key('g', 'a'), 1, 3600.0)])\n"
        "    await store.close()\n"
        "asyncio.run(main())\n"
    )
    path = tmp_path / "store.db"
    command = [sys.executable, "-c", script, str(path)]
    root = Path(__file__).parents[3]
    running = [await asyncio.create_subprocess_exec(*command, cwd=root) for _ in range(4)]
    assert [await process.wait() for process in running] == [0] * 4
    place = FilePlace(path)
    assert await (await place.open()).count([Count(A, 0, HOUR)]) == Counted((4,))
    await place.close()


async def test_a_file_that_is_taken_away_is_begun_anew(
    place: FilePlace, store: EmbeddedStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(embedded, "LOOK", 0.0)
    await store.count([Count(A, 5, HOUR)])
    for file in place.settings.path.parent.iterdir():
        file.unlink()
    assert await store.count([Count(A, 1, HOUR)]) == Counted((1,))
    assert await (await place.open()).count([Count(A, 1, HOUR)]) == Counted((2,))


async def test_while_the_file_cannot_be_begun_anew_every_operation_fails(
    place: FilePlace, store: EmbeddedStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(embedded, "LOOK", 0.0)
    path = place.settings.path
    for file in path.parent.iterdir():
        file.unlink()
    path.mkdir()
    for _ in range(2):
        with pytest.raises(StoreError, match="not a regular file"):
            await store.count([Count(A, 1, HOUR)])
    monkeypatch.setattr(embedded, "LOOK", 3600.0)
    with pytest.raises(StoreError):
        await store.count([Count(A, 1, HOUR)])
    with pytest.raises(StoreError, match="gone"):
        await store.read([A])
    monkeypatch.setattr(store, "_look_at", 0.0)
    path.rmdir()
    assert await store.count([Count(A, 1, HOUR)]) == Counted((1,))


async def test_a_file_that_is_damaged_fails_and_does_not_answer_wrongly(tmp_path: Path) -> None:
    place = FilePlace(tmp_path / "store.db")
    store = await place.open()
    for key in keys(500):
        await store.write([Write(key, b"x" * 300, HOUR)])
    await place.close()
    content = bytearray(place.settings.path.read_bytes())
    content[4096:] = b"\x5a" * (len(content) - 4096)
    place.settings.path.write_bytes(content)
    damaged = FilePlace(place.settings.path)
    with pytest.raises(StoreError, match="malformed"):
        await (await damaged.open()).read([Key("g", "0")])
    await damaged.close()


async def test_a_store_is_not_used_across_a_fork(
    place: FilePlace, store: EmbeddedStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    here = os.getpid()
    monkeypatch.setattr(os, "getpid", lambda: here + 1)
    with pytest.raises(StoreError, match="fork"):
        await store.read([A])
    monkeypatch.undo()
    assert await store.read([A]) == [None]


async def test_a_store_is_not_used_once_it_is_closed(store: EmbeddedStore) -> None:
    await store.close()
    await store.close()
    for operation in (store.read([A]), store.write([Write(A, b"", HOUR)]), store.count([Count(A, 1, HOUR)])):
        with pytest.raises(StoreError, match="closed"):
            await operation


async def test_a_store_is_not_used_on_another_thread(store: EmbeddedStore) -> None:
    with pytest.raises(StoreError, match="thread"):
        await asyncio.to_thread(lambda: asyncio.run(store.read([A])))


async def test_the_log_is_written_back_by_another_thread_one_at_a_time(
    store: EmbeddedStore, place: FilePlace, monkeypatch: pytest.MonkeyPatch
) -> None:
    loop = asyncio.get_running_loop()
    begun: asyncio.Queue[int] = asyncio.Queue()
    go_on = threading.Semaphore(0)

    def checkpoint(path: Path) -> None:
        assert path == place.settings.path
        loop.call_soon_threadsafe(begun.put_nowait, threading.get_ident())
        assert go_on.acquire(timeout=PATIENCE)

    monkeypatch.setattr(embedded, "checkpoint", checkpoint)
    for _ in range(3 * embedded_file.CHECKPOINT // 500_000):
        await store.write([Write(A, b"x" * 500_000, HOUR)])
    async with asyncio.timeout(PATIENCE):
        assert await begun.get() != threading.get_ident()
    assert begun.empty()
    go_on.release()
    while begun.empty():
        async with asyncio.timeout(PATIENCE):
            await store.write([Write(A, b"x" * 500_000, HOUR)])
            await asyncio.sleep(0)
    go_on.release()
    await store.close()


async def test_what_was_written_back_is_in_the_file(store: EmbeddedStore, place: FilePlace) -> None:
    path = place.settings.path
    await store.write([Write(A, b"x" * 100_000, HOUR)])
    before = path.stat().st_size
    await asyncio.to_thread(embedded_file.checkpoint, path)
    assert path.stat().st_size > before + 100_000


async def test_the_log_does_not_grow_without_bound_when_nobody_writes_it_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(embedded, "checkpoint", lambda path: None)
    monkeypatch.setattr(embedded_file, "LONGEST_LOG", MIB)
    place = FilePlace(tmp_path / "store.db")
    store = await place.open()
    for _ in range(40):
        await store.write([Write(A, b"x" * 200_000, HOUR)])
    assert (tmp_path / "store.db-wal").stat().st_size < 2 * MIB
    await place.close()


async def test_a_value_of_the_wrong_kind_does_not_break_the_store(store: EmbeddedStore) -> None:
    with pytest.raises(Exception, match="type"):
        await store.write([Write(A, [1], HOUR)])  # type: ignore[arg-type]  # what the test is about
    assert await store.write([Write(A, b"one", HOUR)])
