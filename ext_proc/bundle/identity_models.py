"""The format of a bundle's `identity` and `clients`: how callers are known, and what is known of their clients.

Rules:
- The same as of the rest of the format (models.py).
- What would verify nothing is no format: a token without an audience, a public key with a secret's algorithm, keys over
  a connection that anybody can change.

Not here: reading key files, building the sources (identities.py), what a source does (credentials/).
"""

from __future__ import annotations

import ipaddress
import re
from datetime import datetime
from typing import Annotated, Literal
from urllib.parse import urlsplit

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, PlainValidator, WithJsonSchema, model_validator

from ext_proc.credentials import api_keys, jwt
from ext_proc.credentials.keys import PUBLIC_ALGORITHMS, SECRET_ALGORITHMS
from ext_proc.credentials.metadata import JWT_NAMESPACE
from ext_proc.headers import is_token
from ext_proc.identity import ACT_DEPTH
from ext_proc.secret import Secret
from ext_proc.units import Duration, Period, Size

_SHA256 = re.compile(r"[0-9a-f]{64}", re.ASCII)
_TRUST_DOMAIN = re.compile(r"[a-z0-9._-]{1,255}", re.ASCII)
_MOST_ITEMS = 64
_MOST_LEEWAY = 300.0  # seconds; past it an expired token is a token

Text = Annotated[str, Field(min_length=1, max_length=1024)]


def _header_name(text: str) -> str:
    if not is_token(text):
        raise ValueError("expected a header name in lower case")
    return text


def _sha256(text: str) -> str:
    if not _SHA256.fullmatch(text):
        raise ValueError("expected a SHA-256 as 64 lower-case hex digits, as `gatehouse keys new` prints it")
    return text


def _trust_domain(text: str) -> str:
    if not _TRUST_DOMAIN.fullmatch(text):
        raise ValueError("expected a SPIFFE trust domain such as example.org, without spiffe://")
    return text


def _claim(text: str) -> str:
    if text.startswith("/") and not re.fullmatch(r"(?:/(?:[^~/]|~[01])*)+", text):
        raise ValueError("expected a claim's name, or a JSON Pointer such as /realm_access/roles")
    return text


def _leeway(seconds: float) -> float:
    if seconds > _MOST_LEEWAY:
        raise ValueError("expected at most 5m")
    return seconds


def _moment(value: object) -> float:
    try:
        found = datetime.fromisoformat(value) if isinstance(value, str) else None
    except ValueError:
        found = None
    if found is None or found.tzinfo is None:
        raise ValueError("expected a time with its zone, such as 2027-01-31T00:00:00Z")
    return found.timestamp()


def _some(items: tuple[str, ...]) -> tuple[str, ...]:
    # Not min_length: of a list with one wrong item pydantic would say that it has none, too.
    if not 1 <= len(items) <= _MOST_ITEMS:
        raise ValueError(f"expected 1 to {_MOST_ITEMS} items")
    return items


def _url(text: str) -> str:
    parts = urlsplit(text)
    if "@" in parts.netloc:
        raise ValueError("expected a URL without a user and its secret")
    if parts.scheme not in ("https", "http") or not parts.hostname or parts.fragment:
        raise ValueError("expected a URL such as https://issuer.example.com/jwks.json")
    return text


HeaderName = Annotated[str, AfterValidator(_header_name), WithJsonSchema({"type": "string", "format": "header name"})]
Sha256 = Annotated[str, AfterValidator(_sha256), WithJsonSchema({"type": "string", "format": "SHA-256"})]
TrustDomain = Annotated[
    str, AfterValidator(_trust_domain), WithJsonSchema({"type": "string", "format": "trust domain"})
]
Claim = Annotated[Text, AfterValidator(_claim), WithJsonSchema({"type": "string", "format": "claim"})]
Leeway = Annotated[Duration, AfterValidator(_leeway)]
Moment = Annotated[float, PlainValidator(_moment), WithJsonSchema({"type": "string", "format": "time"})]
Url = Annotated[str, AfterValidator(_url), WithJsonSchema({"type": "string", "format": "URL"})]
PeerOrigin = Literal["attributes", "xfcc", "xfcc-last"]
Algorithm = Annotated[
    Literal[
        "RS256",
        "RS384",
        "RS512",
        "PS256",
        "PS384",
        "PS512",
        "ES256",
        "ES384",
        "ES512",
        "EdDSA",
        "HS256",
        "HS384",
        "HS512",
    ],
    WithJsonSchema({"type": "string", "format": "algorithm"}),
]


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class ClaimNamesPart(_Part):
    """Where the issuer puts what `identity` holds: a claim's name, or a JSON Pointer such as `/realm_access/roles`."""

    groups: Claim = Field(default="groups", description="For `identity.groups`; a text is one group.")
    roles: Claim = Field(default="roles", description="For `identity.roles`; a text is one role.")
    scopes: Claim | None = Field(
        default=None,
        description="For `identity.scopes`, a text separated by blanks or a list; `scope`, or else `scp`, if left out.",
    )
    tenant: Claim = Field(default="tenant", description="For `identity.tenant`.")


