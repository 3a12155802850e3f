"""agent-access: who may ask which agent for what, with its own tasks, and where an agent may send what it found.

Rules:
- Rules are tried in order; the first whose names fit decides: `allow` true lets the request through, false denies it. A
  rule whose condition cannot be evaluated denies. What no rule names falls to `default`.
- A method may be written as A2A 1.0 calls it (`SendMessage`) or as 0.3 does (`message/send`): both mean the same. One
  that neither knows is denied, unless a rule has its very name: no glob is meant for what nobody knew. Of such a method
  nothing but its name is looked at.
- A2A has no member for the skill that is wanted; `skill_at` says where clients put its id by convention. A rule with
  `skills` is about messages that name one of them, and about no message without one. Where the places hold different
  ones the message is refused. With such rules the skill becomes the fact `skill` (header `x-gatehouse-skill`). It is
  the client's word, and binds the agent to nothing: what an agent must not do for a caller, it must itself refuse.
- A task is used by the principals that an agent named it to, in an answer to what they asked: got, cancelled, followed,
  notified of, written into, referred to. A context is its first principal's: of whoever sends a message with an id of
  its own making, or of whom an agent names it to. For anybody else neither exists: -32001, before the agent hears of
  it. A list of tasks holds the principal's own, and makes none its own. That holds whatever a rule says.
- The principal is the subject with its issuer, whoever acts for it; all callers that nobody vouches for are one. The
  agent is the route's `server`, or else the route, and of it the request's `tenant`. Kept are digests; what one
  principal may have is bounded.
- Push notifications go to listed hosts only, over https, wherever their configuration stands: in a request of its own,
  or in a message's. No address is a host, in any notation, and what two readers could take for two hosts is refused:
  -32602. Where none is listed they are not supported: -32003. What a name resolves to is not looked at, for the agent
  looks it up itself, later: only a rule for what leaves its network holds that (DNS rebinding).
- A card goes through byte for byte, for a rewritten one would not hold. With `cards.verify` one that nobody vouches for
  is withheld: a public one with 502, an extended one with -32006. A signature is a JWS over the card's canonical JSON
  by one of `keys`; a `jku` is never fetched. `if-signed` lets cards without a signature through, so whoever can take
  one out gets past it: `required` does not. Public cards are asked for without a rule: so are agents found.
- In a stream each event is decided by itself, and the first that may not pass ends it.

Not here: what messages and artifacts hold, addresses in their parts. Each kind of rule has a file of its own:
agent_rules.py, agent_tasks.py, push_urls.py, agent_cards.py.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

from pydantic import BaseModel, Field, field_validator, model_validator

from ext_proc.credentials.keys import JwksError, read_jwks
from ext_proc.messages import (
    A2aRequest,
    A2aResult,
    AgentCard,
    ExtendedCard,
    MessageSend,
    PushConfig,
    PushConfigRequest,
    TaskPage,
)
from ext_proc.policy import BundleFile, Context, Deny, Mutation, Policy, Verdict
from ext_proc.units import Size
from gatehouse_policies.agent_cards import fault_of
from gatehouse_policies.agent_rules import AgentRule, AgentRules, SkillError, SkillPlaces
from gatehouse_policies.agent_tasks import INVALID_AGENT_RESPONSE, Seen, TaskOwnership, Tasks
from gatehouse_policies.push_urls import PushDestinations

_PUSH_NOT_SUPPORTED = -32003
_METHOD_NOT_FOUND = -32601
_INVALID_PARAMS = -32602

_UNKNOWN = Deny("method-unknown", "Method not found", code=_METHOD_NOT_FOUND)
_NO_PUSH = Deny("push-not-supported", "Push Notification is not supported", code=_PUSH_NOT_SUPPORTED)


class PushNotifications(BaseModel, extra="forbid"):
    """Where agents may be told to send notifications."""

    hosts: list[str] = Field(
        default=[],
        description="Hosts by name, such as `hooks.example.com`, or `*.example.com` for all below it; with a port "
        "where it is not 443, such as `hooks.example.com:8443`. Without any, push notifications are not supported.",
    )

    @field_validator("hosts")
    @classmethod
    def _destinations(cls, hosts: list[str]) -> list[str]:
        PushDestinations(hosts)
        return hosts


class Cards(BaseModel, extra="forbid"):
    """Which agents' cards go through."""

    verify: Literal["off", "if-signed", "required"] = Field(
        default="off",
        description="`off`: any. `if-signed`: any without a signature, and those that one of `keys` has signed. "
        "`required`: only the latter.",
    )
    keys: list[BundleFile] = Field(
        default=[],
        description="Files beside the bundle, each a JSON Web Key Set (RFC 7517) with public keys: RSA, P-256 to P-521 "
        "or Ed25519.",
    )
    max_bytes: Size = Field(default=256 * 1024, description="The largest card that is verified; past it none holds.")

    @field_validator("keys")
    @classmethod
    def _key_sets(cls, keys: list[BundleFile]) -> list[BundleFile]:
        for file in keys:
            try:
                read_jwks(file.data)
            except JwksError as error:
                raise ValueError(f"{file.name}: {error}") from None
        return keys

    @model_validator(mode="after")
    def _has_keys(self) -> Cards:
        if self.verify != "off" and not self.keys:
            raise ValueError("`verify` needs `keys`: without them no card could be verified")
        return self


