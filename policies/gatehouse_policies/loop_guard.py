"""loop-guard: ends what goes round in circles: caps on tool calls per session, workflow, tool and minute, on identical
calls, and on chains of agents.

Rules:
- Counted are calls that go on (`tools/call`, each element of a batch); one that is denied here counts for nothing. All
  counters of a call are added to at once, or none is, so two calls at the same time never share the last place.
- A cap is per principal: the subject with its issuer, whoever acts for it. All callers that nobody vouches for are one.
- A session is the one of `Mcp-Session-Id`. Where there is none (the revision of 2026-07-28 has none) the workflow
  stands for it, and where there is no workflow, the principal. A client can make up session ids that its server never
  gave: put `session-binding` before this policy.
- Identical are calls of one tool with equal arguments, however they are written; the next round of a call that the
  server asked something about (`requestState`, `inputResponses`) is another call. They are counted in the workflow, or
  else in the session. Other calls in between change nothing, unless `in_a_row` is set.
- A workflow belongs to the principal that used it first, and to the agents that act for it; another's use is denied.
- How deep a chain of agents is, the verified token tells: each exchange of a token for an agent adds an `act` (RFC
  8693). No header says it, for an agent could leave out or lower whatever it has to pass on. An agent that calls with a
  token of its own starts a new chain: caps on the workflow end that.
- A denial is the result of the call (`isError`), so that the model reads why and can do something else. It is no HTTP
  429: MCP's clients hand an error to their program and not to the model, and HTTP clients would repeat the call.
- What a caller makes up takes no room without end: new workflows and new counters are counted themselves, and
  where there are too many, a call that needs another one is denied.

Not here: how fast or how much a caller may ask (rate limits, budgets), calls of models, who may call what.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from typing import Annotated, Any, Literal, NamedTuple

from pydantic import BaseModel, Field, model_validator

from ext_proc.messages import ToolCall
from ext_proc.policy import ABSENT, Context, Count, Deny, Key, Period, Policy, Verdict, Write
from gatehouse_policies.caller_quota import Quota, digest, principal
from gatehouse_policies.name_globs import any_of
from gatehouse_policies.workflow_ids import ids_in

SESSION = "mcp-session-id"
_MINUTE = 60.0
_LONGEST_ID = 256  # characters of a workflow's id
_REFRESHED = 8  # a workflow's owner is written anew once this part of its time has passed
_ATTEMPTS = 3  # to write what another writes at the same time

Cap = Annotated[int, Field(ge=1, le=1_000_000_000)]


class Caps(BaseModel, extra="forbid"):
    """Caps on calls."""

    calls_per_session: Cap | None = Field(default=None, description="Calls in one session.")
    calls_per_workflow: Cap | None = Field(default=None, description="Calls in one workflow.")
    calls_per_minute: Cap | None = Field(
        default=None, description="Calls of one principal in a minute, which begins with the first of them."
    )
    identical_calls: Cap | None = Field(default=None, description="Calls that are the same, within `identical_within`.")

    def any(self) -> bool:
        """Whether there is a cap at all."""
        return any(getattr(self, name) is not None for name in Caps.model_fields)


class ToolCaps(Caps):
    """Caps on some tools, each by itself and beside those on all calls; `identical_calls` in place of the general."""

    tools: list[str] = Field(min_length=1, description="Names or globs. The first entry that names a tool counts.")

    @model_validator(mode="after")
    def _caps_something(self) -> ToolCaps:
        if not self.any():
            raise ValueError("expected a cap: calls_per_session, calls_per_workflow, calls_per_minute, identical_calls")
        return self


class Workflow(BaseModel, extra="forbid"):
    """Where a call says which workflow it is a part of. Agents must pass it on; what they make up is theirs alone."""

    by: Literal["header", "baggage", "meta", "traceparent"] = Field(
        description="A header; a member of W3C `baggage`, which OpenTelemetry passes on; a key of the call's `_meta`; "
        "or the trace's id in `traceparent`, where one trace is one workflow of one principal.",
    )
    name: str = Field(
        default="", max_length=256, description="The header (lower case), member or key; not for `traceparent`."
    )
    required: bool = Field(default=False, description="Deny a call that says nothing.")

    @model_validator(mode="after")
    def _names_its_place(self) -> Workflow:
        if (self.by == "traceparent") == bool(self.name):
            raise ValueError("expected `name` with header, baggage and meta, and not with traceparent")
        if self.by == "header" and not re.fullmatch(r"[a-z0-9][a-z0-9_.-]*", self.name, re.ASCII):
            raise ValueError("expected a header name in lower case")
        return self


class Parameters(Caps, extra="forbid"):
    """Caps on all calls, and on some; at least one."""

    identical_within: Period = Field(
        default=600.0, description="How long identical calls are counted together, from the first of them on."
    )
    in_a_row: bool = Field(
        default=False, description="Whether only identical calls with no other call between them are counted together."
    )
    chain_depth: Annotated[int, Field(ge=0, le=16)] | None = Field(
        default=None, description="The most agents in a chain of delegation: 1 is an agent that acts for a caller."
    )
    lifetime: Period = Field(
        default=24 * 3600.0,
        description="How long a session's and a workflow's calls are counted together, from the first of them on, and "
        "how long an unused workflow stays its principal's.",
    )
    workflow: Workflow | None = Field(default=None, description="Without it there are no workflows.")
    workflows_per_caller: Cap = Field(
        default=1000, description="The most workflows that one caller begins, or goes on with, within `lifetime`."
    )
    counters_per_caller: Cap = Field(
        default=20_000,
        description="The most counters that one caller begins within the time that they count for: each session, each "
        "workflow, each tool with a cap of its own and, with `identical_calls`, each different call has one.",
    )
    tools: list[ToolCaps] = Field(default=[], description="Caps on some tools.")

    @model_validator(mode="after")
    def _caps_something(self) -> Parameters:
        if not (self.any() or self.tools or self.chain_depth is not None or self.workflow):
            raise ValueError("expected at least one cap")
        if self.workflow is None and any(caps.calls_per_workflow is not None for caps in (self, *self.tools)):
            raise ValueError("expected `workflow` with calls_per_workflow: where its id is")
        return self


class _Counter(NamedTuple):
    """One counter of a call: where it is, how long and how far it counts, and what is said past that."""

    key: Key
    limit: int
    expires: float
    denial: Deny


class LoopGuard(Policy[Parameters, None]):
    """Ends what goes round in circles."""

    keeps_state = True

    def __init__(self, name: str, parameters: Parameters) -> None:
        super().__init__(name, parameters)
        self._rules = [(any_of(caps.tools), caps) for caps in parameters.tools]
        self._workflows = Quota("workflows", parameters.lifetime, parameters.workflows_per_caller)

    async def on_request(self, message: ToolCall, ctx: Context[None]) -> Verdict:
        deepest = self.parameters.chain_depth
        if deepest is not None and ctx.identity.depth > deepest:
            return _result("chain-too-deep", f"at most {deepest} agents may act for each other here")
        workflow = self._workflow(message, ctx)
        if isinstance(workflow, Deny):
            return workflow
        if workflow:
            denial = await self._own(workflow, ctx)
            if denial is not None:
                return denial
        if not workflow and self.parameters.workflow is not None and self.parameters.workflow.required:
            return Deny("workflow-missing", "a call must say here which workflow it is a part of")
        return await self._count(message, workflow, ctx)

    async def _count(self, message: ToolCall, workflow: str, ctx: Context[None]) -> Verdict:
        """Counts a call, or denies it."""
        caller = principal(ctx)
        session = ctx.request.headers.get(SESSION) or ""
        scope = digest("session", session) if session else workflow
        place = "in this session" if session else "in this workflow" if workflow else "by this caller"
        rule = next((caps for fits, caps in self._rules if fits(message.name)), None)
        counters: list[_Counter] = []
        row = None
        limit = self.parameters.identical_calls
        if rule is not None and rule.identical_calls is not None:
            limit = rule.identical_calls
        if limit is not None:
            row = await self._row(_call(message), Key(caller, digest("row", workflow or scope)), ctx)
            within = self.parameters.identical_within
            said = f"this call was made {limit} times with the same arguments; use what it gave, or call something else"
            key = Key(caller, digest("identical", workflow or scope, row.call, str(row.number)))
            counters.append(_Counter(key, limit, within, _result("identical-calls", said)))
        if rule is not None:
            counters += self._caps(rule, caller, (scope, place), workflow, message.name)
        counters += self._caps(self.parameters, caller, (scope, place), workflow, "")
        if counters:
            counts = [Count(counter.key, 1, counter.expires, counter.limit) for counter in counters]
            begun = await self._begun(counts, row, ctx)
            counted = await ctx.store.count([*counts, *begun])
            if counted.passed is not None:
                return counters[counted.passed].denial if counted.passed < len(counters) else _TOO_MANY
        if row is not None:
            await self._go_on(row, ctx)
        return None

    async def _begun(self, counts: Sequence[Count], row: _Row | None, ctx: Context[None]) -> Sequence[Count]:
        """What counts the counters that these begin, and the row, by how long they are kept."""
        there = await ctx.store.count([replace(count, amount=0, limit=None) for count in counts])
        begun = Counter(count.expires for count, sum in zip(counts, there.sums, strict=True) if not sum)
        if row is not None and row.begins is not None and row.version == ABSENT:
            begun[self.parameters.lifetime] += 1
        most = self.parameters.counters_per_caller
        return [Quota("counters", kept, most).count(amount, ctx) for kept, amount in begun.items()]

    def _caps(self, caps: Caps, caller: str, session: tuple[str, str], workflow: str, tool: str) -> Sequence[_Counter]:
        """The counters that caps ask for.

        Args:
            session: what is one session, and how that is called.
            tool: whose calls they count; "" for all.
        """
        called, again = ("this tool was", "it may not be called again") if tool else ("tools were", "no other may be")
        scope, place = session
        lifetime = self.parameters.lifetime
        asked = [
            ("minute", "", caps.calls_per_minute, _MINUTE, "within a minute; wait for a minute"),
            ("session", scope, caps.calls_per_session, lifetime, f"{place}; {again}"),
            (
                "workflow",
                workflow,
                caps.calls_per_workflow if workflow else None,
                lifetime,
                f"in this workflow; {again}",
            ),
        ]
        return [
            _Counter(
                Key(caller, digest(name, where, tool)),
                limit,
                expires,
                _result(f"calls-per-{name}", f"{called} called {limit} times {said}"),
            )
            for name, where, limit, expires, said in asked
            if limit is not None
        ]

    async def _row(self, call: str, key: Key, ctx: Context[None]) -> _Row:
        """The row of identical calls that a call is in; without `in_a_row` it is always the same."""
        if not self.parameters.in_a_row:
            return _Row(call, 0, None, ABSENT)
        entry = await ctx.store.get(key)
        if entry is None:
            return _Row(call, 1, key, ABSENT)
        last, number = json.loads(entry.value)
        if last == call:
            return _Row(call, number, None, entry.version)
        return _Row(call, number + 1, key, entry.version)

    async def _go_on(self, row: _Row, ctx: Context[None]) -> None:
        """Another call than the last one went on: a new row begins."""
        if row.begins is not None:
            value = json.dumps([row.call, row.number]).encode()
            # Where another call began one at the same time, that one stands.
            await ctx.store.write([Write(row.begins, value, self.parameters.lifetime, expected=row.version)])

    def _workflow(self, message: ToolCall, ctx: Context[None]) -> str | Deny:
        """The digest of the workflow's id; "" where the call names none."""
        source = self.parameters.workflow
        if source is None:
            return ""
        found = list(dict.fromkeys(_ids(source, message, ctx)))
        if not found:
            return ""
        if len(found) > 1 or not 0 < len(found[0]) <= _LONGEST_ID:
            return Deny("workflow-invalid", f"expected one workflow id of at most {_LONGEST_ID} characters")
        return digest("workflow", found[0])

    async def _own(self, workflow: str, ctx: Context[None]) -> Deny | None:
        """Makes the workflow the principal's if nobody had it before; why the call may not be a part of it, or None."""
        caller, key = principal(ctx), Key(workflow, "principal")
        for _ in range(_ATTEMPTS):
            entry = await ctx.store.get(key)
            owner, since = (caller, None) if entry is None else json.loads(entry.value)
            if owner != caller:
                return _NOT_YOURS
            if since is not None and 0 <= ctx.time - since < self.parameters.lifetime / _REFRESHED:
                return None
            takes = since is None or self._workflows.needs_a_place(since, ctx)
            if takes and not await self._workflows.take(ctx):
                # What is there already is used until it ends: only it is not prolonged.
                return _TOO_MANY_WORKFLOWS if entry is None else None
            value = json.dumps([caller, ctx.time]).encode()
            version = ABSENT if entry is None else entry.version
            if await ctx.store.write([Write(key, value, self.parameters.lifetime, expected=version)]):
                return None
            if takes:
                await self._workflows.give_back(ctx)
        return _NOT_YOURS


