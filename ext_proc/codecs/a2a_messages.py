"""A2A: a JSON value becomes a typed message, or an `Opaque` that says why not.

Rules:
- A message is admitted only if it is JSON-RPC 2.0 and has the shape that its class promises to policies; all else is
  `Opaque(malformed=True)`. Every call wants an answer: one without an id would slip past what is decided on answers.
- The method alone says what is asked, and in which version's words. `A2A-Version` says nothing here: a server refuses a
  method of another version (1.0, section 3.6.2), and no two readers of one method differ about its members.
- Where a reader of another version, or of a draft, would find another task, URL or text in the same message, it is
  refused: `id` and `taskId`, two configurations, one within another, or one of another task or tenant, a resource name
  of a draft, a result with two shapes.

Not here: keys and types (a2a_shapes.py), bytes (a2a_frames.py), what is answered to a malformed message
(a2a_denials.py).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ext_proc.codecs.a2a_shapes import (
    PAYLOAD,
    Malformed,
    check_card,
    check_keys,
    check_message,
    check_payload,
    check_texts,
    object_of,
    objects_of,
    refuse_two,
)
from ext_proc.codecs.opaques import malformed
from ext_proc.messages import (
    A2aError,
    A2aRequest,
    A2aResult,
    AgentCard,
    ExtendedCard,
    ExtendedCardRequest,
    Message,
    MessageSend,
    PushConfigRequest,
    TaskListing,
    TaskPage,
    TaskRequest,
)
from ext_proc.messages.a2a import OPERATIONS_03
from ext_proc.messages.a2a_answers import WRAPPERS

_ENVELOPE = frozenset({"jsonrpc", "id", "method", "params", "result", "error"})
_ERROR = frozenset({"code", "message", "data"})
_CONFIGS = ("taskPushNotificationConfig", "pushNotificationConfig")  # 1.0's and 0.3's
# Members in which drafts of 1.0 have a configuration within another, or within the params that are one in 1.0.
_WITHIN = ("taskPushNotificationConfig", "config")
_PUSH = frozenset({"tenant", "id", "taskId", "url", "token", "authentication", *_CONFIGS, *_WITHIN})
_AUTHENTICATION = frozenset({"scheme", "schemes", "credentials"})
_PARAMS = _PUSH | {
    *("message", "configuration", "metadata", "contextId", "historyLength", "name", "parent"),
    *("status", "pageSize", "pageToken", "statusTimestampAfter", "includeArtifacts"),
    "pushNotificationConfigId",
}
_CONFIGURATION = frozenset({"acceptedOutputModes", "historyLength", "returnImmediately", "blocking", *_CONFIGS})
_RESULT = PAYLOAD | {*WRAPPERS, "tasks", "nextPageToken", "pageSize", "totalSize", "configs"}
_BY_OPERATION: Mapping[str, type[A2aRequest]] = {
    "SendMessage": MessageSend,
    "SendStreamingMessage": MessageSend,
    "GetTask": TaskRequest,
    "CancelTask": TaskRequest,
    "SubscribeToTask": TaskRequest,
    "ListTasks": TaskListing,
    "CreateTaskPushNotificationConfig": PushConfigRequest,
    "GetTaskPushNotificationConfig": PushConfigRequest,
    "ListTaskPushNotificationConfigs": PushConfigRequest,
    "DeleteTaskPushNotificationConfig": PushConfigRequest,
    "GetExtendedAgentCard": ExtendedCardRequest,
}


def from_client(value: Any, raw: bytes) -> Message:
    """The request that a client's JSON value is. Never raises."""
    try:
        return _request(value, raw)
    except Malformed as fault:
        return malformed(fault.reason, fault.detail, raw, id=_request_id(value))


def from_agent(value: Any, raw: bytes, request: A2aRequest | None) -> Message:
    """The answer to `request` that an agent's JSON value is. Never raises.

    Whatever its id: official clients do not compare it, so a single request owns every answer.
    """
    try:
        return _answer(value, raw, request)
    except Malformed as fault:
        return malformed(fault.reason, fault.detail, raw)


