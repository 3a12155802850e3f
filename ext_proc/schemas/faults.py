"""What can go wrong: a value that does not fit, a schema that cannot be used, work without an end.

Rules:
- A fault tells where and what was expected; of the value it holds nothing but names of members in its path.

Not here: the sentence that a caller reads (the policies).
"""

from __future__ import annotations

from dataclasses import dataclass

from ext_proc.errors import GatehouseError

Path = tuple[str | int, ...]


@dataclass(frozen=True, slots=True)
class Fault:
    """One thing in a value that does not fit.

    Attributes:
        path: the names and positions that lead there from the value's root.
        expected: what the schema wants there, in words, e.g. "a whole number".
    """

    path: Path
    expected: str


class SchemaError(GatehouseError):
    """A schema that cannot be used.

    Attributes:
        path: where in the schema.
        problem: what is wrong there.
    """

    def __init__(self, problem: str, path: Path = ()) -> None:
        where = "".join(f"/{part}" for part in path)
        super().__init__(f"{where}: {problem}" if where else problem)
        self.path = path
        self.problem = problem


class TooComplex(GatehouseError):
    """A value whose check was not done within the bounds."""
