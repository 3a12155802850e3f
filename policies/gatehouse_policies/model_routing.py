"""model-routing: which upstream answers for a model's name, by the header that Envoy routes on.

Rules:
- The choice leaves as the fact `upstream` (header `x-gatehouse-upstream`); a client's copy of it was removed before.
- An alias is rewritten to the upstream's own name, and the client's own word is put back into every answer.
- Weights decide by a hash: of the sticky key, so that the same caller stays with the same upstream; of the exchange's
  id otherwise. Rendezvous hashing: taking one upstream out moves only its own callers.
- A name that is not listed is denied, or passed on as it is, as `unlisted` says.

Not here: whether the upstream is well, what it costs, retries.
"""

from __future__ import annotations

import hashlib
import math
from typing import Literal

from pydantic import BaseModel, Field, model_validator

from ext_proc.messages import Completion, Generation
from ext_proc.policy import Context, Deny, Mutation, Policy, Verdict


class Upstream(BaseModel, extra="forbid"):
    """One upstream for a model."""

    name: str = Field(min_length=1, max_length=128, pattern=r"^[\w.-]+$", description="As Envoy's route matches it.")
    weight: float = Field(default=1.0, ge=0, le=1_000_000, description="Its share; 0 takes it out.")
    model: str = Field(default="", max_length=256, description="The model's name there; the client's own if empty.")


class Target(BaseModel, extra="forbid"):
    """Where a model is."""

    upstreams: list[Upstream] = Field(min_length=1, description="One, or several with weights.")

    @model_validator(mode="after")
    def _has_one(self) -> Target:
        if not any(upstream.weight for upstream in self.upstreams):
            raise ValueError("every upstream has weight 0")
        return self


class Sticky(BaseModel, extra="forbid"):
    """What keeps a caller with one upstream."""

    by: Literal["subject", "tenant", "header"] = Field(description="The identity's subject or tenant, or a header.")
    header: str = Field(default="", pattern=r"^[a-z0-9-]*$", description="With `by: header`, its lower-case name.")

    @model_validator(mode="after")
    def _names_the_header(self) -> Sticky:
        if (self.by == "header") != bool(self.header):
            raise ValueError("`header` goes with `by: header`")
        return self


class Parameters(BaseModel, extra="forbid"):
    """Models and where they are."""

    models: dict[str, Target] = Field(min_length=1, description="By the name that clients ask for.")
    unlisted: Literal["deny", "pass"] = Field(default="deny", description="What happens to any other name.")
    sticky: Sticky | None = Field(default=None, description="Without it, every exchange is weighed anew.")


class State:
    """The name that the client asked for, where another was sent."""

    __slots__ = ("asked",)

    def __init__(self) -> None:
        self.asked = ""


class ModelRouting(Policy[Parameters, State]):
    """Model names to upstreams."""

    def new_state(self) -> State:
        return State()

    def on_request(self, message: Generation, ctx: Context[State]) -> Verdict:
        target = self.parameters.models.get(message.model)
        if target is None:
            if self.parameters.unlisted == "pass":
                ctx.because("unlisted")
                return None
            return Deny("model-unknown", "there is no such model here", status=404)
        chosen = self._choose(target, ctx)
        ctx.because(f"upstream {chosen.name}")
        facts = {"upstream": chosen.name}
        if not chosen.model or chosen.model == message.model:
            return Mutation(facts=facts)
        ctx.state.asked = message.model
        renamed = message.with_model(chosen.model)
        return Mutation(message=renamed, facts={**facts, "model": chosen.model})

    def on_response(self, message: Completion, ctx: Context[State]) -> Verdict:
        asked = ctx.state.asked
        if not asked or not message.model or message.model == asked:
            return None
        return Mutation(message=message.with_model(asked))

    def _choose(self, target: Target, ctx: Context[State]) -> Upstream:
        if len(target.upstreams) == 1:
            return target.upstreams[0]
        key = self._key(ctx) or ctx.trail_id
        return max(target.upstreams, key=lambda upstream: _score(key, upstream))

    def _key(self, ctx: Context[State]) -> str:
        sticky = self.parameters.sticky
        if sticky is None:
            return ""
        if sticky.by == "header":
            return ctx.request.headers.get(sticky.header) or ""
        return ctx.identity.subject if sticky.by == "subject" else ctx.identity.tenant


def _score(key: str, upstream: Upstream) -> float:
    """A weighted rendezvous score: the highest wins with a probability in proportion to its weight."""
    if not upstream.weight:
        return -math.inf
    digest = hashlib.blake2b(f"{upstream.name}\0{key}".encode("utf-8", "surrogateescape"), digest_size=8).digest()
    uniform = (int.from_bytes(digest, "big") + 1) / (2**64 + 1)
    return -upstream.weight / math.log(uniform)
