"""The workload that a connection comes from, by the certificate that Envoy verified: SPIFFE, or plain mutual TLS.

Rules:
- It counts only where Envoy says it: as attributes of the connection (`request_attributes` of the filter), or in XFCC
  where Envoy itself writes that header. Under ALWAYS_FORWARD_ONLY a client writes it; nothing here could tell.
- Envoy (1.40) writes names into XFCC as they stand in the certificate. So what does not look as Envoy writes it is
  refused: `SANITIZE_SET` writes one element, with known keys in one order. A name that an authority signed with a comma
  or semicolon in it can pass for another all the same; attributes have no such weakness.
- Envoy must verify the certificate (`validation_context` with a trusted CA): both ways tell of one that was only shown.
- A SPIFFE ID is held to its grammar, and its trust domain must be listed; a certificate with a SPIFFE ID has no other
  URI (SPIFFE ID sections 2.1 to 2.3, X.509-SVID section 2).
- A workload by itself is an autonomous agent; beside a token it is where the token's caller comes from.

Not here: XFCC's grammar (xfcc.py), which workloads are agents (the registry, identity.py).
"""

from __future__ import annotations

import enum
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol

from ext_proc.credentials.source import CredentialError, Presented, fingerprint, only_line
from ext_proc.credentials.xfcc import Element, read_xfcc
from ext_proc.identity import Evidence, Identity, Kind

XFCC = "x-forwarded-client-cert"
_ORDER = ("by", "hash", "cert", "chain", "subject", "uri", "dns")
_SCHEME = "spiffe://"
_MAX_ID = 2048  # bytes (SPIFFE ID section 2.3)
_SPIFFE_ID = re.compile(r"spiffe://([a-z0-9._-]{1,255})((?:/[A-Za-z0-9._-]+)+)", re.ASCII)
_DOTS = frozenset({".", ".."})


class Origin(enum.Enum):
    """Where Envoy says who the peer is."""

    XFCC = "xfcc"
    XFCC_LAST = "xfcc-last"
    ATTRIBUTES = "attributes"


@dataclass(frozen=True, slots=True)
class Certificate:
    """What Envoy tells of the peer's certificate; attributes tell of the first URI and DNS name only.

    Attributes:
        subject: as RFC 2253 writes it.
        digest: SHA-256 of the certificate, in hex.
    """

    uris: Sequence[str] = ()
    dns: Sequence[str] = ()
    subject: str = ""
    digest: str = ""


@dataclass(frozen=True, slots=True)
class Peer:
    """A workload: its identity where it presents nothing else, and its SPIFFE ID if it has one."""

    identity: Identity
    spiffe: str = ""


class PeerSource(Protocol):
    """One way to know workloads."""

    def peer(self, presented: Presented) -> Peer | None:
        """The workload; None where no certificate of this kind was presented.

        Raises:
            CredentialError: one was, and it does not hold.
        """
        ...


def certificate(origin: Origin, presented: Presented) -> Certificate | None:
    """The peer's certificate; None where there is none, or Envoy does not tell.

    Raises:
        CredentialError: the header is malformed, stands twice, or has elements of others where it must not.
    """
    if origin is Origin.ATTRIBUTES:
        return _from_attributes(presented.facts.attributes)
    value = only_line(presented.headers, XFCC)
    if not value:
        return None
    *others, last = read_xfcc(value)
    if (others and origin is Origin.XFCC) or not _is_envoys(last):
        raise CredentialError("peer-malformed")
    return Certificate(last.all("uri"), last.all("dns"), last.first("subject"), last.first("hash"))


def _is_envoys(element: Element) -> bool:
    """Whether Envoy may have written it: the hash always, and no keys but its own, in its order."""
    return bool(element.first("hash")) and list(element.values) == [key for key in _ORDER if key in element.values]


def _from_attributes(attributes: Mapping[str, Any]) -> Certificate | None:
    def text(name: str) -> str:
        value = attributes.get(f"connection.{name}")
        return value if isinstance(value, str) else ""

    uri, dns = text("uri_san_peer_certificate"), text("dns_san_peer_certificate")
    found = Certificate(
        uris=(uri,) if uri else (),
        dns=(dns,) if dns else (),
        subject=text("subject_peer_certificate"),
        digest=text("sha256_peer_certificate_digest"),
    )
    return None if found == Certificate() else found


class SpiffePeers:
    """Workloads with a SPIFFE ID.

    Args:
        trust_domains: those that count.
    """

    def __init__(self, origin: Origin, trust_domains: Sequence[str]) -> None:
        self._origin = origin
        self._trust_domains = frozenset(trust_domains)

    def peer(self, presented: Presented) -> Peer | None:
        found = certificate(self._origin, presented)
        if found is None or not any(uri.lower().startswith(_SCHEME) for uri in found.uris):
            return None
        if len(found.uris) > 1:
            raise CredentialError("peer-malformed")
        name = found.uris[0]
        trust_domain = trust_domain_of(name)
        if trust_domain is None:
            raise CredentialError("peer-malformed")
        if trust_domain not in self._trust_domains:
            raise CredentialError("peer-trust-domain")
        alone = _alone(name, _SCHEME + trust_domain, Kind.AUTONOMOUS_AGENT)
        return Peer(replace(alone, spiffe=name), name)


class MtlsPeers:
    """Workloads, or people, with a certificate that has no SPIFFE ID.

    Args:
        name: which part of the certificate names its holder: "dns" or "uri" (the first of each), "subject", "digest".
        kind: what a holder is; a certificate itself does not tell.
        issuer: who vouches for the names, as identities have it.
    """

    def __init__(self, origin: Origin, name: str, kind: Kind, issuer: str) -> None:
        self._origin = origin
        self._name = name
        self._kind = kind
        self._issuer = issuer

    def peer(self, presented: Presented) -> Peer | None:
        found = certificate(self._origin, presented)
        if found is None:
            return None
        names = {"dns": found.dns, "uri": found.uris, "subject": (found.subject,), "digest": (found.digest,)}
        name = next(iter(names[self._name]), "")
        return Peer(_alone(name, self._issuer, self._kind)) if name else None


def trust_domain_of(spiffe_id: str) -> str | None:
    """The trust domain of a workload's SPIFFE ID; None for what is none."""
    found = _SPIFFE_ID.fullmatch(spiffe_id)
    if found is None or len(spiffe_id) > _MAX_ID or _DOTS & set(found[2].split("/")):
        return None
    return found[1]


def _alone(name: str, issuer: str, kind: Kind) -> Identity:
    return Identity(
        kind=kind,
        subject=name,
        issuer=issuer,
        evidence=Evidence.NONE if kind is Kind.UNKNOWN else Evidence.CERTIFICATE,
        credential=fingerprint("certificate", issuer, name),
    )
