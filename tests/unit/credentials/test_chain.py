"""The sources of a bundle together: the first with a credential of its own has the word, and a refusal ends it."""

from __future__ import annotations

import itertools

import pytest

from ext_proc.credentials.api_keys import ApiKey, ApiKeys, new_key
from ext_proc.credentials.chain import Chain, envoy_only
from ext_proc.credentials.jwt import BearerTokens, Issuer
from ext_proc.credentials.keys import FileOrigin, KeySet, read_jwks
from ext_proc.credentials.metadata import JWT_NAMESPACE, VerifiedByEnvoy
from ext_proc.credentials.peer import MtlsPeers, Origin, SpiffePeers
from ext_proc.credentials.source import KeyMissing, Rejected, Source
from ext_proc.identity import UNKNOWN, ClientKind, Evidence, Identity, Kind, RegisteredClient, Registry
from tests.unit.credentials.minting import AUDIENCE, ISSUER, NOW, Minter, jwks, presented
from tests.unit.credentials.test_keys import NOWHERE

EC = Minter("ES256", "ec")
KEY, DIGEST = new_key()
AGENT, WEB = "spiffe://prod/agents/runner", "spiffe://prod/web"
REGISTRY = Registry(
    [
        RegisteredClient(ClientKind.INTERACTIVE, client="portal"),
        RegisteredClient(ClientKind.AGENT, spiffe="spiffe://prod/agents/*"),
    ]
)
TOKENS = BearerTokens(
    [Issuer(ISSUER, frozenset({AUDIENCE}), KeySet(FileOrigin(NOWHERE), read_jwks(jwks(EC))))], REGISTRY
)
KEYS = ApiKeys([ApiKey(bytes.fromhex(DIGEST), Identity(Kind.UNKNOWN, "bot", "api-keys"))])
IN_AUTHORIZATION = ApiKeys([ApiKey(bytes.fromhex(DIGEST), Identity(Kind.UNKNOWN, "bot"))], header="authorization")
ENVOY = VerifiedByEnvoy(registry=REGISTRY)
PEERS = (SpiffePeers(Origin.ATTRIBUTES, ["prod"]), MtlsPeers(Origin.ATTRIBUTES, "dns", Kind.UNKNOWN, "mtls"))
METADATA = {JWT_NAMESPACE: {"claims": {"iss": "idp", "sub": "eve"}}}


def bearer(credential: str) -> tuple[str, str]:
    return ("authorization", f"Bearer {credential}")


def chain() -> Chain:
    return Chain((ENVOY, TOKENS, KEYS), PEERS, REGISTRY)


def subject(found: Identity | Rejected | KeyMissing) -> str:
    assert isinstance(found, Identity), found
    return found.subject


def test_whoever_presents_nothing_is_unknown() -> None:
    assert chain().identify(presented()) is UNKNOWN
    assert Chain().identify(presented(bearer("whatever"))) is UNKNOWN


def test_the_first_source_with_a_credential_of_its_own_has_the_word() -> None:
    everything = presented(bearer(EC.mint()), ("x-api-key", KEY), metadata=METADATA)
    known: list[tuple[Source, str]] = [(ENVOY, "eve"), (TOKENS, "ann"), (KEYS, "bot")]
    for order in itertools.permutations(known):
        assert subject(Chain([source for source, _ in order]).identify(everything)) == order[0][1]


@pytest.mark.parametrize("position", [0, 1, 2])
def test_a_credential_that_does_not_hold_ends_it_unless_another_came_first(position: int) -> None:
    sources: list[ApiKeys | BearerTokens | VerifiedByEnvoy] = [KEYS, ENVOY]
    sources.insert(position, TOKENS)
    forged = bearer(Minter("ES256", "ec").mint())
    assert Chain(sources).identify(presented(forged)) == Rejected("token-signature")
    with_key = Chain(sources).identify(presented(forged, ("x-api-key", KEY)))
    assert with_key == Rejected("token-signature") if position == 0 else subject(with_key) == "bot"


