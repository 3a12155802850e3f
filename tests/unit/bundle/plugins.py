"""Policies that the bundle's tests load by `module:Class`, good ones and bad ones."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, Field, model_validator

from ext_proc.messages import Message, Opaque, ToolCall, ToolList
from ext_proc.policy import Condition, Context, Count, Deny, Key, NoParameters, Policy, Secret, Verdict


class AllowlistParameters(BaseModel, extra="forbid"):
    """Which tools may be called."""

    allow: frozenset[str]


class ToolAllowlist(Policy[AllowlistParameters, None]):
    """Lets the listed tools through."""

    def on_request(self, message: ToolCall, ctx: Context[None]) -> Verdict:
        if message.name not in self.parameters.allow:
            return Deny(reason="tool-not-allowed", message=f"tool {message.name!r} is not allowed here")
        return None


class SignedParameters(BaseModel, extra="forbid"):
    """A policy with a secret."""

    signing: Secret
    strict: bool = False
    note: str = ""

    @model_validator(mode="after")
    def _leaks(self) -> SignedParameters:
        if self.strict:
            raise ValueError(f"the secret {self.signing.reveal().decode()} is too weak")
        return self


class Signed(Policy[SignedParameters, None]):
    def __init__(self, name: str, parameters: SignedParameters) -> None:
        super().__init__(name, parameters)
        if parameters.note == "raise":
            raise RuntimeError(f"no way with {parameters.signing.reveal()!r}")

    def on_request(self, message: ToolCall, ctx: Context[None]) -> Verdict:
        return None


class Block(BaseModel, extra="forbid"):
    words: list[str] = Field(min_length=1)


class Replace(BaseModel, extra="forbid"):
    pattern: str
    by: str


class UnionParameters(BaseModel, extra="forbid"):
    allow: Condition = True
    action: Block | Replace | None = None
    level: int | float = 1
    password: int = 0
    names: dict[str, int] = {}


class Unions(Policy[UnionParameters, None]):
    def on_request(self, message: ToolCall, ctx: Context[None]) -> Verdict:
        return None


class Misspelt(Policy[NoParameters, None]):
    def on_requests(self, message: ToolCall, ctx: Context[None]) -> Verdict:
        return None


class Unannotated(Policy[NoParameters, None]):
    def on_request(self, message, ctx):  # type: ignore[no-untyped-def]  # what the test is about
        return None


class Modelless(Policy):  # type: ignore[type-arg]  # what the test is about
    """Names no parameters."""


class Deaf(Policy[NoParameters, None]):
    """Waits for what no codec makes of a request."""

    def on_request(self, message: Opaque, ctx: Context[None]) -> Verdict:
        return None

    def on_response(self, message: ToolList, ctx: Context[None]) -> Verdict:
        return None


class Headers(Policy[NoParameters, None]):
    """Decides at the headers, where there is no message."""

    def on_request_headers(self, ctx: Context[None]) -> Verdict:
        return None

    def on_request(self, message: Message, ctx: Context[None]) -> Verdict:
        return None


class CallsParameters(BaseModel, extra="forbid"):
    limit: int = 2


class CallLimit(Policy[CallsParameters, None]):
    """Lets each tool be called so many times in an hour."""

    keeps_state = True

    async def on_request(self, message: ToolCall, ctx: Context[None]) -> Verdict:
        counted = await ctx.store.count([Count(Key("calls", message.name), 1, 3600.0, self.parameters.limit)])
        return None if counted.passed is None else Deny(reason="called-too-often", message="called too often")


not_a_policy: Any = 7
