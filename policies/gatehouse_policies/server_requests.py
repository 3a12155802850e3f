"""server-requests: what a server may ask of its caller: sampling, elicitation, roots; on every wire by the same rules.

Rules:
- Asked is by requests of the server on an event stream, of a POST or a GET (revisions before 2026-07-28); by
  `inputRequests` in a result, whatever its `resultType` says, and in a task (2026-07-28); and by the elicitations of an
  error -32042 (2025-11-25).
- Rules are tried in order; the first that fits decides, else `default`. A condition that cannot be evaluated denies.
  Methods that MCP does not know are denied whatever `default` says, unless a rule names them. `ping` asks for nothing:
  it passes.
- What the rules allow is still held to the rest: URLs to `url_domains`, forms to ask for no secrets, sampling to its
  bounds. What two clients could show in two ways (a form with a URL, an unknown mode) is denied.
- In the place of a denied request stands one of a method that no client knows. The client answers -32601 to the server,
  which goes on at once as with a client that cannot do this; a client that answers nothing leaves it waiting.
- Of a result or an error nothing is taken out: one denied request denies all of it, and the error says which method,
  and why. The client must answer every one of them, or the server may ask again without end.
- The client's answers reach the server only if it asked: a result for what was allowed, an error for what was denied
  too. Elicitations are reported as complete only to whom they were shown. Of both, digests are kept for a while, by
  principal, session and server.
- How much a server may ask in one result, in one exchange and of one caller is bounded. A request without an id is
  none: it is taken out.
- The other half is `session-binding`: that a `requestState` and a session come back from whom they were given to. This
  policy leaves a `requestState` as it is.

Not here: what a person or a model answers; texts that are shown; where a listed address leads on to.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping, Sequence
from typing import Any, Literal

from pydantic import BaseModel, Field, field_validator, model_validator

from ext_proc.messages import ClientError, ClientResult, McpError, McpNotification, McpResult, ServerRequest
from ext_proc.policy import Condition, Context, Deny, Expression, ExpressionError, Key, Period, Policy, Verdict, Write
from gatehouse_policies.caller_quota import Quota, digest, principal
from gatehouse_policies.form_secrets import asks_for_secrets
from gatehouse_policies.name_globs import any_of
from gatehouse_policies.url_domains import UrlDomains

# Every method a server may ask a client, over all revisions (MCP schema, ServerRequest and InputRequest).
KNOWN_METHODS = frozenset(
    {
        "ping",
        "sampling/createMessage",
        "elicitation/create",
        "roots/list",
        "tasks/get",
        "tasks/result",
        "tasks/list",
        "tasks/cancel",
    }
)
_SESSION = "mcp-session-id"
_ALLOWED, _DENIED = b"allowed", b"denied"
_COMPLETE = "notifications/elicitation/complete"
_WHY = {
    "server-request-denied": "this is not allowed here",
    "server-request-unknown": "this method is not known here",
    "server-request-malformed": "it cannot be read in one way only",
    "server-request-too-large": "it is larger than is allowed here",
    "url-ambiguous": "its address can be read in several ways",
    "url-not-listed": "its address is not one that is allowed here",
    "form-asks-for-secrets": "a form must not ask for secrets",
    "sampling-too-much": "it wants more than is allowed here",
    "sampling-with-tools": "tools are not allowed in it here",
    "sampling-with-context": "this context is not allowed in it here",
}
_TOO_MANY = Deny("server-requests-too-many", "the server asks for more at a time than is allowed here")
_UNASKED = Deny("answer-unasked", "this answers nothing that the server was allowed to ask", status=403)
_NO_ID = Deny("server-request-malformed", "a request has no id")
_UNSEEN = Deny("elicitation-unseen", "this elicitation was not shown here")

Mode = Literal["form", "url"]
Included = Literal["none", "thisServer", "allServers"]


class Rule(BaseModel, extra="forbid"):
    """One rule. A name may be a glob: `*` is any text, `?` one character, `[ab]` one of them."""

    methods: list[str] = Field(
        default=[],
        description="Methods that are asked for, or globs: `sampling/createMessage`, `elicitation/create`, "
        "`roots/list`, `tasks/*`.",
    )
    servers: list[str] = Field(
        default=[], description="Names of servers or globs that the rule is about; all if empty."
    )
    modes: list[Mode] = Field(default=[], description="The rule is about elicitations in these modes alone.")
    allow: Condition = Field(
        description="`true`, `false`, or a CEL expression over `identity`, `request`, `route`, `server`, `message` and "
        "`args`, the params of what is asked."
    )
    message: str = Field(
        default="",
        max_length=300,
        description="What a caller may read of what the rule denies; a general sentence if empty.",
    )

    @model_validator(mode="after")
    def _names_something(self) -> Rule:
        if not (self.methods or self.modes):
            raise ValueError("a rule needs `methods` or `modes`")
        return self


class Sampling(BaseModel, extra="forbid"):
    """Bounds on what a server may have the caller's model do. Its hints about models are left as they are."""

    max_tokens: int = Field(default=4096, ge=1, description="The most `maxTokens`.")
    messages: int = Field(default=64, ge=1, description="The most messages.")
    tools: Literal["deny", "allow"] = Field(
        default="deny", description="Whether the server may bring tools for the model to use (2025-11-25)."
    )
    include_context: list[Included] = Field(
        default=["none", "thisServer"],
        description="What `includeContext` may say; `allServers` shows a server what others have said.",
    )