class Parameters(BaseModel, extra="forbid"):
    """Who may ask which agent for what."""

    default: Literal["deny", "allow"] = Field(default="deny", description="What happens to what no rule names.")
    rules: list[AgentRule] = Field(default=[], description="Tried in order; the first that fits decides.")
    skill_at: list[str] = Field(
        default=["/message/metadata/skillId"],
        description="Where in a message's `params` clients put the id of the skill that they want: JSON Pointers. It "
        "is a convention, and clients differ: `/message/metadata/skill` and `/metadata/skillId` are others.",
    )
    tasks: Tasks = Field(default=Tasks(), description="Whose tasks and contexts are.")
    push_notifications: PushNotifications = Field(
        default=PushNotifications(), description="Where agents may be told to send notifications."
    )
    cards: Cards = Field(default=Cards(), description="Which agents' cards go through.")

    @field_validator("skill_at")
    @classmethod
    def _pointers(cls, pointers: list[str]) -> list[str]:
        SkillPlaces(pointers)
        return pointers


class AgentAccess(Policy[Parameters, Seen]):
    """Who may ask which agent for what, and with which tasks."""

    keeps_state = True

    def __init__(self, name: str, parameters: Parameters) -> None:
        super().__init__(name, parameters)
        self._rules = AgentRules(parameters.rules)
        self._places = SkillPlaces(parameters.skill_at if any(rule.skills for rule in parameters.rules) else [])
        self._tasks = TaskOwnership(parameters.tasks)
        hosts = parameters.push_notifications.hosts
        self._destinations = PushDestinations(hosts) if hosts else None
        self._keys = [key for file in parameters.cards.keys for key in read_jwks(file.data)]

    def new_state(self) -> Seen:
        return Seen()

    async def on_request(self, message: A2aRequest, ctx: Context[Seen]) -> Verdict:
        try:
            skill = self._places.skill_of(message.params) if isinstance(message, MessageSend) else ""
        except SkillError as error:
            return Deny(
                error.reason, "the skill that this message names is not a text, or not one", code=_INVALID_PARAMS
            )
        denial = self._denied(message, skill, ctx) or self._pushed(message) or await self._tasks.refuses(message, ctx)
        if denial is not None:
            return denial
        return Mutation(facts={"skill": skill}) if skill else None

    async def on_response(self, message: A2aResult | AgentCard, ctx: Context[Seen]) -> Verdict:
        if isinstance(message, AgentCard):
            return self._withheld(message.value, len(message.raw), status=502)
        if isinstance(message, ExtendedCard):
            return self._withheld(message.result, len(message.raw))
        if isinstance(message, TaskPage):
            return await self._tasks.own_page(message, ctx)
        return await self._tasks.keep(message, ctx)

    def _denied(self, message: A2aRequest, skill: str, ctx: Context[Seen]) -> Deny | None:
        """Why the rules do not let a request through, or None."""
        found = self._rules.first(message, skill, ctx.server)
        if not message.operation and (found is None or message.method not in found.rule.methods):
            return _UNKNOWN
        if found is None:
            if self.parameters.default == "deny":
                return Deny("method-not-allowed", "this method is not allowed here")
            ctx.because("default")
            return None
        if not found.allows(ctx.variables(message)):
            what = "skill" if found.rule.skills else "method"
            return Deny(f"{what}-not-allowed", found.rule.message or f"this {what} is not allowed here")
        ctx.because(found.label)
        return None

    def _pushed(self, message: A2aRequest) -> Deny | None:
        """Why an agent may not be told to notify somebody, or None."""
        config: PushConfig | None = None
        if isinstance(message, MessageSend | PushConfigRequest):
            config = message.push_config
        if config is None:
            return None
        if self._destinations is None:
            return _NO_PUSH
        fault = self._destinations.fault(config.url)
        return Deny(fault, "notifications cannot be sent to this URL", code=_INVALID_PARAMS) if fault else None

    def _withheld(self, card: Mapping[str, Any], size: int, status: int | None = None) -> Deny | None:
        """Why a card does not go through, or None."""
        cards = self.parameters.cards
        if cards.verify == "off" or (cards.verify == "if-signed" and not card.get("signatures")):
            return None
        fault = "card-too-large" if size > cards.max_bytes else fault_of(card, self._keys)
        if not fault:
            return None
        told = "the agent's card is not signed by anybody whom this gateway trusts"
        return Deny(fault, told, status=status, code=INVALID_AGENT_RESPONSE)
