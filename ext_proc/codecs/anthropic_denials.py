"""Anthropic messages: what a client is told when something of its exchange is denied.

Rules:
- Before the answer: an HTTP error with Anthropic's error object, by whose status official clients choose their
  exception.
- In a stream every open block ends, then the message, with the stop reason `refusal`: clients end cleanly.
- The trail's id is in all of them, in a field that clients pass over, and nothing of the payload.

Not here: who denies and why; which blocks are open (anthropic_answer.py), what carries the error (error_replies.py).
"""

from __future__ import annotations

from typing import Any

from ext_proc.policy import Deny

STOPPED = "refusal"
_TYPES = {
    401: "authentication_error",
    402: "billing_error",
    403: "permission_error",
    404: "not_found_error",
    413: "request_too_large",
    429: "rate_limit_error",
    504: "timeout_error",
    529: "overloaded_error",
}


def error_object(deny: Deny, trail_id: str, status: int) -> dict[str, Any]:
    """Anthropic's error object, and why beside it; `Deny.data` are its details, where its clients look. `Deny.code` has
    no place in it, for codes are words here."""
    kind = "api_error" if status >= 500 and status not in _TYPES else _TYPES.get(status, "invalid_request_error")
    error = {"type": kind, "message": deny.message, "gatehouse": {"trail": trail_id, "reason": deny.reason}}
    return {"type": "error", "error": {**error, **({"details": deny.data} if deny.data else {})}}
