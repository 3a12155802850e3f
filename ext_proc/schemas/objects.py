"""What the keywords about an object's members mean (Core, sections 10.3.2 and 11.3; Validation, section 6.5).

Not here: members that come in by a subschema for the same value (combining.py).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ext_proc.schemas.compiler import Part
from ext_proc.schemas.run import Check, Node, Run, Seen


def members(part: Part) -> Check:
    """`properties`, `patternProperties` and `additionalProperties`, which only together say which member is whose."""
    named = {name: part.below(schema) for name, schema in _mapping(part.at("properties")).items()}
    found = _mapping(part.at("patternProperties"))
    patterns = [(part.pattern(source), part.below(schema)) for source, schema in found.items()]
    others = part.below(part.schema["additionalProperties"]) if "additionalProperties" in part.schema else None
    only = not patterns and others is None

    def check(value: Any, run: Run, seen: Seen | None) -> bool:
        if type(value) is not dict:
            return True
        good = True
        run.spend(len(value))
        for name, item in value.items():
            node = named.get(name)
            if node is None and only:
                continue
            fits = [] if node is None else [node]
            for compiled, below in patterns:
                run.spend(compiled.cost(name))
                if compiled.matches(name):
                    fits.append(below)
            if not fits and others is not None:
                fits.append(others)
            for fit in fits:
                good = run.child(fit, name, item) and good
                if not good and run.faults is None:
                    return False
            if seen is not None and fits and seen.names is not None:
                seen.names.add(name)
        return good

    return check


def unevaluated_properties(part: Part) -> Check:
    node = part.below(part.value)

    def check(value: Any, run: Run, seen: Seen | None) -> bool:
        if type(value) is not dict or seen is None or seen.names is None:
            return True
        good = True
        run.spend(len(value))
        for name, item in value.items():
            if name not in seen.names:
                good = run.child(node, name, item) and good
                if not good and run.faults is None:
                    return False
        seen.names = None
        return good

    return check


def required(part: Part) -> Check:
    names = _names_of(part.value, part)

    def check(value: Any, run: Run, seen: Seen | None) -> bool:
        if type(value) is not dict:
            return True
        run.spend(len(names) // 8)
        return _has(value, names, run)

    return check


def property_names(part: Part) -> Check:
    node = part.below(part.value)

    def check(value: Any, run: Run, seen: Seen | None) -> bool:
        if type(value) is not dict:
            return True
        good = True
        for name in value:
            if run.quiet_child(node, name):
                continue
            good = False
            if run.faults is None:
                return False
            run.path.append(name)
            found = run.asked(node, name)
            run.fault("a name that is " + found[0].expected if found else "another name")
            run.path.pop()
        return good

    return check


def dependent_required(part: Part) -> Check:
    wanted = {name: _names_of(names, part) for name, names in _mapping(part).items()}
    return _dependent(wanted, {})


def dependent_schemas(part: Part) -> Check:
    return _dependent({}, {name: part.beside(schema) for name, schema in _mapping(part).items()})


def dependencies(part: Part) -> Check:
    """Draft-07's: names or a schema."""
    rules = _mapping(part)
    wanted = {name: _names_of(rule, part) for name, rule in rules.items() if isinstance(rule, list)}
    nodes = {name: part.beside(rule) for name, rule in rules.items() if not isinstance(rule, list)}
    return _dependent(wanted, nodes)


def _dependent(wanted: Mapping[str, list[str]], nodes: Mapping[str, Node]) -> Check:
    def check(value: Any, run: Run, seen: Seen | None) -> bool:
        if type(value) is not dict:
            return True
        good = True
        for name, names in wanted.items():
            run.spend(1 + len(names) // 8)
            if name in value:
                good = _has(value, names, run) and good
        for name, node in nodes.items():
            run.spend(1)
            if name in value:
                good = run.same(node, value, seen) and good
        return good

    return check


def _has(value: Mapping[str, Any], names: list[str], run: Run) -> bool:
    good = True
    for name in names:
        if name not in value:
            good = False
            if run.faults is None:
                return False
            run.path.append(name)
            run.fault("a value: it is required")
            run.path.pop()
    return good


def _mapping(part: Part) -> Mapping[str, Any]:
    """The keyword's value, an object; {} where it is not there."""
    if part.keyword not in part.schema:
        return {}
    part.expects(isinstance(part.value, dict), "an object")
    return part.value  # type: ignore[no-any-return]  # checked in the line before


def _names_of(names: Any, part: Part) -> list[str]:
    part.expects(isinstance(names, list) and all(isinstance(name, str) for name in names), "a list of names")
    return list(names)
