"""The lock file as `gatehouse tools` changes it: what stands in it stays, but for what is changed.

Rules:
- A file that is no lock file is never written over.
- Who reads it finds the old one or the new one, whole. Of two commands that change it at once on one host the second
  waits for the first.

Not here: its format (pins/lock.py), what is approved (tools.py).
"""

from __future__ import annotations

import fcntl
import os
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from ext_proc.bundle_file import MAX_BYTES
from ext_proc.errors import GatehouseError
from ext_proc.pins.lock import Lock, parse_lock, render_lock


class Unwritable(GatehouseError):
    """Why the file was not changed, in a sentence."""


def read(file: Path) -> Lock:
    """What a lock file says.

    Raises:
        Unwritable: it cannot be read, or is none.
    """
    try:
        with file.open("rb") as opened:
            text = opened.read(MAX_BYTES + 1)
        if len(text) > MAX_BYTES:
            raise ValueError("it is too large")
        return parse_lock(text)
    except (OSError, ValueError) as error:
        raise Unwritable(f"{file} cannot be read as a lock file: {error}") from error


def change(file: Path, by: Callable[[Lock], Lock]) -> None:
    """Writes what `by` makes of a lock file; one that is not there is empty.

    Raises:
        Unwritable: it cannot be read or written, or is none.
    """
    with _alone(file.parent):
        before = read(file) if file.exists() else Lock()
        _write(file, render_lock(by(before)))


@contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """No other command changes a lock file of this folder meanwhile."""
    try:
        held = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    except OSError as error:
        raise Unwritable(f"cannot write into {folder}: {error.strerror}") from error
    try:
        fcntl.flock(held, fcntl.LOCK_EX)
        yield
    finally:
        os.close(held)


def _write(file: Path, text: str) -> None:
    new = None
    try:
        mode = file.stat().st_mode & 0o777 if file.exists() else 0o644
        with tempfile.NamedTemporaryFile(
            "w", dir=file.parent, prefix=f".{file.name}.", delete=False, encoding="utf-8"
        ) as opened:
            new = opened.name
            opened.write(text)
        os.chmod(new, mode)
        os.replace(new, file)
    except OSError as error:
        if new is not None:
            Path(new).unlink(missing_ok=True)
        raise Unwritable(f"cannot write {file}: {error.strerror}") from error
