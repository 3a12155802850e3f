"""Keeps issuers' keys up to date: fetches key sets, looks at key files, and hands both to the bundle in force.

Rules:
- One fetch at a time for each origin, shared by all who wait for it; tokens with unknown keys start at most one in each
  `cooldown`.
- Keys that cannot be had anew stay, for as long as their key set lets them. A failure is logged when it begins and when
  it changes, not each time.
- A document is remembered across a reload: a new bundle with the same origin begins with its keys.
- All of it runs on one event loop; only `refresh` may be called from another thread.

Not here: what a key set is (credentials/keys.py), HTTP (fetch.py).
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from ext_proc.bundle.identities import read_key_file
from ext_proc.credentials.keys import (
    MAX_BYTES,
    FileOrigin,
    JwksError,
    KeySet,
    UrlOrigin,
    VerificationKey,
    read_jwks,
)
from ext_proc.server.fetch import FetchError, fetch_in_thread
from ext_proc.telemetry.log import Log, fault
from ext_proc.telemetry.metrics import Metrics

FIRST = 5.0  # seconds that a start or a reload waits for keys that were never had
LOOK = 2.0  # seconds between two looks at a file
LOOK_AGAIN = 0.5  # seconds that must lie between, where a token asks for keys that are not known

Fetch = Callable[[str, float, int], Awaitable[bytes]]


@dataclass(slots=True)
class _Latest:
    """The last keys that were had, and when (seconds since the Unix epoch)."""

    keys: Sequence[VerificationKey]
    time: float


class Keys:
    """The origins of the bundle in force.

    Args:
        fetch: takes URL, timeout in seconds and the most bytes; raises FetchError.
        clock: monotonic seconds.
        wall: seconds since the Unix epoch.
    """

    def __init__(
        self,
        metrics: Metrics,
        log: Log,
        *,
        fetch: Fetch = fetch_in_thread,
        clock: Callable[[], float] = time.monotonic,
        wall: Callable[[], float] = time.time,
    ) -> None:
        self.metrics = metrics
        self.log = log
        self.fetch = fetch
        self.clock = clock
        self.wall = wall
        self._feeds: dict[FileOrigin | UrlOrigin, _Feed] = {}

    async def use(self, key_sets: Iterable[KeySet], seconds: float = FIRST) -> None:
        """Keeps `key_sets` up to date from now on, and no others; returns once each was tried, or `seconds` later.

        Does not raise: a key set without keys refuses tokens until it has some.
        """
        before, self._feeds = self._feeds, {}
        for key_set in key_sets:
            origin = key_set.origin
            if origin is None:
                continue
            if origin not in self._feeds:
                self._feeds[origin] = before.pop(origin) if origin in before else self._feed(origin, before)
                self._feeds[origin].next_bundle()
            self._feeds[origin].serve(key_set)
        for feed in before.values():
            await feed.close()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                for feed in self._feeds.values():
                    await feed.tried_once.wait()

    async def close(self) -> None:
        """Ends all that is under way."""
        for feed in self._feeds.values():
            await feed.close()
        self._feeds.clear()

    def _feed(self, origin: FileOrigin | UrlOrigin, before: dict[FileOrigin | UrlOrigin, _Feed]) -> _Feed:
        """A feed of an origin that is new, or new in its settings only: then it begins with what was had."""
        if isinstance(origin, FileOrigin):
            return _Feed(self, str(origin.path), _KeyFile(origin.path), LOOK, LOOK_AGAIN)
        load = _KeyUrl(origin.url, origin.timeout, self.fetch)
        feed = _Feed(self, origin.url, load, origin.refresh, origin.cooldown)
        for other, old in before.items():
            if isinstance(other, UrlOrigin) and other.url == origin.url and old.latest is not None:
                feed.latest = old.latest
        return feed


class _KeyUrl:
    """A URL, fetched once at a time, also where a fetch goes on after nobody waits for it any more."""

    def __init__(self, url: str, timeout: float, fetch: Fetch) -> None:
        self._url = url
        self._timeout = timeout
        self._fetch = fetch
        self._under_way: asyncio.Future[bytes] | None = None

    async def __call__(self) -> bytes | None:
        """The document.

        Raises:
            FetchError, TimeoutError: it cannot be had.
        """
        if self._under_way is not None and not self._under_way.done():
            raise FetchError("it still has not answered the request before")
        self._under_way = asyncio.ensure_future(self._fetch(self._url, self._timeout, MAX_BYTES))
        # Looked at here, so that a late failure is none that nobody looked at.
        self._under_way.add_done_callback(lambda done: done.cancelled() or done.exception())
        async with asyncio.timeout(self._timeout):
            return await asyncio.shield(self._under_way)


class _KeyFile:
    """A file that is read when it changed."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._seen: tuple[int, ...] = ()

    async def __call__(self) -> bytes | None:
        """The file's bytes; None where it is as it was.

        Raises:
            JwksError: it cannot be read.
        """
        return await asyncio.to_thread(self._read)

    def forget(self) -> None:
        """The next look reads the file, whether it changed or not."""
        self._seen = ()

    def _read(self) -> bytes | None:
        try:
            found = self._path.stat()
            seen: tuple[int, ...] = (found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns)
        except OSError:
            seen = ()
        if seen and seen == self._seen:
            return None
        self._seen = seen
        return read_key_file(self._path)


