"""What becomes of calls that a model proposes: tool-access's rules for `tools/call`, held to an answer of a model's.

Rules:
- A call is decided when its name is known. In a stream its arguments are not whole then, so a rule with a condition
  over `args` does not allow it: holding the call until they are would hold up all that comes behind it.
- `unless_annotated` never allows one: nothing is known of what a client's own function says of itself.
- `deny` ends the answer, `strip` takes the call out and lets the rest go on, `mark` only tells of it.
- A name that goes on behind one that was decided is another name, which no rule has allowed: the answer ends.
- An error that has calls beside it is denied, for some clients read on.
- Past so many calls an answer ends too: more are not remembered.

Not here: the rules (access_rules.py), where formats keep calls (the messages know).
"""

from __future__ import annotations

from typing import Any, Literal

from ext_proc.messages import Completion, LlmError, Proposals, ProposedCall
from ext_proc.policy import Context, Deny, Mutation, Verdict
from gatehouse_policies.access_rules import CompiledRule, Rules, Subject

OnProposals = Literal["ignore", "deny", "strip", "mark"]

_METHOD = "tools/call"
_GENERAL = "the model proposed a call of a tool that is not allowed here"
_NOT_ALLOWED = Deny("proposal-not-allowed", _GENERAL)
_AMBIGUOUS = Deny("proposal-ambiguous", "the name of a proposed call was told in pieces that could be read in two ways")
_TOO_MANY = Deny("proposals-too-many", "the answer proposes more calls than the gateway looks at")


class ProposedCalls:
    """Decides on the calls of answers.

    Args:
        mode: what becomes of those that are not allowed.
        rules: of the policy.
        default: whether what no rule names is allowed.
    """

    def __init__(self, mode: OnProposals, rules: Rules, *, default: bool) -> None:
        self._mode = mode
        self._rules = rules
        self._default = default

    def decide(self, message: Completion | LlmError, ctx: Context[Proposals]) -> Verdict:
        """What becomes of an answer, an event of one, or an error; `ctx.state` remembers its calls."""
        decided, labels = ctx.state, list[str]()
        for call in message.proposals:
            verdict = self._one(call, message, ctx, labels)
            if verdict is not None:
                ctx.measure("proposals_denied", decided.denied)
                return verdict
        if labels:
            ctx.measure("proposals_denied", decided.denied)
            ctx.because(f"{'stripped' if self._mode == 'strip' else 'marked'}: {', '.join(dict.fromkeys(labels))}")
        if self._mode != "strip":
            return None
        if isinstance(message, LlmError):
            return _NOT_ALLOWED if labels else None
        left = message.without_calls(decided)
        return Mutation(drop=True) if left is None else None if left is message else Mutation(message=left)

    def _one(
        self, call: ProposedCall, message: Completion | LlmError, ctx: Context[Proposals], labels: list[str]
    ) -> Deny | None:
        """What is said of a call, if that ends the answer; why it was not allowed goes to `labels`."""
        decided = ctx.state
        before = decided.has_taken(call.choice, call.index)
        goes_on = call.appended and decided.has_kept(call.choice, call.index)
        if call.appended and before:
            return None
        if decided.full:
            return None if self._mode == "mark" else _TOO_MANY
        found = self._rules.first(_METHOD, Subject("tool", call.name), ctx.server)
        if not goes_on and self._allows(found, call, message, ctx):
            decided.keep(call)
            return None
        decided.denied += not (before and call.repeated)
        if self._mode == "deny" or (goes_on and self._mode == "strip"):
            told = found.rule.message if found is not None else ""
            return _AMBIGUOUS if goes_on else Deny("proposal-not-allowed", told or _GENERAL)
        decided.take(call)
        labels.append("a name in pieces" if goes_on else "default" if found is None else found.label)
        return None

    def _allows(
        self, found: CompiledRule | None, call: ProposedCall, message: Completion | LlmError, ctx: Context[Any]
    ) -> bool:
        if found is None:
            return self._default
        if found.rule.unless_annotated or (found.about_args and call.arguments is None):
            return False
        return found.allows({**ctx.variables(message), "args": call.arguments or {}})
