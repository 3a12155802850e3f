"""The keys that an issuer's tokens are verified with: read from a JSON Web Key Set, replaced as a whole.

Rules:
- The type of a key says which algorithms it can be used with, whatever a token says: a public key is never a secret
  (RFC 8725 section 3.1). Symmetric keys come from the operator alone; one in a key set is passed over.
- Passed over are keys that are private, weak, for another use, or not understood; a set without a usable key is no set.
- A new set takes the old one's place in one assignment, so it may come from another thread.

Not here: fetching (server/keys.py), which algorithms an issuer may use (jwt.py).
"""

from __future__ import annotations

import hashlib
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import jwt
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey

from ext_proc.errors import GatehouseError
from ext_proc.framing.json_view import JsonError, parse

MAX_BYTES = 256 * 1024  # of a key set's document
MAX_KEYS = 64  # in one set
_MAX_DEPTH = 8
_MAX_VALUES = 10_000
_MAX_CANDIDATES = 4  # keys that one token is tried with
_RSA_BITS = range(2048, 8193)  # RFC 7518 section 3.3; past it, one verification takes too long

_RSA = frozenset({"RS256", "RS384", "RS512", "PS256", "PS384", "PS512"})
_CURVES = {"P-256": frozenset({"ES256"}), "P-384": frozenset({"ES384"}), "P-521": frozenset({"ES512"})}
_ED25519 = frozenset({"EdDSA"})
PUBLIC_ALGORITHMS = _RSA | frozenset().union(*_CURVES.values()) | _ED25519
SECRET_ALGORITHMS = frozenset({"HS256", "HS384", "HS512"})
_SECRET_BYTES = {"HS256": 32, "HS384": 48, "HS512": 64}  # RFC 7518 section 3.2
# What a key's own fields are, without which it is none (RFC 7638 section 3.2).
_REQUIRED = {"RSA": ("e", "n"), "EC": ("crv", "x", "y"), "OKP": ("crv", "x")}


class JwksError(GatehouseError):
    """A document that is no usable key set; the text holds nothing of it."""


@dataclass(frozen=True, slots=True, repr=False, eq=False)
class VerificationKey:
    """One key.

    Attributes:
        key_id: its `kid`; None where it has none.
        algorithms: what it can verify.
        thumbprint: tells it from every other key.
    """

    key_id: str | None
    algorithms: frozenset[str]
    thumbprint: str
    _key: Any

    def verifies(self, algorithm: str, signed: bytes, signature: bytes) -> bool:
        """Whether `signature` is this key's over `signed`; False for an algorithm that it is not for."""
        return algorithm in self.algorithms and jwt.get_algorithm_by_name(algorithm).verify(
            signed, self._key, signature
        )


def read_jwks(document: bytes) -> tuple[VerificationKey, ...]:
    """The usable keys of a JSON Web Key Set (RFC 7517 section 5), in its order.

    Raises:
        JwksError: it is none, too large, or has no usable key.
    """
    if len(document) > MAX_BYTES:
        raise JwksError(f"expected at most {MAX_BYTES // 1024} KiB")
    try:
        value = parse(document, _MAX_DEPTH, _MAX_VALUES)
    except JsonError as error:
        raise JwksError(f"expected a JSON Web Key Set: {error.detail}") from None
    written = value.get("keys") if isinstance(value, dict) else None
    if not isinstance(written, list):
        raise JwksError("expected a JSON Web Key Set: an object with a list of `keys`")
    if len(written) > MAX_KEYS:
        raise JwksError(f"expected at most {MAX_KEYS} keys")
    found = tuple(key for key in map(_public_key, written) if key is not None)
    if not found:
        raise JwksError(
            "expected at least one public key for signatures: RSA of 2048 to 8192 bits, P-256 to P-521, Ed25519"
        )
    return found


def secret_key(value: bytes, algorithms: frozenset[str]) -> VerificationKey:
    """The key that a shared secret is.

    Raises:
        JwksError: it is shorter than one of the algorithms' own output, or is a public key.
    """
    shortest = max(_SECRET_BYTES[name] for name in algorithms)
    if len(value) < shortest:
        raise JwksError(f"expected a secret of at least {shortest} bytes for {', '.join(sorted(algorithms))}")
    try:
        for name in algorithms:
            jwt.get_algorithm_by_name(name).prepare_key(value)
    except jwt.InvalidKeyError:
        raise JwksError("expected a secret, and not a key pair's public half") from None
    return VerificationKey(None, algorithms, hashlib.sha256(value).hexdigest(), value)


