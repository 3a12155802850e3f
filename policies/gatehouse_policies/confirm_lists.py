"""Lists of requests that wait for a yes, so that whoever may say it finds them without their links.

Rules:
- There is one list for each principal, or one for all approvers. It holds ids; a request is read from its own record,
  signed, and shown to nobody who may not decide it.
- The newest MOST are listed, MOST_OF_ONE of one principal: who asks for much pushes out their own. Those that ended go
  with the next one that comes.
- It is no more than a help: where others write the same list again and again, a request is not listed, and its link
  leads to it all the same.

Not here: what waits (confirm_requests.py), what the list looks like (confirm_page.py).
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from typing import NamedTuple, Protocol

from ext_proc.policy import ABSENT, Key, Keyspace, Write

MOST = 64
MOST_OF_ONE = 16
_ATTEMPTS = 4


class Listed(Protocol):
    """What a list holds of a request; times in seconds since the Unix epoch."""

    @property
    def id(self) -> str: ...

    @property
    def principal(self) -> str: ...

    @property
    def until(self) -> float: ...


class _Line(NamedTuple):
    id: str
    principal: str
    until: float


class Lists:
    """The lists of one policy; `whose` is a text for who may say yes."""

    async def add(self, whose: str, request: Listed, store: Keyspace, time: float) -> None:
        """Lists a request.

        Raises:
            StoreError: the store failed.
        """
        line = _Line(request.id, request.principal, request.until)

        def added(lines: Sequence[_Line]) -> Sequence[_Line]:
            of_one = [other for other in lines if other.principal == line.principal]
            crowded_out = {other.id for other in of_one[: max(len(of_one) + 1 - MOST_OF_ONE, 0)]}
            return [*(other for other in lines if other.id not in crowded_out), line][-MOST:]

        await self._change(whose, added, store, time)

    async def remove(self, whose: str, id: str, store: Keyspace, time: float) -> None:
        """Takes a request off its list.

        Raises:
            StoreError: the store failed.
        """
        await self._change(whose, lambda lines: [line for line in lines if line.id != id], store, time)

    async def ids(self, whose: str, store: Keyspace, time: float) -> Sequence[str]:
        """What is listed, the newest first.

        Raises:
            StoreError: the store failed.
        """
        lines, _ = await _read(_key(whose), store, time)
        return [line.id for line in reversed(lines)]

    async def _change(
        self, whose: str, change: Callable[[Sequence[_Line]], Sequence[_Line]], store: Keyspace, time: float
    ) -> None:
        key = _key(whose)
        for _ in range(_ATTEMPTS):
            lines, version = await _read(key, store, time)
            changed = change(lines)
            value = json.dumps(changed).encode() if changed else None
            last = max((line.until - time for line in changed), default=0.0)
            if await store.write([Write(key, value, last if changed else None, expected=version)]):
                return


async def _read(key: Key, store: Keyspace, time: float) -> tuple[Sequence[_Line], int]:
    """The lines that have not ended, the oldest first, and the version of the record."""
    entry = await store.get(key)
    if entry is None:
        return [], ABSENT
    lines = [_Line(*line) for line in json.loads(entry.value)]
    return [line for line in lines if line.until > time], entry.version


def _key(whose: str) -> Key:
    return Key(whose, "waiting")
