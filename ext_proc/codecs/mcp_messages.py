"""MCP: a JSON value becomes a typed message, or an `Opaque` that says why not.

Rules:
- A message is admitted only if it is JSON-RPC 2.0 and has the shape that its class promises to policies; all else is
  `Opaque(malformed=True)`.
- A key that equals one of the protocol's but for case is refused where the protocol has keys: two readers would differ.
- What only a request may do is never taken for a notification: without an id a call would slip past the policies for
  requests and might be run all the same.
- An answer is typed by the request that a client will take it for, so no server chooses its class by another id.
- A list (`result.tools`, `result.resources` ...) that is not one of named objects is never a message.

Not here: bytes (mcp_frames.py), what servers ask (mcp_inputs.py), answers to malformed messages (mcp_denials.py).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NoReturn

from ext_proc.codecs.mcp_inputs import fault_in_error, fault_in_inputs, fault_in_params
from ext_proc.codecs.opaques import malformed
from ext_proc.framing.json_view import colliding_key
from ext_proc.messages import (
    CacheableResult,
    ClientError,
    ClientResult,
    CompleteRequest,
    DiscoverResult,
    InitializeResult,
    McpAnswer,
    McpCall,
    McpError,
    McpList,
    McpNotification,
    McpRequest,
    McpResult,
    Message,
    PromptGet,
    PromptList,
    ResourceList,
    ResourceRead,
    ResourceTemplateList,
    ServerRequest,
    SubscriptionsListen,
    ToolCall,
    ToolList,
    ToolResult,
)

_ENVELOPE = frozenset({"jsonrpc", "id", "method", "params", "result", "error"})
_PARAMS = frozenset(
    {
        "name",
        "arguments",
        "uri",
        "_meta",
        "task",
        "taskId",
        "inputResponses",
        "requestState",
        "ref",
        "argument",
        "context",
        "notifications",
    }
)
_REF = frozenset({"type", "name", "uri"})
_NAMED_IN_REF = {"ref/prompt": "name", "ref/resource": "uri"}
_LISTENED = frozenset({"resourceSubscriptions", "taskIds"})
_ERROR = frozenset({"code", "message", "data"})
_RESULT_KEYS = (
    "tools resources resourceTemplates prompts nextCursor content structuredContent isError _meta "
    "resultType inputRequests requestState task taskId tasks contents messages instructions cacheScope "
    "ttlMs protocolVersion"
)
_RESULT = frozenset(_RESULT_KEYS.split())
_CACHED = frozenset({"cacheScope", "ttlMs"})
# The keys of a list's entries.
_ENTRIES: Mapping[type[McpList], frozenset[str]] = {
    ToolList: frozenset({"name", "title", "description", "inputSchema", "outputSchema", "annotations", "_meta"}),
    ResourceList: frozenset({"uri", "name", "title", "description", "mimeType", "annotations", "size", "_meta"}),
    ResourceTemplateList: frozenset(
        {"uriTemplate", "name", "title", "description", "mimeType", "annotations", "_meta"}
    ),
    PromptList: frozenset({"name", "title", "description", "arguments", "_meta"}),
}
_CONTENT = frozenset({"type", "text", "data", "mimeType", "resource", "uri", "name", "description", "_meta"})

_BY_NAME: Mapping[str, type[McpRequest]] = {"tools/call": ToolCall, "prompts/get": PromptGet}
_BY_METHOD: Mapping[str, type[McpResult]] = {
    "tools/list": ToolList,
    "resources/list": ResourceList,
    "resources/templates/list": ResourceTemplateList,
    "prompts/list": PromptList,
    "resources/read": CacheableResult,
    "server/discover": DiscoverResult,
    "initialize": InitializeResult,
}
_BY_PARAMS: Mapping[str, type[McpRequest]] = {
    "resources/read": ResourceRead,
    "completion/complete": CompleteRequest,
    "subscriptions/listen": SubscriptionsListen,
}
_BY_URI = frozenset({"resources/read", "resources/subscribe", "resources/unsubscribe"})


class _Malformed(Exception):
    """Why a value is no message: a slug, and words without payload."""

    def __init__(self, reason: str, detail: str) -> None:
        super().__init__(detail)
        self.reason = reason
        self.detail = detail


def longest_name(message: Message) -> int:
    """The characters of the longest name in a message: of a method, or of what it is aimed at or lists.

    Of what is listened to, all URIs count together for a sixteenth: each is compared as a name is.
    """
    longest = max(len(message.method), len(message.target))
    if isinstance(message, McpList):
        return max(longest, *(len(entry[message.named_by]) for entry in message.entries), 0)
    if isinstance(message, SubscriptionsListen):
        return max(longest, *(len(uri) for uri in message.uris), sum(len(uri) for uri in message.uris) // 16)
    return longest


class Asked:
    """The requests that a response may answer, and which of them still wait.

    Args:
        messages: what went to the server in the exchange; what is no request of them wants no answer.
    """

    def __init__(self, messages: Sequence[Message]) -> None:
        self._requests = {message.id: message for message in messages if isinstance(message, McpRequest)}
        self._waiting = dict(self._requests)

    @property
    def waiting(self) -> Sequence[McpRequest]:
        """The requests without an answer so far."""
        return tuple(self._waiting.values())

    @property
    def any(self) -> bool:
        """Whether there is a request at all."""
        return bool(self._requests)

    def request_of(self, id: str | int | None) -> McpRequest | None:
        """The request that a client takes an answer with this id for.

        Clients differ about other ids on the stream of a single request: the official Python client puts the request's
        own id in their place. So a single request owns every answer.
        """
        if len(self._requests) == 1:
            return next(iter(self._requests.values()))
        return None if id is None else self._requests.get(id)

    def settle(self, answer: McpAnswer) -> None:
        """`answer` came: its request waits no longer. An error without an id is about all that was sent."""
        if answer.id is not None:
            self._waiting.pop(answer.id, None)
        elif isinstance(answer, McpError):
            self._waiting.clear()


def from_client(value: Any, raw: bytes) -> Message:
    """The message that a client's JSON value is. Never raises."""
    try:
        return _from_client(_envelope(value), raw)
    except _Malformed as fault:
        return malformed(fault.reason, fault.detail, raw, id=_request_id(value))


