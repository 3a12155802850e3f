"""Small policies for tests of the engine."""

from __future__ import annotations

from typing import Any

from ext_proc.messages import Message, ToolCall, ToolList, ToolResult
from ext_proc.policy import Context, Deny, Mutation, NoParameters, Policy, Verdict


class Base(Policy[NoParameters, dict[str, Any]]):
    """A policy with a name and no parameters, whose state is a dictionary."""

    def __init__(self, name: str = "test") -> None:
        super().__init__(name, NoParameters())

    def new_state(self) -> dict[str, Any]:
        return {}


class DenyTool(Base):
    """Denies one tool."""

    def __init__(self, tool: str, name: str = "deny-tool", **deny: Any) -> None:
        super().__init__(name)
        self.tool = tool
        self.deny: dict[str, Any] = {"reason": "tool-not-allowed", "message": "not this one", **deny}

    def on_request(self, message: ToolCall, ctx: Context[Any]) -> Verdict:
        return Deny(**self.deny) if message.name == self.tool else None


class RenameTool(Base):
    """Rewrites the name of every called tool."""

    def on_request(self, message: ToolCall, ctx: Context[Any]) -> Verdict:
        return Mutation(message=message.with_params({**message.params, "name": message.name + "-v2"}))


class HideTool(Base):
    """Takes one tool out of lists."""

    def __init__(self, tool: str, name: str = "hide-tool") -> None:
        super().__init__(name)
        self.tool = tool

    def on_response(self, message: ToolList, ctx: Context[Any]) -> Verdict:
        return Mutation(message=message.keep(lambda tool: tool["name"] != self.tool))


class DenyResult(Base):
    """Denies tool results that hold a word."""

    def __init__(self, word: bytes, name: str = "deny-result") -> None:
        super().__init__(name)
        self.word = word

    def on_response(self, message: ToolResult, ctx: Context[Any]) -> Verdict:
        return Deny("result-not-allowed", "this result may not be seen") if self.word in message.raw else None


class Guard(Base):
    """Decides about every message of an answer; denies those that hold a word."""

    def __init__(self, word: bytes = b"no such word", name: str = "guard") -> None:
        super().__init__(name)
        self.word = word

    def on_response(self, message: Message, ctx: Context[Any]) -> Verdict:
        return Deny("guarded", "this may not be seen", status=451) if self.word in message.raw else None


class Watcher(Base):
    """Observes everything and keeps what it saw."""

    def __init__(self, name: str = "watcher") -> None:
        super().__init__(name)
        self.seen: list[str] = []

    def on_request(self, message: Message, ctx: Context[Any]) -> None:
        self.seen.append(f"request {message.kind} {message.method} {message.target}".rstrip())

    def on_response(self, message: Message, ctx: Context[Any]) -> None:
        self.seen.append(f"response {message.kind} {message.method} {message.target}".rstrip())

    def on_complete(self, ctx: Context[Any]) -> None:
        self.seen.append(f"complete {ctx.outcome}")
