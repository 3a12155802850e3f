"""What is kept of servers' tools, at hand for a policy: read from the store, and used again for a second.

Rules:
- What this process changed is read anew at once; what another changed counts after a second at the latest.
- What is at hand is bounded in bytes: the server that was asked for longest ago makes room.

Not here: the records (ext_proc/pins), what follows from them (tool_pinning.py).
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Collection
from dataclasses import dataclass, field, replace

from ext_proc.pins.ledger import SHARDS, Ledger, Server

ALL = range(SHARDS)

_FRESH = 1.0  # seconds
_ROOM = 32 * 1024 * 1024  # bytes of records, as the store has them


@dataclass(slots=True)
class _Known:
    """What is at hand of a server, and until when each shard is fresh."""

    server: Server
    until: dict[int, float] = field(default_factory=dict)

    @property
    def size(self) -> int:
        return sum(shard.size for shard in self.server.shards.values())


class PinnedServers:
    """The pins of all servers, as one policy needs them."""

    def __init__(self) -> None:
        self._known: OrderedDict[str, _Known] = OrderedDict()

    async def read(
        self, name: str, shards: Collection[int], ledger: Ledger, now: float, *, anew: bool = False
    ) -> Server:
        """What is kept of a server, with at least these shards.

        Args:
            now: monotonic seconds.
            anew: whatever is at hand.

        Raises:
            StoreError: the store failed.
        """
        known = self._known.setdefault(name, _Known(Server(name)))
        self._known.move_to_end(name)
        # The head is fresh as long as any shard is, for it is read with each; -1 stands for it alone.
        stale = [number for number in (shards or (-1,)) if anew or now >= known.until.get(number, 0.0)]
        if stale:
            wanted = [number for number in stale if number >= 0]
            found = await ledger.server(name, wanted, known.server)
            known.server = replace(found, shards={**known.server.shards, **found.shards})
            known.until.update(dict.fromkeys((*wanted, -1), now + _FRESH))
            self._make_room()
        return known.server

    def forget(self, name: str) -> None:
        """What is at hand of a server is not fresh any longer."""
        if name in self._known:
            self._known[name].until.clear()

    def _make_room(self) -> None:
        taken = sum(known.size for known in self._known.values())
        while taken > _ROOM and len(self._known) > 1:
            taken -= self._known.popitem(last=False)[1].size
