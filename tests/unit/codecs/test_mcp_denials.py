"""codecs/mcp_denials.py: what a client is told, in a shape and with a status that it reads."""

from __future__ import annotations

import json
from typing import Any

import pytest
from mcp_types import CallToolResult
from mcp_types.jsonrpc import JSONRPCError, jsonrpc_message_adapter
from mcp_types.methods import parse_server_request

from ext_proc.messages import (
    McpAnswer,
    McpError,
    McpRequest,
    Message,
    Opaque,
    RequestHead,
    ServerRequest,
    StreamOpen,
    ToolResult,
)
from ext_proc.policy import Deny
from ext_proc.replies import ImmediateReply
from tests.unit.codecs.building import (
    CODEC,
    MODERN,
    STREAM,
    TEXT,
    answered,
    asked,
    call,
    error,
    event,
    head,
    notification,
    read_request,
    result,
)

DENY = Deny("tool-not-allowed", "not here")
TRAIL = "t-1"
CALL = call("tools/call", id="c", name="rm")


def denied(message: Message, deny: Deny = DENY, request_head: RequestHead | None = None) -> tuple[ImmediateReply, Any]:
    reply = CODEC.denial([(message, deny)], request_head or head(), TRAIL)
    return reply, json.loads(reply.body)


def test_a_denied_request_is_answered_with_its_own_id_and_the_trail() -> None:
    reply, body = denied(asked(CALL)[0])
    assert body == {
        "jsonrpc": "2.0",
        "id": "c",
        "error": {"code": -31403, "message": "not here", "data": {"trail": TRAIL, "reason": "tool-not-allowed"}},
    }
    assert (reply.status, dict(reply.headers)["content-type"]) == (200, b"application/json")


def test_a_verdict_may_choose_status_code_data_and_headers() -> None:
    deny = Deny(
        "rate",
        "later",
        status=429,
        code=-31429,
        data={"retry": 5},
        headers=(("Retry-After", "5"), ("Content-Type", "text/html")),
    )
    reply, body = denied(asked(CALL)[0], deny)
    assert (reply.status, body["error"]["code"]) == (429, -31429)
    assert body["error"]["data"] == {"trail": TRAIL, "reason": "rate", "retry": 5}
    assert reply.headers == (("content-type", b"application/json"), ("retry-after", b"5"))


@pytest.mark.parametrize(
    ("code", "modern", "status"),
    [(-32601, True, 404), (-32602, True, 400), (-32020, True, 400), (-31403, True, 200), (-32601, False, 200)],
)
def test_the_specs_own_codes_have_a_status_on_the_modern_wire(code: int, modern: bool, status: int) -> None:
    reply, _ = denied(asked(CALL)[0], Deny("r", "m", code=code), head(version=MODERN if modern else "2025-11-25"))
    assert reply.status == status


@pytest.mark.parametrize("version", ["2025-11-25", MODERN])
def test_a_denied_tool_call_can_be_a_result_that_a_model_reads(version: str) -> None:
    deny = Deny("r", "use the other tool", as_result=True, status=403)
    reply, body = denied(asked(CALL)[0], deny, head(version=version))
    assert (reply.status, body["id"]) == (200, "c")
    parsed = CallToolResult.model_validate(body["result"])
    assert parsed.is_error
    assert body["result"]["content"] == [{"type": "text", "text": "use the other tool"}]
    assert body["result"]["_meta"] == {"gatehouse/trail": TRAIL}
    assert body["result"].get("resultType") == ("complete" if version == MODERN else None)


def test_only_a_tool_call_has_such_a_result() -> None:
    _, body = denied(asked(call("tools/list"))[0], Deny("r", "m", as_result=True))
    assert "error" in body


@pytest.mark.parametrize(
    ("body", "code", "id"),
    [
        (b"{", -32700, None),
        (b"", -32700, None),
        (b'{"a":1,"a":2}', -32700, None),
        ({"a": 1}, -32600, None),
        ([], -32600, None),
        ({**CALL, "Id": 1}, -32600, None),
        (call("tools/call", id=5), -32602, 5),
        (notification("tools/call"), -32600, None),
    ],
)
def test_a_malformed_body_has_the_json_rpc_code_for_it(body: Any, code: int, id: Any) -> None:
    (message,) = read_request(body)
    reply, value = denied(message)
    assert (reply.status, value["error"]["code"], value["id"]) == (400, code, id)


def test_what_is_too_large_gets_413() -> None:
    reply, body = denied(Opaque("too-large", "too large", too_large=True))
    assert (reply.status, body["error"]["code"], body["id"]) == (413, -31413, None)


@pytest.mark.parametrize(
    "message",
    [
        asked(notification())[0],
        asked(result(id=5))[0],
        asked(error(id=5))[0],
        StreamOpen(b""),
        Opaque("not-this-protocol", "no"),
    ],
)
def test_what_has_no_id_of_its_own_is_forbidden_by_the_status(message: Message) -> None:
    reply, body = denied(message)
    assert (reply.status, body["id"], body["error"]["code"]) == (403, None, -31403)


def test_a_batch_is_answered_in_an_array_with_an_error_for_each_request() -> None:
    messages = asked([CALL, notification(), call("ping", id=2)])
    reply = CODEC.denial([(message, DENY) for message in messages], head(), TRAIL, batch=True)
    assert [value["id"] for value in json.loads(reply.body)] == ["c", 2]
    assert reply.status == 200


