"""What an MCP server says of itself at the beginning: its results for `initialize` and `server/discover`.

Rules:
- `instructions` are a server's words to the model, read before any tool is called.

Not here: what it lists (mcp.py), whether its word is taken (policies).
"""

from __future__ import annotations

from ext_proc.messages.mcp import CacheableResult, McpResult


class InitializeResult(McpResult):
    """The result of `initialize`; legacy revisions."""

    __slots__ = ()
    kind = "initialize_result"


class DiscoverResult(CacheableResult):
    """The result of `server/discover` (MCP 2026-07-28)."""

    __slots__ = ()
    kind = "discover_result"
