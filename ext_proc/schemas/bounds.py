"""How large a schema may be, and what may be spent on a value.

Rules:
- A bound acts before the work is done.

Not here: who sets them (a policy's parameters), what is counted where (document.py, patterns.py, run.py).
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class SchemaBounds:
    """The bounds of one schema.

    Attributes:
        values: the most JSON values in the schema, keys included.
        depth: the deepest nesting of arrays and objects in it.
        patterns: bytes that all of its compiled regular expressions may take together.
    """

    values: int = 20_000
    depth: int = 64
    patterns: int = 8 * 1024 * 1024


DEFAULT_BOUNDS = SchemaBounds()
# What may be spent on one value: about one step for each subschema applied and each member or item looked at, and one
# for each 64 KiB of (bytes of a compiled expression times characters of a text). A step takes up to a microsecond.
DEFAULT_STEPS = 100_000
