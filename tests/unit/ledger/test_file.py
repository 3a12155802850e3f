"""The ledger's file: one row per exchange, closed once, whoever dies in between."""

from __future__ import annotations

import asyncio
import shutil
import sqlite3
import stat
from collections.abc import AsyncIterator
from contextlib import closing
from pathlib import Path

import msgspec
import pytest

from ext_proc.ledger import file as files
from ext_proc.ledger.file import LedgerFile, owners_of
from ext_proc.ledger.record import LedgerError, State, UsageRecord
from ext_proc.stores.embedded_file import CHECKPOINT
from tests.unit.ledger.keeping import OPENED, closed, dies, kept, record, started

DAY = 86400.0


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "usage.db"


@pytest.fixture
async def file(path: Path) -> AsyncIterator[LedgerFile]:
    found = await started(path)
    yield found
    await found.end()


async def test_a_record_is_opened_and_closed(path: Path, file: LedgerFile) -> None:
    assert await file.open(record())
    assert kept(path)["a"].state is State.OPEN
    assert await file.close(closed(output_tokens=3))
    assert kept(path) == {"a": closed(output_tokens=3)}


async def test_what_comes_twice_changes_nothing(path: Path, file: LedgerFile) -> None:
    assert await file.open(record(model_asked="first"))
    assert not await file.open(record(model_asked="second"))
    assert await file.close(closed(output_tokens=1))
    assert not await file.close(closed(output_tokens=2))
    assert not await file.open(record())
    assert not file.checkpoint(record(output_tokens=9))
    assert kept(path) == {"a": closed(output_tokens=1)}


async def test_what_is_closed_without_having_been_opened_is_there_once(path: Path, file: LedgerFile) -> None:
    assert await file.close(closed())
    assert not await file.close(closed())
    assert list(kept(path)) == ["a"]


async def test_records_of_an_owner_that_is_gone_are_interrupted_with_their_last_figures(path: Path) -> None:
    first = await started(path)
    await first.open(record("a"))
    await first.open(record("b"))
    assert first.checkpoint(record("b", output_tokens=7, checkpointed=OPENED + 3, counted="reported"))
    await first.open(record("c"))
    await first.close(closed("c"))
    dies(first)
    second = await started(path)
    await second.open(record("d"))
    done = await second.recover()
    assert sorted(one.id for one in done) == ["a", "b"]
    found = kept(path)
    assert {id: str(one.state) for id, one in found.items()} == {
        "a": "interrupted",
        "b": "interrupted",
        "c": "closed",
        "d": "open",
    }
    assert (found["b"].output_tokens, found["b"].counted, found["b"].closed) == (7, "estimated", OPENED + 3)
    assert await second.recover() == []
    await second.end()


async def test_records_of_an_owner_that_lives_are_left_alone(path: Path) -> None:
    first, second = await started(path), await started(path)
    await first.open(record("a"))
    assert await second.recover() == []
    assert not await second.close(closed("a"))
    assert await first.close(closed("a"))
    await first.end()
    await second.end()


async def test_two_that_recover_at_the_same_time_close_each_record_once(path: Path) -> None:
    first = await started(path)
    for number in range(600):
        await first.open(record(str(number)))
    dies(first)
    others = [await started(path) for _ in range(3)]
    done = await asyncio.gather(*(other.recover() for other in others))
    assert sorted(one.id for some in done for one in some) == sorted(str(number) for number in range(600))
    for other in others:
        await other.end()


async def test_who_ends_closes_what_it_left_open(path: Path) -> None:
    first = await started(path)
    await first.open(record("a", output_tokens=2, counted="reported"))
    (left,) = await first.end()
    assert (left.id, left.state, left.counted) == ("a", State.INTERRUPTED, "estimated")
    assert kept(path)["a"] == left
    assert list(owners_of(path).iterdir()) == []
    with pytest.raises(LedgerError, match="closed"):
        await first.open(record("b"))


async def test_the_files_of_dead_owners_go_too(path: Path) -> None:
    for _ in range(3):
        dies(await started(path))
    assert len(list(owners_of(path).iterdir())) == 3
    last = await started(path)
    await last.recover()
    assert [one.name for one in owners_of(path).iterdir()] == [last._lease.owner]
    await last.end()


