"""What all sources read alike: one line of a header, a bearer credential, a fingerprint."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ext_proc.credentials.source import CredentialError, bearer, fingerprint, only_line
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
