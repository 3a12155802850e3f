"""usage: tokens per exchange, as the provider counted them, for the trail, metrics and Envoy's dynamic metadata.

Rules:
- It only observes: no answer is held or changed for it.
- Some providers send running totals: of each figure the largest counts, which is the last.
- Nothing is made up: where the provider did not say, or said what can be no count, `usage_reported` is false and there
  are no figures. OpenAI's streams say it only if the request asked for it (`stream_options: {include_usage: true}`).
- `cached_tokens` and `cache_write_tokens` are parts of `input_tokens`, `reasoning_tokens` of `output_tokens`: they are
  not to be added up.

Not here: counting tokens, budgets, prices.
"""

from __future__ import annotations

from ext_proc.messages import Completion, Generation
from ext_proc.policy import Context, NoParameters, Policy

# No answer has so many tokens. What is counted elsewhere, in floats, stays exact below it.
_IMPLAUSIBLE = 10**12
_COUNTED = ("input_tokens", "output_tokens", "cached_tokens", "cache_write_tokens", "reasoning_tokens")

State = dict[str, int]


class UsageMeter(Policy[NoParameters, State]):
    """Tokens per exchange."""

    def new_state(self) -> State:
        return dict.fromkeys(_COUNTED, 0)

    def on_request(self, message: Generation, ctx: Context[State]) -> None:
        ctx.measure("usage_reported", False)

    def on_response(self, message: Completion, ctx: Context[State]) -> None:
        usage = message.usage
        if usage is None or usage.estimated:
            return
        counts = {name: getattr(usage, name) for name in _COUNTED}
        if max(counts.values()) >= _IMPLAUSIBLE:
            return
        ctx.measure("usage_reported", True)
        for name, count in counts.items():
            ctx.state[name] = max(ctx.state[name], count)
            ctx.measure(name, ctx.state[name])
        ctx.measure("total_tokens", ctx.state["input_tokens"] + ctx.state["output_tokens"])
