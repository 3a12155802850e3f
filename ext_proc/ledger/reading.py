"""Reads a ledger for reports: a SQLite file that is served at the same time, or a file of lines.

Rules:
- Reading changes nothing and holds up nobody. Records come one after another, in the order of their opening or, from a
  file of lines, of their closing.
- A line that is no record is passed over and counted: standard output has other lines too, and the last may be half.

Not here: what is made of the records (server/usage.py).
"""

from __future__ import annotations

import contextlib
import sqlite3
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from ext_proc.ledger.file import APPLICATION, SCHEMA
from ext_proc.ledger.record import LedgerError, UsageRecord, decode

PATIENCE: Final = 5.0  # seconds that a person waits for a file that is locked
MAX_LINE: Final = 64 * 1024  # bytes


@dataclass(slots=True)
class Reading:
    """A ledger that is read.

    Attributes:
        skipped: how many rows and lines so far were no record.
    """

    path: Path
    skipped: int = 0

    def records(self, since: float | None = None, until: float | None = None) -> Iterator[UsageRecord]:
        """Those that were opened at `since` or later and before `until`, in seconds since the Unix epoch.

        Raises:
            LedgerError: the file is not there, cannot be read, or is no ledger.
        """
        try:
            if self._is_database():
                yield from self._rows(since, until)
            else:
                yield from self._lines(since, until)
        except OSError as error:
            raise LedgerError(f"cannot read {self.path}: {error.strerror}") from error
        except sqlite3.Error as error:
            raise LedgerError(f"cannot read {self.path}: {error}") from error

    def _connect(self) -> sqlite3.Connection:
        return sqlite3.connect(f"{self.path.absolute().as_uri()}?mode=ro", uri=True, timeout=PATIENCE)

    def _is_database(self) -> bool:
        """Asks SQLite: opening its file otherwise, and closing it, would drop this process's locks of it."""
        if self.path.stat().st_size == 0:
            return False
        with contextlib.closing(self._connect()) as db:
            try:
                db.execute("PRAGMA user_version").fetchone()
            except sqlite3.DatabaseError as error:
                if getattr(error, "sqlite_errorcode", 0) & 0xFF != sqlite3.SQLITE_NOTADB:
                    raise
                return False
        return True

    def _rows(self, since: float | None, until: float | None) -> Iterator[UsageRecord]:
        with contextlib.closing(self._connect()) as db:
            header = (*db.execute("PRAGMA application_id").fetchone(), *db.execute("PRAGMA user_version").fetchone())
            if header != (APPLICATION, SCHEMA):
                raise LedgerError(f"{self.path} is no ledger of version {SCHEMA}")
            rows = db.execute(
                "SELECT record FROM records WHERE opened >= ? AND opened < ? ORDER BY opened",
                (float("-inf") if since is None else since, float("inf") if until is None else until),
            )
            for (data,) in rows:
                record = self._decoded(data)
                if record is not None:
                    yield record

    def _lines(self, since: float | None, until: float | None) -> Iterator[UsageRecord]:
        with self.path.open("rb") as file:
            while line := file.readline(MAX_LINE):
                record = self._decoded(line)
                if record is None or (since is not None and record.opened < since):
                    continue
                if until is None or record.opened < until:
                    yield record

    def _decoded(self, data: bytes) -> UsageRecord | None:
        try:
            return decode(data)
        except LedgerError:
            self.skipped += 1
            return None
