"""Those who only observe an answer: told of it at once, and all is as if they had been asked to decide."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ext_proc.engine.checkpoint import MOST_ASKED, PASS, Budget, Checkpoint, Later
from ext_proc.engine.pipeline import Binding, Pipeline
from ext_proc.expressions import Expression
from ext_proc.headers import Headers
from ext_proc.identity import UNKNOWN
from ext_proc.messages import McpError, McpResult, Message, RequestHead, ResponseText, ToolList
from ext_proc.policy import Context, Deny, Exchanged, NoParameters, Policy, TextVerdict, Verdict
from ext_proc.trail import Stage, Trail

RESULT = McpResult({"jsonrpc": "2.0", "id": 1, "result": {}})
FAULT = McpError({"jsonrpc": "2.0", "id": 1, "error": {"code": -1, "message": "x"}})
LIST = ToolList({"jsonrpc": "2.0", "id": 1, "result": {"tools": []}})


class Clock:
    """Seconds that pass only when told to."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


class Scripted(Policy[NoParameters, list[str]]):
    """Does at every message what it was given."""

    def __init__(self, name: str, act: Callable[[Message, Context[list[str]], Clock], Any], clock: Clock) -> None:
        super().__init__(name, NoParameters())
        self.act, self.clock = act, clock

    def new_state(self) -> list[str]:
        return []


class Observing(Scripted):
    def on_response(self, message: McpResult | McpError, ctx: Context[list[str]]) -> None:
        ctx.state.append(f"{type(message).__name__} by {ctx.deadline:.3f}")
        return self.act(message, ctx, self.clock)  # type: ignore[no-any-return]  # whatever its annotation says


class OfLists(Scripted):
    def on_response(self, message: ToolList, ctx: Context[list[str]]) -> None:
        ctx.state.append("list")


class Deciding(Scripted):
    def on_response(self, message: McpResult, ctx: Context[list[str]]) -> Verdict:
        ctx.state.append("decides")
        return self.act(message, ctx, self.clock)  # type: ignore[no-any-return]


class Waiting(Scripted):
    async def on_response(self, message: McpResult, ctx: Context[list[str]]) -> None:
        raise AssertionError("nobody is to wait for it")


class Reading(Scripted):
    def on_text(self, text: ResponseText, ctx: Context[list[str]]) -> TextVerdict:
        return None


def slow(message: Message, ctx: Context[list[str]], clock: Clock) -> None:
    clock.now += 0.04


def reasoned(message: Message, ctx: Context[list[str]], clock: Clock) -> None:
    ctx.because("a" if isinstance(message, ToolList) else "b")


def exits(message: Message, ctx: Context[list[str]], clock: Clock) -> None:
    raise SystemExit


def fails(message: Message, ctx: Context[list[str]], clock: Clock) -> None:
    if len(ctx.state) % 2:
        raise ValueError("payload")


ACTS: list[Callable[[Message, Context[list[str]], Clock], Any]] = [
    lambda message, ctx, clock: None,
    lambda message, ctx, clock: Deny("no", "no"),
    lambda message, ctx, clock: "no verdict",
    *(slow, reasoned, exits, fails),
]
CONDITIONS = [None, "message.kind == 'tool_list'", "message.kind == 'mcp_result'", "message.nothing == 1"]


class Exchange:
    """One answer, and who sees it."""

    def __init__(self, specs: Sequence[tuple[type[Scripted], int, bool, bool, str | None]]) -> None:
        clock = Clock()
        bindings = [
            Binding(
                kind(str(number), ACTS[act], clock),
                enforce=enforce,
                deny_on_error=denies,
                when=None if condition is None else Expression(condition),
            )
            for number, (kind, act, enforce, denies, condition) in enumerate(specs)
        ]
        self.pipeline = Pipeline(bindings, clock)
        self.trail, self.budget, self.later = Trail("t"), Budget(0.150), Later()
        self.exchanged = Exchanged(UNKNOWN, "r", "mcp", RequestHead("POST", "/mcp", "x", Headers()), self.trail)
        self.contexts: dict[int, Context[Any]] = {}

    def checkpoint(self, message: Message | None = None) -> Checkpoint:
        return Checkpoint(Stage.RESPONSE, self.exchanged, self.contexts, self.budget, message, later=self.later)

    def result(self) -> Any:
        states = {index: context.state for index, context in self.contexts.items()}
        return [entry.as_dict() for entry in self.trail.entries], self.budget.left, self.later.asked, states


def policies(*kinds: type[Scripted], enforce: st.SearchStrategy[bool]) -> st.SearchStrategy[Any]:
    acts = st.integers(0, len(ACTS) - 1)
    return st.tuples(st.sampled_from(kinds), acts, enforce, st.booleans(), st.sampled_from(CONDITIONS))


OBSERVERS = policies(Observing, OfLists, enforce=st.booleans()) | policies(Deciding, Waiting, enforce=st.just(False))


@given(st.lists(OBSERVERS, max_size=4), st.lists(st.sampled_from([RESULT, FAULT, LIST]), max_size=6))
def test_who_is_told_at_once_sees_and_leaves_the_same_as_who_is_asked(specs: Any, messages: list[Message]) -> None:
    told, asked = Exchange(specs), Exchange(specs)
    observers = told.pipeline.observers(told.checkpoint())
    assert observers is not None
    for message in messages:
        observers.tell(message)
        with pytest.raises(StopIteration) as decided:
            next(asked.pipeline.decide(asked.checkpoint(message)))
        assert decided.value.value is PASS
    assert told.result() == asked.result()


def test_what_is_repeated_is_counted_and_what_is_kept_for_later_stays_bounded() -> None:
    exchange = Exchange([(Observing, 0, True, True, None), (Waiting, 0, False, True, None)])
    observers = exchange.pipeline.observers(exchange.checkpoint())
    assert observers is not None
    for _ in range(2 * MOST_ASKED):
        observers.tell(RESULT)
    assert [(e.policy, e.reason, e.count) for e in exchange.trail.entries] == [
        ("0", "", 2 * MOST_ASKED),
        ("1", "shadow-async", MOST_ASKED),
    ]
    assert len(exchange.later.asked) == MOST_ASKED


@pytest.mark.parametrize(
    ("kind", "enforce", "observed"),
    [
        (Observing, True, True),
        (Observing, False, True),
        (Deciding, False, True),
        (Waiting, False, True),
        (Deciding, True, False),
        (Waiting, True, False),
        (Reading, True, False),
        (Reading, False, False),
    ],
)
def test_an_answer_is_only_observed_where_nobody_decides_is_waited_for_or_sees_text(
    kind: type[Scripted], enforce: bool, observed: bool
) -> None:
    exchange = Exchange([(Observing, 0, True, True, None), (kind, 0, enforce, True, None)])
    assert (exchange.pipeline.observers(exchange.checkpoint()) is not None) is observed
