"""model-routing: which upstream answers for a model's name, by the header that Envoy routes on.

Rules:
- Whatever names a model is routed: what generates, embeddings, counting tokens.
- The choice leaves as the fact `upstream` (header `x-gatehouse-upstream`); a client's copy of it was removed before.
- An alias becomes the upstream's own name for the model, in the body and in the fact `model`; the client's own word is
  put back into the answer and every event of it. What an upstream makes of a name that was not changed (a dated one,
  for example) stays.
- Weights decide by a hash: of the sticky key, so that a caller stays where it is; where there is none, of the trail's
  id. Rendezvous hashing: taking one upstream out moves only its own callers.
- A name that is not listed is denied, or passed on without a choice, as `unlisted` says.

Not here: who may use a model, the list of models (whichever upstream Envoy asks answers it), whether an
upstream is well, what it costs, retries.
"""

from __future__ import annotations

import hashlib
import math
from typing import Annotated, Literal

from pydantic import BaseModel, Field, model_validator

from ext_proc.messages import ModelAnswer, ModelRequest
from ext_proc.policy import Context, Deny, Mutation, Policy, Verdict

# As long as a fact may be: a longer name would be cut where Envoy reads it.
ModelName = Annotated[str, Field(min_length=1, max_length=256)]


class Upstream(BaseModel, extra="forbid"):
    """One upstream for a model."""

    name: str = Field(
        min_length=1, max_length=128, pattern=r"^[A-Za-z0-9_.-]+$", description="As Envoy's routes match it."
    )
    weight: float = Field(default=1.0, ge=0, le=1_000_000, description="Its share; 0 takes it out.")
    model: ModelName | None = Field(default=None, description="The model's name there; the client's own if not given.")


class Target(BaseModel, extra="forbid"):
    """Where a model is."""

    upstreams: list[Upstream] = Field(min_length=1, description="One, or several with weights.")

    @model_validator(mode="after")
    def _can_be_chosen_from(self) -> Target:
        if not any(upstream.weight for upstream in self.upstreams):
            raise ValueError("expected an upstream with a weight above 0")
        if len({(upstream.name, upstream.model) for upstream in self.upstreams}) < len(self.upstreams):
            raise ValueError("expected every upstream once; give it a larger weight instead")
        return self


class Sticky(BaseModel, extra="forbid"):
    """What keeps a caller with one upstream. Where it is missing, the exchange is weighed by itself."""

    by: Literal["subject", "tenant", "header"] = Field(
        description="The verified caller's subject or tenant, or a header, which any client can choose."
    )
    header: str = Field(default="", pattern=r"^[a-z0-9-]*$", description="With `by: header`, its name in lower case.")

    @model_validator(mode="after")
    def _names_the_header(self) -> Sticky:
        if (self.by == "header") != bool(self.header):
            raise ValueError("expected `header` with `by: header`, and only there")
        return self


class Parameters(BaseModel, extra="forbid"):
    """Models and where they are."""

    models: dict[ModelName, Target] = Field(min_length=1, description="By the name that clients ask for.")
    unlisted: Literal["deny", "pass"] = Field(default="deny", description="What happens to any other name.")
    sticky: Sticky | None = Field(default=None, description="Without it, every exchange is weighed by itself.")


class State:
    """The name that the client asked for, where another went on."""

    __slots__ = ("asked",)

    def __init__(self) -> None:
        self.asked: str | None = None


class ModelRouting(Policy[Parameters, State]):
    """Model names to upstreams."""

    def new_state(self) -> State:
        return State()

    def on_request(self, message: ModelRequest, ctx: Context[State]) -> Verdict:
        target = self.parameters.models.get(message.model)
        if target is None:
            if self.parameters.unlisted == "pass":
                ctx.because("unlisted")
                return None
            return Deny("model-unknown", "there is no such model here", status=404)
        chosen = self._choose(target, ctx)
        ctx.because(f"upstream {chosen.name}")
        if chosen.model is None or chosen.model == message.model:
            return Mutation(facts={"upstream": chosen.name})
        ctx.state.asked = message.model
        facts = {"upstream": chosen.name, "model": chosen.model}
        return Mutation(message=message.with_model(chosen.model), facts=facts)

    def on_response(self, message: ModelAnswer, ctx: Context[State]) -> Verdict:
        asked = ctx.state.asked
        if asked is None or message.model in ("", asked):
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
    # Its model belongs to it: two models of one upstream are two to choose from.
    text = "\0".join((upstream.name, upstream.model or "", key))
    digest = hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=8).digest()
    # 52 bits and a half: neither 0 nor 1, whose logarithms would be of no use.
    uniform = ((int.from_bytes(digest, "big") >> 12) + 0.5) / 2**52
    return -upstream.weight / math.log(uniform)
