"""Who is calling, as far as it was verified.

Rules:
- Here it is what Envoy verified and forwarded as dynamic metadata (jwt_authn's payload); otherwise UNKNOWN.
- Never decided on: clientInfo, User-Agent, arguments, or any header a client can write.
- The absence of an `act` claim proves no human.

Not here: verifying anything.
"""

from __future__ import annotations

import enum
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

JWT_NAMESPACE = "envoy.filters.http.jwt_authn"


class Kind(enum.StrEnum):
    """What kind of caller this is; the ladder that tells them apart grows with the sources of identity."""

    UNKNOWN = "unknown"
    VERIFIED = "verified"


@dataclass(frozen=True, slots=True)
class Identity:
    """A caller. Every field but `kind` is empty for an unknown one.

    Attributes:
        subject: the principal (`sub`).
        issuer: who vouches for it (`iss`).
        groups, roles, scopes: from the claims of these names (`scope` is split at blanks, RFC 8693 section 4.2).
        tenant: the `tenant` claim.
    """

    kind: Kind = Kind.UNKNOWN
    subject: str = ""
    issuer: str = ""
    groups: tuple[str, ...] = ()
    roles: tuple[str, ...] = ()
    scopes: tuple[str, ...] = ()
    tenant: str = ""

    def as_variables(self) -> dict[str, Any]:
        """The fields as CEL sees them under `identity`."""
        return {
            "kind": str(self.kind),
            "subject": self.subject,
            "issuer": self.issuer,
            "groups": list(self.groups),
            "roles": list(self.roles),
            "scopes": list(self.scopes),
            "tenant": self.tenant,
        }


UNKNOWN = Identity()


def from_metadata(
    metadata: Mapping[str, Mapping[str, Any]], namespace: str = JWT_NAMESPACE, payload_key: str | None = None
) -> Identity:
    """The identity in Envoy's forwarded metadata.

    Args:
        metadata: dynamic metadata by namespace.
        namespace: where the verified payload is; jwt_authn writes it under its filter name.
        payload_key: the key inside the namespace (`payload_in_metadata`); None takes the only entry, if it is the
            only one.

    Returns:
        UNKNOWN unless exactly one payload with a textual, non-empty `sub` is found: two payloads would leave it to
        chance whose name counts.
    """
    entries = metadata.get(namespace)
    if not entries:
        return UNKNOWN
    if payload_key is not None:
        claims = entries.get(payload_key)
    else:
        claims = next(iter(entries.values())) if len(entries) == 1 else None
    if not isinstance(claims, Mapping):
        return UNKNOWN
    subject = claims.get("sub")
    if not isinstance(subject, str) or not subject:
        return UNKNOWN
    return Identity(
        kind=Kind.VERIFIED,
        subject=subject,
        issuer=_text(claims.get("iss")),
        groups=_texts(claims.get("groups")),
        roles=_texts(claims.get("roles")),
        scopes=_texts(claims.get("scope", claims.get("scp"))),
        tenant=_text(claims.get("tenant")),
    )


def _text(value: object) -> str:
    return value if isinstance(value, str) else ""


def _texts(value: object) -> tuple[str, ...]:
    if isinstance(value, str):
        return tuple(value.split())
    if isinstance(value, list | tuple):
        return tuple(item for item in value if isinstance(item, str))
    return ()
