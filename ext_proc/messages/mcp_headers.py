"""A request of MCP's by its headers alone (2026-07-28): what is asked, before its body is there or without it.

Rules:
- It is no JSON-RPC: no hook is shown it. Policies tell by `Policy.by_headers` what they would say of the body.

Not here: reading the headers (codecs/mcp_headers.py).
"""

from __future__ import annotations

from collections.abc import Mapping

from ext_proc.messages.mcp import McpCall, McpTransport

MODERN = frozenset({"2026-07-28"})  # the revisions whose headers repeat the body
# The member of `params` that `Mcp-Name` repeats, by method (2026-07-28, transports: standard headers; `tasks/result` is
# of an earlier revision).
NAMED_BY: Mapping[str, str] = {
    "tools/call": "name",
    "prompts/get": "name",
    "resources/read": "uri",
    "tasks/get": "taskId",
    "tasks/update": "taskId",
    "tasks/cancel": "taskId",
}


class HeadersOnly(McpTransport):
    """What the headers of a POST say that its body is.

    Attributes:
        stands_for: the class of message that such a body holds.
    """

    __slots__ = ("_method", "_target", "stands_for")
    kind = "headers_only"

    def __init__(self, stands_for: type[McpCall], method: str, target: str) -> None:
        super().__init__(b"")
        self.stands_for = stands_for
        self._method = method
        self._target = target

    @property
    def method(self) -> str:
        return self._method

    @property
    def target(self) -> str:
        return self._target


class ToolHeaders(HeadersOnly):
    """The headers of a `tools/call`."""

    __slots__ = ()
    names = "tool"
