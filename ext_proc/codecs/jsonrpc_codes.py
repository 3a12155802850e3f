"""JSON-RPC's error codes, and those of ours beside them.

Rules:
- Codes of ours lie outside -32768..-32000, which belong to JSON-RPC and the protocols on it.

Not here: who is told which (mcp_denials.py, a2a_denials.py).
"""

from __future__ import annotations

DENIED = -31403
TOO_LARGE = -31413
PARSE_ERROR = -32700
INVALID_REQUEST = -32600
METHOD_NOT_FOUND = -32601
INVALID_PARAMS = -32602
