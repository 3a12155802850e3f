"""codecs/mcp_inputs.py: what a server asks has the shape that its class promises, on every wire."""

from __future__ import annotations

import json
from typing import Any

import pytest
from mcp_types import (
    ElicitRequest,
    ElicitRequestURLParams,
    InputRequiredResult,
    ListRootsRequest,
)

from ext_proc.messages import McpError, McpNotification, McpResult, Opaque, ServerRequest, ToolResult
from tests.unit.codecs.building import STREAM, answered, asked, call, event, notification, result

CALL = call("tools/call", id="c", name="pay")
FORM = {"method": "elicitation/create", "params": {"message": "which?", "requestedSchema": {"type": "object"}}}
URL = {"mode": "url", "message": "go", "url": "https://pay.example/1", "elicitationId": "e1"}


def the_answer(value: Any) -> Any:
    (message,), _ = answered(asked(CALL), value)
    return message


def reason(message: Any) -> str:
    assert isinstance(message, Opaque)
    assert message.malformed
    return message.reason


def refused(value: Any) -> dict[str, Any]:
    """An error -32042 with these data."""
    return {"jsonrpc": "2.0", "id": "c", "error": {"code": -32042, "message": "go there first", "data": value}}


def test_what_a_result_asks_for_is_a_request_for_each_key() -> None:
    message = the_answer(result(id="c", resultType="input_required", inputRequests={"a": FORM, "b": {"method": "x"}}))
    assert isinstance(message, ToolResult)
    found = message.input_requests
    assert {key: (type(asked), asked.id, asked.method) for key, asked in found.items()} == {
        "a": (ServerRequest, "a", "elicitation/create"),
        "b": (ServerRequest, "b", "x"),
    }
    assert (found["a"].params, found["b"].params) == (FORM["params"], {})
    assert found["a"].arguments == FORM["params"], "what `args` holds in CEL"


def test_what_the_official_types_write_is_read() -> None:
    url = ElicitRequestURLParams(message="go", url="https://pay.example/1")
    written = InputRequiredResult(
        input_requests={"url": ElicitRequest(params=url), "roots": ListRootsRequest()}, request_state="s"
    )
    dumped = written.model_dump(by_alias=True, mode="json", exclude_none=True)
    message = the_answer(result(id="c", **dumped))
    assert isinstance(message, McpResult)
    assert [asked.method for asked in message.input_requests.values()] == ["elicitation/create", "roots/list"]
    assert message.input_requests["url"].params["url"] == "https://pay.example/1"


def test_an_entry_does_not_choose_its_id() -> None:
    message = the_answer(result(id="c", inputRequests={"a": {**FORM, "id": "other", "jsonrpc": "1"}}))
    assert message.input_requests["a"].id == "a"


@pytest.mark.parametrize("inputs", [{}, {"inputRequests": None}, {"inputRequests": {}}])
def test_a_result_may_ask_for_nothing(inputs: dict[str, Any]) -> None:
    message = the_answer(result(id="c", resultType="input_required", requestState="s", **inputs))
    assert message.input_requests == {}


@pytest.mark.parametrize(
    ("inputs", "expected"),
    [
        ([FORM], "mcp-result-invalid"),
        ("all", "mcp-result-invalid"),
        ({"a": [FORM]}, "mcp-result-invalid"),
        ({"a": None}, "mcp-result-invalid"),
        ({"a": {}}, "mcp-result-invalid"),
        ({"a": {"method": 1}}, "mcp-result-invalid"),
        ({"a": {"method": "x", "params": []}}, "mcp-result-invalid"),
        ({"a": {"method": "x", "Method": "y"}}, "ambiguous-key"),
        ({"a": {"method": "x", "Params": {}}}, "ambiguous-key"),
        ({"a": {"method": "elicitation/create", "params": {**URL, "URL": "https://evil.example"}}}, "ambiguous-key"),
        ({"a": {"method": "elicitation/create", "params": {"message": "m", "Mode": "url"}}}, "ambiguous-key"),
    ],
)
def test_what_two_readers_could_read_in_two_ways_is_malformed(inputs: Any, expected: str) -> None:
    assert reason(the_answer(result(id="c", inputRequests=inputs))) == expected
    task = {**notification("notifications/tasks"), "params": {"taskId": "t", "inputRequests": inputs}}
    messages, _ = answered(asked(CALL), event(task), STREAM)
    assert reason(messages[0]) == expected


def test_the_key_of_the_map_itself_is_not_ambiguous() -> None:
    assert reason(the_answer(result(id="c", InputRequests={"a": FORM}))) == "ambiguous-key"


def test_a_request_of_the_servers_own_has_keys_that_all_clients_read_alike() -> None:
    fine = {"jsonrpc": "2.0", "id": 1, "method": "elicitation/create", "params": URL}
    for params, kind in ((URL, ServerRequest), ({**URL, "Url": "https://evil.example"}, Opaque)):
        messages, _ = answered(asked(CALL), event({**fine, "params": params}), STREAM)
        assert type(messages[0]) is kind


def test_a_notification_of_the_servers_keeps_its_type() -> None:
    complete = {**notification("notifications/elicitation/complete"), "params": {"elicitationId": "e1"}}
    messages, _ = answered(asked(CALL), event(complete), STREAM)
    assert type(messages[0]) is McpNotification


def test_the_elicitations_of_an_error_are_requests() -> None:
    without_mode = {key: value for key, value in URL.items() if key != "mode"}
    message = the_answer(refused({"elicitations": [URL, without_mode]}))
    assert isinstance(message, McpError)
    assert [(asked.id, asked.method, asked.params) for asked in message.elicitations] == [
        (0, "elicitation/create", URL),
        (1, "elicitation/create", URL),
    ]


@pytest.mark.parametrize("data", [None, "go", {}, [URL]])
def test_an_error_of_that_code_may_mean_something_else(data: Any) -> None:
    message = the_answer(refused(data))
    assert isinstance(message, McpError)
    assert list(message.elicitations) == []


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        ({"elicitations": URL}, "mcp-result-invalid"),
        ({"elicitations": ["https://evil.example"]}, "mcp-result-invalid"),
        ({"elicitations": [URL], "Elicitations": []}, "ambiguous-key"),
        ({"elicitations": [{**URL, "uRl": "https://evil.example"}]}, "ambiguous-key"),
    ],
)
def test_elicitations_that_readers_differ_about_are_malformed(data: Any, expected: str) -> None:
    assert reason(the_answer(refused(data))) == expected


def test_another_error_asks_for_nothing() -> None:
    value = refused({"elicitations": "free text"})
    value["error"]["code"] = -32000
    message = the_answer(value)
    assert isinstance(message, McpError)
    assert list(message.elicitations) == []
    assert json.loads(message.raw) == value
