"""The fold: asks the policies of a route, in order, and makes one decision of their verdicts.

Rules:
- Requests run in list order, responses and COMPLETE in reverse; each policy sees the message as changed so far.
- The first enforced Deny or Respond stops the rest. `on_complete` runs for every policy that was started.
- A shadow policy decides and is recorded; it changes nothing, and nothing later sees it. Its `async` hooks delay no
  exchange: they are asked at COMPLETE, in the order in which the exchange came to them. What would be too much to keep
  until then, and text, is recorded as skipped.
- A policy that raises, returns what is no verdict, or is too late is recorded; then `on_error` decides.
- `decide` is a generator: `def` hooks run inline, the awaitable of each `async def` hook is yielded as `Pending`.

Not here: what a decision does to the exchange (exchange.py), time limits of Envoy's (plan.py).
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from ext_proc.engine.checkpoint import PASS, Checkpoint, Decision, Pending
from ext_proc.engine.hooks import WINDOWS, Hook, hooks_of
from ext_proc.engine.verdicts import is_verdict
from ext_proc.errors import PolicyError
from ext_proc.expressions import Expression, ExpressionError
from ext_proc.messages import ChannelKind, HeadersOnly, Message, TextWindow
from ext_proc.policy import Context, Deny, Mutation, Policy, Respond, Text, TextDeny, TextVerdict, Verdict
from ext_proc.trail import Entry, Stage, Word

_BACKWARDS = (Stage.RESPONSE_HEADERS, Stage.RESPONSE, Stage.RESPONSE_TEXT, Stage.COMPLETE)
_NO_MUTATION = Mutation()


class Binding:
    """A policy as a bundle set it up.

    Args:
        policy: the plug-in.
        enforce: False for `mode: shadow` (a policy that is off is not bound at all).
        deny_on_error: `on_error: deny`.
        timeout: seconds for one call of an `async def` hook.
        when: the policy has a say only where this holds.

    Raises:
        TypeError: a hook's annotations are not readable.
    """

    __slots__ = ("deny_on_error", "enforce", "hooks", "policy", "timeout", "when")

    def __init__(
        self,
        policy: Policy[Any, Any],
        *,
        enforce: bool = True,
        deny_on_error: bool = True,
        timeout: float = 0.050,
        when: Expression | None = None,
    ) -> None:
        self.policy = policy
        self.enforce = enforce
        self.deny_on_error = deny_on_error
        self.timeout = timeout
        self.when = when
        self.hooks = hooks_of(policy)


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
            verdict = yield from _Run(index, binding, hook, checkpoint, self._clock).ask(message)
            if not binding.enforce or hook.observes:
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
                foreseen = _Run(index, binding, hook, checkpoint, self._clock).foresee(message)
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
            yield from _Run(index, binding, binding.hooks[stage], then, self._clock, late=True).ask(message)

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
            verdict = yield from _Run(index, binding, hook, checkpoint, self._clock).ask(window)
            if isinstance(verdict, TextDeny) and index in self._editors[checkpoint.stage]:
                return Decision(text_denial=verdict)
            texts[index] = verdict if isinstance(verdict, Text) else Text(window.end)
        budget.left = min(budget.left, left - (self._clock() - began))
        return Decision(texts=texts)

    def fault(self, index: int, reason: str, checkpoint: Checkpoint) -> bool:
        """Records a fault in what a policy said of text; whether its `on_error` denies."""
        binding = self.bindings[index]
        run = _Run(index, binding, binding.hooks[checkpoint.stage], checkpoint, self._clock)
        return run.failed(reason, 0.0) is not None


class _Run:
    """One call of one hook: condition, time, verdict, and the entry in the trail."""

    __slots__ = ("binding", "checkpoint", "clock", "context", "hook", "index", "late")

    def __init__(
        self,
        index: int,
        binding: Binding,
        hook: Hook,
        checkpoint: Checkpoint,
        clock: Callable[[], float],
        *,
        late: bool = False,
    ) -> None:
        self.index, self.binding, self.hook = index, binding, hook
        self.checkpoint, self.clock, self.late = checkpoint, clock, late
        self.context: Context[Any] | None = checkpoint.contexts.get(index)

    def ask(self, shown: Message | TextWindow | None) -> Generator[Pending, Any, Verdict | TextVerdict]:
        """The verdict, recorded; a fault has become what `on_error` says."""
        if self._delays():
            if isinstance(shown, TextWindow) or not self.checkpoint.later.keep(
                self.index, self.checkpoint.stage, shown
            ):
                self._record(Word.SKIP, "shadow-async", 0.0)
            return None
        started = self.clock()
        try:
            context = self._open()
            if not self._has_a_say(context, shown if isinstance(shown, Message) else None):
                return None
            verdict = yield from self._call(shown, context)
        except (PolicyError, ExpressionError) as error:
            return self.failed(str(error), self.clock() - started)
        finally:
            spent = self.clock() - started
            self.checkpoint.budget.left -= spent
        reason = context.take_reason()
        if verdict is not None and isinstance(verdict, Deny | Respond | TextDeny):
            reason = verdict.reason
        self._record(_word(verdict), reason, spent)
        return verdict

    def foresee(self, message: HeadersOnly) -> bool | Deny | None:
        """What the policy would say of the body; only an enforced denial is recorded. None where it cannot be told."""
        when = self.binding.when
        if when is not None and when.variables & {"message", "args"}:
            return None
        started = self.clock()
        try:
            context = self._open()
            if when is not None and not when.holds(context.variables()):
                return True
            foreseen = self.binding.policy.by_headers(message, context)
        except (KeyboardInterrupt, GeneratorExit):
            raise
        except BaseException:  # its hook is asked about the body, and what it raises is recorded there
            return None
        finally:
            self.checkpoint.budget.left -= self.clock() - started
        if isinstance(foreseen, Deny) and self.binding.enforce:
            self._record(Word.DENY, foreseen.reason, self.clock() - started)
        return foreseen

    def _delays(self) -> bool:
        """Whether the exchange would wait for a policy that has no say in it."""
        now = not self.late and self.checkpoint.stage is not Stage.COMPLETE
        return now and self.hook.is_async and not self.binding.enforce

    def _has_a_say(self, context: Context[Any], message: Message | None) -> bool:
        """Whether the policy's condition holds. What was started is completed, whatever its condition says by then."""
        when = self.binding.when
        if when is None or self.checkpoint.stage is Stage.COMPLETE:
            return True
        return when.holds(context.variables(message))

    def _open(self) -> Context[Any]:
        if self.context is None:
            try:
                state = self.binding.policy.new_state()
            except KeyboardInterrupt:
                raise
            except BaseException as error:
                raise PolicyError(f"raised {type(error).__name__}") from error
            self.context = self.checkpoint.contexts[self.index] = Context(
                self.checkpoint.exchanged, state, self.binding.policy.name, shadow=not self.binding.enforce
            )
        return self.context

    def _call(
        self, shown: Message | TextWindow | None, context: Context[Any]
    ) -> Generator[Pending, Any, Verdict | TextVerdict]:
        limit = left = max(self.checkpoint.budget.left, 0.0)
        if self.hook.is_async:
            limit = min(left, self.binding.timeout)
        context.deadline = self.checkpoint.exchanged.now + limit
        arguments = (context,) if shown is None else (shown, context)
        began = self.clock()
        try:
            verdict = self.hook.call(*arguments)
            if self.hook.is_async:
                verdict = yield Pending(verdict, limit)
        except TimeoutError:
            raise PolicyError("timeout") from None
        except (KeyboardInterrupt, GeneratorExit):
            raise
        except BaseException as error:
            # A panic of native code is a BaseException and as much the policy's fault as any other, and so is an exit:
            # one exchange must not end the process. The text of an arbitrary error may hold payload: its class alone
            # goes into the trail.
            raise PolicyError(f"raised {type(error).__name__}") from error
        # One that computes instead of waiting holds up the timer that would have ended it, so it is measured as well.
        if self.clock() - began > left:
            raise PolicyError("timeout")
        if not is_verdict(verdict, text=self.checkpoint.stage in WINDOWS):
            raise PolicyError(f"returned {type(verdict).__name__}")
        return verdict

    def failed(self, reason: str, duration: float) -> Deny | TextDeny | None:
        """Records a fault; the denial that `on_error` makes of it, if it does."""
        deny = self.binding.deny_on_error and not self.hook.observes
        self._record(Word.ERROR, reason, duration, enforced=deny and self.binding.enforce)
        if not deny:
            return None
        if self.checkpoint.stage in WINDOWS:
            return TextDeny("policy-failed", "this could not be decided")
        return Deny("policy-failed", "this could not be decided")

    def _record(self, word: Word, reason: str, duration: float, enforced: bool | None = None) -> None:
        trail, name, stage = self.checkpoint.exchanged.trail, self.binding.policy.name, self.checkpoint.stage
        counts = self.binding.enforce if enforced is None else enforced
        if not trail.repeat(name, stage, word, reason, duration, enforced=counts):
            trail.record(Entry(name, stage, word, reason, duration, counts))


def _word(verdict: Verdict | TextVerdict) -> Word:
    if verdict is None or (isinstance(verdict, Text) and not verdict.edits):
        return Word.ALLOW
    if isinstance(verdict, Deny | TextDeny):
        return Word.DENY
    return Word.RESPOND if isinstance(verdict, Respond) else Word.CHANGE