def longest_name(message: Message) -> int:
    """The characters of the longest name in a message: of a method, a task, a context or a tenant.

    Of what a message refers to, all ids count together for a sixteenth: each is compared as a name is.
    """
    names = [message.method, message.target]
    if isinstance(message, A2aRequest):
        names += [message.context_id, message.tenant]
        if isinstance(message, MessageSend):
            names += message.reference_task_ids
            return max(*map(len, names), sum(map(len, message.reference_task_ids)) // 16)
    elif isinstance(message, A2aResult):
        names += [name for ids in message.handed_out for name in ids]
    return max(map(len, names))


def card_from_agent(value: Any, raw: bytes) -> Message:
    """The card that the JSON value behind a `CardFetch` is. Never raises."""
    try:
        if not isinstance(value, dict):
            raise Malformed("a2a-card-invalid", "an agent's card is an object")
        check_card(value)
    except Malformed as fault:
        return malformed(fault.reason, fault.detail, raw)
    return AgentCard(value, raw)


def class_by_request(request: A2aRequest) -> type[A2aResult]:
    """The class of every result that answers a request."""
    if isinstance(request, TaskListing):
        return TaskPage
    return ExtendedCard if isinstance(request, ExtendedCardRequest) else A2aResult


def _request(value: Any, raw: bytes) -> A2aRequest:
    _check_envelope(value)
    if "method" not in value or "result" in value or "error" in value:
        raise Malformed("jsonrpc-invalid", "a client sends requests only")
    if not isinstance(value["method"], str):
        raise Malformed("jsonrpc-invalid", "method must be a string")
    if not _is_id(value.get("id")):
        raise Malformed("jsonrpc-invalid", "a request must have an id, a string or an integer")
    params = object_of(value, "params") or {}
    check_keys(params, _PARAMS)
    method = value["method"]
    request = _BY_OPERATION.get(OPERATIONS_03.get(method, method), A2aRequest)(value, raw)
    _check_params(request, params)
    return request


def _check_params(request: A2aRequest, params: Mapping[str, Any]) -> None:
    check_texts(params, "tenant")
    if isinstance(request, MessageSend):
        message = object_of(params, "message")
        if message is None:
            raise Malformed("a2a-params-invalid", "params.message must be an object")
        check_message(message)
        object_of(params, "metadata")
        _check_configuration(object_of(params, "configuration") or {}, request)
    elif isinstance(request, TaskListing):
        check_texts(params, "contextId")
    elif isinstance(request, TaskRequest | PushConfigRequest):
        _check_task_params(request, params)


def _check_configuration(configuration: Mapping[str, Any], request: A2aRequest) -> None:
    check_keys(configuration, _CONFIGURATION)
    refuse_two(configuration, *_CONFIGS)
    for name in _CONFIGS:
        _check_push(object_of(configuration, name) or {}, request)


def _check_task_params(request: TaskRequest | PushConfigRequest, params: Mapping[str, Any]) -> None:
    """A task is named once, in the place that the method has for it."""
    check_texts(params, "id", "taskId", "pushNotificationConfigId")
    # Drafts of 1.0 had resource names: `tasks/...`, as `name` or `parent`.
    if any(params.get(name) is not None for name in ("name", "parent")):
        raise Malformed("ambiguous-key", "a resource name stands beside, or in place of, a task's id")
    # In 1.0's requests for a configuration both have a meaning: the configuration's id, and the task's.
    if isinstance(request, TaskRequest) or request.version == "0.3":
        refuse_two(params, "id", "taskId")
    if not request.task_id:
        raise Malformed("a2a-params-invalid", "the params name no task")
    _refuse_within(params, _WITHIN)
    config = object_of(params, "pushNotificationConfig")
    if config is not None:
        refuse_two(params, "pushNotificationConfig", "url")
        _check_push(config, request)
    elif isinstance(request, PushConfigRequest) and request.method.endswith("/set"):
        raise Malformed("a2a-params-invalid", "params.pushNotificationConfig must be an object")
    check_texts(params, "url", "token")
    check_keys(object_of(params, "authentication") or {}, _AUTHENTICATION)


def _check_push(value: Mapping[str, Any], request: A2aRequest) -> None:
    """A configuration inside of other params, which name its task and tenant themselves; 1.0's has places for them."""
    check_keys(value, _PUSH)
    _refuse_within(value, (*_CONFIGS, *_WITHIN))
    check_texts(value, "url", "token", "id", "taskId", "tenant")
    if value.get("taskId") not in (None, "", request.task_id) or value.get("tenant") not in (None, "", request.tenant):
        raise Malformed("ambiguous-key", "a configuration names another task or tenant")
    check_keys(object_of(value, "authentication") or {}, _AUTHENTICATION)


def _refuse_within(value: Mapping[str, Any], names: Sequence[str]) -> None:
    """Refuses a configuration in a place where a draft has it, and with it perhaps another URL."""
    if any(value.get(name) is not None for name in names):
        raise Malformed("ambiguous-key", "a configuration stands within another")


def _answer(value: Any, raw: bytes, request: A2aRequest | None) -> Message:
    _check_envelope(value)
    error, result = value.get("error"), value.get("result")
    if "method" in value or (error is not None and result is not None):
        raise Malformed("jsonrpc-invalid", "an answer must hold a result or an error")
    if error is not None:
        # An error may have no id: its request may not have been readable (JSON-RPC 2.0, section 5).
        if not (value.get("id") is None or _is_id(value["id"])):
            raise Malformed("jsonrpc-invalid", "id must be a string or an integer")
        _check_error(error)
        return A2aError(value, raw, request)
    if not _is_id(value.get("id")):
        raise Malformed("jsonrpc-invalid", "id must be a string or an integer")
    _check_result(result, request)
    return (A2aResult if request is None else class_by_request(request))(value, raw, request)


def _check_error(error: Any) -> None:
    if not isinstance(error, dict) or type(error.get("code")) is not int or not isinstance(error.get("message"), str):
        raise Malformed("jsonrpc-invalid", "error must hold an integer code and a message")
    check_keys(error, _ERROR)


def _check_result(result: Any, request: A2aRequest | None) -> None:
    operation = None if request is None else request.operation
    if operation == "":
        return  # nobody knows what it should be, and `A2aResult` says nothing of it
    if isinstance(result, list) and operation == "ListTaskPushNotificationConfigs":
        return  # 0.3's
    # A deletion gives null; the official server for 0.3 leaves it out.
    if result is None and operation == "DeleteTaskPushNotificationConfig":
        return
    if not isinstance(result, dict):
        raise Malformed("a2a-result-invalid", "result must be an object")
    if isinstance(request, ExtendedCardRequest):
        check_card(result)
        return
    if isinstance(request, PushConfigRequest):
        return
    check_keys(result, _RESULT)
    if isinstance(request, TaskListing):
        for task in objects_of(result, "tasks"):
            check_payload(task)
        return
    found = [name for name in WRAPPERS if result.get(name) is not None]
    if len(found) > 1 or (found and any(result.get(name) is not None for name in PAYLOAD)):
        raise Malformed("answer-ambiguous", "a result has several shapes at once")
    payload = object_of(result, found[0]) if found else result
    check_payload(payload or {})


def _check_envelope(value: Any) -> None:
    if not isinstance(value, dict) or value.get("jsonrpc") != "2.0":
        raise Malformed("jsonrpc-invalid", "this is not a JSON-RPC 2.0 message")
    check_keys(value, _ENVELOPE)


def _request_id(value: Any) -> str | int | None:
    """The id of a malformed request, where there can be no doubt about it."""
    if not isinstance(value, dict) or "method" not in value or any(_folds_to_id(key) for key in value):
        return None
    return value["id"] if _is_id(value.get("id")) else None


def _folds_to_id(key: str) -> bool:
    return key != "id" and key.casefold().replace("_", "") == "id"


def _is_id(value: Any) -> bool:
    # A bool is an int to Python, not to JSON; null is no id that an answer could be told by.
    return type(value) is str or type(value) is int
