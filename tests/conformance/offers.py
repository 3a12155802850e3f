"""What a tool of the conformance server is: as it is listed, and what runs when it is called.

Rules:
- A tool's name is its function's.
- A schema is written out, not derived: the suite looks at its keywords.

Not here: the tools (tools.py, rounds.py).
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

import mcp_types as types
from mcp.server.context import ServerRequestContext

Request = ServerRequestContext[dict[str, Any], Any]
Answer = types.CallToolResult | types.InputRequiredResult
Run = Callable[[Request, types.CallToolRequestParams], Awaitable[Answer]]


@dataclass(frozen=True, slots=True)
class Offer:
    """One tool."""

    tool: types.Tool
    run: Run


class Offers:
    """Tools by name; `offer` is the decorator that adds one."""

    def __init__(self) -> None:
        self.by_name: dict[str, Offer] = {}

    def offer(self, description: str, schema: dict[str, Any] | None = None) -> Callable[[Run], Run]:
        """Offers the function as a tool of its name; `schema` is for its arguments, and none are taken without it."""

        def register(run: Run) -> Run:
            name = run.__name__
            listed = types.Tool(name=name, description=description, input_schema=schema or {"type": "object"})
            self.by_name[name] = Offer(listed, run)
            return run

        return register


def text(words: str) -> types.CallToolResult:
    """A result of one text."""
    return types.CallToolResult(content=[types.TextContent(text=words)])


def one_text(name: str) -> dict[str, Any]:
    """The schema of a single required text."""
    return {"type": "object", "properties": {name: {"type": "string"}}, "required": [name]}
