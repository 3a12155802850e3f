"""What the `usage` policy knows of one exchange.

Not here: what is made of it (usage.py), the record as it grows (usage_ledger.py).
"""

from __future__ import annotations

from dataclasses import dataclass, field

from ext_proc.messages import ModelRequest
from ext_proc.policy import Context
from ext_proc.trail import Outcome
from gatehouse_policies.usage_ledger import Booking
from gatehouse_policies.usage_prices import COUNTS
from gatehouse_policies.usage_tokens import AnswerTokens, By, PromptTokens

# Something of the model's was on its way, and could not be read, or came to nobody.
_CUT = (Outcome.TRUNCATED, Outcome.INVALID, Outcome.REFUSED)


@dataclass(slots=True)
class State:
    """What is known of one exchange.

    Attributes:
        request: kept to count its prompt by, should that be missing in the end.
        model: the model's name in the answer; "" while it is not known.
        reported: what the provider said so far.
        told: whether it said anything.
        finished: whether a choice ended.
        final: whether what it said last is said of all that came.
        uncounted: counts the text that came after the provider's last word; None while there is none.
        prompt: the prompt's count, once somebody needed it.
        synthetic: the tokens that policies added to it, once somebody needed them.
        estimated: whether figures of ours have been measured.
        priced: whether the price was known when somebody last asked; None before.
        hides: whether the client did not ask for what its stream tells.
        booking: the exchange's record; never opened without a ledger.
        deferred: whether the answer is made apart from its request: then its figures are those of `stored`.
        stored: by which the provider keeps the answer; "" while that is not known.
        booked: whether this exchange is the first that saw it finished.
    """

    request: ModelRequest | None = None
    answered: bool = False
    model: str = ""
    reported: dict[str, int] = field(default_factory=lambda: dict.fromkeys(COUNTS, 0))
    told: bool = False
    finished: bool = False
    final: bool = False
    uncounted: AnswerTokens | None = None
    by: By | None = None
    prompt: PromptTokens | None = None
    synthetic: int | None = None
    estimated: bool = False
    priced: bool | None = None
    hides: bool = False
    booking: Booking | None = None
    deferred: bool = False
    stored: str = ""
    booked: bool = False

    @property
    def models(self) -> tuple[str, ...]:
        """The model's names, the one that counts first."""
        asked = "" if self.request is None else self.request.model
        return tuple(name for name in dict.fromkeys((self.model, asked)) if name)


def asked_by(state: State, ctx: Context[State]) -> tuple[ModelRequest, ModelRequest]:
    """The request as it came, and as it went on behind all policies."""
    for came, went in ctx.requests:
        if isinstance(came, ModelRequest) and isinstance(went, ModelRequest):
            return came, went
    assert state.request is not None, "nobody asks without a request"
    return state.request, state.request


def was_cut(ctx: Context[State]) -> bool:
    """Whether the provider answered, and nothing of that could be read."""
    return ctx.response is not None and 200 <= ctx.response.status < 300 and ctx.outcome in _CUT
