"""`gatehouse serve`: starts the process, keeps it, drains it.

Rules:
- A bundle, a store, a policy or an address that cannot be used ends the start with sentences and exit code 1.
- SIGHUP reloads. SIGTERM or SIGINT drains: not ready first, then no new exchanges, then what runs may finish; exit
  code 0. A second one ends the drain at once.

Not here: what a bundle may say (bundle/), gRPC (aio.py).
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import signal
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

from ext_proc.bundle.load import examine
from ext_proc.engine.exchange import Exchange
from ext_proc.engine.route import Rulebook
from ext_proc.errors import BundleError
from ext_proc.server.address import Address, AddressError, parse_address, parse_tcp_address
from ext_proc.server.admin import Admin
from ext_proc.server.aio import AioServer
from ext_proc.server.http import HttpServer
from ext_proc.server.keys import Keys
from ext_proc.server.openings import OpeningError, Openings
from ext_proc.server.pages import Pages, unserved
from ext_proc.server.reload import Bundles, settle_heap
from ext_proc.server.settings import Settings
from ext_proc.server.stores import Stores
from ext_proc.server.trail_id import new_trail_id
from ext_proc.stores.store import StoreError
from ext_proc.telemetry.history import History
from ext_proc.telemetry.log import LEVELS, Log, StandardLibraryHandler, decision_log, json_log
from ext_proc.telemetry.metrics import Metrics
from ext_proc.telemetry.recorder import Recorder, View, governed_only
from ext_proc.trail import Trail

_SPANS_CLOSE = 5.0  # seconds that a collector gets for the last spans
_VISITS_CLOSE = 2.0  # seconds that visits to pages get to end, when all exchanges have


def serve(settings: Settings) -> int:
    """Serves until SIGTERM or SIGINT.

    Returns:
        The exit code: 0 after a drain, 1 where it could not start.
    """
    if settings.log_level not in LEVELS:
        print(f"unknown log level {settings.log_level!r}; there are {', '.join(LEVELS)}", file=sys.stderr)
        return 1
    log = json_log(sys.stderr.buffer, settings.log_level)
    logging.basicConfig(handlers=[StandardLibraryHandler(log)], level=logging.WARNING, force=True)
    try:
        rulebook = _load(settings.bundle, log, bool(settings.pages))
    except BundleError as error:
        for problem in error.problems:
            print(problem, file=sys.stderr)
        return 1
    settle_heap()
    with asyncio.Runner(loop_factory=_loop_factory()) as runner:
        try:
            runner.run(_run(settings, rulebook, log))
        except (AddressError, OpeningError, StoreError) as error:
            print(error, file=sys.stderr)
            return 1
    return 0


def _load(path: Path, log: Log, has_listener: bool) -> Rulebook:
    """The bundle at `path`, its warnings logged.

    Args:
        has_listener: whether pages of policies are served.

    Raises:
        BundleError: it cannot be used.
    """
    found = examine(path)
    if found.rulebook is None:
        raise BundleError(found.problems)
    for warning in found.warnings:
        log.warning("the bundle has a weakness", path=warning.path, message=warning.message)
    misfit = unserved(found.rulebook, has_listener)
    if misfit:
        log.warning("pages and their listener do not fit", message=misfit)
    return found.rulebook


def _loop_factory() -> Callable[[], asyncio.AbstractEventLoop] | None:
    try:
        import uvloop  # has no wheels for every platform
    except ImportError:
        return None
    return uvloop.new_event_loop


async def _run(settings: Settings, rulebook: Rulebook, log: Log) -> None:
    await _Process(settings, rulebook, log).run()  # made here, for gRPC's server takes the running loop


class _Process:
    """Everything wired, for one run. To be made on the running loop."""

    def __init__(self, settings: Settings, rulebook: Rulebook, log: Log) -> None:
        self._settings = settings
        self._log = log
        self._draining = False
        self._last_look = float("-inf")
        self._stop = asyncio.Event()
        self._hurry = asyncio.Event()
        metrics = Metrics(settings.region)
        history = History()
        decisions = json_log(sys.stdout.buffer)
        views: dict[str, View] = {
            "decision log": governed_only(decision_log(decisions, settings.region)),
            "history": governed_only(history.record),
            "metrics": metrics.record,
        }
        self._close_spans: Callable[[], None] | None = None
        if settings.otlp_endpoint:
            from ext_proc.telemetry.spans import Spans, otlp_processor  # a tenth of a second, for those who want it

            spans = Spans(otlp_processor(settings.otlp_endpoint), settings.region)
            views["spans"] = spans.record
            self._close_spans = spans.close
        self._recorder = Recorder(views, log)
        self._stores = Stores(metrics, log)
        self._openings = Openings(self._stores, log)
        self._keys = Keys(metrics, log)
        self._server = AioServer(self._open_exchange, self._record, log, limits=rulebook.limits)
        metrics.track_active(lambda: self._server.active)
        self._bundles = Bundles(
            settings.bundle,
            rulebook,
            load=lambda path: _load(path, log, bool(settings.pages)),
            stores=self._stores,
            openings=self._openings,
            keys=self._keys,
            metrics=metrics,
            log=log,
            max_message=self._server.max_message,
        )
        admin = Admin(
            rulebook=lambda: self._bundles.current,
            ready=self._is_ready,
            metrics=metrics,
            history=history,
            region=settings.region,
        )
        self._http = HttpServer(admin.handle, log)
        pages = Pages(
            rulebook=lambda: self._bundles.current,
            leases=self._openings,
            metrics=metrics,
            log=log,
            decisions=decisions,
            region=settings.region,
        )
        self._pages = HttpServer(pages.handle, log, kind=pages.kind)

    async def run(self) -> None:
        """Returns when the drain is over.

        Raises:
            AddressError: an address cannot be read or had.
            OpeningError: a policy cannot be opened.
            StoreError: the bundle's store cannot be used.
        """
        settings = self._settings
        address = parse_address(settings.listen)
        admin: Address | None = parse_tcp_address(settings.admin) if settings.admin else None
        pages = parse_address(settings.pages) if settings.pages else None
        loop = asyncio.get_running_loop()
        loop.add_signal_handler(signal.SIGHUP, self._bundles.request)
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._terminate)
        try:
            await self._bundles.start()
            if admin is not None:
                admin = await self._http.start(admin)
            if pages is not None:
                pages = await self._pages.start(pages)
            address = await self._server.start(address)
            rulebook = self._bundles.current
            self._log.info(
                "serving",
                listen=str(address),
                admin=str(admin or ""),
                pages=str(pages or ""),
                bundle=rulebook.name,
                revision=rulebook.revision,
                region=settings.region,
            )
            await self._stop.wait()
            await self._drain()
        finally:
            await self._pages.stop(_VISITS_CLOSE)
            await self._http.stop()
            await self._keys.close()
            await self._openings.close()
            await self._stores.close()

    def _open_exchange(self) -> Exchange:
        trail_id = new_trail_id()
        return Exchange(self._bundles.current, trail_id, self._openings.lease(trail_id))

    def _record(self, trail: Trail) -> None:
        """Takes the trail of an exchange that is over."""
        self._openings.release(trail.id)
        self._recorder.record(trail)

    def _is_ready(self) -> bool:
        self._last_look = time.monotonic()
        return not self._draining

    def _terminate(self) -> None:
        if self._stop.is_set():
            self._hurry.set()
        self._stop.set()

    def _moment(self, longest: float, now: float) -> float:
        """The seconds for those who look at health or send exchanges to learn that this process leaves.

        Whoever comes every so often has come within the last `longest`, or would not come within the next one either.
        """
        if self._server.health.watched:
            return longest
        last = max(self._server.last_call, self._last_look)
        return max(last + longest - now, 0.0)

    async def _drain(self) -> None:
        """Not ready; a moment for those who look at it; no new exchanges; what runs may finish."""
        began = time.monotonic()
        seconds = self._settings.drain_seconds
        moment = self._moment(seconds / 10, began)
        self._draining = True
        self._server.health.set(False)
        self._log.info("draining", seconds=seconds, active=self._server.active)
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._hurry.wait(), moment)
        left = 0.0 if self._hurry.is_set() else seconds - (time.monotonic() - began)
        stopping = asyncio.ensure_future(self._server.stop(left))
        hurrying = asyncio.ensure_future(self._hurry.wait())
        await asyncio.wait((stopping, hurrying), return_when=asyncio.FIRST_COMPLETED)
        self._server.hurry()
        hurrying.cancel()
        finished = await stopping
        if self._close_spans is not None:
            # A daemon thread, for a collector that does not answer would otherwise keep the process from its exit.
            closing = threading.Thread(target=self._close_spans, daemon=True)
            closing.start()
            await asyncio.to_thread(closing.join, _SPANS_CLOSE)
        self._log.info("drained", finished=finished)
