"""The fold: order, shadow, faults, budgets, and what the trail says of them."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any

import pytest

from ext_proc.engine.checkpoint import MOST_ASKED, MOST_KEPT, Budget, Checkpoint, Decision, Later
from ext_proc.engine.pipeline import Binding, Pipeline
from ext_proc.expressions import Expression
from ext_proc.headers import HeaderMutation, Headers
from ext_proc.identity import UNKNOWN
from ext_proc.messages import McpError, McpNotification, McpResult, Message, RequestHead, ToolCall, ToolList
from ext_proc.policy import (
    Context,
    Deny,
    Exchanged,
    Key,
    Keyspace,
    Mutation,
    NoParameters,
    Policy,
    Respond,
    Verdict,
    Write,
)
from ext_proc.stores.embedded import EmbeddedStore
from ext_proc.testing import call
from ext_proc.trail import Stage, Trail, Word


class Clock:
    """Seconds that pass only when told to."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


class Scripted(Policy[NoParameters, list[str]]):
    """Answers every call with what it was given."""

    def __init__(self, name: str, answer: Callable[[Message, Context[list[str]]], Any] = lambda m, c: None) -> None:
        super().__init__(name, NoParameters())
        self.answer = answer
        self.calls: list[str] = []

    def new_state(self) -> list[str]:
        return []

    def on_request(self, message: ToolCall, ctx: Context[list[str]]) -> Verdict:
        self.calls.append(message.name)
        return self.answer(message, ctx)  # type: ignore[no-any-return]  # nonsense is one of the cases

    def on_response(self, message: ToolList, ctx: Context[list[str]]) -> Verdict:
        self.calls.append("list")
        return None

    def on_complete(self, ctx: Context[list[str]]) -> None:
        self.calls.append("complete")


class Waiting(Policy[NoParameters, None]):
    """Decides after I/O."""

    def __init__(self, awaitable: Callable[[], Awaitable[Verdict]]) -> None:
        super().__init__("waiting", NoParameters())
        self.awaitable = awaitable

    async def on_request(self, message: ToolCall, ctx: Context[None]) -> Verdict:
        return await self.awaitable()


MESSAGE = ToolCall(call("search"))


class Play:
    """One exchange's worth of checkpoints for a pipeline."""

    def __init__(self, *bindings: Binding, clock: Clock | None = None) -> None:
        self.clock = clock or Clock()
        self.pipeline = Pipeline(bindings, self.clock)
        self.trail = Trail("t")
        self.budget = Budget(0.150)
        head = RequestHead("POST", "/mcp", "x", Headers())
        self.exchanged = Exchanged(UNKNOWN, "tools", "mcp", head, self.trail)
        self.contexts: dict[int, Context[Any]] = {}
        self.later = Later()

    def decide(self, message: Message | None = MESSAGE, stage: Stage = Stage.REQUEST) -> Decision:
        checkpoint = Checkpoint(stage, self.exchanged, self.contexts, self.budget, message, later=self.later)
        steps = self.pipeline.decide(checkpoint)
        try:
            pending = next(steps)
            while True:
                try:
                    value = asyncio.run(_within(pending.awaitable, pending.timeout))
                except Exception as error:
                    pending = steps.throw(error)
                else:
                    pending = steps.send(value)
        except StopIteration as stop:
            decision: Decision = stop.value
            return decision

    def words(self) -> list[tuple[str, str, str, bool]]:
        return [(e.policy, str(e.verdict), e.reason, e.enforced) for e in self.trail.entries]


async def _within(awaitable: Awaitable[Any], seconds: float) -> Any:
    async with asyncio.timeout(seconds):
        return await awaitable


DENY = Deny("no", "no")


def test_requests_run_in_list_order_and_responses_in_reverse() -> None:
    order: list[str] = []
    first = Scripted("first", lambda m, c: order.append("first"))
    second = Scripted("second", lambda m, c: order.append("second"))
    play = Play(Binding(first), Binding(second))
    play.decide()
    assert order == ["first", "second"]
    play.decide(ToolList({"id": 1, "result": {"tools": []}}), Stage.RESPONSE)
    assert [entry.policy for entry in play.trail.entries] == ["first", "second", "second", "first"]


