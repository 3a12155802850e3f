"""confirm: nothing reaches a tool that needs a yes before somebody who may say yes has said it, to exactly this call.

Rules:
- A tool needs a yes if its name fits one of `tools`, or if it says of itself what is listed under `annotated`, or
  says nothing, or was not listed yet. No annotation takes the need away. The policy's own `when` narrows it down by who
  calls and by arguments.
- A yes is for one principal, one actor, one server, one tool and equal arguments (RFC 8785). It is good for `uses`
  calls within `expires`, counted in one operation of the store. Other arguments need another yes; `_meta` does not.
- `by: principal` asks the person for whom the call is made. On 2026-07-28 the answer is `input_required` with a form,
  if the client has forms, and a signed `requestState`. The retry is checked, both are taken out, and the call goes on
  as it was first made. A state that is forged, another's, another tool's, expired or used up is refused.
- A form proves that the client asked, not whom. So approvers decide at the page alone; so does the principal where the
  client has no forms, speaks an older revision, or the arguments are larger than `form_arguments`. The client gets the
  page's address: by an elicitation of mode `url`, by the error -32021, on 2025-11-25 by -32042, else by an error. The
  same call passes once a person has said yes there. What a client of an older revision can do is said when its session
  begins, which this gate does not remember: one that does not know -32042 reads the address in the error's message.
- At the page only a person decides: never an agent, and never a credential that the call came with. An agent that acts
  for nobody has no principal who could say yes, in a form or there. What waits for somebody is listed for them at `/`.
- A no is kept as long as a yes: until then the same call is denied, and nobody is asked again; the caller reads why, if
  the page was told. What is dismissed (`cancel`) denies this one call.
- Where the server itself asks for input after the yes, its `requestState` passes unchanged, and the client's next retry
  with it goes on once without another yes.
- `by: {scorer: ...}` asks a service for each call. It needs time: set the policy's `timeout` and `limits.decision`.
- One such policy is about a tool: where two want a yes for it by a form, it gets none.
- The store that fails means no. In shadow mode it is recorded that somebody would have been asked.
- It stands after the policies that deny by themselves, and before session-binding, which does not know its states.

Not here: who may decide at the page (confirm_visitors.py), what is kept (confirm_requests.py), what it looks like on
the wire (confirm_wire.py), what the tool then does; tasks that go on after the call that began them.
"""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from dataclasses import replace

from pydantic import BaseModel, Field, model_validator

from ext_proc.identity import Kind
from ext_proc.messages import HeadersOnly, ToolCall, ToolList, ToolResult, encode_json
from ext_proc.policy import Context, Deny, Mutation, Page, Period, Policy, Secret, Verdict, Visit
from ext_proc.units import Size
from gatehouse_policies import confirm_wire as wire
from gatehouse_policies import confirm_words as words
from gatehouse_policies.access_rules import Annotation
from gatehouse_policies.confirm_keys import SHORTEST, Keys
from gatehouse_policies.confirm_page import address, show
from gatehouse_policies.confirm_requests import Decision, Request, Requests, TooMany
from gatehouse_policies.confirm_scorer import ScoreError, Scores
from gatehouse_policies.confirm_states import LEEWAY, Asked, NotCanonical, RequestState, States, asked, new_id
from gatehouse_policies.confirm_visitors import By, ByScorer, fingerprint
from gatehouse_policies.name_globs import any_of
from gatehouse_policies.tool_annotations import annotations_of, says
from gatehouse_policies.tool_definitions import KnownTools, Learning

_DAY = 86400.0  # seconds
_LARGEST = 64 * 1024  # bytes
_INVALID_PARAMS = -32602
_STATE_WORDS = "this requestState is invalid or has expired"
_STRANGER = Deny("caller-unknown", "this tool is for callers that are known")
_TOO_MANY = Deny("confirmations-too-many", "this caller asks for too much at once here: wait for answers", status=429)
_TOO_LARGE = Deny("arguments-too-large", "these arguments are larger than anybody is asked about here", as_result=True)
_NOT_CANONICAL = Deny(
    "arguments-not-canonical",
    "nobody can be asked about these arguments: write integers beyond 2^53 as texts, and no lone surrogates",
    as_result=True,
)
_DECLINED = Deny("confirmation-declined", "the person who was asked said no to this call", as_result=True)
_CANCELLED = Deny("confirmation-cancelled", "nobody answered whether this call may be made", as_result=True)
_DENIED = Deny("confirmation-denied", "this call was refused by a person who was asked", as_result=True)
_SCORED_NO = Deny("score-refused", "this call was scored, and refused", as_result=True)


