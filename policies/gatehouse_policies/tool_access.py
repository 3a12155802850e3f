"""tool-access: who may call, read and see what, by rules over methods, tools, prompts, resources, identity, arguments;
which tools a model's provider may run for them, and which calls a model may propose.

Rules:
- Rules are tried in order; the first whose names fit decides: `allow` true lets the request through, false denies it. A
  rule whose condition cannot be evaluated denies: a missing claim or argument is no permission.
- A rule with `tools` is about `tools/call` of those tools. One with `prompts` is about `prompts/get`, and one with
  `resources` about reading, subscribing to and unsubscribing from those URIs; both also about completing arguments of
  them. A rule with none of the three, nor `hosted`, is about methods. `methods` and `servers` narrow every rule down.
- What no rule names falls to `default`. Methods that MCP does not know are denied whatever `default` says, unless a
  rule names them.
- URIs are compared in a normal form. One that servers could read in more than one way (`..`, `%2F`, a user name before
  the host ...) is denied wherever a rule names resources. In `resources` only `*` is special, and fits no `?`.
- `unless_annotated` only ever denies: a call that its rule would let through, of a tool that says of itself what is
  listed, or says nothing, or has not been listed yet. No annotation lets anything through.
- What its caller could not call, get or read is hidden from lists, which become private to the caller. A condition over
  `args` cannot be answered without arguments: such an entry is shown. A template is shown if the URI that it makes of
  variables that are all `x` could be read.
- What was allowed by a rule with a condition is its caller's own: on 2026-07-28 the results that caches may keep, of
  `resources/read` and `server/discover`, become private. Where no condition could be about them, they are not read.
- A rule with `hosted` is about requests to models that bring tools which the provider runs itself, past every gateway:
  MCP servers, web search, code. Each of them must be allowed, or the request is denied; `args` is what the caller wrote
  of it. What could be taken for another tool or server is denied wherever a rule has `hosted`. A request without such
  tools passes, and functions that the client itself runs are none.
- Calls that a model proposes in its answer, for the client to run, are held to the rules about `tools/call` where
  `proposals` says so, whole or streamed, by the name that the model gives: whoever runs them, they obey one list. Where
  a rule has a condition over `args`, a stream waits from a call's name until its arguments have come; what is no object
  by then it does not allow. Nor does `unless_annotated`, ever.
  What is stripped leaves a sentence in its place in formats whose clients count what they get, and the reason for which
  the answer ended becomes the one for an answer without calls, where none is left.
- Answers of the client to the server's own requests, and MCP's GET and DELETE, carry no method: they pass.

Not here: what the arguments may be (tool_arguments.py), what a tool returns, how a proposed call is decided on
(proposed_calls.py).
"""

from __future__ import annotations

import fnmatch
from collections.abc import Callable, Mapping
from typing import Any, Literal

from pydantic import BaseModel, Field

from ext_proc.messages import (
    CacheableResult,
    CompleteRequest,
    Completion,
    Generation,
    HeadersOnly,
    LlmError,
    McpCall,
    McpList,
    PromptList,
    Proposals,
    ProposedCall,
    ResourceList,
    ResourceTemplateList,
    SubscriptionsListen,
    ToolList,
)
from ext_proc.policy import Context, Deny, Expression, Mutation, Policy, Verdict
from gatehouse_policies.access_rules import (
    KNOWN_METHODS,
    AmbiguousUri,
    CompiledRule,
    Rule,
    Rules,
    Subject,
)
from gatehouse_policies.access_subjects import KINDS, WOULD_BE, subjects_of
from gatehouse_policies.hosted_tools import names_of
from gatehouse_policies.proposed_calls import NOT_ALLOWED, OnProposals, ProposedCalls, Refusal
from gatehouse_policies.resource_uris import sample_of
from gatehouse_policies.tool_annotations import annotations_of, says
from gatehouse_policies.tool_definitions import KnownTools, Learning

_MOST_URIS = 1000  # in one subscription
_MOST_HOSTED = 128  # in one request: as many tools as OpenAI takes

