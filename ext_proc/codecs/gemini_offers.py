"""Gemini: the functions that a caller offers a model and runs itself, with the schemas of their arguments.

Rules:
- `parametersJsonSchema` is JSON Schema. `parameters` is Google's Schema: types in capitals, `nullable`, numbers that
  may be written as texts (ProtoJSON's int64). It is turned into JSON Schema; its annotations go.
- What cannot be turned stays as it is, and no argument fits it: a schema that is no object, or is nested too deep.
- It is read as llm_offers.py reads other formats: what has another type than its field's is passed over.

Source: Google, Gemini API and Vertex AI (FunctionDeclaration, Schema).

Not here: tools that Google runs (gemini_hosted_tools.py).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from ext_proc.codecs.gemini_texts import camel
from ext_proc.codecs.llm_offers import NO_ARGUMENTS, objects_in
from ext_proc.messages import OfferedFunction

_DEPTH = 64  # of a schema
_NUMBERS = ("minItems", "maxItems", "minLength", "maxLength", "minProperties", "maxProperties")
_KEPT = ("required", "pattern", "minimum", "maximum", *_NUMBERS)


def offered_by(request: Mapping[str, Any]) -> Iterator[OfferedFunction]:
    """The functions of a request. Never raises."""
    for tool in objects_in(request.get("tools")):
        for name, declarations in tool.items():
            if camel(name) == "functionDeclarations":
                for declaration in objects_in(declarations):
                    yield from _function({camel(name): value for name, value in declaration.items()})


def _function(declaration: Mapping[str, Any]) -> Iterator[OfferedFunction]:
    name = declaration.get("name")
    if not isinstance(name, str) or not name:
        return
    schema, own = declaration.get("parametersJsonSchema"), declaration.get("parameters")
    if schema is None:
        schema = NO_ARGUMENTS if own is None else _json_schema(own, 0)
    yield OfferedFunction(name, schema)


def _json_schema(schema: Any, depth: int) -> Any:
    """Google's Schema as JSON Schema; false, which nothing fits, for what is none."""
    if not isinstance(schema, dict) or depth > _DEPTH:
        return False
    held = {camel(name): value for name, value in schema.items()}
    made: dict[str, Any] = {name: held[name] for name in _KEPT if held.get(name) is not None}
    for name in _NUMBERS:
        if isinstance(made.get(name), str) and made[name].isdecimal():
            made[name] = int(made[name])
    if isinstance(held.get("properties"), dict):
        made["properties"] = {name: _json_schema(member, depth + 1) for name, member in held["properties"].items()}
    if held.get("items") is not None:
        made["items"] = _json_schema(held["items"], depth + 1)
    if isinstance(held.get("anyOf"), list):
        made["anyOf"] = [_json_schema(option, depth + 1) for option in held["anyOf"]]
    if isinstance(held.get("enum"), list) and held["enum"]:
        made["enum"] = held["enum"]
    kind = held.get("type")
    if isinstance(kind, str) and kind != "TYPE_UNSPECIFIED":
        made["type"] = kind.lower()
    return {"anyOf": [made, {"type": "null"}]} if held.get("nullable") is True else made
