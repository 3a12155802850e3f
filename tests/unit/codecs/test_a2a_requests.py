"""codecs/a2a: what a client asks is typed by its method, in both versions, and read in one way only."""

from __future__ import annotations

from typing import Any

import pytest

from ext_proc.codecs.codec import Match
from ext_proc.limits import Limits
from ext_proc.messages import (
    A2aRequest,
    CardFetch,
    ExtendedCardRequest,
    MessageSend,
    Opaque,
    PushConfigRequest,
    TaskListing,
    TaskRequest,
)
from ext_proc.messages.a2a import OPERATIONS_03
from tests.unit.codecs.a2a_building import CODEC, VERSIONS, call, drain, encoded, head, opaque, read, request, send

URL = "https://hooks.example/"
TASKS = ["GetTask", "CancelTask", "SubscribeToTask"]
PUSHES = [
    "CreateTaskPushNotificationConfig",
    "GetTaskPushNotificationConfig",
    "ListTaskPushNotificationConfigs",
    "DeleteTaskPushNotificationConfig",
]
NAMES_03 = {operation: name for name, operation in OPERATIONS_03.items()}


def named(operation: str, version: str) -> str:
    return operation if version == "1.0" else NAMES_03[operation]


def refused(value: Any) -> Opaque:
    message = opaque([read(value)])
    assert message.malformed
    return message


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("stream", [False, True])
def test_a_message_to_the_agent_says_what_it_is_about(version: str, stream: bool) -> None:
    message = request(
        send(version, stream=stream, taskId="t", contextId="c", referenceTaskIds=["a", "b"], metadata={"x": 1})
    )
    assert isinstance(message, MessageSend)
    assert message.operation == ("SendStreamingMessage" if stream else "SendMessage")
    assert (message.version, message.is_streamed) == (version, stream)
    assert (message.task_id, message.target, message.context_id) == ("t", "t", "c")
    assert (list(message.reference_task_ids), message.message["metadata"]) == (["a", "b"], {"x": 1})
    assert (message.metadata, message.push_config) == ({}, None)


@pytest.mark.parametrize("version", VERSIONS)
def test_a_first_message_is_about_no_task(version: str) -> None:
    for members in ({}, {"taskId": None, "contextId": None, "referenceTaskIds": None}, {"taskId": "", "contextId": ""}):
        message = request(send(version, **members))
        assert isinstance(message, MessageSend)
        assert (message.task_id, message.context_id, list(message.reference_task_ids)) == ("", "", [])


@pytest.mark.parametrize("name", ["taskPushNotificationConfig", "pushNotificationConfig"])
@pytest.mark.parametrize("version", VERSIONS)
def test_where_notifications_shall_go_is_found_under_either_versions_name(name: str, version: str) -> None:
    config = {"url": URL, "token": "s3cret", "authentication": {"scheme": "Bearer", "credentials": "s3cret"}, "id": "n"}
    message = request(send(version, configuration={name: config}))
    assert isinstance(message, MessageSend)
    found = message.push_config
    assert found is not None
    assert (found.url, found.token, found.id, found.authentication["scheme"]) == (URL, "s3cret", "n", "Bearer")
    assert "s3cret" not in repr(found)


@pytest.mark.parametrize("task", ["", "t"])
def test_a_configuration_may_name_the_messages_own_task(task: str) -> None:
    config = {"url": URL, "taskId": task}
    assert isinstance(read(send(taskId="t", configuration={"taskPushNotificationConfig": config})), MessageSend)


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("operation", TASKS)
def test_a_request_about_a_task_names_it(operation: str, version: str) -> None:
    message = request(call(named(operation, version), id="x", **{}) | {"params": {"id": "t"}})
    assert isinstance(message, TaskRequest)
    assert (message.operation, message.version, message.task_id, message.id) == (operation, version, "t", "x")
    assert message.is_streamed is (operation == "SubscribeToTask")


def test_a_listing_may_name_a_context() -> None:
    message = request(call("ListTasks", contextId="c"))
    assert isinstance(message, TaskListing)
    assert (message.context_id, message.target) == ("c", "")
    assert request(call("ListTasks")).context_id == ""


