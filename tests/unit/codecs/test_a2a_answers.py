"""codecs/a2a: what an agent answers is typed by what was asked, and its outcome is read from the body."""

from __future__ import annotations

from typing import Any

import pytest

from ext_proc.headers import Headers
from ext_proc.limits import Limits
from ext_proc.messages import (
    A2aError,
    A2aResult,
    AgentCard,
    CardFetch,
    ExtendedCard,
    Message,
    Opaque,
    ResponseHead,
    TaskPage,
)
from ext_proc.trail import Outcome
from tests.unit.codecs.a2a_building import (
    CODEC,
    STREAM,
    TASK_03,
    TASK_10,
    answer_head,
    answered,
    call,
    encoded,
    event,
    opaque,
    request,
    result,
    send,
)
from tests.unit.codecs.building import error

SEND_10, SEND_03 = request(send("1.0")), request(send("0.3"))
STREAM_10, STREAM_03 = request(send("1.0", stream=True)), request(send("0.3", stream=True))
GET_10, GET_03 = (request(call(name) | {"params": {"id": "t"}}) for name in ("GetTask", "tasks/get"))
CANCEL = request(call("CancelTask") | {"params": {"id": "t"}})
WATCH = request(call("SubscribeToTask") | {"params": {"id": "t"}})
LIST = request(call("ListTasks"))
PUSH_LIST_03 = request(call("tasks/pushNotificationConfig/list") | {"params": {"id": "t"}})
PUSH_LIST_10 = request(call("ListTaskPushNotificationConfigs", taskId="t"))
PUSH_DELETE_03 = request(call("tasks/pushNotificationConfig/delete") | {"params": {"id": "t"}})
PUSH_DELETE_10 = request(call("DeleteTaskPushNotificationConfig", taskId="t"))
PUSH_SET = request(call("CreateTaskPushNotificationConfig", taskId="t", url="https://a.example/"))
EXTENDED = request(call("GetExtendedAgentCard"))
UNKNOWN = request(call("Vendor"))
FETCH = CardFetch(b"")
CARD = {"name": "A", "url": "https://a.example/", "skills": [{"id": "s"}], "signatures": [{"protected": "x"}]}
MESSAGE = {"messageId": "m", "contextId": "c", "role": "ROLE_AGENT", "parts": [{"text": "hello"}]}


def status(state: Any, **members: Any) -> dict[str, Any]:
    return {"statusUpdate": {"taskId": "t", "contextId": "c", "status": {"state": state}, **members}}


def status_03(state: str, final: bool) -> dict[str, Any]:
    shared = {"kind": "status-update", "taskId": "t", "contextId": "c"}
    return {**shared, "status": {"state": state}, "final": final}


def one(asked: Message | None, value: Any, response: ResponseHead | None = None) -> Message:
    (message,), _ = answered(asked, value, response)
    return message


@pytest.mark.parametrize(
    ("asked", "value", "ids"),
    [
        (SEND_10, {"task": TASK_10}, [("t", "c")]),
        (SEND_10, {"message": MESSAGE}, [("", "c")]),
        (SEND_10, {"message": {**MESSAGE, "taskId": "t"}}, [("t", "c")]),
        (STREAM_10, status("TASK_STATE_WORKING"), [("t", "c")]),
        (STREAM_10, {"artifactUpdate": {"taskId": "t", "contextId": "c", "artifact": {}}}, [("t", "c")]),
        (GET_10, TASK_10, [("t", "c")]),
        (GET_10, {"id": "t"}, [("t", "")]),
        (CANCEL, TASK_10, [("t", "c")]),
        (SEND_03, TASK_03, [("t", "c")]),
        (SEND_03, {**MESSAGE, "kind": "message", "taskId": "t"}, [("t", "c")]),
        (STREAM_03, status_03("working", False), [("t", "c")]),
        (STREAM_03, {"kind": "artifact-update", "taskId": "t", "contextId": "c", "artifact": {}}, [("t", "c")]),
        (GET_03, TASK_03, [("t", "c")]),
        (SEND_10, {}, []),
        (SEND_10, TASK_03, [("t", "c")]),
        (SEND_03, {"task": TASK_10}, [("t", "c")]),
        (SEND_10, {"task": None, "message": MESSAGE}, [("", "c")]),
        (None, {"task": TASK_10}, [("t", "c")]),
        (PUSH_SET, {"id": "n", "taskId": "t", "url": "https://a.example/"}, []),
        (PUSH_LIST_10, {"configs": [{"taskId": "t"}]}, []),
        (PUSH_LIST_03, [{"taskId": "t", "pushNotificationConfig": {}}], []),
        (PUSH_DELETE_10, None, []),
        (PUSH_DELETE_10, {}, []),
        (UNKNOWN, {"task": 5, "message": 6}, []),
        (UNKNOWN, "anything", []),
    ],
)
def test_a_result_tells_which_tasks_and_contexts_it_hands_out_in_either_versions_shape(
    asked: Any, value: Any, ids: list[tuple[str, str]]
) -> None:
    message = one(asked, result(value))
    assert type(message) is A2aResult
    assert list(message.handed_out) == ids
    assert message.request is asked


