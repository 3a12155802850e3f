"""generation-policy: what a caller may ask of a generation: settings set, given a default, clamped or forbidden.

Rules:
- `forbid` denies a request that has the setting; `set` overrides whatever was asked; `default` fills in what was not;
  `min` and `max` move what was asked to the nearest value between them.
- Where nothing was asked and there is no `default`, the provider's own holds. But a request without `max_tokens` asks
  for as many as there are: it gets `max`.
- Efforts are ordered: none, minimal, low, medium, high, xhigh, max. One that is not among them cannot be clamped and is
  denied, and so is a setting that must be written in an API that has none of it.
- A setting that an API spells in two ways is written in each that the request uses, so that none says otherwise.
- A request that already keeps the rules leaves as the bytes that came.

Not here: which model answers (model_routing.py), budgets.
"""

from __future__ import annotations

from typing import Annotated, Any, Generic, Literal, TypeVar, get_args

from pydantic import BaseModel, Field, model_validator

from ext_proc.messages import Generation, Setting
from ext_proc.policy import Context, Deny, Mutation, Policy, Verdict

Effort = Literal["none", "minimal", "low", "medium", "high", "xhigh", "max"]
Whole = Annotated[int, Field(strict=True)]
Count = Annotated[int, Field(strict=True, ge=1)]
Number = Annotated[float, Field(strict=True, ge=0, allow_inf_nan=False)]
V = TypeVar("V")

_EFFORTS: tuple[str, ...] = get_args(Effort)


class Rule(BaseModel, Generic[V], extra="forbid"):
    """What may be asked of the setting: `forbid` or `set` alone, or any of the others."""

    forbid: bool = Field(default=False, description="Deny a request that has the setting.")
    set: V | None = Field(default=None, description="Always this value, whatever was asked.")
    default: V | None = Field(default=None, description="This value where none was asked.")
    min: V | None = Field(default=None, description="What is below is raised to this.")
    max: V | None = Field(default=None, description="What is above is lowered to this.")

    @model_validator(mode="after")
    def _means_one_thing(self) -> Rule[V]:
        given = [name for name in ("set", "default", "min", "max") if getattr(self, name) is not None]
        if not self.forbid and not given:
            raise ValueError("expected `forbid: true`, `set`, `default`, `min` or `max`")
        if self.forbid and given:
            raise ValueError(f"`forbid` stands alone, without `{given[0]}`")
        if self.set is not None and len(given) > 1:
            raise ValueError(f"`set` stands alone, without `{given[1]}`")
        if self.min is not None and self.max is not None and _rank(self.min) > _rank(self.max):
            raise ValueError("expected `min` to be at most `max`")
        if self.default is not None and self.clamped(self.default) != self.default:
            raise ValueError("expected `default` to be between `min` and `max`")
        return self

    def clamped(self, value: Any) -> Any:
        """The nearest value that may be asked.

        Raises:
            ValueError: there is no telling what is near it.
        """
        if self.min is not None and _rank(value) < _rank(self.min):
            return self.min
        if self.max is not None and _rank(value) > _rank(self.max):
            return self.max
        return value


class Parameters(BaseModel, extra="forbid"):
    """What callers may ask of a generation, by setting; at least one."""

    max_tokens: Rule[Count] | None = Field(default=None, description="Tokens of the answer, under whatever name.")
    temperature: Rule[Number] | None = Field(default=None, description="How much is left to chance.")
    top_p: Rule[Number] | None = Field(
        default=None, description="From how large a share of the likely tokens it chooses."
    )
    seed: Rule[Whole] | None = Field(default=None, description="What makes answers repeatable.")
    n: Rule[Count] | None = Field(default=None, description="Choices per answer; each costs as much as an answer.")
    reasoning_effort: Rule[Effort] | None = Field(default=None, description="How long a model may think.")

    @model_validator(mode="after")
    def _names_a_setting(self) -> Parameters:
        if all(getattr(self, setting) is None for setting in Setting):
            raise ValueError("expected at least one setting")
        return self


class GenerationPolicy(Policy[Parameters, None]):
    """Settings of a generation."""

    def __init__(self, name: str, parameters: Parameters) -> None:
        super().__init__(name, parameters)
        found: dict[Setting, Rule[Any] | None] = {setting: getattr(parameters, setting) for setting in Setting}
        self._rules = {setting: rule for setting, rule in found.items() if rule is not None}

    def on_request(self, message: Generation, ctx: Context[None]) -> Verdict:
        moved: dict[Setting, Any] = {}
        stayed: dict[Setting, Any] = {}
        for setting, rule in self._rules.items():
            asked = message.setting(setting)
            if rule.forbid:
                if asked is not None:
                    return Deny("setting-not-allowed", f"{setting} may not be set here", status=400)
                continue
            try:
                value = _value(setting, rule, asked)
            except ValueError:
                return Deny("setting-invalid", f"this {setting} is not known here", status=400)
            if value is not None:
                (stayed if value == asked else moved)[setting] = value
        try:
            kept = message.with_settings(moved) if moved else message
        except ValueError:
            return Deny("setting-unsupported", "this API lacks a setting that is required here", status=400)
        alike = kept.with_settings(stayed) if stayed else kept
        if alike.value != kept.value:
            kept = alike
        if kept is message:
            return None
        ctx.because("changed " + (", ".join(moved) or "a second spelling"))
        return Mutation(message=kept)


def _value(setting: Setting, rule: Rule[Any], asked: Any) -> Any:
    """What goes on; None where nothing does.

    Raises:
        ValueError: what was asked cannot be clamped.
    """
    if rule.set is not None:
        return rule.set
    if asked is not None:
        return rule.clamped(asked)
    return rule.max if rule.default is None and setting is Setting.MAX_TOKENS else rule.default


def _rank(value: Any) -> float:
    """What values are compared by.

    Raises:
        ValueError: an effort that is none of those known.
    """
    return _EFFORTS.index(value) if isinstance(value, str) else value