_AMBIGUOUS = Deny("resource-ambiguous", "this URI could be read in several ways: write it in its normal form")
_TOO_MANY = Deny("resources-too-many", f"a subscription names at most {_MOST_URIS} resources here")
_HOSTED_AMBIGUOUS = Deny("hosted-tool-ambiguous", "a tool of the provider's could be read in several ways")
_HOSTED_TOO_MANY = Deny("hosted-tools-too-many", f"a request brings at most {_MOST_HOSTED} tools of the provider's")
_UNKNOWN = Deny("method-unknown", "this method is not known here")
_UNLISTED = Deny(
    "tool-unlisted",
    "the gateway does not know yet what this tool says of itself: list the tools, then call again",
    as_result=True,
)


class Parameters(BaseModel, extra="forbid"):
    """Who may call what."""

    default: Literal["deny", "allow"] = Field(default="deny", description="What happens to what no rule names.")
    rules: list[Rule] = Field(default=[], description="Tried in order; the first that fits decides.")
    proposals: OnProposals = Field(
        default="ignore",
        description="What becomes of calls that a model proposes in its answer and that the rules do not allow:"
        " `ignore` does not look at them, for most lists of rules were written for MCP and name none of the client's"
        " functions; `deny` ends the answer, `strip` takes the call out of it, `mark` lets it go on and measures"
        " `proposals_denied`. Where they are looked at, an answer leaves message by message.",
    )
    learning: Learning = Field(
        default=Learning(), description="What is kept of servers' lists of tools, where a rule asks for annotations."
    )


