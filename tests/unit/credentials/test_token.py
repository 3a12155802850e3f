"""A token is taken apart strictly, or not at all."""

from __future__ import annotations

import base64
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ext_proc.credentials.source import CredentialError
from ext_proc.credentials.token import Token, read_token
from tests.unit.credentials.minting import Minter, usual

MINTER = Minter("EdDSA")
HEADER = {"alg": "EdDSA", "kid": "k1"}


def read(token: str | bytes) -> Token | None:
    return read_token(token.encode() if isinstance(token, str) else token, 16 * 1024, 32)


def refused(token: str | bytes) -> str:
    with pytest.raises(CredentialError) as error:
        read(token)
    return error.value.reason


def of(header: object = None, payload: object = None, raw_header: bytes = b"", raw_payload: bytes = b"") -> str:
    """A token of these parts, signed."""
    return MINTER.sign(
        raw_header or json.dumps(HEADER if header is None else header).encode(),
        raw_payload or json.dumps(usual() if payload is None else payload).encode(),
    )


def test_a_token_is_its_header_its_claims_and_what_was_signed() -> None:
    token = MINTER.mint({"typ": "application/AT+JWT"}, sub="ann")
    found = read(token)
    assert found is not None
    assert (found.algorithm, found.key_id, found.type, found.claims["sub"]) == ("EdDSA", "k1", "at+jwt", "ann")
    assert found.signing_input.decode() == token.rpartition(".")[0]
    assert len(found.signature) == 64


def test_a_token_shows_nothing_of_itself() -> None:
    found = read(MINTER.mint(sub="ann-from-accounting"))
    assert "ann" not in repr(found)
    assert "accounting" not in refused(of(raw_payload=b'{"sub":"ann-from-accounting"'))


@pytest.mark.parametrize("other", ["sk-live-0123456789", "a.b", "a.b.c.d", "abc", "gh_x.y"])
def test_what_has_not_the_form_of_a_token_may_be_another_credential(other: str) -> None:
    assert read(other) is None


def test_a_long_token_is_refused_before_anything_is_decoded() -> None:
    assert refused("!" * (16 * 1024 + 1)) == "token-too-long"
    assert refused(MINTER.mint(filler="x" * 16 * 1024)) == "token-too-long"


@pytest.mark.parametrize(
    ("header", "reason"),
    [
        ({**HEADER, "crit": ["exp"], "exp": 1}, "token-critical"),
        ({**HEADER, "crit": []}, "token-critical"),
        ({**HEADER, "b64": False, "crit": ["b64"]}, "token-critical"),
        ({**HEADER, "b64": True}, "token-critical"),
        ({**HEADER, "cty": "JWT"}, "token-nested"),
        ({**HEADER, "cty": "application/json"}, "token-nested"),
        ({**HEADER, "enc": "A128GCM"}, "token-encrypted"),
        ({"kid": "k1"}, "token-malformed"),
        ({"alg": None}, "token-malformed"),
        ({"alg": ["EdDSA"]}, "token-malformed"),
        ({"alg": 7}, "token-malformed"),
        ({**HEADER, "kid": 7}, "token-malformed"),
        ({**HEADER, "kid": ["k1"]}, "token-malformed"),
        ({**HEADER, "kid": "k" * 257}, "token-malformed"),
        ({**HEADER, "typ": 7}, "token-malformed"),
        (["alg"], "token-malformed"),
        ("EdDSA", "token-malformed"),
    ],
    ids=str,
)
def test_a_header_that_changes_how_a_token_is_read_is_refused(header: object, reason: str) -> None:
    assert refused(of(header=header)) == reason


def test_an_encrypted_token_is_refused() -> None:
    assert refused("eyJhbGciOiJkaXIifQ..aaaa.bbbb.cccc") == "token-encrypted"


@pytest.mark.parametrize(
    "payload",
    [
        b'{"sub":"ann","sub":"admin"}',
        b'{"sub":"ann","s\\u0075b":"admin"}',
        b'{"act":{"sub":"a","sub":"b"}}',
        b"[]",
        b'"ann"',
        b"null",
        b"{}{}",
        b'{"sub":"ann"} x',
        b'{"sub":"\xff"}',
        b'\xef\xbb\xbf{"sub":"ann"}',
        b'{"exp":NaN}',
        b"{" + b'"a":{' * 40 + b"}" * 41,
        b'{"x":[' + b"0," * 6000 + b"0]}",
    ],
    ids=lambda payload: payload[:20],
)
def test_claims_that_two_readers_could_read_in_two_ways_are_refused(payload: bytes) -> None:
    assert refused(of(raw_payload=payload)) == "token-malformed"


def test_a_token_inside_the_claims_is_not_looked_at() -> None:
    found = read(of(payload={**usual(), "inner": MINTER.mint(sub="admin")}))
    assert found is not None
    assert found.claims["sub"] == "ann"


def test_one_token_has_one_spelling() -> None:
    header, payload, signature = MINTER.mint().split(".")
    alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
    stray = alphabet[alphabet.index(signature[-1]) ^ 1]
    assert base64.urlsafe_b64decode(signature[:-1] + stray + "==") == base64.urlsafe_b64decode(signature + "==")
    spellings = [
        f"{header}.{payload}.{signature[:-1]}{stray}",
        f"{header}.{payload}.{signature}==",
        f"{header}=.{payload}.{signature}",
        f"{header}.{payload}\n.{signature}",
        f" {header}.{payload}.{signature}",
        f"{header}.{payload}.",
        f".{payload}.{signature}",
        f"{header}..{signature}",
        f"{header}.{payload}.a",
        f"{header}.{payload}.a+b/",
    ]
    assert {refused(spelling) for spelling in spellings} == {"token-malformed"}


@given(st.binary(max_size=200) | st.text(alphabet="abcXYZ019._-=eyJ", max_size=60).map(str.encode))
def test_any_bytes_are_a_token_or_not_or_refused(raw: bytes) -> None:
    try:
        found = read(raw)
    except CredentialError:
        return
    assert (found is None) == (raw.count(b".") != 2)


@given(st.data())
def test_a_token_cut_or_changed_anywhere_is_never_read_as_the_same_claims(data: st.DataObject) -> None:
    token = MINTER.mint().encode()
    end = data.draw(st.integers(0, len(token) - 1))
    changed = data.draw(st.sampled_from([token[:end], token[end + 1 :], token[:end] + b"A" + token[end + 1 :]]))
    whole = read(token)
    assert whole is not None
    try:
        found = read(changed)
    except CredentialError:
        return
    if found is not None and changed != token:
        assert (found.signing_input, found.signature) != (whole.signing_input, whole.signature)
