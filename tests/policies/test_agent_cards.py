"""Whether one of the bundle's keys signed what an agent's card says; the official SDK's signer is who signs."""

from __future__ import annotations

import copy
import hashlib
import hmac
import json
from typing import Any

import pytest
import rfc8785
from a2a.client.card_resolver import parse_agent_card
from a2a.utils.signing import InvalidSignaturesError, create_signature_verifier
from hypothesis import given, settings
from hypothesis import strategies as st

from gatehouse_policies.agent_cards import fault_of
from tests.policies.signed_cards import as_served, keys_of, protected_of, signature_over, signed_by
from tests.unit.credentials.minting import Minter, base64url

MINTER, OTHER = Minter("ES256", "k1"), Minter("ES256", "k1")
RSA = Minter("RS256", "r1")
KEYS = keys_of(MINTER)
SIGNED = as_served(signed_by(MINTER, "1.0", "0.3"))


def changed(**members: Any) -> dict[str, Any]:
    """The signed card with other members; None takes one out."""
    card = {**copy.deepcopy(SIGNED), **members}
    return {name: value for name, value in card.items() if value is not None}


@pytest.mark.parametrize("versions", [("1.0",), ("1.0", "0.3"), ("0.3",)])
@pytest.mark.parametrize("algorithm", ["ES256", "ES384", "ES512", "EdDSA", "RS256", "PS256"])
def test_what_the_sdk_signs_and_serves_holds(algorithm: str, versions: tuple[str, ...]) -> None:
    minter = RSA if algorithm == "RS256" else Minter(algorithm, "k1")
    assert fault_of(as_served(signed_by(minter, *versions)), keys_of(minter)) == ""


def test_another_key_by_the_same_name_is_not_believed() -> None:
    assert fault_of(SIGNED, keys_of(OTHER)) == "card-unverified"
    assert fault_of(SIGNED, keys_of(OTHER, MINTER)) == "", "two keys may have one name while they are rotated"


def test_a_key_by_another_name_is_not_tried() -> None:
    renamed = Minter("ES256", "k2")
    renamed._key = MINTER._key
    assert fault_of(SIGNED, keys_of(renamed)) == "card-unverified"
    nameless = Minter("ES256", None)
    nameless._key = MINTER._key
    assert fault_of(SIGNED, keys_of(nameless)) == ""


def test_keys_of_another_type_by_the_same_name_take_no_place_among_those_that_are_tried() -> None:
    others = [Minter("EdDSA", "k1") for _ in range(4)]
    assert fault_of(SIGNED, keys_of(*others, MINTER)) == ""


def test_one_signature_that_holds_is_enough() -> None:
    strange = as_served(signed_by(OTHER))["signatures"]
    assert fault_of(changed(signatures=[*strange, *SIGNED["signatures"]]), KEYS) == ""
    assert fault_of(changed(signatures=[*strange * 8, *SIGNED["signatures"]]), KEYS) == "card-unverified", "bounded"


@pytest.mark.parametrize("signatures", [None, [], ""])
def test_a_card_without_a_signature_is_unsigned(signatures: Any) -> None:
    assert fault_of(changed(signatures=signatures), KEYS) == "card-unsigned"


@pytest.mark.parametrize(
    "change",
    [
        {"name": "Another"},
        {"url": "https://evil.example/"},
        {"preferredTransport": "GRPC"},
        {"protocolVersion": "0.2"},
        {"supportedInterfaces": [{"url": "https://evil.example/", "protocolBinding": "JSONRPC"}]},
        {"additionalInterfaces": [{"url": "https://evil.example/", "transport": "JSONRPC"}]},
        {"supportsAuthenticatedExtendedCard": False},
        {"security": [{"key": ["admin"]}]},
        {"securitySchemes": None},
        {"skills": []},
        {"iconUrl": "https://evil.example/x.png"},
        {"invented": 1},
        {"invented": False},
    ],
    ids=str,
)
def test_what_was_changed_after_it_was_signed_does_not_hold(change: dict[str, Any]) -> None:
    assert fault_of(changed(**change), KEYS) == "card-unverified"


@settings(max_examples=60)
@given(st.data())
def test_no_leaf_of_a_signed_card_can_be_changed(data: st.DataObject) -> None:
    card = copy.deepcopy(SIGNED)
    holder: Any = card
    name: Any = data.draw(st.sampled_from(sorted(set(card) - {"signatures"})))
    while isinstance(holder[name], dict | list) and holder[name]:
        holder = holder[name]
        name = data.draw(st.sampled_from(sorted(holder) if isinstance(holder, dict) else range(len(holder))))
    holder[name] = data.draw(
        st.sampled_from(["other", 7, True, ["other"], {"other": 1}]).filter(lambda v: v != holder[name])
    )
    assert fault_of(card, KEYS) == "card-unverified"


