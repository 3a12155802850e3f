"""A caller is who Envoy verified, or unknown."""

from __future__ import annotations

from typing import Any

import pytest

from ext_proc.identity import JWT_NAMESPACE, UNKNOWN, Identity, Kind, from_metadata


def verified(**claims: Any) -> Identity:
    return from_metadata({JWT_NAMESPACE: {"claims": claims}})


def test_claims_that_envoy_verified_make_an_identity() -> None:
    found = verified(
        sub="ann", iss="idp", groups=["admin", 5], roles="dev ops", scope="docs:read docs:write", tenant="acme"
    )
    assert found == Identity(
        Kind.VERIFIED, "ann", "idp", ("admin",), ("dev", "ops"), ("docs:read", "docs:write"), "acme"
    )
    assert found.as_variables()["groups"] == ["admin"]


def test_scopes_may_be_a_list_under_scp() -> None:
    assert verified(sub="a", scp=["x", "y"]).scopes == ("x", "y")


@pytest.mark.parametrize(
    "metadata",
    [
        {},
        {JWT_NAMESPACE: {}},
        {"another.filter": {"claims": {"sub": "ann"}}},
        {JWT_NAMESPACE: {"claims": {"iss": "idp"}}},
        {JWT_NAMESPACE: {"claims": {"sub": ""}}},
        {JWT_NAMESPACE: {"claims": {"sub": ["ann"]}}},
        {JWT_NAMESPACE: {"claims": "ann"}},
        {JWT_NAMESPACE: {"a": {"sub": "ann"}, "b": {"sub": "bob"}}},
    ],
)
def test_anything_less_is_unknown(metadata: dict[str, dict[str, Any]]) -> None:
    assert from_metadata(metadata) is UNKNOWN


def test_of_two_payloads_the_named_one_counts() -> None:
    metadata = {JWT_NAMESPACE: {"a": {"sub": "ann"}, "b": {"sub": "bob"}}}
    assert from_metadata(metadata, payload_key="b").subject == "bob"
