"""codecs/mcp: what a server sends is typed by what was asked, and its outcome is read from the body."""

from __future__ import annotations

import base64
import json
from pathlib import Path
from typing import Any

import pytest

from ext_proc.headers import Headers
from ext_proc.limits import Limits
from ext_proc.messages import (
    CacheableResult,
    DiscoverResult,
    InitializeResult,
    McpError,
    McpNotification,
    McpResult,
    Message,
    Opaque,
    PromptList,
    ResourceList,
    ResourceTemplateList,
    ResponseHead,
    ServerRequest,
    SessionEnd,
    StreamOpen,
    ToolList,
    ToolResult,
)
from ext_proc.trail import Outcome
from tests.unit.codecs.building import (
    CODEC,
    STREAM,
    TEXT,
    TOOLS,
    answer_head,
    answered,
    asked,
    call,
    encoded,
    error,
    event,
    head,
    notification,
    opaque,
    read_request,
    result,
)

DATA = Path(__file__).parents[2] / "data" / "mcp"
CALL = call("tools/call", name="add")
LIST = call("tools/list")


@pytest.mark.parametrize(
    ("request_value", "values", "kind"),
    [
        (CALL, TEXT, ToolResult),
        (CALL, {**TEXT, **TOOLS}, ToolResult),
        (CALL, {"structuredContent": 1}, ToolResult),
        (LIST, TOOLS, ToolList),
        (LIST, {**TOOLS, **TEXT}, ToolList),
        (call("resources/list"), {"resources": [{"uri": "file:///a"}]}, ResourceList),
        (call("resources/templates/list"), {"resourceTemplates": [{"uriTemplate": "a:{b}"}]}, ResourceTemplateList),
        (call("prompts/list"), {"prompts": [{"name": "p"}]}, PromptList),
        (call("prompts/get", name="p"), {"messages": []}, McpResult),
        (call("ping"), {}, McpResult),
    ],
)
def test_a_result_has_the_class_that_was_asked_for(
    request_value: dict[str, Any], values: dict[str, Any], kind: type[Message]
) -> None:
    requests = asked(request_value)
    for body, response in ((encoded(result(**values)), answer_head()), (event(result(**values)), STREAM)):
        (message,), decoder = answered(requests, body, response)
        assert type(message) is kind
        assert isinstance(message, McpResult)
        assert message.request is requests[0]
        assert decoder.unanswered == ()


@pytest.mark.parametrize("id", [2, "1", "other"])
def test_a_single_request_owns_every_answer_whatever_its_id(id: Any) -> None:
    (message,), decoder = answered(asked(CALL), event(result(id=id, **TOOLS, **TEXT)), STREAM)
    assert type(message) is ToolResult
    assert (len(decoder.unanswered), decoder.outcome) == (1, Outcome.TRUNCATED)


def test_an_answer_to_none_of_several_requests_is_malformed() -> None:
    messages, _ = answered(asked([CALL, call("ping", id=2)]), event(result(id=3, **TOOLS)), STREAM)
    assert opaque(messages).reason == "answer-unmatched"


@pytest.mark.parametrize(
    ("values", "kind"),
    [
        (TOOLS, ToolList),
        (TEXT, ToolResult),
        ({"structuredContent": {"a": 1}}, ToolResult),
        ({"resources": []}, ResourceList),
        ({"resourceTemplates": []}, ResourceTemplateList),
        ({"prompts": []}, PromptList),
        ({"contents": []}, McpResult),
        ({}, McpResult),
    ],
)
def test_on_a_stream_of_its_own_an_answer_is_typed_by_its_shape(values: dict[str, Any], kind: type[Message]) -> None:
    (message,), decoder = answered([StreamOpen(b"")], event(result(id=9, **values)), STREAM)
    assert (type(message), decoder.outcome) == (kind, Outcome.OK)


@pytest.mark.parametrize("other", [TEXT, {"resources": []}, {"prompts": []}, {"resourceTemplates": []}])
def test_a_shape_of_two_classes_is_malformed(other: dict[str, Any]) -> None:
    messages, _ = answered([StreamOpen(b"")], event(result(**TOOLS, **other)), STREAM)
    assert opaque(messages).reason == "answer-ambiguous"


@pytest.mark.parametrize(
    "tools",
    [None, {}, "x", [1], [[]], [{}], [{"name": 5}], [{"name": "a"}, None], [{"name": None}]],
)
@pytest.mark.parametrize("requests", [[LIST], []])
def test_a_tool_list_that_is_no_list_of_named_objects_is_never_a_message(tools: Any, requests: list[Any]) -> None:
    messages, decoder = answered(asked(*requests), event(result(tools=tools)), STREAM)
    assert (opaque(messages).reason, opaque(messages).malformed) == ("mcp-result-invalid", True)
    assert Outcome.INVALID.worse(decoder.outcome) is decoder.outcome


