"""Gemini: what a client is told when something of its exchange is denied.

Rules:
- Before the answer: an HTTP error with Google's error object, by whose code official clients choose their exception.
- In a stream every open candidate ends with `finishReason: "PROHIBITED_CONTENT"`: clients end cleanly.
- The trail's id is in all of them, in a field that clients pass over, and nothing of the payload.

Source: Google, API design guide (errors), Gemini API (FinishReason).

Not here: who denies and why; which candidates are open (gemini_answer.py), what carries the error (error_replies.py).
"""

from __future__ import annotations

from typing import Any

from ext_proc.policy import Deny

STOPPED = "PROHIBITED_CONTENT"
_STATUSES = {
    400: "INVALID_ARGUMENT",
    401: "UNAUTHENTICATED",
    403: "PERMISSION_DENIED",
    404: "NOT_FOUND",
    413: "INVALID_ARGUMENT",
    429: "RESOURCE_EXHAUSTED",
    503: "UNAVAILABLE",
}
_DETAIL = "type.googleapis.com/google.rpc.ErrorInfo"


def error_object(deny: Deny, trail_id: str, status: int) -> dict[str, Any]:
    """Google's error object; why stands in its details, where Google's own errors have it."""
    word = _STATUSES.get(status, "INTERNAL" if status >= 500 else "FAILED_PRECONDITION")
    metadata: dict[str, Any] = {"trail": trail_id, **({"data": deny.data} if deny.data else {})}
    why = {"@type": _DETAIL, "reason": deny.reason, "domain": "gatehouse", "metadata": metadata}
    return {"error": {"code": status, "message": deny.message, "status": word, "details": [why]}}
