"""Hands each finished trail to every view of it.

Rules:
- A view that fails breaks neither the exchange nor another view; its first failure is logged, the rest are not.

Not here: any view (log.py, history.py, metrics.py, spans.py).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from ext_proc.telemetry.log import Log, fault
from ext_proc.trail import Trail

View = Callable[[Trail], None]


def governed_only(view: View) -> View:
    """`view`, without the exchanges that no route matched and nobody refused: there are no decisions in them.

    They are counted (metrics), but must not push decisions out of the history or fill the log.
    """

    def governed(trail: Trail) -> None:
        if trail.route or trail.denied is not None:
            view(trail)

    return governed


class Recorder:
    """Fans out to the views, in order.

    Args:
        views: by the name that a failure is logged under.
    """

    def __init__(self, views: Mapping[str, View], log: Log) -> None:
        self._views = tuple(views.items())
        self._log = log
        self._failed: set[str] = set()

    def record(self, trail: Trail) -> None:
        """Takes a trail whose exchange is over. Does not raise."""
        for name, view in self._views:
            try:
                view(trail)
            except Exception as error:
                if name not in self._failed:
                    self._failed.add(name)
                    self._log.error("a view of decisions fails; said once", view=name, **fault(error))
