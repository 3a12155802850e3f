"""Asking the policies about texts, and what comes of their words before they count.

Rules:
- Each text is a checkpoint of its own; the first enforced denial ends the questions.
- A fault in what a policy says of a text is its `on_error`: deny, or wait for it no more.
- Where the time of an event's hooks is used up, nobody is asked any further: that is every policy's `on_error`.

Not here: which texts there are (channels.py, whole_texts.py), what is made of the words (track.py).
"""

from __future__ import annotations

from collections.abc import Generator, Iterator

from ext_proc.engine.checkpoint import Checkpoint, Decision
from ext_proc.engine.scope import Scope
from ext_proc.engine.track import ReadOnly, Shown, View
from ext_proc.errors import PolicyError
from ext_proc.policy import TextDeny
from ext_proc.trail import Stage

FAILED = TextDeny("policy-failed", "this could not be decided")


class Questions:
    """The questions about the texts of one request, answer or message.

    Args:
        stage: REQUEST_TEXT or RESPONSE_TEXT.

    Attributes:
        listeners: the policies that are shown texts, in their order, each with the kinds that it wants.
        counting: those of them that may edit and are waited for.
        denied_on: the text that was denied.
        out_of_time: whether the questions ended because there was no time left for them.
    """

    def __init__(self, scope: Scope, stage: Stage) -> None:
        assert scope.route is not None
        self._scope = scope
        self._stage = stage
        self._pipeline = scope.route.pipeline
        self.listeners = self._pipeline.listeners(stage)
        self.counting = set(self._pipeline.editors(stage))
        self.denied_on: Shown | None = None
        self.out_of_time = False

    def ask(self, texts: Iterator[Shown]) -> Generator[Checkpoint, Decision, TextDeny | None]:
        """Asks about one after the other; the denial that ended it. Without time the others are left in `texts`."""
        for shown in texts:
            self.out_of_time = self._scope.budget.left <= 0
            denial = self._time_out(shown.view) if self.out_of_time else (yield from self._ask(shown))
            if denial is not None:
                self.denied_on = shown
                return denial
            if self.out_of_time:
                break
        return None

    def fault(self, policy: int, reason: str) -> TextDeny | None:
        """Records what is wrong with a policy's word; the denial that its `on_error` makes of it."""
        return self._recorded(policy, reason, self._checkpoint(None))

    def _ask(self, shown: Shown) -> Generator[Checkpoint, Decision, TextDeny | None]:
        checkpoint = self._checkpoint(shown.view)
        decision = yield checkpoint
        if decision.text_denial is not None:
            return decision.text_denial
        for policy, text in decision.texts.items():
            try:
                shown.track.take(shown.view, policy, text)
            except PolicyError as error:
                denial = self._recorded(policy, str(error), checkpoint)
                if denial is not None:
                    return denial
                if not isinstance(error, ReadOnly):
                    self.counting.discard(policy)
                    shown.view.skip(policy)
        return None

    def _time_out(self, view: View) -> TextDeny | None:
        for policy in view.marks:
            denial = self.fault(policy, "timeout")
            if denial is not None:
                return denial
        view.skip(*view.marks)
        return None

    def _checkpoint(self, view: View | None) -> Checkpoint:
        scope = self._scope
        windows = {} if view is None else view.windows()
        return Checkpoint(self._stage, scope.exchanged, scope.contexts, scope.budget, windows=windows)

    def _recorded(self, policy: int, reason: str, checkpoint: Checkpoint) -> TextDeny | None:
        denies = self._pipeline.fault(policy, reason, checkpoint)
        return FAILED if denies and policy in self.counting else None
