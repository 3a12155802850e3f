"""A ledger: each exchange's record opened before the request goes on, and closed exactly once.

Rules:
- `open` before the request is forwarded, `checkpoint` from time to time while an answer streams, `close` when the
  exchange is over: whatever comes twice for an id, or out of order, counts once.
- With a file, a record survives the process: who opens the file next, or has it open, closes the records of processes
  that are gone as interrupted. Without one, it exists in memory until it is closed, and is lost with the process.
- What could not be closed is tried again with the next exchange. As long as it cannot be, nothing new is opened, so
  that the policy's `on_error` decides; and what waits is bounded.
- That it fails is logged, and holds nothing of a record.
- A closed record is sent to the sinks by who closed it, once, after it is in the file.

Not here: who fills records in (the `usage` policy), the file (file.py), sinks (sinks.py, otlp.py).
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Final

from ext_proc.ledger.file import LedgerFile
from ext_proc.ledger.record import LedgerError, UsageRecord
from ext_proc.ledger.settings import JsonlSettings, LedgerSettings, OtlpSettings
from ext_proc.ledger.sinks import JsonlFile, Sink, StandardOutput

RECOVER: Final = 60.0  # seconds between two looks for owners that are gone
MOST_LATE: Final = 1024  # closed records that wait for a file or a sink that fails
QUIET: Final = 10.0  # seconds between two log lines that say that a ledger fails
_ENDING = 5.0  # seconds that a collector gets for the last records
_LOG = logging.getLogger("gatehouse.ledger")


class Ledger:
    """An open ledger. Made by `start`.

    Args:
        file: None for one without.
        clock: monotonic seconds.
    """

    def __init__(
        self, file: LedgerFile | None, sinks: Sequence[Sink], clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._file = file
        self._sinks = sinks
        self._clock = clock
        self._running: dict[str, UsageRecord] = {}  # open here, each with its last figures
        self._unclosed: dict[str, UsageRecord] = {}  # closed, and not yet so in the file
        self._unsent: list[tuple[Sink, UsageRecord]] = []
        self._recover_at = clock() + RECOVER
        self._quiet_until = float("-inf")

    @classmethod
    async def start(cls, settings: LedgerSettings) -> Ledger:
        """The ledger, open; records of processes that are gone are closed.

        Raises:
            LedgerError: it cannot be used; the text says why.
        """
        sinks: list[Sink] = []
        file: LedgerFile | None = None
        try:
            for wanted in settings.sinks:
                sinks.append(_sink(wanted))
            if settings.file is not None:
                file = await LedgerFile.start(settings.file)
            ledger = cls(file, sinks)
            await ledger._recover()
        except BaseException:
            if file is not None:
                await file.end()
            for sink in sinks:
                sink.end()
            raise
        return ledger

    async def open(self, record: UsageRecord) -> bool:
        """Opens a record; False where there was one of this id.

        Raises:
            LedgerError: it is not open, or what was to be closed before it cannot be.
        """
        if record.id in self._running or record.id in self._unclosed:
            return False
        with self._told():
            await self._catch_up()
            if self._file is not None and not await self._file.open(record):
                return False
        self._running[record.id] = record
        return True

    def checkpoint(self, record: UsageRecord) -> bool:
        """Writes the figures of an open record, if that can be done at once; whether it was."""
        if record.id not in self._running:
            return False
        self._running[record.id] = record
        return self._file is None or self._file.checkpoint(record)

    async def close(self, record: UsageRecord) -> bool:
        """Closes a record; False where none of its id is open.

        Raises:
            LedgerError: it could not be written or sent yet; that is tried again.
        """
        if self._running.pop(record.id, None) is None:
            return False
        with self._told():
            if len(self._unclosed) >= MOST_LATE:
                # With a file it is still open there, and will be closed as interrupted.
                raise LedgerError(f"{MOST_LATE} records wait to be closed")
            self._unclosed[record.id] = record
            await self._catch_up()
            if self._clock() >= self._recover_at:
                self._recover_at = self._clock() + RECOVER
                await self._recover()
        return True

    async def end(self) -> None:
        """Closes the ledger; what is still open is closed as interrupted. Does not raise."""
        with contextlib.suppress(LedgerError):
            await self._catch_up()
        if self._file is not None:
            left = await self._file.end()
        else:
            left = [record.interrupted() for record in self._running.values()]
        self._running.clear()
        with contextlib.suppress(LedgerError):
            self._send(left)
        # Daemon threads, for a collector that does not answer would otherwise keep the process from its exit.
        threads = [threading.Thread(target=sink.end, daemon=True) for sink in self._sinks]
        for thread in threads:
            thread.start()
        deadline = time.monotonic() + _ENDING
        for thread in threads:
            await asyncio.to_thread(thread.join, max(deadline - time.monotonic(), 0.0))

    @contextlib.contextmanager
    def _told(self) -> Iterator[None]:
        """Logs what fails, now and then: the exchange's own trail has only that something did."""
        try:
            yield
        except LedgerError as error:
            if self._clock() >= self._quiet_until:
                self._quiet_until = self._clock() + QUIET
                _LOG.error("the ledger fails; the policy's on_error decides: %s", error)
            raise

    async def _catch_up(self) -> None:
        """Writes and sends what is closed and was not yet.

        Raises:
            LedgerError: that does not work.
        """
        while self._unclosed:
            id = next(iter(self._unclosed))
            record = self._unclosed[id]
            closed = self._file is None or await self._file.close(record)
            # Another exchange may have caught up with it in the meantime: then it is closed there, and sent.
            if self._unclosed.pop(id, None) is not None and closed:
                self._unsent += [(sink, record) for sink in self._sinks]
        self._send(())

    async def _recover(self) -> None:
        if self._file is not None:
            self._send(await self._file.recover())

    def _send(self, records: Sequence[UsageRecord]) -> None:
        """Sends records, after those that wait.

        Raises:
            LedgerError: a sink does not take them.
        """
        self._unsent += [(sink, record) for record in records for sink in self._sinks]
        del self._unsent[: max(len(self._unsent) - MOST_LATE, 0)]
        while self._unsent:
            sink, record = self._unsent[0]
            sink.send(record)
            del self._unsent[0]


def _sink(wanted: JsonlSettings | OtlpSettings) -> Sink:
    if isinstance(wanted, JsonlSettings):
        return StandardOutput() if wanted.path is None else JsonlFile(wanted.path)
    from ext_proc.ledger.otlp import OtlpLogs, otlp_processor  # a tenth of a second, for those who want it

    return OtlpLogs(otlp_processor(wanted.endpoint))
