"""The embedded store's file: made, opened, checked, and its log written back.

Rules:
- The file is its owner's alone (0600); one that is somebody else's is refused before anything in it is changed.
- SQLite is asked not to wait for locks, and to sync only when the log is written back (synchronous=NORMAL): after a
  crash of the machine the latest writes may be gone, and the file is whole.
- SQLite itself bounds the file, and the log: should nobody write that back, it does so inline at LONGEST_LOG.

Not here: operations (embedded.py).
"""

from __future__ import annotations

import contextlib
import os
import sqlite3
import stat
from pathlib import Path
from typing import Final

from ext_proc.stores.store import StoreError

PAGE: Final = 4096  # bytes; SQLite's default
CHECKPOINT: Final = 4 << 20  # bytes of log, after which it is to be written back
LONGEST_LOG: Final = 32 << 20  # bytes

_APPLICATION = 0x47544853  # "GTHS", in the file's header
_SCHEMA = 1
_TABLES = (
    # What is small stands before the value, so that it is read without it.
    "CREATE TABLE IF NOT EXISTS entries (key BLOB PRIMARY KEY, expires REAL, version INTEGER, value BLOB)",
    "CREATE INDEX IF NOT EXISTS entries_by_expiry ON entries (expires)",
    "CREATE TABLE IF NOT EXISTS counters (key BLOB PRIMARY KEY, expires REAL, sum INTEGER) WITHOUT ROWID",
    "CREATE INDEX IF NOT EXISTS counters_by_expiry ON counters (expires)",
)


def connect(path: Path | None, max_size: int) -> sqlite3.Connection:
    """The file, open and ready; it, and folders that are missing, are made.

    Args:
        path: None for memory.
        max_size: bytes.

    Raises:
        StoreError, sqlite3.Error, OSError: it cannot be used.
    """
    if path is not None:
        make(path)
    # No time-out: what is locked is an error at once. No implicit transactions.
    connection = sqlite3.connect(path or ":memory:", timeout=0, isolation_level=None, cached_statements=256)
    try:
        fresh = is_fresh(connection, _APPLICATION, _SCHEMA)
        if path is not None:
            if connection.execute("PRAGMA journal_mode=WAL").fetchone() != ("wal",):
                raise StoreError("its file system cannot hold a write-ahead log")
            connection.execute("PRAGMA synchronous=NORMAL")
            connection.execute(f"PRAGMA wal_autocheckpoint={LONGEST_LOG // PAGE}")
            connection.execute(f"PRAGMA journal_size_limit={CHECKPOINT}")
        connection.execute(f"PRAGMA max_page_count={max_size // PAGE}")
        connection.execute("BEGIN IMMEDIATE")  # fails here where the file cannot be written
        if fresh:
            for statement in _TABLES:
                connection.execute(statement)
            connection.execute(f"PRAGMA application_id={_APPLICATION}")
            connection.execute(f"PRAGMA user_version={_SCHEMA}")
        connection.execute("COMMIT")
    except BaseException:
        connection.close()
        raise
    return connection


def inode(path: Path) -> tuple[int, int] | None:
    """What tells this file from another one by the same name; None where there is none."""
    try:
        found = path.stat()
    except FileNotFoundError:
        return None
    return found.st_dev, found.st_ino


def checkpoint(path: Path) -> None:
    """Writes the log back into the file as far as nobody reads it; in a thread, for it syncs both."""
    # The URI's mode makes no file where there is none any more.
    with (
        contextlib.suppress(sqlite3.Error),
        contextlib.closing(
            sqlite3.connect(f"{path.absolute().as_uri()}?mode=rw", uri=True, timeout=0, isolation_level=None)
        ) as connection,
    ):
        connection.execute("PRAGMA wal_checkpoint(PASSIVE)")


def make(path: Path) -> None:
    """Makes the file where there is none, its owner's alone. One that is there must not be opened here: closing it
    would drop SQLite's locks, which are the process's (sqlite.org/howtocorrupt.html, section 2.2).

    Raises:
        StoreError, OSError: it cannot be made, or is no regular file.
    """
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    except FileExistsError:
        raise StoreError(f"{path.parent} is no folder") from None
    try:
        os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600))
    except FileExistsError:
        if not stat.S_ISREG(path.stat().st_mode):
            raise StoreError("it is not a regular file") from None


def is_fresh(connection: sqlite3.Connection, application: int, schema: int) -> bool:
    """Whether nothing is in the file yet. Refuses one that is somebody else's, before anything in it is changed.

    Args:
        application, schema: what the file's header must say where it does not say nothing (`application_id`,
            `user_version`).

    Raises:
        StoreError, sqlite3.Error: it is another program's, or another version's.
    """
    ((found,),) = connection.execute("PRAGMA application_id")
    ((version,),) = connection.execute("PRAGMA user_version")
    ((tables,),) = connection.execute("SELECT count(*) FROM sqlite_schema")
    if found == application and version != schema:
        raise StoreError(f"it has version {version} of the schema, and this Gatehouse knows {schema}")
    if found not in (application, 0) or (found == 0 and (version or tables)):
        raise StoreError("it is a database of another program's")
    return not found
