"""Signed tokens that Gatehouse verifies itself: JSON Web Tokens of known issuers (RFC 7519, RFC 8725, RFC 9068).

Rules:
- Everything is pinned by the bundle: issuer, audiences, algorithms, keys. A token chooses only among these.
- `iss`, `sub`, `aud` and `exp` are required. Time is the exchange's own, so that a recorded exchange decides alike.
- An untyped token or one of type JWT or at+jwt is taken, unless one type is asked for; no other, for it was made for
  another purpose (RFC 8725 section 3.11).
- A token of no known issuer is refused; a bearer credential that is no token may be another source's.

Not here: the form of a token (token.py), keys (keys.py), what the claims mean (identity.py).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TypeGuard

from ext_proc.credentials.cache import Verified, VerifiedTokens
from ext_proc.credentials.keys import KeySet
from ext_proc.credentials.source import (
    CredentialError,
    Found,
    KeyMissing,
    Nothing,
    Presented,
    Rejected,
    bearer,
    fingerprint,
    only_line,
    token_fingerprint,
)
from ext_proc.credentials.token import Token, read_token
from ext_proc.identity import ACT_DEPTH, NO_REGISTRY, USUAL_CLAIMS, ClaimNames, ClaimsError, Registry, from_claims
from ext_proc.limits import DEFAULTS, KIB

AUTHORIZATION = "authorization"
MAX_LENGTH = 16 * KIB
CACHED = 10_000
LEEWAY = 30.0
# What a public key may sign with unless the bundle says otherwise: no algorithm that needs a second thought.
USUAL_ALGORITHMS = frozenset({"RS256", "PS256", "ES256", "EdDSA"})
_FAR = 1e12  # seconds: some 30,000 years
_USUAL_TYPES = frozenset({"", "jwt", "at+jwt"})


@dataclass(frozen=True, slots=True)
class Issuer:
    """One issuer, as the bundle pins it.

    Attributes:
        audiences: a token must be for one of these.
        type: the `typ` that a token must have; "" for the usual ones.
        leeway: seconds by which clocks may differ.
        max_length: of a token, in bytes.
        act_depth: the most actors in a chain of delegation.
    """

    name: str
    audiences: frozenset[str]
    keys: KeySet
    algorithms: frozenset[str] = USUAL_ALGORITHMS
    type: str = ""
    leeway: float = LEEWAY
    max_length: int = MAX_LENGTH
    act_depth: int = ACT_DEPTH
    names: ClaimNames = field(default=USUAL_CLAIMS)


class BearerTokens:
    """The tokens in one header.

    Args:
        issuers: each name once.
        header: `authorization`, with the scheme Bearer; any other holds a bare token.
        cached: the most verified tokens that are remembered.
        max_depth: the deepest nesting of a token's JSON.
    """

    def __init__(
        self,
        issuers: Sequence[Issuer],
        registry: Registry = NO_REGISTRY,
        *,
        header: str = AUTHORIZATION,
        cached: int = CACHED,
        max_depth: int = DEFAULTS.json_depth,
    ) -> None:
        self.header = header
        self.key_sets = tuple(issuer.keys for issuer in issuers)
        self._issuers = {issuer.name: issuer for issuer in issuers}
        self._registry = registry
        self._max_length = max(issuer.max_length for issuer in issuers)
        self._max_depth = max_depth
        self._verified = VerifiedTokens(cached)

    def identify(self, presented: Presented) -> Found:
        """The caller, by the token that was presented."""
        try:
            value = only_line(presented.headers, self.header)
            if value is None:
                return Nothing.ABSENT
            raw = bearer(value) if self.header == AUTHORIZATION else value
            if raw is None:
                return Nothing.ABSENT
            # By the token alone: blanks and the scheme's case would make many entries of one.
            known = self._verified.find(raw, presented.time)
            if known is not None:
                return known
            token = read_token(raw, self._max_length, self._max_depth)
            if token is None:
                return Nothing.FOREIGN
            verified = self._verify(token, raw, presented.time)
        except (CredentialError, ClaimsError) as error:
            return Rejected(error.reason)
        if isinstance(verified, KeyMissing):
            return verified
        self._verified.keep(raw, verified)
        return verified.identity

    def _verify(self, token: Token, raw: bytes, time: float) -> Verified | KeyMissing:
        """Holds a token to all that its issuer's entry asks.

        Raises:
            CredentialError, ClaimsError: the first thing that does not hold.
        """
        name = token.claims.get("iss")
        issuer = self._issuers.get(name) if isinstance(name, str) else None
        if issuer is None:
            raise CredentialError("token-issuer")
        if len(raw) > issuer.max_length:
            raise CredentialError("token-too-long")
        if token.algorithm not in issuer.algorithms:
            raise CredentialError("token-algorithm")
        if token.type != issuer.type if issuer.type else token.type not in _USUAL_TYPES:
            raise CredentialError("token-type")
        if not issuer.keys.usable(time):
            return KeyMissing(issuer.keys, Rejected("keys-unavailable", unavailable=True))
        candidates = issuer.keys.candidates(token.key_id, token.algorithm)
        if not candidates:
            return KeyMissing(issuer.keys, Rejected("token-key-unknown"))
        for key in candidates:
            if key.verifies(token.algorithm, token.signing_input, token.signature):
                break
        else:
            raise CredentialError("token-signature")
        until = _times(token, issuer.leeway, time)
        _audience(token, issuer)
        if not token.claims.get("sub") or not isinstance(token.claims["sub"], str):
            raise CredentialError("token-subject")
        credential = token_fingerprint(token.claims) or fingerprint(raw)
        identity = from_claims(
            token.claims, self._registry, issuer.names, act_depth=issuer.act_depth, credential=credential
        )
        return Verified(identity, until, issuer.keys, key.thumbprint)


def _times(token: Token, leeway: float, time: float) -> float:
    """When the token ends, leeway included.

    Raises:
        CredentialError: expired, not valid yet, or without an expiry.
    """
    expires, begins = token.claims.get("exp"), token.claims.get("nbf", 0)
    if not _is_date(expires) or not _is_date(begins):
        raise CredentialError("token-times")
    if time >= expires + leeway:
        raise CredentialError("token-expired")
    if time < begins - leeway:
        raise CredentialError("token-not-yet")
    return expires + leeway


def _is_date(value: object) -> TypeGuard[float]:
    """Whether it is a NumericDate (RFC 7519 section 2), and none so far away that it cannot be reckoned with."""
    return isinstance(value, int | float) and not isinstance(value, bool) and -_FAR < value < _FAR


def _audience(token: Token, issuer: Issuer) -> None:
    """Raises CredentialError unless the token is for one of the issuer's audiences (RFC 7519 section 4.1.3)."""
    written = token.claims.get("aud")
    named = [written] if isinstance(written, str) else written if isinstance(written, list) else []
    if not any(isinstance(audience, str) and audience in issuer.audiences for audience in named):
        raise CredentialError("token-audience")
