"""What tools say of themselves (MCP, ToolAnnotations), for policies that only tighten by it.

Rules:
- What a tool does not say is as MCP takes it: destructive, open to the world, not read-only. Of a tool that was not
  listed yet nothing is known, and so it is taken for the same.

Not here: where it is kept (tool_definitions.py), what follows from it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from gatehouse_policies.access_rules import Annotation
from gatehouse_policies.tool_definitions import ToolDefinition


def annotations_of(definition: ToolDefinition) -> tuple[Mapping[str, bool], int]:
    """What is kept of a definition by who asks for no more, and about how many bytes that takes."""
    return definition.annotations, len(definition.annotations) * 64


def says(told: Any, listed: Iterable[Annotation]) -> bool:
    """Whether a tool says any of this of itself.

    Args:
        told: its annotations; None, or what is no object, for a tool that says nothing.
    """
    told = told if isinstance(told, Mapping) else {}
    read_only = told.get("readOnlyHint") is True
    meant: Mapping[Annotation, bool] = {
        "destructive": not read_only and told.get("destructiveHint") is not False,
        "open_world": told.get("openWorldHint") is not False,
        "writes": not read_only,
    }
    return any(meant[annotation] for annotation in listed)
