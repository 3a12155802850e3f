"""The bundle in force, and how a new one takes its place.

Rules:
- A bundle that does not load never replaces one that did.
- The swap is one assignment: an exchange takes the rulebook at its start and ends under it.
- The store that a bundle names, and what its policies keep open, are opened before it comes into force; what cannot be
  opened keeps it out.
- Loading runs in a thread, one at a time; a request that comes meanwhile is served by one more load after it.

Not here: what a bundle may say (bundle/), signals (run.py).
"""

from __future__ import annotations

import asyncio
import gc
from collections.abc import Callable
from pathlib import Path

from ext_proc.engine.route import Rulebook
from ext_proc.errors import BundleError
from ext_proc.server.aio import message_length
from ext_proc.server.keys import Keys
from ext_proc.server.openings import OpeningError, Openings
from ext_proc.server.stores import Stores
from ext_proc.stores.store import StoreError
from ext_proc.telemetry.log import Log, fault
from ext_proc.telemetry.metrics import Metrics

Load = Callable[[Path], Rulebook]


class Bundles:
    """Holds the rulebook in force.

    Args:
        load: reads a bundle; raises BundleError.
        stores: opens the stores that bundles name.
        openings: opens their policies.
        keys: keeps the keys of the issuers that bundles name up to date.
        max_message: the gRPC message length that the server was started with, in bytes.
    """

    def __init__(
        self,
        path: Path,
        rulebook: Rulebook,
        *,
        load: Load,
        stores: Stores,
        openings: Openings,
        keys: Keys,
        metrics: Metrics,
        log: Log,
        max_message: int,
    ) -> None:
        self.current = rulebook
        self._path = path
        self._load = load
        self._stores = stores
        self._openings = openings
        self._keys = keys
        self._metrics = metrics
        self._log = log
        self._max_message = max_message
        self._wanted = False
        self._loading: asyncio.Task[None] | None = None
        metrics.in_force(rulebook.name, rulebook.revision)

    async def start(self) -> None:
        """Opens the store and the policies of the first bundle, and has its issuers' keys.

        Raises:
            StoreError: the store cannot be used.
            OpeningError: a policy cannot be opened.
        """
        self._stores.put_in_force(await self._stores.prepare(self.current.store, must_answer=False))
        self._openings.put_in_force(await self._openings.prepare(self.current))
        await self._keys.use(self.current.identity.chain.key_sets)

    def request(self) -> None:
        """Asks for a reload, without waiting for it."""
        self._wanted = True
        if self._loading is None:
            self._loading = asyncio.get_running_loop().create_task(self._reload_while_wanted())

    async def _reload_while_wanted(self) -> None:
        try:
            while self._wanted:
                self._wanted = False
                await self.reload()
        finally:
            self._loading = None

    async def reload(self) -> None:
        """Loads the bundle anew and puts it in force; what is wrong with it is logged, and the one in force stays."""
        try:
            rulebook = await asyncio.to_thread(self._load, self._path)
            store = await self._stores.prepare(rulebook.store, must_answer=True)
            opened = await self._openings.prepare(rulebook)
        except BundleError as error:
            self._kept(problems=[str(problem) for problem in error.problems])
            return
        except (StoreError, OpeningError) as error:
            self._kept(problems=[str(error)])
            return
        except Exception as error:
            self._kept(**fault(error))
            return
        # A bundle in force has its keys, and knows what the one before has seen of credentials.
        await self._keys.use(rulebook.identity.chain.key_sets)
        rulebook.identity.chain.take_over(self.current.identity.chain)
        before, self.current = self.current, rulebook
        self._stores.put_in_force(store)
        self._openings.put_in_force(opened)
        self._metrics.reloaded(ok=True)
        self._metrics.in_force(rulebook.name, rulebook.revision)
        self._log.info(
            "bundle reloaded", name=rulebook.name, revision=rulebook.revision, previous_revision=before.revision
        )
        if message_length(rulebook.limits) > self._max_message:
            self._log.warning(
                "the new limits need longer gRPC messages; a restart lets them through", limit=self._max_message
            )
        settle_heap()

    def _kept(self, **facts: object) -> None:
        self._stores.drop_prepared()
        self._metrics.reloaded(ok=False)
        self._log.error("bundle not reloaded; the one in force stays", revision=self.current.revision, **facts)


def settle_heap() -> None:
    """Takes all that lives now out of the garbage collector's sight, so that its passes stay short while serving."""
    gc.unfreeze()
    gc.collect()
    gc.freeze()
