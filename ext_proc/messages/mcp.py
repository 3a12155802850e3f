"""The Model Context Protocol's messages, in either direction, and MCP's own HTTP requests.

Rules:
- A class says what its JSON was checked to be: its properties do not fail (codecs/mcp_messages.py checks).

Not here: how bytes become messages (codecs/).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, ClassVar, Self

from ext_proc.messages.base import Message
from ext_proc.messages.channel import ChannelKind
from ext_proc.messages.jsonrpc import JsonRpcMessage
from ext_proc.trail import Outcome

URL_ELICITATION_REQUIRED = -32042


class McpMessage(JsonRpcMessage):
    """A message of the Model Context Protocol, in either direction."""

    __slots__ = ()
    kind = "mcp"


class McpCall(McpMessage):
    """Anything with a method: a request or a notification."""

    __slots__ = ()

    @property
    def method(self) -> str:
        return str(self.value["method"])

    @property
    def params(self) -> Mapping[str, Any]:
        """`params`; {} where absent or null."""
        params = self.value.get("params")
        return params if isinstance(params, Mapping) else {}

    @property
    def arguments(self) -> Mapping[str, Any]:
        """The arguments that `args` holds in CEL: of a tool call or a prompt, and a server request's params; or {}."""
        return {}


class McpNotification(McpCall):
    """A call that wants no answer."""

    __slots__ = ()
    kind = "notification"


class McpRequest(McpCall):
    """A call that wants an answer."""

    __slots__ = ()
    kind = "request"

    @property
    def id(self) -> str | int:
        """The request's id: text or an integer."""
        return self.value["id"]  # type: ignore[no-any-return]  # the codec admits nothing else

    def with_params(self, params: Mapping[str, Any]) -> Self:
        """The same request with other params."""
        return type(self)({**self.value, "params": params})


class _Named(McpRequest):
    """A request aimed at a name, with arguments."""

    __slots__ = ()

    @property
    def name(self) -> str:
        return str(self.params["name"])

    @property
    def target(self) -> str:
        return self.name

    @property
    def arguments(self) -> Mapping[str, Any]:
        arguments = self.params.get("arguments")
        return arguments if isinstance(arguments, Mapping) else {}


class ToolCall(_Named):
    """`tools/call`: a tool's name and its arguments (absent means {})."""

    __slots__ = ()
    kind = "tool_call"
    names = "tool"
    texts = frozenset({ChannelKind.TOOL_ARGUMENTS, ChannelKind.NAME})


class PromptGet(_Named):
    """`prompts/get`."""

    __slots__ = ()
    kind = "prompt_get"
    texts = frozenset({ChannelKind.CONTENT, ChannelKind.NAME})


class ResourceRead(McpRequest):
    """`resources/read`, and the subscriptions to one resource."""

    __slots__ = ()
    kind = "resource_read"

    @property
    def target(self) -> str:
        return str(self.params["uri"])


class CompleteRequest(McpRequest):
    """`completion/complete` of an argument: of a prompt, or of a resource's template."""

    __slots__ = ()
    kind = "complete"

    @property
    def prompt(self) -> str | None:
        """The prompt's name; None for another reference."""
        ref = self.params["ref"]
        return str(ref["name"]) if ref["type"] == "ref/prompt" else None

    @property
    def uri(self) -> str | None:
        """The URI, or the template of one; None for another reference."""
        ref = self.params["ref"]
        return str(ref["uri"]) if ref["type"] == "ref/resource" else None

    @property
    def target(self) -> str:
        return self.prompt or self.uri or ""


class SubscriptionsListen(McpRequest):
    """`subscriptions/listen` (2026-07-28) to changes of certain resources, perhaps among other things."""

    __slots__ = ()
    kind = "subscriptions_listen"

    @property
    def uris(self) -> Sequence[str]:
        """The resources."""
        return self.params["notifications"]["resourceSubscriptions"]  # type: ignore[no-any-return]  # texts, by the codec


class ServerRequest(McpRequest):
    """What a server asks of the client (sampling, elicitation, roots): a message of the legacy revisions, and what
    stands for an entry of `inputRequests`, or an elicitation of an error.

    In the place of a denied one stands one that every client refuses: the error has to go to the server.
    """

    __slots__ = ()
    kind = "server_request"

    @property
    def arguments(self) -> Mapping[str, Any]:
        return self.params


class McpAnswer(McpMessage):
    """A result or an error.

    Attributes:
        request: what it answers; None on a stream that answers requests of other exchanges, and for a client's answer.
    """

    __slots__ = ("request",)

    def __init__(self, value: Mapping[str, Any], raw: bytes | None = None, request: McpRequest | None = None) -> None:
        super().__init__(value, raw)
        self.request = request

    @property
    def id(self) -> str | int | None:
        return self.value.get("id")

    @property
    def method(self) -> str:
        return "" if self.request is None else self.request.method

    @property
    def target(self) -> str:
        return "" if self.request is None else self.request.target


class McpError(McpAnswer):
    """A JSON-RPC error."""

    __slots__ = ()
    kind = "error"

    @property
    def code(self) -> int:
        return int(self.value["error"]["code"])

    @property
    def elicitations(self) -> Sequence[ServerRequest]:
        """The elicitations that an error -32042 (2025-11-25) asks for before the request is sent again; or ()."""
        data = self.value["error"].get("data")
        if self.code != URL_ELICITATION_REQUIRED or not isinstance(data, Mapping):
            return ()
        asked = enumerate({"mode": "url", **params} for params in data.get("elicitations", ()))
        envelope = {"jsonrpc": "2.0", "method": "elicitation/create"}
        return [ServerRequest({**envelope, "id": number, "params": params}) for number, params in asked]

    @property
    def outcome(self) -> Outcome:
        return Outcome.PROTOCOL_ERROR


