"""What the running Gatehouse has on record, asked of its admin endpoint.

Rules:
- An exchange is on record when it is over, which may be a moment after the client's answer: it is waited for.
- A denied client was told the trail's id, and is looked up by it. Any other exchange is known by its method and target,
  and by not having been there before. A step may lead to several such exchanges, of which the last need not be on
  record yet when its client has the answer: what the step expects is waited for among them.
- What no route governs leaves no decision; that it came through Gatehouse is seen in the metrics.

Not here: what must be on record (steps.py).
"""

from __future__ import annotations

import asyncio
import json
import urllib.request
from collections.abc import Callable, Mapping
from typing import Any, TypeVar
from urllib.parse import quote

from prometheus_client.parser import text_string_to_metric_families

_INTERVAL = 0.02  # seconds
_LOOKS = 150  # three seconds and a little
_AT_MOST = 200  # decisions that one step can lead to, and many more

Decision = dict[str, Any]
# Method and target; a target of None is any.
Exchange = tuple[str, str | None]
T = TypeVar("T")


def is_about(decision: Mapping[str, Any], exchange: Exchange) -> bool:
    """Whether a decision is about this method and target."""
    method, target = exchange
    return bool(decision["method"] == method and target in (None, decision["target"]))


class Record:
    """The record of one process.

    Args:
        admin_url: the admin endpoint, e.g. "http://127.0.0.1:9902".
    """

    def __init__(self, admin_url: str) -> None:
        self._url = admin_url
        # The environment's proxy is not asked: the address is on this machine.
        self._opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))

    def mark(self) -> Mark:
        """Where the record stands now."""
        return Mark(frozenset(decision["id"] for decision in self._governed()), self._ungoverned())

    async def by_id(self, trail_id: str) -> Decision | None:
        """The decision with this id; None if it does not come."""
        return await _wait_for(lambda: next(iter(self._decisions(f"id={quote(trail_id, safe='')}")), None))

    async def since(self, mark: Mark, exchange: Exchange, is_expected: Callable[[Decision], bool]) -> Decision | None:
        """The decision about this method and target after `mark` that is the expected one.

        Where that one does not come it is the latest about them, and None if there is none.
        """

        def new() -> list[Decision]:
            return [found for found in self._governed() if found["id"] not in mark.known and is_about(found, exchange)]

        expected = await _wait_for(lambda: next(filter(is_expected, new()), None))
        return expected if expected is not None else next(iter(new()), None)

    def has_passed(self, mark: Mark) -> bool:
        """Whether an exchange that no route governs ended after `mark`."""
        return self._ungoverned() > mark.ungoverned

    async def passed(self, mark: Mark) -> bool:
        """As `has_passed`, but waits for it."""
        return await _wait_for(lambda: self.has_passed(mark) or None) or False

    def _governed(self) -> list[Decision]:
        return [decision for decision in self._decisions(f"limit={_AT_MOST}") if decision["route"]]

    def _decisions(self, query: str) -> list[Decision]:
        found: list[Decision] = json.loads(self._get(f"/decisions?{query}"))["decisions"]
        return found

    def _ungoverned(self) -> float:
        families = text_string_to_metric_families(self._get("/metrics"))
        return sum(
            sample.value
            for family in families
            for sample in family.samples
            if sample.name == "gatehouse_exchanges_total" and not sample.labels["route"]
        )

    def _get(self, path: str) -> str:
        with self._opener.open(self._url + path, timeout=5) as answer:
            return str(answer.read().decode())


class Mark:
    """A moment in the record: the ids known by then, and how many exchanges had passed ungoverned."""

    __slots__ = ("known", "ungoverned")

    def __init__(self, known: frozenset[str], ungoverned: float) -> None:
        self.known = known
        self.ungoverned = ungoverned


async def _wait_for(look: Callable[[], T | None]) -> T | None:
    """What `look` finds, at the last after so many looks; None if that is nothing."""
    for _ in range(_LOOKS):
        if (found := look()) is not None:
            return found
        await asyncio.sleep(_INTERVAL)
    return look()