def test_what_is_only_mentioned_within_is_not_handed_out() -> None:
    inner = {**MESSAGE, "taskId": "other", "contextId": "else", "referenceTaskIds": ["third"]}
    task = {**TASK_10, "history": [inner], "status": {"state": "TASK_STATE_WORKING", "message": inner}}
    message = one(SEND_10, result({"task": task}))
    assert isinstance(message, A2aResult)
    assert list(message.handed_out) == [("t", "c")]


def test_the_official_servers_answer_to_a_deletion_has_no_result() -> None:
    message = one(PUSH_DELETE_03, {"jsonrpc": "2.0", "id": 1})
    assert isinstance(message, A2aResult)
    assert (message.result, list(message.handed_out), message.outcome) == (None, [], Outcome.OK)


def test_a_page_of_tasks_hands_out_each_and_can_be_narrowed() -> None:
    tasks = [{**TASK_10, "id": name} for name in ("a", "b", "c")]
    page = one(LIST, result({"tasks": tasks, "totalSize": 10, "pageSize": 3, "nextPageToken": "n"}))
    assert isinstance(page, TaskPage)
    assert list(page.handed_out) == [("a", "c"), ("b", "c"), ("c", "c")]
    kept = page.keep(lambda task: task["id"] == "b")
    assert (type(kept), kept.request) == (TaskPage, LIST)
    assert kept.result == {"tasks": [tasks[1]], "totalSize": 8, "pageSize": 3, "nextPageToken": "n"}
    assert page.keep(lambda task: True) is page
    assert page.keep(lambda task: False).result["totalSize"] == 7


def test_an_empty_page_hands_out_nothing() -> None:
    page = one(LIST, result({"nextPageToken": ""}))
    assert isinstance(page, TaskPage)
    assert (list(page.tasks), list(page.handed_out), page.keep(lambda task: False)) == ([], [], page)


def test_the_extended_card_is_a_result_of_its_own() -> None:
    card = one(EXTENDED, result(CARD))
    assert isinstance(card, ExtendedCard)
    assert (card.result["name"], list(card.signatures), list(card.handed_out)) == ("A", [{"protected": "x"}], [])


def test_a_public_card_is_plain_json_and_keeps_its_bytes() -> None:
    raw = b' {"name" : "A", "signatures": [{"protected":"x","signature":"y"}]} '
    card = one(FETCH, raw)
    assert isinstance(card, AgentCard)
    assert (card.raw, card.value["name"], len(card.signatures), card.method) == (raw, "A", 1, "GET")
    assert one(FETCH, {"name": "B"}, answer_head(200)).outcome is Outcome.OK


