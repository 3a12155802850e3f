"""codecs/a2a: what is admitted the official SDK reads as policies do, in 1.0 (protobuf JSON) and in 0.3 (pydantic)."""

from __future__ import annotations

from typing import Any

from a2a.compat.v0_3 import types as v03
from a2a.types import a2a_pb2 as v10
from google.protobuf.json_format import ParseDict, ParseError
from hypothesis import event, given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from ext_proc.limits import DEFAULTS
from ext_proc.messages import Form, MessageSend, Opaque, PushConfigRequest, TaskRequest
from tests.unit.codecs.a2a_building import CODEC, call, read

IDS = st.sampled_from(["t", "t", "u", "", None])
URLS = st.sampled_from(["https://a/", "https://b/", None])


def spelled(*names: str) -> st.SearchStrategy[str]:
    """A member's name, mostly as the specification has it."""
    others = [other for name in names for other in (name.lower(), _snake(name), name.upper())]
    return st.sampled_from([*list(names) * 8, *others])


def _snake(name: str) -> str:
    return "".join(f"_{letter.lower()}" if letter.isupper() else letter for letter in name)


PARTS = st.lists(
    st.dictionaries(spelled("text", "kind"), st.sampled_from(["a", "b", "text", "data"]), max_size=2)
    | st.sampled_from([{"data": {"x": "y"}}, {"kind": "data", "data": {"x": "y"}}, {"text": "a", "data": None}]),
    max_size=2,
)
CONFIGS = st.dictionaries(spelled("url", "taskId", "id", "token"), URLS | IDS, max_size=3)
MESSAGES = st.builds(
    lambda ids, references, parts: {"messageId": "m", **ids, **references, "parts": parts},
    st.dictionaries(spelled("taskId", "contextId"), IDS, max_size=3),
    st.dictionaries(spelled("referenceTaskIds"), st.lists(st.sampled_from(["t", "u"]), max_size=2), max_size=1),
    PARTS,
)
SENT = st.builds(
    lambda message, configuration: {"message": message, "configuration": configuration},
    MESSAGES,
    st.dictionaries(spelled("taskPushNotificationConfig", "pushNotificationConfig"), CONFIGS, max_size=2),
)
ABOUT = st.dictionaries(spelled("id", "taskId", "name", "url", "pushNotificationConfigId"), IDS | URLS, max_size=4)


def texts(message: MessageSend) -> list[str]:
    pieces = CODEC.texts(message, DEFAULTS)
    assert not isinstance(pieces, Opaque)
    return [piece.text for piece in pieces if piece.form is Form.PLAIN]


@settings(max_examples=300)
@given(SENT)
def test_a_message_of_1_0_has_one_reading(params: dict[str, Any]) -> None:
    message = read(call("SendMessage") | {"params": params})
    try:
        found = ParseDict(params, v10.SendMessageRequest(), ignore_unknown_fields=True)
    except ParseError:
        return
    event(type(message).__name__)
    if not isinstance(message, MessageSend):
        return
    assert (message.task_id, message.context_id) == (found.message.task_id, found.message.context_id)
    assert list(message.reference_task_ids) == list(found.message.reference_task_ids)
    assert texts(message) == [part.text for part in found.message.parts if part.text]
    config = found.configuration.task_push_notification_config
    if config.url:
        assert message.push_config is not None
        assert (message.push_config.url, message.push_config.token) == (config.url, config.token)
        assert config.task_id in ("", message.task_id)


@settings(max_examples=300)
@given(SENT)
def test_a_message_of_0_3_has_one_reading(params: dict[str, Any]) -> None:
    params["message"]["role"] = "user"
    value = call("message/send") | {"params": params}
    message = read(value)
    try:
        found = v03.SendMessageRequest.model_validate(value).params
    except ValidationError:
        return
    event(type(message).__name__)
    if not isinstance(message, MessageSend):
        return
    assert (message.task_id, message.context_id) == (found.message.task_id or "", found.message.context_id or "")
    assert list(message.reference_task_ids) == list(found.message.reference_task_ids or ())
    parts = [part.root for part in found.message.parts]
    assert texts(message) == [part.text for part in parts if isinstance(part, v03.TextPart) and part.text]
    config = found.configuration and found.configuration.push_notification_config
    if config:
        assert message.push_config is not None
        assert (message.push_config.url, message.push_config.token) == (config.url, config.token or "")


@settings(max_examples=300)
@given(ABOUT)
def test_a_request_about_a_task_has_one_reading(params: dict[str, Any]) -> None:
    for method, model in (("GetTask", v10.GetTaskRequest), ("CancelTask", v10.CancelTaskRequest)):
        message = read(call(method) | {"params": params})
        if isinstance(message, TaskRequest):
            assert message.task_id == ParseDict(params, model(), ignore_unknown_fields=True).id
    for method, old in (("tasks/get", v03.GetTaskRequest), ("tasks/resubscribe", v03.TaskResubscriptionRequest)):
        value = call(method) | {"params": params}
        message = read(value)
        if isinstance(message, TaskRequest):
            assert message.task_id == old.model_validate(value).params.id


@settings(max_examples=300)
@given(ABOUT)
def test_a_request_about_notifications_has_one_reading(params: dict[str, Any]) -> None:
    message = read(call("CreateTaskPushNotificationConfig") | {"params": params})
    if isinstance(message, PushConfigRequest):
        made = ParseDict(params, v10.TaskPushNotificationConfig(), ignore_unknown_fields=True)
        assert message.push_config is not None
        assert (message.task_id, message.config_id, message.push_config.url) == (made.task_id, made.id, made.url)
    value = call("tasks/pushNotificationConfig/delete") | {"params": params}
    message = read(value)
    try:
        gone = v03.DeleteTaskPushNotificationConfigRequest.model_validate(value).params
    except ValidationError:
        return
    if isinstance(message, PushConfigRequest):
        assert (message.task_id, message.config_id) == (gone.id, gone.push_notification_config_id)
