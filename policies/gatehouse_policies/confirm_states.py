"""The request states of confirm (MCP 2026-07-28): what a client brings back unread, and only this gate can write.

Rules:
- A state is signed, and bound to the principal, the actor, the server, the tool, a digest of the arguments, and to who
  has to say yes; it has an id of its own and a time from which and until which it holds.
- It says how often and how long what is answered to it counts: what a person read stands, whatever a bundle that is
  loaded meanwhile says.
- It holds digests, no text of the call.
- There is one way to write a state: what reads alike and is written otherwise is forged.
- Clocks of hosts may differ by LEEWAY: a state holds as much longer, and one from further ahead is refused.

Not here: what follows from a state (confirm.py), keys (confirm_keys.py).
"""

from __future__ import annotations

import base64
import json
import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import msgspec
import rfc8785

from ext_proc.identity import Identity
from ext_proc.policy import Context, Keyspace
from gatehouse_policies.caller_quota import digest
from gatehouse_policies.confirm_keys import Keys, Signature

LEEWAY = 30.0  # seconds that the clocks of two hosts may differ by
_PURPOSE = "state"
_LONGEST = 2048  # characters of one of ours; a longer one is not looked at

Mode = Literal["form", "url"]


class NotCanonical(ValueError):
    """Arguments that have no canonical form (RFC 8785, section 3.1): a number or a text that readers may take apart."""


@dataclass(frozen=True, slots=True)
class Asked:
    """A call as somebody is asked about it.

    Attributes:
        identity: who calls.
        arguments: their canonical form (RFC 8785).
        by: a text for who has to say yes: another one asks anew.
    """

    identity: Identity
    server: str
    tool: str
    arguments: str
    by: str

    @property
    def principal(self) -> str:
        """As `caller_quota.principal`."""
        return digest("principal", self.identity.key)

    @property
    def digest(self) -> str:
        """Of the arguments."""
        return digest("arguments", self.arguments)

    @property
    def key(self) -> str:
        """The same for the same call by the same caller, whoever has to say yes."""
        return digest("asked", self.identity.actor, self.server, self.tool, self.digest)


def asked(tool: str, arguments: Any, by: str, ctx: Context[Any]) -> Asked:
    """A call as somebody is asked about it.

    Raises:
        NotCanonical: see there.
    """
    try:
        text = rfc8785.dumps(arguments).decode()
    except (rfc8785.CanonicalizationError, UnicodeError, RecursionError):
        raise NotCanonical from None
    return Asked(ctx.identity, ctx.server, tool, text, by)


class RequestState(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What a state says; times in seconds since the Unix epoch.

    Attributes:
        id: in a state of mode url, of the request that has a page.
        uses: that a yes in a form is good for.
        bound: digests of what it is bound to, in the order of FAULTS.
    """

    id: str
    mode: Mode
    uses: int
    issued: float
    expires: float
    bound: tuple[str, ...]

    @property
    def holds(self) -> float:
        """How long it holds, and then a yes to it, in seconds."""
        return self.expires - self.issued

    @property
    def ends(self) -> float:
        """When the last of what is answered to it is over."""
        return self.expires + self.holds


# Why a state is not for a call, in the order of what it is bound to.
FAULTS = (
    "confirmation-not-yours",
    "confirmation-not-yours",
    "confirmation-other-server",
    "confirmation-other-tool",
    "confirmation-changed",
    "confirmation-changed",
)
_STATES = msgspec.json.Decoder(RequestState)


def new_id() -> str:
    """128 random bits, in 22 characters of a URL."""
    return secrets.token_urlsafe(16)


class States:
    """The states of one policy.

    Args:
        name: the policy's; another policy's states are not this one's.
        holds: for how many seconds a state holds.
        uses: that a yes in a form is good for.
    """

    def __init__(self, name: str, keys: Keys, holds: float, uses: int) -> None:
        self._prefix = f"gatehouse.{name}.1."
        self._keys = keys
        self._holds = holds
        self._uses = uses

    def is_own(self, text: object) -> bool:
        """Whether a state says that it is this policy's."""
        return isinstance(text, str) and text.startswith(self._prefix)

    async def write(self, id: str, mode: Mode, call: Asked, store: Keyspace, time: float) -> str:
        """A state.

        Raises:
            StoreError: the store failed.
        """
        state = RequestState(id, mode, self._uses, time, time + self._holds, tuple(_bound(call)))
        body = base64.urlsafe_b64encode(msgspec.json.encode(state)).rstrip(b"=").decode()
        signature = await self._keys.sign(_PURPOSE, body, store, time)
        return f"{self._prefix}{body}.{signature.key}.{signature.mac}"

    async def read(self, text: str, call: Asked, store: Keyspace, time: float) -> tuple[RequestState | None, str]:
        """The state that was written here for this call; and why it is none, or does not hold: one of FAULTS,
        confirmation-forged or confirmation-expired; "" where it holds.

        Raises:
            StoreError: the store failed.
        """
        body, _, signed = text.removeprefix(self._prefix).partition(".")
        key, _, mac = signed.rpartition(".")
        if len(text) > _LONGEST or not text.isascii():
            return None, "confirmation-forged"
        if not await self._keys.verifies(Signature(key, mac), _PURPOSE, body, store, time):
            return None, "confirmation-forged"
        state = _STATES.decode(base64.urlsafe_b64decode(body + "=" * (-len(body) % 4)))
        if not state.issued - LEEWAY <= time < state.expires + LEEWAY:
            return state, "confirmation-expired"
        pairs = zip(FAULTS, state.bound, _bound(call), strict=True)
        return state, next((fault for fault, was, now in pairs if was != now), "")


def _bound(call: Asked) -> Sequence[str]:
    parts = (call.principal, call.identity.actor, call.server, call.tool, call.digest, call.by)
    return [digest("bound", part)[:32] for part in parts]


def continued(call: Asked, state: object) -> str:
    """A name for a call that goes on with a state of its server's, or with none."""
    return digest("continued", call.key, json.dumps(state))
