"""JSON values compared as JSON Schema compares them.

Rules:
- 1 and 1.0 are one number; true is no number (JSON Schema Core, section 4.2.2).
- Numbers are compared exactly, as the decimals that they are written as.
- A key of a value is made of texts, whose hashes nobody outside can foresee: many values that collide cannot be made.

Not here: counting the work (run.py).
"""

from __future__ import annotations

from collections.abc import Hashable
from fractions import Fraction
from typing import Any


def key_of(value: Any) -> Hashable:
    """Equal for equal values, and for no others."""
    if value is None or value is True or value is False:
        return (str(value),)
    if isinstance(value, str):
        return value
    if isinstance(value, int):
        return ("number", str(value))
    if isinstance(value, float):
        return ("number", str(int(Fraction(repr(value)))) if value.is_integer() else repr(value))
    if isinstance(value, dict):
        return ("object", frozenset((name, key_of(item)) for name, item in value.items()))
    return ("array", *map(key_of, value))


def size_of(value: Any) -> int:
    """How much work there is in a key of it: about one for each value and key; without recursion."""
    count, waiting = 0, [value]
    while waiting:
        inner = waiting.pop()
        # To write or divide a number of n digits takes about n squared.
        count += 1 + (inner.bit_length() ** 2 >> 19 if isinstance(inner, int) else 0)
        if isinstance(inner, dict):
            count += len(inner)
            waiting.extend(inner.values())
        elif isinstance(inner, list):
            waiting.extend(inner)
    return count


def is_multiple(value: int | float, of: int | float) -> bool:
    """Whether `value` is a whole multiple, both taken as the decimals that they are written as."""
    if isinstance(value, int) and isinstance(of, int):
        return value % of == 0
    return (Fraction(repr(value)) / Fraction(repr(of))).denominator == 1
