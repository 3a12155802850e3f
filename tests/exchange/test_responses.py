"""What happens to answers: nothing leaves undecided, what nobody touched leaves as it came, and the outcome is read."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from ext_proc.engine.pipeline import Binding
from ext_proc.engine.route import OpaqueRule, Rulebook
from ext_proc.limits import Limits
from ext_proc.policy import Context, Deny, Verdict
from ext_proc.testing import HttpRequest, HttpResponse, Played, call, pass_through, request, response, rulebook_of
from tests.exchange.policies import Base, DenyResult, DenyTool, Guard, HideTool, Watcher

LIST = {"jsonrpc": "2.0", "id": 1, "method": "tools/list"}
TOOLS = {
    "jsonrpc": "2.0",
    "id": 1,
    "result": {"tools": [{"name": "search"}, {"name": "delete_file"}], "nextCursor": "p2"},
}
RESULT = {"jsonrpc": "2.0", "id": 1, "result": {"content": [{"type": "text", "text": "the secret word"}]}}
SSE = {"content-type": "text/event-stream"}
PROGRESS = {"jsonrpc": "2.0", "method": "notifications/progress", "params": {"progressToken": 1, "progress": 0.5}}


def sse(*values: Any) -> bytes:
    """A stream with one event per value."""
    return b"".join(b"event: message\ndata: " + msgspec.json.encode(value) + b"\n\n" for value in values)


def stream(*values: Any, **changes: Any) -> HttpResponse:
    return HttpResponse(sse(*values), headers=dict(SSE), sized=False, **changes)


def listed(played: Played) -> list[str]:
    assert played.client is not None
    body = played.client.body
    value = msgspec.json.decode(body[body.index(b"{") :].strip())
    return [tool["name"] for tool in value["result"]["tools"]]


@pytest.mark.parametrize(
    "answer",
    [
        response(TOOLS),
        response(TOOLS, sized=False),
        response(TOOLS, trailers={"x-t": "1"}),
        response(TOOLS, sized=False, trailers={"x-t": "1"}),
        stream(TOOLS),
        stream(TOOLS, trailers={"x-t": "1"}),
    ],
    ids=["sized", "chunked", "sized with trailers", "chunked with trailers", "stream", "stream with trailers"],
)
def test_a_hidden_tool_is_missing_from_the_list_however_the_answer_comes(answer: HttpResponse) -> None:
    played = pass_through(rulebook_of(HideTool("delete_file")), request(LIST), answer)
    assert listed(played) == ["search"]
    assert played.trail.outcome == "ok"
    assert played.metadata["outcome"] == "ok"


@pytest.mark.parametrize("sized", [True, False])
def test_an_answer_that_nobody_changes_leaves_byte_for_byte(sized: bool) -> None:
    body = b'{"jsonrpc": "2.0",\n "id": 1, "result": {"tools": [{"name": "search", "x": 1.50}]}}\n'
    played = pass_through(rulebook_of(HideTool("delete_file")), request(LIST), response(body, sized=sized))
    assert played.client is not None
    assert played.client.body == body


def test_a_stream_that_nobody_changes_leaves_byte_for_byte() -> None:
    body = b"\xef\xbb\xbf: hello\r\n\r\nid: 1\rdata:\r\r" + sse(PROGRESS) + b"retry: 10\n\nid: 2\n" + sse(TOOLS)
    played = pass_through(
        rulebook_of(HideTool("no such")), request(LIST), HttpResponse(body, headers=dict(SSE), sized=False)
    )
    assert played.client is not None
    assert played.client.body == body


def test_a_large_answer_is_filtered_with_its_headers_held() -> None:
    tools = [{"name": f"t{i}", "description": "d" * 1000} for i in range(200)] + [{"name": "delete_file"}]
    answer = response({"jsonrpc": "2.0", "id": 1, "result": {"tools": tools}})
    played = pass_through(
        rulebook_of(HideTool("delete_file"), limits=Limits(envoy_buffer=64 * 1024)), request(LIST), answer
    )
    assert "delete_file" not in listed(played)
    assert len(listed(played)) == 200
    assert played.client is not None
    assert "content-length" not in played.client.headers


def test_an_answer_past_the_limit_is_refused_where_it_would_have_to_be_decided() -> None:
    tools = [{"name": f"t{i}", "description": "d" * 1000} for i in range(200)]
    answer = response({"jsonrpc": "2.0", "id": 1, "result": {"tools": tools}}, sized=False)
    book = rulebook_of(HideTool("x"), limits=Limits(response_body=64 * 1024, event=1024))
    played = pass_through(book, request(LIST), answer)
    assert played.client is not None
    assert played.client.json["id"] == 1
    assert played.client.json["error"]["data"]["trail"] == "trail-1"
    assert played.trail.outcome == "refused"
    held = rulebook_of(Guard(), limits=Limits(response_body=64 * 1024, event=1024))
    refused = pass_through(held, request(LIST), answer).client
    assert refused is not None
    assert (refused.status, refused.json["id"]) == (502, 1)


@pytest.mark.parametrize("answer", [response(RESULT), stream(PROGRESS, RESULT), response(RESULT, sized=False)])
def test_a_denied_result_is_replaced_by_an_error_with_its_id(answer: HttpResponse) -> None:
    played = pass_through(rulebook_of(DenyResult(b"secret word")), request(call("search")), answer)
    assert played.client is not None
    assert b"secret" not in played.client.body
    error = msgspec.json.decode(played.client.body[played.client.body.rindex(b'{"jsonrpc"') :].strip())
    assert error["id"] == 1
    assert error["error"]["message"] == "this result may not be seen"
    assert error["error"]["data"]["trail"] == "trail-1"
    assert played.trail.outcome == "refused"


@pytest.mark.parametrize("sized", [True, False])
@pytest.mark.parametrize("trailers", [None, {"x-t": "1"}])
def test_where_every_answer_is_decided_its_headers_wait_so_that_a_denial_has_its_status(
    sized: bool, trailers: dict[str, str] | None
) -> None:
    for word, status in ((b"secret", 451), (b"nothing", 200)):
        answer = response(RESULT, sized=sized, trailers=trailers)
        played = pass_through(rulebook_of(Guard(word)), request(call("a")), answer)
        assert played.client is not None
        assert played.client.status == status
        assert (b"secret" in played.client.body) == (status == 200)


def test_a_stream_is_not_held_whole_although_every_answer_is_decided() -> None:
    answer = stream(PROGRESS, RESULT, complete=False)
    played = pass_through(rulebook_of(Guard(b"secret")), request(call("a")), answer)
    assert played.client is not None
    assert played.client.body.startswith(sse(PROGRESS))
    assert b'"error"' in played.client.body


def test_an_answer_that_passes_unread_passes_whole_although_its_headers_could_have_been_held() -> None:
    for answer in (
        HttpResponse(b"upstream failed", 503, {"content-type": "text/plain"}),
        HttpResponse(status=204, headers={}),
    ):
        played = pass_through(rulebook_of(Guard()), request(call("a")), answer)
        assert played.client is not None
        assert (played.client.status, played.client.body) == (answer.status, answer.body)


def test_what_came_before_a_denied_result_in_a_stream_has_left() -> None:
    played = pass_through(rulebook_of(DenyResult(b"secret word")), request(call("search")), stream(PROGRESS, RESULT))
    assert played.client is not None
    assert played.client.body.startswith(sse(PROGRESS))


def test_an_answer_that_could_not_be_of_interest_is_not_held() -> None:
    """A tool call's answer holds no tool list: with `outcome: policies` its body is not asked for at all."""
    book = rulebook_of(HideTool("x"), read_answers=False)
    anything = b"\x00 not even JSON"
    played = pass_through(book, request(call("search")), HttpResponse(anything))
    assert played.client is not None
    assert played.client.body == anything


