"""Records for tests of the ledger, its file opened, and processes that die.

Not here: what is asserted.
"""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

from ext_proc.ledger.file import LedgerFile
from ext_proc.ledger.record import State, UsageRecord, decode
from ext_proc.ledger.settings import FileSettings

OPENED = 1_785_240_000.0  # 2026-07-28T12:00Z


def record(id: str = "a", **fields: Any) -> UsageRecord:
    """An open record."""
    return UsageRecord(id=id, **{"opened": OPENED, **fields})


def closed(id: str = "a", **fields: Any) -> UsageRecord:
    """The same, closed after a second."""
    return record(id, **fields).ended(State.CLOSED, OPENED + 1)


async def started(path: Path, clock: Callable[[], float] = lambda: OPENED, **settings: Any) -> LedgerFile:
    return await LedgerFile.start(FileSettings(path, **{"timeout": 5.0, **settings}), clock)


def dies(file: LedgerFile) -> None:
    """What the kernel does for a process that is killed: files are closed, and locks let go."""
    os.close(file._lease._descriptor)
    assert file._connection is not None
    file._connection.close()


def kept(path: Path) -> dict[str, UsageRecord]:
    """What is in the file, by id."""
    with closing(sqlite3.connect(path)) as connection:
        rows = connection.execute("SELECT id, owner, record FROM records").fetchall()
    found = {id: decode(data) for id, _, data in rows}
    assert len(found) == len(rows)
    assert {id for id, owner, _ in rows if owner is not None} == {
        id for id, one in found.items() if one.state is State.OPEN
    }
    return found