class _Row(NamedTuple):
    """Identical calls that are counted together.

    Attributes:
        begins: where to write that this row begins; None where it does not.
        version: of what is there.
    """

    call: str
    number: int
    begins: Key | None
    version: int


def _ids(source: Workflow, message: ToolCall, ctx: Context[None]) -> Sequence[str]:
    """What a call says its workflow is; more than one where it says several things."""
    if source.by == "meta":
        meta = message.params.get("_meta")
        value = meta.get(source.name) if isinstance(meta, dict) else None
        return [] if value is None else [value if isinstance(value, str) else ""]
    return ids_in(ctx.request.headers, source.by, source.name)


def _call(message: ToolCall) -> str:
    """A digest of what is asked for: the same for equal calls, whatever the order of their keys."""
    round_ = [message.params.get("requestState"), message.params.get("inputResponses")]
    return digest(message.name, json.dumps(_plain([message.arguments, round_]), sort_keys=True))


def _plain(value: Any) -> Any:
    """Numbers that JSON takes for equal become equal: 1.0 and 1 (RFC 8785, section 3.2.2.3)."""
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    return int(value) if isinstance(value, float) and value.is_integer() else value


def _result(reason: str, message: str) -> Deny:
    return Deny(reason, message, as_result=True)


_TOO_MANY = _result("counters-too-many", "this caller began too many sessions or different calls here")
_TOO_MANY_WORKFLOWS = _result("workflows-too-many", "this caller began too many workflows here: go on with one of them")
_NOT_YOURS = Deny("workflow-not-yours", "this workflow is another caller's")