UNREADABLE = [
    HttpResponse(b"<html>", headers={"content-type": "text/html"}),
    HttpResponse(b"\x1f\x8b...", headers={"content-type": "application/json", "content-encoding": "compress"}),
    HttpResponse(b"{}", headers={"content-type": ""}),
]


@pytest.mark.parametrize("answer", UNREADABLE, ids=lambda answer: str(answer.headers))
def test_an_answer_that_cannot_be_read_is_refused_where_it_would_have_to_be_decided(answer: HttpResponse) -> None:
    refused = pass_through(rulebook_of(HideTool("x")), request(LIST), answer)
    assert refused.client is not None
    assert (refused.client.status, refused.client.json["id"]) == (502, 1)
    assert refused.trail.outcome == "refused"
    passed = pass_through(rulebook_of(Watcher()), request(LIST), answer)
    assert passed.client is not None
    assert passed.client.body == answer.body
    assert passed.trail.outcome == "invalid"
    listed_type = rulebook_of(
        HideTool("x"), allow_opaque=(OpaqueRule(content_type=answer.headers.get("content-type", "")),)
    )
    allowed = pass_through(listed_type, request(LIST), answer)
    assert allowed.client is not None
    assert allowed.client.body == answer.body


UNTYPED = [
    request({"jsonrpc": "2.0", "method": "notifications/initialized"}),
    request({"jsonrpc": "2.0", "id": 1, "result": {}}),
    HttpRequest(method="DELETE", headers={}),
]


