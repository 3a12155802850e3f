"""What pages for people need of the rest of a bundle."""

from __future__ import annotations

from typing import Any

import pytest

from tests.unit.bundle.building import examined, good

URL = "https://gate.example.com/gatehouse"
API_KEYS = {"api_keys": {"keys": [{"sha256": "0" * 64, "subject": "ann", "kind": "human"}]}}
AGENT = {"spiffe": "spiffe://prod.example/agents/*", "kind": "agent"}


def peers(origin: str) -> dict[str, Any]:
    return {"spiffe": {"from": origin, "trust_domains": ["prod.example"]}}


def bundle(*identity: Any, mode: str = "enforce", used: bool = True, **changes: Any) -> dict[str, Any]:
    """A bundle with a policy that has pages, and these sources of identity."""
    made = good()
    made["policies"].append({"name": "ask", "type": "tests.asking:Asking", "mode": mode})
    if used:
        made["routes"][0]["policies"].append("ask")
    if identity:
        made["identity"] = list(identity)
    return {**made, **changes}


def warnings(made: dict[str, Any]) -> dict[str, str]:
    found = examined(made, environ={"HOME": "/home/op"})
    assert found.problems == ()
    return {warning.path: warning.message for warning in found.warnings if "page" in warning.message}


def test_a_bundle_with_pages_an_address_and_a_source_that_sees_visitors_is_fine() -> None:
    assert warnings(bundle(API_KEYS, pages={"url": URL})) == {}


def test_pages_without_an_address_are_told() -> None:
    assert warnings(bundle(API_KEYS)) == {
        "policies[1].name": "has pages for people, and nothing says where they find them: set pages.url"
    }


@pytest.mark.parametrize("how", [{"mode": "shadow"}, {"mode": "off"}, {"used": False}])
def test_an_address_without_pages_is_told(how: dict[str, Any]) -> None:
    assert warnings(bundle(API_KEYS, pages={"url": URL}, **how)) == {
        "pages.url": "no route has an enforcing policy with pages for people"
    }
    assert warnings(bundle(API_KEYS, **how)) == {}


@pytest.mark.parametrize("identity", [(), ({"metadata": {}},), ({"metadata": {}}, peers("attributes"))])
def test_that_no_source_sees_a_visitor_is_told(identity: tuple[Any, ...]) -> None:
    found = warnings(bundle(*identity, pages={"url": URL}))
    assert list(found) == ["identity"]
    assert found["identity"].startswith("no source knows a visitor, so nobody gets to the pages")


@pytest.mark.parametrize("origin", ["xfcc", "xfcc-last"])
def test_a_certificate_in_a_header_is_seen(origin: str) -> None:
    assert warnings(bundle(peers(origin), pages={"url": URL})) == {}


def test_beside_pages_an_agents_workload_is_not_told_by_attributes_alone() -> None:
    made = bundle(API_KEYS, peers("attributes"), pages={"url": URL}, clients=[AGENT])
    (problem,) = examined(made).problems
    assert problem.path == "identity[1].spiffe.from"
    assert problem.message.startswith("expected xfcc or xfcc-last beside pages")
    fine = bundle(API_KEYS, peers("xfcc"), pages={"url": URL}, clients=[AGENT])
    assert examined(fine, environ={"HOME": "/home/op"}).problems == ()
    without = bundle(API_KEYS, peers("attributes"), clients=[AGENT])
    assert examined(without, environ={"HOME": "/home/op"}).problems == ()