def test_a_batch_of_notifications_is_forbidden_with_one_error() -> None:
    messages = asked([notification(), notification("notifications/cancelled")])
    reply = CODEC.denial([(message, DENY) for message in messages], head(), TRAIL, batch=True)
    assert (reply.status, json.loads(reply.body)["id"]) == (403, None)


def test_a_batch_takes_a_status_that_all_its_denials_share() -> None:
    messages = asked([CALL, call("ping", id=2)])
    deny = Deny("auth", "who are you", status=401, headers=(("www-authenticate", "Bearer"),))
    reply = CODEC.denial([(message, deny) for message in messages], head(), TRAIL, batch=True)
    assert reply.status == 401
    assert [name for name, _ in reply.headers] == ["content-type", "www-authenticate"]
    mixed = CODEC.denial([(messages[0], deny), (messages[1], DENY)], head(), TRAIL, batch=True)
    assert mixed.status == 200


@pytest.mark.parametrize("version", [None, "2025-11-25", MODERN])
@pytest.mark.parametrize(
    "message",
    [asked(CALL)[0], asked(call("server/discover"))[0], asked(notification())[0], *read_request(b"{")],
)
@pytest.mark.parametrize("status", [None, 400, 401, 403, 404, 405, 429])
def test_the_official_client_finds_a_json_rpc_error_behind_any_status(
    version: str | None, message: Message, status: int | None
) -> None:
    # Without one, a client of both eras takes a 4xx for a legacy server and starts the old handshake.
    reply, _ = denied(message, Deny("r", "m", status=status), head(version=version))
    assert dict(reply.headers)["content-type"].startswith(b"application/json")
    assert isinstance(jsonrpc_message_adapter.validate_json(reply.body, by_name=False), JSONRPCError)


def refused(message: Message, deny: Deny = DENY) -> McpAnswer | None:
    refusal = CODEC.refusal(message, deny, TRAIL)
    assert refusal is None or isinstance(refusal, McpAnswer)
    return refusal


def test_a_denied_answer_is_replaced_by_an_error_with_its_id() -> None:
    requests = asked(CALL)
    (message,), _ = answered(requests, result(id="c", **TEXT))
    refusal = refused(message)
    assert isinstance(refusal, McpError)
    assert (refusal.id, refusal.request, refusal.code) == ("c", requests[0], -31403)


def test_a_denied_answer_with_another_id_is_replaced_for_the_request_that_waits() -> None:
    (message,), _ = answered(asked(CALL), result(id="other", **TEXT))
    refusal = refused(message)
    assert refusal is not None
    assert refusal.id == "c"


def test_a_denied_answer_on_a_stream_of_its_own_keeps_its_id() -> None:
    (message,), _ = answered([StreamOpen(b"")], event(result(id=9, **TEXT)), STREAM)
    refusal = refused(message)
    assert refusal is not None
    assert (refusal.id, refusal.request) == (9, None)


def test_a_denied_tool_result_can_become_a_result_in_the_requests_own_era() -> None:
    modern = call("tools/call", id=1, name="a", _meta={"io.modelcontextprotocol/protocolVersion": MODERN})
    for value, kind in ((call("tools/call", name="a"), None), (modern, "complete")):
        (message,), _ = answered(asked(value), result(**TEXT))
        refusal = refused(message, Deny("r", "m", as_result=True))
        assert isinstance(refusal, ToolResult)
        assert refusal.is_error
        assert refusal.result.get("resultType") == kind


def test_a_denied_element_of_a_batch_has_its_error() -> None:
    (message,) = asked(CALL)
    refusal = refused(message)
    assert isinstance(message, McpRequest)
    assert isinstance(refusal, McpError)
    assert (refusal.id, refusal.request) == ("c", message)


def test_a_malformed_element_of_a_batch_has_its_error_where_its_id_is_known() -> None:
    known, unknown = read_request([call("tools/call", id=5), {"a": 1}])
    refusal = refused(known)
    assert isinstance(refusal, McpError)
    assert (refusal.id, refusal.code) == (5, -32602)
    assert refused(unknown) is None


def test_nothing_stands_in_the_place_of_what_nobody_waits_for() -> None:
    (message,), _ = answered(asked(CALL), event(notification()), STREAM)
    assert refused(message) is None


def test_in_the_place_of_what_a_server_asks_stands_a_request_that_every_client_refuses() -> None:
    secret = call("sampling/createMessage", id="c", messages=["a secret"])
    (message,), _ = answered(asked(CALL), event(secret), STREAM)
    refusal = CODEC.refusal(message, DENY, TRAIL)
    assert type(refusal) is ServerRequest
    assert json.loads(refusal.raw) == {
        "jsonrpc": "2.0",
        "id": "c",
        "method": "gatehouse/denied",
        "params": {"trail": TRAIL, "reason": DENY.reason},
    }
    with pytest.raises(KeyError):  # what the official client answers -32601 for
        parse_server_request("gatehouse/denied", "2025-11-25", {})


def test_a_clients_denied_answer_never_becomes_an_answer_to_the_client() -> None:
    assert refused(asked(result(id="c"))[0]) is None
    assert refused(asked(error(id="c"))[0]) is None
