"""One call of one hook: its condition, its time, its verdict, and the entry in the trail.

Rules:
- A policy that raises, returns what is no verdict, or is too late is recorded; then `on_error` decides.
- A shadow policy's `async` hooks delay no exchange: what they would be asked is kept for later, or recorded as skipped.
- A `def` hook is called at once; the awaitable of an `async def` hook is yielded as `Pending`.

Not here: which hooks are asked, in which order, and what becomes of their verdicts (pipeline.py).
"""

from __future__ import annotations

from collections.abc import Callable, Generator
from typing import Any

from ext_proc.engine.binding import Binding
from ext_proc.engine.checkpoint import Checkpoint, Pending
from ext_proc.engine.hooks import WINDOWS, Hook
from ext_proc.engine.verdicts import is_verdict
from ext_proc.errors import PolicyError
from ext_proc.expressions import ExpressionError
from ext_proc.messages import HeadersOnly, Message, TextWindow
from ext_proc.policy import Context, Deny, Respond, Text, TextDeny, TextVerdict, Verdict
from ext_proc.trail import Entry, Stage, Word


class Run:
    """A hook that is asked at one stage: once, or if it is not waited for any number of times.

    Args:
        checkpoint: its message is not looked at.
        late: whether the exchange is over, and this was kept for then.

    Attributes:
        waits: whether the exchange waits for it. It does not for an `async` one that has no say in it.
    """

    __slots__ = ("_last", "binding", "checkpoint", "clock", "hook", "index", "waits")

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
        self.checkpoint, self.clock = checkpoint, clock
        self._last: Entry | None = None  # its last entry in the trail
        self.waits = hook.is_async and (binding.enforce or late or checkpoint.stage is Stage.COMPLETE)

    def ask(self, shown: Message | TextWindow | None) -> Generator[Pending, Any, Verdict | TextVerdict]:
        """The verdict, recorded; a fault has become what `on_error` says."""
        if not self.waits:
            return self.at_once(shown)
        started = self.clock()
        try:
            context = self._open()
            if not self._has_a_say(context, shown):
                return None
            verdict = yield from self._awaited(shown, context)
            if not is_verdict(verdict, text=self.checkpoint.stage in WINDOWS):
                raise PolicyError(f"returned {type(verdict).__name__}")
        except (PolicyError, ExpressionError) as error:
            return self.failed(str(error), self.clock() - started)
        finally:
            spent = self.clock() - started
            self.checkpoint.budget.left -= spent
        return self._recorded(verdict, context, spent)

    def at_once(self, shown: Message | TextWindow | None) -> Verdict | TextVerdict:
        """The same for a hook that is not waited for."""
        if self.hook.is_async:
            self._postpone(shown)
            return None
        started = self.clock()
        try:
            context = self._open()
            if self.binding.when is not None and not self._has_a_say(context, shown):
                return None
            verdict = self._called(shown, context)
            if verdict is not None and not is_verdict(verdict, text=self.checkpoint.stage in WINDOWS):
                raise PolicyError(f"returned {type(verdict).__name__}")
        except (PolicyError, ExpressionError) as error:
            return self.failed(str(error), self.clock() - started)
        finally:
            spent = self.clock() - started
            self.checkpoint.budget.left -= spent
        return self._recorded(verdict, context, spent)

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

    def _postpone(self, shown: Message | TextWindow | None) -> None:
        """Keeps what a policy would have to be waited for about, or records that it was not asked."""
        checkpoint = self.checkpoint
        if isinstance(shown, TextWindow) or not checkpoint.later.keep(self.index, checkpoint.stage, shown):
            self._record(Word.SKIP, "shadow-async", 0.0)

    def _has_a_say(self, context: Context[Any], shown: Message | TextWindow | None) -> bool:
        """Whether the policy's condition holds. What was started is completed, whatever its condition says by then."""
        when = self.binding.when
        if when is None or self.checkpoint.stage is Stage.COMPLETE:
            return True
        return when.holds(context.variables(shown if isinstance(shown, Message) else None))

    def _open(self) -> Context[Any]:
        """The policy's context, made at its first hook."""
        context = self.checkpoint.contexts.get(self.index)
        if context is None:
            try:
                state = self.binding.policy.new_state()
            except KeyboardInterrupt:
                raise
            except BaseException as error:
                raise PolicyError(f"raised {type(error).__name__}") from error
            context = self.checkpoint.contexts[self.index] = Context(
                self.checkpoint.exchanged, state, self.binding.policy.name, shadow=not self.binding.enforce
            )
        return context

    def _called(self, shown: Message | TextWindow | None, context: Context[Any]) -> Any:
        """What a `def` hook answers.

        Raises:
            PolicyError: it failed, or took too long.
        """
        left = self.checkpoint.budget.left
        if left < 0.0:
            left = 0.0
        context.deadline = self.checkpoint.exchanged.now + left
        began = self.clock()
        try:
            verdict = self.hook.call(context) if shown is None else self.hook.call(shown, context)
        except (KeyboardInterrupt, GeneratorExit):
            raise
        except BaseException as error:
            raise _fault(error) from error
        if self.clock() - began > left:
            raise PolicyError("timeout")
        return verdict

    def _awaited(self, shown: Message | TextWindow | None, context: Context[Any]) -> Generator[Pending, Any, Any]:
        """What an `async def` hook answers.

        Raises:
            PolicyError: it failed, or took too long.
        """
        left = max(self.checkpoint.budget.left, 0.0)
        limit = min(left, self.binding.timeout)
        context.deadline = self.checkpoint.exchanged.now + limit
        began = self.clock()
        try:
            verdict = yield Pending(self.hook.call(context) if shown is None else self.hook.call(shown, context), limit)
        except (KeyboardInterrupt, GeneratorExit):
            raise
        except BaseException as error:
            raise _fault(error) from error
        # One that computes instead of waiting holds up the timer that would have ended it, so it is measured as well.
        if self.clock() - began > left:
            raise PolicyError("timeout")
        return verdict

    def _recorded(self, verdict: Verdict | TextVerdict, context: Context[Any], spent: float) -> Verdict | TextVerdict:
        word, reason = Word.ALLOW, context.take_reason()
        if verdict is not None:
            word = _word(verdict)
            if isinstance(verdict, Deny | Respond | TextDeny):
                reason = verdict.reason
        self._record(word, reason, spent)
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
        counts = self.binding.enforce if enforced is None else enforced
        last = self._last
        if last is not None and last.verdict is word and last.reason == reason and last.enforced is counts:
            last.count += 1  # of a stream's events nearly all are alike
            last.duration += duration
            return
        name, stage = self.binding.policy.name, self.checkpoint.stage
        self._last = self.checkpoint.exchanged.trail.record(Entry(name, stage, word, reason, duration, counts))


def _fault(error: BaseException) -> PolicyError:
    """What is recorded of an exception.

    A panic of native code is a BaseException and as much the policy's fault as any other, and so is an exit: one
    exchange must not end the process. The text of an arbitrary error may hold payload: its class alone is told.
    """
    return PolicyError("timeout" if isinstance(error, TimeoutError) else f"raised {type(error).__name__}")


def _word(verdict: Verdict | TextVerdict) -> Word:
    if isinstance(verdict, Text) and not verdict.edits:
        return Word.ALLOW
    if isinstance(verdict, Deny | TextDeny):
        return Word.DENY
    return Word.RESPOND if isinstance(verdict, Respond) else Word.CHANGE
