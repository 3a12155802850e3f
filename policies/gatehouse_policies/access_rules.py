"""The rules of tool-access: how they are written, and which of them is the first that is about something.

Rules:
- A name is looked for among all rules at once, by one expression of all their globs: a list of thousands of names is
  read in one go.
- What was found for a name is remembered, within bounds.

Not here: what a rule decides (tool_access.py), what URIs and globs over them mean (resource_uris.py), how tools that
providers run are named (hosted_tools.py).
"""

from __future__ import annotations

import fnmatch
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal, NamedTuple

from pydantic import BaseModel, Field, field_validator, model_validator

from ext_proc.policy import Condition, Expression, ExpressionError
from ext_proc.schemas.uri import split_uri
from gatehouse_policies.hosted_tools import HostedToolGlob
from gatehouse_policies.name_globs import any_of
from gatehouse_policies.resource_uris import UriGlob, normal_form

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
_MOST_REMEMBERED = 16_384  # names for which the first rule is remembered
_LONGEST_REMEMBERED = 256  # characters of one

Annotation = Literal["destructive", "open_world", "writes"]
Kind = Literal["tool", "prompt", "resource", "hosted-tool", ""]


class Rule(BaseModel, extra="forbid"):
    """One rule. A name may be a glob: `*` is any text, `?` one character, `[ab]` one of them."""

    servers: list[str] = Field(
        default=[], description="Names of servers or globs that the rule is about; all if empty."
    )
    methods: list[str] = Field(default=[], description="JSON-RPC methods or globs that the rule is about.")
    tools: list[str] = Field(default=[], description="Tool names or globs; the rule is about calls of these tools.")
    prompts: list[str] = Field(default=[], description="Prompt names or globs; the rule is about these prompts.")
    resources: list[str] = Field(
        default=[],
        description="URIs or globs such as `file:///srv/*`, in normal form; the rule is about these resources.",
    )
    hosted: list[str] = Field(
        default=[],
        description="Tools that a model's provider runs itself, by kind or glob: `web_search*`, `plugin:web`, "
        "`mcp:https://docs.example.com/*`, `mcp:connector_gmail`, `mcp:*`; the rule is about requests with them.",
    )
    allow: Condition = Field(
        description="`true`, `false`, or a CEL expression over `identity`, `request`, `route`, `server`, `message` and "
        "`args` (for `hosted` what the caller wrote of the tool)."
    )
    unless_annotated: list[Annotation] = Field(
        default=[],
        description="Deny all the same where the tool says so of itself, or says nothing and MCP takes it for so: "
        "`destructive` (unless it is read-only or says that it is not), `open_world` (unless it says that it is not), "
        "`writes` (unless it says that it is read-only).",
    )
    message: str = Field(
        default="",
        max_length=300,
        description="What a caller that the rule denies may read; a general sentence if empty.",
    )

    @field_validator("resources")
    @classmethod
    def _globs(cls, resources: list[str]) -> list[str]:
        for text in resources:
            UriGlob(text)
        return resources

    @field_validator("hosted")
    @classmethod
    def _hosted_globs(cls, hosted: list[str]) -> list[str]:
        for text in hosted:
            HostedToolGlob(text)
        return hosted

    @model_validator(mode="after")
    def _names_something(self) -> Rule:
        if not (self.methods or self.tools or self.prompts or self.resources or self.hosted):
            raise ValueError("a rule needs `methods`, `tools`, `prompts`, `resources` or `hosted`")
        if self.hosted and (self.methods or self.unless_annotated):
            raise ValueError("`methods` and `unless_annotated` are about MCP: a rule with `hosted` has neither")
        if self.unless_annotated and not self.tools:
            raise ValueError("`unless_annotated` is about `tools`: the rule needs them")
        return self


class Subject(NamedTuple):
    """What a request is about.

    Attributes:
        kind: "" where it is about its method alone.
        name: for a resource its URI, as it was written, and for a template one that it makes; for a hosted tool one of
            its names (hosted_tools.py).
    """

    kind: Kind = ""
    name: str = ""


