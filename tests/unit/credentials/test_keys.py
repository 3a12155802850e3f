"""Which keys of a key set are usable for what, and how a set takes another's place."""

from __future__ import annotations

import base64
import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ext_proc.credentials.keys import (
    MAX_BYTES,
    FileOrigin,
    JwksError,
    KeySet,
    UrlOrigin,
    read_jwks,
    secret_key,
)
from tests.unit.credentials.minting import Minter, jwks

NOWHERE = Path("/nowhere/jwks.json")
FIELDS = st.sampled_from(["keys", "kty", "n", "e", "x", "y", "crv", "kid", "alg", "use", "key_ops", "d"])
EC, RSA, ED = Minter("ES256", "ec"), Minter("RS256", "rsa"), Minter("EdDSA", "ed")
ALL = [EC, RSA, ED, Minter("ES384", "ec3"), Minter("ES512", "ec5")]


def refused(document: bytes) -> str:
    with pytest.raises(JwksError) as error:
        read_jwks(document)
    return str(error.value)


def test_the_type_of_a_key_says_what_it_may_verify() -> None:
    found = {key.key_id: sorted(key.algorithms) for key in read_jwks(jwks(*ALL))}
    assert found == {
        "ec": ["ES256"],
        "rsa": ["PS256", "PS384", "PS512", "RS256", "RS384", "RS512"],
        "ed": ["EdDSA"],
        "ec3": ["ES384"],
        "ec5": ["ES512"],
    }


def test_a_keys_own_alg_narrows_it() -> None:
    (key,) = read_jwks(jwks(RSA.jwk(alg="PS256")))
    assert key.algorithms == {"PS256"}


@pytest.mark.parametrize("minter", ALL, ids=lambda minter: minter.algorithm)
def test_a_key_verifies_its_own_signatures_and_no_others(minter: Minter) -> None:
    (key,) = read_jwks(jwks(minter))
    signed, _, signature = minter.mint().rpartition(".")
    (other,) = read_jwks(jwks(Minter(minter.algorithm)))
    raw = _bytes(signature)
    assert key.verifies(minter.algorithm, signed.encode(), raw)
    assert not key.verifies(minter.algorithm, signed.encode() + b"x", raw)
    assert not key.verifies(minter.algorithm, signed.encode(), raw[:-1])
    assert not key.verifies(minter.algorithm, signed.encode(), b"")
    assert not other.verifies(minter.algorithm, signed.encode(), raw)
    for algorithm in ("none", "HS256", "ES256K", "RS1", ""):
        assert not key.verifies(algorithm, signed.encode(), raw)


UNUSABLE: dict[str, Any] = {
    "a private key": EC.private_jwk(),
    "a private RSA key": RSA.private_jwk(),
    "a secret": {"kty": "oct", "k": "c2VjcmV0LXNlY3JldC1zZWNyZXQtc2VjcmV0LTEyMzQ", "kid": "s"},
    "for encryption": EC.jwk(use="enc"),
    "for signing only": EC.jwk(key_ops=["sign"]),
    "operations that are no list": EC.jwk(key_ops="verify"),
    "an algorithm of another type": EC.jwk(alg="RS256"),
    "a secret's algorithm": RSA.jwk(alg="HS256"),
    "no algorithm at all": RSA.jwk(alg="none"),
    "an algorithm that is a list": RSA.jwk(alg=["RS256"]),
    "an unknown type": {"kty": "XYZ", "kid": "x"},
    "a type that is a list": {"kty": ["RSA"], "kid": "x"},
    "a curve without a standard name": EC.jwk(crv="secp256k1"),
    "a curve that is a list": EC.jwk(crv=["P-256"]),
    "Ed448": ED.jwk(crv="Ed448"),
    "a point that is on no curve": EC.jwk(x=EC.jwk()["y"]),
    "a coordinate that is a number": EC.jwk(x=7),
    "no coordinate": EC.jwk(y=None),
    "RSA without a modulus": RSA.jwk(n=None),
    "RSA with an even exponent": RSA.jwk(e="Ag"),
    "RSA that is too short": Minter("RS256", "weak", bits=1024).jwk(),
    "a key id that is a number": EC.jwk(kid=7),
    "text": "key",
    "nothing": None,
}


@pytest.mark.parametrize("entry", UNUSABLE.values(), ids=UNUSABLE.keys())
def test_a_key_that_cannot_or_must_not_be_used_is_passed_over(entry: Any) -> None:
    alone = json.dumps({"keys": [entry]}).encode()
    assert "expected at least one public key" in refused(alone)
    beside = json.dumps({"keys": [entry, ED.jwk()]}).encode()
    assert [key.key_id for key in read_jwks(beside)] == ["ed"]


def test_an_rsa_key_that_takes_long_to_verify_is_passed_over() -> None:
    modulus = "_" + "A" * 2735 + "B"  # 16,416 bits
    entry = {"kty": "RSA", "kid": "huge", "e": "AQAB", "n": modulus}
    assert [key.key_id for key in read_jwks(json.dumps({"keys": [entry, ED.jwk()]}).encode())] == ["ed"]