@pytest.mark.parametrize(
    "value",
    [
        [],
        "A",
        {"name": "A", "Name": "B"},
        {"supportedInterfaces": [], "supported_interfaces": []},
        {"supportedInterfaces": [{"url": "a", "URL": "b"}]},
        {"additionalInterfaces": [{"Url": "b"}]},
        {"skills": {"id": "s"}},
        {"skills": [{"id": "s", "ID": "t"}]},
        {"signatures": "x"},
        {"signatures": [{"Protected": "x"}]},
        {"url": 5},
        b'{"url":"a","url":"b"}',
        b"{",
    ],
)
def test_a_card_that_two_readers_would_read_in_two_ways_is_malformed(value: Any) -> None:
    messages, decoder = answered(FETCH, value)
    assert opaque(messages).malformed
    assert decoder.outcome is Outcome.INVALID
    if isinstance(value, dict):
        assert opaque([one(EXTENDED, result(value))]).malformed


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        ({"jsonrpc": "2.0", "id": 1}, "a2a-result-invalid"),
        (result(None), "a2a-result-invalid"),
        (result([TASK_10]), "a2a-result-invalid"),
        (result("t"), "a2a-result-invalid"),
        ({**result({}), "id": None}, "jsonrpc-invalid"),
        ({**result({}), "error": {"code": 1, "message": "x"}}, "jsonrpc-invalid"),
        (call("SendMessage"), "jsonrpc-invalid"),
        ({"jsonrpc": "2.0", "id": 1, "error": "x"}, "jsonrpc-invalid"),
        ({"jsonrpc": "2.0", "id": 1, "error": {"code": "x", "message": "y"}}, "jsonrpc-invalid"),
        ({"jsonrpc": "2.0", "id": [], "error": {"code": 1, "message": "y"}}, "jsonrpc-invalid"),
        ({"jsonrpc": "2.0", "id": 1, "error": {"code": 1, "Code": 2, "message": "y"}}, "ambiguous-key"),
        ({"task": TASK_10}, "jsonrpc-invalid"),
        ([result({})], "batch-not-allowed"),
        (result({"task": TASK_10, "message": MESSAGE}), "answer-ambiguous"),
        (result({"task": TASK_10, **TASK_03}), "answer-ambiguous"),
        (result({"task": TASK_10, "parts": [{"text": "a"}]}), "answer-ambiguous"),
        (result({"task": TASK_10, "Task": {}}), "ambiguous-key"),
        (result({"statusUpdate": {"taskId": "t"}, "status_update": {"taskId": "u"}}), "ambiguous-key"),
        (result({"task": {**TASK_10, "taskId": "u"}}), "ambiguous-key"),
        (result({"task": {**TASK_10, "context_id": "u"}}), "ambiguous-key"),
        (result({"task": {**TASK_10, "Artifacts": []}}), "ambiguous-key"),
        (result({"task": {**TASK_10, "artifacts": [{"parts": [{"text": "a", "Text": "b"}]}]}}), "ambiguous-key"),
        (result({"task": []}), "a2a-shape-invalid"),
        (result({"task": {"id": 5}}), "a2a-shape-invalid"),
        (result({"task": {**TASK_10, "status": []}}), "a2a-shape-invalid"),
        (result({"task": {**TASK_10, "status": {"state": []}}}), "a2a-shape-invalid"),
        (result({"task": {**TASK_10, "history": [5]}}), "a2a-shape-invalid"),
        (result({"task": {**TASK_10, "artifacts": {}}}), "a2a-shape-invalid"),
        (result({"task": {**TASK_10, "artifacts": [{"name": 5}]}}), "a2a-shape-invalid"),
        (result({"message": {"parts": [{"text": "a", "data": {}}]}}), "a2a-part-ambiguous"),
    ],
)
@pytest.mark.parametrize("streamed", [False, True])
def test_an_answer_without_its_shape_or_with_two_is_malformed(value: Any, reason: str, streamed: bool) -> None:
    asked, response = (STREAM_10, STREAM) if streamed else (SEND_10, answer_head())
    messages, decoder = answered(asked, event(value) if streamed else encoded(value), response)
    assert (opaque(messages).reason, opaque(messages).malformed) == (reason, True)
    assert Outcome.INVALID.worse(decoder.outcome) is decoder.outcome


@pytest.mark.parametrize(
    "value",
    [{"tasks": {}}, {"tasks": [5]}, {"tasks": [{"id": 5}]}, {"Tasks": []}, {"tasks": [{"id": "a", "taskId": "b"}]}],
)
def test_a_page_without_its_shape_is_malformed(value: Any) -> None:
    assert opaque([one(LIST, result(value))]).malformed


@pytest.mark.parametrize("id", [2, "1", "other"])
def test_a_request_owns_its_answer_whatever_its_id(id: Any) -> None:
    messages, decoder = answered(SEND_10, result({"task": TASK_10}, id=id))
    assert isinstance(messages[0], A2aResult)
    assert (messages[0].request, decoder.outcome) == (SEND_10, Outcome.OK)


