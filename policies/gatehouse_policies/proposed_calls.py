"""What becomes of calls that a model proposes in its answer, whatever speaks against one of them.

Rules:
- A call is decided where its name stands, by what is known of it there.
- `deny` ends the answer, `strip` takes the call out and lets the rest go on, `mark` only tells of it.
- A name that goes on behind one that was decided is another name, of which nobody has said yes: the answer ends.
- An error that has calls beside it is denied, for some clients read on.
- Past so many calls an answer ends too: more are not remembered.

Not here: what speaks against a call (tool_access.py, tool_arguments.py), where formats keep calls (the messages know).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal, NamedTuple

from ext_proc.messages import Completion, LlmError, Proposals, ProposedCall
from ext_proc.policy import Context, Deny, Mutation, Verdict

OnProposals = Literal["ignore", "deny", "strip", "mark"]

NOT_ALLOWED = Deny("proposal-not-allowed", "the model proposed a call of a tool that is not allowed here")
_MEASURE = "proposals_denied"


class Refusal(NamedTuple):
    """What speaks against a call.

    Attributes:
        label: in a word, for the trail.
        deny: what is said where the answer ends for it.
    """

    label: str
    deny: Deny


_AMBIGUOUS = Refusal(
    "a name in pieces",
    Deny("proposal-ambiguous", "the name of a proposed call was told in pieces that could be read in two ways"),
)
_TOO_MANY = Deny("proposals-too-many", "the answer proposes more calls than the gateway looks at")

# What speaks against a call of an answer; None for nothing.
Judge = Callable[[ProposedCall, Completion | LlmError, Context[Any]], Refusal | None]


class ProposedCalls:
    """Decides on the calls of answers.

    Args:
        mode: what becomes of those that something speaks against.
        judge: says what does.
    """

    def __init__(self, mode: OnProposals, judge: Judge) -> None:
        self._mode = mode
        self._judge = judge

    def decide(self, message: Completion | LlmError, decided: Proposals, ctx: Context[Any]) -> Verdict:
        """What becomes of an answer, an event of one, or an error; `decided` remembers the answer's calls."""
        before, labels, verdict = decided.denied, list[str](), None
        for call in message.proposals:
            verdict = self._one(call, message, decided, ctx, labels)
            if verdict is not None:
                break
        if decided.denied > before:
            _count(decided.denied - before, ctx)
        if verdict is not None:
            return verdict
        if labels:
            ctx.because(f"{'stripped' if self._mode == 'strip' else 'marked'}: {', '.join(dict.fromkeys(labels))}")
        if self._mode != "strip":
            return None
        if isinstance(message, LlmError):
            return NOT_ALLOWED if labels else None
        left = message.without_calls(decided)
        return Mutation(drop=True) if left is None else None if left is message else Mutation(message=left)

    def _one(
        self,
        call: ProposedCall,
        message: Completion | LlmError,
        decided: Proposals,
        ctx: Context[Any],
        labels: list[str],
    ) -> Deny | None:
        """What is said of a call, if that ends the answer; what else speaks against it goes to `labels`."""
        before = decided.has_taken(call.choice, call.index)
        goes_on = call.appended and decided.has_kept(call.choice, call.index)
        if call.appended and before:
            return None
        if decided.full:
            return None if self._mode == "mark" else _TOO_MANY
        refusal = _AMBIGUOUS if goes_on else self._judge(call, message, ctx)
        if refusal is None:
            decided.keep(call)
            return None
        decided.denied += not (before and call.repeated)
        if self._mode == "deny" or (goes_on and self._mode == "strip"):
            return refusal.deny
        decided.take(call)
        labels.append(refusal.label)
        return None


def _count(more: int, ctx: Context[Any]) -> None:
    """Several policies may look at one answer: their figures are added up."""
    so_far = ctx.measures.get(_MEASURE)
    ctx.measure(_MEASURE, more + (so_far if isinstance(so_far, int) else 0))