class ToolAccess(Policy[Parameters, Proposals]):
    """Who may call which tool, get which prompt, read which resource."""

    def __new__(cls, name: str, parameters: Parameters) -> ToolAccess:
        # Annotations are looked up in the store; where no rule asks for them, nothing waits for it.
        asked = any(rule.unless_annotated for rule in parameters.rules)
        # Answers are held to be changed; where none could be, they go through.
        reads = any(isinstance(rule.allow, Expression) and _is_about_reads(rule) for rule in parameters.rules)
        looks = parameters.proposals != "ignore"
        return super().__new__(_KINDS_OF_ACCESS[asked, reads, looks] if cls is ToolAccess else cls)

    def __init__(self, name: str, parameters: Parameters) -> None:
        super().__init__(name, parameters)
        self._rules = Rules(parameters.rules)
        self._proposed = ProposedCalls(parameters.proposals, self._judge)
        self.wants_whole_calls = parameters.proposals != "ignore" and self._rules.ask_for_args

    def new_state(self) -> Proposals:
        return Proposals()

    def by_headers(self, message: HeadersOnly, ctx: Context[Proposals]) -> bool | Deny:
        if message.stands_for in (CompleteRequest, SubscriptionsListen):
            return False  # what they are about stands in the body
        kind = KINDS.get(message.stands_for, "")
        subject = Subject(kind, message.target) if kind else Subject()
        try:
            found = self._rules.first(message.method, subject, ctx.server)
        except AmbiguousUri:
            return _AMBIGUOUS
        if found is None:
            if message.method not in KNOWN_METHODS:
                return _UNKNOWN
            return self.parameters.default == "allow" or _denied(subject, "")
        if found.about_args or found.about_message:
            return False
        allowed = found.allows(ctx.variables())
        return not found.rule.unless_annotated if allowed else _denied(subject, found.rule.message)

    def on_request(self, message: McpCall | Generation, ctx: Context[Proposals]) -> Verdict:
        return self._hosted(message, ctx) if isinstance(message, Generation) else self._decide(message, ctx)[0]

    def on_response(self, message: McpList, ctx: Context[Proposals]) -> Verdict:
        shows = self._shows(message, ctx)
        kept = message.keep(shows)
        hidden = len(message.entries) - len(kept.entries)
        if hidden:
            ctx.because(f"hid {hidden} of {len(message.entries)} {_WORDS.get(type(message), 'entries')}")
        return None if kept is message else Mutation(message=kept)

    def _judge(self, call: ProposedCall, message: Completion | LlmError, ctx: Context[Any]) -> Refusal | None:
        """What speaks against a call that a model proposes, by the rules for `tools/call`."""
        found = self._rules.first("tools/call", Subject("tool", call.name), ctx.server)
        if found is None:
            return None if self.parameters.default == "allow" else Refusal("default", NOT_ALLOWED)
        unknown = found.rule.unless_annotated or (found.about_args and call.arguments is None)
        if not unknown and found.allows({**ctx.variables(message), "args": call.arguments or {}}):
            return None
        told = found.rule.message
        return Refusal(found.label, Deny(NOT_ALLOWED.reason, told) if told else NOT_ALLOWED)

    def _read(self, message: CacheableResult, ctx: Context[Proposals]) -> Verdict:
        """What a cache may keep of a request that went on."""
        asked = message.request
        if asked is not None:
            try:
                rules = [self._rules.first(asked.method, subject, ctx.server) for subject in subjects_of(asked)]
            except AmbiguousUri:
                rules = []  # another policy's URI: of that nothing is known
            if rules and not any(rule is not None and isinstance(rule.rule.allow, Expression) for rule in rules):
                return None
        private = message.as_private()
        return None if private is message else Mutation(message=private)

    def _hosted(self, message: Generation, ctx: Context[Proposals]) -> Verdict:
        """What is said of the tools that a provider would run: each of them must be allowed."""
        tools = message.hosted_tools
        if len(tools) > _MOST_HOSTED:
            return _HOSTED_TOO_MANY
        labels: list[str] = []
        for tool in tools:
            names = names_of(tool)
            if names is None and self._rules.name_hosted:
                return _HOSTED_AMBIGUOUS
            for name in names or [tool.kind]:
                subject = Subject("hosted-tool", name)
                found = self._rules.first("", subject, ctx.server)
                if found is None and self.parameters.default == "deny":
                    return _denied(subject, "")
                if found is not None and not found.allows({**ctx.variables(message), "args": tool.parameters}):
                    return _denied(subject, found.rule.message)
                labels.append("default" if found is None else found.label)
        if labels:
            ctx.because(", ".join(dict.fromkeys(labels)))
        return None

    def _decide(self, message: McpCall, ctx: Context[Proposals]) -> tuple[Verdict, CompiledRule | None]:
        """What the names and the condition say, and the rule that allowed it, if one did."""
        subjects = subjects_of(message)
        if len(subjects) > _MOST_URIS:
            return _TOO_MANY, None
        allowed: CompiledRule | None = None
        for subject in subjects:
            try:
                found = self._rules.first(message.method, subject, ctx.server)
            except AmbiguousUri:
                return _AMBIGUOUS, None
            if found is not None:
                if not found.allows(ctx.variables(message)):
                    return _denied(subject, found.rule.message), None
                allowed = found
            elif message.method not in KNOWN_METHODS:
                return _UNKNOWN, None
            elif self.parameters.default == "deny":
                return _denied(subject, ""), None
        ctx.because("default" if allowed is None else allowed.label)
        return None, allowed

    def _shows(self, page: McpList, ctx: Context[Proposals]) -> Callable[[Mapping[str, Any]], bool]:
        """Whether an entry of a page is shown; what a rule says of all entries alike is asked once."""
        method, kind, would_be = WOULD_BE[type(page)]
        templates = isinstance(page, ResourceTemplateList)
        answers: dict[str, bool] = {}

        def shows(entry: Mapping[str, Any]) -> bool:
            name = str(entry[page.named_by])
            try:
                found = self._rules.first(method, Subject(kind, sample_of(name) if templates else name), ctx.server)
            except AmbiguousUri:
                return False
            if found is None:
                return self.parameters.default == "allow"
            if found.rule.unless_annotated and says(entry.get("annotations"), found.rule.unless_annotated):
                return False
            if found.about_args and kind != "resource":
                return True
            if found.about_message or found.label not in answers:
                answers[found.label] = found.allows(ctx.variables(would_be(name)))
            return answers[found.label]

        return shows


class _WithReads(ToolAccess):
    """The same, where a rule with a condition is about what caches may keep."""

    def on_response(self, message: McpList | CacheableResult, ctx: Context[Proposals]) -> Verdict:
        return self._read(message, ctx) if isinstance(message, CacheableResult) else super().on_response(message, ctx)