class _TokenPart(_Part):
    claims: tuple[Text, ...] = Field(
        default=(), max_length=32, description="Names of further claims that conditions see under `identity.claims`."
    )
    claim_names: ClaimNamesPart = Field(
        default=ClaimNamesPart(), description="Where the issuer puts groups, roles, scopes and the tenant."
    )
    act_depth: int = Field(
        default=ACT_DEPTH,
        ge=1,
        le=16,
        description="The most actors in a chain of delegation (`act`, RFC 8693); a longer one is refused.",
    )


class MetadataIdentity(_TokenPart):
    """A verified token's payload in Envoy's dynamic metadata."""

    namespace: str = Field(
        default=JWT_NAMESPACE,
        min_length=1,
        description="Where the payload is; Envoy must forward it (`metadata_options.forwarding_namespaces`).",
    )
    key: str | None = Field(
        default=None,
        description="The key in the namespace (`payload_in_metadata`); if left out, its entry, if there is only one.",
    )


class JwksPart(_Part):
    """The issuer's public keys, a JSON Web Key Set (RFC 7517) of at most 256 KiB; one of `file` and `url`."""

    file: Text | None = Field(
        default=None,
        description="A file, read again when it changes. A relative path starts at the bundle's folder.",
    )
    url: Url | None = Field(
        default=None,
        description="`https`, or `http` on the loopback. Fetched while serving, never by `gatehouse check`; redirects "
        "are not followed.",
    )
    insecure: bool = Field(
        default=False, description="Allows `http` elsewhere: whoever is on the way can then sign tokens."
    )
    timeout: Duration = Field(default=5.0, description="For one fetch.")
    refresh: Duration = Field(default=300.0, description="From one fetch to the next.")
    stale: Period = Field(
        default=86400.0,
        description="How long keys count after they were last fetched, where they cannot be fetched anew.",
    )
    cooldown: Duration = Field(
        default=10.0,
        description="The least time between fetches, however many tokens with unknown keys come; a new key is known "
        "this much later at most.",
    )

    @model_validator(mode="after")
    def _one(self) -> JwksPart:
        if (self.file is None) == (self.url is None):
            raise ValueError("expected either file or url")
        if self.url is not None and urlsplit(self.url).scheme != "https" and not (self.insecure or is_local(self.url)):
            raise ValueError("expected https, http on the loopback, or insecure: true")
        return self


class JwtPart(_TokenPart):
    """Tokens that Gatehouse verifies itself. `iss`, `sub`, `aud` and `exp` are required in each."""

    issuer: Text = Field(description="Exactly what `iss` says.")
    audiences: Annotated[tuple[Text, ...], AfterValidator(_some)] = Field(description="One of these must be in `aud`.")
    jwks: JwksPart | None = Field(default=None, description="The issuer's public keys.")
    secret: Secret | None = Field(
        default=None,
        description="In place of `jwks`, a secret that the issuer signs with; at least as long as its hash.",
    )
    algorithms: tuple[Algorithm, ...] = Field(
        default=(),
        description="What a token may be signed with: with `jwks` one of RS, PS and ES with 256, 384 or 512, or EdDSA "
        "(RS256, PS256, ES256 and EdDSA unless set); with `secret` HS256, HS384 or HS512 (HS256 unless set). The key's "
        "type must fit.",
    )
    type: Text | None = Field(
        default=None,
        description="The `typ` that a token must have, e.g. `at+jwt` (RFC 9068); if left out, none, `JWT` or `at+jwt`.",
    )
    header: HeaderName = Field(
        default=jwt.AUTHORIZATION,
        description="Where the token is: in `authorization` with the scheme Bearer, in any other header bare. A header "
        "that stands twice is refused.",
    )
    leeway: Leeway = Field(default=jwt.LEEWAY, description="By how much clocks may differ; at most 5m.")
    max_length: Size = Field(default=jwt.MAX_LENGTH, description="The longest token; a longer one is not decoded.")
    cache: int = Field(
        default=jwt.CACHED,
        ge=0,
        le=1_000_000,
        description="How many verified tokens are remembered, each until it expires or its key is gone.",
    )

    @model_validator(mode="after")
    def _keys(self) -> JwtPart:
        if (self.jwks is None) == (self.secret is None):
            raise ValueError("expected either jwks or secret")
        fitting = PUBLIC_ALGORITHMS if self.secret is None else SECRET_ALGORITHMS
        for algorithm in self.algorithms:
            if algorithm not in fitting:
                kind = "public keys" if self.secret is None else "a secret"
                raise ValueError(f"expected algorithms for {kind}, which {algorithm} is not")
        return self