@pytest.mark.parametrize(
    ("document", "told"),
    [
        (b"", "there is no JSON"),
        (b"<html>", "this is not JSON"),
        (b"[]", "a list of `keys`"),
        (b"{}", "a list of `keys`"),
        (b'{"keys":{}}', "a list of `keys`"),
        (b'{"keys":[]}', "at least one public key"),
        (b'{"keys":[],"keys":[]}', "holds a key twice"),
        (b" " * (MAX_BYTES + 1), "at most 256 KiB"),
        (json.dumps({"keys": [{}] * 65}).encode(), "at most 64 keys"),
    ],
    ids=lambda value: str(value)[:20],
)
def test_what_is_no_key_set_is_told_without_its_content(document: bytes, told: str) -> None:
    assert told in refused(document)


@given(
    st.recursive(
        st.none()
        | st.booleans()
        | st.integers()
        | st.text(max_size=8)
        | st.sampled_from(["RSA", "EC", "OKP", "P-256"]),
        lambda inner: st.lists(inner, max_size=4) | st.dictionaries(FIELDS, inner, max_size=6),
    )
)
def test_any_json_is_a_key_set_or_refused(value: Any) -> None:
    for document in (value, {"keys": value}, {"keys": [value]}):
        try:
            found = read_jwks(json.dumps(document).encode())
        except JwksError:
            continue
        assert found


def test_a_secret_is_at_least_as_long_as_its_hash_and_no_public_key() -> None:
    key = secret_key(b"s" * 32, frozenset({"HS256"}))
    assert key.algorithms == {"HS256"}
    for value, told in ((b"s" * 31, "at least 32 bytes"), (b"s" * 63, "at least 64 bytes")):
        with pytest.raises(JwksError, match=told):
            secret_key(value, frozenset({"HS256", "HS512"} if len(value) > 32 else {"HS256"}))
    with pytest.raises(JwksError, match="public half"):
        secret_key(RSA.public_pem(), frozenset({"HS256"}))


def test_a_token_with_a_key_id_is_tried_with_that_key_alone() -> None:
    keys = KeySet(None, read_jwks(jwks(EC, Minter("ES256", "ec-2"), RSA)))
    assert [key.key_id for key in keys.candidates("ec-2", "ES256")] == ["ec-2"]
    assert keys.candidates("ec-2", "RS256") == []
    assert keys.candidates("nobody", "ES256") == []
    assert [key.key_id for key in keys.candidates(None, "ES256")] == ["ec", "ec-2"]


def test_a_key_without_an_id_is_tried_with_every_token() -> None:
    keys = KeySet(None, read_jwks(jwks(Minter("ES256", None))))
    assert len(keys.candidates("any", "ES256")) == len(keys.candidates(None, "ES256")) == 1


def test_one_token_is_tried_with_few_keys() -> None:
    keys = KeySet(None, read_jwks(jwks(*[Minter("EdDSA", str(number)) for number in range(20)])))
    assert len(keys.candidates(None, "EdDSA")) == 4


@pytest.mark.parametrize(
    "key_id", ["../../etc/passwd", "ec' OR '1'='1", "ec\u0000", "EC", " ec", "http://other.example/k"]
)
def test_a_key_id_is_compared_and_nothing_else(key_id: str) -> None:
    keys = KeySet(FileOrigin(NOWHERE), read_jwks(jwks(EC)))
    assert keys.candidates(key_id, "ES256") == []


def test_a_new_set_takes_the_old_ones_place_whole() -> None:
    keys = KeySet(UrlOrigin("https://x", 5, 300, stale=100, cooldown=10))
    assert not keys.usable(0.0)
    first, second = read_jwks(jwks(EC)), read_jwks(jwks(RSA))
    keys.install(first, 1000.0)
    assert keys.holds(first[0].thumbprint)
    keys.install(second, 1050.0)
    assert not keys.holds(first[0].thumbprint)
    assert keys.holds(second[0].thumbprint)
    assert keys.candidates("ec", "ES256") == []


def test_keys_of_a_url_count_for_a_bounded_time() -> None:
    keys = KeySet(UrlOrigin("https://x", 5, 300, stale=100, cooldown=10))
    keys.install(read_jwks(jwks(EC)), 1000.0)
    assert keys.usable(1100.0)
    assert not keys.usable(1100.5)
    of_a_file = KeySet(FileOrigin(NOWHERE), read_jwks(jwks(EC)))
    assert of_a_file.usable(1e11)


def test_the_same_key_has_the_same_thumbprint_under_another_name() -> None:
    (one,), (other,) = read_jwks(jwks(EC)), read_jwks(jwks(EC.jwk(kid="new", alg="ES256")))
    assert one.thumbprint == other.thumbprint


def test_without_somebody_who_fetches_nothing_is_waited_for() -> None:
    assert KeySet(UrlOrigin("https://x", 5, 300, 100, 10)).refresh() is None


def _bytes(segment: str) -> bytes:
    return base64.urlsafe_b64decode(segment + "=" * (-len(segment) % 4))
