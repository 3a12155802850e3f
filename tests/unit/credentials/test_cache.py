"""Verified tokens are remembered: few, for as long as they count, and never as what they are."""

from __future__ import annotations

import pickle

from hypothesis import given
from hypothesis import strategies as st

from ext_proc.credentials.cache import Verified, VerifiedTokens
from ext_proc.credentials.keys import KeySet, UrlOrigin, read_jwks
from ext_proc.identity import Identity
from tests.unit.credentials.minting import NOW, Minter, jwks

OLD, NEW = read_jwks(jwks(Minter("EdDSA", "old"))), read_jwks(jwks(Minter("EdDSA", "new")))


def key_set() -> KeySet:
    keys = KeySet(UrlOrigin("https://x", 5, 300, stale=100, cooldown=10))
    keys.install(OLD, NOW)
    return keys


def entry(keys: KeySet, subject: str = "ann", until: float = NOW + 600) -> Verified:
    return Verified(Identity(subject=subject), until, keys, OLD[0].thumbprint)


def test_a_token_is_known_until_it_expires() -> None:
    tokens = VerifiedTokens(10)
    tokens.keep(b"token", entry(key_set(), until=NOW + 50))
    assert tokens.find(b"token", NOW + 49) == Identity(subject="ann")
    assert tokens.find(b"token", NOW + 50) is None
    assert len(tokens) == 0
    assert tokens.find(b"another", NOW) is None


def test_a_token_is_forgotten_when_its_key_is_gone() -> None:
    keys, tokens = key_set(), VerifiedTokens(10)
    tokens.keep(b"token", entry(keys))
    keys.install((*OLD, *NEW), NOW + 1)
    assert tokens.find(b"token", NOW + 2) is not None
    keys.install(NEW, NOW + 3)
    assert tokens.find(b"token", NOW + 4) is None


def test_a_token_does_not_count_longer_than_its_keys() -> None:
    keys, tokens = key_set(), VerifiedTokens(10)
    tokens.keep(b"token", entry(keys))
    assert tokens.find(b"token", NOW + 100) is not None
    assert tokens.find(b"token", NOW + 101) is None


def test_the_one_used_longest_ago_makes_room() -> None:
    keys, tokens = key_set(), VerifiedTokens(2)
    for name in ("a", "b"):
        tokens.keep(name.encode(), entry(keys, name))
    assert tokens.find(b"a", NOW) is not None
    tokens.keep(b"c", entry(keys, "c"))
    assert [tokens.find(name, NOW) is not None for name in (b"a", b"b", b"c")] == [True, False, True]


def test_without_a_size_nothing_is_remembered() -> None:
    tokens = VerifiedTokens(0)
    tokens.keep(b"token", entry(key_set()))
    assert (len(tokens), tokens.find(b"token", NOW)) == (0, None)


@given(st.lists(st.tuples(st.booleans(), st.integers(0, 20)), max_size=60))
def test_it_never_grows_past_its_size(steps: list[tuple[bool, int]]) -> None:
    keys, tokens = key_set(), VerifiedTokens(5)
    for keep, number in steps:
        name = str(number)
        if keep:
            tokens.keep(name.encode(), entry(keys, name))
        else:
            found = tokens.find(name.encode(), NOW)
            assert found is None or found.subject == name
        assert len(tokens) <= 5


def test_the_cache_holds_no_token() -> None:
    tokens = VerifiedTokens(5)
    tokens.keep(b"the-token-itself", entry(key_set()))
    assert b"the-token-itself" not in pickle.dumps([list(tokens._entries)])