class Parameters(BaseModel, extra="forbid"):
    """Which tools need whose yes."""

    tools: list[str] = Field(default=[], description="Names of tools or globs that need a yes.")
    annotated: list[Annotation] = Field(
        default=[],
        description="Tools that say so of themselves need a yes too, and those that say nothing where MCP takes it for "
        "so: `destructive`, `open_world`, `writes`; and every tool that was not listed yet.",
    )
    by: By = Field(
        default="principal",
        description="Whose yes: the `principal`'s, for whom the call is made; `{approvers: ...}`; `{scorer: ...}`.",
    )
    expires: Period = Field(
        default=600.0,
        description="How long somebody may take to answer, and then how long the yes holds. At most a day.",
    )
    uses: int = Field(default=1, ge=1, le=1000, description="How many calls with the same arguments one yes is for.")
    keys: list[Secret] = Field(
        default=[],
        max_length=8,
        description="Secrets of at least 32 bytes that sign what is handed out and kept, together with random ones "
        "that are made and kept in the store: the first signs, all verify. Without them the random ones sign alone.",
    )
    arguments: Size = Field(
        default=32 * 1024, description="The largest arguments, as JSON, that anybody is asked about; 64KiB at most."
    )
    form_arguments: Size = Field(
        default=4 * 1024,
        description="The largest, as they are shown, that are sent in a form; for larger ones there is the page.",
    )
    requests_per_caller: int = Field(
        default=100,
        ge=1,
        description="The most requests with a page that one caller begins within `expires`; and as many calls whose "
        "server asks for more.",
    )
    anonymous: bool = Field(
        default=False,
        description="Whether callers that nobody vouches for are asked too, who are then one principal; they have no "
        "page of their own.",
    )
    learning: Learning = Field(
        default=Learning(), description="What is kept of servers' lists of tools, with `annotated`."
    )

    @model_validator(mode="after")
    def _is_about_something(self) -> Parameters:
        if not self.tools and not self.annotated:
            raise ValueError("expected `tools` or `annotated`")
        if self.expires > _DAY:
            raise ValueError("expires: expected at most 1d")
        if self.arguments > _LARGEST:
            raise ValueError("arguments: expected at most 64KiB")
        for key in self.keys:
            if len(key.reveal()) < SHORTEST:
                raise ValueError(f"keys: the secret {key.key_id!r} is shorter than {SHORTEST} bytes")
        return self


class State:
    """What is known of one exchange.

    Attributes:
        confirmed: the calls that went on by a yes, by the request's id.
    """

    __slots__ = ("confirmed",)

    def __init__(self) -> None:
        self.confirmed: dict[str | int, Asked] = {}