@pytest.mark.parametrize(
    ("operation", "version", "params", "config_id"),
    [
        ("CreateTaskPushNotificationConfig", "1.0", {"taskId": "t", "id": "n", "url": URL}, "n"),
        ("GetTaskPushNotificationConfig", "1.0", {"taskId": "t", "id": "n"}, "n"),
        ("ListTaskPushNotificationConfigs", "1.0", {"taskId": "t"}, ""),
        ("DeleteTaskPushNotificationConfig", "1.0", {"taskId": "t", "id": "n"}, "n"),
        ("CreateTaskPushNotificationConfig", "0.3", {"taskId": "t", "pushNotificationConfig": {"url": URL}}, ""),
        ("GetTaskPushNotificationConfig", "0.3", {"id": "t", "pushNotificationConfigId": "n"}, "n"),
        ("ListTaskPushNotificationConfigs", "0.3", {"id": "t"}, ""),
        ("DeleteTaskPushNotificationConfig", "0.3", {"id": "t", "pushNotificationConfigId": "n"}, "n"),
    ],
)
def test_a_request_about_notifications_names_its_task_and_what_it_creates(
    operation: str, version: str, params: dict[str, Any], config_id: str
) -> None:
    message = request(call(named(operation, version)) | {"params": params})
    assert isinstance(message, PushConfigRequest)
    assert (message.operation, message.task_id, message.config_id) == (operation, "t", config_id)
    created = operation.startswith("Create")
    assert (message.push_config.url if message.push_config else None) == (URL if created else None)


@pytest.mark.parametrize("method", ["GetExtendedAgentCard", "agent/getAuthenticatedExtendedCard"])
def test_the_extended_card_is_asked_for_without_params(method: str) -> None:
    assert isinstance(request(call(method)), ExtendedCardRequest)


@pytest.mark.parametrize(
    ("method", "version"), [("tasks/list", "0.3"), ("SetTaskPushNotificationConfig", "1.0"), ("sendMessage", "1.0")]
)
def test_a_method_of_neither_version_is_a_request_without_an_operation(method: str, version: str) -> None:
    message = request(call(method))
    assert (type(message), message.operation, message.version, message.target) == (A2aRequest, "", version, "")
    assert message.as_variables()["operation"] == ""


def test_conditions_see_what_is_asked_in_the_words_of_1_0() -> None:
    asked = send("0.3", taskId="t", contextId="c")
    seen = request({**asked, "params": {**asked["params"], "tenant": "acme"}}).as_variables()
    assert seen == {
        **{"kind": "message_send", "method": "message/send", "target": "t"},
        **{"operation": "SendMessage", "version": "0.3", "context": "c", "tenant": "acme"},
    }


def test_changed_params_make_a_new_request_with_the_same_id() -> None:
    before = request(send())
    after = before.with_params({**before.params, "configuration": {}})
    assert (type(after), after.id, after.params["configuration"]) == (MessageSend, 1, {})
    assert "configuration" not in before.params


@pytest.mark.parametrize("version", ["", "0.3", "1.0", "2.0"])
def test_the_header_that_names_a_version_changes_nothing_of_what_is_read(version: str) -> None:
    frames = drain(CODEC.request_decoder(head(a2a_version=version), Limits()), encoded(send("0.3")))
    (message,) = frames[0].messages
    assert isinstance(message, MessageSend)
    assert message.version == "0.3"


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        ({**send(), "jsonrpc": "1.0"}, "jsonrpc-invalid"),
        ({"id": 1, "method": "SendMessage"}, "jsonrpc-invalid"),
        ([send()], "batch-not-allowed"),
        ([], "batch-not-allowed"),
        ("SendMessage", "jsonrpc-invalid"),
        ({"jsonrpc": "2.0", "method": "SendMessage"}, "jsonrpc-invalid"),
        ({**send(), "id": None}, "jsonrpc-invalid"),
        ({**send(), "id": 1.5}, "jsonrpc-invalid"),
        ({**send(), "id": True}, "jsonrpc-invalid"),
        ({**send(), "method": 5}, "jsonrpc-invalid"),
        ({**send(), "result": {}}, "jsonrpc-invalid"),
        ({"jsonrpc": "2.0", "id": 1, "result": {}}, "jsonrpc-invalid"),
        ({**send(), "params": ["t"]}, "a2a-shape-invalid"),
        ({**send(), "params": None}, "a2a-params-invalid"),
        (call("SendMessage"), "a2a-params-invalid"),
        (call("SendMessage", message="hello"), "a2a-shape-invalid"),
        (send(parts={}), "a2a-shape-invalid"),
        (send("1.0", "hello"), "a2a-shape-invalid"),
        (send("1.0", {"text": 5}), "a2a-shape-invalid"),
        (send("1.0", {"text": ["a"]}), "a2a-shape-invalid"),
        (send(taskId=5), "a2a-shape-invalid"),
        (send(contextId=["c"]), "a2a-shape-invalid"),
        (send(referenceTaskIds="t"), "a2a-shape-invalid"),
        (send(referenceTaskIds=["t", 5]), "a2a-shape-invalid"),
        (send(metadata=[]), "a2a-shape-invalid"),
        (send(configuration=[]), "a2a-shape-invalid"),
        (send(configuration={"pushNotificationConfig": URL}), "a2a-shape-invalid"),
        (send(configuration={"taskPushNotificationConfig": {"url": [URL]}}), "a2a-shape-invalid"),
        (send(configuration={"taskPushNotificationConfig": {"authentication": "x"}}), "a2a-shape-invalid"),
        (send(configuration={"taskPushNotificationConfig": {"tenant": 5}}), "a2a-shape-invalid"),
        (call("GetTask", tenant=5), "a2a-shape-invalid"),
        (call("GetTask"), "a2a-params-invalid"),
        (call("tasks/get") | {"params": {"id": ""}}, "a2a-params-invalid"),
        (call("tasks/cancel") | {"params": {"id": 7}}, "a2a-shape-invalid"),
        (call("ListTasks", contextId=7), "a2a-shape-invalid"),
        (call("GetTaskPushNotificationConfig") | {"params": {"id": "n"}}, "a2a-params-invalid"),
        (call("tasks/pushNotificationConfig/set", taskId="t"), "a2a-params-invalid"),
        (call("CreateTaskPushNotificationConfig", taskId="t", url=[URL]), "a2a-shape-invalid"),
        (call("CreateTaskPushNotificationConfig", taskId="t", authentication=[]), "a2a-shape-invalid"),
    ],
)
def test_what_has_not_the_shape_of_its_class_is_malformed(value: Any, reason: str) -> None:
    assert refused(value).reason == reason