@pytest.mark.parametrize("book", [rulebook_of(HideTool("x")), rulebook_of(Guard())], ids=["some", "all"])
@pytest.mark.parametrize("sent", UNTYPED, ids=lambda sent: f"{sent.method} {sent.body}")
def test_an_answer_without_a_type_and_without_a_byte_passes(sent: HttpRequest, book: Rulebook) -> None:
    played = pass_through(book, sent, HttpResponse(status=202, headers={}, sized=False))
    assert played.client is not None
    assert (played.client.status, played.client.body) == (202, b"")
    assert played.trail.outcome == "ok"


@pytest.mark.parametrize("sized", [True, False])
@pytest.mark.parametrize("body", [b"<html>", b"{}", b"data: {}\n\n", msgspec.json.encode(TOOLS)])
def test_an_answer_without_a_type_is_held_to_what_json_is_held_to(body: bytes, sized: bool) -> None:
    played = pass_through(
        rulebook_of(HideTool("delete_file")), request(LIST), HttpResponse(body, headers={}, sized=sized)
    )
    assert played.client is not None
    if b"delete_file" in body:
        assert listed(played) == ["search"]
    else:
        assert played.client.json["error"]["data"]["reason"] == "unreadable-answer"
        assert played.trail.outcome == "refused"


@pytest.mark.parametrize("status", [400, 401, 404, 500])
@pytest.mark.parametrize(
    ("content_type", "refused"),
    [
        ("application/json; charset=latin1", True),
        ("application/jsonx", True),
        ("Application/JSON; charset=utf-8; charset=utf-16", True),
        ("text/plain, application/json", True),
        ("text/event-stream; charset=utf-16", True),
        ("application/problem+json", False),
        ("text/html; charset=latin1", False),
    ],
)
def test_behind_an_error_status_nothing_passes_unread_that_clients_take_for_a_message(
    content_type: str, refused: bool, status: int
) -> None:
    """The official client reads the error out of whatever begins with `application/json`."""
    answer = HttpResponse(msgspec.json.encode(ERROR), status, {"content-type": content_type})
    played = pass_through(rulebook_of(HideTool("x")), request(LIST), answer)
    assert played.client is not None
    if refused:
        assert played.client.json["error"]["data"]["reason"] == "unreadable-answer"
        assert played.client.status == 502
    else:
        assert (played.client.status, played.client.body) == (status, answer.body)


@pytest.mark.parametrize(
    "body", [b'{"jsonrpc":"2.0","id":1,"result":{"tools":[{"name":"a"}],"tools":[]}}', b"{", b"[]", b""]
)
@pytest.mark.parametrize("sized", [True, False])
def test_a_malformed_list_is_refused_and_never_shown(body: bytes, sized: bool) -> None:
    played = pass_through(rulebook_of(HideTool("x")), request(LIST), response(body, sized=sized))
    assert played.client is not None
    if body:
        # Without a length the headers have left when the body is decided: JSON-RPC has errors for that.
        assert played.client.status == (502 if sized else 200)
        assert played.client.json["id"] == 1
        assert played.client.json["error"]["data"]["trail"] == "trail-1"
        assert played.trail.outcome == "refused"
    else:
        assert played.client.body == b""
        assert played.trail.outcome == "empty"


