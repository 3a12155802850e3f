"""The embedded store: one SQLite file that all workers of a host share; in memory, one of a test's own.

Rules:
- Operations run inline on the thread that opened it, for they take tens of microseconds (docs/adr/0007). A file that
  another process has locked never blocks that thread: SQLite is asked not to wait, and asked again a little later.
- The log (WAL) is written back, and synced, by another thread with a connection of its own.
- The file is bounded by `max_size`. Expired rows go a few at a time, and more of them where there is no room.
- Keys are hashed, so that their length is bounded and no name stands in the file.
- A file that is taken away is noticed within a second, and begun anew. A connection does not outlive a fork.

Not here: what the operations mean (store.py), what is in the file (embedded_file.py), which file it is
(bundle/store_settings.py).
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import os
import sqlite3
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Final, TypeVar

from ext_proc.stores.embedded_file import CHECKPOINT, PAGE, checkpoint, connect, inode
from ext_proc.stores.settings import EmbeddedSettings
from ext_proc.stores.store import (
    ABSENT,
    MAX_SUM,
    Count,
    Counted,
    Entry,
    Key,
    StoreError,
    Write,
    check_counts,
    check_keys,
    check_writes,
    new_version,
)

OPENING: Final = 5.0  # seconds that the opening waits for it
LOOK: Final = 1.0  # seconds between two looks at whether the file is still there
_SWEEP = 16  # keys written between two looks for expired rows, of which at most twice as many go
_ROOM = 256  # of each kind, at most, that go where there is no room
_NEVER = float("inf")
_BUSY = {sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED}
_DELETE_EXPIRED = (
    "DELETE FROM entries WHERE rowid IN (SELECT rowid FROM entries WHERE expires <= ? LIMIT ?)",
    "DELETE FROM counters WHERE key IN (SELECT key FROM counters WHERE expires <= ? LIMIT ?)",
)

Result = TypeVar("Result")


class EmbeddedStore:
    """A store in one file, or in memory. Made by `open` or `in_memory`.

    Args:
        path: the file; None for memory.
        max_size: of the file, in bytes.
        timeout: seconds that an operation waits for a file that another process has locked.
        clock: seconds since the Unix epoch; the same for all who share the file.
    """

    def __init__(self, path: Path | None, max_size: int, timeout: float, clock: Callable[[], float]) -> None:
        self._path = path
        self._max_size = max_size
        self._timeout = timeout
        self._clock = clock
        self._process = os.getpid()
        self._connection: sqlite3.Connection | None = None
        self._closed = False
        self._inode: tuple[int, int] | None = None
        self._look_at = 0.0
        self._unswept = 0
        self._log = 0  # bytes of log written here since the last checkpoint
        self._checkpointing: asyncio.Future[None] | None = None

    @classmethod
    def in_memory(cls, clock: Callable[[], float] = time.time, max_size: int = 64 << 20) -> EmbeddedStore:
        """A store of this process alone, for tests; a `with` closes it."""
        store = cls(None, max_size, 0.0, clock)
        store._connect()
        return store

    @classmethod
    async def open(cls, settings: EmbeddedSettings, clock: Callable[[], float] = time.time) -> EmbeddedStore:
        """The store in a file; the file, and folders that are missing, are made.

        Raises:
            StoreError: it cannot be used; the text names the file and says why.
        """
        store = cls(settings.path, settings.max_size, settings.timeout, clock)
        try:
            await store._patiently(store._connect, OPENING)
        except StoreError as error:
            raise StoreError(f"cannot use {settings.path} as a store: {error}") from error
        return store

    async def read(self, keys: Sequence[Key]) -> Sequence[Entry | None]:
        check_keys(keys)
        return await self._operate(lambda db: _read(db, keys, self._clock())) if keys else ()

    async def write(self, writes: Sequence[Write]) -> bool:
        check_writes(writes)
        if not writes:
            return True
        done = await self._operate(lambda db: self._write(db, writes))
        self._written(len(writes), sum(len(write.value or b"") for write in writes))
        return done

    async def count(self, counts: Sequence[Count]) -> Counted:
        check_counts(counts)
        if not counts:
            return Counted(())
        counted = await self._operate(lambda db: self._count(db, counts))
        self._written(len(counts), 0)
        return counted

    async def close(self) -> None:
        self._closed = True
        if self._checkpointing is not None:
            await asyncio.wait((self._checkpointing,))
        self._disconnect()

    def __enter__(self) -> EmbeddedStore:
        return self

    def __exit__(self, *_: object) -> None:
        self._closed = True
        self._disconnect()

    async def _operate(self, operation: Callable[[sqlite3.Connection], Result]) -> Result:
        def attempt() -> Result:
            db = self._ready()
            try:
                return operation(db)
            except sqlite3.Error as error:
                self._roll_back()
                if _code(error) != sqlite3.SQLITE_FULL or not self._make_room(db):
                    raise
                return operation(db)
            finally:
                self._roll_back()

        return await self._patiently(attempt, self._timeout)

    async def _patiently(self, attempt: Callable[[], Result], seconds: float) -> Result:
        """What `attempt` returns, made again while the file is locked.

        Raises:
            StoreError: it failed, or the file stayed locked for `seconds`.
        """
        deadline = 0.0
        for pause in _pauses():
            try:
                return attempt()
            except sqlite3.Error as error:
                if _code(error) not in _BUSY:
                    raise StoreError(str(error)) from error
            except OSError as error:
                raise StoreError(error.strerror or type(error).__name__) from error
            now = time.monotonic()
            deadline = deadline or now + seconds
            if now >= deadline:
                break
            await asyncio.sleep(min(pause, deadline - now))
        raise StoreError("another process has it locked")

    def _ready(self) -> sqlite3.Connection:
        if os.getpid() != self._process:
            raise StoreError("it was opened before a fork")
        if self._closed:
            raise StoreError("it is closed")
        now = time.monotonic()
        if self._path is not None and now >= self._look_at:
            self._look_at = now + LOOK
            if self._inode != inode(self._path):
                self._disconnect()
                self._connect()
        if self._connection is None:
            raise StoreError("its file is gone")
        return self._connection

    def _connect(self) -> None:
        """Opens the file, and makes or checks what is in it.

        Raises:
            StoreError, sqlite3.Error, OSError: it cannot be used.
        """
        self._connection = connect(self._path, self._max_size)
        self._inode = None if self._path is None else inode(self._path)

    def _disconnect(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None and os.getpid() == self._process:
            with contextlib.suppress(sqlite3.Error):
                connection.close()

    def _roll_back(self) -> None:
        if self._connection is not None and self._connection.in_transaction:
            with contextlib.suppress(sqlite3.Error):
                self._connection.execute("ROLLBACK")

    def _write(self, db: sqlite3.Connection, writes: Sequence[Write]) -> bool:
        now = self._clock()
        db.execute("BEGIN IMMEDIATE")
        self._sweep(db, now)
        for write in writes:
            if write.expected is not None:
                found = db.execute(
                    "SELECT version FROM entries WHERE key = ? AND expires > ?", (_digest(write.key), now)
                ).fetchone()
                if (ABSENT if found is None else found[0]) != write.expected:
                    db.execute("COMMIT")  # of the sweep
                    return False
        version = new_version()
        for write in writes:
            if write.value is None:
                db.execute("DELETE FROM entries WHERE key = ?", (_digest(write.key),))
                continue
            expires = _NEVER if write.expires is None else now + write.expires
            db.execute(
                "INSERT INTO entries (key, expires, version, value) VALUES (?1, ?2, ?3, ?4) ON CONFLICT (key) DO UPDATE"
                " SET expires = ?2, version = ?3, value = ?4",
                (_digest(write.key), expires, version, write.value),
            )
        db.execute("COMMIT")
        return True

    def _count(self, db: sqlite3.Connection, counts: Sequence[Count]) -> Counted:
        now = self._clock()
        changes = any(count.amount for count in counts)
        # Also what only reads is one transaction: all of its counters are read at one moment.
        db.execute("BEGIN IMMEDIATE" if changes else "BEGIN")
        if changes:
            self._sweep(db, now)
        keys = [_digest(count.key) for count in counts]
        found = [
            db.execute("SELECT sum FROM counters WHERE key = ? AND expires > ?", (key, now)).fetchone() for key in keys
        ]
        sums = [0 if row is None else row[0] for row in found]
        passed = next((i for i, count in enumerate(counts) if _passes(sums[i], count)), None)
        for i, count in enumerate(counts if passed is None else ()):
            if not count.amount:
                continue
            sums[i] = max(sums[i] + count.amount, 0)
            if found[i] is not None:
                db.execute("UPDATE counters SET sum = ? WHERE key = ?", (sums[i], keys[i]))
            elif sums[i]:
                db.execute(
                    "INSERT OR REPLACE INTO counters (key, expires, sum) VALUES (?, ?, ?)",
                    (keys[i], now + count.expires, sums[i]),
                )
        db.execute("COMMIT")
        return Counted(tuple(sums), passed)

    def _make_room(self, db: sqlite3.Connection) -> bool:
        """Deletes expired rows of a store that is full, on their own; whether there were any."""
        db.execute("BEGIN IMMEDIATE")
        swept = sum(db.execute(statement, (self._clock(), _ROOM)).rowcount for statement in _DELETE_EXPIRED)
        db.execute("COMMIT")
        return swept > 0

    def _sweep(self, db: sqlite3.Connection, now: float) -> None:
        """Deletes expired rows, at most twice as many as were written since the last time: they cannot pile up."""
        if self._unswept < _SWEEP:
            return
        most = 2 * self._unswept
        swept = max(db.execute(statement, (now, most)).rowcount for statement in _DELETE_EXPIRED)
        self._unswept = 0 if swept < most else _SWEEP

    def _written(self, keys: int, size: int) -> None:
        """Notes what an operation wrote, and has the log written back from time to time."""
        self._unswept += keys
        self._log += size + (keys + 2) * PAGE
        if self._path is None or self._log < CHECKPOINT or self._checkpointing is not None or self._closed:
            return
        self._log = 0
        loop = asyncio.get_running_loop()
        self._checkpointing = loop.run_in_executor(None, checkpoint, self._path)
        self._checkpointing.add_done_callback(self._checkpointed)

    def _checkpointed(self, _: object) -> None:
        self._checkpointing = None


def _pauses() -> Iterator[float]:
    """Seconds between attempts: most who lock the file are done at once."""
    yield from (0.0,) * 8
    while True:
        yield 0.001


def _code(error: sqlite3.Error) -> int:
    """SQLite's primary result code; 0 for what Python found before SQLite did."""
    return getattr(error, "sqlite_errorcode", 0) & 0xFF


def _digest(key: Key) -> bytes:
    # Without the length "a" + "bc" would be "ab" + "c". Text from outside may hold lone surrogates.
    return hashlib.sha256(f"{len(key.group)}:{key.group}{key.name}".encode("utf-8", "surrogatepass")).digest()


def _read(db: sqlite3.Connection, keys: Sequence[Key], now: float) -> Sequence[Entry | None]:
    digests = [_digest(key) for key in keys]
    # One statement, so that all are read at one moment.
    places = ",".join("?" * len(digests))
    rows = db.execute(
        f"SELECT key, value, version FROM entries WHERE key IN ({places}) AND expires > ?", (*digests, now)
    ).fetchall()
    found = {key: Entry(value, version) for key, value, version in rows}
    return [found.get(digest) for digest in digests]


def _passes(total: int, count: Count) -> bool:
    limit = MAX_SUM if count.limit is None else min(count.limit, MAX_SUM)
    return count.amount >= 0 and total + count.amount > limit