def from_server(value: Any, raw: bytes, asked: Asked) -> Message:
    """The message that a server's JSON value is; an answer carries its request. Never raises."""
    try:
        return _from_server(_envelope(value), raw, asked)
    except _Malformed as fault:
        return malformed(fault.reason, fault.detail, raw)


def _from_client(value: Mapping[str, Any], raw: bytes) -> Message:
    if "method" not in value:
        _check_answer(value)
        return ClientError(value, raw) if "error" in value else ClientResult(value, raw)
    method, params = _call(value)
    if "id" not in value:
        if not method.startswith("notifications/"):
            raise _Malformed("jsonrpc-invalid", "a request has no id")
        return McpNotification(value, raw)
    if method in _BY_NAME:
        _check_named(params)
        return _BY_NAME[method](value, raw)
    # A subscription without any `uri` is aimed at nothing, and whether there are subscriptions at all is for the server
    # to say: in revision 2026-07-28 there are none (conformance suite, server-stateless).
    if method == "resources/read" or (method in _BY_URI and "uri" in params):
        if not isinstance(params.get("uri"), str):
            raise _Malformed("mcp-params-invalid", "params.uri must be a string")
        return ResourceRead(value, raw)
    # The same holds where nothing is referred to, or listened to: whether that is right is for the server to say.
    if method == "completion/complete" and "ref" in params:
        _check_ref(params["ref"])
        return CompleteRequest(value, raw)
    if method == "subscriptions/listen" and _listens_to_resources(params.get("notifications")):
        return SubscriptionsListen(value, raw)
    return McpRequest(value, raw)


def _from_server(value: Mapping[str, Any], raw: bytes, asked: Asked) -> Message:
    if "method" in value:
        _check(fault_in_params(_call(value)[1]))
        return ServerRequest(value, raw) if "id" in value else McpNotification(value, raw)
    _check_answer(value)
    request = asked.request_of(value.get("id"))
    if "error" in value:
        return McpError(value, raw, request)
    if request is None and asked.any:
        raise _Malformed("answer-unmatched", "an answer has the id of no request")
    return _result_class(value["result"], request)(value, raw, request)


def _result_class(result: Mapping[str, Any], request: McpRequest | None) -> type[McpResult]:
    """The class of a result, by what was asked; by its shape where that is not known.

    Raises:
        _Malformed: it has not the shape that its class promises.
    """
    kind = _class_by_shape(result) if request is None else class_by_request(request)
    if issubclass(kind, McpList):
        _check_list(result.get(kind.holds), kind)
    elif kind is ToolResult:
        _check_tool_result(result)
    return kind


def request_class(method: str) -> type[McpCall]:
    """The class of a client's message with this method; or of its parent, where its params lack what that promises."""
    if method.startswith("notifications/"):
        return McpNotification
    if method in _BY_NAME:
        return _BY_NAME[method]
    return _BY_PARAMS.get(method, McpRequest)


def class_by_request(request: McpRequest) -> type[McpResult]:
    """The class of every result that answers a request."""
    if isinstance(request, ToolCall):
        return ToolResult
    return _BY_METHOD.get(request.method, McpResult)


def _class_by_shape(result: Mapping[str, Any]) -> type[McpResult]:
    found: list[type[McpResult]] = [kind for kind in _ENTRIES if kind.holds in result]
    if "content" in result or "structuredContent" in result:
        found.append(ToolResult)
    if "protocolVersion" in result:
        found.append(InitializeResult)
    if len(found) > 1:
        raise _Malformed("answer-ambiguous", "a result has the shapes of several methods' at once")
    if found:
        return found[0]
    return CacheableResult if _CACHED & result.keys() else McpResult