def test_a_malformed_event_ends_a_governed_stream_with_an_error_for_the_open_request() -> None:
    answer = HttpResponse(sse(PROGRESS) + b"data: {broken\n\n" + sse(TOOLS), headers=dict(SSE), sized=False)
    played = pass_through(rulebook_of(HideTool("x")), request(LIST), answer)
    assert played.client is not None
    assert played.client.body.startswith(sse(PROGRESS))
    assert b"broken" not in played.client.body
    assert b"tools" not in played.client.body
    assert b'"id":1,"error"' in played.client.body
    assert played.trail.outcome == "refused"


def test_the_upstreams_own_errors_pass_untouched() -> None:
    answer = HttpResponse(b"upstream connect error", 503, {"content-type": "text/plain"})
    played = pass_through(rulebook_of(HideTool("x")), request(LIST), answer)
    assert played.client is not None
    assert (played.client.status, played.client.body) == (503, b"upstream connect error")
    assert played.trail.outcome == "protocol_error"


def test_the_upstreams_own_error_page_passes_although_it_calls_itself_json() -> None:
    answer = response({"detail": "no such session"}, status=404)
    played = pass_through(rulebook_of(Guard()), request(LIST), answer)
    assert played.client is not None
    assert (played.client.status, played.client.body) == (404, answer.body)
    assert played.trail.outcome == "protocol_error"


def ok(**result: Any) -> dict[str, Any]:
    return {"jsonrpc": "2.0", "id": 1, "result": result}


TEXT = [{"type": "text", "text": "x"}]
ERROR = {"jsonrpc": "2.0", "id": 1, "error": {"code": -32602, "message": "no"}}
INITIALIZED = {"jsonrpc": "2.0", "method": "notifications/initialized"}
OUTCOMES: dict[str, tuple[Any, HttpResponse, str]] = {
    "a result": (call("a"), response(ok(content=TEXT)), "ok"),
    "a streamed result": (call("a"), stream(PROGRESS, ok(content=TEXT)), "ok"),
    "a structured result": (call("a"), response(ok(content=[], structuredContent={"x": 1})), "ok"),
    "a tool's own error": (call("a"), response(ok(content=TEXT, isError=True)), "tool_error"),
    "a tool's own error, streamed": (call("a"), stream(ok(content=TEXT, isError=True)), "tool_error"),
    "a result without content": (call("a"), response(ok(content=[])), "empty"),
    "a result that wants input": (call("a"), response(ok(resultType="input_required", inputRequests={})), "ok"),
    "a JSON-RPC error in HTTP 200": (call("a"), response(ERROR), "protocol_error"),
    "a JSON-RPC error in HTTP 400": (call("a"), response(ERROR, status=400), "protocol_error"),
    "HTTP 500": (call("a"), HttpResponse(b"oops", 500, {"content-type": "text/plain"}), "protocol_error"),
    "an empty body": (call("a"), HttpResponse(), "empty"),
    "no JSON": (call("a"), response(b"{oops"), "invalid"),
    "another id": (call("a"), response({**ok(content=TEXT), "id": 9}), "invalid"),
    "a stream without the answer": (call("a"), stream(PROGRESS), "truncated"),
    "an empty stream": (call("a"), HttpResponse(headers=dict(SSE)), "empty"),
    "202 to a notification": (INITIALIZED, HttpResponse(status=202, headers={}), "ok"),
    "202 to a call": (call("a"), HttpResponse(status=202, headers={}), "empty"),
}  # fmt: skip


@pytest.mark.parametrize(("sent", "answer", "outcome"), OUTCOMES.values(), ids=OUTCOMES.keys())
@pytest.mark.parametrize("holding", [False, True], ids=["read", "held"])
def test_the_outcome_is_read_from_the_body(sent: Any, answer: HttpResponse, outcome: str, holding: bool) -> None:
    policy = DenyResult(b"no such word") if holding else Watcher()
    played = pass_through(rulebook_of(policy), request(sent), answer)
    if holding and outcome == "invalid" and played.client is not None and played.client.status == 502:
        assert played.trail.outcome == "refused"
        return
    assert played.trail.outcome == outcome
    assert played.metadata["outcome"] == outcome


def test_an_answer_cut_off_by_the_upstream_is_truncated() -> None:
    for policy in (Watcher(), DenyResult(b"x")):
        cut_off = HttpResponse(sse(PROGRESS) + b'data: {"jso', headers=dict(SSE), sized=False, complete=False)
        played = pass_through(rulebook_of(policy), request(call("a")), cut_off)
        assert played.trail.outcome == "truncated"
        assert played.trail.cause == "cancelled"


