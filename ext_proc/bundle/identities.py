"""From a bundle's `identity` and `clients` to the chain of sources that exchanges are identified by.

Rules:
- Files are read here, so that one that is missing or holds no usable key is a problem of the bundle, with its path.
- Nothing is fetched: a key set with a URL is empty until the server has fetched it.
- Tokens in one header are one source, whatever the number of their issuers: a token is read once.

Not here: the format (identity_models.py), looking at files again and fetching (server/keys.py).
"""

from __future__ import annotations

import stat
from collections.abc import Sequence
from pathlib import Path

from pydantic import ValidationError

from ext_proc.bundle.document import read_document, read_text
from ext_proc.bundle.identity_models import (
    ApiKeyPart,
    ApiKeysFile,
    ApiKeysPart,
    ClientPart,
    IdentityPart,
    JwtPart,
    MetadataIdentity,
)
from ext_proc.bundle.problems import Describer, Place
from ext_proc.credentials.api_keys import ApiKey, ApiKeys
from ext_proc.credentials.chain import Chain
from ext_proc.credentials.jwt import USUAL_ALGORITHMS, BearerTokens, Issuer
from ext_proc.credentials.keys import MAX_BYTES, FileOrigin, JwksError, KeySet, UrlOrigin, read_jwks, secret_key
from ext_proc.credentials.metadata import VerifiedByEnvoy
from ext_proc.credentials.peer import MtlsPeers, Origin, PeerSource, SpiffePeers
from ext_proc.credentials.source import Source, fingerprint
from ext_proc.errors import BundleError, Problem
from ext_proc.identity import ClaimNames, ClientKind, Evidence, Identity, Kind, RegisteredClient, Registry

_KINDS = {"human": Kind.HUMAN, "agent": Kind.AUTONOMOUS_AGENT, "unknown": Kind.UNKNOWN}


def build(
    parts: Sequence[IdentityPart], clients: Sequence[ClientPart], folder: Path, max_depth: int, describer: Describer
) -> tuple[Chain, list[Problem]]:
    """The chain, and what is wrong with the files and the entries; the chain goes without those.

    Args:
        folder: where relative paths start.
        max_depth: the deepest nesting of a token's JSON.
    """
    return _Builder(folder, max_depth, describer, registry(clients)).chain(parts)


def registry(clients: Sequence[ClientPart]) -> Registry:
    """The registry that `clients` are."""
    return Registry(
        [
            RegisteredClient(ClientKind(client.kind), client.id or "", client.spiffe or "", client.issuer or "")
            for client in clients
        ]
    )


def read_key_file(path: Path) -> bytes:
    """The bytes of a key set's file, bounded.

    Raises:
        JwksError: it is no readable regular file of at most MAX_BYTES.
    """
    try:
        # A pipe or a device could block for ever.
        if not stat.S_ISREG(path.stat().st_mode):
            raise JwksError("expected a regular file")
        with path.open("rb") as file:
            data = file.read(MAX_BYTES + 1)
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else str(error)
        raise JwksError(f"cannot read the key set's file ({reason})") from None
    if len(data) > MAX_BYTES:
        raise JwksError(f"expected at most {MAX_BYTES // 1024} KiB")
    return data


