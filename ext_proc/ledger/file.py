"""The ledger's file: a SQLite database that all processes of a host share, in which each exchange has one row.

Rules:
- A row is opened once and closed once, by whoever comes first: what comes again changes nothing, and is told so.
- An open row has an owner (lease.py). Rows of owners that are gone are closed as interrupted, with their last figures.
- Operations run inline on the thread that opened the file, for they take tens of microseconds (docs/adr/0007). A file
  that another process has locked never blocks that thread: SQLite is asked not to wait, and asked again a little later.
- The log (WAL) is written back, and synced, by another thread. What was written survives the process; the machine's
  crash may take the last writes before that, and leaves the file whole.
- Closed rows go by age, and by number, a few at a time, so that the file is bounded. Open ones never go.
- A file, or an owner's file, that is taken away is noticed within a second, and made anew: what is closed then has its
  row there. A connection does not outlive a fork.

Not here: what a record is (record.py), reading it for reports (reading.py).
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import sqlite3
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Final, TypeVar

from ext_proc.ledger.lease import Lease, dead, owners_in
from ext_proc.ledger.record import LedgerError, UsageRecord, decode, encode
from ext_proc.ledger.settings import FileSettings
from ext_proc.stores.embedded_file import CHECKPOINT, LONGEST_LOG, PAGE, checkpoint, inode, is_fresh, make
from ext_proc.stores.store import StoreError

OPENING: Final = 5.0  # seconds that the opening waits for the file
APPLICATION: Final = 0x4754484C  # "GTHL", in the file's header
SCHEMA: Final = 1

_LOOK = 1.0  # seconds between two looks at whether the file is still there
_SWEEP = 16  # rows opened between two sweeps, each of at most twice as many
_BATCH = 256  # rows of a dead owner that are closed in one transaction
_OWNERS = 64  # owners that are looked at in one recovery
_BUSY = {sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED}
_TABLES = (
    # The number is the order of opening; an owner stands only in open rows. What is small stands before the record.
    "CREATE TABLE records (number INTEGER PRIMARY KEY, id TEXT NOT NULL UNIQUE, owner TEXT, opened REAL NOT NULL,"
    " record BLOB NOT NULL)",
    "CREATE INDEX records_open ON records (owner) WHERE owner IS NOT NULL",
    "CREATE INDEX records_by_time ON records (opened)",
)
_CLOSE = (
    "INSERT INTO records (id, owner, opened, record) VALUES (?1, NULL, ?2, ?3)"
    " ON CONFLICT (id) DO UPDATE SET owner = NULL, record = ?3 WHERE owner = ?4"
)

Result = TypeVar("Result")


class LedgerFile:
    """Records in one file. Made by `start`.

    Args:
        clock: seconds since the Unix epoch; the same for all who share the file.
    """

    def __init__(self, settings: FileSettings, lease: Lease, clock: Callable[[], float]) -> None:
        self._settings = settings
        self._path = settings.path
        self._folder = owners_of(settings.path)
        self._lease = lease
        self._clock = clock
        self._process = os.getpid()
        self._connection: sqlite3.Connection | None = None
        self._inode: tuple[int, int] | None = None
        self._closed = False
        self._look_at = 0.0
        self._unswept = 0
        self._log = 0  # bytes of log written here since it was last written back
        self._writing_back: asyncio.Future[None] | None = None

    @classmethod
    async def start(cls, settings: FileSettings, clock: Callable[[], float] = time.time) -> LedgerFile:
        """The file, open; it, and folders that are missing, are made.

        Raises:
            LedgerError: it cannot be used; the text names the file and says why.
        """
        try:
            file = cls(settings, Lease.take(owners_of(settings.path)), clock)
            try:
                await file._patiently(file._connect, OPENING)
            except BaseException:
                file._lease.end()
                raise
        except LedgerError as error:
            raise LedgerError(f"cannot use {settings.path} as a ledger: {error}") from error
        return file

    async def open(self, record: UsageRecord) -> bool:
        """Writes an open record; False where the id is there already.

        Raises:
            LedgerError: it was not written.
        """
        data = encode(record)
        done = await self._operate(lambda db: self._open(db, record, data))
        self._unswept += 1
        self._written(len(data))
        return done

    def checkpoint(self, record: UsageRecord) -> bool:
        """Writes an open record's figures, at once or not at all; whether it did."""
        data = encode(record)
        try:
            done = self._once(lambda db: _update(db, record.id, data, self._lease.owner))
        except (LedgerError, sqlite3.Error, OSError):
            return False
        self._written(len(data))
        return done

    async def close(self, record: UsageRecord) -> bool:
        """Writes a closed record in the open one's place; False where it is closed already.

        Raises:
            LedgerError: it was not written.
        """
        data = encode(record)
        row = (record.id, record.opened, data)
        done = await self._operate(lambda db: db.execute(_CLOSE, (*row, self._lease.owner)).rowcount > 0)
        self._written(len(data))
        return done

    async def recover(self) -> Sequence[UsageRecord]:
        """Closes the records of owners that are gone as interrupted; what it closed.

        Raises:
            LedgerError: the file failed.
        """
        found = await self._operate(
            lambda db: db.execute(
                "SELECT DISTINCT owner FROM records WHERE owner IS NOT NULL LIMIT ?", (_OWNERS,)
            ).fetchall()
        )
        closed: list[UsageRecord] = []
        # Also the files of those that left no record open.
        for owner in dict.fromkeys([*(owner for (owner,) in found), *owners_in(self._folder, _OWNERS)]):
            if owner == self._lease.owner:
                continue
            with dead(self._folder, owner) as gone:
                while gone and (batch := await self._interrupt(owner)):
                    closed += batch
        return closed

    async def end(self) -> Sequence[UsageRecord]:
        """Closes the file; what is still open of this owner is closed as interrupted, and given back."""
        closed: list[UsageRecord] = []
        with contextlib.suppress(LedgerError):
            while batch := await self._interrupt(self._lease.owner):
                closed += batch
        if self._writing_back is not None:
            await asyncio.wait((self._writing_back,))
        self._closed = True
        self._disconnect()
        self._lease.end()
        return closed

    async def _interrupt(self, owner: str) -> Sequence[UsageRecord]:
        """Closes some of an owner's records as interrupted, in one transaction."""

        def close(db: sqlite3.Connection) -> Sequence[UsageRecord]:
            db.execute("BEGIN IMMEDIATE")
            rows = db.execute("SELECT id, opened, record FROM records WHERE owner = ? LIMIT ?", (owner, _BATCH))
            done = {id: _interrupted(id, opened, data) for id, opened, data in rows.fetchall()}
            for id, record in done.items():
                db.execute(_CLOSE, (id, record.opened, encode(record), owner))
            db.execute("COMMIT")
            return list(done.values())

        return await self._operate(close)

    async def _operate(self, operation: Callable[[sqlite3.Connection], Result]) -> Result:
        return await self._patiently(lambda: self._once(operation), self._settings.timeout)

    def _once(self, operation: Callable[[sqlite3.Connection], Result]) -> Result:
        db = self._ready()
        try:
            return operation(db)
        finally:
            if db.in_transaction:
                with contextlib.suppress(sqlite3.Error):
                    db.execute("ROLLBACK")

    async def _patiently(self, attempt: Callable[[], Result], seconds: float) -> Result:
        """What `attempt` returns, made again while the file is locked.

        Raises:
            LedgerError: it failed, or the file stayed locked for `seconds`.
        """
        deadline = 0.0
        for pause in _pauses():
            try:
                return attempt()
            except sqlite3.Error as error:
                if getattr(error, "sqlite_errorcode", 0) & 0xFF not in _BUSY:
                    raise LedgerError(str(error)) from error
            except StoreError as error:
                raise LedgerError(str(error)) from error
            except OSError as error:
                raise LedgerError(error.strerror or type(error).__name__) from error
            now = time.monotonic()
            deadline = deadline or now + seconds
            if now >= deadline:
                break
            await asyncio.sleep(min(pause, deadline - now))
        raise LedgerError("another process has it locked")

    def _ready(self) -> sqlite3.Connection:
        if os.getpid() != self._process:
            raise LedgerError("it was opened before a fork")
        if self._closed:
            raise LedgerError("it is closed")
        now = time.monotonic()
        if self._connection is None or now >= self._look_at:
            if self._connection is None or self._inode != inode(self._path):
                self._disconnect()
                self._connect()
            if not self._lease.holds():
                self._take_anew()
            self._look_at = now + _LOOK
        assert self._connection is not None  # `_connect` raises otherwise
        return self._connection

    def _take_anew(self) -> None:
        """Another lease, for the file of this one is gone: all that is open becomes the new owner's."""
        assert self._connection is not None
        before, after = self._lease, Lease.take(self._folder)
        try:
            self._connection.execute("UPDATE records SET owner = ? WHERE owner = ?", (after.owner, before.owner))
        except BaseException:
            after.end()
            raise
        self._lease = after
        before.end()

    def _connect(self) -> None:
        """Opens the file, and makes or checks what is in it.

        Raises:
            StoreError, sqlite3.Error, OSError: it cannot be used.
        """
        make(self._path)
        # No time-out: what is locked is an error at once. No implicit transactions.
        connection = sqlite3.connect(self._path, timeout=0, isolation_level=None)
        try:
            is_fresh(connection, APPLICATION, SCHEMA)
            if connection.execute("PRAGMA journal_mode=WAL").fetchone() != ("wal",):
                raise StoreError("its file system cannot hold a write-ahead log")
            connection.execute("PRAGMA synchronous=NORMAL")
            connection.execute(f"PRAGMA wal_autocheckpoint={LONGEST_LOG // PAGE}")
            connection.execute(f"PRAGMA journal_size_limit={CHECKPOINT}")
            connection.execute("BEGIN IMMEDIATE")  # fails here where the file cannot be written
            if is_fresh(connection, APPLICATION, SCHEMA):
                for statement in _TABLES:
                    connection.execute(statement)
                connection.execute(f"PRAGMA application_id={APPLICATION}")
                connection.execute(f"PRAGMA user_version={SCHEMA}")
            connection.execute("COMMIT")
        except BaseException:
            connection.close()
            raise
        self._connection, self._inode = connection, inode(self._path)

    def _disconnect(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None and os.getpid() == self._process:
            with contextlib.suppress(sqlite3.Error):
                connection.close()

    def _open(self, db: sqlite3.Connection, record: UsageRecord, data: bytes) -> bool:
        db.execute("BEGIN IMMEDIATE")
        self._sweep(db)
        row = (record.id, self._lease.owner, record.opened, data)
        done = db.execute("INSERT OR IGNORE INTO records (id, owner, opened, record) VALUES (?, ?, ?, ?)", row).rowcount
        db.execute("COMMIT")
        return done > 0

    def _sweep(self, db: sqlite3.Connection) -> None:
        """Deletes closed rows that are too old or too many: at most twice as many as were opened since the last time,
        so that they cannot pile up."""
        if self._unswept < _SWEEP:
            return
        most = 2 * self._unswept
        swept = 0
        ((last,),) = db.execute("SELECT max(number) FROM records")
        for where, bound, index in (
            ("opened < ?", self._clock() - self._settings.retention, "opened"),
            ("number <= ?", (last or 0) - self._settings.max_records, "number"),
        ):
            statement = (
                "DELETE FROM records WHERE number IN"
                f" (SELECT number FROM records WHERE {where} AND owner IS NULL ORDER BY {index} LIMIT ?)"
            )
            swept = max(swept, db.execute(statement, (bound, most)).rowcount)
        self._unswept = 0 if swept < most else _SWEEP

    def _written(self, size: int) -> None:
        """Notes what was written, and has the log written back from time to time."""
        self._log += size + 3 * PAGE
        if self._log < CHECKPOINT or self._writing_back is not None:
            return
        try:
            loop = asyncio.get_running_loop()
        except RuntimeError:  # a `def` hook in a test; SQLite does it by itself, later
            return
        self._log = 0
        self._writing_back = loop.run_in_executor(None, checkpoint, self._path)
        self._writing_back.add_done_callback(self._written_back)

    def _written_back(self, _: object) -> None:
        self._writing_back = None


def owners_of(path: Path) -> Path:
    """The folder of the owners' files, beside the ledger's."""
    return path.with_name(f"{path.name}-owners")


def _update(db: sqlite3.Connection, id: str, data: bytes, owner: str) -> bool:
    return db.execute("UPDATE records SET record = ? WHERE id = ? AND owner = ?", (data, id, owner)).rowcount > 0


def _interrupted(id: str, opened: float, data: bytes) -> UsageRecord:
    try:
        return decode(data).interrupted()
    except LedgerError:  # a later version's: what is known of it is that it was
        return UsageRecord(id=id, opened=opened).interrupted()


def _pauses() -> Iterator[float]:
    """Seconds between attempts: most who lock the file are done at once."""
    yield from (0.0,) * 8
    while True:
        yield 0.001