def test_the_first_denial_stops_the_rest() -> None:
    later = Scripted("later")
    play = Play(Binding(Scripted("first", lambda m, c: DENY)), Binding(later))
    assert play.decide().denial is DENY
    assert later.calls == []


def test_a_response_of_a_policys_own_stops_the_rest_too() -> None:
    respond = Respond(418)
    play = Play(Binding(Scripted("first", lambda m, c: respond)), Binding(Scripted("later", lambda m, c: DENY)))
    assert play.decide().denial is respond
    assert play.words() == [("first", "respond", "responded", True)]


def test_each_policy_sees_the_message_as_changed_so_far() -> None:
    renamed = ToolCall(call("other"))
    seer = Scripted("seer")
    decision = Play(Binding(Scripted("renamer", lambda m, c: Mutation(message=renamed))), Binding(seer)).decide()
    assert seer.calls == ["other"]
    assert decision.mutation.message is renamed


def test_header_changes_of_all_policies_are_folded_in_order() -> None:
    def set_header(value: bytes) -> Callable[[Message, Context[Any]], Verdict]:
        return lambda m, c: Mutation(headers=HeaderMutation(set=(("x-a", value),)))

    decision = Play(Binding(Scripted("a", set_header(b"1"))), Binding(Scripted("b", set_header(b"2")))).decide()
    assert decision.mutation.headers.set == (("x-a", b"2"),)


def test_a_shadow_policy_is_recorded_and_changes_nothing() -> None:
    seer = Scripted("seer")
    shadow = Binding(Scripted("shadow", lambda m, c: Mutation(message=ToolCall(call("other")))), enforce=False)
    denier = Binding(Scripted("denier", lambda m, c: DENY), enforce=False)
    play = Play(shadow, denier, Binding(seer))
    decision = play.decide()
    assert decision.denial is None
    assert decision.mutation == Mutation()
    assert seer.calls == ["search"]
    assert play.words() == [
        ("shadow", "change", "", False),
        ("denier", "deny", "no", False),
        ("seer", "allow", "", True),
    ]


def test_a_message_of_another_class_is_not_shown() -> None:
    policy = Scripted("p", lambda m, c: DENY)
    play = Play(Binding(policy))
    assert play.decide(McpNotification({"method": "notifications/progress"})).denial is None
    assert policy.calls == []


def test_the_condition_decides_whether_a_policy_has_a_say() -> None:
    policy = Scripted("p", lambda m, c: DENY)
    play = Play(Binding(policy, when=Expression("message.target == 'elsewhere'")))
    assert play.decide().denial is None
    assert play.words() == []
    assert Play(Binding(policy, when=Expression("message.target == 'search'"))).decide().denial is DENY


def _raises(message: Message, ctx: Context[Any]) -> Verdict:
    raise ValueError("secret payload")


class Panic(BaseException):
    """As native code raises one."""


def _panics(message: Message, ctx: Context[Any]) -> Verdict:
    raise Panic


def _exits(message: Message, ctx: Context[Any]) -> Verdict:
    raise SystemExit("secret payload")


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        (_raises, "raised ValueError"),
        (_panics, "raised Panic"),
        (_exits, "raised SystemExit"),
        (lambda m, c: "yes", "returned str"),
        (lambda m, c: True, "returned bool"),
    ],
)
def test_a_policy_that_raises_or_returns_nonsense_is_denied_or_passed_over_as_on_error_says(
    answer: Callable[[Message, Context[Any]], Any], reason: str
) -> None:
    strict = Play(Binding(Scripted("p", answer)))
    denial = strict.decide().denial
    assert isinstance(denial, Deny)
    assert denial.reason == "policy-failed"
    assert strict.words() == [("p", "error", reason, True)]
    lenient = Play(Binding(Scripted("p", answer), deny_on_error=False))
    assert lenient.decide().denial is None
    assert lenient.words() == [("p", "error", reason, False)]


def test_a_condition_that_cannot_be_evaluated_counts_as_an_error() -> None:
    play = Play(Binding(Scripted("p"), when=Expression("args.missing == 1")))
    assert isinstance(play.decide().denial, Deny)
    assert play.trail.entries[0].verdict is Word.ERROR


