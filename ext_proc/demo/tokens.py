"""Mints the demo's tokens: who is calling is what Envoy verified, so the demo needs an issuer Envoy can verify.

    python -m ext_proc.demo.tokens --key PATH --subject alice --claim groups=analysts

Rules:
- The key is made when the demo starts and lives as long as it; only its public half goes into Envoy's configuration.
- ES256 (RFC 7518 section 3.4): small keys, made at once.

Not here: verifying. Envoy does that (`envoy.filters.http.jwt_authn`).
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Mapping
from pathlib import Path

import jwt
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec
from jwt.algorithms import ECAlgorithm

ISSUER = "gatehouse-demo"
AUDIENCE = "gatehouse"
_KEY_ID = "demo"
_HOUR = 3600.0


class TokenSigner:
    """An issuer with one key. Its repr shows no key."""

    def __init__(self, key: ec.EllipticCurvePrivateKey | None = None) -> None:
        self._key = key or ec.generate_private_key(ec.SECP256R1())

    @classmethod
    def from_file(cls, path: Path) -> TokenSigner:
        """The issuer whose PEM key is in `path`; the file is made, readable by its owner only, if it is not there."""
        if path.exists():
            key = serialization.load_pem_private_key(path.read_bytes(), password=None)
            if not isinstance(key, ec.EllipticCurvePrivateKey):
                raise ValueError(f"{path} holds no elliptic-curve key")
            return cls(key)
        signer = cls()
        path.touch(mode=0o600, exist_ok=False)
        path.write_bytes(
            signer._key.private_bytes(
                serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
            )
        )
        return signer

    def jwks(self) -> str:
        """The public key as a JSON Web Key Set (RFC 7517), on one line."""
        public = json.loads(ECAlgorithm.to_jwk(self._key.public_key()))
        return json.dumps({"keys": [public | {"kid": _KEY_ID, "alg": "ES256", "use": "sig"}]})

    def mint(self, subject: str, claims: Mapping[str, object] | None = None, lifetime: float = _HOUR) -> str:
        """A token for `subject` and further claims (`groups`, `tenant`); `lifetime` in seconds, negative: expired."""
        now = time.time()
        payload = {"iss": ISSUER, "aud": AUDIENCE, "sub": subject, "iat": int(now), "exp": int(now + lifetime)}
        payload |= claims or {}
        return jwt.encode(payload, self._key, algorithm="ES256", headers={"kid": _KEY_ID})


def main() -> None:
    """Prints a token; `--claim name=value` may come several times, and a value with commas is a list."""
    parser = argparse.ArgumentParser(description="Mint a token of the demo's issuer.")
    parser.add_argument("--key", type=Path, required=True, help="PEM file of the issuer; made if it is not there")
    parser.add_argument("--subject", required=True)
    parser.add_argument("--claim", action="append", default=[], metavar="NAME=VALUE[,VALUE...]")
    arguments = parser.parse_args()
    claims: dict[str, object] = {}
    for claim in arguments.claim:
        name, _, value = claim.partition("=")
        claims[name] = value.split(",") if "," in value else value
    print(TokenSigner.from_file(arguments.key).mint(arguments.subject, claims))


if __name__ == "__main__":
    main()
