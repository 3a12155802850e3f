"""A2A: what a client is told when something of its exchange is denied.

Rules:
- A request is answered with its own id; what has no id, or none that can be trusted, with `id: null`.
- A denied request is answered with JSON-RPC and status 200 unless the verdict says otherwise, as agents answer errors
  themselves, and for the official client reads the error from a success only (docs/adr/0004).
- An error is an answer: on a stream nothing follows it.
- `data` is an object in 0.3, and in 1.0 a list of typed details, first a google.rpc.ErrorInfo (1.0, section 9.5).
- A card is no JSON-RPC: its denial is an HTTP error with the error object of the REST binding (1.0, section 11.6).
- The trail's id is in every one of them, and nothing of the payload.

Not here: who denies and why.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ext_proc.codecs.error_replies import reply, status_of
from ext_proc.codecs.jsonrpc_codes import DENIED, code_of
from ext_proc.messages import (
    A2aAnswer,
    A2aError,
    A2aRequest,
    AgentCard,
    CardFetch,
    Message,
    Opaque,
    RequestHead,
    encode_json,
)
from ext_proc.policy import Deny
from ext_proc.replies import ImmediateReply

_VERSION = "a2a-version"
_DOMAIN = "a2a-protocol.org"
# 1.0's names of its own errors (1.0, section 5.4).
_REASONS = {
    -32001: "TASK_NOT_FOUND",
    -32002: "TASK_NOT_CANCELABLE",
    -32003: "PUSH_NOTIFICATION_NOT_SUPPORTED",
    -32004: "UNSUPPORTED_OPERATION",
    -32005: "CONTENT_TYPE_NOT_SUPPORTED",
    -32006: "INVALID_AGENT_RESPONSE",
    -32007: "EXTENDED_AGENT_CARD_NOT_CONFIGURED",
    -32008: "EXTENSION_SUPPORT_REQUIRED",
    -32009: "VERSION_NOT_SUPPORTED",
}
# The names of google.rpc.Code that HTTP's statuses have.
_CODES = {400: "INVALID_ARGUMENT", 401: "UNAUTHENTICATED", 403: "PERMISSION_DENIED", 404: "NOT_FOUND"}


def denial(denials: Sequence[tuple[Message, Deny]], head: RequestHead, trail_id: str) -> ImmediateReply:
    """The HTTP answer to a denied request; there are no batches."""
    message, deny = denials[0]
    status = _status(message, deny)
    if isinstance(message, CardFetch | AgentCard) or (isinstance(message, Opaque) and head.method == "GET"):
        value = _http_error(deny, trail_id, status)
    else:
        value = _error(message, deny, trail_id, modern=_is_modern(message, head))
    return reply(deny, status, value)


def refusal(message: Message, deny: Deny, trail_id: str) -> Message | None:
    """The answer in the place of one denied message; None for one of many, whose stream ends instead."""
    request = _request(message)
    return None if request is not None and request.is_streamed else instead(message, deny, trail_id)


def instead(message: Message, deny: Deny, trail_id: str) -> Message | None:
    """What tells the client of one message that it does not get; None for what nobody waits for."""
    if isinstance(message, CardFetch | AgentCard):
        return Message(encode_json(_http_error(deny, trail_id, _status(message, deny))))
    request = _request(message)
    if request is None and not isinstance(message, A2aAnswer):
        return None
    return A2aError(_error(message, deny, trail_id, modern=_is_modern(message, None)), request=request)


def _error(message: Message, deny: Deny, trail_id: str, *, modern: bool) -> dict[str, Any]:
    """The JSON-RPC error for one denied message."""
    code = _code(message, deny)
    own = {"trail": trail_id, "reason": deny.reason}
    data: Any = _details(code, own, deny.data) if modern else {**own, **(deny.data or {})}
    return {"jsonrpc": "2.0", "id": _id(message), "error": {"code": code, "message": deny.message, "data": data}}


def _details(code: int, own: Mapping[str, str], data: Mapping[str, Any] | None) -> list[dict[str, Any]]:
    """1.0's typed details: why, and what the verdict adds, whose values need not be strings."""
    reason, domain = _REASONS.get(code), _DOMAIN
    if reason is None:
        reason, domain = own["reason"].upper().replace("-", "_"), "gatehouse"
    info = {"@type": "type.googleapis.com/google.rpc.ErrorInfo", "reason": reason, "domain": domain, "metadata": own}
    added = {"@type": "type.googleapis.com/google.protobuf.Struct", "value": data}
    return [info, added] if data else [info]


def _http_error(deny: Deny, trail_id: str, status: int) -> dict[str, Any]:
    own = {"trail": trail_id, "reason": deny.reason}
    details = _details(DENIED, own, deny.data)
    word = _CODES.get(status, "INTERNAL" if status >= 500 else "FAILED_PRECONDITION")
    return {"error": {"code": status, "status": word, "message": deny.message, "details": details}}


def _is_modern(message: Message, head: RequestHead | None) -> bool:
    """Whether the client speaks 1.0: by the request's method, else by the header, which 0.3's clients need not send."""
    request = _request(message)
    if request is not None:
        return request.version == "1.0"
    return head is not None and (head.headers.get(_VERSION) or "").strip().startswith("1")


def _request(message: Message) -> A2aRequest | None:
    if isinstance(message, A2aAnswer):
        return message.request
    return message if isinstance(message, A2aRequest) else None


def _id(message: Message) -> str | int | None:
    request = _request(message)
    if request is not None:
        return request.id
    return message.id if isinstance(message, A2aAnswer | Opaque) else None


def _code(message: Message, deny: Deny) -> int:
    return code_of(message, deny, params="a2a-")


def _status(message: Message, deny: Deny) -> int:
    # Where nothing waits for the body, the status must say it.
    return status_of(message, deny, usual=403 if _id(message) is None else 200)