def test_the_outcome_is_told_with_the_last_answer_for_many_clients_leave_then() -> None:
    for policy in (Watcher(), DenyResult(b"secret word")):
        left = stream(PROGRESS, ok(content=TEXT, isError=True), complete=False)
        played = pass_through(rulebook_of(policy), request(call("a")), left)
        assert played.metadata["outcome"] == played.trail.outcome == "tool_error"
        waiting = pass_through(rulebook_of(policy), request(call("a")), stream(PROGRESS, complete=False))
        assert "outcome" not in waiting.metadata


def test_what_a_held_stream_left_unfinished_never_leaves() -> None:
    cut_off = HttpResponse(sse(PROGRESS) + b'data: {"jso', headers=dict(SSE), sized=False, complete=False)
    played = pass_through(rulebook_of(DenyResult(b"x")), request(call("a")), cut_off)
    assert played.client is not None
    assert played.client.body == sse(PROGRESS)


def test_a_get_stream_is_governed_too_although_its_answers_are_to_other_requests() -> None:
    opened = HttpRequest(method="GET", headers={"accept": "text/event-stream"})
    played = pass_through(rulebook_of(HideTool("delete_file")), opened, stream(PROGRESS, TOOLS))
    assert played.client is not None
    assert b"delete_file" not in played.client.body
    assert played.client.body.startswith(sse(PROGRESS))
    assert played.trail.outcome == "ok"


@pytest.mark.parametrize("status", [204, 405])
def test_answers_without_a_body_are_ordinary(status: int) -> None:
    ended = HttpRequest(method="DELETE", headers={})
    played = pass_through(rulebook_of(HideTool("x")), ended, HttpResponse(status=status, headers={}))
    assert played.client is not None
    assert played.client.status == status
    assert played.trail.outcome == ("protocol_error" if status == 405 else "ok")


def test_a_denial_at_the_response_headers_reaches_the_client_with_the_requests_id() -> None:
    class NoAnswers(Base):
        def on_response_headers(self, ctx: Context[Any]) -> Verdict:
            assert ctx.response is not None
            return Deny("no-answers", "not today", status=503)

    played = pass_through(rulebook_of(NoAnswers()), request(call("a", id=5)), response(RESULT))
    assert played.client is not None
    assert (played.client.status, played.client.json["id"]) == (503, 5)


def test_an_observer_sees_every_message_and_delays_none() -> None:
    watcher = Watcher()
    played = pass_through(rulebook_of(watcher), request(call("a")), stream(PROGRESS, ok(content=TEXT)))
    assert played.client is not None
    assert played.client.body == sse(PROGRESS, ok(content=TEXT))
    assert watcher.seen == [
        "request tool_call tools/call a",
        "response notification notifications/progress",
        "response tool_result tools/call a",
        "complete ok",
    ]


def test_shadow_policies_change_no_answer_and_keep_no_mode_from_being_lowered() -> None:
    shadows = [Binding(HideTool("delete_file"), enforce=False), Binding(DenyTool("a"), enforce=False)]
    played = pass_through(rulebook_of(*shadows), request(LIST), response(TOOLS))
    assert listed(played) == ["search", "delete_file"]
    assert [str(entry.verdict) for entry in played.trail.entries] == ["change"]


@pytest.mark.parametrize("sized", [True, False])
@pytest.mark.parametrize("asked", [1, 2])
def test_where_a_part_of_a_batch_cannot_be_read_its_error_stands_in_the_same_document(asked: int, sized: bool) -> None:
    lists = [{**LIST, "id": number} for number in range(1, asked + 1)]
    good = {"jsonrpc": "2.0", "id": 1, "result": {"tools": []}} if asked == 2 else PROGRESS
    played = pass_through(
        rulebook_of(HideTool("delete_file")),
        request(lists if asked == 2 else lists[0]),
        response([good, {"id": asked}], sized=sized),
    )
    assert played.client is not None
    first, second = played.client.json
    assert (first, second["id"], second["error"]["data"]["reason"]) == (good, asked, "unreadable-answer")
