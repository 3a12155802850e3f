"""What the keywords about a list's items mean (Core, sections 10.3.1 and 11.2; Validation, section 6.4).

Not here: how two items are compared (values.py).
"""

from __future__ import annotations

from typing import Any

from ext_proc.schemas.compiler import Part
from ext_proc.schemas.keywords import count_of
from ext_proc.schemas.run import Check, Node, Run, Seen
from ext_proc.schemas.values import key_of, size_of


def items(part: Part) -> Check | None:
    """`prefixItems` and `items`; in draft-07 `items` is either, and `additionalItems` is for the rest."""
    first, rest = part.schema.get("prefixItems"), part.schema.get("items")
    if "prefixItems" not in part.dialect.keywords:
        several = isinstance(rest, list)
        first, rest = (rest, part.schema.get("additionalItems")) if several else (None, rest)
    part.expects(first is None or isinstance(first, list), "a list of schemas")
    prefix = [part.below(schema) for schema in first or ()]
    others = None if rest is None else part.below(rest)

    def check(value: Any, run: Run, seen: Seen | None) -> bool:
        if type(value) is not list:
            return True
        good = True
        run.spend(len(value))
        for at, node in enumerate(prefix[: len(value)]):
            good = run.child(node, at, value[at]) and good
            if not good and run.faults is None:
                return False
        if others is not None:
            good = _all(value, len(prefix), others, run) and good
        if seen is not None and seen.items is not None:
            seen.items = None if others is not None else max(seen.items, min(len(prefix), len(value)))
        return good

    return check


def unevaluated_items(part: Part) -> Check:
    node = part.below(part.value)

    def check(value: Any, run: Run, seen: Seen | None) -> bool:
        if type(value) is not list or seen is None or seen.items is None:
            return True
        good = True
        run.spend(len(value))
        for at in range(seen.items, len(value)):
            if at not in seen.positions:
                good = run.child(node, at, value[at]) and good
                if not good and run.faults is None:
                    return False
        seen.items = None
        return good

    return check


def contains(part: Part) -> Check:
    """`contains` with `minContains` and `maxContains`, which draft-07 does not have."""
    node = part.below(part.value)
    counted = "prefixItems" in part.dialect.keywords
    least = count_of(part.at("minContains")) if counted and "minContains" in part.schema else 1
    most = count_of(part.at("maxContains")) if counted and "maxContains" in part.schema else None
    few = f"at least {least} items of a certain form" if least > 1 else "an item of a certain form"

    def check(value: Any, run: Run, seen: Seen | None) -> bool:
        if type(value) is not list:
            return True
        found = [at for at, item in enumerate(value) if run.quiet_child(node, item)]
        if seen is not None:
            seen.positions.update(found)
        if len(found) < least:
            return run.fault(few)
        return most is None or len(found) <= most or run.fault(f"at most {most} items of a certain form")

    return check


def unique_items(part: Part) -> Check | None:
    part.expects(isinstance(part.value, bool), "true or false")
    if not part.value:
        return None

    def check(value: Any, run: Run, seen: Seen | None) -> bool:
        if type(value) is not list:
            return True
        run.spend(size_of(value))
        return len({key_of(item) for item in value}) == len(value) or run.fault("items that are all different")

    return check


def _all(value: list[Any], start: int, node: Node, run: Run) -> bool:
    good = True
    for at in range(start, len(value)):
        good = run.child(node, at, value[at]) and good
        if not good and run.faults is None:
            return False
    return good
