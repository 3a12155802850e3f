"""From the bundle's words to sources: files, secrets, several issuers in a header, and every mistake with its path."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from ext_proc.bundle.load import Examined
from ext_proc.credentials.api_keys import new_key
from ext_proc.credentials.chain import Chain
from ext_proc.credentials.jwt import BearerTokens
from ext_proc.credentials.keys import FileOrigin, UrlOrigin
from ext_proc.credentials.source import KeyMissing, Presented, Rejected
from ext_proc.identity import Identity, Kind
from tests.unit.bundle.building import examined, good
from tests.unit.credentials.minting import (
    AUDIENCE,
    ISSUER,
    NOW,
    Minter,
    hmac_signed,
    jwks,
    presented,
    usual,
    with_token,
)

EC = Minter("ES256", "ec")
KEY, SHA256 = new_key()
SECRET = "a secret that two parties share and nobody else"
JWT = {"issuer": ISSUER, "audiences": [AUDIENCE], "jwks": {"file": "jwks.json"}}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "jwks.json").write_bytes(jwks(EC))
    return tmp_path


def with_identity(folder: Path, *parts: dict[str, Any], **rest: Any) -> Examined:
    return examined({**good(), "identity": list(parts), **rest}, folder=folder, environ={"SHARED": SECRET})


def chain_of(found: Examined) -> Chain:
    assert found.rulebook is not None, found.problems
    return found.rulebook.identity.chain


def who(chain: Chain, request: Presented) -> Identity:
    found = chain.identify(request)
    assert isinstance(found, Identity), found
    return found


def problems(found: Examined) -> list[tuple[str, str]]:
    return [(problem.path, problem.message) for problem in found.problems]


def test_tokens_are_verified_with_the_keys_of_a_file_beside_the_bundle(folder: Path) -> None:
    chain = chain_of(with_identity(folder, {"jwt": JWT}))
    assert who(chain, with_token(EC.mint())).subject == "ann"
    assert chain.identify(with_token(Minter("ES256", "ec").mint())) == Rejected("token-signature")
    assert [keys.origin for keys in chain.key_sets] == [FileOrigin(folder / "jwks.json")]


def test_keys_with_a_url_are_not_fetched_and_there_are_none_until_they_are(folder: Path) -> None:
    url = "https://issuer.example/jwks.json"
    chain = chain_of(with_identity(folder, {"jwt": {**JWT, "jwks": {"url": url, "stale": "2d", "cooldown": "30s"}}}))
    (keys,) = chain.key_sets
    assert keys.origin == UrlOrigin(url, timeout=5.0, refresh=300.0, stale=172800.0, cooldown=30.0)
    assert isinstance(chain.identify(with_token(EC.mint())), KeyMissing)


def test_every_setting_of_an_issuer_arrives(folder: Path) -> None:
    settings = {
        "algorithms": ["ES256"],
        "type": "application/AT+jwt",
        "leeway": "5s",
        "max_length": "1KiB",
        "act_depth": 1,
        "claims": ["email"],
        "claim_names": {"roles": "/realm/roles", "tenant": "tid"},
    }
    chain = chain_of(with_identity(folder, {"jwt": {**JWT, **settings}}))
    typed = {"typ": "at+jwt"}
    found = who(chain, with_token(EC.mint(typed, realm={"roles": ["r"]}, tid="acme", email="e", exp=int(NOW) - 4)))
    assert (found.roles, found.tenant, found.claims) == (("r",), "acme", {"email": "e"})
    refused = {
        EC.mint(): "token-type",
        EC.mint(typed, exp=int(NOW) - 5): "token-expired",
        EC.mint(typed, filler="x" * 1024): "token-too-long",
        EC.mint(typed, act={"sub": "a", "act": {"sub": "b"}}): "claims-act-depth",
        Minter("EdDSA", "ec").mint(typed): "token-algorithm",
    }
    for token, reason in refused.items():
        assert chain.identify(with_token(token)) == Rejected(reason)


def test_a_secret_comes_from_the_bundles_secrets(folder: Path) -> None:
    part = {"issuer": ISSUER, "audiences": [AUDIENCE], "secret": "shared"}
    found = with_identity(folder, {"jwt": part}, secrets={"shared": {"env": "SHARED"}})
    chain = chain_of(found)
    assert who(chain, with_token(hmac_signed(SECRET.encode(), {"alg": "HS256"}, usual()))).subject == "ann"
    assert chain.key_sets == ()
    short = with_identity(folder, {"jwt": {**part, "algorithms": ["HS512"]}}, secrets={"shared": {"env": "SHARED"}})
    assert problems(short) == [("identity[0].jwt.secret", "expected a secret of at least 64 bytes for HS512")]
    assert SECRET not in str(short.problems)


def test_several_issuers_in_one_header_are_one_source_at_the_place_of_the_first(folder: Path) -> None:
    second = {**JWT, "issuer": "https://second.example"}
    chain = chain_of(
        with_identity(
            folder,
            {"jwt": JWT},
            {"api_keys": {"keys": [{"sha256": SHA256, "subject": "bot"}]}},
            {"jwt": second},
            {"jwt": {**JWT, "header": "x-id-token"}},
        )
    )
    assert [type(source).__name__ for source in chain.sources] == ["BearerTokens", "ApiKeys", "BearerTokens"]
    assert [source.header for source in chain.sources if isinstance(source, BearerTokens)] == [
        "authorization",
        "x-id-token",
    ]
    assert who(chain, with_token(EC.mint(iss="https://second.example"))).issuer == "https://second.example"
    assert who(chain, presented(("x-id-token", EC.mint()))).subject == "ann"


def test_keys_are_known_from_the_bundle_and_from_a_file(folder: Path) -> None:
    other, other_sha256 = new_key()
    (folder / "keys.yaml").write_text(
        f"keys:\n- {{sha256: {other_sha256}, subject: ci, kind: agent, groups: [b], expires: 2027-01-31T00:00:00Z}}\n"
    )
    entry = {"sha256": SHA256, "subject": "ann", "kind": "human", "roles": ["r"], "scopes": ["s"], "tenant": "t"}
    chain = chain_of(with_identity(folder, {"api_keys": {"keys": [entry], "file": "keys.yaml", "issuer": "house"}}))
    ann = who(chain, presented(("x-api-key", KEY)))
    assert (ann.kind, ann.subject, ann.issuer, ann.roles, ann.scopes, ann.tenant) == (
        Kind.HUMAN,
        "ann",
        "house",
        ("r",),
        ("s",),
        "t",
    )
    ci = who(chain, presented(("x-api-key", other)))
    assert (ci.kind, ci.groups, ci.expires) == (Kind.AUTONOMOUS_AGENT, ("b",), 1801353600.0)
    assert ci.credential != ann.credential
    assert chain.identify(presented(("x-api-key", other), time=1801353600.0)) == Rejected("api-key-expired")


def test_workloads_and_certificates_arrive(folder: Path) -> None:
    chain = chain_of(
        with_identity(
            folder,
            {"spiffe": {"from": "attributes", "trust_domains": ["prod"]}},
            {"mtls": {"from": "attributes", "name": "dns", "kind": "agent", "issuer": "ca"}},
            {"jwt": JWT},
            clients=[{"id": "portal", "kind": "interactive"}, {"spiffe": "spiffe://prod/a/*", "kind": "agent"}],
        )
    )
    assert who(chain, presented(uri_san_peer_certificate="spiffe://prod/x")).kind is Kind.AUTONOMOUS_AGENT
    build = who(chain, presented(dns_san_peer_certificate="build"))
    assert (build.subject, build.issuer, build.kind) == ("build", "ca", Kind.AUTONOMOUS_AGENT)
    token = ("authorization", f"Bearer {EC.mint(client_id='portal')}")
    assert who(chain, presented(token)).kind is Kind.HUMAN
    by_agent = who(chain, presented(token, uri_san_peer_certificate="spiffe://prod/a/b"))
    assert (by_agent.kind, by_agent.actor) == (Kind.DELEGATED_AGENT, "spiffe://prod/a/b")


def test_the_registry_counts_for_what_envoy_verified_and_may_name_an_issuer(folder: Path) -> None:
    chain = chain_of(
        with_identity(folder, {"metadata": {}}, clients=[{"id": "bot-*", "issuer": "https://idp", "kind": "agent"}])
    )

    def kind(issuer: str) -> Kind:
        claims = {"sub": "ann", "iss": issuer, "client_id": "bot-1"}
        return who(chain, presented(metadata={"envoy.filters.http.jwt_authn": {"c": claims}})).kind

    assert kind("https://idp") is Kind.DELEGATED_AGENT
    assert kind("https://other") is Kind.UNKNOWN


def test_a_key_file_that_cannot_be_used_is_a_problem_with_its_path(folder: Path) -> None:
    (folder / "html").write_text("<html>")
    (folder / "private.json").write_text('{"keys":[{"kty":"EC","d":"secret-half"}]}')
    (folder / "large.json").write_bytes(b" " * (256 * 1024 + 1))
    told = {
        "nowhere.json": "cannot read the key set's file (No such file or directory)",
        ".": "expected a regular file",
        "html": "expected a JSON Web Key Set: this is not JSON",
        "large.json": "expected at most 256 KiB",
        "private.json": "expected at least one public key for signatures",
    }
    for name, message in told.items():
        found = with_identity(folder, {"metadata": {}}, {"jwt": {**JWT, "jwks": {"file": name}}})
        assert found.rulebook is None
        ((path, said),) = problems(found)
        assert path == "identity[1].jwt.jwks.file"
        assert said.startswith(message)
        assert "secret-half" not in str(found.problems)


def test_a_file_of_api_keys_that_cannot_be_used_is_a_problem_with_its_path(folder: Path) -> None:
    place = "identity[0].api_keys.file"
    (folder / "list.yaml").write_text("- a\n")
    (folder / "wrong.yaml").write_text("keys:\n- {sha256: abc, subject: x}\n- {subject: y}\n")
    (folder / "twice.yaml").write_text("keys: []\nkeys: []\n")
    (folder / "same.yaml").write_text(
        f"keys:\n- {{sha256: {SHA256}, subject: x}}\n- {{sha256: {SHA256}, subject: y}}\n"
    )
    told = {
        "nowhere.yaml": [(place, "cannot read ")],
        "list.yaml": [(place, "expected a mapping")],
        "wrong.yaml": [
            (f"{place}.keys[0].sha256", "expected a SHA-256 as 64 lower-case hex digits"),
            (f"{place}.keys[1].sha256", "expected this key; it is required"),
        ],
        "twice.yaml": [(place, "keys: expected every key once")],
        "same.yaml": [(f"{place}.keys[1].sha256", "expected every key once")],
    }
    for name, expected in told.items():
        found = problems(with_identity(folder, {"api_keys": {"file": name}}))
        assert [path for path, _ in found] == [path for path, _ in expected]
        for (_, said), (_, begin) in zip(found, expected, strict=True):
            assert said.startswith(begin)


def test_one_issuer_twice_in_a_header_is_a_problem(folder: Path) -> None:
    found = with_identity(folder, {"jwt": JWT}, {"jwt": {**JWT, "audiences": ["other"]}})
    assert problems(found) == [
        ("identity[1].jwt.issuer", "expected one entry for each issuer of tokens in authorization")
    ]
    assert with_identity(folder, {"jwt": JWT}, {"jwt": {**JWT, "header": "x-other"}}).rulebook is not None


def test_a_problem_in_a_source_hides_none_in_the_others(folder: Path) -> None:
    found = with_identity(
        folder,
        {"jwt": {**JWT, "jwks": {"file": "nowhere"}}},
        {"jwt": {**JWT, "issuer": "x", "jwks": {"file": "nowhere"}}},
        {"api_keys": {"file": "nowhere"}},
    )
    assert [path for path, _ in problems(found)] == [
        "identity[0].jwt.jwks.file",
        "identity[1].jwt.jwks.file",
        "identity[2].api_keys.file",
    ]
