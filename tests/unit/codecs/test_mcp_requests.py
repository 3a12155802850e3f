"""codecs/mcp: what a client sends becomes typed messages, or is named malformed."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from mcp_types import CallToolRequest, GetPromptRequest, ReadResourceRequest
from mcp_types.jsonrpc import jsonrpc_message_adapter
from pydantic import BaseModel

from ext_proc.codecs.codec import Match
from ext_proc.headers import Headers
from ext_proc.limits import Limits
from ext_proc.messages import (
    ClientError,
    ClientResult,
    CompleteRequest,
    McpNotification,
    McpRequest,
    Message,
    Opaque,
    PromptGet,
    RequestHead,
    ResourceRead,
    SessionEnd,
    StreamOpen,
    SubscriptionsListen,
    ToolCall,
)
from ext_proc.trail import Outcome
from tests.unit.codecs.building import (
    CODEC,
    MODERN,
    call,
    drain,
    encoded,
    error,
    head,
    notification,
    opaque,
    read_request,
    result,
)

EXAMPLES = [
    json.loads(line)
    for line in (Path(__file__).parents[2] / "data" / "mcp" / "examples_2026-07-28.jsonl").read_text().splitlines()
]


@pytest.mark.parametrize(
    ("request_head", "match"),
    [
        (head(), Match.YES),
        (head(content_type="application/json; charset=utf-8"), Match.YES),
        (head(content_type='Application/JSON;charset="UTF-8"'), Match.YES),
        (head(content_encoding="identity"), Match.YES),
        (head(content_type="text/plain"), Match.NO),
        (head(content_type="application/json; charset=utf-7"), Match.NO),
        (head(content_type="application/json; charset=utf-8; charset=utf-16"), Match.NO),
        (head(content_encoding="gzip"), Match.YES),
        (RequestHead("POST", "/mcp", "", Headers()), Match.NO),
        (
            RequestHead(
                "POST", "/mcp", "", Headers([("content-type", b"application/json"), ("content-type", b"text/plain")])
            ),
            Match.NO,
        ),
        (head("GET", accept="application/json, text/event-stream;q=0.9"), Match.YES),
        (head("GET", accept="*/*"), Match.NO),
        (head("GET", accept="text/html"), Match.NO),
        (head("GET"), Match.NO),
        (head("DELETE"), Match.YES),
        (head("OPTIONS"), Match.NO),
        (head("PUT", content_type="application/json"), Match.NO),
    ],
)
def test_only_the_requests_of_mcps_transport_are_read(request_head: RequestHead, match: Match) -> None:
    assert CODEC.matches(request_head) is match


def test_get_and_delete_are_messages_by_their_headers_alone() -> None:
    assert isinstance(CODEC.transport_message(head("GET")), StreamOpen)
    assert isinstance(CODEC.transport_message(head("DELETE")), SessionEnd)
    assert CODEC.transport_message(head()) is None


@pytest.mark.parametrize(
    ("value", "kind", "target"),
    [
        (call("tools/call", name="add", arguments={"a": 1}), ToolCall, "add"),
        (call("tools/call", id="x", name="add", arguments=None), ToolCall, "add"),
        (call("prompts/get", name="p"), PromptGet, "p"),
        (call("resources/read", uri="file:///x"), ResourceRead, "file:///x"),
        (call("resources/subscribe", uri="file:///x"), ResourceRead, "file:///x"),
        (call("resources/unsubscribe"), McpRequest, ""),
        (call("completion/complete", ref={"type": "ref/prompt", "name": "p"}), CompleteRequest, "p"),
        (call("completion/complete", ref={"type": "ref/resource", "uri": "x:{y}"}), CompleteRequest, "x:{y}"),
        (call("completion/complete", ref={"type": "ref/new"}), CompleteRequest, ""),
        (call("completion/complete"), McpRequest, ""),
        (call("subscriptions/listen", notifications={"resourceSubscriptions": ["x:y"]}), SubscriptionsListen, ""),
        (call("subscriptions/listen", notifications={"toolsListChanged": True}), McpRequest, ""),
        (call("subscriptions/listen"), McpRequest, ""),
        (call("tools/list"), McpRequest, ""),
        (call("vendor/anything", anything=1), McpRequest, ""),
        (notification(), McpNotification, ""),
        (result(role="user"), ClientResult, ""),
        (error(), ClientError, ""),
        (error(id=None), ClientError, ""),
    ],
)
def test_a_body_is_one_typed_message(value: dict[str, Any], kind: type[Message], target: str) -> None:
    (message,) = read_request(value)
    assert (type(message), message.target, message.raw) == (kind, target, encoded(value))


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        (b"", "json-empty"),
        (b"{", "json-malformed"),
        (b'{"a":"\xff"}', "json-not-utf8"),
        (b'{"jsonrpc":"2.0","id":1,"id":2,"method":"ping"}', "json-duplicate-key"),
        (b"[" * 65 + b"]" * 65, "json-too-deep"),
        (1, "jsonrpc-invalid"),
        ({}, "jsonrpc-invalid"),
        ({**call("ping"), "jsonrpc": "1.0"}, "jsonrpc-invalid"),
        ({**call("ping"), "result": {}}, "jsonrpc-invalid"),
        ({"jsonrpc": "2.0", "id": 1}, "jsonrpc-invalid"),
        ({**result(), "error": {"code": 1, "message": ""}}, "jsonrpc-invalid"),
        (call("ping", id=None), "jsonrpc-invalid"),
        (call("ping", id=True), "jsonrpc-invalid"),
        (call("ping", id=1.5), "jsonrpc-invalid"),
        (call("ping", id=[1]), "jsonrpc-invalid"),
        ({**call("ping"), "method": 5}, "jsonrpc-invalid"),
        ({**call("ping"), "params": [1]}, "mcp-params-invalid"),
        ({**call("ping"), "params": None}, "mcp-params-invalid"),
        (call("tools/call"), "mcp-params-invalid"),
        (call("tools/call", name=5), "mcp-params-invalid"),
        (call("tools/call", name="a", arguments=[1]), "mcp-params-invalid"),
        (call("prompts/get", arguments={}), "mcp-params-invalid"),
        (call("resources/read", uri=None), "mcp-params-invalid"),
        (call("resources/read"), "mcp-params-invalid"),
        (call("resources/subscribe", uri=None), "mcp-params-invalid"),
        (call("completion/complete", ref="p"), "mcp-params-invalid"),
        (call("completion/complete", ref={"name": "p"}), "mcp-params-invalid"),
        (call("completion/complete", ref={"type": "ref/prompt"}), "mcp-params-invalid"),
        (call("completion/complete", ref={"type": "ref/resource", "uri": 5}), "mcp-params-invalid"),
        (call("completion/complete", ref={"type": "ref/prompt", "name": "p", "Name": "q"}), "ambiguous-key"),
        (call("completion/complete", Ref={}), "ambiguous-key"),
        (call("subscriptions/listen", notifications={"resourceSubscriptions": "a:b"}), "mcp-params-invalid"),
        (call("subscriptions/listen", notifications={"resourceSubscriptions": [1]}), "mcp-params-invalid"),
        (call("subscriptions/listen", notifications={"ResourceSubscriptions": ["a:b"]}), "ambiguous-key"),
        (call("resources/subscribe", URI="file:///x"), "ambiguous-key"),
        (call("tools/call", name="a", Name="b"), "ambiguous-key"),
        (call("tools/call", **{"name": "a", "argument\u017f": {}}), "ambiguous-key"),
        ({**call("ping"), "Method": "tools/call"}, "ambiguous-key"),
        ({**result(), "id": None}, "jsonrpc-invalid"),
        ({**result(), "result": []}, "jsonrpc-invalid"),
        (error(code="x"), "jsonrpc-invalid"),
        (error(code=True), "jsonrpc-invalid"),
        (error(message=None), "jsonrpc-invalid"),
        ({"jsonrpc": "2.0", "id": 1, "error": "x"}, "jsonrpc-invalid"),
    ],
)
def test_what_is_no_mcp_is_malformed_and_says_why(body: Any, reason: str) -> None:
    message = opaque(read_request(body))
    assert (message.reason, message.malformed, message.raw) == (reason, True, encoded(body))


@pytest.mark.parametrize("method", ["tools/call", "tools/list", "initialize", "vendor/run"])
def test_a_call_without_an_id_is_no_notification(method: str) -> None:
    assert opaque(read_request(notification(method, name="rm"))).reason == "jsonrpc-invalid"


@pytest.mark.parametrize(
    ("value", "id"),
    [
        (call("tools/call", id="x"), "x"),
        (call("tools/call", id=5), 5),
        ({**call("ping"), "ID": 2}, None),
        (call("ping", id=True), None),
        ({**result(id=3), "result": 1}, None),
    ],
)
def test_a_malformed_request_keeps_an_id_that_is_beyond_doubt(value: dict[str, Any], id: str | int | None) -> None:
    assert opaque(read_request(value)).id == id


def test_a_detail_shows_nothing_of_the_payload() -> None:
    message = opaque(read_request(call("tools/call", secret="hunter2", Name="hunter2")))
    assert "hunter2" not in message.detail
    assert "secret" not in message.detail


@pytest.mark.parametrize("version", [None, "2025-03-26"])
def test_a_batch_is_a_message_per_element_where_the_revision_knows_batches(version: str | None) -> None:
    values = [call("tools/call", id=1, name="a"), notification(), call("ping", id="1"), {"bad": 1}, [1]]
    messages = read_request(values, version)
    assert [type(message) for message in messages] == [ToolCall, McpNotification, McpRequest, Opaque, Opaque]
    assert [json.loads(message.raw) for message in messages] == values


@pytest.mark.parametrize("version", ["2024-11-05", "2025-06-18", "2025-11-25", MODERN])
def test_no_other_revision_takes_a_batch(version: str) -> None:
    assert opaque(read_request([call("ping")], version)).reason == "batch-not-allowed"


def test_two_version_headers_allow_no_batch() -> None:
    lines = [
        ("content-type", b"application/json"),
        ("mcp-protocol-version", b"2025-03-26"),
        ("mcp-protocol-version", b"2025-06-18"),
    ]
    decoder = CODEC.request_decoder(RequestHead("POST", "/mcp", "", Headers(lines)), Limits())
    (frame,) = drain(decoder, encoded([call("ping")]))
    assert opaque(frame.messages).reason == "batch-not-allowed"


def test_a_batch_never_holds_initialize() -> None:
    assert opaque(read_request([call("ping"), call("initialize", id=2)])).reason == "batch-not-allowed"


def test_a_batch_is_not_empty() -> None:
    assert opaque(read_request([])).reason == "jsonrpc-invalid"


def test_a_batch_past_the_limit_is_too_large() -> None:
    message = opaque(read_request([call("ping", id=i) for i in range(4)], limits=Limits(batch=3)))
    assert (message.reason, message.too_large) == ("batch-too-large", True)


def test_requests_that_share_an_id_are_malformed_all_of_them() -> None:
    first, second, other = read_request([call("ping"), call("tools/call", name="a"), call("ping", id="1")])
    assert (type(first), type(second), type(other)) == (Opaque, Opaque, McpRequest)


def test_a_body_past_the_limit_is_not_held() -> None:
    decoder = CODEC.request_decoder(head(), Limits(request_body=10))
    (frame,) = decoder.feed(b"x" * 11)
    message = opaque(frame.messages)
    assert (message.too_large, message.malformed, len(frame.raw)) == (True, False, 10)
    assert [opaque(frame.messages).too_large for frame in decoder.close()] == [True]
    assert decoder.outcome is Outcome.INVALID


def test_a_requests_decoder_waits_for_nothing() -> None:
    decoder = CODEC.request_decoder(head(), Limits())
    drain(decoder, encoded(call("ping")))
    assert (decoder.outcome, tuple(decoder.unanswered)) == (Outcome.OK, ())


def test_the_specs_own_requests_are_read_as_the_sdk_reads_them() -> None:
    seen = set()
    sdk: dict[str, type[BaseModel]] = {
        "tools/call": CallToolRequest,
        "prompts/get": GetPromptRequest,
        "resources/read": ReadResourceRequest,
    }
    for example in EXAMPLES:
        value = example["value"]
        if not isinstance(value, dict) or value.get("jsonrpc") != "2.0" or "method" not in value:
            continue
        (message,) = read_request(example["text"].encode(), MODERN)
        parsed = jsonrpc_message_adapter.validate_python(value)
        assert isinstance(message, McpRequest if "id" in value else McpNotification), example["name"]
        assert message.method == parsed.method  # type: ignore[union-attr]  # it has a method
        if message.method in sdk:
            sdk[message.method].model_validate(value)
        seen.add(message.method)
    assert {"prompts/get", "completion/complete", "subscriptions/listen", "notifications/message"} <= seen
