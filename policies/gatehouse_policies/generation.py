"""generation-policy: what a caller may ask of a generation: settings set, clamped, defaulted or forbidden.

Rules:
- Per setting, in this order: `forbid` denies a request that has it; `set` overrides whatever was asked; `default` fills
  in what was not; `min` and `max` clamp.
- A value of another type than a number cannot be clamped: it is denied, not guessed at.
- A request that already keeps the rules leaves as the bytes that came.

Not here: which model answers (model_routing.py), budgets.
"""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, Field, model_validator

from ext_proc.messages import Generation, Setting
from ext_proc.policy import Context, Deny, Mutation, Policy, Verdict

Value = int | float | str


class Limit(BaseModel, extra="forbid"):
    """What may be asked of one setting."""

    forbid: bool = Field(default=False, description="Deny a request that has the setting.")
    set: Value | None = Field(default=None, description="Always this value, whatever was asked.")
    default: Value | None = Field(default=None, description="This value where none was asked.")
    min: float | None = Field(default=None, description="Smaller values are raised to this.")
    max: float | None = Field(default=None, description="Larger values are lowered to this.")

    @model_validator(mode="after")
    def _means_something(self) -> Limit:
        given = {name for name in ("set", "default", "min", "max") if getattr(self, name) is not None}
        if self.forbid and given:
            raise ValueError("`forbid` stands alone")
        if not self.forbid and not given:
            raise ValueError("expected `forbid`, `set`, `default`, `min` or `max`")
        if "set" in given and len(given) > 1:
            raise ValueError("`set` stands alone")
        if self.min is not None and self.max is not None and self.min > self.max:
            raise ValueError("`min` is above `max`")
        return self


class Parameters(BaseModel, extra="forbid"):
    """What callers may ask of a generation."""

    settings: dict[Setting, Limit] = Field(min_length=1, description="Per setting, what may be asked.")


class GenerationPolicy(Policy[Parameters, None]):
    """Settings of a generation."""

    def on_request(self, message: Generation, ctx: Context[None]) -> Verdict:
        changes: dict[Setting, Any] = {}
        for setting, limit in self.parameters.settings.items():
            asked = message.setting(setting)
            if limit.forbid:
                if asked is not None:
                    return Deny("setting-not-allowed", f"{setting} may not be set here", status=400)
                continue
            wanted = self._wanted(asked, limit)
            if wanted is None and asked is not None:
                return Deny("setting-invalid", f"{setting} must be a number", status=400)
            if wanted is not None and (wanted != asked or type(wanted) is not type(asked)):
                changes[setting] = wanted
        if not changes:
            return None
        ctx.because("changed " + ", ".join(sorted(changes)))
        return Mutation(message=message.with_settings(changes))

    def _wanted(self, asked: Any, limit: Limit) -> Any:
        """The value that goes on; None where there is none to send, or what was asked cannot be clamped."""
        if limit.set is not None:
            return limit.set
        if asked is None:
            return limit.default
        if limit.min is None and limit.max is None:
            return asked
        if isinstance(asked, bool) or not isinstance(asked, int | float):
            return None
        return _clamped(asked, limit.min, limit.max)


def _clamped(asked: int | float, low: float | None, high: float | None) -> int | float:
    """The nearest allowed value, in the type that was asked for."""
    bounded: float = asked
    if low is not None:
        bounded = max(bounded, low)
    if high is not None:
        bounded = min(bounded, high)
    if bounded == asked:
        return asked
    return int(bounded) if float(bounded).is_integer() and isinstance(asked, int) else bounded
