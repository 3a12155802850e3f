"""The fold: asks the policies of a route, in order, and makes one decision of their verdicts.

Rules:
- Requests run in list order, responses and COMPLETE in reverse; each policy sees the message as changed so far.
- The first enforced Deny or Respond stops the rest. `on_complete` runs for every policy that was started.
- A shadow policy decides and is recorded; it changes nothing, and nothing later sees it. Its `async` hooks delay no
  exchange: they are asked at COMPLETE, in the order in which the exchange came to them. What would be too much to keep
  until then, and text, is recorded as skipped.
- `decide` is a generator: `def` hooks run inline, the awaitable of each `async def` hook is yielded as `Pending`.

Not here: the call of one hook (run.py), answers that are only observed (observers.py), what a decision does to the
exchange (exchange.py), time limits of Envoy's (plan.py).
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from ext_proc.engine.binding import Binding
from ext_proc.engine.checkpoint import PASS, Checkpoint, Decision, Pending
from ext_proc.engine.hooks import WINDOWS, Hook
from ext_proc.engine.observers import Observers
from ext_proc.engine.run import Run
from ext_proc.messages import ChannelKind, HeadersOnly, Message
from ext_proc.policy import Deny, Mutation, Respond, Text, TextDeny
from ext_proc.trail import Stage

__all__ = ["Binding", "Pipeline"]

_BACKWARDS = (Stage.RESPONSE_HEADERS, Stage.RESPONSE, Stage.RESPONSE_TEXT, Stage.COMPLETE)
_NO_MUTATION = Mutation()


class Pipeline:
    """The policies of one route.

    Args:
        bindings: in the bundle's order.
        clock: monotonic seconds, for durations only.
    """

    def __init__(self, bindings: Sequence[Binding], clock: Callable[[], float]) -> None:
        self.bindings = tuple(bindings)
        self._clock = clock
        self._by_stage: dict[Stage, tuple[tuple[int, Binding, Hook], ...]] = {}
        for stage in Stage:
            found = [(i, b, b.hooks[stage]) for i, b in enumerate(self.bindings) if stage in b.hooks]
            self._by_stage[stage] = tuple(reversed(found) if stage in _BACKWARDS else found)
        self._listeners = {stage: {i: b.policy.channels for i, b, _ in self._by_stage[stage]} for stage in WINDOWS}
        # What was found out by class: it is asked for every event.
        self._wanted: dict[tuple[Stage, bool, type[Message]], bool] = {}
        self._shown: dict[tuple[Stage, bool, type[Message]], bool] = {}
        self._editors = {
            stage: frozenset(i for i, b, hook in self._by_stage[stage] if b.enforce and not hook.observes)
            for stage in WINDOWS
        }

    @property
    def enforces(self) -> bool:
        """Whether any policy can stop something: if so, opaque traffic may not pass unread."""
        return any(
            binding.enforce and any(not hook.observes for hook in binding.hooks.values()) for binding in self.bindings
        )

    @property
    def wants_whole_calls(self) -> bool:
        """Whether any policy has to see the calls that a model proposes whole."""
        return any(binding.policy.wants_whole_calls for binding in self.bindings)

    def has(self, stage: Stage) -> bool:
        """Whether any policy has a hook at `stage`."""
        return bool(self._by_stage[stage])

    def guards(self, classes: Iterable[type[Message]]) -> bool:
        """Whether an answer of these classes may not leave undecided: a message of it, or a text in it."""
        possible = tuple(classes)
        texts = self.shows_text(Stage.RESPONSE_TEXT, possible, holding=True)
        return texts or self._any(Stage.RESPONSE, possible, holding=True)

    def reads(self, classes: Iterable[type[Message]]) -> bool:
        """Whether any policy, observers and shadows too, wants an answer of these classes."""
        possible = tuple(classes)
        texts = self.shows_text(Stage.RESPONSE_TEXT, possible)
        return texts or self._any(Stage.RESPONSE, possible, holding=False)

    def shows_text(self, stage: Stage, classes: Iterable[type[Message]], *, holding: bool = False) -> bool:
        """Whether any policy (one that may edit or stop it, if `holding`) is shown a text that these classes may hold.

        Args:
            stage: REQUEST_TEXT or RESPONSE_TEXT.
        """
        listeners = self._listeners[stage]
        if not listeners:
            return False
        asked = self._editors[stage] if holding else listeners
        for message in classes:
            shown = self._shown.get((stage, holding, message))
            if shown is None:
                shown = any(listeners[index] & message.texts for index in asked)
                self._shown[stage, holding, message] = shown
            if shown:
                return True
        return False

    def listeners(self, stage: Stage) -> Mapping[int, frozenset[ChannelKind]]:
        """The policies that are shown text at this stage, in their order, each with the kinds of text that it wants."""
        return self._listeners[stage]

    def editors(self, stage: Stage) -> frozenset[int]:
        """Those of the listeners that may edit or stop text: it may not leave before they are done with it."""
        return self._editors[stage]

    def wants(self, stage: Stage, classes: Iterable[type[Message]]) -> bool:
        """Whether any policy would see a message of one of `classes` at `stage`."""
        return self._any(stage, classes, holding=False)

    def holds_all(self, stage: Stage, classes: Iterable[type[Message]]) -> bool:
        """Whether for each of `classes` there is an enforcing policy that sees every message of it."""
        hooks = [hook for _, binding, hook in self._by_stage[stage] if binding.enforce and not hook.observes]
        return all(any(issubclass(possible, hook.wants) for hook in hooks) for possible in classes)

    def observers(self, checkpoint: Checkpoint) -> Observers | None:
        """Who is told of an answer's messages, where nobody can change or stop them, nor is waited for, nor sees text;
        None where somebody does.

        Args:
            checkpoint: with stage RESPONSE.
        """
        if self._by_stage[Stage.RESPONSE_TEXT]:
            return None
        runs = [Run(*asked, checkpoint, self._clock) for asked in self._by_stage[checkpoint.stage]]
        if any(run.waits or (run.binding.enforce and not run.hook.observes) for run in runs):
            return None
        return Observers(runs)

    def _any(self, stage: Stage, classes: Iterable[type[Message]], *, holding: bool) -> bool:
        for message in classes:
            wanted = self._wanted.get((stage, holding, message))
            if wanted is None:
                wanted = any(
                    issubclass(message, hook.wants)
                    for _, binding, hook in self._by_stage[stage]
                    if not holding or (binding.enforce and not hook.observes)
                )
                self._wanted[stage, holding, message] = wanted
            if wanted:
                return True
        return False

    def decide(self, checkpoint: Checkpoint) -> Generator[Pending, Any, Decision]:
        """Asks every policy that has a say at this checkpoint.

        Yields:
            Pending for each `async def` hook; expects its value sent in, or its exception thrown in.

        Returns:
            The decision. Never raises for a policy's fault.
        """
        stage, message = checkpoint.stage, checkpoint.message
        if isinstance(message, HeadersOnly):
            return self._foresee(message, checkpoint)
        if stage in WINDOWS:
            return (yield from self._decide_text(checkpoint))
        if stage is Stage.COMPLETE:
            yield from self._ask_later(checkpoint)
        folded = _NO_MUTATION
        for index, binding, hook in self._by_stage[stage]:
            if message is not None and not isinstance(message, hook.wants):
                continue
            if stage is Stage.COMPLETE and index not in checkpoint.contexts and len(binding.hooks) > 1:
                continue  # never started; one that has no other hook is started here
            run = Run(index, binding, hook, checkpoint, self._clock)
            verdict = (yield from run.ask(message)) if run.waits else run.at_once(message)
            if verdict is None or not binding.enforce or hook.observes:
                continue
            if isinstance(verdict, Deny | Respond):
                return Decision(folded, verdict)
            if isinstance(verdict, Mutation):
                folded = folded.then(verdict)
                if verdict.drop:
                    return Decision(folded)
                if verdict.message is not None:
                    message = verdict.message
        return PASS if folded is _NO_MUTATION else Decision(folded)

    def _foresee(self, message: HeadersOnly, checkpoint: Checkpoint) -> Decision:
        """What the policies that would be asked about the body say of its headers."""
        settled = True
        for index, binding in enumerate(self.bindings):
            hook = binding.hooks.get(Stage.REQUEST)
            if hook is not None and issubclass(message.stands_for, hook.wants):
                foreseen = Run(index, binding, hook, checkpoint, self._clock).foresee(message)
                if isinstance(foreseen, Deny) and binding.enforce:
                    return Decision(denial=foreseen)
                if foreseen is None and binding.enforce:
                    return PASS
                settled = settled and foreseen is True
        return Decision(settled=settled and not self.shows_text(Stage.REQUEST_TEXT, (message.stands_for,)))

    def _ask_later(self, checkpoint: Checkpoint) -> Generator[Pending, Any, None]:
        """Asks shadow policies what they could not be asked before, for the record alone."""
        waiting, checkpoint.later.asked = checkpoint.later.asked, []
        for index, stage, message in waiting:
            binding = self.bindings[index]
            then = replace(checkpoint, stage=stage, message=message)
            yield from Run(index, binding, binding.hooks[stage], then, self._clock, late=True).ask(message)

    def _decide_text(self, checkpoint: Checkpoint) -> Generator[Pending, Any, Decision]:
        """Shows each policy its window. Silence means that it is done with all of it.

        There may be very many texts, and hooks that take next to nothing: so the asking too is taken from the budget.
        """
        texts: dict[int, Text] = {}
        budget, left, began = checkpoint.budget, checkpoint.budget.left, self._clock()
        for index, binding, hook in self._by_stage[checkpoint.stage]:
            window = checkpoint.windows.get(index)
            if window is None:
                continue
            run = Run(index, binding, hook, checkpoint, self._clock)
            verdict = (yield from run.ask(window)) if run.waits else run.at_once(window)
            if isinstance(verdict, TextDeny) and index in self._editors[checkpoint.stage]:
                return Decision(text_denial=verdict)
            texts[index] = verdict if isinstance(verdict, Text) else Text(window.end)
        budget.left = min(budget.left, left - (self._clock() - began))
        return Decision(texts=texts)

    def fault(self, index: int, reason: str, checkpoint: Checkpoint) -> bool:
        """Records a fault in what a policy said of text; whether its `on_error` denies."""
        binding = self.bindings[index]
        run = Run(index, binding, binding.hooks[checkpoint.stage], checkpoint, self._clock)
        return run.failed(reason, 0.0) is not None
