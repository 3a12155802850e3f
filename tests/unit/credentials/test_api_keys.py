"""A key is known by its hash, in one header, until it ends."""

from __future__ import annotations

import hashlib
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ext_proc.credentials.api_keys import ApiKey, ApiKeys, new_key
from ext_proc.credentials.source import Nothing, Rejected
from ext_proc.identity import Identity, Kind
from tests.unit.credentials.minting import NOW, presented, with_token

KEY, DIGEST = new_key()
BOT = Identity(Kind.AUTONOMOUS_AGENT, "bot", "api-keys", groups=("readers",))
ENTRY = ApiKey(bytes.fromhex(DIGEST), BOT, expires=NOW + 60)
KEYS = ApiKeys([ENTRY])


def test_a_key_names_its_holder() -> None:
    assert KEYS.identify(presented(("x-api-key", KEY))) is BOT


OTHERS = {
    "nothing": "",
    "cut off": KEY[:-1],
    "longer": KEY + "x",
    "upper case": KEY.upper(),
    "with a scheme": f"Bearer {KEY}",
    "after a blank": f" {KEY}",
    "its digest": DIGEST,
    "very long": "x" * 10_000,
}


@pytest.mark.parametrize("key", OTHERS.values(), ids=OTHERS.keys())
def test_any_other_text_is_refused(key: str) -> None:
    assert KEYS.identify(presented(("x-api-key", key))) == Rejected("api-key-unknown")


def test_a_key_ends() -> None:
    assert KEYS.identify(presented(("x-api-key", KEY), time=NOW + 59)) is BOT
    assert KEYS.identify(presented(("x-api-key", KEY), time=NOW + 60)) == Rejected("api-key-expired")


def test_no_header_is_no_credential_and_two_are_refused() -> None:
    assert KEYS.identify(presented(("authorization", f"Bearer {KEY}"))) is Nothing.ABSENT
    line = ("x-api-key", KEY)
    assert KEYS.identify(presented(line, line)) == Rejected("credential-repeated")


def test_in_the_authorization_header_a_key_is_a_bearer_credential_among_others() -> None:
    keys = ApiKeys([ENTRY], header="authorization")
    assert keys.identify(with_token(KEY)) is BOT
    assert keys.identify(with_token("eyJ.a.b")) is Nothing.FOREIGN
    assert keys.identify(presented(("authorization", f"Basic {KEY}"))) is Nothing.ABSENT
    assert keys.identify(presented(("authorization", KEY))) is Nothing.ABSENT
    assert keys.identify(presented(("authorization", "Bearer"))) == Rejected("credential-malformed")


def test_a_new_key_is_long_random_and_known_by_its_prefix() -> None:
    keys = {new_key() for _ in range(50)}
    assert len(keys) == 50
    for key, digest in keys:
        assert re.fullmatch(r"gh_[A-Za-z0-9_-]{43}", key)
        assert digest == hashlib.sha256(key.encode()).hexdigest()


@given(st.binary(max_size=100))
def test_whatever_stands_in_the_header_is_decided(value: bytes) -> None:
    found = KEYS.identify(presented(("x-api-key", value.decode("latin-1"))))
    assert found == Rejected("api-key-unknown")
