"""What a source of identity is shown, and what it may say.

Rules:
- A source that finds nothing of its own says so; one that finds a credential of its own accepts it or refuses it. There
  is no third way: a credential that does not hold is never "no credential".
- A refusal's reason is for the trail and the operator. The caller is told that its credential is not valid: no more.
- Nothing of a credential is in a reason, a repr or an error.

Not here: any source (one file each beside this one), which counts (chain.py).
"""

from __future__ import annotations

import enum
import hashlib
import re
from collections.abc import Awaitable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from ext_proc.errors import GatehouseError
from ext_proc.events import EnvoyFacts
from ext_proc.headers import Headers
from ext_proc.identity import Identity

_TOKEN68 = re.compile(rb"[A-Za-z0-9._~+/-]+=*")


@dataclass(frozen=True, slots=True)
class Presented:
    """What a request brings.

    Attributes:
        facts: what Envoy verified and forwarded.
        time: seconds since the Unix epoch.
    """

    headers: Headers
    facts: EnvoyFacts
    time: float


class Nothing(enum.Enum):
    """A source has nothing to say."""

    ABSENT = "absent"  # nothing stands where its credentials stand
    FOREIGN = "foreign"  # something does, and it is of another kind: another source may know it


@dataclass(frozen=True, slots=True)
class Rejected:
    """A credential that does not hold.

    Attributes:
        reason: a slug for the trail.
        unavailable: it may hold; what would tell cannot be had now.
    """

    reason: str
    unavailable: bool = False


class Refreshing(Protocol):
    """Keys that somebody can fetch anew."""

    def refresh(self) -> Awaitable[None] | None:
        """Waits for keys that are fetched now; None where nobody fetches, or it was done a moment ago."""
        ...


@dataclass(frozen=True, slots=True)
class KeyMissing:
    """A credential that newer keys may verify: ask again after `keys.refresh()`; if it yields nothing, `rejected`."""

    keys: Refreshing
    rejected: Rejected


Found = Identity | Nothing | Rejected | KeyMissing


class Source(Protocol):
    """One way to know callers."""

    def identify(self, presented: Presented) -> Found: ...


class CredentialError(GatehouseError):
    """A credential that cannot be read.

    Attributes:
        reason: a slug for the trail.
    """

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


def only_line(headers: Headers, name: str) -> bytes | None:
    """The value of a header that may stand once; None where it does not stand.

    Raises:
        CredentialError: it stands twice: the next reader may take the other one.
    """
    if name not in headers:
        return None
    lines = headers.get_all(name)
    if len(lines) > 1:
        raise CredentialError("credential-repeated")
    return lines[0]


def bearer(value: bytes) -> bytes | None:
    """The credential in an `authorization` value of the scheme Bearer (RFC 6750 section 2.1); None for another scheme.

    Raises:
        CredentialError: Bearer, and then no token68 (RFC 9110 section 11.2): two values that were folded into one too.
    """
    scheme, blank, rest = value.partition(b" ")
    if scheme.lower() != b"bearer":
        return None
    credential = rest.lstrip(b" ")
    if not blank or not _TOKEN68.fullmatch(credential):
        raise CredentialError("credential-malformed")
    return credential


def token_fingerprint(claims: Mapping[str, Any]) -> str:
    """The same 32 hex digits for one token, whoever verified it and whatever number type its times came in: by its own
    id, or by when it was issued to whom; "" where its claims tell neither."""
    issuer, jti = claims.get("iss"), claims.get("jti")
    if isinstance(jti, str) and jti:
        return fingerprint(str(issuer), jti)
    if "iat" not in claims:
        return ""
    return fingerprint(*(_plain(claims.get(name)) for name in ("iss", "sub", "client_id", "azp", "iat", "exp")))


def _plain(value: object) -> str:
    """A number without a fraction is one text: what a token wrote as 1.0 may come from Envoy as 1."""
    return str(int(value)) if isinstance(value, float) and value.is_integer() else str(value)


def fingerprint(*parts: str | bytes) -> str:
    """32 hex digits that tell one credential from another and lead back to neither."""
    digest = hashlib.sha256()
    for part in parts:
        data = part.encode("utf-8", "surrogatepass") if isinstance(part, str) else part
        digest.update(b"%d:%b" % (len(data), data))
    return digest.hexdigest()[:32]
