"""A compiled JSON Schema, for a policy's parameters and for what a server says of its tools.

Not here: how it is compiled (compiler.py), what its keywords mean (keywords.py and its neighbours).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from pydantic import GetCoreSchemaHandler, GetJsonSchemaHandler
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema, core_schema

from ext_proc.schemas import arrays, combining, keywords, objects
from ext_proc.schemas.bounds import DEFAULT_BOUNDS, DEFAULT_STEPS, SchemaBounds
from ext_proc.schemas.compiler import Compiler, Maker
from ext_proc.schemas.document import Documents
from ext_proc.schemas.faults import Fault, SchemaError, TooComplex
from ext_proc.schemas.run import Run, Seen

# In the order in which they are asked: the cheap first; last those that ask what the others evaluated.
_MAKERS: Mapping[str, Maker] = {
    "type": keywords.types,
    "const": keywords.const,
    "enum": keywords.enum,
    "minimum": keywords.minimum,
    "maximum": keywords.maximum,
    "exclusiveMinimum": keywords.exclusive_minimum,
    "exclusiveMaximum": keywords.exclusive_maximum,
    "multipleOf": keywords.multiple_of,
    "minLength": keywords.min_length,
    "maxLength": keywords.max_length,
    "minItems": keywords.min_items,
    "maxItems": keywords.max_items,
    "minProperties": keywords.min_properties,
    "maxProperties": keywords.max_properties,
    "required": objects.required,
    "pattern": keywords.pattern,
    "dependentRequired": objects.dependent_required,
    "propertyNames": objects.property_names,
    "properties": objects.members,
    "patternProperties": objects.members,
    "additionalProperties": objects.members,
    "prefixItems": arrays.items,
    "items": arrays.items,
    "contains": arrays.contains,
    "uniqueItems": arrays.unique_items,
    "$ref": combining.ref,
    "$dynamicRef": combining.dynamic_ref,
    "allOf": combining.all_of,
    "anyOf": combining.any_of,
    "oneOf": combining.one_of,
    "not": combining.not_,
    "if": combining.if_,
    "dependentSchemas": objects.dependent_schemas,
    "dependencies": objects.dependencies,
    "unevaluatedItems": arrays.unevaluated_items,
    "unevaluatedProperties": objects.unevaluated_properties,
}


class Schema:
    """A JSON Schema, ready to check values. As a type of a policy's parameter it is written as the schema itself.

    Args:
        source: the schema, as decoded JSON: an object, true or false. It is kept, and must not be changed.
        bounds: see there.
        documents: other schemas that it may refer to, by their absolute URIs.

    Attributes:
        source: as given.
        size: about how many bytes this takes, the source apart.

    Raises:
        SchemaError: it cannot be used.
    """

    __slots__ = ("_root", "_tracks", "size", "source")

    def __init__(
        self, source: Any, bounds: SchemaBounds = DEFAULT_BOUNDS, documents: Mapping[str, Any] | None = None
    ) -> None:
        compiler = Compiler(Documents(source, bounds, documents or {}), bounds, _MAKERS)
        self._root = compiler.compile()
        self._tracks = compiler.tracks
        self.size = compiler.size
        self.source = source

    def accepts(self, value: Any, steps: int = DEFAULT_STEPS) -> bool:
        """Whether a decoded JSON value fits.

        Args:
            steps: what may be spent on it (bounds.py).

        Raises:
            TooComplex: that was not settled within the bounds.
        """
        return self._run(value, 0, steps) is None

    def faults(self, value: Any, most: int = 5, steps: int = DEFAULT_STEPS) -> Sequence[Fault]:
        """What is wrong with a value: at least one fault, at most `most`; none where it fits.

        Raises:
            TooComplex: whether it fits was not settled within the bounds.
        """
        if self.accepts(value, steps):
            return ()
        try:
            found = self._run(value, most, steps)
        except TooComplex:
            found = None  # that it does not fit is known; only to say why was too much
        return found or (Fault((), "another value"),)

    def _run(self, value: Any, most: int, steps: int) -> Sequence[Fault] | None:
        """None for a value that fits."""
        run = Run(self._root.scope, steps, most, self._tracks)
        try:
            if self._root.accepts(value, run, Seen() if self._tracks else None):
                return None
        except RecursionError:
            raise TooComplex("this value cannot be checked within the bounds") from None
        return run.faults or ()

    @classmethod
    def __get_pydantic_core_schema__(cls, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        return core_schema.no_info_plain_validator_function(
            cls._validate, serialization=core_schema.plain_serializer_function_ser_schema(lambda value: value.source)
        )

    @classmethod
    def __get_pydantic_json_schema__(cls, schema: CoreSchema, handler: GetJsonSchemaHandler) -> JsonSchemaValue:
        return {"type": "object", "title": "JSON Schema", "format": "JSON Schema"}

    @classmethod
    def _validate(cls, value: object) -> Schema:
        if isinstance(value, Schema):
            return value
        try:
            return cls(value)
        except SchemaError as error:
            raise ValueError(f"expected a JSON Schema: {error}") from error
