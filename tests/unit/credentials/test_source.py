"""What all sources read alike: one line of a header, a bearer credential, a fingerprint."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ext_proc.credentials.source import CredentialError, bearer, fingerprint, only_line, token_fingerprint
from ext_proc.headers import Headers


def test_a_header_that_may_stand_once_stands_once_or_not_at_all() -> None:
    assert only_line(Headers([("a", b"1")]), "a") == b"1"
    assert only_line(Headers([("a", b"1")]), "b") is None
    with pytest.raises(CredentialError):
        only_line(Headers([("a", b"1"), ("a", b"1")]), "a")


@given(st.binary(max_size=40))
def test_a_bearer_credential_is_a_token68_or_refused(value: bytes) -> None:
    assert bearer(b"Basic " + value) is None
    try:
        found = bearer(b"bEaReR " + value)
    except CredentialError:
        return
    assert found == value.lstrip(b" ")
    assert not set(found) & set(b' ,"\t\r\n')


@given(st.lists(st.text(max_size=5), min_size=1, max_size=3), st.lists(st.text(max_size=5), min_size=1, max_size=3))
def test_different_parts_have_different_fingerprints(one: list[str], other: list[str]) -> None:
    assert (fingerprint(*one) == fingerprint(*other)) == (one == other)
    assert len(fingerprint(*one)) == 32


def test_a_token_has_one_fingerprint_whoever_verified_it() -> None:
    claims = {"iss": "i", "sub": "ann", "client_id": "portal", "iat": 1_800_000_000, "exp": 1_800_000_600}
    found = token_fingerprint(claims)
    assert found == token_fingerprint({**claims, "iat": 1_800_000_000.0, "nbf": 1, "scope": "x"})
    assert len({found, *(token_fingerprint({**claims, name: "other"}) for name in claims)}) == 6
    assert token_fingerprint({"iss": "i", "jti": "7", "iat": 1}) == token_fingerprint(
        {"iss": "i", "jti": "7", "iat": 2}
    )
    assert token_fingerprint({"iss": "i", "jti": "7"}) != token_fingerprint({"iss": "j", "jti": "7"})
    assert token_fingerprint({"iss": "i", "sub": "ann", "exp": 1}) == ""
