"""A caller whose token Envoy verified is who its payload says, or unknown."""

from __future__ import annotations

from typing import Any

import pytest

from ext_proc.credentials.metadata import JWT_NAMESPACE, VerifiedByEnvoy
from ext_proc.credentials.source import Nothing, Rejected
from ext_proc.identity import ClaimNames, ClientKind, Identity, Kind, RegisteredClient, Registry
from tests.unit.credentials.minting import presented

ANN: dict[str, Any] = {"iss": "idp", "sub": "ann"}


def verified(source: VerifiedByEnvoy | None = None, **claims: Any) -> Identity:
    found = (source or VerifiedByEnvoy()).identify(presented(metadata={JWT_NAMESPACE: {"claims": claims}}))
    assert isinstance(found, Identity), found
    return found


def test_claims_that_envoy_verified_make_an_identity() -> None:
    found = verified(**ANN, groups=["admin"], scope="docs:read docs:write", tenant="acme")
    assert (found.subject, found.issuer, found.groups, found.scopes) == (
        "ann",
        "idp",
        ("admin",),
        ("docs:read", "docs:write"),
    )
    assert found.kind is Kind.UNKNOWN
    assert found.verified


@pytest.mark.parametrize(
    "metadata",
    [
        {},
        {JWT_NAMESPACE: {}},
        {"another.filter": {"claims": ANN}},
        {JWT_NAMESPACE: {"claims": {"iss": "idp"}}},
        {JWT_NAMESPACE: {"claims": {"sub": ""}}},
        {JWT_NAMESPACE: {"claims": {"sub": ["ann"]}}},
        {JWT_NAMESPACE: {"claims": "ann"}},
        {JWT_NAMESPACE: {"a": {"sub": "ann"}, "b": {"sub": "bob"}}},
    ],
)
def test_anything_less_is_nobody(metadata: dict[str, dict[str, Any]]) -> None:
    assert VerifiedByEnvoy().identify(presented(metadata=metadata)) is Nothing.ABSENT


def test_of_two_payloads_the_named_one_counts() -> None:
    metadata = {JWT_NAMESPACE: {"a": {"sub": "ann"}, "b": {"sub": "bob"}}}
    found = VerifiedByEnvoy(key="b").identify(presented(metadata=metadata))
    assert isinstance(found, Identity)
    assert found.subject == "bob"
    assert VerifiedByEnvoy(key="c").identify(presented(metadata=metadata)) is Nothing.ABSENT


def test_the_ladder_the_registry_and_the_names_of_claims_count_here_too() -> None:
    registry = Registry([RegisteredClient(ClientKind.INTERACTIVE, client="portal")])
    source = VerifiedByEnvoy(registry=registry, names=ClaimNames(tenant="tid"))
    assert verified(source, **ANN, azp="portal", tid="acme").kind is Kind.HUMAN
    assert verified(source, **ANN, act={"sub": "bot"}).kind is Kind.DELEGATED_AGENT


def test_an_act_that_names_nobody_is_refused_though_envoy_verified_it() -> None:
    found = VerifiedByEnvoy().identify(presented(metadata={JWT_NAMESPACE: {"c": {**ANN, "act": "bot"}}}))
    assert found == Rejected("claims-act")


def test_a_credential_is_known_by_its_id_or_by_when_it_was_issued_to_whom() -> None:
    assert verified(**ANN, jti="1").credential == verified(**ANN, jti="1", iat=5).credential
    assert verified(**ANN, jti="1").credential != verified(**ANN, jti="2").credential
    assert verified(**ANN, iat=1).credential == verified(**ANN, iat=1, extra="x").credential
    assert verified(**ANN, iat=1).credential != verified(**ANN, iat=2).credential
    assert verified(**ANN, iat=1).credential != verified(**{**ANN, "sub": "bob"}, iat=1).credential
    assert verified(**ANN).credential == ""