def test_a_bearer_credential_that_nobody_knows_is_refused() -> None:
    assert chain().identify(presented(bearer("sk-live-0123"))) == Rejected("credential-unknown")


@pytest.mark.parametrize("sources", [(TOKENS, IN_AUTHORIZATION), (IN_AUTHORIZATION, TOKENS)])
def test_tokens_and_keys_may_share_a_header_in_any_order(sources: tuple[BearerTokens, ApiKeys]) -> None:
    both = Chain(sources)
    assert subject(both.identify(presented(bearer(KEY)))) == "bot"
    assert subject(both.identify(presented(bearer(EC.mint())))) == "ann"
    assert both.identify(presented(bearer("gh_other"))) == Rejected("credential-unknown")
    assert both.identify(presented(bearer(EC.mint(exp=1)))) == Rejected("token-expired")


def test_a_workload_alone_is_an_autonomous_agent() -> None:
    found = chain().identify(presented(uri_san_peer_certificate=WEB))
    assert isinstance(found, Identity)
    assert (found.kind, found.subject, found.spiffe) == (Kind.AUTONOMOUS_AGENT, WEB, WEB)
    assert subject(chain().identify(presented(dns_san_peer_certificate="build.example"))) == "build.example"


def test_a_workload_stands_beside_a_token() -> None:
    token = EC.mint(client_id="portal")
    found = chain().identify(presented(bearer(token), uri_san_peer_certificate=WEB))
    assert isinstance(found, Identity)
    assert (found.kind, found.subject, found.spiffe) == (Kind.HUMAN, "ann", WEB)
    by_agent = chain().identify(presented(bearer(token), uri_san_peer_certificate=AGENT))
    assert isinstance(by_agent, Identity)
    assert (by_agent.kind, by_agent.actor, by_agent.evidence) == (Kind.DELEGATED_AGENT, AGENT, Evidence.REGISTRY)


def test_a_workload_that_does_not_hold_ends_it_although_the_token_holds() -> None:
    found = chain().identify(presented(bearer(EC.mint()), uri_san_peer_certificate="spiffe://elsewhere/x"))
    assert found == Rejected("peer-trust-domain")


def test_one_token_used_by_a_person_and_by_an_agent_is_shared_from_then_on() -> None:
    sources = chain()
    token = bearer(EC.mint(client_id="portal", jti="one"))
    person = sources.identify(presented(token))
    assert isinstance(person, Identity)
    assert (person.kind, person.shared) == (Kind.HUMAN, False)
    agent = sources.identify(presented(token, uri_san_peer_certificate=AGENT))
    assert isinstance(agent, Identity)
    assert (agent.kind, agent.shared) == (Kind.DELEGATED_AGENT, True)
    after = sources.identify(presented(token))
    assert isinstance(after, Identity)
    assert (after.kind, after.evidence, after.shared) == (Kind.DELEGATED_AGENT, Evidence.SHARED, True)
    other = sources.identify(presented(bearer(EC.mint(client_id="portal", jti="two"))))
    assert isinstance(other, Identity)
    assert (other.kind, other.shared) == (Kind.HUMAN, False)


def test_what_was_seen_is_known_under_the_next_bundle() -> None:
    before, after = chain(), chain()
    token = bearer(EC.mint(client_id="portal"))
    before.identify(presented(token))
    after.take_over(before)
    found = after.identify(presented(token, uri_san_peer_certificate=AGENT))
    assert isinstance(found, Identity)
    assert found.shared


def test_the_keys_to_keep_up_to_date_are_those_with_an_origin() -> None:
    assert [keys.origin for keys in chain().key_sets] == [FileOrigin(NOWHERE)]
    secret = BearerTokens([Issuer(ISSUER, frozenset({AUDIENCE}), KeySet(None, read_jwks(jwks(EC))))])
    assert Chain((secret,)).key_sets == ()


def test_a_bundle_that_says_nothing_believes_envoy() -> None:
    assert subject(envoy_only().identify(presented(metadata=METADATA))) == "eve"
    assert envoy_only().identify(presented(bearer("anything"), time=NOW)) is UNKNOWN