class _Builder:
    """Builds sources, and collects problems."""

    def __init__(self, folder: Path, max_depth: int, describer: Describer, clients: Registry) -> None:
        self._folder = folder
        self._max_depth = max_depth
        self._describer = describer
        self._registry = clients
        self._problems: list[Problem] = []
        self._digests: dict[tuple[str, bytes], Place] = {}

    def chain(self, parts: Sequence[IdentityPart]) -> tuple[Chain, list[Problem]]:
        """The chain of all parts."""
        sources: list[Source] = []
        peers: list[PeerSource] = []
        headers: set[str] = set()
        for index, part in enumerate(parts):
            if part.metadata is not None:
                sources.append(self._metadata(part.metadata))
            elif part.jwt is not None and part.jwt.header not in headers:
                headers.add(part.jwt.header)
                tokens = self._tokens(part.jwt.header, parts)
                if tokens is not None:
                    sources.append(tokens)
            elif part.api_keys is not None:
                sources.append(self._api_keys(part.api_keys, ("identity", index, "api_keys")))
            elif part.spiffe is not None:
                peers.append(SpiffePeers(Origin(part.spiffe.origin), part.spiffe.trust_domains))
            elif part.mtls is not None:
                mtls = part.mtls
                peers.append(MtlsPeers(Origin(mtls.origin), mtls.name, _KINDS[mtls.kind], mtls.issuer))
        return Chain(sources, peers, self._registry), self._problems

    def _metadata(self, part: MetadataIdentity) -> VerifiedByEnvoy:
        return VerifiedByEnvoy(part.namespace, part.key, self._registry, _names(part), part.act_depth)

    def _tokens(self, header: str, parts: Sequence[IdentityPart]) -> BearerTokens | None:
        """The one source of all issuers whose tokens are in `header`; None where each has a problem."""
        issuers: dict[str, Issuer] = {}
        cached = 0
        for index, part in enumerate(parts):
            if part.jwt is None or part.jwt.header != header:
                continue
            place: Place = ("identity", index, "jwt")
            cached = max(cached, part.jwt.cache)
            if part.jwt.issuer in issuers:
                self._problem((*place, "issuer"), f"expected one entry for each issuer of tokens in {header}")
                continue
            keys = self._keys(part.jwt, place)
            if keys is not None:
                issuers[part.jwt.issuer] = _issuer(part.jwt, keys)
        if not issuers:
            return None
        tokens = list(issuers.values())
        return BearerTokens(tokens, self._registry, header=header, cached=cached, max_depth=self._max_depth)

    def _keys(self, part: JwtPart, place: Place) -> KeySet | None:
        """The issuer's keys; None where they have a problem."""
        if part.secret is not None:
            try:
                return KeySet(None, [secret_key(part.secret.reveal(), _algorithms(part))])
            except JwksError as error:
                self._problem((*place, "secret"), str(error))
                return None
        assert part.jwks is not None  # the model says so
        jwks = part.jwks
        if jwks.url is not None:
            return KeySet(UrlOrigin(jwks.url, jwks.timeout, jwks.refresh, jwks.stale, jwks.cooldown))
        path = self._folder / (jwks.file or "")
        try:
            return KeySet(FileOrigin(path), read_jwks(read_key_file(path)))
        except JwksError as error:
            self._problem((*place, "jwks", "file"), str(error))
            return None

    def _api_keys(self, part: ApiKeysPart, place: Place) -> ApiKeys:
        written = [((*place, "keys", index), key) for index, key in enumerate(part.keys)]
        if part.file is not None:
            written += self._keys_of_file(self._folder / part.file, (*place, "file"))
        keys = []
        for at, key in written:
            digest = bytes.fromhex(key.sha256)
            if self._digests.setdefault((part.header, digest), at) != at:
                self._problem((*at, "sha256"), "expected every key once")
            keys.append(ApiKey(digest, _holder(key, part.issuer), key.expires))
        return ApiKeys(keys, part.header)

    def _keys_of_file(self, path: Path, place: Place) -> list[tuple[Place, ApiKeyPart]]:
        try:
            document = read_document(read_text(path))
            found = ApiKeysFile.model_validate(document.tree)
        except BundleError as error:
            for problem in error.problems:
                self._problem(place, f"{problem.path}: {problem.message}" if problem.path else problem.message)
            return []
        except ValidationError as error:
            self._problems += self._describer.translate(error, document.tree, ApiKeysFile, place)
            return []
        for problem in document.problems:
            self._problem(place, f"{problem.path}: {problem.message}")
        return [((*place, "keys", index), key) for index, key in enumerate(found.keys)]

    def _problem(self, place: Place, message: str) -> None:
        self._problems.append(self._describer.problem(place, message))


def _issuer(part: JwtPart, keys: KeySet) -> Issuer:
    return Issuer(
        name=part.issuer,
        audiences=frozenset(part.audiences),
        keys=keys,
        algorithms=_algorithms(part),
        type=(part.type or "").lower().removeprefix("application/"),
        leeway=part.leeway,
        max_length=part.max_length,
        act_depth=part.act_depth,
        names=_names(part),
    )


def _algorithms(part: JwtPart) -> frozenset[str]:
    return frozenset(part.algorithms) or (USUAL_ALGORITHMS if part.secret is None else frozenset({"HS256"}))


def _names(part: MetadataIdentity | JwtPart) -> ClaimNames:
    names = part.claim_names
    return ClaimNames(names.groups, names.roles, names.scopes or "", names.tenant, part.claims)


def _holder(key: ApiKeyPart, issuer: str) -> Identity:
    kind = _KINDS[key.kind]
    return Identity(
        kind=kind,
        subject=key.subject,
        issuer=issuer,
        groups=key.groups,
        roles=key.roles,
        scopes=key.scopes,
        tenant=key.tenant,
        evidence=Evidence.NONE if kind is Kind.UNKNOWN else Evidence.API_KEY,
        credential=fingerprint("api-key", key.sha256),
        expires=key.expires or 0.0,
    )
