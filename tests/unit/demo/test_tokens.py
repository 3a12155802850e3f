"""The demo's tokens verify against the key set that Envoy gets, and carry what was asked for."""

from __future__ import annotations

import json
import stat
import subprocess
import sys
from pathlib import Path

import jwt
import pytest

from ext_proc.demo.tokens import AUDIENCE, ISSUER, TokenSigner


def claims_of(token: str, jwks: str) -> dict[str, object]:
    (key,) = jwt.PyJWKSet.from_json(jwks).keys
    return dict(jwt.decode(token, key, algorithms=["ES256"], audience=AUDIENCE, issuer=ISSUER))


def test_a_token_verifies_with_the_published_key_and_carries_its_claims() -> None:
    signer = TokenSigner()
    claims = claims_of(signer.mint("alice", {"groups": ["analysts"], "tenant": "acme"}), signer.jwks())
    assert (claims["sub"], claims["groups"], claims["tenant"]) == ("alice", ["analysts"], "acme")


def test_another_issuers_token_does_not_verify() -> None:
    with pytest.raises(jwt.InvalidSignatureError):
        claims_of(TokenSigner().mint("alice"), TokenSigner().jwks())


def test_a_negative_lifetime_makes_an_expired_token() -> None:
    signer = TokenSigner()
    with pytest.raises(jwt.ExpiredSignatureError):
        claims_of(signer.mint("alice", lifetime=-60), signer.jwks())


def test_the_key_set_holds_no_private_key() -> None:
    (key,) = json.loads(TokenSigner().jwks())["keys"]
    assert "d" not in key


def test_a_key_file_is_made_once_for_its_owner_only_and_used_again(tmp_path: Path) -> None:
    path = tmp_path / "key.pem"
    made = TokenSigner.from_file(path)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert TokenSigner.from_file(path).jwks() == made.jwks()


def test_the_command_mints_a_token_with_lists_and_words(tmp_path: Path) -> None:
    path = tmp_path / "key.pem"
    command = [sys.executable, "-m", "ext_proc.demo.tokens", "--key", str(path), "--subject", "bob"]
    command += ["--claim", "groups=a,b", "--claim", "tenant=acme"]
    token = subprocess.run(command, capture_output=True, text=True, check=True, cwd=Path(__file__).parents[3]).stdout
    claims = claims_of(token.strip(), TokenSigner.from_file(path).jwks())
    assert (claims["sub"], claims["groups"], claims["tenant"]) == ("bob", ["a", "b"], "acme")