class Confirm(Policy[Parameters, State]):
    """Asks somebody before a tool is called."""

    keeps_state = True
    has_pages = True

    def __new__(cls, name: str, parameters: Parameters) -> Confirm:
        # Lists of tools are held to be learned only where what they say counts.
        place = (bool(parameters.annotated), isinstance(parameters.by, ByScorer))
        return super().__new__(_KINDS[place] if cls is Confirm else cls)

    def __init__(self, name: str, parameters: Parameters) -> None:
        super().__init__(name, parameters)
        self._named = any_of(parameters.tools) if parameters.tools else lambda name: False
        self._known: KnownTools[Mapping[str, bool]] = KnownTools(annotations_of, parameters.learning)
        self._keys = Keys(name, parameters.keys, 2 * parameters.expires + 4 * LEEWAY)
        self._states = States(name, self._keys, parameters.expires, parameters.uses)
        self._requests = Requests(
            self._keys,
            parameters.expires,
            parameters.uses,
            parameters.requests_per_caller,
            personal=parameters.by == "principal",
        )
        self._scores = Scores(parameters.by.scorer) if isinstance(parameters.by, ByScorer) else None
        self._by = fingerprint(parameters.by)

    def new_state(self) -> State:
        return State()

    def by_headers(self, message: HeadersOnly, ctx: Context[State]) -> bool:
        # What a tool says of itself is looked up with the body.
        return not (self.parameters.annotated or self._named(message.target))

    async def on_request(self, message: ToolCall, ctx: Context[State]) -> Verdict:
        if not await self._needs(message.name, ctx):
            return None
        if not ctx.identity.verified and not self.parameters.anonymous:
            return _STRANGER
        # Before anything is done that takes longer the larger they are.
        if len(encode_json(message.arguments)) > self.parameters.arguments:
            return _TOO_LARGE
        if self._scores is not None:
            return await self._score(self._scores, message, ctx)
        try:
            call = asked(message.name, message.arguments, self._by, ctx)
        except NotCanonical:
            return _NOT_CANONICAL
        try:
            state = message.params.get("requestState")
            if isinstance(state, str) and self._states.is_own(state):
                return await self._retried(state, message, call, ctx)
            return await self._first(message, call, ctx)
        except TooMany:
            return _TOO_MANY

    async def on_response(self, message: ToolResult, ctx: Context[State]) -> Verdict:
        call = None if message.request is None else ctx.state.confirmed.get(message.request.id)
        if call is None or message.result.get("resultType") != "input_required":
            return None
        kept = await self._requests.continues(call, message.result.get("requestState"), ctx)
        return None if kept else _TOO_MANY

    async def page(self, visit: Visit) -> Page:
        return await show(visit, self._requests, self._keys, self.parameters.by, self.parameters.expires)

    async def _needs(self, tool: str, ctx: Context[State]) -> bool:
        """Whether a tool needs a yes."""
        if self._named(tool):
            return True
        annotated = self.parameters.annotated
        return bool(annotated) and says(await self._known.get(tool, ctx), annotated)

    async def _score(self, scores: Scores, message: ToolCall, ctx: Context[State]) -> Verdict:
        question = {
            "principal": {"subject": ctx.identity.subject, "issuer": ctx.identity.issuer},
            "actor": ctx.identity.actor,
            "server": ctx.server,
            "tool": message.name,
            "arguments": message.arguments,
        }
        try:
            if await scores.allow(question, ctx.deadline - ctx.now):
                ctx.because("score-allowed")
                return None
        except ScoreError as error:
            return Deny(str(error), _SCORED_NO.message, as_result=True)
        return _SCORED_NO

    async def _first(self, message: ToolCall, call: Asked, ctx: Context[State]) -> Verdict:
        """A call that brings back nothing of ours."""
        state = message.params.get("requestState")
        brings = state is not None or "inputResponses" in message.params
        if brings and await self._requests.goes_on(call, state, ctx):
            ctx.because("goes on after a yes")
            ctx.state.confirmed[message.id] = call
            return None
        kept = await self._requests.of(call, ctx)
        if kept is not None:
            request = kept.request
            if request.decision in ("denied", "withdrawn"):
                return _denied(request)
            if request.decision and await self._use(request, ctx):
                return self._passes(message, call, request.id, ctx, request.decider_name)
        return await self._ask(message, call, ctx)

    async def _retried(self, text: str, message: ToolCall, call: Asked, ctx: Context[State]) -> Verdict:
        """A call that brings back a state of ours."""
        state, fault = await self._states.read(text, call, ctx.store, ctx.time)
        if fault == "confirmation-changed":
            return await self._ask(message, call, ctx, fault)
        if state is None or fault:
            return Deny(fault, _STATE_WORDS, code=_INVALID_PARAMS)
        said, action = wire.answer_of(message)
        if state.mode == "url":
            return await self._came_back(state.id, text, action, message, call, ctx)
        if said == "none" or self.parameters.by != "principal":
            return await self._ask(message, call, ctx)
        if said == "no":
            await self._requests.refuse(state, ctx.store, ctx.time)
            if action == "cancel":
                return _CANCELLED
            await self._keep(state, call, "denied", ctx)
            return _DECLINED
        if not await self._requests.use(state.id, state.uses, state.ends, ctx.store, ctx.time):
            return Deny("confirmation-used", _STATE_WORDS, code=_INVALID_PARAMS)
        if state.uses > 1:
            await self._keep(state, call, "approved", ctx)
        return self._passes(message, call, state.id, ctx, "")

    async def _came_back(
        self, id: str, state: str, action: object, message: ToolCall, call: Asked, ctx: Context[State]
    ) -> Verdict:
        """A call whose client was sent to the page."""
        kept = await self._requests.get(id, ctx.store, ctx.time)
        if kept is None:
            return Deny("confirmation-expired", _STATE_WORDS, code=_INVALID_PARAMS)
        request = kept.request
        if action not in (None, "accept") and not request.decision:
            if action == "cancel":
                return _CANCELLED
            await self._requests.decide(kept, "withdrawn", ctx.identity, ctx.store, ctx.time)
            return _DECLINED
        if request.decision in ("denied", "withdrawn"):
            return _denied(request)
        if not request.decision:
            await self._requests.join(kept, ctx)
            return wire.wait(message, state, ctx)
        if not await self._use(request, ctx):
            return Deny("confirmation-used", _STATE_WORDS, code=_INVALID_PARAMS)
        return self._passes(message, call, id, ctx, request.decider_name)

    async def _use(self, grant: Request, ctx: Context[State]) -> bool:
        return await self._requests.use(grant.id, grant.uses, grant.until, ctx.store, ctx.time)

    async def _keep(self, state: RequestState, call: Asked, decision: Decision, ctx: Context[State]) -> None:
        """Keeps what was said in a form for the same calls to come; where there is no place left, they are asked."""
        with contextlib.suppress(TooMany):
            await self._requests.keep(state, call, decision, ctx)

    def _passes(self, message: ToolCall, call: Asked, id: str, ctx: Context[State], decider: str) -> Verdict:
        """Lets a confirmed call go on, as it was first made."""
        ctx.because("confirmed")
        ctx.measure("confirmation", id)
        if decider:
            ctx.measure("confirmed_by", decider[:128])
        ctx.state.confirmed[message.id] = call
        plain = wire.without_answers(message)
        return None if plain is message else Mutation(message=plain)

    async def _ask(self, message: ToolCall, call: Asked, ctx: Context[State], reason: str = wire.ASKED) -> Verdict:
        """Asks for a yes in the best way that the client has."""
        who = ctx.identity
        if self.parameters.by == "principal" and who.kind is Kind.AUTONOMOUS_AGENT:
            return wire.impossible("", ctx)
        modes = wire.elicits(message, ctx)
        try:
            shown = words.pretty(call.arguments)
        except words.TooLong:
            return _TOO_LARGE
        fits = self.parameters.by == "principal" and len(shown) <= self.parameters.form_arguments
        if fits and "form" in modes:
            state = await self._states.write(new_id(), "form", call, ctx.store, ctx.time)
            limits = (self.parameters.uses, self.parameters.expires)
            said = words.question(call.tool, call.server, who.subject, who.actor, shown, *limits)
            return wire.form(message, said, state, ctx, reason)
        # Nobody is the principal of a call without a credential of its own, or could be told from who calls.
        if not ctx.pages or (self.parameters.by == "principal" and not who.credential):
            return wire.impossible("form" if fits else "", ctx)
        request = await self._requests.begin(call, ctx)
        url = address(ctx.pages, request.id)
        said = words.invitation(call.tool, call.server)
        ctx.measure("confirmation", request.id)
        if "url" not in modes:
            return wire.error(said, url, request.id, "form" if fits else "url", ctx, reason)
        state = await self._states.write(request.id, "url", call, ctx.store, ctx.time)
        return wire.visit(message, said, url, state, ctx, reason)


def _denied(request: Request) -> Deny:
    """The answer to a call that a person said no to; with the reason, if they gave one."""
    return replace(_DENIED, message=f"{_DENIED.message}: {request.why}") if request.why else _DENIED


class _Learning(Confirm):
    """The same, where it counts what tools say of themselves."""

    async def on_response(self, message: ToolResult | ToolList, ctx: Context[State]) -> Verdict:
        if isinstance(message, ToolResult):
            return await super().on_response(message, ctx)
        await self._known.learn(message, ctx)
        return None


class _Scored(Confirm):
    """The same, where a service says yes: nothing is kept, and no person decides."""

    keeps_state = False
    has_pages = False


class _LearningScored(_Learning):
    """Both."""

    has_pages = False


# By whether annotations count, and whether a service is asked.
_KINDS: Mapping[tuple[bool, bool], type[Confirm]] = {
    (False, False): Confirm,
    (True, False): _Learning,
    (False, True): _Scored,
    (True, True): _LearningScored,
}
