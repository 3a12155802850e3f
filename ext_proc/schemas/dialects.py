"""The dialects of JSON Schema that are read, and where in each of them subschemas stand.

Rules:
- A schema without `$schema` is of 2020-12, as MCP has it; draft-07 is read because many tools are still written in it,
  and draft-06 is part of it. Any other dialect is refused: read by the wrong rules it would mean something else.
- The meta-schemas are those that the package jsonschema-specifications ships: nothing is fetched.

Not here: what the keywords mean (keywords.py and its neighbours).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any

from ext_proc.schemas.faults import SchemaError


@dataclass(frozen=True, slots=True)
class Dialect:
    """One dialect.

    Attributes:
        schemas: keywords whose value is a schema.
        lists: keywords whose value is a list of schemas.
        mappings: keywords whose value maps names to schemas.
        either: keywords whose value may be a schema or a list of them.
        lonely_ref: whether a `$ref` makes its siblings mean nothing (until draft-07).
        keywords: all that assert or apply something.
    """

    schemas: frozenset[str]
    lists: frozenset[str]
    mappings: frozenset[str]
    either: frozenset[str]
    lonely_ref: bool
    keywords: frozenset[str]

    def subschemas(self, schema: Mapping[str, Any]) -> Iterator[Any]:
        """The values that stand where subschemas do."""
        for keyword, value in schema.items():
            if keyword in self.schemas:
                yield value
            elif keyword in self.mappings and isinstance(value, dict):
                yield from value.values()
            elif (keyword in self.lists or keyword in self.either) and isinstance(value, list):
                yield from value
            elif keyword in self.either:
                yield value


_COMMON = frozenset(
    {
        "$ref",
        "additionalProperties",
        "allOf",
        "anyOf",
        "const",
        "contains",
        "enum",
        "exclusiveMaximum",
        "exclusiveMinimum",
        "if",
        "items",
        "maxItems",
        "maxLength",
        "maxProperties",
        "maximum",
        "minItems",
        "minLength",
        "minProperties",
        "minimum",
        "multipleOf",
        "not",
        "oneOf",
        "pattern",
        "patternProperties",
        "properties",
        "propertyNames",
        "required",
        "type",
        "uniqueItems",
    }
)
_SINGLE = frozenset({"additionalProperties", "contains", "else", "if", "not", "propertyNames", "then"})
_LISTS = frozenset({"allOf", "anyOf", "oneOf"})
_MAPPINGS = frozenset({"patternProperties", "properties"})

DRAFT_2020_12 = Dialect(
    schemas=_SINGLE | {"items", "unevaluatedItems", "unevaluatedProperties", "contentSchema"},
    lists=_LISTS | {"prefixItems"},
    # `definitions` and `dependencies` are draft-07's, and the meta-schema of 2020-12 still knows what they mean.
    mappings=_MAPPINGS | {"$defs", "definitions", "dependencies", "dependentSchemas"},
    either=frozenset(),
    lonely_ref=False,
    keywords=_COMMON
    | {
        "$dynamicRef",
        "dependencies",
        "dependentRequired",
        "dependentSchemas",
        "prefixItems",
        "unevaluatedItems",
        "unevaluatedProperties",
    },
)
DRAFT_07 = Dialect(
    schemas=_SINGLE | {"additionalItems"},
    lists=_LISTS,
    mappings=_MAPPINGS | {"definitions", "dependencies"},
    either=frozenset({"items"}),
    lonely_ref=True,
    keywords=_COMMON | {"additionalItems", "dependencies"},
)

_BY_URI = {
    "https://json-schema.org/draft/2020-12/schema": DRAFT_2020_12,
    "http://json-schema.org/draft-07/schema": DRAFT_07,
    "http://json-schema.org/draft-06/schema": DRAFT_07,
}


def dialect_of(schema: Any, otherwise: Dialect = DRAFT_2020_12) -> Dialect:
    """The dialect that `$schema` names.

    Args:
        otherwise: that of a schema which names none.

    Raises:
        SchemaError: it is one that is not read here.
    """
    named = schema.get("$schema") if isinstance(schema, dict) else None
    if named is None:
        return otherwise
    found = _BY_URI.get(named.removesuffix("#")) if isinstance(named, str) else None
    if found is None:
        raise SchemaError("expected a dialect that is read here: 2020-12 or draft-07", ("$schema",))
    return found


@cache
def meta_schemas() -> Mapping[str, Any]:
    """The meta-schemas by their URIs, those of the vocabularies too."""
    # Only now: it reads all of them, and hardly a schema refers to one.
    from jsonschema_specifications import REGISTRY  # type: ignore[import-untyped]  # it ships no types

    return {uri: REGISTRY.contents(uri) for uri in REGISTRY}
