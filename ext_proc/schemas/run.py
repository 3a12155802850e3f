"""One check of one value: the steps that are left, where in the value it is, and what was found wrong.

Rules:
- A quiet run stops at the first fault; a loud one goes on and tells them.
- Every subschema that is applied costs a step; whatever takes longer pays for it (`spend`).
- Deep schemas over deep values end at a depth of their own, far from Python's.

Not here: what a keyword means (keywords.py and its neighbours).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from ext_proc.schemas.faults import Fault, TooComplex

MAX_DEPTH = 192  # subschemas within each other; each takes two or three of Python's 1000 frames


class Seen:
    """Which members and items of the value at hand were evaluated: what `unevaluated…` asks for.

    Attributes:
        names: of members; None once all are.
        items: how many from the start on; None once all are.
        positions: of further items.
    """

    __slots__ = ("items", "names", "positions")

    def __init__(self) -> None:
        self.names: set[str] | None = set()
        self.items: int | None = 0
        self.positions: set[int] = set()

    def add(self, other: Seen) -> None:
        """What a subschema that accepted the same value evaluated."""
        self.names = None if self.names is None or other.names is None else self.names | other.names
        self.items = None if self.items is None or other.items is None else max(self.items, other.items)
        self.positions |= other.positions


class Scope:
    """A schema resource as a run passes through it: where `$dynamicRef` looks (Core, section 8.2.3.2)."""

    __slots__ = ("dynamic",)

    def __init__(self) -> None:
        self.dynamic: Mapping[str, Node] = {}


Check = Callable[[Any, "Run", Seen | None], bool]


class Node:
    """A compiled subschema.

    Attributes:
        checks: all that a value must pass; those that ask what the others evaluated are last.
        scope: the resource that it stands in.
        applies: the nodes that it applies to the same value, for finding those that never end.
    """

    __slots__ = ("applies", "checks", "scope")

    def __init__(self, scope: Scope) -> None:
        self.checks: Sequence[Check] = ()
        self.scope = scope
        self.applies: list[Node] = []

    def accepts(self, value: Any, run: Run, seen: Seen | None) -> bool:
        """Whether `value` fits; notes in `seen` what was evaluated, if anybody asks.

        Raises:
            TooComplex: the run's steps or its depth are used up.
        """
        run.left -= 1
        run.depth += 1
        if run.left < 0 or run.depth > MAX_DEPTH:
            raise TooComplex("this value cannot be checked within the bounds")
        entered = run.scopes[-1] is not self.scope
        if entered:
            run.scopes.append(self.scope)
        good = True
        for check in self.checks:
            if not check(value, run, seen):
                good = False
                if run.faults is None:
                    break
        if entered:
            run.scopes.pop()
        run.depth -= 1
        return good


class Run:
    """The state of one check.

    Args:
        steps: what may be spent.
        most: the most faults told; 0 for a quiet run.
        tracks: whether the schema asks anywhere what was evaluated.

    Attributes:
        faults: those so far; None in a quiet run.
        path: where the run is in the value.
        scopes: the resources that it came through, without the same twice in a row.
    """

    __slots__ = ("depth", "faults", "left", "most", "path", "scopes", "tracks")

    def __init__(self, scope: Scope, steps: int, most: int, tracks: bool) -> None:
        self.left = steps
        self.depth = 0
        self.most = most
        self.faults: list[Fault] | None = [] if most else None
        self.path: list[str | int] = []
        self.scopes: list[Scope] = [scope]
        self.tracks = tracks

    def spend(self, steps: int) -> None:
        """Pays for work that is about to be done.

        Raises:
            TooComplex: there is not as much left.
        """
        self.left -= steps
        if self.left < 0:
            raise TooComplex("this value cannot be checked within the bounds")

    def fault(self, expected: str) -> bool:
        """Notes that the value at hand should be otherwise; always False, for a check to return."""
        if self.faults is not None:
            self.tell(Fault(tuple(self.path), expected))
        return False

    def tell(self, fault: Fault) -> None:
        """Notes a fault, unless there are enough."""
        if self.faults is not None and len(self.faults) < self.most:
            self.faults.append(fault)

    def child(self, node: Node, at: str | int, value: Any) -> bool:
        """Whether a member or item fits."""
        self.path.append(at)
        good = node.accepts(value, self, Seen() if self.tracks else None)
        self.path.pop()
        return good

    def quiet_child(self, node: Node, value: Any) -> bool:
        """The same, telling nothing: whether it fits decides on something else."""
        faults, self.faults = self.faults, None
        good = node.accepts(value, self, Seen() if self.tracks else None)
        self.faults = faults
        return good

    def same(self, node: Node, value: Any, seen: Seen | None) -> bool:
        """Whether the same value fits a subschema too, which evaluated nothing if not."""
        if seen is None:
            return node.accepts(value, self, None)
        found = Seen()
        good = node.accepts(value, self, found)
        if good:
            seen.add(found)
        return good

    def quietly(self, node: Node, value: Any, seen: Seen | None) -> bool:
        """The same, telling nothing."""
        faults, self.faults = self.faults, None
        good = self.same(node, value, seen)
        self.faults = faults
        return good

    def asked(self, node: Node, value: Any) -> list[Fault]:
        """What a subschema finds wrong with a value, told to the caller alone; [] where it fits."""
        faults, self.faults = self.faults, []
        good = node.accepts(value, self, Seen() if self.tracks else None)
        found, self.faults = self.faults, faults
        return [] if good else found
