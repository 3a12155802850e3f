"""Policies that misbehave, and one that only looks on, for a bundle's `type: tests.envoy.faulty:Name`.

Rules:
- What they raise or return holds SECRET: a test can see that it is nowhere afterwards.

Not here: what becomes of it (test_faults.py).
"""

from __future__ import annotations

import asyncio
import time
from typing import Any

from pydantic import BaseModel

from ext_proc.messages import Message, ToolCall, ToolResult
from ext_proc.policy import Context, NoParameters, Policy, Verdict

SECRET = "canary-of-a-policy"


class Raises(Policy[NoParameters, None]):
    """Raises where a call comes."""

    def on_request(self, message: ToolCall, ctx: Context[None]) -> Verdict:
        raise ValueError(f"{SECRET} {message.arguments}")


class Exits(Policy[NoParameters, None]):
    """Means to end the process, as a command line's library does."""

    def on_request(self, message: ToolCall, ctx: Context[None]) -> Verdict:
        raise SystemExit(SECRET)


class ExitsLater(Policy[NoParameters, None]):
    """Means to end the process, where it is awaited."""

    async def on_request(self, message: ToolCall, ctx: Context[None]) -> Verdict:
        raise SystemExit(SECRET)


class RaisesOnResponse(Policy[NoParameters, None]):
    """Raises where a result comes."""

    def on_response(self, message: ToolResult, ctx: Context[None]) -> Verdict:
        raise ValueError(f"{SECRET} {message.raw!r}")


class RaisesOnComplete(Policy[NoParameters, None]):
    """Raises when all is over."""

    def on_request(self, message: ToolCall, ctx: Context[None]) -> Verdict:
        return None

    def on_complete(self, ctx: Context[None]) -> None:
        raise ValueError(SECRET)


class RaisesInNewState(Policy[NoParameters, dict[str, Any]]):
    """Cannot even begin."""

    def new_state(self) -> dict[str, Any]:
        raise ValueError(SECRET)

    def on_request(self, message: ToolCall, ctx: Context[dict[str, Any]]) -> Verdict:
        return None


class AnswersNonsense(Policy[NoParameters, None]):
    """Returns what is no verdict."""

    def on_request(self, message: ToolCall, ctx: Context[None]) -> Verdict:
        return SECRET  # type: ignore[return-value]  # that is its fault


class Seconds(BaseModel, extra="forbid"):
    """How long it takes."""

    seconds: float


class Blocks(Policy[Seconds, None]):
    """Holds up the whole process."""

    def on_request(self, message: ToolCall, ctx: Context[None]) -> Verdict:
        time.sleep(self.parameters.seconds)
        return None


class NeverAnswers(Policy[NoParameters, None]):
    """Waits for what never comes."""

    async def on_request(self, message: ToolCall, ctx: Context[None]) -> Verdict:
        await asyncio.Event().wait()
        return None


class NeverAnswersOnResponse(Policy[NoParameters, None]):
    """Waits for what never comes, where a result comes."""

    async def on_response(self, message: ToolResult, ctx: Context[None]) -> Verdict:
        await asyncio.Event().wait()
        return None


class Witness(Policy[NoParameters, None]):
    """Sees every request and every end, and does nothing."""

    def on_request(self, message: Message, ctx: Context[None]) -> None:
        return None

    def on_complete(self, ctx: Context[None]) -> None:
        return None


class ReadsResults(Policy[NoParameters, None]):
    """Has a say in every result, so that each is held until it is decided."""

    def on_response(self, message: ToolResult, ctx: Context[None]) -> Verdict:
        return None
