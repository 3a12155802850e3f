"""An issuer for tests: keys of every type, tokens that hold, and tokens that somebody tampered with."""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping
from typing import Any

import jwt
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from ext_proc.credentials.source import Presented
from ext_proc.events import NO_FACTS, EnvoyFacts
from ext_proc.headers import Headers

ISSUER = "https://issuer.example"
AUDIENCE = "https://tools.example/mcp"
NOW = 1_800_000_000.0  # seconds since the Unix epoch, for every exchange of these tests
_CURVES = {"ES256": ec.SECP256R1(), "ES384": ec.SECP384R1(), "ES512": ec.SECP521R1()}


class Minter:
    """One key of an issuer.

    Args:
        algorithm: what it signs with.
        key_id: the `kid` of its tokens; None leaves it out.
    """

    def __init__(self, algorithm: str = "ES256", key_id: str | None = "k1", bits: int = 2048) -> None:
        self.algorithm = algorithm
        self.key_id = key_id
        self._key: Any
        if algorithm in _CURVES:
            self._key = ec.generate_private_key(_CURVES[algorithm])
        elif algorithm == "EdDSA":
            self._key = ed25519.Ed25519PrivateKey.generate()
        else:
            self._key = rsa.generate_private_key(65537, bits)

    def jwk(self, **changes: Any) -> dict[str, Any]:
        """The public key as an entry of a key set; a change to None takes a field out."""
        public = jwt.get_algorithm_by_name(self.algorithm).to_jwk(self._key.public_key(), as_dict=True)
        entry = {**public, "kid": self.key_id, "use": "sig", **changes}
        entry.pop("key_ops", None) if "key_ops" not in changes else None
        return {name: value for name, value in entry.items() if value is not None}

    def private_jwk(self) -> dict[str, Any]:
        """The private key, which nobody should publish."""
        private = jwt.get_algorithm_by_name(self.algorithm).to_jwk(self._key, as_dict=True)
        return {**private, "kid": self.key_id or ""}

    def public_pem(self) -> bytes:
        """The public key, for a forger who uses it as a secret."""
        public: bytes = self._key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
        return public

    def mint(self, header: Mapping[str, Any] | None = None, *, without: tuple[str, ...] = (), **claims: Any) -> str:
        """A token; `header` adds to or replaces its header, `claims` its claims."""
        return self.sign(_json(self._header(header or {})), _json(usual(without, claims)))

    def sign(self, header: bytes, payload: bytes) -> str:
        """A token of any bytes, signed as they are."""
        signed = b".".join((base64url(header), base64url(payload)))
        signature = jwt.get_algorithm_by_name(self.algorithm).sign(signed, self._key)
        return b".".join((signed, base64url(signature))).decode()

    def _header(self, changes: Mapping[str, Any]) -> dict[str, Any]:
        header = {"typ": "JWT", "alg": self.algorithm, "kid": self.key_id, **changes}
        return {name: value for name, value in header.items() if value is not None}


def usual(without: tuple[str, ...] = (), claims: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """The claims of a token that holds at NOW, with changes."""
    found = {
        "iss": ISSUER,
        "sub": "ann",
        "aud": AUDIENCE,
        "iat": int(NOW) - 60,
        "exp": int(NOW) + 600,
        **(claims or {}),
    }
    return {name: value for name, value in found.items() if name not in without}


def jwks(*minters: Minter | Mapping[str, Any]) -> bytes:
    """A key set of these keys."""
    return _json({"keys": [entry.jwk() if isinstance(entry, Minter) else dict(entry) for entry in minters]})


def unsigned(header: Mapping[str, Any], claims: Mapping[str, Any], signature: bytes = b"") -> str:
    """A token with a signature of one's choice."""
    return b".".join((base64url(_json(header)), base64url(_json(claims)), base64url(signature))).decode()


def hmac_signed(secret: bytes, header: Mapping[str, Any], claims: Mapping[str, Any]) -> str:
    """A token that is signed with a secret, whatever that really is."""
    signed = b".".join((base64url(_json(header)), base64url(_json(claims))))
    hashing = jwt.get_algorithm_by_name(str(header["alg"]))
    return b".".join((signed, base64url(hashing.sign(signed, secret)))).decode()


def base64url(data: bytes) -> bytes:
    return base64.urlsafe_b64encode(data).rstrip(b"=")


def presented(
    *lines: tuple[str, str], time: float = NOW, metadata: Mapping[str, Any] | None = None, **attributes: str
) -> Presented:
    """What a request brings: header lines, and connection attributes by their name after `connection.`."""
    facts = NO_FACTS
    if metadata or attributes:
        facts = EnvoyFacts(metadata or {}, {f"connection.{name}": value for name, value in attributes.items()})
    return Presented(Headers((name, value.encode()) for name, value in lines), facts, time)


def with_token(token: str, time: float = NOW) -> Presented:
    """A request with a bearer token."""
    return presented(("authorization", f"Bearer {token}"), time=time)


def _json(value: Any) -> bytes:
    return json.dumps(value, separators=(",", ":")).encode()
