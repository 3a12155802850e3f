"""The calling workload: by attributes or by Envoy's own element, and by a SPIFFE ID that is one."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ext_proc.credentials.peer import MtlsPeers, Origin, SpiffePeers, trust_domain_of
from ext_proc.credentials.source import CredentialError
from ext_proc.identity import Evidence, Kind
from tests.unit.credentials.minting import presented

XFCC = "x-forwarded-client-cert"
ID = "spiffe://prod.example/ns/tools/sa/runner"
BY_HEADER = SpiffePeers(Origin.XFCC, ["prod.example"])
BY_ATTRIBUTES = SpiffePeers(Origin.ATTRIBUTES, ["prod.example", "other"])


def test_envoys_own_element_names_the_workload() -> None:
    peer = BY_HEADER.peer(presented((XFCC, f'By=spiffe://x/gw;Hash=1;Subject="";URI={ID}')))
    assert peer is not None
    assert (peer.spiffe, peer.identity.subject, peer.identity.issuer) == (ID, ID, "spiffe://prod.example")
    assert (peer.identity.kind, peer.identity.evidence) == (Kind.AUTONOMOUS_AGENT, Evidence.CERTIFICATE)


def test_where_envoy_appends_its_element_is_the_last() -> None:
    appended = presented((XFCC, f"Hash=0;URI=spiffe://prod.example/admin,By=spiffe://x/gw;Hash=1;URI={ID}"))
    peer = SpiffePeers(Origin.XFCC_LAST, ["prod.example"]).peer(appended)
    assert peer is not None
    assert peer.spiffe == ID
    with pytest.raises(CredentialError):
        BY_HEADER.peer(appended)


def test_attributes_of_the_connection_name_the_workload() -> None:
    peer = BY_ATTRIBUTES.peer(presented(uri_san_peer_certificate=ID, sha256_peer_certificate_digest="ab"))
    assert peer is not None
    assert peer.spiffe == peer.identity.spiffe == ID


def test_each_source_looks_where_it_is_told_to_and_nowhere_else() -> None:
    assert BY_ATTRIBUTES.peer(presented((XFCC, f"Hash=1;URI={ID}"))) is None
    assert BY_HEADER.peer(presented(uri_san_peer_certificate=ID)) is None
    assert BY_HEADER.peer(presented((XFCC, ""))) is None
    assert BY_HEADER.peer(presented()) is None


def test_a_certificate_without_a_spiffe_id_is_not_this_sources() -> None:
    assert BY_HEADER.peer(presented((XFCC, 'By=spiffe://a/b;By=c;Hash=1;Subject="";DNS=a.example'))) is None
    assert BY_HEADER.peer(presented((XFCC, "Hash=1;URI=https://a.example"))) is None
    assert BY_ATTRIBUTES.peer(presented(dns_san_peer_certificate="a.example")) is None


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        (f"Hash=1;URI={ID};URI=spiffe://prod.example/admin", "peer-malformed"),
        (f"Hash=1;URI={ID};URI=https://x", "peer-malformed"),
        (f"URI={ID}", "peer-malformed"),
        (f"Hash=;URI={ID}", "peer-malformed"),
        (f"Hash=1;URI={ID},URI=spiffe://prod.example/admin", "peer-malformed"),
        (f"Hash=1;URI={ID};x=1", "peer-malformed"),
        (f"Hash=1;DNS=a.example;URI={ID}", "peer-malformed"),
        (f"URI={ID};Hash=1", "peer-malformed"),
        (f"Hash=1;URI={ID},Hash=2;URI=spiffe://prod.example/admin", "peer-malformed"),
        ("Hash=1;URI=spiffe://prod.example", "peer-malformed"),
        ("Hash=1;URI=spiffe://prod.example/", "peer-malformed"),
        ("Hash=1;URI=SPIFFE://prod.example/a", "peer-malformed"),
        ("Hash=1;URI=spiffe://PROD.example/a", "peer-malformed"),
        ("Hash=1;URI=spiffe://prod.example:443/a", "peer-malformed"),
        ("Hash=1;URI=spiffe://user@prod.example/a", "peer-malformed"),
        ("Hash=1;URI=spiffe://prod.example/a/../admin", "peer-malformed"),
        ("Hash=1;URI=spiffe://prod.example/a//b", "peer-malformed"),
        ("Hash=1;URI=spiffe://prod.example/%61", "peer-malformed"),
        ("Hash=1;URI=spiffe://prod.example/a?x", "peer-malformed"),
        ("Hash=1;URI=spiffe://prod.example/a#x", "peer-malformed"),
        ("Hash=1;URI=spiffe://prod.example.attacker/a", "peer-trust-domain"),
        ("Hash=1;URI=spiffe://attacker/prod.example/a", "peer-trust-domain"),
        ("Hash=1;URI=spiffe://prod.example/" + "a" * 2048, "peer-malformed"),
        ("Hash=1;;", "peer-malformed"),
    ],
)
def test_a_workload_that_does_not_hold_is_refused(value: str, reason: str) -> None:
    with pytest.raises(CredentialError) as error:
        BY_HEADER.peer(presented((XFCC, value)))
    assert error.value.reason == reason


def test_two_headers_are_refused() -> None:
    with pytest.raises(CredentialError) as error:
        BY_HEADER.peer(presented((XFCC, f"Hash=1;URI={ID}"), (XFCC, f"Hash=1;URI={ID}")))
    assert error.value.reason == "credential-repeated"


@given(st.text(alphabet="spife:/.abAB-_%?#@ \u00fc", max_size=30))
def test_a_spiffe_id_has_a_trust_domain_and_a_path_in_its_own_letters(text: str) -> None:
    for name in (text, f"spiffe://{text}", f"spiffe://td/{text}"):
        domain = trust_domain_of(name)
        if domain is not None:
            path = name.removeprefix(f"spiffe://{domain}/")
            assert name == f"spiffe://{domain}/{path}"
            assert all(part not in ("", ".", "..") and part.isascii() for part in path.split("/"))
            assert not set(name) & set("%?#@ ")


CERTIFICATE = 'Hash=abc;Subject="CN=build,O=Acme";URI=https://acme/build;DNS=build.acme.example;DNS=other'


@pytest.mark.parametrize(
    ("name", "subject"),
    [
        ("dns", "build.acme.example"),
        ("uri", "https://acme/build"),
        ("subject", "CN=build,O=Acme"),
        ("digest", "abc"),
    ],
)
def test_a_certificate_is_named_by_the_part_that_the_bundle_says(name: str, subject: str) -> None:
    peer = MtlsPeers(Origin.XFCC, name, Kind.AUTONOMOUS_AGENT, "acme-ca").peer(presented((XFCC, CERTIFICATE)))
    assert peer is not None
    assert (peer.identity.subject, peer.identity.issuer, peer.identity.kind) == (
        subject,
        "acme-ca",
        Kind.AUTONOMOUS_AGENT,
    )
    assert peer.spiffe == peer.identity.spiffe == ""


def test_a_certificate_by_itself_says_nothing_of_the_kind_of_its_holder() -> None:
    peer = MtlsPeers(Origin.ATTRIBUTES, "subject", Kind.UNKNOWN, "mtls").peer(
        presented(subject_peer_certificate="CN=x")
    )
    assert peer is not None
    assert (peer.identity.kind, peer.identity.evidence, peer.identity.verified) == (Kind.UNKNOWN, Evidence.NONE, True)


def test_a_certificate_without_that_part_names_nobody() -> None:
    assert MtlsPeers(Origin.XFCC, "dns", Kind.UNKNOWN, "mtls").peer(presented((XFCC, "Hash=1"))) is None
    assert MtlsPeers(Origin.ATTRIBUTES, "dns", Kind.UNKNOWN, "mtls").peer(presented()) is None
