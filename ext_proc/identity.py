"""Who is calling, as far as it was verified: the ladder from verified claims to a kind of caller.

Rules:
- Decided on are verified claims, the operator's registry of clients, and the peer of a sanitised certificate; never
  clientInfo, User-Agent, arguments, or any header that a client can write.
- Of a chain of delegation two count: `sub`, for whom it is done, and the outermost `act`, who does it (RFC 8693 section
  4.1: nested actors are history and no basis for access).
- The absence of `act` proves no human: a human has positive evidence, or the kind is UNKNOWN.
- What says human and agent at once is `shared`, and counts as the agent.

Not here: verifying anything (credentials/).
"""

from __future__ import annotations

import base64
import enum
import fnmatch
import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from ext_proc.errors import GatehouseError

ACT_DEPTH = 4
# Claims that name the OAuth client: RFC 9068 section 2.2, OpenID Connect Core section 2, and two large providers' own.
_CLIENT_CLAIMS = ("client_id", "azp", "appid", "cid")
# Providers' own marks of a token that a client got for itself (OAuth 2.0 client credentials, RFC 6749 section 4.4).
_OWN_TOKEN = {"gty": ("client-credentials", "client_credentials"), "idtyp": ("app",)}
# Entity profiles (draft-mora-oauth-entity-profiles): what a subject, an actor or a client is.
_USER = "user"
_MACHINES = frozenset({"ai_agent", "service"})


class Kind(enum.StrEnum):
    """What kind of caller this is."""

    HUMAN = "human"
    DELEGATED_AGENT = "delegated_agent"  # acts for somebody: `subject` is the principal, `actor` the agent
    AUTONOMOUS_AGENT = "autonomous_agent"  # acts for itself
    UNKNOWN = "unknown"  # nobody, or a verified subject that nothing tells the kind of


class Evidence(enum.StrEnum):
    """What the kind was decided by."""

    NONE = ""
    ACT = "act"  # the token's `act` claim
    PROFILE = "profile"  # the token's `sub_profile` or `client_profile` claim
    CLIENT_CREDENTIALS = "client_credentials"  # the client is the subject
    REGISTRY = "registry"  # the operator's registry of clients
    CERTIFICATE = "certificate"  # the peer's certificate, and no other credential
    API_KEY = "api_key"  # the entry of the key
    SHARED = "shared"  # a human's credential that an agent used, too


class ClaimsError(GatehouseError):
    """Verified claims that cannot be read in one way.

    Attributes:
        reason: a slug: claims-act, claims-act-depth.
    """

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


@dataclass(frozen=True, slots=True)
class Identity:
    """A caller. Every field but `kind` is empty for an unknown one without a subject.

    Attributes:
        subject: the principal (`sub`): for whom it is done.
        issuer: who vouches for it (`iss`; a trust domain; the name of a list of keys).
        groups, roles, scopes, tenant: from the claims of these names, unless the bundle names others.
        actor: who does it for the subject; empty where the subject does it itself.
        client: the OAuth client that the token was issued to.
        audiences: whom the token is for (`aud`).
        evidence: what the kind was decided by.
        spiffe: the SPIFFE ID of the workload that the connection comes from, alone or beside a token.
        credential: a fingerprint by which uses of one credential are told to be of one; never the credential.
        depth: how many actors the chain of delegation has; at least one where the caller is a delegated agent.
        expires: when the credential ends, in seconds since the Unix epoch; 0 if that is not known.
        shared: it, or its credential, was seen as a human's and as an agent's.
        claims: further claims that the bundle lists, as they came.
    """

    kind: Kind = Kind.UNKNOWN
    subject: str = ""
    issuer: str = ""
    groups: tuple[str, ...] = ()
    roles: tuple[str, ...] = ()
    scopes: tuple[str, ...] = ()
    tenant: str = ""
    actor: str = ""
    client: str = ""
    audiences: tuple[str, ...] = ()
    evidence: Evidence = Evidence.NONE
    spiffe: str = ""
    credential: str = ""
    depth: int = 0
    expires: float = 0.0
    shared: bool = False
    claims: Mapping[str, Any] = field(default_factory=dict, hash=False)

    @property
    def principal(self) -> str:
        """For whom it is done: the subject, by its name in the vocabulary of delegation."""
        return self.subject

    @property
    def verified(self) -> bool:
        """Whether anybody vouches for the caller, of whatever kind it is."""
        return bool(self.subject)

    @property
    def key(self) -> str:
        """A text that is the same for one (issuer, subject) and differs for any two: 43 letters, digits, `-` and `_`.

        A subject is unique within its issuer only (RFC 7519 section 4.1.2), so it must not be a key by itself. All
        callers that nobody vouches for have the key "unknown".
        """
        if not self.subject:
            return "unknown"
        issuer = self.issuer.encode("utf-8", "surrogatepass")
        pair = b"%d:%b%b" % (len(issuer), issuer, self.subject.encode("utf-8", "surrogatepass"))
        return base64.urlsafe_b64encode(hashlib.sha256(pair).digest()).rstrip(b"=").decode()

    def as_variables(self) -> dict[str, Any]:
        """The fields as CEL sees them under `identity`."""
        return {
            "kind": str(self.kind),
            "verified": self.verified,
            "subject": self.subject,
            "principal": self.principal,
            "actor": self.actor,
            "client": self.client,
            "issuer": self.issuer,
            "audiences": list(self.audiences),
            "groups": list(self.groups),
            "roles": list(self.roles),
            "scopes": list(self.scopes),
            "tenant": self.tenant,
            "spiffe": self.spiffe,
            "evidence": str(self.evidence),
            "depth": self.depth,
            "shared": self.shared,
            "claims": dict(self.claims),
        }


