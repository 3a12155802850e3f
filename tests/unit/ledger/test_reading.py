"""Reading a ledger for reports: of either kind, in a window, while it is written."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from ext_proc.ledger.reading import Reading
from ext_proc.ledger.record import LedgerError, encode
from ext_proc.ledger.sinks import JsonlFile
from tests.unit.ledger.keeping import OPENED, closed, kept, record, started

TIMES = {"a": OPENED, "b": OPENED + 10, "c": OPENED + 20}


async def written(path: Path, kind: str) -> None:
    records = [closed(id, opened=opened) for id, opened in TIMES.items()]
    if kind == "lines":
        sink = JsonlFile(path)
        for one in records:
            sink.send(one)
        sink.end()
        return
    file = await started(path)
    for one in records:
        await file.close(one)
    await file.end()


@pytest.mark.parametrize("kind", ["file", "lines"])
@pytest.mark.parametrize(
    ("since", "until", "expected"),
    [(None, None, "abc"), (OPENED + 10, None, "bc"), (None, OPENED + 10, "a"), (OPENED + 1, OPENED + 20, "b")],
)
async def test_a_window_has_its_beginning_and_not_its_end(
    tmp_path: Path, kind: str, since: float | None, until: float | None, expected: str
) -> None:
    await written(tmp_path / "usage", kind)
    assert "".join(one.id for one in Reading(tmp_path / "usage").records(since, until)) == expected


async def test_a_ledger_is_read_while_it_is_written_and_stays_locked_as_it_was(tmp_path: Path) -> None:
    path = tmp_path / "usage.db"
    file = await started(path)
    await file.open(record("a"))
    reading = Reading(path).records()
    assert next(reading).id == "a"
    assert await file.open(record("b"))
    assert list(reading) == []
    assert await file.close(closed("a"))
    await file.end()
    assert len(kept(path)) == 2


def test_lines_that_are_no_records_are_passed_over_and_counted(tmp_path: Path) -> None:
    path = tmp_path / "stdout.log"
    path.write_bytes(b'{"event":"decision"}\n\n' + encode(closed()) + b"\n\xff\n" + encode(closed("b"))[:30])
    reading = Reading(path)
    assert [one.id for one in reading.records()] == ["a"]
    assert reading.skipped == 4


def test_an_empty_file_has_no_records(tmp_path: Path) -> None:
    (tmp_path / "usage").touch()
    assert list(Reading(tmp_path / "usage").records()) == []


def test_what_is_not_there_or_somebody_elses_is_told(tmp_path: Path) -> None:
    with pytest.raises(LedgerError, match=r"cannot read .*none: No such file"):
        list(Reading(tmp_path / "none").records())
    with closing(sqlite3.connect(tmp_path / "other.db")) as other:
        other.execute("CREATE TABLE t (a)")
    with pytest.raises(LedgerError, match=r"other\.db is no ledger of version 1"):
        list(Reading(tmp_path / "other.db").records())
    with pytest.raises(LedgerError, match="cannot read"):
        list(Reading(tmp_path).records())