def _envelope(value: Any) -> Mapping[str, Any]:
    if not isinstance(value, dict) or value.get("jsonrpc") != "2.0":
        raise _Malformed("jsonrpc-invalid", "this is not a JSON-RPC 2.0 message")
    _check_keys(value, _ENVELOPE)
    if ("method" in value) + ("result" in value) + ("error" in value) != 1:
        raise _Malformed("jsonrpc-invalid", "a message must hold one of method, result and error")
    return value


def _call(value: Mapping[str, Any]) -> tuple[str, Mapping[str, Any]]:
    """The method and params of a request or notification."""
    method = value["method"]
    if not isinstance(method, str):
        raise _Malformed("jsonrpc-invalid", "method must be a string")
    if "id" in value and not _is_id(value["id"]):
        raise _Malformed("jsonrpc-invalid", "id must be a string or an integer")
    params = value.get("params", {})
    if not isinstance(params, dict):
        raise _Malformed("mcp-params-invalid", "params must be an object")
    _check_keys(params, _PARAMS)
    return method, params


def _check_named(params: Mapping[str, Any]) -> None:
    if not isinstance(params.get("name"), str):
        raise _Malformed("mcp-params-invalid", "params.name must be a string")
    if not isinstance(params.get("arguments"), dict | None):
        raise _Malformed("mcp-params-invalid", "params.arguments must be an object")


def _check_ref(ref: Any) -> None:
    if not isinstance(ref, dict) or not isinstance(ref.get("type"), str):
        raise _Malformed("mcp-params-invalid", "params.ref must be an object with a type")
    _check_keys(ref, _REF)
    name = _NAMED_IN_REF.get(ref["type"])
    if name is not None and not isinstance(ref.get(name), str):
        raise _Malformed("mcp-params-invalid", f"params.ref.{name} must be a string")


def _listens_to_resources(wanted: Any) -> bool:
    if not isinstance(wanted, dict):
        return False
    _check_keys(wanted, _LISTENED)
    if "resourceSubscriptions" not in wanted:
        return False
    uris = wanted["resourceSubscriptions"]
    if not isinstance(uris, list) or not all(isinstance(uri, str) for uri in uris):
        raise _Malformed("mcp-params-invalid", "params.notifications.resourceSubscriptions must be a list of strings")
    return True


def _check_answer(value: Mapping[str, Any]) -> None:
    id = value.get("id")
    if "result" in value:
        if not _is_id(id):
            raise _Malformed("jsonrpc-invalid", "id must be a string or an integer")
        if not isinstance(value["result"], dict):
            raise _Malformed("jsonrpc-invalid", "result must be an object")
        _check_keys(value["result"], _RESULT)
        return _check(fault_in_inputs(value["result"]))
    error = value["error"]
    # An error may have no id: its request may not have been readable (JSON-RPC 2.0, section 5).
    if id is not None and not _is_id(id):
        raise _Malformed("jsonrpc-invalid", "id must be a string or an integer")
    if not isinstance(error, dict) or type(error.get("code")) is not int or not isinstance(error.get("message"), str):
        raise _Malformed("jsonrpc-invalid", "error must hold an integer code and a message")
    _check_keys(error, _ERROR)
    _check(fault_in_error(error))


def _check_list(entries: Any, kind: type[McpList]) -> None:
    for entry in _objects(entries, f"result.{kind.holds}"):
        _check_keys(entry, _ENTRIES[kind])
        if not isinstance(entry.get(kind.named_by), str):
            _reject_result(f"every entry of {kind.holds} must have a {kind.named_by}")


def _check_tool_result(result: Mapping[str, Any]) -> None:
    if "content" in result:
        for block in _objects(result["content"], "result.content"):
            _check_keys(block, _CONTENT)
    if not isinstance(result.get("isError", False), bool):
        _reject_result("result.isError must be a boolean")


def _objects(value: Any, where: str) -> Sequence[Mapping[str, Any]]:
    if not isinstance(value, list) or not all(isinstance(item, dict) for item in value):
        _reject_result(f"{where} must be a list of objects")
    return value


def _reject_result(detail: str) -> NoReturn:
    raise _Malformed("mcp-result-invalid", detail)


def _check(fault: tuple[str, str] | None) -> None:
    if fault is not None:
        raise _Malformed(*fault)


def _check_keys(mapping: Mapping[str, Any], names: frozenset[str]) -> None:
    if colliding_key(mapping, names) is not None:
        raise _Malformed("ambiguous-key", "a key equals one of the protocol's but for upper and lower case")


def _request_id(value: Any) -> str | int | None:
    """The id of a malformed request, where there can be no doubt about it."""
    if not isinstance(value, dict) or "method" not in value or colliding_key(value, _ENVELOPE) is not None:
        return None
    id = value.get("id")
    return id if _is_id(id) else None


def _is_id(value: Any) -> bool:
    # A bool is an int to Python, not to JSON; null is no id of a request (MCP, base protocol).
    return type(value) is str or type(value) is int