@pytest.mark.parametrize("error", [OSError, SystemExit, Panic])
def test_a_state_that_cannot_be_made_counts_as_an_error(error: type[BaseException]) -> None:
    class Broken(Scripted):
        def new_state(self) -> list[str]:
            raise error

    assert isinstance(Play(Binding(Broken("p"))).decide().denial, Deny)


def test_a_def_hook_that_blocks_past_the_budget_counts_as_an_error() -> None:
    clock = Clock()

    def block(message: Message, ctx: Context[Any]) -> Verdict:
        clock.now += 1.0
        return None

    play = Play(Binding(Scripted("slow", block)), clock=clock)
    assert isinstance(play.decide().denial, Deny)
    assert play.words() == [("slow", "error", "timeout", True)]


def test_the_budget_is_shared_by_all_messages_of_one_event() -> None:
    clock = Clock()

    def work(message: Message, ctx: Context[Any]) -> Verdict:
        clock.now += 0.1
        return None

    play = Play(Binding(Scripted("busy", work)), clock=clock)
    assert play.decide().denial is None
    assert isinstance(play.decide().denial, Deny)


def test_an_async_hook_is_awaited() -> None:
    async def deny() -> Verdict:
        return DENY

    assert Play(Binding(Waiting(deny))).decide().denial is DENY


def test_an_async_hook_that_is_too_late_counts_as_an_error() -> None:
    async def never() -> Verdict:
        await asyncio.Event().wait()
        return None

    play = Play(Binding(Waiting(never), timeout=0.001))
    assert isinstance(play.decide().denial, Deny)
    assert play.words() == [("waiting", "error", "timeout", True)]


class Remembers(Policy[NoParameters, list[str]]):
    """Awaits something for every message, and keeps what it saw."""

    def new_state(self) -> list[str]:
        return []

    async def on_request(self, message: ToolCall, ctx: Context[list[str]]) -> Verdict:
        ctx.state.append(message.name)
        assert await ctx.store.write([Write(Key("g", "seen"), b"1", None)])
        await ctx.shared("town").write([Write(Key("g", "seen"), b"1", None)])
        return Deny("seen", "no")

    async def on_response(self, message: ToolList, ctx: Context[list[str]]) -> None:
        ctx.state.append("list")

    async def on_complete(self, ctx: Context[list[str]]) -> None:
        ctx.because(" ".join(ctx.state))


def test_an_async_hook_of_a_shadow_policy_is_asked_when_the_exchange_is_over() -> None:
    play = Play(Binding(Remembers("remembers", NoParameters()), enforce=False), Binding(Scripted("later")))
    play.exchanged.store = EmbeddedStore.in_memory()
    assert play.decide().denial is None
    play.decide(ToolList({"id": 1, "result": {"tools": []}}), Stage.RESPONSE)
    assert [entry.policy for entry in play.trail.entries] == ["later", "later"]
    assert play.decide(None, Stage.COMPLETE).denial is None
    told = [(e.stage, str(e.verdict), e.reason, e.enforced) for e in play.trail.entries if e.policy == "remembers"]
    assert told == [
        (Stage.REQUEST, "deny", "seen", False),
        (Stage.RESPONSE, "allow", "", False),
        (Stage.COMPLETE, "allow", "search list", False),
    ]
    play.decide(None, Stage.COMPLETE)
    assert len([e for e in play.trail.entries if e.stage is not Stage.COMPLETE]) == 4, "nothing is asked twice"


@pytest.mark.parametrize("enforce", [True, False])
def test_what_a_shadow_policy_keeps_is_read_by_nobody_else(enforce: bool) -> None:
    store = EmbeddedStore.in_memory()
    play = Play(Binding(Remembers("same", NoParameters()), enforce=enforce))
    play.exchanged.store = store
    play.decide()
    play.decide(None, Stage.COMPLETE)
    for name in ("same", "shared.town"):
        found = asyncio.run(Keyspace(store, name).get(Key("g", "seen")))
        assert (found is not None) == enforce


def test_the_condition_of_a_shadow_policy_is_asked_of_the_message_that_it_was_for() -> None:
    when = Expression("message.target == 'search'")
    play = Play(Binding(Remembers("remembers", NoParameters()), enforce=False, when=when))
    play.exchanged.store = EmbeddedStore.in_memory()
    play.decide(ToolCall(call("other")))
    play.decide(MESSAGE)
    play.decide(None, Stage.COMPLETE)
    assert [entry.reason for entry in play.trail.entries] == ["seen", "search"]