async def test_an_owner_whose_file_is_taken_away_is_not_taken_for_dead(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(files, "_LOOK", 0.0)
    first, second = await started(path), await started(path)
    await first.open(record("a"))
    shutil.rmtree(owners_of(path))
    await first.open(record("b"))  # looks, and takes another one
    assert await second.recover() == []
    assert await first.close(closed("a"))
    assert {str(one.state) for one in kept(path).values()} == {"closed", "open"}
    await first.end()
    await second.end()


async def test_a_ledger_that_is_taken_away_is_begun_anew_and_no_record_is_lost(
    path: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(files, "_LOOK", 0.0)
    first = await started(path)
    await first.open(record("a"))
    for part in ("", "-wal", "-shm"):
        (tmp_path / f"usage.db{part}").unlink()
    assert await first.close(closed("a"))
    assert kept(path) == {"a": closed("a")}
    await first.end()


async def test_a_row_that_cannot_be_read_is_interrupted_all_the_same(path: Path) -> None:
    first = await started(path)
    await first.open(record("a"))
    with closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("UPDATE records SET record = ?", (b'{"version":9}',))
    dies(first)
    second = await started(path)
    assert await second.recover() == [UsageRecord(id="a", opened=OPENED).interrupted()]
    await second.end()


async def test_old_records_go_and_open_ones_stay(path: Path) -> None:
    now = [OPENED]
    file = await started(path, lambda: now[0], retention=30 * DAY)
    await file.open(record("open"))
    for number in range(100):
        await file.close(closed(f"old-{number}"))
    now[0] += 31 * DAY
    for number in range(100):
        fresh = record(f"new-{number}", opened=now[0])
        await file.open(fresh)
        await file.close(fresh.ended(State.CLOSED, now[0]))
    found = kept(path)
    assert [id for id in found if id.startswith("old")] == []
    assert "open" in found
    assert len(found) == 101
    await file.end()


async def test_where_there_are_too_many_the_oldest_closed_ones_make_room(path: Path) -> None:
    file = await started(path, max_records=50)
    for number in range(300):
        await file.open(record(str(number)))
        await file.close(closed(str(number)))
    found = kept(path)
    assert 50 <= len(found) <= 50 + 2 * files._SWEEP
    assert "299" in found
    await file.end()


async def test_a_locked_file_is_waited_for_and_then_an_error(path: Path) -> None:
    file = await started(path, timeout=0.01)
    with closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(LedgerError, match="another process has it locked"):
            await file.open(record())
        assert not file.checkpoint(record())
        other.execute("COMMIT")
    assert await file.open(record())
    await file.end()


async def test_the_file_is_its_owners_alone(path: Path, file: LedgerFile) -> None:
    assert mode(path) == 0o600


@pytest.mark.parametrize(
    ("statement", "reason"),
    [
        ("CREATE TABLE other (a)", "another program's"),
        (f"PRAGMA application_id={files.APPLICATION}; PRAGMA user_version=7", "version 7 of the schema"),
    ],
)
async def test_a_file_of_somebody_elses_is_refused(path: Path, statement: str, reason: str) -> None:
    with closing(sqlite3.connect(path)) as other:
        other.executescript(statement)
    with pytest.raises(LedgerError, match=f"cannot use {path} as a ledger: it .*{reason}"):
        await started(path)
    assert list(owners_of(path).iterdir()) == []


async def test_a_folder_that_cannot_be_made_is_told(tmp_path: Path) -> None:
    (tmp_path / "taken").touch()
    with pytest.raises(LedgerError, match=r"cannot use .*usage\.db as a ledger"):
        await started(tmp_path / "taken" / "usage.db")


async def test_the_log_is_written_back_from_time_to_time(path: Path, file: LedgerFile) -> None:
    long = msgspec.structs.replace(record(), path=("x" * 200,) * 64)
    await file.open(long)
    log = path.with_name("usage.db-wal")
    for _ in range(2 * CHECKPOINT // 25_000):
        file.checkpoint(long)
        if file._writing_back is not None:
            await asyncio.wait((file._writing_back,))
    assert log.stat().st_size < 2 * CHECKPOINT
