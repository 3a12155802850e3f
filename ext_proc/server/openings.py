"""What policies keep open while their bundle is in force: opened before, closed when nobody runs under it any more.

Rules:
- All policies of a bundle open, or none is: where one cannot, those before it are closed again, and the bundle is kept
  out with a sentence.
- An exchange, and a visit to a page, leases the bundle that it began under with the store: both go when the last of
  them is over.
- A policy that does not close in time, or raises, is logged, and holds up nobody.

Not here: what a policy opens (the policy), stores (stores.py).
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Sequence
from typing import Any, Protocol

from ext_proc.engine.route import Rulebook
from ext_proc.errors import GatehouseError
from ext_proc.policy import OPENING, Policy
from ext_proc.stores.store import Store
from ext_proc.telemetry.log import Log, fault

MAX_TEXT = 500  # characters of what a policy says


class OpeningError(GatehouseError):
    """A policy cannot be opened; the text names it and says why."""


class Leases(Protocol):
    """What an exchange, or a visit, takes at its beginning and gives back at its end."""

    def lease(self, trail_id: str) -> Store: ...

    def release(self, trail_id: str) -> None: ...


class Openings:
    """Opens policies, and closes those that nobody needs.

    Args:
        stores: leased together with the policies.
    """

    def __init__(self, stores: Leases, log: Log, opening: float = OPENING) -> None:
        self._stores = stores
        self._log = log
        self._opening = opening
        self._current: tuple[Policy[Any, Any], ...] = ()
        self._leases: dict[str, tuple[Policy[Any, Any], ...]] = {}  # by the trail of an exchange that runs
        self._uses: Counter[tuple[Policy[Any, Any], ...]] = Counter()
        self._closing: set[asyncio.Task[None]] = set()

    async def prepare(self, rulebook: Rulebook) -> Sequence[Policy[Any, Any]]:
        """Opens the policies of a bundle that is about to come into force.

        Returns:
            What was opened, for `put_in_force` or `abandon`.

        Raises:
            OpeningError: one of them cannot be opened, and none is open.
        """
        opened: list[Policy[Any, Any]] = []
        for policy in rulebook.policies:
            if type(policy).open is Policy.open and type(policy).close is Policy.close:
                continue
            opened.append(policy)
            try:
                async with asyncio.timeout(self._opening):
                    await policy.open()
            except BaseException as error:
                await self._close(opened[:-1])
                if isinstance(error, TimeoutError):
                    raise OpeningError(f"policy {policy.name}: it did not open in {self._opening:g} s") from error
                if isinstance(error, Exception):
                    reason = str(error)[:MAX_TEXT] or type(error).__name__
                    raise OpeningError(f"policy {policy.name}: {reason}") from error
                raise
        return opened

    def put_in_force(self, opened: Sequence[Policy[Any, Any]]) -> None:
        """From now on exchanges begin under these; the ones before are closed as soon as no exchange has them."""
        before, self._current = self._current, tuple(opened)
        if before and before not in self._uses:
            self.abandon(before)

    def abandon(self, opened: Sequence[Policy[Any, Any]]) -> None:
        """Closes what was opened, and is needed by nobody."""
        task = asyncio.get_running_loop().create_task(self._close(opened))
        self._closing.add(task)
        task.add_done_callback(self._closing.discard)

    def lease(self, trail_id: str) -> Store:
        """The store in force; it, and the policies, are kept open until `release`."""
        if self._current:
            self._leases[trail_id] = self._current
            self._uses[self._current] += 1
        return self._stores.lease(trail_id)

    def release(self, trail_id: str) -> None:
        """The exchange is over."""
        self._stores.release(trail_id)
        policies = self._leases.pop(trail_id, None)
        if policies is None:
            return
        self._uses[policies] -= 1
        if not self._uses[policies]:
            del self._uses[policies]
            if policies is not self._current:
                self.abandon(policies)

    async def close(self) -> None:
        """Closes all, when nothing runs any more."""
        left = [*self._uses, *([self._current] if self._current not in self._uses else [])]
        self._leases.clear()
        self._uses.clear()
        self._current = ()
        for policies in left:
            self.abandon(policies)
        if self._closing:
            await asyncio.wait(self._closing)

    async def _close(self, opened: Sequence[Policy[Any, Any]]) -> None:
        for policy in reversed(opened):
            try:
                async with asyncio.timeout(self._opening):
                    await policy.close()
            except Exception as error:
                self._log.error("a policy was not closed in order", policy=policy.name, **fault(error))
