"""Anthropic messages: what a client is told when something of its exchange is denied.

Rules:
- Before the answer: an HTTP error with Anthropic's error object, by whose status official clients choose their
  exception.
- In a stream every open block ends, then the message, with the stop reason `refusal`: clients end cleanly.
- The trail's id is in all of them, in a field that clients pass over, and nothing of the payload.

Not here: who denies and why; which blocks are open (anthropic_answer.py).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ext_proc.codecs.anthropic_messages import Counted, MessageAnswer, MessageError
from ext_proc.messages import Message, Opaque, encode_json
from ext_proc.policy import Deny
from ext_proc.replies import ImmediateReply

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


def denial(denials: Sequence[tuple[Message, Deny]], trail_id: str) -> ImmediateReply:
    """The HTTP answer to a denied request: status as the verdict says; else 413 too large, 400 malformed, 403."""
    message, deny = denials[0]
    status = status_of(message, deny)
    lines = ((name.lower(), value.encode()) for name, value in deny.headers)
    return ImmediateReply(
        status=status,
        body=encode_json(error_object(deny, trail_id, status)),
        headers=(("content-type", b"application/json"), *(line for line in lines if line[0] != "content-type")),
        details=deny.reason,
    )


def refusal(message: Message, deny: Deny, trail_id: str) -> Message | None:
    """The error in the place of a whole answer; None for an event of a stream, which is ended instead."""
    if not isinstance(message, MessageAnswer | Counted):
        return None
    value = error_object(deny, trail_id, status_of(message, deny))
    return MessageError(value, encode_json(value))


def error_object(deny: Deny, trail_id: str, status: int) -> dict[str, Any]:
    """Anthropic's error object, and why beside it; `Deny.code` has no place in it, for codes are words here."""
    kind = "api_error" if status >= 500 and status not in _TYPES else _TYPES.get(status, "invalid_request_error")
    why: dict[str, Any] = {"trail": trail_id, "reason": deny.reason, **({"data": deny.data} if deny.data else {})}
    return {"type": "error", "error": {"type": kind, "message": deny.message, "gatehouse": why}}


def status_of(message: Message, deny: Deny) -> int:
    """The HTTP status of a denial."""
    if deny.status is not None:
        return deny.status
    if isinstance(message, Opaque):
        return 413 if message.too_large else 400 if message.malformed else 403
    return 403
