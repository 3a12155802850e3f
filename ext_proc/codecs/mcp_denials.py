"""MCP: what a client is told when something of its exchange is denied.

Rules:
- A request is answered with its own id; what has no id, or none that can be trusted, with `id: null`.
- Every denial is JSON-RPC in application/json, whatever the status: a client of both eras that finds no such body
  behind a 4xx concludes that the server is legacy and starts the old handshake.
- A denied request is answered with status 200 unless the verdict says otherwise, since several legacy clients read the
  JSON-RPC error from a success only.
- The trail's id is in every one of them, and nothing of the payload.
- What a server asks of the client becomes a request of a method that no client knows. It answers -32601, as one that
  cannot do what was asked (JSON-RPC 2.0, section 5.1; MCP, sampling and roots: error handling): the server is told in
  its own protocol, at once, though nothing can be sent to it from here.

Not here: who denies and why.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ext_proc.codecs.content_types import JSON
from ext_proc.codecs.error_replies import status_of
from ext_proc.codecs.jsonrpc_codes import INVALID_PARAMS, INVALID_REQUEST, METHOD_NOT_FOUND, PARSE_ERROR, code_of
from ext_proc.codecs.mcp_headers import is_modern, is_modern_call
from ext_proc.messages import (
    ClientError,
    ClientResult,
    McpAnswer,
    McpError,
    McpRequest,
    Message,
    Opaque,
    RequestHead,
    ServerRequest,
    ToolCall,
    ToolResult,
    encode_json,
)
from ext_proc.policy import Deny
from ext_proc.replies import ImmediateReply

DENIED_REQUEST = "gatehouse/denied"

# Revision 2026-07-28 gives the spec's errors a status (transports: error responses).
_MODERN_STATUS = {
    PARSE_ERROR: 400,
    INVALID_REQUEST: 400,
    INVALID_PARAMS: 400,
    -32020: 400,
    -32021: 400,
    -32022: 400,
    METHOD_NOT_FOUND: 404,
}


def denial(
    denials: Sequence[tuple[Message, Deny]], head: RequestHead, trail_id: str, *, batch: bool = False
) -> ImmediateReply:
    """The HTTP answer to messages that are all denied.

    In a batch only what has an id is answered, in an array; where nothing has one there is a single error without an id
    (MCP 2025-03-26, transports: input that is not accepted).
    """
    modern = is_modern(head)
    answers = [
        (_answer(message, deny, trail_id, modern=modern), _status(message, deny, modern=modern))
        for message, deny in denials
    ]
    identified = [answer for answer in answers if answer[0]["id"] is not None]
    if batch and identified:
        answers = identified
    statuses = {status for _, status in answers}
    body = [value for value, _ in answers] if batch and identified else answers[0][0]
    headers = dict.fromkeys((name.lower(), value.encode()) for _, deny in denials for name, value in deny.headers)
    return ImmediateReply(
        status=statuses.pop() if len(statuses) == 1 else 200,
        body=encode_json(body),
        headers=(("content-type", JSON.encode()), *(line for line in headers if line[0] != "content-type")),
        details=denials[0][1].reason,
    )


def refusal(message: Message, deny: Deny, trail_id: str) -> Message | None:
    """What stands in the place of one denied message; None for what nobody waits for."""
    if isinstance(message, ServerRequest):
        params = {"trail": trail_id, "reason": deny.reason}
        return ServerRequest({"jsonrpc": "2.0", "id": message.id, "method": DENIED_REQUEST, "params": params})
    if _subject(message) is None and not _is_server_answer(message):
        return None
    request = _request(message)
    value = _answer(message, deny, trail_id, modern=request is not None and is_modern_call(request))
    return ToolResult(value, request=request) if "result" in value else McpError(value, request=request)


def _answer(message: Message, deny: Deny, trail_id: str, *, modern: bool) -> dict[str, Any]:
    """The JSON-RPC answer to one denied message."""
    envelope: dict[str, Any] = {"jsonrpc": "2.0", "id": _subject(message)}
    if _as_result(message, deny):
        result: dict[str, Any] = {
            "content": [{"type": "text", "text": deny.message}],
            "isError": True,
            "_meta": {"gatehouse/trail": trail_id},
        }
        if modern:
            result["resultType"] = "complete"
        return {**envelope, "result": result}
    data: Mapping[str, Any] = {"trail": trail_id, "reason": deny.reason, **(deny.data or {})}
    return {**envelope, "error": {"code": _code(message, deny), "message": deny.message, "data": data}}


def _subject(message: Message) -> str | int | None:
    """The id that a client waits for an answer to; None where it waits for none."""
    if isinstance(message, ServerRequest | ClientResult | ClientError):
        return None  # the server's ids: an error with one would answer another request of the client's
    request = _request(message)
    if request is not None:
        return request.id
    return message.id if isinstance(message, McpAnswer | Opaque) else None


def _is_server_answer(message: Message) -> bool:
    return isinstance(message, McpAnswer) and not isinstance(message, ClientResult | ClientError)


def _request(message: Message) -> McpRequest | None:
    if isinstance(message, McpAnswer):
        return message.request
    return message if isinstance(message, McpRequest) else None


def _as_result(message: Message, deny: Deny) -> bool:
    return deny.as_result and isinstance(_request(message), ToolCall)


def _code(message: Message, deny: Deny) -> int:
    return code_of(message, deny, params="mcp-params-invalid")


def _status(message: Message, deny: Deny, *, modern: bool) -> int:
    if _as_result(message, deny):
        return 200  # a result is no error to HTTP: behind another status no client would read it
    usual = _MODERN_STATUS.get(_code(message, deny), 200) if modern else 200
    # Where nothing waits for the body, the status must say it.
    return status_of(message, deny, usual=403 if _subject(message) is None else usual)
