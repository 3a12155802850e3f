"""tool-access: who may call which tool, by rules over methods, tools, identity and message.

Rules:
- Rules are tried in order; the first whose names fit decides: `allow` true lets the call through, false denies it. A
  rule whose condition cannot be evaluated denies: a missing claim or argument is no permission.
- A rule without `tools` is about methods; a rule with `tools` is about `tools/call` of those tools.
- What no rule names falls to `default`. Methods that MCP does not know are denied whatever `default` says, unless a
  rule names them.
- A tool that its caller could not call is hidden from `tools/list`, which becomes private to the caller. A condition
  over `args` cannot be answered without arguments: such a tool is shown.
- Answers of the client to the server's own requests, and MCP's GET and DELETE, carry no method: they pass.

Not here: what the arguments may be (their schema), what a tool returns.
"""

from __future__ import annotations

import fnmatch
import re
from collections.abc import Mapping
from typing import Any, Literal

from pydantic import BaseModel, Field, model_validator

from ext_proc.messages import McpCall, ToolCall, ToolList
from ext_proc.policy import Condition, Context, Deny, Expression, ExpressionError, Mutation, Policy, Verdict

# Every method a client may send, over all revisions from 2024-11-05 to 2026-07-28 (MCP schema, ClientRequest and
# ClientNotification; tasks of 2025-11-25 and of the 2026 extension).
KNOWN_METHODS = frozenset(
    {
        "initialize",
        "ping",
        "server/discover",
        "tools/list",
        "tools/call",
        "resources/list",
        "resources/templates/list",
        "resources/read",
        "resources/subscribe",
        "resources/unsubscribe",
        "prompts/list",
        "prompts/get",
        "completion/complete",
        "logging/setLevel",
        "subscriptions/listen",
        "tasks/get",
        "tasks/result",
        "tasks/list",
        "tasks/cancel",
        "tasks/update",
        "notifications/initialized",
        "notifications/cancelled",
        "notifications/progress",
        "notifications/roots/list_changed",
        "notifications/tasks/status",
    }
)
CALL = "tools/call"


class Rule(BaseModel, extra="forbid"):
    """One rule. A name may be a glob: `*` is any text, `?` one character, `[ab]` one of them."""

    methods: list[str] = Field(default=[], description="JSON-RPC methods or globs that the rule is about.")
    tools: list[str] = Field(default=[], description="Tool names or globs; the rule is about calls of these tools.")
    allow: Condition = Field(
        description="`true`, `false`, or a CEL expression over `identity`, `request`, `route`, `message` and `args`."
    )
    message: str = Field(
        default="",
        max_length=300,
        description="What a caller that the rule denies may read; a general sentence if empty.",
    )

    @model_validator(mode="after")
    def _names_something(self) -> Rule:
        if not self.methods and not self.tools:
            raise ValueError("a rule needs `methods` or `tools`")
        return self


class Parameters(BaseModel, extra="forbid"):
    """Who may call what."""

    default: Literal["deny", "allow"] = Field(default="deny", description="What happens to a call that no rule names.")
    rules: list[Rule] = Field(default=[], description="Tried in order; the first that fits decides.")


class _Compiled:
    """A rule with its globs as one expression each."""

    __slots__ = ("about_args", "about_message", "label", "methods", "rule", "tools")

    def __init__(self, index: int, rule: Rule) -> None:
        self.label = f"rules[{index}]"
        self.rule = rule
        self.methods = _pattern(rule.methods)
        self.tools = _pattern(rule.tools)
        names = rule.allow.variables if isinstance(rule.allow, Expression) else frozenset()
        self.about_args = "args" in names
        self.about_message = "message" in names


class ToolAccess(Policy[Parameters, None]):
    """Who may call which tool."""

    def __init__(self, name: str, parameters: Parameters) -> None:
        super().__init__(name, parameters)
        self._rules = [_Compiled(index, rule) for index, rule in enumerate(parameters.rules)]

    def on_request(self, message: McpCall, ctx: Context[None]) -> Verdict:
        tool = message.name if isinstance(message, ToolCall) else None
        for compiled in self._rules:
            if not _fits(compiled, message.method, tool):
                continue
            if self._allows(compiled, ctx.variables(message)):
                ctx.because(compiled.label)
                return None
            return self._deny(tool, compiled.rule.message)
        if message.method not in KNOWN_METHODS:
            return Deny("method-unknown", "this method is not known here")
        if self.parameters.default == "allow":
            ctx.because("default")
            return None
        return self._deny(tool, "")

    def on_response(self, message: ToolList, ctx: Context[None]) -> Verdict:
        answers: dict[str, bool] = {}
        kept = message.keep(lambda tool: self._shows(str(tool["name"]), ctx, answers))
        hidden = len(message.tools) - len(kept.tools)
        if hidden:
            ctx.because(f"hid {hidden} of {len(message.tools)} tools")
        return None if kept is message else Mutation(message=kept)

    def _shows(self, name: str, ctx: Context[None], answers: dict[str, bool]) -> bool:
        """Whether a tool is shown; `answers` keeps what a rule says of all tools alike while one list is read."""
        for compiled in self._rules:
            if not _fits(compiled, CALL, name):
                continue
            if compiled.about_args:
                return True
            if not compiled.about_message and compiled.label in answers:
                return answers[compiled.label]
            would_call = ToolCall({"jsonrpc": "2.0", "id": 0, "method": CALL, "params": {"name": name}}, b"")
            answers[compiled.label] = self._allows(compiled, ctx.variables(would_call))
            return answers[compiled.label]
        return self.parameters.default == "allow"

    def _allows(self, compiled: _Compiled, variables: Mapping[str, Any]) -> bool:
        allow = compiled.rule.allow
        if not isinstance(allow, Expression):
            return allow
        try:
            return allow.holds(variables)
        except ExpressionError:
            return False

    def _deny(self, tool: str | None, message: str) -> Deny:
        if tool is None:
            return Deny("method-not-allowed", message or "this method is not allowed here")
        return Deny("tool-not-allowed", message or "this tool is not allowed here")


def _pattern(globs: list[str]) -> re.Pattern[str] | None:
    """One expression for all globs; None for none."""
    if not globs:
        return None
    return re.compile("|".join(fnmatch.translate(glob) for glob in globs))


def _fits(compiled: _Compiled, method: str, tool: str | None) -> bool:
    """Whether a rule is about this call; one with both lists wants both to fit."""
    if compiled.tools is not None and (tool is None or not compiled.tools.match(tool)):
        return False
    return compiled.methods is None or compiled.methods.match(method) is not None
