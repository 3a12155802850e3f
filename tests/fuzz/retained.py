"""How much memory an object keeps: itself and all that it refers to.

Rules:
- What is shared by all exchanges does not count: classes, functions, modules, policies, a rulebook.

Not here: what is too much (event_laws.py).
"""

from __future__ import annotations

import enum
import gc
import sys
from types import BuiltinFunctionType, CodeType, FunctionType, ModuleType

from ext_proc.engine.route import Route, Rulebook
from ext_proc.policy import Policy

_SHARED = (type, ModuleType, FunctionType, BuiltinFunctionType, CodeType, enum.Enum, Policy, Route, Rulebook)


def retained(root: object) -> int:
    """The bytes of all objects that are reachable from `root`."""
    seen: set[int] = set()
    total = 0
    found: list[object] = [root]
    while found:
        new = [each for each in found if id(each) not in seen and not isinstance(each, _SHARED)]
        fresh = {id(each): each for each in new}
        seen.update(fresh)
        total += sum(map(sys.getsizeof, fresh.values()))
        found = gc.get_referents(*fresh.values()) if fresh else []
    return total
