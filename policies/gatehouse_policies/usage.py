"""usage: tokens per exchange, as the provider counted them, to the trail, metrics and Envoy's dynamic metadata.

Rules:
- It only observes: no answer is held or changed for it.
- The last usage in an answer counts: providers that send running totals repeat them.
- Where the provider did not say, nothing is made up: `usage_reported` is false.

Not here: counting tokens, budgets.
"""

from __future__ import annotations

from ext_proc.messages import Completion, Generation, Usage
from ext_proc.policy import Context, NoParameters, Policy


class State:
    """What was seen of one exchange."""

    __slots__ = ("asked", "usage")

    def __init__(self) -> None:
        self.asked = False
        self.usage: Usage | None = None


class UsageMeter(Policy[NoParameters, State]):
    """Tokens per exchange."""

    def new_state(self) -> State:
        return State()

    def on_request(self, message: Generation, ctx: Context[State]) -> None:
        ctx.state.asked = True
        ctx.measure("usage_reported", False)

    def on_response(self, message: Completion, ctx: Context[State]) -> None:
        usage = message.usage
        if usage is None or not ctx.state.asked:
            return
        ctx.state.usage = usage
        ctx.measure("usage_reported", True)
        ctx.measure("input_tokens", usage.input_tokens)
        ctx.measure("output_tokens", usage.output_tokens)
        ctx.measure("total_tokens", usage.total_tokens)
        ctx.measure("cached_tokens", usage.cached_tokens)
        ctx.measure("reasoning_tokens", usage.reasoning_tokens)
