"""MCP: what a server asks of its client, in requests of its own and in `inputRequests`: the shape that is promised.

Rules:
- `inputRequests` (2026-07-28) is a map of objects, each with a method and perhaps params; whatever `resultType` says,
  for some client may act on it all the same. The tasks extension puts it into tasks and notifications about them.
- A key that equals one of the protocol's but for case is refused: two clients would show two different things.

Not here: what may be asked (policies); the envelope of messages (mcp_messages.py).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ext_proc.framing.json_view import colliding_key
from ext_proc.messages.mcp import URL_ELICITATION_REQUIRED

_REQUEST = frozenset({"method", "params"})
# The params of sampling/createMessage, elicitation/create and tasks/*, over all revisions (MCP schema).
_ASKED = frozenset(
    {
        "messages",
        "modelPreferences",
        "systemPrompt",
        "includeContext",
        "maxTokens",
        "tools",
        "toolChoice",
        "mode",
        "message",
        "requestedSchema",
        "url",
        "elicitationId",
        "inputRequests",
    }
)
_ELICITATIONS = frozenset({"elicitations"})
_AMBIGUOUS = ("ambiguous-key", "a key equals one of the protocol's but for upper and lower case")


def fault_in_params(params: Mapping[str, Any]) -> tuple[str, str] | None:
    """What is wrong with the params of a server's request or notification: a slug and words; None for nothing."""
    if colliding_key(params, _ASKED) is not None:
        return _AMBIGUOUS
    return fault_in_inputs(params, "params")


def fault_in_inputs(holder: Mapping[str, Any], where: str = "result") -> tuple[str, str] | None:
    """What is wrong with `inputRequests` in a result, or in params; None for nothing, also where there are none."""
    asked = holder.get("inputRequests")
    if asked is None:
        return None
    if not isinstance(asked, dict) or not all(isinstance(request, dict) for request in asked.values()):
        return "mcp-result-invalid", f"{where}.inputRequests must be an object of objects"
    for request in asked.values():
        params = request.get("params")
        if colliding_key(request, _REQUEST) is not None:
            return _AMBIGUOUS
        if not isinstance(request.get("method"), str) or not isinstance(params, dict | None):
            return "mcp-result-invalid", f"every entry of {where}.inputRequests must have a method, and its params"
        if colliding_key(params or {}, _ASKED) is not None:
            return _AMBIGUOUS
    return None


def fault_in_error(error: Mapping[str, Any]) -> tuple[str, str] | None:
    """What is wrong with the elicitations of a -32042 (2025-11-25); None for nothing, and for another error."""
    if error["code"] != URL_ELICITATION_REQUIRED:
        return None
    data = error.get("data")
    if not isinstance(data, dict):
        return None
    if colliding_key(data, _ELICITATIONS) is not None:
        return _AMBIGUOUS
    found = data.get("elicitations", [])
    if not isinstance(found, list) or not all(isinstance(elicitation, dict) for elicitation in found):
        return "mcp-result-invalid", "error.data.elicitations must be a list of objects"
    return _AMBIGUOUS if any(colliding_key(elicitation, _ASKED) is not None for elicitation in found) else None
