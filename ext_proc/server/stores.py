"""The stores that are open: one per distinct settings, over reloads, until nobody needs it.

Rules:
- A store is opened before the bundle that names it comes into force, and kept for as long as that bundle is in force or
  an exchange runs that began under it.
- What it does is counted and timed. That it fails, and that it works again, is logged, once each.
- At the start a Redis that cannot be reached is no error: what needs no store is served, and the rest is decided by
  each policy's `on_error`. A reload would replace a bundle that works, so there it is one.

Not here: what a store is (stores/store.py), which one a bundle names (bundle/store_settings.py).
"""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Final, TypeVar

from ext_proc.stores.settings import EmbeddedSettings, StoreSettings
from ext_proc.stores.store import NO_STORE, Count, Counted, Entry, Key, Store, StoreError, Write
from ext_proc.telemetry.log import Log, fault
from ext_proc.telemetry.metrics import Metrics

QUIET: Final = 10.0  # seconds between two log lines that say that a store fails

Result = TypeVar("Result")


@dataclass(frozen=True, slots=True)
class Opened:
    """A store that was opened.

    Attributes:
        warnings: what an operator should know of it.
        silence: why it does not answer yet; "" where it does.
    """

    store: Store
    warnings: Sequence[str] = ()
    silence: str = ""


async def open_store(settings: StoreSettings, must_answer: bool) -> Opened:
    """Opens the store with these settings.

    Args:
        must_answer: whether a server that cannot be reached is an error.

    Raises:
        StoreError: it cannot be used; the text says why.
    """
    if isinstance(settings, EmbeddedSettings):
        from ext_proc.stores.embedded import EmbeddedStore

        return Opened(await EmbeddedStore.open(settings))
    from ext_proc.stores.redis import RedisStore  # a tenth of a second, for those who want it

    store = await RedisStore.open(settings, must_answer=must_answer)
    return Opened(store, store.warnings, store.silence)


class WatchedStore:
    """A store whose operations are counted, timed, and logged where they begin or cease to fail.

    Args:
        kind: "embedded" or "redis".
        clock: monotonic seconds.
    """

    def __init__(
        self, store: Store, kind: str, metrics: Metrics, log: Log, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self.kind = kind
        self._store = store
        self._metrics = metrics
        self._log = log
        self._clock = clock
        self._up = True
        self._told = True
        self._quiet_until = float("-inf")
        metrics.store_up(kind, True)

    async def read(self, keys: Sequence[Key]) -> Sequence[Entry | None]:
        return await self._watch("read", self._store.read(keys), lambda _: "ok")

    async def write(self, writes: Sequence[Write]) -> bool:
        return await self._watch("write", self._store.write(writes), lambda done: "ok" if done else "conflict")

    async def count(self, counts: Sequence[Count]) -> Counted:
        counted = self._store.count(counts)
        return await self._watch("count", counted, lambda found: "ok" if found.passed is None else "limited")

    async def close(self) -> None:
        await self._store.close()

    def turned(self, up: bool, reason: str = "") -> None:
        """Notes whether it works."""
        if up == self._up:
            return
        self._up = up
        self._metrics.store_up(self.kind, up)
        if up and self._told:
            self._log.info("the store works again", store=self.kind)
        if not up:
            self._told = self._clock() >= self._quiet_until
            if self._told:
                self._quiet_until = self._clock() + QUIET
                self._log.error("the store fails; each policy's on_error decides", store=self.kind, reason=reason)

    async def _watch(self, operation: str, doing: Awaitable[Result], result_of: Callable[[Result], str]) -> Result:
        began = self._clock()
        result = "cancelled"
        try:
            done = await doing
            result = result_of(done)
            self.turned(True)
            return done
        except StoreError as error:
            result = "failed"
            self.turned(False, str(error))
            raise
        except Exception:
            result = "failed"  # of whoever asked: outside of the interface's bounds
            raise
        finally:
            self._metrics.store_operation(self.kind, operation, result, self._clock() - began)


class Stores:
    """Opens stores, and closes those that nobody needs.

    Args:
        opener: opens one; see `open_store`.
    """

    def __init__(
        self,
        metrics: Metrics,
        log: Log,
        opener: Callable[[StoreSettings, bool], Awaitable[Opened]] = open_store,
    ) -> None:
        self._metrics = metrics
        self._log = log
        self._opener = opener
        self._open: dict[StoreSettings, WatchedStore] = {}
        self._current: Store = NO_STORE
        self._prepared: Store = NO_STORE  # for the bundle that is about to come into force
        self._leases: dict[str, Store] = {}  # by the trail of an exchange that runs
        self._uses: Counter[Store] = Counter()
        self._closing: set[asyncio.Task[None]] = set()

    async def prepare(self, settings: StoreSettings | None, *, must_answer: bool) -> Store:
        """The store with these settings, opened unless it is open already.

        Args:
            settings: None for no store.
            must_answer: whether a server that cannot be reached is an error.

        Raises:
            StoreError: it cannot be used; the text says why.
        """
        if settings is None:
            self._prepared = NO_STORE
        elif settings in self._open:
            self._prepared = self._open[settings]
        else:
            self._prepared = await self._opened(settings, must_answer)
        return self._prepared

    async def _opened(self, settings: StoreSettings, must_answer: bool) -> WatchedStore:
        opened = await self._opener(settings, must_answer)
        kind = "embedded" if isinstance(settings, EmbeddedSettings) else "redis"
        store = self._open[settings] = WatchedStore(opened.store, kind, self._metrics, self._log)
        for warning in opened.warnings:
            self._log.warning("the store has a weakness", store=kind, message=warning)
        if opened.silence:
            store.turned(False, opened.silence)
        return store

    def put_in_force(self, store: Store) -> None:
        """From now on exchanges begin with `store`; others are closed as soon as no exchange has them."""
        self._current, self._prepared = store, NO_STORE
        self._close_unneeded()

    def drop_prepared(self) -> None:
        """What was prepared does not come into force."""
        self._prepared = NO_STORE
        self._close_unneeded()

    def lease(self, trail_id: str) -> Store:
        """The store in force, kept open until `release`."""
        if self._current is not NO_STORE:
            self._leases[trail_id] = self._current
            self._uses[self._current] += 1
        return self._current

    def release(self, trail_id: str) -> None:
        """The exchange is over."""
        store = self._leases.pop(trail_id, None)
        if store is None:
            return
        self._uses[store] -= 1
        if not self._uses[store]:
            del self._uses[store]
            self._close_unneeded()

    async def close(self) -> None:
        """Closes all, when nothing runs any more."""
        self._leases.clear()
        self._uses.clear()
        self.put_in_force(NO_STORE)
        if self._closing:
            await asyncio.wait(self._closing)

    def _close_unneeded(self) -> None:
        for settings, store in list(self._open.items()):
            if store not in (self._current, self._prepared) and store not in self._uses:
                del self._open[settings]
                task = asyncio.get_running_loop().create_task(self._close(store))
                self._closing.add(task)
                task.add_done_callback(self._closing.discard)
                if store.kind not in {other.kind for other in self._open.values()}:
                    self._metrics.store_gone(store.kind)

    async def _close(self, store: WatchedStore) -> None:
        try:
            await store.close()
        except Exception as error:
            self._log.error("a store was not closed in order", store=store.kind, **fault(error))
