"""Tokens that were verified, so that the next request with the same one costs a digest and a look.

Rules:
- A token is known by its SHA-256: the cache holds none, and whoever reads the memory finds none in it.
- Bounded: the one used longest ago makes room.
- An entry counts as long as its token and the key that verified it do; that is looked at with every use.
- What did not verify is not remembered: it may tomorrow, and to remember it would let anybody push out what counts.

Not here: verifying (jwt.py).
"""

from __future__ import annotations

import hashlib
from collections import OrderedDict
from dataclasses import dataclass

from ext_proc.credentials.keys import KeySet
from ext_proc.identity import Identity


@dataclass(frozen=True, slots=True)
class Verified:
    """A token that held.

    Attributes:
        until: seconds since the Unix epoch; past it the token is expired, leeway included.
        keys, thumbprint: the key that verified it, and the set that must still hold it.
    """

    identity: Identity
    until: float
    keys: KeySet
    thumbprint: str

    def counts(self, time: float) -> bool:
        return time < self.until and self.keys.holds(self.thumbprint) and self.keys.usable(time)


class VerifiedTokens:
    """The last tokens that were verified. For one thread.

    Args:
        size: the most entries; 0 keeps none.
    """

    __slots__ = ("_entries", "_size")

    def __init__(self, size: int) -> None:
        self._size = size
        self._entries: OrderedDict[bytes, Verified] = OrderedDict()

    def __len__(self) -> int:
        return len(self._entries)

    def find(self, token: bytes, time: float) -> Identity | None:
        """Whose token it is; None where it must be verified."""
        digest = hashlib.sha256(token).digest()
        entry = self._entries.get(digest)
        if entry is None:
            return None
        if not entry.counts(time):
            del self._entries[digest]
            return None
        self._entries.move_to_end(digest)
        return entry.identity

    def keep(self, token: bytes, verified: Verified) -> None:
        """Remembers a token."""
        self._entries[hashlib.sha256(token).digest()] = verified
        if len(self._entries) > self._size:
            self._entries.popitem(last=False)
