"""CEL: conditions over identity, request and message, compiled when the bundle is loaded.

Rules:
- A name that is no variable or function is found when the bundle is loaded, not at the first request.
- A condition that cannot be evaluated (a missing key, a type error) raises; whoever asked decides, and fails closed.
- Variables of a condition: `identity`, `request`, `route`, `server`, `message`, `args` (see Context.variables). A
  formula's are whole numbers, by the names that its owner gives.

Not here: any meaning of a condition or formula.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Collection, Mapping
from types import ModuleType
from typing import Annotated, Any

from pydantic import GetCoreSchemaHandler, GetJsonSchemaHandler, StrictBool
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema, core_schema

from ext_proc.errors import GatehouseError

# The package imports its command line with itself, and with that a terminal's toolkit: a fifth of the time that a
# process takes to start, and memory for as long as it runs. An empty module stands in its place meanwhile.
_NO_COMMAND_LINE = ModuleType("cel.cli")
try:
    sys.modules.setdefault("cel.cli", _NO_COMMAND_LINE)
    import cel
finally:
    if sys.modules.get("cel.cli") is _NO_COMMAND_LINE:
        del sys.modules["cel.cli"]

VARIABLES = frozenset({"identity", "request", "route", "server", "message", "args"})
# The functions that the evaluator has, by its own names; operators start with _ @ ! or -, macros are expanded before.
FUNCTIONS = frozenset(
    {
        "bytes",
        "contains",
        "double",
        "duration",
        "dyn",
        "endsWith",
        "getDate",
        "getDayOfMonth",
        "getDayOfWeek",
        "getDayOfYear",
        "getFullYear",
        "getHours",
        "getMilliseconds",
        "getMinutes",
        "getMonth",
        "getSeconds",
        "has",
        "int",
        "matches",
        "size",
        "startsWith",
        "string",
        "timestamp",
        "type",
        "uint",
    }
)
# The engine counts a macro's own variable among the free ones: `args.x.all(i, i > 2)` names `i`.
_MACRO_VARIABLE = re.compile(r"\.\s*(?:all|exists|exists_one|existsOne|map|filter)\s*\(\s*([A-Za-z_]\w*)\s*,")
MAX_LENGTH = 4096  # characters of source; a rule longer than this is a program


class ExpressionError(GatehouseError):
    """An expression that could not be compiled or evaluated, or was no boolean."""


class Expression:
    """A compiled CEL expression that yields a boolean. Written as text in a bundle.

    Attributes:
        source: the text.
        variables: the names of VARIABLES that it uses.
    """

    __slots__ = ("_program", "source", "variables")

    def __init__(self, source: str) -> None:
        """Compiles `source`.

        Raises:
            ExpressionError: a syntax error, an unknown name, or more than MAX_LENGTH characters.
        """
        self._program = _compiled(source, VARIABLES)
        self.variables = frozenset(self._program.variables()) & VARIABLES
        self.source = source

    def holds(self, variables: Mapping[str, Any]) -> bool:
        """Whether it is true.

        Raises:
            ExpressionError: it could not be evaluated, or its value is no boolean.
        """
        try:
            # Only what it names: every value is converted, and a call's arguments may be a megabyte.
            value = self._program.execute({name: variables[name] for name in self.variables if name in variables})
        except Exception as error:
            # The error's text may hold payload (a key, a value): only its class goes on.
            raise ExpressionError(f"cannot be evaluated ({type(error).__name__})") from None
        if value is True or value is False:
            return bool(value)
        raise ExpressionError(f"yields {type(value).__name__}, not a boolean")

    def __repr__(self) -> str:
        return f"Expression({self.source!r})"

    @classmethod
    def __get_pydantic_core_schema__(cls, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        return core_schema.no_info_plain_validator_function(
            cls._validate, serialization=core_schema.plain_serializer_function_ser_schema(lambda value: value.source)
        )

    @classmethod
    def __get_pydantic_json_schema__(cls, schema: CoreSchema, handler: GetJsonSchemaHandler) -> JsonSchemaValue:
        return {"type": "string", "title": "CEL expression"}

    @classmethod
    def _validate(cls, value: object) -> Expression:
        if isinstance(value, Expression):
            return value
        if not isinstance(value, str):
            raise ValueError("expected a CEL expression as text")
        try:
            return cls(value)
        except ExpressionError as error:
            raise ValueError(str(error)) from error


class Formula:
    """A compiled CEL expression over whole numbers that yields one.

    Attributes:
        source: the text.
    """

    __slots__ = ("_names", "_program", "source")

    def __init__(self, source: str, names: Collection[str]) -> None:
        """Compiles `source`, which may use `names`.

        Raises:
            ExpressionError: a syntax error, an unknown name, or more than MAX_LENGTH characters.
        """
        self._program = _compiled(source, frozenset(names))
        self._names = frozenset(self._program.variables()) & frozenset(names)
        self.source = source

    def value(self, numbers: Mapping[str, int]) -> int:
        """What it yields for these numbers, which have all its names.

        Raises:
            ExpressionError: it could not be evaluated (64 bits were not enough, a division by 0), or yields no whole
                number.
        """
        try:
            value = self._program.execute({name: numbers[name] for name in self._names})
        except Exception as error:
            raise ExpressionError(f"cannot be evaluated ({type(error).__name__})") from None
        if type(value) is not int:
            raise ExpressionError(f"yields {type(value).__name__}, not a whole number")
        return value

    def __repr__(self) -> str:
        return f"Formula({self.source!r})"


Condition = Annotated[StrictBool | Expression, "true, false, or a CEL expression"]


def _compiled(source: str, names: frozenset[str]) -> Any:
    """The program of an expression that may use these names.

    Raises:
        ExpressionError: a syntax error, an unknown name, or more than MAX_LENGTH characters.
    """
    if len(source) > MAX_LENGTH:
        raise ExpressionError(f"expected at most {MAX_LENGTH} characters of CEL")
    try:
        program = cel.compile(source)
    except ValueError as error:
        raise ExpressionError(f"expected a CEL expression: {_first_line(error)}") from error
    bound = set(_MACRO_VARIABLE.findall(source))
    unknown = sorted(set(program.variables()) - names - bound)
    if unknown:
        raise ExpressionError(f"unknown name {unknown[0]!r}; known are {', '.join(sorted(names))}")
    for function in sorted(set(program.functions()) - FUNCTIONS):
        if function[0].isalpha():
            raise ExpressionError(f"unknown function {function!r}; known are {', '.join(sorted(FUNCTIONS))}")
    return program


def _first_line(error: ValueError) -> str:
    text = str(error)
    _, _, tail = text.partition("ERROR: ")
    return (tail or text).splitlines()[0]
