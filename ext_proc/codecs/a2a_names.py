"""A2A beside other formats on one route (`protocol: auto`): whose a JSON-RPC body is.

Rules:
- The method tells, for the two protocols' methods have other forms; `A2A-Version` alone makes nothing A2A, or a header
  would take a call out of the sight of the policies for MCP.
- `tasks/get` and `tasks/cancel` are methods of both: A2A 0.3 names the task `id`, MCP `taskId`.
- In doubt it is A2A's, where such a body is malformed, and so denied: both names or none, or MCP's with a header that
  says A2A. An array with any of its methods is A2A's for the same reason.

Not here: which codec is asked first (auto.py).
"""

from __future__ import annotations

import re
from typing import Any

from ext_proc.messages import RequestHead

_SHARED = frozenset({"tasks/get", "tasks/cancel"})
# 1.0's methods, and those of its drafts, are in PascalCase; MCP has no such method, and none of these of 0.3.
_OWN = re.compile(r"[A-Z][A-Za-z0-9]*|message/.*|agent/.*|tasks/resubscribe|tasks/pushNotificationConfig/.*", re.DOTALL)


def is_a2a_call(head: RequestHead, value: Any) -> bool:
    """Whether a JSON value is a call of A2A's, or could be taken for one. Never raises."""
    method = value.get("method") if isinstance(value, dict) else None
    if not isinstance(method, str):
        return False
    if method not in _SHARED:
        return _OWN.fullmatch(method) is not None
    params = value.get("params")
    named = params if isinstance(params, dict) else {}
    is_mcp = named.get("taskId") is not None and not any(key.casefold() == "id" for key in named)
    return not is_mcp or bool(head.headers.get("a2a-version"))
