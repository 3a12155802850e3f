"""What would verify nothing cannot be written, and each mistake is told where it stands."""

from __future__ import annotations

from typing import Any

import pytest

from tests.unit.bundle.building import examined, good

JWT: dict[str, Any] = {"issuer": "https://i", "audiences": ["a"], "jwks": {"url": "https://i/jwks"}}
SHA256 = "0" * 64

# The entry, and the one problem that follows: the path below `identity[0]`, and what is said.
BROKEN: list[tuple[dict[str, Any], str, str]] = [
    ({"jwt": JWT, "metadata": {}}, "", "expected one of metadata, jwt, api_keys, spiffe and mtls"),
    ({"jwt": {**JWT, "audiences": []}}, ".jwt.audiences", "expected 1 to 64 items"),
    ({"jwt": {"issuer": "i", "jwks": JWT["jwks"]}}, ".jwt.audiences", "expected this key; it is required"),
    ({"jwt": {"issuer": "i", "audiences": ["a"]}}, ".jwt", "expected either jwks or secret"),
    ({"jwt": {**JWT, "issuer": ""}}, ".jwt.issuer", "expected at least 1 character"),
    ({"jwt": {**JWT, "algorithms": ["none"]}}, ".jwt.algorithms[0]", "expected 'RS256', 'RS384'"),
    ({"jwt": {**JWT, "algorithms": ["HS256"]}}, ".jwt", "expected algorithms for public keys, which HS256 is not"),
    ({"jwt": {**JWT, "leeway": "6m"}}, ".jwt.leeway", "expected at most 5m"),
    ({"jwt": {**JWT, "leeway": 30}}, ".jwt.leeway", "expected a duration with its unit"),
    ({"jwt": {**JWT, "act_depth": 0}}, ".jwt.act_depth", "expected at least 1"),
    ({"jwt": {**JWT, "cache": -1}}, ".jwt.cache", "expected at least 0"),
    ({"jwt": {**JWT, "header": "Authorization"}}, ".jwt.header", "expected a header name in lower case"),
    ({"jwt": {**JWT, "secret": "nothing"}}, ".jwt.secret", "no usable secret"),
    ({"jwt": {**JWT, "jwks": {}}}, ".jwt.jwks", "expected either file or url"),
    ({"jwt": {**JWT, "jwks": {"url": "https://i", "file": "f"}}}, ".jwt.jwks", "expected either file or url"),
    ({"jwt": {**JWT, "jwks": {"url": "http://i.example/jwks"}}}, ".jwt.jwks", "expected https, http on the loopback"),
    ({"jwt": {**JWT, "jwks": {"url": "http://127.0.0.1.example/"}}}, ".jwt.jwks", "expected https, http on the"),
    ({"jwt": {**JWT, "jwks": {"url": "file:///etc/keys"}}}, ".jwt.jwks.url", "expected a URL such as"),
    ({"jwt": {**JWT, "jwks": {"url": "https://user:pw@i/"}}}, ".jwt.jwks.url", "expected a URL without a user"),
    ({"jwt": {**JWT, "jwks": {"url": "https:///jwks"}}}, ".jwt.jwks.url", "expected a URL such as"),
    (
        {"jwt": {**JWT, "claim_names": {"roles": "/a~b"}}},
        ".jwt.claim_names.roles",
        "expected a claim's name, or",
    ),
    ({"api_keys": {}}, ".api_keys", "expected keys or file"),
    (
        {"api_keys": {"keys": [{"sha256": SHA256.upper() + "A", "subject": "x"}]}},
        ".api_keys.keys[0].sha256",
        "expected a SHA-256",
    ),
    ({"api_keys": {"keys": [{"sha256": SHA256, "subject": ""}]}}, ".api_keys.keys[0].subject", "expected at least 1"),
    (
        {"api_keys": {"keys": [{"sha256": SHA256, "subject": "x", "expires": "2027-01-31"}]}},
        ".api_keys.keys[0].expires",
        "expected a time with its zone",
    ),
    (
        {"api_keys": {"keys": [{"sha256": SHA256, "subject": "x", "kind": "robot"}]}},
        ".api_keys.keys[0].kind",
        "expected 'human', 'agent' or 'unknown'",
    ),
    ({"spiffe": {"from": "xfcc", "trust_domains": []}}, ".spiffe.trust_domains", "expected 1 to 64 items"),
    ({"spiffe": {"trust_domains": ["a"]}}, ".spiffe.from", "expected this key; it is required"),
    (
        {"spiffe": {"from": "header", "trust_domains": ["a"]}},
        ".spiffe.from",
        "expected 'attributes', 'xfcc' or 'xfcc-last'",
    ),
    (
        {"spiffe": {"from": "xfcc", "trust_domains": ["spiffe://a"]}},
        ".spiffe.trust_domains[0]",
        "expected a SPIFFE trust domain",
    ),
    ({"spiffe": {"origin": "xfcc", "from": "xfcc", "trust_domains": ["a"]}}, ".spiffe.origin", "unknown key"),
    ({"mtls": {"from": "xfcc"}}, ".mtls", "expected name: subject or digest with xfcc"),
    ({"mtls": {"from": "xfcc", "name": "cn"}}, ".mtls.name", "expected 'dns', 'uri', 'subject' or 'digest'"),
]


@pytest.mark.parametrize(("part", "path", "message"), BROKEN, ids=str)
def test_an_entry_that_is_wrong_is_one_problem_at_its_place(part: dict[str, Any], path: str, message: str) -> None:
    found = examined({**good(), "identity": [part]})
    assert found.rulebook is None
    (problem,) = found.problems
    assert problem.path == f"identity[0]{path}"
    assert problem.message.startswith(message)
    assert "user:pw" not in str(problem)


@pytest.mark.parametrize(
    ("client", "path", "message"),
    [
        ({"kind": "agent"}, "", "expected either id or spiffe"),
        ({"id": "a", "spiffe": "b", "kind": "agent"}, "", "expected either id or spiffe"),
        ({"spiffe": "b", "kind": "interactive"}, "", "expected kind: agent"),
        ({"spiffe": "b", "kind": "agent", "issuer": "i"}, "", "expected kind: agent, and no issuer"),
        ({"id": "a"}, ".kind", "expected this key; it is required"),
        ({"id": "a", "kind": "human"}, ".kind", "expected 'agent' or 'interactive'"),
    ],
)
def test_a_client_that_is_wrong_is_one_problem_at_its_place(client: dict[str, Any], path: str, message: str) -> None:
    found = examined({**good(), "clients": [client]})
    (problem,) = found.problems
    assert problem.path == f"clients[0]{path}"
    assert problem.message.startswith(message)


@pytest.mark.parametrize(
    "url", ["https://i.example/jwks?x=1", "http://127.0.0.1:8080/jwks", "http://[::1]/jwks", "http://localhost/jwks"]
)
def test_keys_come_over_https_or_from_the_loopback(url: str) -> None:
    assert examined({**good(), "identity": [{"jwt": {**JWT, "jwks": {"url": url}}}]}).rulebook is not None


def test_plain_http_elsewhere_has_to_be_asked_for_in_so_many_words() -> None:
    jwks = {"url": "http://i.example/jwks", "insecure": True}
    assert examined({**good(), "identity": [{"jwt": {**JWT, "jwks": jwks}}]}).rulebook is not None


def test_nobody_may_be_known() -> None:
    found = examined({**good(), "identity": []})
    assert found.rulebook is not None
    assert found.rulebook.identity.chain.sources == ()
