"""The rules of agent-access: how they are written, which is the first about a request, and which skill that names.

Rules:
- A method may be written as 1.0 calls it (`SendMessage`) or as 0.3 does (`message/send`): both mean the same, in
  whichever version a client asks. A glob fits if it fits either name.
- A rule with `skills` is about sending messages that name one of them. One without a skill fits no such rule.
- A2A has no member for the skill that is wanted: clients that want one put its id into metadata, by convention. Where
  the places that are looked at hold different ones, the message is refused, for nobody knows which one the agent reads.

Not here: what a rule decides (agent_access.py). What the agent then does: a skill's id is the client's word, and an
agent may do anything for any message.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from pydantic import BaseModel, Field, model_validator

from ext_proc.messages import A2aRequest
from ext_proc.messages.a2a import OPERATIONS_03
from ext_proc.policy import Condition
from gatehouse_policies.access_rules import holds
from gatehouse_policies.name_globs import any_of

MAX_SKILL = 256  # characters of a skill's id

_POINTER = re.compile(r"(?:/(?:[^~/]|~[01])*)+")
_NAMES_03: Mapping[str, Sequence[str]] = {
    operation: tuple(name for name, of in OPERATIONS_03.items() if of == operation)
    for operation in OPERATIONS_03.values()
}


class AgentRule(BaseModel, extra="forbid"):
    """One rule. A name may be a glob: `*` is any text, `?` one character, `[ab]` one of them."""

    servers: list[str] = Field(
        default=[], description="Names of agents' servers or globs that the rule is about; all if empty."
    )
    methods: list[str] = Field(
        default=[],
        description="Operations of A2A 1.0 (`SendMessage`) or methods of 0.3 (`message/send`), or globs, that the rule "
        "is about; each stands for both.",
    )
    skills: list[str] = Field(
        default=[], description="Skills' ids or globs; the rule is about messages that name one of these skills."
    )
    allow: Condition = Field(
        description="`true`, `false`, or a CEL expression over `identity`, `request`, `route`, `server` and `message`."
    )
    message: str = Field(
        default="",
        max_length=300,
        description="What a caller that the rule denies may read; a general sentence if empty.",
    )

    @model_validator(mode="after")
    def _names_something(self) -> AgentRule:
        if not (self.methods or self.skills):
            raise ValueError("a rule needs `methods` or `skills`")
        return self


class CompiledAgentRule:
    """A rule that is ready to be asked.

    Attributes:
        label: its place, for the trail.
    """

    __slots__ = ("_methods", "_servers", "_skills", "label", "rule")

    def __init__(self, index: int, rule: AgentRule) -> None:
        self.label = f"rules[{index}]"
        self.rule = rule
        self._servers = any_of(rule.servers)
        self._methods = any_of(rule.methods)
        self._skills = any_of(rule.skills) if rule.skills else None

    def is_about(self, message: A2aRequest, skill: str, server: str) -> bool:
        """Whether it is about a request to a server; `skill` is "" for one that names none."""
        if self._skills is not None and not (skill and self._skills(skill)):
            return False
        names = (message.method, message.operation, *_NAMES_03.get(message.operation, ()))
        return self._servers(server) and any(self._methods(name) for name in names if name)

    def allows(self, variables: Mapping[str, Any]) -> bool:
        """What its condition says; no where it cannot be evaluated."""
        return holds(self.rule.allow, variables)


class AgentRules:
    """All rules of a policy, in their order."""

    def __init__(self, rules: Sequence[AgentRule]) -> None:
        self._rules = [CompiledAgentRule(index, rule) for index, rule in enumerate(rules)]

    def first(self, message: A2aRequest, skill: str, server: str) -> CompiledAgentRule | None:
        """The first rule that is about a request; None for none."""
        return next((rule for rule in self._rules if rule.is_about(message, skill, server)), None)


class SkillError(Exception):
    """A message whose skill is no text, or not the same everywhere.

    Attributes:
        reason: a slug for the trail.
    """

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


class SkillPlaces:
    """Where in a message's params its skill may be named: JSON Pointers (RFC 6901).

    Raises:
        ValueError: one is no pointer.
    """

    def __init__(self, pointers: Sequence[str]) -> None:
        if not all(map(_POINTER.fullmatch, pointers)):
            raise ValueError("expected JSON Pointers such as /message/metadata/skillId")
        self._places = [
            [part.replace("~1", "/").replace("~0", "~") for part in text.split("/")[1:]] for text in pointers
        ]

    def skill_of(self, params: Mapping[str, Any]) -> str:
        """The skill that a message names; "" for none.

        Raises:
            SkillError: see there.
        """
        found = [value for place in self._places if (value := _at(params, place)) not in (None, "")]
        if not all(isinstance(value, str) and len(value) <= MAX_SKILL for value in found):
            raise SkillError("skill-invalid")
        if len(set(found)) > 1:
            raise SkillError("skill-ambiguous")
        return found[0] if found else ""


def _at(value: Any, place: Sequence[str]) -> Any:
    """What is at a place; None where there is none. Metadata are objects: nothing is looked for in lists."""
    for name in place:
        if not isinstance(value, Mapping):
            return None
        value = value.get(name)
    return value
