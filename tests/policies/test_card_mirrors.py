"""What a server adds for clients of 0.3 is left out where it repeats the card, and nowhere else."""

from __future__ import annotations

from typing import Any

import pytest

from gatehouse_policies.card_mirrors import meaningful, without_mirrors
from tests.policies.signed_cards import URL, as_served, plain_card

MIRRORED = as_served(plain_card("1.0", "0.3"))


def test_a_card_for_both_versions_is_left_as_that_of_one() -> None:
    own = without_mirrors(MIRRORED)
    assert set(MIRRORED) - set(own) == {
        *("url", "preferredTransport", "protocolVersion", "security", "supportsAuthenticatedExtendedCard")
    }
    only = as_served(plain_card("1.0"))
    interfaces = own["supportedInterfaces"]
    assert meaningful({**own, "supportedInterfaces": []}, frozenset({"required"})) == meaningful(
        {**only, "supportedInterfaces": []}, frozenset({"required"})
    )
    assert interfaces == MIRRORED["supportedInterfaces"]


def test_a_card_of_0_3_stays_as_it_is() -> None:
    card = {"name": "a", "url": URL, "preferredTransport": "JSONRPC", "protocolVersion": "0.3.0", "security": []}
    assert without_mirrors(card) == card


@pytest.mark.parametrize(
    "change",
    [
        {"url": "https://evil.example/"},
        {"url": URL, "preferredTransport": "GRPC"},
        {"protocolVersion": "9"},
        {"additionalInterfaces": [{"url": "https://evil.example/", "transport": "JSONRPC"}]},
        {"additionalInterfaces": [URL]},
        {"supportsAuthenticatedExtendedCard": False},
        {"supportsAuthenticatedExtendedCard": 1},
        {"security": [{"key": []}]},
        {"security": "text"},
    ],
    ids=str,
)
def test_what_repeats_nothing_stays(change: dict[str, Any]) -> None:
    card = {**MIRRORED, **change}
    own = without_mirrors(card)
    assert {name: own.get(name) for name in change} == change


@pytest.mark.parametrize("change", [{"in": "query"}, {"type": "http"}, {"name": "X-Other"}, {"other": 1}])
def test_a_scheme_of_0_3_that_says_something_else_stays(change: dict[str, Any]) -> None:
    scheme = {**MIRRORED["securitySchemes"]["key"], **change}
    own = without_mirrors({**MIRRORED, "securitySchemes": {"key": scheme}})
    assert own["securitySchemes"]["key"] == scheme


@pytest.mark.parametrize(
    "change",
    [
        {"supportedInterfaces": "text"},
        {"supportedInterfaces": [1]},
        {"supportedInterfaces": [{}]},
        {"skills": [1]},
        {"skills": {}},
        {"securitySchemes": []},
        {"securitySchemes": {"key": 1}},
        {"securityRequirements": [{"schemes": {"key": 1}}]},
        {"securityRequirements": [1]},
        {"capabilities": 1},
        {"additionalInterfaces": {}},
    ],
    ids=str,
)
def test_a_card_of_any_shape_is_read(change: dict[str, Any]) -> None:
    own = without_mirrors({**MIRRORED, **change})
    assert {name: own[name] for name in change} == change
    without_mirrors(change)


def test_what_is_empty_means_nothing_and_what_is_false_does() -> None:
    value: Any = {
        "a": "",
        "b": [],
        "c": {"d": {}},
        "e": None,
        "f": False,
        "g": 0,
        "h": ["", {"i": ""}],
        "required": False,
    }
    assert meaningful(value) == {"f": False, "g": 0, "required": False}
    assert meaningful(value, frozenset({"required"})) == {"f": False, "g": 0}
    assert meaningful({"params": {"required": False}}, frozenset({"required"})) == {"params": {"required": False}}
    assert meaningful("") is None
