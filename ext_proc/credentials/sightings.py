"""Which credentials serve both a human and an agent: a person's token or key that an agent uses as its own.

Rules:
- A credential is known by its fingerprint. What is remembered is by whom it was used, and nothing else.
- Bounded: the one seen longest ago makes room. Each process remembers for itself.
- Once both were seen, every use of it counts as an agent's: nobody can tell any more which one it is.

Not here: what makes an agent of a caller (identity.py), who is told (engine/identification.py).
"""

from __future__ import annotations

from collections import OrderedDict

from ext_proc.identity import Identity, Kind, as_shared

MOST = 10_000
_BY_HUMAN, _BY_AGENT = 1, 2


class Sightings:
    """The last human credentials that were seen. For one thread."""

    __slots__ = ("_most", "_seen")

    def __init__(self, most: int = MOST) -> None:
        self._most = most
        self._seen: OrderedDict[str, int] = OrderedDict()

    def __len__(self) -> int:
        return len(self._seen)

    def see(self, claimed: Identity, caller: Identity) -> Identity:
        """Takes note of one use; the caller, as it counts after all uses so far.

        Args:
            claimed: the caller by the credential alone.
            caller: the caller by all that was presented beside it.
        """
        if claimed.kind is not Kind.HUMAN or not claimed.credential:
            return caller
        use = _BY_HUMAN if caller.kind is Kind.HUMAN else _BY_AGENT
        uses = self._seen.pop(claimed.credential, 0) | use
        self._seen[claimed.credential] = uses
        if len(self._seen) > self._most:
            self._seen.popitem(last=False)
        return as_shared(caller) if uses == _BY_HUMAN | _BY_AGENT else caller
