"""Where closed records are sent, beside or in place of the ledger's file.

Rules:
- A record is handed over once, when it is closed. What a sink takes and then loses is lost: only a file keeps records
  over the end of the process.
- A line goes out in one write, so that processes that append to one file do not mix their lines.
- A file that was moved away (logrotate) is noticed within a second, and begun anew.

Not here: OpenTelemetry (otlp.py), what a record is (record.py).
"""

from __future__ import annotations

import contextlib
import os
import sys
import time
from pathlib import Path
from typing import Protocol

from ext_proc.ledger.record import LedgerError, UsageRecord, encode

_LOOK = 1.0  # seconds between two looks at whether the file is still there


class Sink(Protocol):
    """Takes closed records."""

    def send(self, record: UsageRecord) -> None:
        """Hands a record over.

        Raises:
            LedgerError: it was not taken.
        """
        ...

    def end(self) -> None:
        """Hands on what is queued. May block: not for the event loop."""
        ...


class StandardOutput:
    """Lines on standard output, beside the decision log's: these have `version` and `state`."""

    def send(self, record: UsageRecord) -> None:
        try:
            sys.stdout.buffer.write(encode(record) + b"\n")
            sys.stdout.buffer.flush()
        except (OSError, ValueError) as error:  # ValueError: it was closed
            raise LedgerError(f"cannot write to standard output: {error}") from error

    def end(self) -> None:
        pass


class JsonlFile:
    """Lines at the end of a file, which is its owner's alone (0600).

    Raises:
        LedgerError: it cannot be opened.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._look_at = 0.0
        self._descriptor = -1
        self._open()

    def send(self, record: UsageRecord) -> None:
        now = time.monotonic()
        if now >= self._look_at:
            self._look_at = now + _LOOK
            if not self._is_there():
                self.end()
                self._open()
        line = encode(record) + b"\n"
        try:
            written = os.write(self._descriptor, line)
        except OSError as error:
            raise LedgerError(f"cannot write to {self._path}: {error.strerror}") from error
        if written != len(line):
            with contextlib.suppress(OSError):  # ends the half line, so that the next one is whole
                os.write(self._descriptor, b"\n")
            raise LedgerError(f"cannot write to {self._path}: there is no room")

    def end(self) -> None:
        descriptor, self._descriptor = self._descriptor, -1
        with contextlib.suppress(OSError):
            os.close(descriptor)

    def _open(self) -> None:
        flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC
        try:
            self._path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._descriptor = os.open(self._path, flags, 0o600)
        except OSError as error:
            raise LedgerError(f"cannot open {self._path}: {error.strerror}") from error

    def _is_there(self) -> bool:
        try:
            there, held = self._path.stat(), os.fstat(self._descriptor)
        except OSError:
            return False
        return (there.st_dev, there.st_ino) == (held.st_dev, held.st_ino)