@pytest.mark.parametrize("value", [error(), error(id=None), {**error(), "result": None}])
def test_an_error_is_an_answer(value: Any) -> None:
    for asked, body, response in ((SEND_10, encoded(value), answer_head()), (STREAM_03, event(value), STREAM)):
        messages, decoder = answered(asked, body, response)
        (message,) = messages
        assert isinstance(message, A2aError)
        assert (message.code, message.request, decoder.outcome) == (-32603, asked, Outcome.PROTOCOL_ERROR)
        assert list(decoder.unanswered) == []


def test_an_event_of_the_type_error_is_read_as_any() -> None:
    messages, decoder = answered(STREAM_10, b"event: error\n" + event(error()), STREAM)
    assert type(messages[0]) is A2aError
    assert decoder.outcome is Outcome.PROTOCOL_ERROR


@pytest.mark.parametrize(
    ("asked", "values", "waits", "outcome"),
    [
        (STREAM_10, [{"task": TASK_10}], True, Outcome.TRUNCATED),
        (STREAM_10, [{"task": TASK_10}, status("TASK_STATE_COMPLETED")], False, Outcome.OK),
        (STREAM_10, [{"task": TASK_10}, status(3)], False, Outcome.OK),
        (STREAM_10, [{"task": TASK_10}, status("TASK_STATE_INPUT_REQUIRED")], False, Outcome.OK),
        (STREAM_10, [{"task": TASK_10}, status("TASK_STATE_AUTH_REQUIRED")], False, Outcome.OK),
        (STREAM_10, [{"task": TASK_10}, status("TASK_STATE_FAILED")], False, Outcome.TOOL_ERROR),
        (STREAM_10, [{"task": TASK_10}, status("TASK_STATE_REJECTED")], False, Outcome.TOOL_ERROR),
        (STREAM_10, [{"task": TASK_10}, status("TASK_STATE_CANCELED")], False, Outcome.TOOL_ERROR),
        (STREAM_10, [{"task": TASK_10}, status(4)], False, Outcome.TOOL_ERROR),
        (STREAM_10, [{"message": MESSAGE}], False, Outcome.OK),
        (STREAM_10, [status("TASK_STATE_INPUT_REQUIRED"), status("TASK_STATE_WORKING")], True, Outcome.TRUNCATED),
        (STREAM_03, [TASK_03], True, Outcome.TRUNCATED),
        (STREAM_03, [TASK_03, status_03("completed", True)], False, Outcome.OK),
        (STREAM_03, [TASK_03, status_03("working", True)], False, Outcome.OK),
        (STREAM_03, [TASK_03, status_03("input-required", True)], False, Outcome.OK),
        (STREAM_03, [TASK_03, status_03("failed", True)], False, Outcome.TOOL_ERROR),
        (STREAM_03, [{**MESSAGE, "kind": "message"}], False, Outcome.OK),
        (WATCH, [TASK_10, status("TASK_STATE_CANCELED")], False, Outcome.TOOL_ERROR),
        (WATCH, [], True, Outcome.EMPTY),
        (GET_10, [TASK_10], False, Outcome.OK),
    ],
)
def test_a_stream_waits_for_the_answer_after_which_there_is_none(
    asked: Any, values: list[Any], waits: bool, outcome: Outcome
) -> None:
    messages, decoder = answered(asked, b"".join(event(result(value)) for value in values), STREAM)
    assert all(type(message) is A2aResult for message in messages)
    assert list(decoder.unanswered) == ([asked] if waits else [])
    assert decoder.outcome is outcome


@pytest.mark.parametrize(
    ("asked", "value", "outcome"),
    [
        (SEND_10, {"task": TASK_10}, Outcome.OK),
        (SEND_10, {"task": {"id": "t", "status": {"state": "TASK_STATE_FAILED"}}}, Outcome.TOOL_ERROR),
        (SEND_03, {"id": "t", "kind": "task", "status": {"state": "rejected"}}, Outcome.TOOL_ERROR),
        (STREAM_10, {"task": TASK_10}, Outcome.OK),
        (GET_10, {"id": "t", "status": {"state": "TASK_STATE_FAILED"}}, Outcome.OK),
        (CANCEL, {"id": "t", "status": {"state": "TASK_STATE_CANCELED"}}, Outcome.OK),
        (LIST, {"tasks": [{"id": "t", "status": {"state": "TASK_STATE_FAILED"}}]}, Outcome.OK),
    ],
)
def test_only_work_that_was_asked_for_here_can_fail_here(asked: Any, value: Any, outcome: Outcome) -> None:
    _, decoder = answered(asked, result(value))
    assert (decoder.outcome, list(decoder.unanswered)) == (outcome, [])