@pytest.mark.parametrize(
    ("method", "entries"),
    [
        ("resources/list", {"resources": [{"name": "a"}]}),
        ("resources/list", {"resources": [{"uri": None}]}),
        ("resources/list", {"tools": []}),
        ("resources/templates/list", {"resourceTemplates": [{"uri": "a:b"}]}),
        ("resources/templates/list", {"resourceTemplates": "a:b"}),
        ("prompts/list", {"prompts": [["p"]]}),
        ("prompts/list", {}),
    ],
)
def test_a_list_whose_entries_have_no_name_is_malformed(method: str, entries: dict[str, Any]) -> None:
    messages, _ = answered(asked(call(method)), result(**entries))
    assert opaque(messages).reason == "mcp-result-invalid"


@pytest.mark.parametrize(
    ("method", "entries"),
    [
        ("resources/list", {"resources": [{"uri": "a:b", "URI": "a:c"}]}),
        ("resources/list", {"resources": [], "Resources": []}),
        ("resources/templates/list", {"resourceTemplates": [{"uriTemplate": "a:b", "uritemplate": "a:c"}]}),
        ("prompts/list", {"prompts": [{"name": "p", "Name": "q"}]}),
    ],
)
def test_a_list_that_two_readers_read_differently_is_malformed(method: str, entries: dict[str, Any]) -> None:
    messages, _ = answered(asked(call(method)), result(**entries))
    assert opaque(messages).reason == "ambiguous-key"


def test_a_tool_list_without_tools_is_malformed() -> None:
    messages, _ = answered(asked(LIST), result(resultType="complete"))
    assert opaque(messages).reason == "mcp-result-invalid"


@pytest.mark.parametrize(
    "values",
    [
        {"tools": [], "Tools": []},
        {"tools": [{"name": "a", "Name": "b"}]},
        {"tools": [{"name": "a", "Description": "b"}]},
    ],
)
def test_a_tool_list_that_two_readers_read_differently_is_malformed(values: dict[str, Any]) -> None:
    messages, _ = answered(asked(LIST), result(**values))
    assert opaque(messages).reason == "ambiguous-key"


@pytest.mark.parametrize(
    ("values", "reason"),
    [
        ({"content": "x"}, "mcp-result-invalid"),
        ({"content": ["x"]}, "mcp-result-invalid"),
        ({"content": [], "isError": "yes"}, "mcp-result-invalid"),
        ({"content": [], "iserror": True}, "ambiguous-key"),
        ({"content": [{"type": "text", "text": "a", "Text": "b"}]}, "ambiguous-key"),
    ],
)
def test_a_tool_result_without_its_shape_is_malformed(values: dict[str, Any], reason: str) -> None:
    messages, _ = answered(asked(CALL), result(**values))
    assert opaque(messages).reason == reason


def test_a_stream_carries_the_servers_own_messages_too() -> None:
    body = (
        event(notification("notifications/progress"))
        + event(call("sampling/createMessage", id=1))
        + event(result(**TEXT))
    )
    messages, decoder = answered(asked(CALL), body, STREAM)
    assert [type(message) for message in messages] == [McpNotification, ServerRequest, ToolResult]
    assert decoder.outcome is Outcome.OK


def test_a_servers_notification_may_have_any_name() -> None:
    (message,), _ = answered(asked(CALL), event(notification("vendor/event")), STREAM)
    assert type(message) is McpNotification


def test_comments_and_events_without_data_carry_no_message() -> None:
    messages, _ = answered(asked(CALL), b": ping\n\nid: 1\nretry: 5\ndata:\n\n\n", STREAM)
    assert messages == []


def test_an_event_of_another_type_that_is_no_mcp_claims_nothing() -> None:
    messages, decoder = answered([StreamOpen(b"")], b"event: endpoint\ndata: /messages?s=1\n\n", STREAM)
    assert (opaque(messages).reason, opaque(messages).malformed) == ("sse-other-event", False)
    assert decoder.outcome is Outcome.OK


def test_an_event_of_another_type_that_is_mcp_is_read() -> None:
    (message,), _ = answered(asked(LIST), b"event: other\n" + event(result(**TOOLS)), STREAM)
    assert type(message) is ToolList


def test_an_unterminated_event_is_malformed_if_it_has_data() -> None:
    messages, decoder = answered(asked(CALL), event(result(**TEXT))[:-1], STREAM)
    assert (opaque(messages).reason, decoder.outcome) == ("sse-unterminated", Outcome.TRUNCATED)
    messages, _ = answered(asked(CALL), b"id: 5\n", STREAM)
    assert messages == []


