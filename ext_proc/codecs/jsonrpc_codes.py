"""JSON-RPC's error codes, those of ours beside them, and which a denial has.

Rules:
- Codes of ours lie outside -32768..-32000, which belong to JSON-RPC and the protocols on it.

Not here: the errors themselves (mcp_denials.py, a2a_denials.py).
"""

from __future__ import annotations

from ext_proc.messages import Message, Opaque
from ext_proc.policy import Deny

DENIED = -31403
TOO_LARGE = -31413
PARSE_ERROR = -32700
INVALID_REQUEST = -32600
METHOD_NOT_FOUND = -32601
INVALID_PARAMS = -32602


def code_of(message: Message, deny: Deny, *, params: str) -> int:
    """The code of a denial's error: as the verdict says, else by what could not be read.

    Args:
        params: how the reasons begin that say that a call's parameters are invalid.
    """
    if deny.code is not None:
        return deny.code
    if not isinstance(message, Opaque):
        return DENIED
    if message.too_large:
        return TOO_LARGE
    if not message.malformed:
        return DENIED
    if message.reason.startswith("json-"):
        return PARSE_ERROR
    return INVALID_PARAMS if message.reason.startswith(params) else INVALID_REQUEST
