"""Language models' requests: the functions that a caller offers a model and runs itself, with the schemas of their
arguments.

Rules:
- A function without parameters takes none (OpenAI, Google). What a custom tool is called with is one text.
- Tools that a format knows by their type have no schema, and are not among these.
- It is read to check what a model makes of it, never to decide on the request: what has another type than its field's
  is passed over, and what is not found here nobody offered.

Sources: OpenAI, function calling, custom tools; Anthropic, tool use.

Not here: tools that the provider runs (each format's hosted tools), Gemini's (gemini_offers.py), schemas (schemas/).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from ext_proc.messages import OfferedFunction

NO_ARGUMENTS: Mapping[str, Any] = {"type": "object", "additionalProperties": False}
_TEXT: Mapping[str, Any] = {
    "type": "object",
    "properties": {"input": {"type": "string"}},
    "required": ["input"],
    "additionalProperties": False,
}
_DEPTH = 4  # of namespaces


def offered_in(tools: Any, depth: int = 0) -> Iterator[OfferedFunction]:
    """The functions in a list of tools, in the shapes of OpenAI's formats and of Anthropic's. Never raises."""
    for tool in objects_in(tools):
        kind = tool.get("type")
        if "input_schema" in tool and kind in (None, "custom"):
            yield from function(tool, "input_schema")
        elif kind == "namespace" and depth < _DEPTH:
            yield from offered_in(tool.get("tools"), depth + 1)
        elif kind == "custom":
            yield from _named(_held(tool, "custom"), _TEXT)
        elif kind == "function" or (kind is None and "function" in tool):
            yield from function(_held(tool, "function"), "parameters")


def function(definition: Mapping[str, Any], schema: str) -> Iterator[OfferedFunction]:
    """A function by its definition.

    Args:
        schema: the member that its arguments' schema stands under.
    """
    parameters = definition.get(schema)
    return _named(definition, NO_ARGUMENTS if parameters is None else parameters)


def objects_in(value: Any) -> Sequence[Mapping[str, Any]]:
    """The objects of a list; () where there is none."""
    return [entry for entry in value if isinstance(entry, dict)] if isinstance(value, list) else ()


def _held(tool: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    """What chat completions write a level deeper than Responses."""
    held = tool.get(name)
    return held if isinstance(held, dict) else tool


def _named(definition: Mapping[str, Any], schema: Any) -> Iterator[OfferedFunction]:
    name = definition.get("name")
    if isinstance(name, str) and name:
        yield OfferedFunction(name, schema)