UNKNOWN = Identity()


class ClientKind(enum.Enum):
    """What a registered client is."""

    AGENT = "agent"
    INTERACTIVE = "interactive"  # a person sits in front of it


@dataclass(frozen=True, slots=True)
class RegisteredClient:
    """One entry of the registry; `client` or `spiffe` is given.

    Attributes:
        client: a glob over the token's client id.
        spiffe: a glob over the SPIFFE ID of the workload that the connection comes from.
        issuer: the issuer whose client it is, for client ids are unique within one only; "" for any.
    """

    kind: ClientKind
    client: str = ""
    spiffe: str = ""
    issuer: str = ""


class Registry:
    """What an operator knows of clients. The first entry that fits counts."""

    __slots__ = ("entries",)

    def __init__(self, entries: Sequence[RegisteredClient] = ()) -> None:
        self.entries = tuple(entries)

    def client(self, client: str, issuer: str) -> ClientKind | None:
        """What the client of a token is; None where no entry fits."""
        for entry in self.entries:
            if client and entry.client and entry.issuer in ("", issuer) and fnmatch.fnmatchcase(client, entry.client):
                return entry.kind
        return None

    def workload(self, spiffe: str) -> ClientKind | None:
        """What the workload with a SPIFFE ID is; None where no entry fits."""
        for entry in self.entries:
            if spiffe and entry.spiffe and fnmatch.fnmatchcase(spiffe, entry.spiffe):
                return entry.kind
        return None


NO_REGISTRY = Registry()


@dataclass(frozen=True, slots=True)
class ClaimNames:
    """Where a provider puts what an identity holds: the claim's name, or a JSON Pointer to it (RFC 6901)."""

    groups: str = "groups"
    roles: str = "roles"
    scopes: str = ""  # `scope`, or else `scp`
    tenant: str = "tenant"
    exposed: tuple[str, ...] = ()


USUAL_CLAIMS = ClaimNames()


