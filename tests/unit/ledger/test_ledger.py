"""A ledger: what is opened is closed once, what fails is tried again, and nothing waits without end."""

from __future__ import annotations

import asyncio
import contextlib
import json
import sqlite3
import threading
from contextlib import closing
from pathlib import Path

import pytest

from ext_proc.ledger import ledger as ledgers
from ext_proc.ledger.ledger import Ledger
from ext_proc.ledger.record import LedgerError, State, UsageRecord
from ext_proc.ledger.settings import FileSettings, JsonlSettings, LedgerSettings
from tests.unit.ledger.keeping import closed, dies, kept, record, started


class Sink:
    """A sink that can be made to fail."""

    def __init__(self) -> None:
        self.sent: list[UsageRecord] = []
        self.fails = False
        self.ended = 0

    def send(self, record: UsageRecord) -> None:
        if self.fails:
            raise LedgerError("the disk is full")
        self.sent.append(record)

    def end(self) -> None:
        self.ended += 1


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "usage.db"


async def test_without_a_file_a_record_is_sent_when_it_is_closed() -> None:
    sink = Sink()
    ledger = Ledger(None, [sink])
    assert await ledger.open(record())
    assert ledger.checkpoint(record(output_tokens=1))
    assert sink.sent == []
    assert await ledger.close(closed())
    assert not await ledger.close(closed())
    assert sink.sent == [closed()]
    await ledger.end()
    assert sink.ended == 1


async def test_without_a_file_what_is_open_at_the_end_is_sent_as_interrupted() -> None:
    sink = Sink()
    ledger = Ledger(None, [sink])
    await ledger.open(record())
    ledger.checkpoint(record(output_tokens=4, counted="reported"))
    await ledger.end()
    ((one),) = sink.sent
    assert (one.state, one.output_tokens, one.counted) == (State.INTERRUPTED, 4, "estimated")


async def test_a_collector_that_does_not_answer_holds_up_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ledgers, "_ENDING", 0.05)
    answers = threading.Event()

    class Silent(Sink):
        def end(self) -> None:
            answers.wait(10.0)
            super().end()

    silent, other = Silent(), Sink()
    await Ledger(None, [silent, other]).end()
    assert (silent.ended, other.ended) == (0, 1)
    answers.set()


async def test_what_was_not_opened_here_is_not_closed_here() -> None:
    sink = Sink()
    ledger = Ledger(None, [sink])
    assert not await ledger.close(closed())
    assert not ledger.checkpoint(record())
    assert sink.sent == []


async def test_a_start_closes_and_sends_what_the_dead_left(path: Path, tmp_path: Path) -> None:
    before = await started(path)
    await before.open(record())
    dies(before)
    lines = tmp_path / "usage.jsonl"
    ledger = await Ledger.start(LedgerSettings(FileSettings(path), (JsonlSettings(lines),)))
    assert [json.loads(line)["state"] for line in lines.read_text().splitlines()] == ["interrupted"]
    await ledger.end()


async def test_a_living_process_closes_what_another_left_when_it_dies(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = [0.0]
    other = await started(path)
    ledger = Ledger(await started(path), [], lambda: now[0])
    await other.open(record("theirs"))
    dies(other)
    await ledger.open(record("first"))
    await ledger.close(closed("first"))
    assert kept(path)["theirs"].state is State.OPEN
    now[0] += ledgers.RECOVER
    await ledger.open(record("second"))
    await ledger.close(closed("second"))
    assert kept(path)["theirs"].state is State.INTERRUPTED
    await ledger.end()


async def test_what_could_not_be_closed_is_closed_with_the_next_exchange(path: Path) -> None:
    sink = Sink()
    ledger = Ledger(await started(path, timeout=0.01), [sink])
    await ledger.open(record("a"))
    with closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(LedgerError, match="locked"):
            await ledger.close(closed("a"))
        with pytest.raises(LedgerError, match="locked"):
            await ledger.open(record("b"))
        other.execute("COMMIT")
    assert sink.sent == []
    assert await ledger.open(record("b"))
    assert kept(path)["a"] == closed("a")
    assert sink.sent == [closed("a")]
    await ledger.end()


async def test_what_could_not_be_sent_is_sent_later_and_until_then_nothing_is_opened(path: Path) -> None:
    sink = Sink()
    ledger = Ledger(await started(path), [sink])
    await ledger.open(record("a"))
    sink.fails = True
    with pytest.raises(LedgerError, match="the disk is full"):
        await ledger.close(closed("a"))
    with pytest.raises(LedgerError, match="the disk is full"):
        await ledger.open(record("b"))
    sink.fails = False
    assert await ledger.open(record("b"))
    assert sink.sent == [closed("a")]
    await ledger.end()


async def test_that_it_fails_is_logged_now_and_then(caplog: pytest.LogCaptureFixture) -> None:
    sink, now = Sink(), [0.0]
    ledger = Ledger(None, [sink], lambda: now[0])
    sink.fails = True
    for id in ("a", "b"):
        with contextlib.suppress(LedgerError):
            await ledger.open(record(id, subject="secret"))
            await ledger.close(closed(id, subject="secret"))
    assert [line.getMessage() for line in caplog.records] == [
        "the ledger fails; the policy's on_error decides: the disk is full"
    ]
    now[0] += ledgers.QUIET
    with pytest.raises(LedgerError):
        await ledger.open(record("c"))
    assert len(caplog.records) == 2


async def test_what_waits_is_bounded_and_the_rest_stays_in_the_file(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ledgers, "MOST_LATE", 3)
    ledger = Ledger(await started(path, timeout=0.001), [])
    for number in range(5):
        await ledger.open(record(str(number)))
    with closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        for number in range(5):
            with pytest.raises(LedgerError):
                await ledger.close(closed(str(number)))
        other.execute("COMMIT")
    await ledger.end()
    states = [str(one.state) for _, one in sorted(kept(path).items())]
    assert states == ["closed", "closed", "closed", "interrupted", "interrupted"]


async def test_of_many_at_the_same_time_each_is_closed_once(path: Path) -> None:
    sink = Sink()
    ledger = Ledger(await started(path), [sink])
    ids = [str(number) for number in range(50)]
    assert all(await asyncio.gather(*(ledger.open(record(id)) for id in ids)))
    done = await asyncio.gather(*(ledger.close(closed(id)) for id in ids * 2))
    assert done.count(True) == 50
    assert sorted(one.id for one in sink.sent) == sorted(ids)
    assert len(kept(path)) == 50
    await ledger.end()


async def test_a_ledger_that_cannot_be_used_leaves_nothing_open(tmp_path: Path) -> None:
    lines = JsonlSettings(tmp_path / "usage.jsonl")
    (tmp_path / "taken").touch()
    with pytest.raises(LedgerError, match="as a ledger"):
        await Ledger.start(LedgerSettings(FileSettings(tmp_path / "taken" / "usage.db"), (lines,)))
    with pytest.raises(LedgerError, match="cannot open"):
        await Ledger.start(LedgerSettings(None, (JsonlSettings(tmp_path / "taken" / "x"),)))