class SpiffePart(_Part):
    """The SPIFFE ID of the workload that the connection comes from, by a certificate that Envoy verified."""

    origin: PeerOrigin = Field(
        alias="from",
        description="`attributes` of the connection, which the filter's `request_attributes` must name; or the header "
        "x-forwarded-client-cert, which Envoy must write itself: `xfcc` with `forward_client_cert_details: "
        "SANITIZE_SET`, `xfcc-last` with APPEND_FORWARD, whose last element is Envoy's.",
    )
    trust_domains: Annotated[tuple[TrustDomain, ...], AfterValidator(_some)] = Field(
        description="Whose SPIFFE IDs count; any other is refused."
    )


class MtlsPart(_Part):
    """A client certificate without a SPIFFE ID, which Envoy verified."""

    origin: PeerOrigin = Field(alias="from", description="As for `spiffe`.")
    name: Literal["dns", "uri", "subject", "digest"] = Field(
        default="dns",
        description="What in the certificate is the `subject` of its holder; `dns` and `uri`, the first name of their "
        "kind, with `attributes` only.",
    )
    kind: Literal["human", "agent", "unknown"] = Field(
        default="unknown", description="What its holders are; a certificate does not tell."
    )
    issuer: Text = Field(default="mtls", description="`identity.issuer` of its holders.")

    @model_validator(mode="after")
    def _unmistakable(self) -> MtlsPart:
        if self.origin != "attributes" and self.name in ("dns", "uri"):
            raise ValueError("expected name: subject or digest with xfcc, which writes other names as they come")
        return self


class ApiKeyPart(_Part):
    """One key. `gatehouse keys new` makes one, and prints its SHA-256."""

    sha256: Sha256 = Field(description="Of the key.")
    subject: Text = Field(description="`identity.subject` of its holder.")
    kind: Literal["human", "agent", "unknown"] = Field(default="unknown", description="What its holder is.")
    groups: tuple[Text, ...] = Field(default=(), description="Its holder's groups.")
    roles: tuple[Text, ...] = Field(default=(), description="Its holder's roles.")
    scopes: tuple[Text, ...] = Field(default=(), description="Its holder's scopes.")
    tenant: str = Field(default="", max_length=1024, description="Its holder's tenant.")
    expires: Moment | None = Field(default=None, description="When it ends, with a zone: `2027-01-31T00:00:00Z`.")


class ApiKeysFile(_Part):
    """What a file of keys holds."""

    keys: tuple[ApiKeyPart, ...] = Field(description="The keys.")


class ApiKeysPart(_Part):
    """Long random keys, of which only the SHA-256 is written here."""

    header: HeaderName = Field(
        default=api_keys.HEADER,
        description="Where the key is: bare, but in `authorization` with the scheme Bearer.",
    )
    keys: tuple[ApiKeyPart, ...] = Field(default=(), description="The keys.")
    file: Text | None = Field(
        default=None,
        description="A YAML file with further `keys`, read when the bundle is. A relative path starts at its folder.",
    )
    issuer: Text = Field(default="api-keys", description="`identity.issuer` of the holders.")

    @model_validator(mode="after")
    def _some(self) -> ApiKeysPart:
        if not self.keys and self.file is None:
            raise ValueError("expected keys or file")
        return self


class IdentityPart(_Part):
    """One way to know the caller; one of its keys."""

    metadata: MetadataIdentity | None = Field(
        default=None, description="What Envoy's `jwt_authn` filter verified and forwarded."
    )
    jwt: JwtPart | None = Field(default=None, description="Tokens that Gatehouse verifies itself.")
    api_keys: ApiKeysPart | None = Field(default=None, description="Keys, by their hash.")
    spiffe: SpiffePart | None = Field(
        default=None,
        description="The calling workload, beside a token; without one it is the caller, an autonomous agent.",
    )
    mtls: MtlsPart | None = Field(
        default=None, description="A client certificate, where nothing else names the caller."
    )

    @model_validator(mode="after")
    def _one(self) -> IdentityPart:
        if sum(value is not None for value in dict(self).values()) != 1:
            raise ValueError("expected one of metadata, jwt, api_keys, spiffe and mtls")
        return self


class ClientPart(_Part):
    """What is known of a client: the application that a person uses, or an agent. The first entry that fits counts."""

    id: Text | None = Field(default=None, description="A glob over the token's client (`client_id`, or else `azp`).")
    issuer: Text | None = Field(
        default=None, description="The issuer whose client it is, for ids are unique within one only; any if left out."
    )
    spiffe: Text | None = Field(
        default=None, description="In place of `id`, a glob over the SPIFFE ID of the calling workload."
    )
    kind: Literal["agent", "interactive"] = Field(
        description="An `agent` acts for the token's subject; in front of an `interactive` client a person sits."
    )

    @model_validator(mode="after")
    def _one(self) -> ClientPart:
        if (self.id is None) == (self.spiffe is None):
            raise ValueError("expected either id or spiffe")
        if self.spiffe is not None and (self.kind != "agent" or self.issuer is not None):
            raise ValueError("expected kind: agent, and no issuer, with spiffe")
        return self


def is_local(url: str) -> bool:
    """Whether a URL leads to this machine, by the name of its host alone."""
    host = urlsplit(url).hostname or ""
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