def test_every_span_of_an_event_past_the_limit_is_opaque() -> None:
    body = event(result(content=[{"type": "text", "text": "x" * 200_000}])) + event(result(**TEXT))
    messages, decoder = answered(asked(CALL), body, STREAM, Limits(event=1000))
    assert [type(message) for message in messages] == [*[Opaque] * 5, ToolResult]
    assert all(message.too_large for message in messages if isinstance(message, Opaque))
    assert decoder.outcome is Outcome.INVALID


def test_every_span_of_a_body_past_the_limit_is_opaque() -> None:
    messages, decoder = answered(asked(CALL), result(**TEXT), limits=Limits(response_body=10))
    assert [isinstance(message, Opaque) and message.too_large for message in messages] == [True, True]
    assert decoder.outcome is Outcome.INVALID


def test_an_array_answers_a_batch() -> None:
    requests = asked([CALL, call("tools/list", id="b")])
    messages, decoder = answered(requests, [result(id="b", **TOOLS), result(**TEXT)])
    assert [type(message) for message in messages] == [ToolList, ToolResult]
    assert (decoder.outcome, decoder.unanswered) == (Outcome.OK, ())


def test_an_event_may_hold_an_array_as_well() -> None:
    messages, _ = answered(asked([CALL, call("ping", id=2)]), event([result(**TEXT), result(id=2)]), STREAM)
    assert [type(message) for message in messages] == [ToolResult, McpResult]


@pytest.mark.parametrize(
    ("body", "response", "outcome"),
    [
        (result(**TEXT), answer_head(), Outcome.OK),
        (result(content=[], isError=True), answer_head(), Outcome.TOOL_ERROR),
        (result(content=[]), answer_head(), Outcome.EMPTY),
        (error(), answer_head(), Outcome.PROTOCOL_ERROR),
        (b"", answer_head(), Outcome.EMPTY),
        (b"", answer_head(202), Outcome.EMPTY),
        (encoded(result(**TEXT))[:-2], answer_head(), Outcome.INVALID),
        (result(id=2, **TEXT), answer_head(), Outcome.INVALID),
        (b"", STREAM, Outcome.EMPTY),
        (b": ping\n\n", STREAM, Outcome.TRUNCATED),
        (event(notification()), STREAM, Outcome.TRUNCATED),
        (event(result(**TEXT)), STREAM, Outcome.OK),
        (event(error()) + event(result(**TEXT)), STREAM, Outcome.PROTOCOL_ERROR),
        (event(b"{"), STREAM, Outcome.TRUNCATED),
        (event(b"{") + event(result(**TEXT)), STREAM, Outcome.INVALID),
        (b"", answer_head(404), Outcome.PROTOCOL_ERROR),
        (error(), answer_head(400), Outcome.PROTOCOL_ERROR),
        (error(id=None), answer_head(400), Outcome.PROTOCOL_ERROR),
        (error(id=None), answer_head(), Outcome.PROTOCOL_ERROR),
        (result(**TEXT), answer_head(500), Outcome.PROTOCOL_ERROR),
        (b"upstream error", answer_head(503), Outcome.PROTOCOL_ERROR),
    ],
)
def test_the_outcome_is_the_gravest_thing_that_the_answer_says(
    body: Any, response: ResponseHead, outcome: Outcome
) -> None:
    _, decoder = answered(asked(CALL), body, response)
    assert decoder.outcome is outcome


@pytest.mark.parametrize("requests", [asked(notification()), [StreamOpen(b"")], [SessionEnd(b"")], []])
def test_where_no_answer_is_due_none_is_missed(requests: list[Message]) -> None:
    for response in (answer_head(202), answer_head(204), STREAM):
        _, decoder = answered(requests, b"", response)
        assert decoder.outcome is Outcome.OK


def test_a_batch_waits_for_each_of_its_answers() -> None:
    requests = asked([CALL, call("ping", id=2)])
    _, decoder = answered(requests, event(result(**TEXT)), STREAM)
    assert (decoder.outcome, decoder.unanswered) == (Outcome.TRUNCATED, (requests[1],))


@pytest.mark.parametrize("body", [b"<html>", {"detail": "Not Found"}, {"error": "invalid_token"}, ["x"], b"\xff"])
def test_an_error_page_is_opaque_without_being_malformed(body: Any) -> None:
    messages, _ = answered(asked(CALL), body, answer_head(401))
    assert (opaque(messages).reason, opaque(messages).malformed) == ("not-mcp", False)


