"""messages.py: what the typed views promise."""

from __future__ import annotations

import json
from typing import Any

import pytest

from ext_proc.messages import (
    ClientError,
    CompleteRequest,
    McpError,
    McpList,
    McpNotification,
    McpRequest,
    McpResult,
    Opaque,
    PromptGet,
    PromptList,
    ResourceList,
    ResourceRead,
    ResourceTemplateList,
    ServerRequest,
    SessionEnd,
    StreamOpen,
    SubscriptionsListen,
    ToolCall,
    ToolList,
    ToolResult,
    encode_json,
)
from ext_proc.trail import Outcome


def tool_call(**params: Any) -> ToolCall:
    return ToolCall({"jsonrpc": "2.0", "id": 7, "method": "tools/call", "params": {"name": "add", **params}})


def tool_list(*names: str, **others: Any) -> ToolList:
    return ToolList({"jsonrpc": "2.0", "id": 1, "result": {"tools": [{"name": name} for name in names], **others}})


def tool_result(**values: Any) -> ToolResult:
    return ToolResult({"jsonrpc": "2.0", "id": 1, "result": values})


def test_a_message_keeps_the_bytes_that_came() -> None:
    assert McpNotification({"jsonrpc": "2.0", "method": "x"}, b'{ "jsonrpc":"2.0","method":"x"}').raw.startswith(b"{ ")


def test_a_new_message_is_encoded_at_once() -> None:
    assert json.loads(tool_call(arguments={"a": 1}).raw)["params"]["arguments"] == {"a": 1}


def test_integers_longer_than_64_bits_keep_every_digit() -> None:
    assert encode_json({"é": [10**30, -(10**30)]}) == f'{{"é":[{10**30},-{10**30}]}}'.encode()


def test_a_tool_call_has_a_name_a_target_and_arguments() -> None:
    message = tool_call(arguments={"a": 1})
    assert (message.method, message.name, message.target, message.id) == ("tools/call", "add", "add", 7)
    assert message.arguments == {"a": 1}


@pytest.mark.parametrize("params", [{}, {"arguments": None}])
def test_arguments_that_are_absent_are_empty(params: dict[str, Any]) -> None:
    assert tool_call(**params).arguments == {}


def test_changed_params_make_a_new_call_with_the_same_id() -> None:
    before = tool_call()
    after = before.with_params({"name": "sub"})
    assert (type(after), after.name, after.id, before.name) == (ToolCall, "sub", 7, "add")


def test_prompts_and_resources_are_aimed_at_their_name_or_address() -> None:
    prompt = PromptGet({"jsonrpc": "2.0", "id": 1, "method": "prompts/get", "params": {"name": "p"}})
    resource = ResourceRead({"jsonrpc": "2.0", "id": 1, "method": "resources/read", "params": {"uri": "file:///x"}})
    assert (prompt.target, resource.target) == ("p", "file:///x")


def test_a_request_of_the_server_is_a_request_too() -> None:
    assert issubclass(ServerRequest, McpRequest)
    assert not issubclass(ServerRequest, ToolCall)


def test_transport_messages_are_named_by_their_http_method() -> None:
    assert (StreamOpen(b"").method, SessionEnd(b"").method) == ("GET", "DELETE")


def test_an_answer_is_aimed_at_what_was_asked() -> None:
    answer = ToolResult({"jsonrpc": "2.0", "id": 7, "result": {}}, request=tool_call())
    assert (answer.method, answer.target) == ("tools/call", "add")
    assert (McpResult({"jsonrpc": "2.0", "id": 7, "result": {}}).method) == ""


def test_a_changed_result_keeps_its_class_id_and_request() -> None:
    call = tool_call()
    changed = ToolResult({"jsonrpc": "2.0", "id": 7, "result": {}}, request=call).with_result({"content": []})
    assert (type(changed), changed.id, changed.request) == (ToolResult, 7, call)
    assert json.loads(changed.raw)["result"] == {"content": []}