class _ByAnnotations(ToolAccess):
    """The same, where a rule asks what tools say of themselves."""

    keeps_state = True

    def __init__(self, name: str, parameters: Parameters) -> None:
        super().__init__(name, parameters)
        self._known: KnownTools[Mapping[str, bool]] = KnownTools(annotations_of, parameters.learning)

    async def on_request(self, message: McpCall | Generation, ctx: Context[Proposals]) -> Verdict:  # type: ignore[override]
        if isinstance(message, Generation):
            return self._hosted(message, ctx)
        verdict, rule = self._decide(message, ctx)
        if verdict is not None or rule is None or not rule.rule.unless_annotated:
            return verdict
        told = await self._known.get(message.target, ctx)
        if not says(told, rule.rule.unless_annotated):
            return None
        if told is None:
            return _UNLISTED
        return Deny("tool-annotated", rule.rule.message or "what this tool says of itself is not allowed here")

    async def on_response(self, message: McpList, ctx: Context[Proposals]) -> Verdict:  # type: ignore[override]
        if isinstance(message, ToolList):
            await self._known.learn(message, ctx)
        return super().on_response(message, ctx)


class _ByAnnotationsWithReads(_ByAnnotations):
    """Both."""

    async def on_response(self, message: McpList | CacheableResult, ctx: Context[Proposals]) -> Verdict:  # type: ignore[override]
        if isinstance(message, CacheableResult):
            return self._read(message, ctx)
        return await super().on_response(message, ctx)


class _WithProposals(ToolAccess):
    """The same, where calls that models propose are looked at."""

    def on_response(self, message: McpList | Completion | LlmError, ctx: Context[Proposals]) -> Verdict:
        if isinstance(message, Completion | LlmError):
            return self._proposed.decide(message, ctx.state, ctx)
        return super().on_response(message, ctx)


class _WithReadsAndProposals(_WithProposals, _WithReads):
    """With reads, and with proposals."""

    def on_response(
        self, message: McpList | CacheableResult | Completion | LlmError, ctx: Context[Proposals]
    ) -> Verdict:
        return super().on_response(message, ctx)  # type: ignore[arg-type]  # reads are the other's


class _ByAnnotationsWithProposals(_ByAnnotations):
    """By annotations, and with proposals."""

    async def on_response(self, message: McpList | Completion | LlmError, ctx: Context[Proposals]) -> Verdict:  # type: ignore[override]
        if isinstance(message, Completion | LlmError):
            return self._proposed.decide(message, ctx.state, ctx)
        return await super().on_response(message, ctx)


class _ByAnnotationsWithReadsAndProposals(_ByAnnotationsWithProposals, _ByAnnotationsWithReads):
    """All of it."""

    async def on_response(  # type: ignore[override]
        self, message: McpList | CacheableResult | Completion | LlmError, ctx: Context[Proposals]
    ) -> Verdict:
        return await super().on_response(message, ctx)  # type: ignore[arg-type]  # reads are the other's


# By whether a rule asks for annotations, whether one with a condition is about what caches may keep, and whether calls
# that models propose are looked at.
_KINDS_OF_ACCESS: Mapping[tuple[bool, bool, bool], type[ToolAccess]] = {
    (False, False, False): ToolAccess,
    (False, True, False): _WithReads,
    (True, False, False): _ByAnnotations,
    (True, True, False): _ByAnnotationsWithReads,
    (False, False, True): _WithProposals,
    (False, True, True): _WithReadsAndProposals,
    (True, False, True): _ByAnnotationsWithProposals,
    (True, True, True): _ByAnnotationsWithReadsAndProposals,
}


def _is_about_reads(rule: Rule) -> bool:
    """Whether a rule may be about `resources/read` or `server/discover`."""
    if rule.methods and not any(fnmatch.fnmatchcase(method, glob) for method in _CACHED for glob in rule.methods):
        return False
    return bool(rule.resources) or not (rule.tools or rule.prompts or rule.hosted)


_NOT_HOSTED = "the model's provider may not run one of these tools itself here"
_CACHED = ("resources/read", "server/discover")
_WORDS: Mapping[type[McpList], str] = {
    ToolList: "tools",
    ResourceList: "resources",
    ResourceTemplateList: "templates",
    PromptList: "prompts",
}


def _denied(subject: Subject, message: str) -> Deny:
    what = subject.kind or "method"
    general = f"this {what} is not allowed here" if what != "hosted-tool" else _NOT_HOSTED
    return Deny(f"{what}-not-allowed", message or general)
