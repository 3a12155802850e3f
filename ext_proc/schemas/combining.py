"""What the keywords mean that apply subschemas to the same value (Core, sections 8.2.3 and 10.2).

Rules:
- Of alternatives the faults tell the one that came closest: whose own faults are deepest in the value, and fewest.

Not here: keywords about members and items (objects.py, arrays.py).
"""

from __future__ import annotations

from typing import Any

from ext_proc.schemas.compiler import Part
from ext_proc.schemas.run import Check, Node, Run, Seen

_MOST_TOLD = 4  # alternatives


def ref(part: Part) -> Check:
    part.expects(isinstance(part.value, str), "a reference")
    node = part.beside(part.target(part.value))
    return lambda value, run, seen: run.same(node, value, seen)


def dynamic_ref(part: Part) -> Check:
    """`$dynamicRef`: the outermost resource on the way here that has the anchor (Core, section 8.2.3.2)."""
    part.expects(isinstance(part.value, str), "a reference")
    name = part.dynamic_name(part.value)
    if name is None:
        return ref(part)
    # Which node it will be is known only when it runs: the depth of a run bounds it.
    otherwise = part.below(part.target(part.value))

    def check(value: Any, run: Run, seen: Seen | None) -> bool:
        node = next((scope.dynamic[name] for scope in run.scopes if name in scope.dynamic), otherwise)
        return run.same(node, value, seen)

    return check


def all_of(part: Part) -> Check:
    nodes = _several(part)

    def check(value: Any, run: Run, seen: Seen | None) -> bool:
        good = True
        for node in nodes:
            good = run.same(node, value, seen) and good
            if not good and run.faults is None:
                return False
        return good

    return check


def any_of(part: Part) -> Check:
    nodes = _several(part)

    def check(value: Any, run: Run, seen: Seen | None) -> bool:
        good = False
        for node in nodes:
            good = run.quietly(node, value, seen) or good
            if good and seen is None:
                return True
        return good or _tell(nodes, value, run)

    return check


def one_of(part: Part) -> Check:
    nodes = _several(part)

    def check(value: Any, run: Run, seen: Seen | None) -> bool:
        fitting = 0
        for node in nodes:
            fitting += run.quietly(node, value, seen)
            if fitting > 1:
                return run.fault(f"to fit only one of {len(nodes)} forms")
        return fitting == 1 or _tell(nodes, value, run)

    return check


def not_(part: Part) -> Check:
    node = part.beside(part.value)

    def check(value: Any, run: Run, seen: Seen | None) -> bool:
        # What a subschema evaluated that must not accept is nobody's (Core, section 10.2.1.4).
        inner = None if seen is None else Seen()
        return not run.quietly(node, value, inner) or run.fault("something else: this form is excluded")

    return check


def if_(part: Part) -> Check:
    condition = part.beside(part.value)
    then = part.beside(part.schema.get("then", True))
    otherwise = part.beside(part.schema.get("else", True))

    def check(value: Any, run: Run, seen: Seen | None) -> bool:
        return run.same(then if run.quietly(condition, value, seen) else otherwise, value, seen)

    return check


def _several(part: Part) -> list[Node]:
    part.expects(isinstance(part.value, list) and bool(part.value), "a list of schemas")
    return [part.beside(schema) for schema in part.value]


def _tell(nodes: list[Node], value: Any, run: Run) -> bool:
    """Says why none of the alternatives fits."""
    if run.faults is None:
        return False
    here = len(run.path)
    found = [faults for node in nodes if (faults := run.asked(node, value))]
    ranks = [(min(len(fault.path) for fault in faults), -len(faults)) for faults in found]
    best = max(ranks, default=(here, 0))
    closest = [faults for faults, rank in zip(found, ranks, strict=True) if rank == best]
    if best[0] > here and len(closest) == 1:
        for fault in closest[0]:
            run.tell(fault)
        return False
    wanted = dict.fromkeys(fault.expected for faults in found for fault in faults if best[0] == here == len(fault.path))
    return run.fault(" or ".join(list(wanted)[:_MOST_TOLD]) if wanted else f"one of {len(nodes)} forms")