class CompiledRule:
    """A rule with its condition looked through.

    Attributes:
        label: its place, for the trail.
        about_args, about_message: whether its condition asks for them.
    """

    __slots__ = ("_methods", "_servers", "about_args", "about_message", "label", "rule")

    def __init__(self, index: int, rule: Rule) -> None:
        self.label = f"rules[{index}]"
        self.rule = rule
        self._servers = any_of(rule.servers)
        self._methods = any_of(rule.methods)
        names = rule.allow.variables if isinstance(rule.allow, Expression) else frozenset()
        self.about_args = "args" in names
        self.about_message = "message" in names

    def is_about(self, method: str, kind: Kind, server: str) -> bool:
        """Whether it may be about something of this kind, whatever its name."""
        rule = self.rule
        # A rule about methods alone is about MCP's: of what a provider runs it says nothing.
        names_things = rule.tools or rule.prompts or rule.resources or rule.hosted
        if (names_things or kind == "hosted-tool") and not self.names(kind):
            return False
        return self._methods(method) and self._servers(server)

    def names(self, kind: Kind) -> Sequence[str]:
        """Its names and globs of one kind."""
        rule = self.rule
        named: Mapping[Kind, Sequence[str]] = {
            "tool": rule.tools,
            "prompt": rule.prompts,
            "resource": rule.resources,
            "hosted-tool": rule.hosted,
        }
        return named.get(kind, ())

    def allows(self, variables: Mapping[str, Any]) -> bool:
        """What its condition says; no where it cannot be evaluated."""
        return holds(self.rule.allow, variables)


def holds(condition: Condition, variables: Mapping[str, Any]) -> bool:
    """What a condition says; no where it cannot be evaluated."""
    if not isinstance(condition, Expression):
        return condition
    try:
        return condition.holds(variables)
    except ExpressionError:
        return False


class AmbiguousUri(Exception):
    """A URI that servers could read in more than one way, where a rule names resources."""


class Rules:
    """All rules of a policy, in their order.

    Attributes:
        name_hosted: whether any of them is about tools that a provider runs.
        ask_for_args: whether any of them has a condition over arguments.
    """

    def __init__(self, rules: Sequence[Rule]) -> None:
        self._rules = [CompiledRule(index, rule) for index, rule in enumerate(rules)]
        self.name_hosted = any(rule.hosted for rule in rules)
        self.ask_for_args = any(rule.about_args for rule in self._rules)
        self._name_resources = any(rule.resources for rule in rules)
        self._finders: dict[tuple[str, Kind, str], _Finder] = {}
        self._remembered: dict[tuple[str, Subject, str], CompiledRule | None] = {}

    def first(self, method: str, subject: Subject, server: str) -> CompiledRule | None:
        """The first rule that is about this; None for none. A hosted tool's method is "".

        Raises:
            AmbiguousUri: see there.
        """
        place = (method, subject, server)
        if place in self._remembered:
            return self._remembered[place]
        name = subject.name
        if subject.kind == "resource" and self._name_resources:
            form = normal_form(name)
            if form is None:
                raise AmbiguousUri
            name = form
        found = self._finder(method, subject.kind, server)(name)
        if len(subject.name) <= _LONGEST_REMEMBERED and (method in KNOWN_METHODS or subject.kind == "hosted-tool"):
            if len(self._remembered) >= _MOST_REMEMBERED:
                self._remembered.clear()
            self._remembered[place] = found
        return found

    def _finder(self, method: str, kind: Kind, server: str) -> _Finder:
        place = (method, kind, server)
        if place in self._finders:
            return self._finders[place]
        finder = _finder([rule for rule in self._rules if rule.is_about(method, kind, server)], kind)
        # Servers are the bundle's; methods that MCP does not know are the client's, and without number.
        if method in KNOWN_METHODS or kind == "hosted-tool":
            self._finders[place] = finder
        return finder


_Finder = Callable[[str], CompiledRule | None]


def _finder(rules: Sequence[CompiledRule], kind: Kind) -> _Finder:
    """Finds the first of these rules by a name."""
    if kind == "":
        first = next(iter(rules), None)
        return lambda name: first
    if kind == "resource":
        globs = [(rule, [UriGlob(text) for text in rule.names(kind)]) for rule in rules]

        def by_uri(uri: str) -> CompiledRule | None:
            parts = split_uri(uri)
            return next((rule for rule, wanted in globs if not wanted or any(g.fits(parts) for g in wanted)), None)

        return by_uri
    if kind == "hosted-tool":
        hosted = [(rule, [HostedToolGlob(text) for text in rule.names(kind)]) for rule in rules]
        return lambda name: next((rule for rule, wanted in hosted if any(glob.fits(name) for glob in wanted)), None)
    # Of alternatives the first that matches is taken; a rule that names nothing of this kind is about all of it.
    alternatives = ["|".join(map(fnmatch.translate, rule.names(kind) or ["*"])) for rule in rules]
    pattern = re.compile("|".join(f"(?P<rule{at}>{glob})" for at, glob in enumerate(alternatives)))
    by_group = {f"rule{at}": rule for at, rule in enumerate(rules)}

    def by_name(name: str) -> CompiledRule | None:
        found = pattern.match(name) if by_group else None
        return None if found is None else by_group[found.lastgroup or ""]

    return by_name
