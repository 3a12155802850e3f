"""The end of an exchange: `on_complete`, exactly once, and the record.

Rules:
- It belongs to the server, not to the RPC, which may be cancelled at any moment: nothing here runs in the RPC's task
  once a hook has to be awaited.
- An exchange is recorded however it ended, also when its last hook failed or was cut short by the end of the drain.

Not here: how the exchange got here (driver.py).
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Generator
from typing import Any

from ext_proc.engine.checkpoint import Decision, Pending
from ext_proc.events import CloseCause, Closed, Tick
from ext_proc.server.driver import Drivable, begin, resume
from ext_proc.telemetry.log import Log, fault
from ext_proc.trail import Trail


class Completions:
    """Ends exchanges, and knows which are still at it.

    Args:
        record: takes the finished trail.
        clock: monotonic seconds.
    """

    def __init__(self, record: Callable[[Trail], None], log: Log, clock: Callable[[], float]) -> None:
        self._record = record
        self._log = log
        self._clock = clock
        self._running: set[asyncio.Task[None]] = set()

    def complete(self, exchange: Drivable, cause: CloseCause) -> None:
        """Ends `exchange`, whose RPC is over. Does not raise.

        Where no hook has to be awaited all is done on return; otherwise a task goes on with it.
        """
        try:
            exchange.receive(Tick(self._clock(), time.time()))
            exchange.receive(Closed(cause))
            waiting = self._advance(exchange)
        except (KeyboardInterrupt, SystemExit):
            raise
        except BaseException as error:  # also the panic of a native library, which is no Exception
            self._failed(exchange, error)
            return
        if waiting is None:
            self._record(exchange.trail)
            return
        task = asyncio.get_running_loop().create_task(self._finish(exchange, *waiting))
        self._running.add(task)
        task.add_done_callback(self._running.discard)

    async def drained(self, seconds: float) -> bool:
        """Waits for all that is running; past `seconds` the rest is cancelled, and recorded all the same.

        Returns:
            Whether all finished by themselves.
        """
        if not self._running:
            return True
        _, late = await asyncio.wait(self._running, timeout=max(seconds, 0.0))
        for task in late:
            task.cancel()
        if late:
            await asyncio.wait(late)
        return not late

    def _advance(self, exchange: Drivable) -> tuple[Generator[Pending, Any, Decision], Pending] | None:
        """Resolves checkpoints up to the first hook that must be awaited."""
        while (checkpoint := exchange.next_checkpoint()) is not None:
            generator = exchange.pipeline.decide(checkpoint)
            step = begin(generator)
            if isinstance(step, Pending):
                return generator, step
            exchange.resolve(step)
        return None

    async def _finish(self, exchange: Drivable, generator: Generator[Pending, Any, Decision], pending: Pending) -> None:
        try:
            waiting: tuple[Generator[Pending, Any, Decision], Pending] | None = (generator, pending)
            while waiting is not None:
                exchange.resolve(await resume(*waiting))
                waiting = self._advance(exchange)
        except asyncio.CancelledError:
            exchange.trail.note("on_complete was cut short")
            self._record(exchange.trail)
            raise
        except (KeyboardInterrupt, SystemExit):
            raise
        except BaseException as error:
            self._failed(exchange, error)
            return
        self._record(exchange.trail)

    def _failed(self, exchange: Drivable, error: BaseException) -> None:
        self._log.error("an exchange could not be completed", trail=exchange.trail.id, **fault(error))
        self._record(exchange.trail)