def _public_key(jwk: object) -> VerificationKey | None:
    """The key of one entry; None for one to be passed over."""
    if not isinstance(jwk, Mapping) or "d" in jwk or jwk.get("use", "sig") != "sig":
        return None
    operations, key_id = jwk.get("key_ops", ["verify"]), jwk.get("kid")
    if not isinstance(operations, list) or "verify" not in operations or not isinstance(key_id, str | None):
        return None
    kind = jwk.get("kty")
    if kind == "RSA":
        algorithms = _RSA
    elif kind == "EC" and isinstance(jwk.get("crv"), str):
        algorithms = _CURVES.get(jwk["crv"], frozenset())
    else:
        algorithms = _ED25519 if kind == "OKP" and jwk.get("crv") == "Ed25519" else frozenset()
    if "alg" in jwk:
        algorithms = algorithms & {name for name in PUBLIC_ALGORITHMS if name == jwk["alg"]}
    if not algorithms:
        return None
    try:
        key = jwt.PyJWK(dict(jwk), algorithm=min(algorithms)).key
    except Exception:  # of the two libraries' many: a key that cannot be built is one that is not there
        return None
    if isinstance(key, RSAPublicKey) and key.key_size not in _RSA_BITS:
        return None
    fields = "\n".join(f"{name}={jwk[name]}" for name in _REQUIRED[str(kind)])
    return VerificationKey(key_id, algorithms, hashlib.sha256(fields.encode()).hexdigest(), key)


@dataclass(frozen=True, slots=True)
class FileOrigin:
    """A key set in a file, looked at again from time to time."""

    path: Path


@dataclass(frozen=True, slots=True)
class UrlOrigin:
    """A key set that its issuer publishes.

    Attributes:
        timeout: seconds for one fetch.
        refresh: seconds from one fetch to the next.
        stale: how long keys count after they were last fetched, in seconds.
        cooldown: the least seconds between fetches, however many unknown keys are asked for.
    """

    url: str
    timeout: float
    refresh: float
    stale: float
    cooldown: float


@dataclass(frozen=True, slots=True)
class _Installed:
    """One set, whole."""

    keys: tuple[VerificationKey, ...] = ()
    thumbprints: frozenset[str] = field(default_factory=frozenset)
    until: float = float("-inf")  # seconds since the Unix epoch; past it they count no more


class KeySet:
    """An issuer's keys as they are now.

    Args:
        origin: where they come from; None for those that never change.
        keys: those to begin with.

    Attributes:
        refresher: fetches them; set by whoever can. Its awaitable ends when they were fetched, or could not be.
    """

    def __init__(self, origin: FileOrigin | UrlOrigin | None, keys: Sequence[VerificationKey] = ()) -> None:
        self.origin = origin
        self.refresher: Callable[[], Awaitable[None] | None] | None = None
        self._installed = _Installed()
        if keys:
            self.install(keys, 0.0)

    def install(self, keys: Sequence[VerificationKey], time: float) -> None:
        """Puts `keys`, fetched at `time` (seconds since the Unix epoch), in the place of all before."""
        until = time + self.origin.stale if isinstance(self.origin, UrlOrigin) else float("inf")
        self._installed = _Installed(tuple(keys), frozenset(key.thumbprint for key in keys), until)

    def usable(self, time: float) -> bool:
        """Whether there are keys, and not too old ones."""
        return time <= self._installed.until

    def holds(self, thumbprint: str) -> bool:
        """Whether a key is still among them."""
        return thumbprint in self._installed.thumbprints

    def candidates(self, key_id: str | None, algorithm: str) -> Sequence[VerificationKey]:
        """The few keys that a token with this header may be signed with; of one without `kid`, all that fit."""
        fitting = [
            key
            for key in self._installed.keys
            if algorithm in key.algorithms and (key_id is None or key.key_id in (None, key_id))
        ]
        return fitting[:_MAX_CANDIDATES]

    def refresh(self) -> Awaitable[None] | None:
        """Waits for keys that are fetched now; None where nobody fetches, or it was done a moment ago."""
        return None if self.refresher is None else self.refresher()
