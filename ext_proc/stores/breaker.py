"""A circuit breaker: after several failures in a row nothing is tried for a while, and then once.

Rules:
- Closed: everything is tried. After `failures` in a row it opens: nothing is tried, for `pause` seconds.
- Then it is half open: one attempt goes through, the others are still refused. It closes on success, and opens anew on
  failure. An attempt that tells nothing (it was cancelled) makes room for another one.

Not here: what counts as a failure (redis.py).
"""

from __future__ import annotations

from collections.abc import Callable


class Breaker:
    """Says whether to try.

    Args:
        failures: in a row, until it opens.
        pause: seconds that it stays open.
        clock: monotonic seconds.
    """

    __slots__ = ("_clock", "_failed", "_failures", "_open_until", "_pause", "_probing")

    def __init__(self, failures: int, pause: float, clock: Callable[[], float]) -> None:
        self._failures = failures
        self._pause = pause
        self._clock = clock
        self._failed = 0
        self._open_until = 0.0
        self._probing = False

    @property
    def closed(self) -> bool:
        return self._failed < self._failures

    def admits(self) -> bool:
        """Whether to try now. Whoever is admitted reports how it went, once."""
        if self.closed:
            return True
        if self._probing or self._clock() < self._open_until:
            return False
        self._probing = True
        return True

    def succeeded(self) -> None:
        self._failed = 0
        self._probing = False

    def failed(self) -> None:
        self._failed += 1
        self._probing = False
        if not self.closed:
            self._open_until = self._clock() + self._pause

    def learnt_nothing(self) -> None:
        """The attempt was given up before it was known how it would go."""
        self._probing = False