def test_members_that_say_nothing_may_come_and_go() -> None:
    # What SDKs leave out, and a proxy between may write: all of it is the same card in protobuf.
    assert fault_of(changed(documentationUrl="", iconUrl=None), KEYS) == ""
    with_extension = copy.deepcopy(SIGNED)
    with_extension["capabilities"]["extensions"][0]["required"] = False
    assert fault_of(with_extension, KEYS) == ""


def test_what_an_extension_says_of_itself_is_covered_to_the_last_false() -> None:
    card = copy.deepcopy(SIGNED)
    assert card["capabilities"]["extensions"][0]["params"].pop("required") is False
    assert fault_of(card, KEYS) == "card-unverified"


def test_a_card_signed_as_it_stands_holds() -> None:
    # A2A 1.0, 8.4.1: members that are required stay, even where they are empty.
    card: Any = {"name": "Example Agent", "description": "", "skills": [], "capabilities": {"streaming": False}}
    signed = {**card, "signatures": [signature_over(MINTER, rfc8785.dumps(card))]}
    assert fault_of(signed, KEYS) == ""
    assert fault_of({**signed, "description": "x"}, KEYS) == "card-unverified"


def test_a_key_that_the_card_points_to_is_not_looked_at() -> None:
    card = as_served(signed_by(OTHER, header={"jku": "https://evil.example/jwks.json"}))
    assert fault_of(card, KEYS) == "card-unverified"


def test_neither_none_nor_a_shared_secret_is_an_algorithm() -> None:
    card = changed(signatures=None)
    payload = base64url(rfc8785.dumps(card)).decode()
    for secret in (MINTER.public_pem(), b"", b"secret"):
        protected = protected_of(alg="HS256", kid="k1", typ="JOSE")
        digest = hmac.new(secret, f"{protected}.{payload}".encode(), hashlib.sha256).digest()
        forged = {"protected": protected, "signature": base64url(digest).decode()}
        assert fault_of({**card, "signatures": [forged]}, KEYS) == "card-unverified"
    for name in ("none", "None", "NONE", ""):
        forged = {"protected": protected_of(alg=name, kid="k1", typ="JOSE"), "signature": "AA"}
        assert fault_of({**card, "signatures": [forged]}, KEYS) == "card-unverified"


def test_the_type_of_the_key_says_the_algorithm() -> None:
    card = {"name": "a"}
    signature = signature_over(RSA, rfc8785.dumps(card))
    assert fault_of({**card, "signatures": [signature]}, keys_of(RSA)) == ""
    signature["protected"] = protected_of(alg="PS256", kid="r1", typ="JOSE")
    assert fault_of({**card, "signatures": [signature]}, keys_of(RSA)) == "card-unverified"


@pytest.mark.parametrize(
    "header",
    [{"crit": ["b64"], "b64": False}, {"crit": []}, {"kid": None}, {"kid": 7}, {"alg": ["ES256"]}],
    ids=str,
)
def test_a_header_that_is_not_understood_is_not_passed_over(header: dict[str, Any]) -> None:
    card = {"name": "a"}
    signed = {**card, "signatures": [signature_over(MINTER, rfc8785.dumps(card), **header)]}
    assert fault_of(signed, KEYS) == "card-unverified"


@pytest.mark.parametrize(
    "signatures",
    [
        "text",
        {"protected": "e30", "signature": "AA"},
        [None],
        ["text"],
        [{}],
        [{"protected": 1, "signature": 2}],
        [{"protected": "e30", "signature": ""}],
        [{"protected": "e30=", "signature": "AA"}],
        [{"protected": "!", "signature": "AA"}],
        [{"protected": "bm8", "signature": "AA"}],
        [{"protected": "W10", "signature": "AA"}],
        [{"protected": "a" * 9000, "signature": "AA"}],
        [{"protected": "e", "signature": "A"}],
    ],
    ids=lambda value: str(value)[:40],
)
def test_signatures_that_are_none_hold_nothing(signatures: Any) -> None:
    assert fault_of(changed(signatures=signatures), KEYS) == "card-unverified"


def test_a_number_without_a_canonical_form_has_no_signature_that_holds() -> None:
    assert fault_of(changed(invented=2**60), KEYS) == "card-not-canonical"


@settings(max_examples=40)
@given(st.sampled_from(["name", "description", "version", "iconUrl"]), st.text(max_size=8))
def test_what_holds_here_holds_for_the_sdks_own_verifier(member: str, value: str) -> None:
    card = changed(**{member: value})
    verify = create_signature_verifier(lambda kid, jku: MINTER._key.public_key(), ["ES256"])
    try:
        verify(parse_agent_card(json.loads(json.dumps(card))))
        theirs = True
    except InvalidSignaturesError:
        theirs = False
    assert (fault_of(card, KEYS) == "") is theirs