@pytest.mark.parametrize(
    ("result", "outcome"),
    [
        ({"content": [{"type": "text", "text": "x"}]}, Outcome.OK),
        ({"content": [], "structuredContent": {"a": 1}}, Outcome.OK),
        ({"content": [], "isError": True}, Outcome.TOOL_ERROR),
        ({"content": []}, Outcome.EMPTY),
        ({}, Outcome.EMPTY),
        ({"resultType": "input_required", "requestState": "s"}, Outcome.OK),
        ({"task": {"taskId": "t"}}, Outcome.OK),
    ],
)
def test_a_tool_result_tells_how_the_call_ended(result: dict[str, Any], outcome: Outcome) -> None:
    assert tool_result(**result).outcome is outcome


def test_an_error_is_a_protocol_error_unless_a_client_sends_it() -> None:
    value = {"jsonrpc": "2.0", "id": 1, "error": {"code": -32601, "message": "no"}}
    assert (McpError(value).code, McpError(value).outcome) == (-32601, Outcome.PROTOCOL_ERROR)
    assert ClientError(value).outcome is Outcome.OK


def test_a_tool_list_from_which_nothing_is_taken_is_itself() -> None:
    page = tool_list("a", "b")
    assert page.keep(lambda tool: True) is page


def test_a_tool_list_keeps_the_wanted_tools_and_all_else() -> None:
    page = tool_list("a", "b", nextCursor="c").keep(lambda tool: tool["name"] == "b")
    assert page.result == {"tools": [{"name": "b"}], "nextCursor": "c"}


def test_a_filtered_list_that_could_be_cached_becomes_private_even_if_nothing_was_hidden() -> None:
    page = tool_list("a", ttlMs=5, cacheScope="public").keep(lambda tool: True)
    assert page.result["cacheScope"] == "private"


@pytest.mark.parametrize(
    ("kind", "holds", "named_by"),
    [
        (ToolList, "tools", "name"),
        (ResourceList, "resources", "uri"),
        (ResourceTemplateList, "resourceTemplates", "uriTemplate"),
        (PromptList, "prompts", "name"),
    ],
)
def test_every_list_has_its_entries_under_its_own_name(kind: type[McpList], holds: str, named_by: str) -> None:
    entries = [{named_by: "a"}, {named_by: "b"}]
    page = kind({"jsonrpc": "2.0", "id": 1, "result": {holds: entries, "ttlMs": 5, "cacheScope": "public"}})
    kept = page.keep(lambda entry: entry[kind.named_by] == "b")
    assert (page.entries, type(kept), kept.entries) == (entries, kind, [{named_by: "b"}])
    assert kept.result == {holds: [{named_by: "b"}], "ttlMs": 5, "cacheScope": "private"}
    assert json.loads(kept.raw)["result"] == kept.result


def test_a_completion_is_aimed_at_a_prompt_or_a_resource_or_at_neither() -> None:
    def complete(**ref: str) -> CompleteRequest:
        value = {"jsonrpc": "2.0", "id": 1, "method": "completion/complete", "params": {"ref": ref}}
        return CompleteRequest(value)

    prompt, resource = complete(type="ref/prompt", name="p"), complete(type="ref/resource", uri="file:///{x}")
    assert (prompt.prompt, prompt.uri, prompt.target) == ("p", None, "p")
    assert (resource.prompt, resource.uri, resource.target) == (None, "file:///{x}", "file:///{x}")
    assert complete(type="ref/other", name="p").target == ""


def test_a_changed_subscription_is_still_one() -> None:
    params = {"notifications": {"resourceSubscriptions": ["file:///a"]}}
    before = SubscriptionsListen({"jsonrpc": "2.0", "id": 1, "method": "subscriptions/listen", "params": params})
    after = before.with_params({"notifications": {"resourceSubscriptions": []}})
    assert (before.uris, type(after), after.uris) == (["file:///a"], SubscriptionsListen, [])


def test_what_cannot_be_read_is_invalid() -> None:
    assert Opaque("json-malformed", "no JSON", malformed=True).outcome is Outcome.INVALID


def test_a_repr_shows_no_payload() -> None:
    assert "hunter2" not in repr(tool_call(arguments={"password": "hunter2"}))
