"""Who owns open records, and whether that process still lives: a locked file per opening of a ledger.

Rules:
- An owner holds an exclusive flock(2) on its file for as long as it has the ledger open. The kernel lets go of it when
  the process ends, however it ends, and not before: nobody is taken for dead because it is slow, or its clock is wrong.
- Locks are of an open file, not of a process: two openings in one process tell each other apart, too.
- Who finds an owner's file unlocked, or gone, may close that owner's records, and holds the lock while it does.
- Where locks do not work at all, no ledger is opened, and nobody is taken for dead.

Not here: records (file.py). Hosts: processes that share a file share a kernel (SQLite's WAL needs that, too).
"""

from __future__ import annotations

import contextlib
import fcntl
import itertools
import os
import re
import secrets
from collections.abc import Iterator
from pathlib import Path

from ext_proc.ledger.record import LedgerError

_ATTEMPTS = 8
_OWNER = re.compile(r"[0-9a-f]{16}", re.ASCII)
_FLAGS = os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW


class Lease:
    """An owner's file, locked. Made by `take`."""

    def __init__(self, owner: str, path: Path, descriptor: int) -> None:
        self.owner = owner
        self._path = path
        self._descriptor = descriptor

    @classmethod
    def take(cls, folder: Path) -> Lease:
        """A lease with a name that nobody else has or had; the folder is made.

        Raises:
            LedgerError: files cannot be made or locked there.
        """
        try:
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            for _ in range(_ATTEMPTS):
                owner = secrets.token_hex(8)
                path = folder / owner
                descriptor = os.open(path, _FLAGS | os.O_CREAT | os.O_EXCL, 0o600)
                try:
                    fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    # Between the two somebody may have taken it for a dead owner's, and removed it.
                    if _same(path, descriptor):
                        os.write(descriptor, f"{os.getpid()}\n".encode())  # for who looks at the folder
                        return cls(owner, path, descriptor)
                except BlockingIOError:
                    pass
                except BaseException:
                    os.close(descriptor)
                    raise
                os.close(descriptor)
        except OSError as error:
            raise LedgerError(f"cannot lock a file in {folder}: {error.strerror}") from error
        raise LedgerError(f"cannot lock a file in {folder}: others are faster each time")

    def holds(self) -> bool:
        """Whether the file is still there: without it, others take this owner for dead."""
        return _same(self._path, self._descriptor)

    def end(self) -> None:
        """Lets go of it."""
        with contextlib.suppress(OSError):
            self._path.unlink()
        with contextlib.suppress(OSError):
            os.close(self._descriptor)


@contextlib.contextmanager
def dead(folder: Path, owner: str) -> Iterator[bool]:
    """Whether an owner's process is gone; while the context lasts nobody else finds out, and then its file goes."""
    path = folder / owner
    try:
        descriptor = os.open(path, _FLAGS)
    except FileNotFoundError:
        yield True
        return
    except OSError:
        yield False
        return
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            yield False
            return
        yield True
        with contextlib.suppress(OSError):
            path.unlink()
    finally:
        os.close(descriptor)


def owners_in(folder: Path, most: int) -> list[str]:
    """Some of the owners that have a file."""
    try:
        with os.scandir(folder) as entries:
            found = itertools.islice((entry.name for entry in entries if _OWNER.fullmatch(entry.name)), most)
            return sorted(found)
    except OSError:
        return []


def _same(path: Path, descriptor: int) -> bool:
    try:
        there, held = path.stat(), os.fstat(descriptor)
    except OSError:
        return False
    return (there.st_dev, there.st_ino) == (held.st_dev, held.st_ino)
