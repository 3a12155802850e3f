"""OpenAI chat: what a client is told when something of its exchange is denied.

Rules:
- Before the answer: an HTTP error with OpenAI's error object, by whose status official clients choose their exception.
- In a stream every open choice ends with `finish_reason: "content_filter"`, then `[DONE]`: clients end cleanly.
- The trail's id is in all of them, in a field that clients pass over, and nothing of the payload.

Not here: who denies and why; which choices are open (openai_chat_answer.py), what carries the error (error_replies.py).
"""

from __future__ import annotations

from typing import Any

from ext_proc.policy import Deny

DONE = b"[DONE]"
STOPPED = "content_filter"

_TYPES = {401: "authentication_error", 403: "permission_error", 429: "rate_limit_error"}


def error_object(deny: Deny, trail_id: str, status: int) -> dict[str, Any]:
    """OpenAI's error object; `Deny.code` has no place in it, for codes are words here: the reason."""
    kind = "server_error" if status >= 500 else _TYPES.get(status, "invalid_request_error")
    error: dict[str, Any] = {"message": deny.message, "type": kind, "param": None, "code": deny.reason}
    return {"error": {**error, "trail": trail_id, **({"data": deny.data} if deny.data else {})}}


def closing(deny: Deny, trail_id: str) -> dict[str, Any]:
    """What an event that ends a choice says of why, beside OpenAI's own fields."""
    return {"gatehouse": {"trail": trail_id, "reason": deny.reason}}


def end_of_choice(index: int, *, legacy: bool = False) -> dict[str, Any]:
    """A choice, as it stands in the event that ends it.

    Args:
        legacy: whether it is one of the older completions, whose clients need the text.
    """
    empty: dict[str, Any] = {"text": "", "logprobs": None} if legacy else {"delta": {}}
    return {"index": index, **empty, "finish_reason": STOPPED}