class Parameters(BaseModel, extra="forbid"):
    """What a server may ask."""

    default: Literal["deny", "allow"] = Field(default="deny", description="What happens to what no rule is about.")
    rules: list[Rule] = Field(default=[], description="Tried in order; the first that fits decides.")
    url_domains: list[str] = Field(
        default=[],
        description="Hosts that an elicitation may send a person to, by `https`: `login.example.com`, "
        "`*.example.com` (not `example.com` itself), with a port other than 443 `login.example.com:8443`, with any "
        "port `:*`; addresses of digits, and `http://localhost:8080`, only as they are listed.",
    )
    secrets_by_form: Literal["deny", "allow"] = Field(
        default="deny",
        description="Forms with a field for a password, a key, a token, a card ..., which MCP forbids.",
    )
    sampling: Sampling = Field(default=Sampling(), description="Bounds on sampling that the rules allow.")
    request_size: int = Field(default=256 * 1024, ge=1, description="The most bytes of what is asked at once.")
    requests_per_result: int = Field(
        default=8, ge=1, le=32, description="The most that one result, or one error, may ask for."
    )
    requests_per_exchange: int = Field(
        default=100, ge=1, description="The most that a server may ask for in one exchange, such as on one stream."
    )
    requests_per_caller: int = Field(
        default=10_000, ge=1, description="The most that one server may ask one principal for within `answer_within`."
    )
    answers: Literal["asked", "any"] = Field(
        default="asked",
        description="`asked`: a client's answers pass where the server asked. `any`: all do, and nothing is kept.",
    )
    answer_within: Period = Field(
        default=3600.0, description="How long an answer may take, and an elicitation until it is complete."
    )

    @field_validator("url_domains")
    @classmethod
    def _hosts(cls, hosts: list[str]) -> list[str]:
        UrlDomains(hosts)
        return hosts


class State:
    """What is known of one exchange.

    Attributes:
        asked: how much the server has asked for in it.
    """

    __slots__ = ("asked",)

    def __init__(self) -> None:
        self.asked = 0


