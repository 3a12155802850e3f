"""The interface of a store: keyed state that outlives an exchange, shared by all who govern the same traffic.

Rules:
- One operation is atomic: all of its keys change, or none does. Its keys are of one group, so that a cluster can keep
  them in one place.
- What is written has an expiry unless it says otherwise; nothing is handed out past it.
- Entries and counters are kept apart: one key may have both.
- A counter's sum is from 0 to MAX_SUM. What is given back beyond its beginning is lost, for nobody may gain by it.
- An operation either answers in time or raises `StoreError`: whoever asked fails closed by its own `on_error`.
- Values are bytes that mean something to their owner only; a store logs neither keys nor values.

Not here: an implementation (embedded.py, redis.py), whose keys are whose (keyspace.py).
"""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Protocol

from ext_proc.errors import GatehouseError

MAX_VALUE: Final = 1024 * 1024  # bytes of one value
MAX_KEYS: Final = 64  # keys of one operation
MAX_SUM: Final = 2**53 - 1  # of a counter: as far as Lua, and so Redis' scripts, count exactly
MAX_EXPIRES: Final = 100 * 366 * 86400.0  # seconds
ABSENT: Final = 0  # the version of what is not there


class StoreError(GatehouseError):
    """The store did not do it: gone, locked, too slow, or full. Whether it did all the same is not known."""


@dataclass(frozen=True, slots=True)
class Key:
    """Where a value is.

    Attributes:
        group: what is changed together, e.g. a session's or a principal's id; any text.
        name: within the group; any text.
    """

    group: str
    name: str


@dataclass(frozen=True, slots=True)
class Entry:
    """What is kept under a key.

    Attributes:
        value: as it was written.
        version: at least 1; another one after every write, also of a key that was deleted or expired in between.
    """

    value: bytes
    version: int


@dataclass(frozen=True, slots=True)
class Write:
    """One change.

    Attributes:
        value: at most MAX_VALUE bytes; None deletes.
        expires: in this many seconds, above 0 and up to MAX_EXPIRES; None never.
        expected: the version that must be there, ABSENT for none; None for whatever there is.
    """

    key: Key
    value: bytes | None
    expires: float | None
    expected: int | None = None


@dataclass(frozen=True, slots=True)
class Count:
    """An addition to a counter.

    Attributes:
        amount: added to it, at most MAX_SUM; 0 only reads; less than 0 gives back.
        expires: in this many seconds, above 0 and up to MAX_EXPIRES, from its first addition on, when it starts anew;
            later ones do not prolong it.
        limit: the sum that must not be passed, also where `amount` is 0; None for MAX_SUM. Giving back is never
            refused.
    """

    key: Key
    amount: int
    expires: float
    limit: int | None = None


@dataclass(frozen=True, slots=True)
class Counted:
    """What came of a count.

    Attributes:
        sums: of each counter, in order: after the addition, or as it was where `passed` tells that nothing was added.
        passed: the position of the first counter whose limit the addition would have passed; None if all were added.
    """

    sums: tuple[int, ...]
    passed: int | None = None


class Store(Protocol):
    """Keyed state. Every method raises StoreError, and ValueError for what is outside of the bounds above: more than
    MAX_KEYS keys, keys of several groups, a key twice, a value, an amount or an expiry that is too large. An operation
    on no keys does nothing."""

    async def read(self, keys: Sequence[Key]) -> Sequence[Entry | None]:
        """What is there now, in the order of `keys`; None for what is not, or is past its expiry."""
        ...

    async def write(self, writes: Sequence[Write]) -> bool:
        """Makes all changes, or none: False where an expected version was not the one there."""
        ...

    async def count(self, counts: Sequence[Count]) -> Counted:
        """Adds to all counters, or to none where one would pass its limit."""
        ...

    async def close(self) -> None:
        """Lets go of files and connections; the store is not used after it."""
        ...


class _NoStore:
    """Where no store was set up: every operation fails."""

    async def read(self, keys: Sequence[Key]) -> Sequence[Entry | None]:
        raise StoreError("there is no store")

    async def write(self, writes: Sequence[Write]) -> bool:
        raise StoreError("there is no store")

    async def count(self, counts: Sequence[Count]) -> Counted:
        raise StoreError("there is no store")

    async def close(self) -> None:
        return None


NO_STORE: Final[Store] = _NoStore()


def check_keys(keys: Sequence[Key]) -> None:
    """Holds an operation to the interface.

    Raises:
        ValueError: too many keys, keys of several groups, or one key twice.
    """
    if len(keys) < 2:
        return
    if len(keys) > MAX_KEYS:
        raise ValueError(f"an operation has at most {MAX_KEYS} keys")
    if len({key.group for key in keys}) > 1:
        raise ValueError("the keys of an operation are of one group")
    if len({key.name for key in keys}) < len(keys):
        raise ValueError("an operation has each key once")


def check_writes(writes: Sequence[Write]) -> None:
    """Holds an operation to the interface.

    Raises:
        ValueError: see `Write`.
    """
    check_keys([write.key for write in writes])
    for write in writes:
        if write.value is None:
            continue
        if len(write.value) > MAX_VALUE:
            raise ValueError(f"a value has at most {MAX_VALUE} bytes")
        if write.expires is not None:
            _check_expires(write.expires)


def check_counts(counts: Sequence[Count]) -> None:
    """Holds an operation to the interface.

    Raises:
        ValueError: see `Count`.
    """
    check_keys([count.key for count in counts])
    for count in counts:
        if abs(count.amount) > MAX_SUM:
            raise ValueError(f"an amount is at most {MAX_SUM}")
        _check_expires(count.expires)


def new_version() -> int:
    """A version that no entry had: random, so that stores need not remember the last one of what is gone."""
    return secrets.randbelow(2**63 - 1) + 1


def _check_expires(seconds: float) -> None:
    # Also what is no number fails this comparison.
    if not 0 < seconds <= MAX_EXPIRES:
        raise ValueError(f"expected an expiry above 0 and up to {MAX_EXPIRES:.0f} seconds")