class McpResult(McpAnswer):
    """A JSON-RPC result."""

    __slots__ = ()
    kind = "result"
    texts = frozenset({ChannelKind.CONTENT, ChannelKind.NAME})

    @property
    def result(self) -> Mapping[str, Any]:
        return self.value["result"]  # type: ignore[no-any-return]  # the codec admits objects only

    @property
    def input_requests(self) -> Mapping[str, ServerRequest]:
        """What the server asks before it goes on (`inputRequests`, 2026-07-28), by key, which is its id here."""
        asked: Mapping[str, Mapping[str, Any]] = self.result.get("inputRequests") or {}
        return {key: ServerRequest({**request, "jsonrpc": "2.0", "id": key}) for key, request in asked.items()}

    def with_result(self, result: Mapping[str, Any]) -> McpResult:
        """The same answer with another result."""
        return type(self)({**self.value, "result": result}, request=self.request)


class ToolResult(McpResult):
    """The result of a tool call."""

    __slots__ = ()
    kind = "tool_result"

    @property
    def is_error(self) -> bool:
        return self.result.get("isError") is True

    @property
    def outcome(self) -> Outcome:
        if self.is_error:
            return Outcome.TOOL_ERROR
        interim = self.result.get("resultType", "complete") != "complete" or "task" in self.result
        if not interim and not self.result.get("content") and not self.result.get("structuredContent"):
            return Outcome.EMPTY
        return Outcome.OK


class CacheableResult(McpResult):
    """A result other than a list that says how long it may be kept, and by whom: of `resources/read` and
    `server/discover` (MCP 2026-07-28, caching)."""

    __slots__ = ()

    def as_private(self) -> CacheableResult:
        """The same, but for its caller's own cache alone; itself where it is so already, or says nothing of caches."""
        result = self.result
        if result.get("cacheScope") == "private" or not ("cacheScope" in result or "ttlMs" in result):
            return self
        return type(self)({**self.value, "result": {**result, "cacheScope": "private"}}, request=self.request)


class McpList(McpResult):
    """One page of a list of what a server offers.

    Attributes:
        holds: the member of the result that has the entries.
        named_by: the member of an entry that tells which one it is.
    """

    __slots__ = ()
    kind = "list"
    texts = frozenset()
    holds: ClassVar[str] = ""
    named_by: ClassVar[str] = "name"

    @property
    def entries(self) -> Sequence[Mapping[str, Any]]:
        """The entries, as the server gave them; each has a text under `named_by`."""
        return self.result[self.holds]  # type: ignore[no-any-return]  # the codec admits lists of objects only

    def keep(self, wanted: Callable[[Mapping[str, Any]], bool]) -> Self:
        """This page with only the entries that `wanted` says yes to; itself where that is all of them.

        What differs by caller must not be shared by a cache, so `cacheScope` becomes "private" where the result can
        carry it (revision 2026-07-28), even if nothing was hidden from this caller.
        """
        kept = [entry for entry in self.entries if wanted(entry)]
        result = dict(self.result)
        if "cacheScope" in result or "ttlMs" in result:
            result["cacheScope"] = "private"
        result[self.holds] = kept
        if len(kept) == len(self.entries) and result == self.result:
            return self
        return type(self)({**self.value, "result": result}, request=self.request)


class ToolList(McpList):
    """One page of `tools/list`."""

    __slots__ = ()
    kind = "tool_list"
    holds = "tools"

    @property
    def tools(self) -> Sequence[Mapping[str, Any]]:
        """The tools' definitions, as the server gave them."""
        return self.entries


class ResourceList(McpList):
    """One page of `resources/list`."""

    __slots__ = ()
    kind = "resource_list"
    holds = "resources"
    named_by = "uri"


class ResourceTemplateList(McpList):
    """One page of `resources/templates/list`."""

    __slots__ = ()
    kind = "resource_template_list"
    holds = "resourceTemplates"
    named_by = "uriTemplate"


class PromptList(McpList):
    """One page of `prompts/list`."""

    __slots__ = ()
    kind = "prompt_list"
    holds = "prompts"


class ClientResult(McpResult):
    """A client's result for a server's request (what it sampled, what its user filled in)."""

    __slots__ = ()
    kind = "client_result"
    texts = frozenset()


class ClientError(McpError):
    """A client's error for a server's request; it says nothing of how the exchange ended."""

    __slots__ = ()
    kind = "client_error"

    @property
    def outcome(self) -> Outcome:
        return Outcome.OK


class McpTransport(Message):
    """An HTTP request of MCP's transport that carries no JSON-RPC."""

    __slots__ = ()
    kind = "transport"


class StreamOpen(McpTransport):
    """GET: a stream for the server's own messages, or the rest of a broken one (`Last-Event-ID`)."""

    __slots__ = ()
    kind = "stream_open"

    @property
    def method(self) -> str:
        return "GET"


class SessionEnd(McpTransport):
    """DELETE: the session is over."""

    __slots__ = ()
    kind = "session_end"

    @property
    def method(self) -> str:
        return "DELETE"
