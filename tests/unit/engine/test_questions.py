"""Policies are asked about one text after the other while there is time, and their faults are their `on_error`."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from ext_proc.engine.pipeline import Binding, Pipeline
from ext_proc.engine.questions import Questions
from ext_proc.engine.route import Route, RouteMatch, Rulebook
from ext_proc.engine.scope import Scope
from ext_proc.engine.track import Shown, Track
from ext_proc.headers import Headers
from ext_proc.limits import Limits
from ext_proc.messages import Channel, ChannelKind, Completion, Form, Message, RequestHead, ToolCall, ToolList
from ext_proc.policy import Context, Edit, Text, TextDeny, TextVerdict, TextWindow
from ext_proc.stores.store import NO_STORE
from ext_proc.trail import Stage, Trail
from tests.exchange.text_policies import (
    Base,
    Counter,
    DenyWord,
    InAnswers,
    InRequests,
    Nothing,
    Replace,
    only,
)


class Clock:
    """Goes on by `step` seconds whenever it is looked at."""

    def __init__(self, step: float = 0.0) -> None:
        self.now, self.step = 0.0, step

    def __call__(self) -> float:
        self.now += self.step
        return self.now


class Asked:
    """Questions about texts of an answer, and what came of them."""

    def __init__(self, *policies: Base | Binding, step: float = 0.0, decision: float = 1.0) -> None:
        bindings = [policy if isinstance(policy, Binding) else Binding(policy) for policy in policies]
        self.clock = Clock(step)
        pipeline = Pipeline(bindings, self.clock)
        self.trail = Trail("t")
        route = Route("r", RouteMatch(path="/"), "openai", (), pipeline)
        self.scope = Scope(Rulebook("b", "1", (route,), limits=Limits(decision=decision)), self.trail, NO_STORE)
        self.scope.begin(route, RequestHead("POST", "/", "h", Headers()))
        self.pipeline = pipeline
        self.questions = Questions(self.scope, Stage.RESPONSE_TEXT)

    def track(self, form: Form = Form.PLAIN) -> Track:
        channel = Channel(ChannelKind.CONTENT)
        return Track(channel, self.questions.listeners, self.questions.counting, form)

    def ask(self, texts: Iterator[Shown]) -> TextDeny | None:
        steps = self.questions.ask(texts)
        try:
            checkpoint = next(steps)
            while True:
                decision = _returned(self.pipeline.decide(checkpoint))
                checkpoint = steps.send(decision)
        except StopIteration as stop:
            denial: TextDeny | None = stop.value
            return denial

    def words(self) -> list[tuple[str, str, str, bool]]:
        return [(e.policy, str(e.verdict), e.reason, e.enforced) for e in self.trail.entries]


def _returned(steps: Any) -> Any:
    with pytest.raises(StopIteration) as stop:
        next(steps)
    return stop.value.value


def test_an_edit_is_taken_into_the_text_that_was_asked_about() -> None:
    asked = Asked(Replace("b", "x"))
    track = asked.track()
    assert asked.ask(track.whole("abc")) is None
    assert track.rendered(0, "abc") == "axc"
    assert asked.questions.denied_on is None


def test_the_first_denial_ends_the_questions_and_tells_which_text_it_was_about() -> None:
    asked = Asked(DenyWord("no"))
    track = asked.track(Form.VALID_JSON)
    texts = track.whole('["yes","no","yes"]')
    denial = asked.ask(texts)
    assert denial is not None
    assert denial.reason == "word-not-allowed"
    assert asked.questions.denied_on is not None
    assert asked.questions.denied_on.view.channel.path == "/1"
    assert [shown.view.channel.path for shown in texts] == ["/2"], "not asked about"


class Wild(Base):
    """Edits what it may not edit, at every text."""

    def on_text(self, text: TextWindow, ctx: Context[Any]) -> TextVerdict:
        return Text(text.end, (Edit(text.end, text.end + 9, "x"),))


def test_a_fault_in_what_is_said_denies_or_is_passed_over_as_on_error_says() -> None:
    denying = Asked(Wild())
    denial = denying.ask(denying.track().whole("a"))
    assert denial is not None
    assert denial.reason == "policy-failed"
    assert denying.words()[-1] == ("text", "error", "edited text that it may not edit", True)
    allowing = Asked(Binding(Wild(), deny_on_error=False))
    assert allowing.ask(allowing.track().whole("a")) is None
    assert allowing.questions.counting == set(), "it is waited for no more"
    shadow = Asked(Binding(Wild(), enforce=False))
    assert shadow.ask(shadow.track().whole("a")) is None
    assert shadow.words()[-1][1:] == ("error", "edited text that it may not edit", False)


def test_of_a_policy_that_talks_nonsense_no_text_is_kept() -> None:
    asked = Asked(Binding(Wild(), enforce=False))
    track = asked.track()
    for _ in range(3):
        assert asked.ask(track.read("abc")) is None
    ((_, view),) = track.read("d")
    assert view.windows()[0].text == "d"


def test_whoever_edits_a_name_is_still_waited_for() -> None:
    asked = Asked(Binding(Replace("a", "b"), deny_on_error=False))
    track = asked.track(Form.VALID_JSON)
    assert asked.ask(track.whole('{"a":"a"}')) is None
    assert track.rendered(0, '{"a":"a"}') == '{"a":"b"}'
    assert asked.questions.counting == {0}


@pytest.mark.parametrize("deny", [True, False])
def test_without_time_nobody_is_asked_and_the_others_are_left(deny: bool) -> None:
    asked = Asked(Binding(Nothing("one"), deny_on_error=deny), Counter("two"), decision=0.0)
    track = asked.track(Form.VALID_JSON)
    texts = track.whole('["a","b","c"]')
    denial = asked.ask(texts)
    assert (denial is not None) is deny
    assert asked.questions.out_of_time
    assert asked.words()[-1][1:3] == ("error", "timeout")
    assert [shown.view.channel.path for shown in texts] == ["/1", "/2"]


def test_what_the_asking_takes_is_taken_from_the_time_of_all_hooks() -> None:
    asked = Asked(Nothing(), step=0.001)
    assert asked.ask(asked.track().whole("a")) is None
    # All that went by but for the very first look at the clock.
    assert asked.scope.budget.left == pytest.approx(1.0 - (asked.clock.now - 0.001))


def test_only_texts_that_somebody_wants_are_shown() -> None:
    def shows(policy: Base | Binding, stage: Stage, *classes: type[Message], holding: bool = False) -> bool:
        return Asked(policy).pipeline.shows_text(stage, classes, holding=holding)

    there, back = Stage.REQUEST_TEXT, Stage.RESPONSE_TEXT
    assert shows(Nothing(), there, ToolCall)
    assert shows(Nothing(), back, ToolList, Completion)
    assert not shows(Nothing(), back, ToolList)
    assert not shows(InRequests(Nothing()), back, Completion)
    assert not shows(InAnswers(Nothing()), there, ToolCall)
    assert not shows(only(Nothing(), frozenset({ChannelKind.CONTENT})), there, ToolCall)
    assert shows(Counter(), back, Completion)
    for quiet in (Counter(), Binding(Nothing(), enforce=False)):
        assert not shows(quiet, back, Completion, holding=True)
