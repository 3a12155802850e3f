"""The reference: Markdown of the bundle's format and of every policy type, from the models themselves.

Rules:
- Nothing is said here that a model does not say: keys, types, defaults and descriptions come from its JSON schema.
- In a document it stands between START and END; what is around them is written by hand and stays.

Not here: the words (models.py, and each policy's `Parameters`).
"""

from __future__ import annotations

import inspect
import json
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from pydantic import BaseModel

from ext_proc.bundle.models import Bundle
from ext_proc.bundle.registry import PolicyClass
from ext_proc.units import format_duration, format_size

START = "<!-- generated: start -->"
END = "<!-- generated: end -->"

_NAMES = {
    "string": "text",
    "boolean": "true or false",
    "integer": "whole number",
    "number": "number",
    "null": "nothing",
}

_UNITS: dict[str, Callable[[Any], str]] = {"size": format_size, "duration": format_duration}


def render(policies: Mapping[str, PolicyClass]) -> str:
    """The whole reference.

    Args:
        policies: the classes by the name of their type.
    """
    lines = ["## The bundle", "", *_model(Bundle, "###"), "## Policy types", ""]
    for name, cls in sorted(policies.items()):
        lines += [f"### {name}", "", *_about(name, cls), *_model(cls.parameters_model(), "####", root="parameters")]
    return "\n".join(lines).rstrip() + "\n"


def update(document: str, generated: str) -> str:
    """`document` with `generated` in the place of what stood between START and END.

    Raises:
        ValueError: it does not have each of them once, in this order.
    """
    before, start, rest = document.partition(START)
    _, end, after = rest.partition(END)
    if not start or not end or START in rest or END in after:
        raise ValueError(f"expected the document to have {START} and then {END}, each once")
    return f"{before}{START}\n\n{generated}\n{END}{after}"


def _about(name: str, cls: PolicyClass) -> list[str]:
    module = inspect.getmodule(cls)
    # A built-in policy is one file, and says at its top what it does and by which rules.
    text = inspect.getdoc(module) if module is not None else None
    text = (text or inspect.getdoc(cls) or "").partition("\nNot here:")[0]
    text = text.strip().removeprefix(f"{name}: ")
    return [*(text[:1].upper() + text[1:]).splitlines(), ""]


def _model(model: type[BaseModel], heading: str, root: str = "") -> Iterator[str]:
    schema = model.model_json_schema()
    definitions = schema.get("$defs", {})
    waiting: list[tuple[str, Mapping[str, Any]]] = [(root, schema)]
    while waiting:
        path, part = waiting.pop(0)
        if path:
            yield from (f"{heading} `{path}`", "")
        if part.get("description"):
            yield from (" ".join(part["description"].split()), "")
        if not part.get("properties"):
            continue
        yield from ("| key | type | default | meaning |", "|---|---|---|---|")
        inside: list[tuple[str, Mapping[str, Any]]] = []
        for key, field in part["properties"].items():
            required = key in part.get("required", ())
            default = "required" if required else _default(field)
            found = list(_parts(field, definitions))
            # pydantic leaves a description out where it is the inner model's own.
            meaning = field.get("description") or (found[0][1].get("description", "") if found else "")
            yield f"| `{key}` | {_cell(_type(field, key))} | {default} | {_cell(meaning)} |"
            inside += [(f"{path}.{key}{suffix}" if path else f"{key}{suffix}", inner) for suffix, inner in found]
        waiting = inside + waiting
        yield ""


def _parts(field: Mapping[str, Any], definitions: Mapping[str, Any]) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """The objects in a field, each with what its path adds: "" for itself, "[]" in a list, ".<name>" in a mapping."""
    if "$ref" in field:
        found = definitions[field["$ref"].rpartition("/")[2]]
        if found.get("properties"):
            yield "", found
    for option in _options(field):
        yield from _parts(option, definitions)
    for suffix, key in (("[]", "items"), (".<name>", "additionalProperties")):
        inner = field.get(key)
        if isinstance(inner, dict):
            for rest, found in _parts(inner, definitions):
                yield suffix + rest, found


def _options(field: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """What a field may be, where that is several things; a union that a function tells apart is `oneOf`."""
    return [*field.get("anyOf", ()), *field.get("oneOf", ())]


def _type(field: Mapping[str, Any], key: str = "") -> str:
    if options := _options(field):
        return " or ".join(_type(option) for option in options if option.get("type") != "null")
    if "const" in field:
        return f"`{field['const']}`"
    if "enum" in field:
        return " or ".join(f"`{value}`" for value in field["enum"])
    if "format" in field:
        return str(field["format"])
    if field.get("type") == "array":
        return f"list of {_type(field.get('items', {}))}"
    if "$ref" in field or field.get("type") == "object":
        inner = field.get("additionalProperties")
        return f"mapping of name to {_type(inner)}" if isinstance(inner, dict) else "mapping"
    title = field.get("title", "")
    if title and title != key.replace("_", " ").title():
        return str(title)
    return _NAMES.get(field.get("type", ""), "any")


def _default(field: Mapping[str, Any]) -> str:
    value = field.get("default")
    if value is None or value in ("", [], {}):
        return ""
    if field.get("format") in _UNITS:
        return f"`{_UNITS[field['format']](value)}`"
    if isinstance(value, dict | list):
        return "see below"
    return f"`{value if isinstance(value, str) else json.dumps(value)}`"


def _cell(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|")
