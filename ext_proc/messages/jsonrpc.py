"""JSON-RPC 2.0, as MCP and A2A build on it: what a message of either is.

Rules:
- The value is what a strict reader read from `raw`, and is not to be changed: a changed message is a new one.

Not here: which methods there are (mcp.py, a2a.py).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ext_proc.messages.base import Message, encode_json


class JsonRpcMessage(Message):
    """A JSON-RPC 2.0 object.

    Attributes:
        value: the decoded object; not to be changed.
    """

    __slots__ = ("value",)
    kind = "jsonrpc"

    def __init__(self, value: Mapping[str, Any], raw: bytes | None = None) -> None:
        super().__init__(encode_json(value) if raw is None else raw)
        self.value = value
