"""The last trails, for /decisions and `gatehouse explain`.

Rules:
- A ring: the oldest leaves when a new one comes, so memory does not grow.

Not here: filters and JSON (server/admin.py).
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from ext_proc.trail import Trail

SIZE = 1000


@dataclass(frozen=True, slots=True)
class Remembered:
    """A finished trail and when it was recorded, in seconds since the epoch."""

    recorded: float
    trail: Trail


class History:
    """A ring of the last `size` trails.

    Args:
        wall_clock: seconds since the epoch.
    """

    def __init__(self, size: int = SIZE, wall_clock: Callable[[], float] = time.time) -> None:
        self._ring: deque[Remembered] = deque(maxlen=size)
        self._by_id: dict[str, Remembered] = {}
        self._wall_clock = wall_clock

    def record(self, trail: Trail) -> None:
        """Keeps `trail`, in the place of the oldest where the ring is full."""
        if len(self._ring) == self._ring.maxlen:
            oldest = self._ring[0]
            if self._by_id.get(oldest.trail.id) is oldest:
                del self._by_id[oldest.trail.id]
        remembered = Remembered(self._wall_clock(), trail)
        self._ring.append(remembered)
        self._by_id[trail.id] = remembered

    def find(self, trail_id: str) -> Remembered | None:
        """The trail with this id, if it is still remembered."""
        return self._by_id.get(trail_id)

    def newest_first(self) -> Iterator[Remembered]:
        """All that is remembered, as of this call."""
        return iter(tuple(reversed(self._ring)))

    def __len__(self) -> int:
        return len(self._ring)
