"""Lines of JSON: one for each closed record, whoever moves the file away or fills the disk."""

from __future__ import annotations

import io
import os
import stat
import sys
from pathlib import Path

import pytest

from ext_proc.ledger import sinks
from ext_proc.ledger.record import LedgerError, decode
from ext_proc.ledger.sinks import JsonlFile, StandardOutput
from tests.unit.ledger.keeping import closed


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "logs" / "usage.jsonl"


def test_each_record_is_one_line_at_the_end_of_the_file(path: Path) -> None:
    for id in ("a", "b"):
        sink = JsonlFile(path)
        sink.send(closed(id))
        sink.end()
    assert [decode(line) for line in path.read_bytes().splitlines()] == [closed("a"), closed("b")]
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_a_file_that_was_moved_away_is_begun_anew(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sinks, "_LOOK", 0.0)
    sink = JsonlFile(path)
    sink.send(closed("a"))
    path.rename(path.with_suffix(".1"))
    sink.send(closed("b"))
    assert decode(path.read_bytes()) == closed("b")
    assert decode(path.with_suffix(".1").read_bytes()) == closed("a")
    sink.end()


def test_a_full_disk_is_an_error_and_the_next_line_is_whole(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sink = JsonlFile(path)
    write = os.write
    room = [20]

    def scarce(descriptor: int, data: bytes) -> int:
        done = write(descriptor, data[: room[0]])
        room[0] = 10_000
        return done

    monkeypatch.setattr(os, "write", scarce)
    with pytest.raises(LedgerError, match="there is no room"):
        sink.send(closed("a"))
    sink.send(closed("b"))
    half, whole = path.read_bytes().splitlines()
    assert len(half) == 20
    assert decode(whole) == closed("b")
    sink.end()


def test_a_file_that_cannot_be_written_is_an_error(path: Path) -> None:
    sink = JsonlFile(path)
    sink.end()
    path.unlink()
    path.mkdir()
    with pytest.raises(LedgerError, match=r"cannot open .*directory"):
        sink.send(closed())


def test_standard_output_gets_lines(monkeypatch: pytest.MonkeyPatch) -> None:
    written = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(written))
    sink = StandardOutput()
    sink.send(closed("a"))
    assert written.getvalue().endswith(b"}\n")
    assert decode(written.getvalue()) == closed("a")
    written.close()
    with pytest.raises(LedgerError, match="standard output"):
        sink.send(closed("b"))
    sink.end()
    monkeypatch.undo()