def from_claims(
    claims: Mapping[str, Any],
    registry: Registry = NO_REGISTRY,
    names: ClaimNames = USUAL_CLAIMS,
    *,
    act_depth: int = ACT_DEPTH,
    credential: str = "",
) -> Identity:
    """The caller that a verified token tells of: the ladder, from the top.

    1. `act`: a delegated agent; so is a client that the token itself calls an agent (`client_profile`).
    2. The subject is the client, or a machine by its `sub_profile`: an autonomous agent.
    3. The client is registered as an agent: a delegated agent.
    4. `sub_profile` says user, or the client is registered as interactive, and no profile says anything else: a human.
    5. Otherwise unknown, with a subject.

    Returns:
        UNKNOWN where there is no textual, non-empty `sub`.

    Raises:
        ClaimsError: `act` is no object with a textual `sub`, or is nested deeper than `act_depth`.
    """
    subject = _text(claims.get("sub"))
    if not subject:
        return UNKNOWN
    actor, depth, acting = _actor(claims.get("act"), act_depth)
    issuer = _text(claims.get("iss"))
    client = next((text for text in map(_text, map(claims.get, _CLIENT_CLAIMS)) if text), "")
    profiles = frozenset(_words(claims.get("sub_profile")))
    agent_client = bool(_MACHINES & set(_words(claims.get("client_profile"))))
    registered = registry.client(client, issuer)
    interactive = registered is ClientKind.INTERACTIVE
    own_token = subject == client or any(claims.get(name) in values for name, values in _OWN_TOKEN.items())
    machine = own_token or bool(_MACHINES & profiles)
    # A profile that says anything else of the subject (a device, say) contradicts all evidence of a human.
    person = claims.get("sub_profile") is None or profiles == {_USER}
    kind, evidence = Kind.UNKNOWN, Evidence.NONE
    if acting:
        kind, evidence = Kind.DELEGATED_AGENT, Evidence.ACT
    elif machine:
        kind = Kind.AUTONOMOUS_AGENT
        evidence = Evidence.CLIENT_CREDENTIALS if own_token else Evidence.PROFILE
    elif agent_client:
        kind, evidence, actor = Kind.DELEGATED_AGENT, Evidence.PROFILE, client
    elif registered is ClientKind.AGENT:
        kind, evidence, actor = Kind.DELEGATED_AGENT, Evidence.REGISTRY, client
    elif person and _USER in profiles:
        kind, evidence = Kind.HUMAN, Evidence.PROFILE
    elif person and interactive:
        kind, evidence = Kind.HUMAN, Evidence.REGISTRY
    return Identity(
        kind=kind,
        subject=subject,
        issuer=issuer,
        groups=_texts(_read(claims, names.groups)),
        roles=_texts(_read(claims, names.roles)),
        scopes=_scopes(claims, names.scopes),
        tenant=_text(_read(claims, names.tenant)),
        actor=actor,
        client=client,
        audiences=_texts(claims.get("aud")),
        evidence=evidence,
        credential=credential,
        depth=max(depth, int(kind is Kind.DELEGATED_AGENT)),
        expires=_seconds(claims.get("exp")),
        # Of the subject two things are said at once; or of the client, by the token and by the operator.
        shared=(machine and _USER in profiles) or (agent_client and interactive and not acting),
        claims={name: claims[name] for name in names.exposed if name in claims},
    )


def beside_workload(identity: Identity, spiffe: str, registry: Registry = NO_REGISTRY) -> Identity:
    """A token's caller whose connection comes from the workload `spiffe`.

    A registered agent that presents the token of a human, or of who knows whom, acts for it.
    """
    if registry.workload(spiffe) is ClientKind.AGENT and identity.kind in (Kind.HUMAN, Kind.UNKNOWN):
        return replace(
            identity, spiffe=spiffe, kind=Kind.DELEGATED_AGENT, evidence=Evidence.REGISTRY, actor=spiffe, depth=1
        )
    return replace(identity, spiffe=spiffe)


def as_shared(identity: Identity) -> Identity:
    """A caller whose credential serves a human and an agent: no human any more, for nobody can tell which it is."""
    if identity.kind is not Kind.HUMAN:
        return replace(identity, shared=True)
    return replace(identity, shared=True, kind=Kind.DELEGATED_AGENT, evidence=Evidence.SHARED, depth=1)


def _actor(act: object, most: int) -> tuple[str, int, bool]:
    """The outermost actor, the length of the chain, and whether there is one.

    Raises:
        ClaimsError: see `from_claims`.
    """
    outermost, depth = "", 0
    while act is not None:
        name = _text(act.get("sub")) if isinstance(act, Mapping) else ""
        if not name:
            raise ClaimsError("claims-act")
        outermost, depth = outermost or name, depth + 1
        if depth > most:
            raise ClaimsError("claims-act-depth")
        assert isinstance(act, Mapping)
        act = act.get("act")
    return outermost, depth, depth > 0


def _read(claims: Mapping[str, Any], name: str) -> Any:
    """The claim of a name, or what a JSON Pointer leads to; None if there is none."""
    if not name.startswith("/"):
        return claims.get(name)
    value: Any = claims
    for step in name[1:].split("/"):
        if not isinstance(value, Mapping):
            return None
        value = value.get(step.replace("~1", "/").replace("~0", "~"))
    return value


def _scopes(claims: Mapping[str, Any], name: str) -> tuple[str, ...]:
    """Scopes, which a text holds separated by blanks (RFC 8693 section 4.2)."""
    return _words(_read(claims, name) if name else claims.get("scope", claims.get("scp")))


def _words(value: object) -> tuple[str, ...]:
    return tuple(value.split()) if isinstance(value, str) else _texts(value)


def _texts(value: object) -> tuple[str, ...]:
    """A list's texts; a text is one name, with its blanks: "not admin" is no `admin`."""
    if isinstance(value, str):
        return (value,) if value else ()
    return tuple(item for item in value if isinstance(item, str)) if isinstance(value, list | tuple) else ()


def _text(value: object) -> str:
    return value if isinstance(value, str) else ""


def _seconds(value: object) -> float:
    """A NumericDate (RFC 7519 section 2); 0 for what is none, or lies past the year 33658."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value < 1e12:
        return 0.0
    return float(value)