class ServerRequests(Policy[Parameters, State]):
    """What a server may ask of its caller."""

    keeps_state = True

    def __init__(self, name: str, parameters: Parameters) -> None:
        super().__init__(name, parameters)
        self._rules = [_CompiledRule(index, rule) for index, rule in enumerate(parameters.rules)]
        self._domains = UrlDomains(parameters.url_domains)
        self._keeps = parameters.answers == "asked"

    def new_state(self) -> State:
        return State()

    async def on_request(self, message: ClientResult | ClientError, ctx: Context[State]) -> Verdict:
        if not self._keeps or message.id is None:
            return None
        entry = await ctx.store.get(_key("request", message.id, ctx))
        if entry is None or (entry.value != _ALLOWED and isinstance(message, ClientResult)):
            return _UNASKED
        return None

    async def on_response(
        self, message: ServerRequest | McpResult | McpError | McpNotification, ctx: Context[State]
    ) -> Verdict:
        if isinstance(message, ServerRequest):
            denial = None if message.method == "ping" else self._decide([message], ctx)
            kept = {_key("request", message.id, ctx): _ALLOWED if denial is None else _DENIED}
            return await self._keep(kept if denial else kept | _shown([message], ctx), ctx) or denial
        if isinstance(message, McpNotification):
            if message.method == _COMPLETE:
                return await self._was_shown(message, ctx)
            if message.method in KNOWN_METHODS:
                return _NO_ID
            # A task in a notification asks as it does in the result of `tasks/get` (tasks extension).
            message = McpResult({"result": message.params}, b"")
        asked = message.elicitations if isinstance(message, McpError) else list(message.input_requests.values())
        if not asked:
            return None
        if len(asked) > self.parameters.requests_per_result:
            return _TOO_MANY
        return self._decide(asked, ctx) or await self._keep(_shown(asked, ctx), ctx)

    def _decide(self, asked: Sequence[ServerRequest], ctx: Context[State]) -> Deny | None:
        """Why what is asked together may not be; None where all of it may."""
        ctx.state.asked += len(asked)
        if ctx.state.asked > self.parameters.requests_per_exchange:
            return _TOO_MANY
        labels: dict[str, None] = {}
        for request in asked:
            rule, reason = self._judged(request, ctx)
            if reason:
                method = request.method if request.method in KNOWN_METHODS else "an unknown method"
                said = rule.rule.message if rule is not None and reason == "server-request-denied" else ""
                return Deny(reason, said or f"the server asked for {method}: {_WHY[reason]}")
            labels["default" if rule is None else rule.label] = None
        ctx.because(", ".join(labels)[:200])
        return None

    def _judged(self, request: ServerRequest, ctx: Context[State]) -> tuple[_CompiledRule | None, str]:
        """The rule that is about a request, and why it may not be made; "" where it may."""
        if len(request.raw) > self.parameters.request_size:
            return None, "server-request-too-large"  # before a long name is compared with every glob
        rule = next((rule for rule in self._rules if rule.is_about(request, ctx.server)), None)
        return rule, self._reason(request, rule, ctx)

    def _reason(self, request: ServerRequest, rule: _CompiledRule | None, ctx: Context[State]) -> str:
        """Why the rules, or what is bounded beside them, do not let a request be made; "" where they do."""
        if rule is None:
            if request.method not in KNOWN_METHODS:
                return "server-request-unknown"
            if self.parameters.default == "deny":
                return "server-request-denied"
        if rule is not None and not rule.allows(ctx.variables(request)):
            return "server-request-denied"
        if request.method == "elicitation/create":
            return self._elicitation(request.params)
        return self._sampling(request.params) if request.method == "sampling/createMessage" else ""

    def _elicitation(self, params: Mapping[str, Any]) -> str:
        mode, url, schema = _mode(params), params.get("url"), params.get("requestedSchema")
        if not isinstance(params.get("message", ""), str):
            return "server-request-malformed"
        if mode == "url":
            return self._domains.fault(url) if isinstance(url, str) and schema is None else "server-request-malformed"
        if mode != "form" or url is not None or not isinstance(schema, Mapping | None):
            return "server-request-malformed"
        denies = self.parameters.secrets_by_form == "deny"
        return "form-asks-for-secrets" if denies and asks_for_secrets(schema) else ""

    def _sampling(self, params: Mapping[str, Any]) -> str:
        bounds, tokens, messages = self.parameters.sampling, params.get("maxTokens"), params.get("messages")
        # No model gives fewer than one: to some servers of models that means without end.
        if type(tokens) is not int or tokens < 1 or not isinstance(messages, list):
            return "server-request-malformed"
        if tokens > bounds.max_tokens or len(messages) > bounds.messages:
            return "sampling-too-much"
        if bounds.tools == "deny" and not (params.get("tools") is None and params.get("toolChoice") is None):
            return "sampling-with-tools"
        included = params.get("includeContext")
        return "" if (included or "none") in bounds.include_context else "sampling-with-context"

    async def _keep(self, kept: Mapping[Key, bytes], ctx: Context[State]) -> Deny | None:
        """Keeps what an answer or a notification may be about; why there is no place for it, or None."""
        if not self._keeps or not kept:
            return None
        # Of each server's own: none can use up what another may ask.
        quota = Quota(f"asked by {ctx.server}", self.parameters.answer_within, self.parameters.requests_per_caller)
        if (await ctx.store.count([quota.count(len(kept), ctx)])).passed is not None:
            return _TOO_MANY
        await ctx.store.write([Write(key, value, quota.kept) for key, value in kept.items()])
        return None

    async def _was_shown(self, message: McpNotification, ctx: Context[State]) -> Deny | None:
        if not self._keeps:
            return None
        entry = await ctx.store.get(_key("elicitation", message.params.get("elicitationId"), ctx))
        return _UNSEEN if entry is None else None


class _CompiledRule:
    """A rule with its globs and its condition looked through.

    Attributes:
        label: its place, for the trail.
    """

    __slots__ = ("_methods", "_servers", "label", "rule")

    def __init__(self, index: int, rule: Rule) -> None:
        self.label = f"rules[{index}]"
        self.rule = rule
        self._methods = any_of(rule.methods)
        self._servers = any_of(rule.servers)

    def is_about(self, request: ServerRequest, server: str) -> bool:
        modes: Collection[object] = self.rule.modes
        if modes and not (request.method == "elicitation/create" and _mode(request.params) in modes):
            return False
        return self._methods(request.method) and self._servers(server)

    def allows(self, variables: Mapping[str, Any]) -> bool:
        """What its condition says; no where it cannot be evaluated."""
        allow = self.rule.allow
        if not isinstance(allow, Expression):
            return allow
        try:
            return allow.holds(variables)
        except ExpressionError:
            return False


def _mode(params: Mapping[str, Any]) -> object:
    """An elicitation's mode, as it was written; without one it is a form (2025-06-18 knew no other)."""
    return params.get("mode", "form")


def _shown(asked: Sequence[ServerRequest], ctx: Context[State]) -> dict[Key, bytes]:
    """The elicitations that a server may later call complete."""
    found = [request.params.get("elicitationId") for request in asked if _mode(request.params) == "url"]
    return {_key("elicitation", id, ctx): _ALLOWED for id in found if isinstance(id, str)}


def _key(kind: str, id: object, ctx: Context[State]) -> Key:
    """Where it is kept what a server asked, by the id that it gave it; all of one principal's together."""
    ids = ctx.request.headers.get_all(_SESSION)
    if not ids and ctx.response is not None:
        ids = ctx.response.headers.get_all(_SESSION)  # what is asked beside the answer to `initialize`
    return Key(principal(ctx), digest(kind, ctx.server, b",".join(ids).decode("latin-1"), json.dumps(id)))