def test_a_shadow_policy_keeps_only_so_much_for_later() -> None:
    async def nothing() -> Verdict:
        return None

    many, large = (Play(Binding(Waiting(nothing), enforce=False)) for _ in range(2))
    for _ in range(MOST_ASKED + 2):
        many.decide()
    assert many.words() == [("waiting", "skip", "shadow-async", False)]
    assert many.trail.entries[0].count == 2
    for size in (MOST_KEPT // 2, MOST_KEPT // 2 + 1, 10):
        large.decide(ToolCall(call("search"), b" " * size))
    assert large.words() == [("waiting", "skip", "shadow-async", False)]
    large.decide(None, Stage.COMPLETE)
    assert [(str(e.verdict), e.count) for e in large.trail.entries] == [("skip", 1), ("allow", 2)]


def test_on_complete_runs_for_every_policy_that_was_started_and_no_other() -> None:
    started, stopped_before = Scripted("started", lambda m, c: DENY), Scripted("never")
    play = Play(Binding(started), Binding(stopped_before))
    play.decide()
    play.decide(None, Stage.COMPLETE)
    assert started.calls == ["search", "complete"]
    assert stopped_before.calls == []


def test_the_state_is_one_policys_own_for_the_whole_exchange() -> None:
    def remember(message: Message, ctx: Context[list[str]]) -> Verdict:
        ctx.state.append("seen")
        return Deny("seen-before", "no") if len(ctx.state) > 1 else None

    play = Play(Binding(Scripted("a", remember)), Binding(Scripted("b", remember)))
    assert play.decide().denial is None
    assert isinstance(play.decide().denial, Deny)
    assert Play(Binding(Scripted("a", remember))).decide().denial is None


def test_the_reason_of_an_allowance_is_in_the_trail() -> None:
    play = Play(Binding(Scripted("p", lambda m, c: c.because("rules[0]"))))
    play.decide()
    assert play.words() == [("p", "allow", "rules[0]", True)]


def test_a_pipeline_knows_what_it_wants_and_what_it_holds() -> None:
    pipeline = Pipeline([Binding(Scripted("p"), enforce=False)], Clock())
    assert pipeline.reads((ToolList,))
    assert not pipeline.guards((ToolList,))
    assert not pipeline.enforces
    enforced = Pipeline([Binding(Scripted("p"))], Clock())
    assert enforced.guards((McpError, ToolList))
    assert not enforced.guards((McpResult, ToolCall))
    assert enforced.enforces


def test_a_pipeline_holds_all_only_if_every_class_is_wanted_by_an_enforcing_policy() -> None:
    class Both(Scripted):
        async def on_response_headers(self, ctx: Context[list[str]]) -> Verdict:
            return None

    class Everything(Policy[NoParameters, None]):
        def on_response(self, message: Message, ctx: Context[None]) -> Verdict:
            return None

    classes = (ToolList, McpError)
    assert not Pipeline([Binding(Both("lists"))], Clock()).holds_all(Stage.RESPONSE, classes)
    everything = Everything("everything", NoParameters())
    assert Pipeline([Binding(everything)], Clock()).holds_all(Stage.RESPONSE, classes)
    assert not Pipeline([Binding(everything, enforce=False)], Clock()).holds_all(Stage.RESPONSE, classes)


def test_a_policy_that_only_wants_the_end_is_started_there() -> None:
    class Audit(Policy[NoParameters, None]):
        ended = 0

        def on_complete(self, ctx: Context[None]) -> None:
            self.ended += 1

    audit = Audit("audit", NoParameters())
    play = Play(Binding(audit))
    play.decide(None, Stage.COMPLETE)
    assert audit.ended == 1


def _measure(value: Any, message: Message, ctx: Context[Any]) -> None:
    ctx.measure("z", value)


def test_a_measure_that_is_none_is_the_policys_own_fault() -> None:
    for value in (object(), "x" * 1000, None, [1]):
        measure: Callable[[Message, Context[Any]], Any] = partial(_measure, value)
        play = Play(Binding(Scripted("p", measure)))
        assert isinstance(play.decide().denial, Deny)
        assert play.words() == [("p", "error", "raised ValueError", True)]
