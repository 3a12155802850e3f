"""What the keywords about a single value mean, whatever is inside it (Validation, section 6).

Rules:
- A keyword about one type accepts values of all others.
- A limit may be written as 5 or as 5.0.

Not here: keywords that apply subschemas (objects.py, arrays.py, combining.py).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec

from ext_proc.schemas.compiler import Part
from ext_proc.schemas.run import Check, Run, Seen
from ext_proc.schemas.values import is_multiple, key_of, size_of

_TYPES: dict[str, tuple[frozenset[type], str]] = {
    "null": (frozenset({type(None)}), "null"),
    "boolean": (frozenset({bool}), "true or false"),
    "integer": (frozenset({int}), "a whole number"),
    "number": (frozenset({int, float}), "a number"),
    "string": (frozenset({str}), "text"),
    "array": (frozenset({list}), "a list"),
    "object": (frozenset({dict}), "an object"),
}
_MOST_SHOWN = 8  # values of an enum in a fault
_LONGEST_SHOWN = 64  # characters of one


def types(part: Part) -> Check:
    names = part.value if isinstance(part.value, list) else [part.value]
    known = all(isinstance(name, str) and name in _TYPES for name in names)
    part.expects(known and bool(names), "a type, or a list of types")
    accepted = frozenset[type]().union(*(_TYPES[name][0] for name in names))
    # 1.0 is a whole number too (Validation, section 6.1.1).
    whole = "integer" in names and "number" not in names
    expected = " or ".join(_TYPES[name][1] for name in names)

    def check(value: Any, run: Run, seen: Seen | None) -> bool:
        kind = type(value)
        if kind in accepted or (whole and kind is float and value.is_integer()):
            return True
        return run.fault(expected)

    return check


def enum(part: Part) -> Check:
    part.expects(isinstance(part.value, list), "a list of values")
    return _one_of(part.value)


def const(part: Part) -> Check:
    return _one_of([part.value])


def _one_of(values: list[Any]) -> Check:
    keys = frozenset(map(key_of, values))
    shown = [_shown(value) for value in values[:_MOST_SHOWN]]
    more = f" or {len(values) - _MOST_SHOWN} others" if len(values) > _MOST_SHOWN else ""
    expected = shown[0] if len(values) == 1 else f"one of {', '.join(shown)}{more}"

    def check(value: Any, run: Run, seen: Seen | None) -> bool:
        run.spend(size_of(value))
        return key_of(value) in keys or run.fault(expected)

    return check


def _shown(value: Any) -> str:
    """A value of the schema's, for the one who is to write it."""
    text = msgspec.json.encode(value).decode()
    return text if len(text) <= _LONGEST_SHOWN else "a certain value"


def _number(words: str, holds: Callable[[float, float], bool]) -> Callable[[Part], Check]:
    """A maker for a keyword that compares a number with a limit."""

    def maker(part: Part) -> Check:
        limit = part.value
        part.expects(type(limit) in (int, float), "a number")
        expected = f"{words} {limit}"

        def check(value: Any, run: Run, seen: Seen | None) -> bool:
            return type(value) not in (int, float) or holds(value, limit) or run.fault(expected)

        return check

    return maker


minimum = _number("at least", lambda value, limit: value >= limit)
maximum = _number("at most", lambda value, limit: value <= limit)
exclusive_minimum = _number("more than", lambda value, limit: value > limit)
exclusive_maximum = _number("less than", lambda value, limit: value < limit)


def multiple_of(part: Part) -> Check:
    of = part.value
    part.expects(type(of) in (int, float) and of > 0, "a number above 0")
    expected = f"a multiple of {of}"

    def check(value: Any, run: Run, seen: Seen | None) -> bool:
        if type(value) not in (int, float):
            return True
        run.spend(size_of(value))
        return is_multiple(value, of) or run.fault(expected)

    return check


def count_of(part: Part) -> int:
    """The keyword's value as a count."""
    value = part.value
    whole = type(value) is int or (type(value) is float and value.is_integer())
    part.expects(whole and value >= 0, "a whole number of at least 0")
    return int(value)


def _length(
    kind: type[str] | type[list[Any]] | type[dict[str, Any]], words: str, *, least: bool
) -> Callable[[Part], Check]:
    """A maker for a keyword that limits how much there is in a value of one type."""

    def maker(part: Part) -> Check:
        limit = count_of(part)
        expected = f"at {'least' if least else 'most'} {limit} {words}"

        def check(value: Any, run: Run, seen: Seen | None) -> bool:
            if not isinstance(value, kind):
                return True
            return (len(value) >= limit if least else len(value) <= limit) or run.fault(expected)

        return check

    return maker


# Python counts code points, as the specification does (Validation, section 6.3.1).
min_length = _length(str, "characters", least=True)
max_length = _length(str, "characters", least=False)
min_items = _length(list, "items", least=True)
max_items = _length(list, "items", least=False)
min_properties = _length(dict, "members", least=True)
max_properties = _length(dict, "members", least=False)


def pattern(part: Part) -> Check:
    compiled = part.pattern(part.value)
    expected = f"text that matches {compiled.source}" if len(compiled.source) <= 200 else "text of a certain form"

    def check(value: Any, run: Run, seen: Seen | None) -> bool:
        if type(value) is not str:
            return True
        run.spend(compiled.cost(value))
        return compiled.matches(value) or run.fault(expected)

    return check
