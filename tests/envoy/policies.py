"""Policies that decide about answers, or make bodies longer or shorter: `type: tests.envoy.policies:Name`.

Not here: what becomes of it (test_modes.py), policies that misbehave (faulty.py).
"""

from __future__ import annotations

from pydantic import BaseModel

from ext_proc.messages import Message, ToolCall, ToolResult
from ext_proc.policy import (
    Context,
    Deny,
    Mutation,
    NoParameters,
    Policy,
    Text,
    TextVerdict,
    TextWindow,
    Verdict,
)


class Guard(Policy[NoParameters, None]):
    """Decides about every message of an answer, so that its headers wait; denies what holds "forbidden"."""

    def on_response(self, message: Message, ctx: Context[None]) -> Verdict:
        return Deny("guarded", "this may not be seen", status=451) if b"forbidden" in message.raw else None


class Watcher(Policy[NoParameters, None]):
    """Sees every message, and has no say."""

    def on_request(self, message: Message, ctx: Context[None]) -> None:
        return None

    def on_response(self, message: Message, ctx: Context[None]) -> None:
        return None


class Words(BaseModel, extra="forbid"):
    """What is put in the place of a text."""

    text: str
    times: int


class Rewrites(Policy[Words, None]):
    """Puts another text into every call and into every result."""

    def on_request(self, message: ToolCall, ctx: Context[None]) -> Verdict:
        arguments = {**message.arguments, "text": self._text()}
        return Mutation(message=message.with_params({**message.params, "arguments": arguments}))

    def on_response(self, message: ToolResult, ctx: Context[None]) -> Verdict:
        content = [{"type": "text", "text": self._text()}]
        return Mutation(message=message.with_result({**message.result, "content": content}))

    def _text(self) -> str:
        return self.parameters.text * self.parameters.times


class Sentences(Policy[NoParameters, None]):
    """Lets a model's text through sentence by sentence, as it came."""

    def on_text(self, text: TextWindow, ctx: Context[None]) -> TextVerdict:
        return Text(text.start + text.text.rfind(".") + 1)