@pytest.mark.parametrize(
    "value",
    [
        # Readers of protobuf's JSON take both spellings, and others ignore case.
        send(task_id="t"),
        send(taskId="t", task_id="u"),
        send(taskid="t"),
        send(context_id="c"),
        send(reference_task_ids=["t"]),
        send("1.0", {"Text": "a"}),
        send("0.3", {"kind": "text", "text": "a", "TEXT": "b"}),
        send("0.3", {"kind": "file", "file": {"uri": URL, "URI": URL}}),
        send(configuration={"push_notification_config": {"url": URL}}),
        send(configuration={"task_push_notification_config": {"url": URL}}),
        send(configuration={"pushNotificationConfig": {"URL": URL}}),
        send(configuration={"pushNotificationConfig": {"authentication": {"Scheme": "x"}}}),
        call("GetTask") | {"params": {"id": "t", "ID": "u"}},
        call("ListTasks", context_id="c"),
        call("CreateTaskPushNotificationConfig", taskId="t", Url=URL),
        {**send(), "Method": "GetTask"},
        {**send(), "PARAMS": {}},
        {**send(), "ID": 2},
        # Another version's reader, or a draft's, would find another task or another URL.
        call("GetTask") | {"params": {"id": "t", "taskId": "u"}},
        call("tasks/get") | {"params": {"id": "t", "taskId": "u"}},
        call("tasks/pushNotificationConfig/get") | {"params": {"id": "t", "taskId": "u"}},
        call("tasks/pushNotificationConfig/set")
        | {"params": {"taskId": "t", "id": "u", "pushNotificationConfig": {"url": URL}}},
        call("GetTask") | {"params": {"id": "t", "name": "tasks/u"}},
        call("ListTaskPushNotificationConfigs", taskId="t", parent="tasks/u"),
        call("CreateTaskPushNotificationConfig", taskId="t", url=URL, pushNotificationConfig={"url": "http://b/"}),
        send(configuration={"pushNotificationConfig": {"url": URL}, "taskPushNotificationConfig": {"url": URL}}),
        # Drafts have a configuration within one.
        send(configuration={"taskPushNotificationConfig": {"url": URL, "pushNotificationConfig": {"url": URL}}}),
        send(configuration={"pushNotificationConfig": {"url": URL, "config": {"url": URL}}}),
        call("CreateTaskPushNotificationConfig", taskId="t", url=URL, config={"url": URL}),
        call("CreateTaskPushNotificationConfig", taskId="t", url=URL, taskPushNotificationConfig={"url": URL}),
        call("CreateTaskPushNotificationConfig", taskId="t", url=URL, task_push_notification_config={"url": URL}),
        call("tasks/pushNotificationConfig/set")
        | {"params": {"taskId": "t", "pushNotificationConfig": {"url": URL, "pushNotificationConfig": {"url": URL}}}},
        send(configuration={"taskPushNotificationConfig": {"url": URL, "tenant": "other"}}),
        send(configuration={"taskPushNotificationConfig": {"url": URL, "taskId": "u"}}),
        send(taskId="t", configuration={"taskPushNotificationConfig": {"url": URL, "taskId": "u"}}),
        call("CreateTaskPushNotificationConfig", taskId="t", pushNotificationConfig={"url": URL, "taskId": "u"}),
    ],
)
def test_what_two_readers_would_read_in_two_ways_is_malformed(value: Any) -> None:
    assert refused(value).reason == "ambiguous-key"


