"""Gemini: what a client is told when something of its exchange is denied.

Rules:
- Before the answer: an HTTP error with Google's error object, by whose code official clients choose their exception.
- In a stream every open candidate ends with `finishReason: "PROHIBITED_CONTENT"`: clients end cleanly.
- The trail's id is in all of them, in a field that clients pass over, and nothing of the payload.

Source: Google, API design guide (errors), Gemini API (FinishReason).

Not here: who denies and why; which candidates are open (gemini_answer.py).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ext_proc.codecs.gemini_messages import GeminiAnswer, GeminiCounted, GeminiEmbedded, GeminiError
from ext_proc.messages import Message, Opaque, encode_json
from ext_proc.policy import Deny
from ext_proc.replies import ImmediateReply

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


def denial(denials: Sequence[tuple[Message, Deny]], trail_id: str) -> ImmediateReply:
    """The HTTP answer to a denied request: status as the verdict says; else 413 too large, 400 malformed, 403."""
    message, deny = denials[0]
    status = _status(message, deny)
    lines = ((name.lower(), value.encode()) for name, value in deny.headers)
    return ImmediateReply(
        status=status,
        body=encode_json(error_object(deny, trail_id, status)),
        headers=(("content-type", b"application/json"), *(line for line in lines if line[0] != "content-type")),
        details=deny.reason,
    )


def refusal(message: Message, deny: Deny, trail_id: str) -> Message | None:
    """The error in the place of a whole answer; None for a piece of a stream, which is ended instead."""
    if not isinstance(message, GeminiAnswer | GeminiCounted | GeminiEmbedded):
        return None
    value = error_object(deny, trail_id, _status(message, deny))
    return GeminiError(value, encode_json(value))


def error_object(deny: Deny, trail_id: str, status: int) -> dict[str, Any]:
    """Google's error object; why stands in its details, where Google's own errors have it."""
    word = _STATUSES.get(status, "INTERNAL" if status >= 500 else "FAILED_PRECONDITION")
    metadata: dict[str, Any] = {"trail": trail_id, **({"data": deny.data} if deny.data else {})}
    why = {"@type": _DETAIL, "reason": deny.reason, "domain": "gatehouse", "metadata": metadata}
    return {"error": {"code": status, "message": deny.message, "status": word, "details": [why]}}


def _status(message: Message, deny: Deny) -> int:
    if deny.status is not None:
        return deny.status
    if isinstance(message, Opaque):
        return 413 if message.too_large else 400 if message.malformed else 403
    return 403