@pytest.mark.parametrize(
    "body",
    [
        {"jsonrpc": "2.0"},
        {"JSONRPC": "2.0"},
        [{"a": 1}, {"jsonrpc": "2.0"}],
        b'{"a":1,"a":2}',
        b"[" * 100,
        b'{"jsonrpc":"2.0","id":1,"error":{"code":-32042,"message":"m","data":NaN}}',
        b'\xef\xbb\xbf{"jsonrpc":"2.0"}',
        '{"jsonrpc":"2.0"}'.encode("utf-16"),
        b'{"jsonrpc',
    ],
)
def test_an_error_page_that_claims_to_be_mcp_or_misleads_is_malformed(body: Any) -> None:
    messages, _ = answered(asked(CALL), body, answer_head(400))
    assert any(isinstance(message, Opaque) and message.malformed for message in messages)


def test_an_answer_is_readable_by_its_type_and_coding() -> None:
    assert CODEC.readable(answer_head())
    assert CODEC.readable(STREAM)
    assert CODEC.readable(answer_head(content_type="application/json; charset=utf-8", content_encoding="identity"))
    assert CODEC.readable(answer_head(content_encoding="br"))
    assert CODEC.readable(ResponseHead(202, Headers()))
    assert not CODEC.readable(ResponseHead(200, Headers([("content-type", b"application/json")] * 2)))
    assert not CODEC.readable(answer_head(content_type=""))
    assert not CODEC.readable(answer_head(content_type="text/html"))
    assert not CODEC.readable(answer_head(content_type="application/json; charset=utf-16"))
    assert CODEC.streams(STREAM)
    assert not CODEC.streams(answer_head())


@pytest.mark.parametrize(
    ("requests", "possible", "impossible"),
    [
        ([CALL], {ToolResult, McpError, McpNotification, ServerRequest, Opaque}, {ToolList, McpResult}),
        ([LIST], {ToolList, McpError, Opaque}, {ToolResult, McpResult}),
        ([CALL, LIST], {ToolList, ToolResult}, {McpResult}),
        ([call("ping")], {McpResult}, {ToolList, ToolResult}),
        ([call("resources/list")], {ResourceList}, {McpResult, ResourceTemplateList}),
        (
            [call("prompts/list"), call("resources/templates/list", id=2)],
            {PromptList, ResourceTemplateList},
            {McpResult},
        ),
        ([notification()], {McpResult, ToolList, ToolResult}, set()),
        ([], {McpResult, ToolList, ToolResult, McpError, McpNotification, ServerRequest, Opaque}, set()),
    ],
)
def test_the_planner_is_told_which_classes_can_come(
    requests: list[Any], possible: set[type[Message]], impossible: set[type[Message]]
) -> None:
    classes = set(CODEC.answers(asked(*requests)))
    assert possible <= classes
    assert not impossible & classes
    assert set(CODEC.answers([StreamOpen(b"")])) == set(CODEC.answers(()))


@pytest.mark.parametrize("name", ["stream-045.json", "stream-046.json", "stream-047.json"])
def test_recorded_streams_are_read(name: str) -> None:
    recorded = json.loads((DATA / name).read_text())
    (request,) = read_request(recorded["request_body"].encode(), "2025-11-25")
    messages, decoder = answered([request], base64.b64decode(recorded["response_body_base64"]), STREAM)
    assert (decoder.outcome, decoder.unanswered) == (Outcome.OK, ())
    expected = {"initialize": InitializeResult, "tools/list": ToolList, "tools/call": ToolResult}[request.method]
    assert type(messages[-1]) is expected
    assert all(type(message) is McpNotification for message in messages[:-1])


RESULTS = {
    "CallToolResultResponse": (CALL, ToolResult),
    "CallToolResult": (CALL, ToolResult),
    "ListToolsResult": (LIST, ToolList),
    "GetPromptResult": (call("prompts/get", name="p"), McpResult),
    "ReadResourceResult": (call("resources/read", uri="x"), CacheableResult),
    "DiscoverResult": (call("server/discover"), DiscoverResult),
    "InputRequiredResult": (CALL, ToolResult),
}


def test_the_specs_own_results_are_read() -> None:
    seen = set()
    for line in (DATA / "examples_2026-07-28.jsonl").read_text().splitlines():
        example = json.loads(line)
        if example["type"] not in RESULTS:
            continue
        request_value, kind = RESULTS[example["type"]]
        value = example["value"]
        body = value if "jsonrpc" in value else result(**value)
        (message,), _ = answered(asked({**request_value, "id": body["id"]}), body)
        assert type(message) is kind, example["name"]
        seen.add(example["type"])
    assert seen == set(RESULTS)


def test_the_head_of_the_request_plays_no_part_in_reading_an_answer() -> None:
    decoder = CODEC.response_decoder(asked(CALL), head(version="2026-07-28"), answer_head(), Limits())
    list(decoder.feed(encoded(result(**TEXT))))
    (frame,) = decoder.close()
    assert type(frame.messages[0]) is ToolResult