@pytest.mark.parametrize(
    "part",
    [
        {"text": "a", "data": {}},
        {"text": "a", "data": None},
        {"kind": "text", "text": "a", "file": {"uri": URL}},
        {"kind": "data", "text": "a"},
        {"kind": "text", "data": {"a": "b"}},
        {"text": "a", "url": URL},
        {"raw": "YQ==", "url": URL},
    ],
)
@pytest.mark.parametrize("version", VERSIONS)
def test_a_part_with_two_contents_is_malformed(part: dict[str, Any], version: str) -> None:
    assert refused(send(version, part)).reason == "a2a-part-ambiguous"


@pytest.mark.parametrize(
    "part",
    [
        {"text": ""},
        {"text": "a", "data": None} | {"data": {"a": 1}, "text": None},
        {"data": None},
        {"kind": "text", "text": "a", "metadata": {"text": "b"}},
        {"kind": "vendor", "x": 1},
        {},
        {"raw": "YQ==", "filename": "a", "mediaType": "b/c"},
        {"kind": "file", "file": {"bytes": "YQ=="}},
        {"text": "a", "filename": "", "mediaType": ""},
    ],
)
def test_a_part_with_one_content_or_none_is_read(part: dict[str, Any]) -> None:
    assert isinstance(read(send("1.0", part)), MessageSend)


def test_a_malformed_request_keeps_its_id_where_there_is_no_doubt_about_it() -> None:
    assert refused({**send(task_id="t"), "id": "x"}).id == "x"
    assert refused({**send(), "id": "x", "ID": "y"}).id is None
    assert refused({**send(), "id": None}).id is None


@pytest.mark.parametrize("body", [b"", b"{", b"\xff", b'{"jsonrpc":"2.0","jsonrpc":"2.0"}', b"[" * 100])
def test_what_is_no_json_is_malformed(body: bytes) -> None:
    assert refused(body).reason.startswith("json-")


@pytest.mark.parametrize(
    "value",
    [
        call("x" * 50),
        call("GetTask") | {"params": {"id": "t" * 50}},
        send(contextId="c" * 50),
        send(referenceTaskIds=["t" * 50]),
        send(referenceTaskIds=["t" * 15] * 60),
    ],
)
def test_names_that_are_too_long_to_be_compared_are_malformed(value: Any) -> None:
    message = opaque([read(value, Limits(name=40))])
    assert (message.reason, message.id) == ("name-too-long", 1)


def test_what_is_larger_than_the_limit_is_opaque() -> None:
    frames = drain(CODEC.request_decoder(head(), Limits(request_body=10)), encoded(send()))
    assert all(isinstance(message, Opaque) and message.too_large for frame in frames for message in frame.messages)


@pytest.mark.parametrize(
    ("found", "match"),
    [
        (head(), Match.YES),
        (head(content_type="application/json; charset=utf-8"), Match.YES),
        (head(content_type="application/a2a+json"), Match.NO),
        (head(content_type="application/grpc"), Match.NO),
        (head(content_type="application/json; charset=utf-16"), Match.NO),
        (head("GET", "/.well-known/agent-card.json"), Match.YES),
        (head("GET", "/agents/a/.well-known/agent-card.json"), Match.YES),
        (head("GET", "/.well-known/agent.json"), Match.YES),
        (head("GET", "/v1/tasks/t"), Match.NO),
        (head("GET", "/agent", accept="text/event-stream"), Match.NO),
        (head("HEAD", "/.well-known/agent-card.json"), Match.NO),
        (head("DELETE", "/agent"), Match.NO),
    ],
)
def test_the_headers_tell_what_is_read(found: Any, match: Match) -> None:
    assert CODEC.matches(found) is match
    assert CODEC.header_message(found) is None


def test_a_card_is_asked_for_by_the_headers_alone() -> None:
    fetch = CODEC.transport_message(head("GET", "/.well-known/agent-card.json"))
    assert isinstance(fetch, CardFetch)
    assert (fetch.method, fetch.target) == ("GET", "")
    assert CODEC.transport_message(head()) is None