@pytest.mark.parametrize(
    ("asked", "body", "response", "outcome"),
    [
        (SEND_10, b"", answer_head(), Outcome.EMPTY),
        (SEND_10, b"{", answer_head(), Outcome.INVALID),
        (SEND_10, b"<html>", answer_head(503), Outcome.PROTOCOL_ERROR),
        (SEND_10, b"", answer_head(401), Outcome.PROTOCOL_ERROR),
        (FETCH, b"", ResponseHead(304, Headers()), Outcome.OK),
        (FETCH, b"not here", answer_head(404), Outcome.PROTOCOL_ERROR),
        (FETCH, b"", answer_head(), Outcome.EMPTY),
        (None, b"", answer_head(), Outcome.OK),
    ],
)
def test_what_never_came_is_an_outcome_too(asked: Any, body: bytes, response: ResponseHead, outcome: Outcome) -> None:
    _, decoder = answered(asked, body, response)
    assert decoder.outcome is outcome


@pytest.mark.parametrize("body", [b"<html>", {"error": {"code": 401}}, ["x"], b"\xff"])
@pytest.mark.parametrize("asked", [SEND_10, FETCH])
def test_an_error_page_is_opaque_without_being_malformed(asked: Any, body: Any) -> None:
    messages, _ = answered(asked, body, answer_head(401))
    assert (opaque(messages).reason, opaque(messages).malformed) == ("not-a2a", False)


def test_an_error_status_may_carry_the_protocols_own_error() -> None:
    assert type(one(SEND_10, error(), answer_head(400))) is A2aError
    for claims in ({"jsonrpc": "2.0"}, {"JsonRpc": "2.0"}, [{"jsonrpc": "2.0"}], b'{"jsonrpc":"2.0","id":NaN}'):
        assert opaque([one(SEND_10, claims, answer_head(400))]).malformed


def test_ids_that_are_too_long_to_be_kept_make_an_answer_malformed() -> None:
    for asked, value in ((SEND_10, {"task": {"id": "t" * 50}}), (LIST, {"tasks": [{"contextId": "c" * 50}]})):
        messages, _ = answered(asked, result(value), limits=Limits(name=40))
        assert opaque(messages).reason == "name-too-long"


def test_every_span_of_an_event_past_the_limit_is_opaque() -> None:
    body = event(result({"message": {**MESSAGE, "parts": [{"text": "x" * 200_000}]}})) + event(
        result({"message": MESSAGE})
    )
    messages, decoder = answered(STREAM_10, body, STREAM, Limits(event=1000))
    assert [type(message) for message in messages[-2:]] == [Opaque, A2aResult]
    assert all(message.too_large for message in messages if isinstance(message, Opaque))
    assert decoder.outcome is Outcome.INVALID


def test_comments_carry_no_message_and_what_is_cut_off_is_malformed() -> None:
    messages, decoder = answered(STREAM_10, b": ping\n\n" + event(result({"task": TASK_10}))[:-1], STREAM)
    assert (opaque(messages).reason, decoder.outcome) == ("sse-unterminated", Outcome.TRUNCATED)


@pytest.mark.parametrize(
    ("asked", "classes"),
    [
        ([SEND_10], {A2aResult, A2aError, Opaque}),
        ([LIST], {TaskPage, A2aError, Opaque}),
        ([EXTENDED], {ExtendedCard, A2aError, Opaque}),
        ([UNKNOWN], {A2aResult, A2aError, Opaque}),
        ([FETCH], {AgentCard, Opaque}),
        ([], {A2aResult, TaskPage, ExtendedCard, AgentCard, A2aError, Opaque}),
    ],
)
def test_the_planner_is_told_which_classes_can_come(asked: list[Message], classes: set[type[Message]]) -> None:
    assert set(CODEC.answers(asked)) == classes


def test_an_answer_is_readable_by_its_type() -> None:
    assert CODEC.readable(answer_head())
    assert CODEC.readable(STREAM)
    assert CODEC.readable(ResponseHead(304, Headers()))
    assert not CODEC.readable(answer_head(content_type="application/grpc"))
    assert not CODEC.readable(answer_head(content_type="application/json; charset=utf-16"))
    assert (CODEC.streams(STREAM), CODEC.streams(answer_head())) == (True, False)