class _Feed:
    """One origin: its task, its last keys, and the key sets that it serves."""

    def __init__(
        self, owner: Keys, name: str, load: Callable[[], Awaitable[bytes | None]], interval: float, cooldown: float
    ) -> None:
        self.latest: _Latest | None = None
        self._owner = owner
        self._name = name
        self._load = load
        self._interval = interval
        self._cooldown = cooldown
        # Of the bundle before, too: an exchange that began under it may still wait for its keys.
        self._before: list[KeySet] = []
        self._now: list[KeySet] = []
        self._tried = float("-inf")
        self._trouble = ""
        self._loading: asyncio.Task[None] | None = None
        self.tried_once = asyncio.Event()
        self._keeping = asyncio.get_running_loop().create_task(self._keep())

    def next_bundle(self) -> None:
        """What is served from now on is of the next bundle."""
        self._before, self._now = self._now, []
        if isinstance(self._load, _KeyFile):
            # The bundle may have read the file before the last look at it, and then it has the keys before these.
            self._load.forget()

    def serve(self, key_set: KeySet) -> None:
        """Hands keys to `key_set` from now on, and at once those that were fetched already."""
        key_set.refresher = self.refresh
        self._now.append(key_set)
        # A file was read with the bundle, which may be later than we last looked at it.
        if self.latest is not None and isinstance(key_set.origin, UrlOrigin):
            key_set.install(self.latest.keys, self.latest.time)

    def refresh(self) -> Awaitable[None] | None:
        """Waits for keys that are had now; None where they were a moment ago."""
        if self._loading is None and self._owner.clock() - self._tried < self._cooldown:
            return None
        return self._refreshed()

    async def close(self) -> None:
        """Ends its tasks."""
        for task in (self._keeping, self._loading):
            if task is not None:
                task.cancel()
                with contextlib.suppress(asyncio.CancelledError):
                    await task

    async def _keep(self) -> None:
        if self.latest is None:
            await self._refreshed()
        self.tried_once.set()
        while True:
            failing = bool(self._trouble)
            await asyncio.sleep(min(self._interval, max(self._cooldown, LOOK)) if failing else self._interval)
            await self._refreshed()

    async def _refreshed(self) -> None:
        if self._loading is None:
            self._loading = asyncio.get_running_loop().create_task(self._try())
        # Whoever waits may give up; the fetch goes on for the others.
        await asyncio.shield(self._loading)

    async def _try(self) -> None:
        self._tried = self._owner.clock()
        began = self._owner.wall()
        try:
            document = await self._load()
            if document is not None:
                self._take(read_jwks(document), began)
        except (FetchError, JwksError, TimeoutError) as error:
            self._failed(str(error) or "it did not answer in time")
        except Exception as error:
            self._failed("a fault of the gateway's own", **fault(error))
        finally:
            self._loading = None

    def _take(self, keys: Sequence[VerificationKey], began: float) -> None:
        before = {key.thumbprint for key in self.latest.keys} if self.latest is not None else None
        self.latest = _Latest(keys, began)
        for key_set in (*self._before, *self._now):
            key_set.install(keys, began)
        self._owner.metrics.keys_refreshed(ok=True)
        if self._trouble or before != {key.thumbprint for key in keys}:
            self._owner.log.info("keys in force", origin=self._name, keys=[key.key_id or "" for key in keys])
        self._trouble = ""

    def _failed(self, reason: str, **facts: object) -> None:
        self._owner.metrics.keys_refreshed(ok=False)
        if reason != self._trouble:
            self._owner.log.warning("keys cannot be had; those before stay", origin=self._name, reason=reason, **facts)
        self._trouble = reason
