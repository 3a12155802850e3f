"""All sources of a bundle, asked in its order: the first that finds a credential of its own has the word.

Rules:
- A credential that does not hold ends it, whatever the sources after it would find: who forges one is not anonymous.
- A bearer credential that no source knows is refused too; a caller that presents nothing is UNKNOWN.
- The peer's certificate stands beside a token, and is the caller only where there is none.

Not here: any source; what a refusal looks like to the caller (engine/identification.py).
"""

from __future__ import annotations

from collections.abc import Sequence

from ext_proc.credentials.jwt import BearerTokens
from ext_proc.credentials.keys import KeySet
from ext_proc.credentials.metadata import VerifiedByEnvoy
from ext_proc.credentials.peer import Peer, PeerSource
from ext_proc.credentials.sightings import Sightings
from ext_proc.credentials.source import CredentialError, KeyMissing, Nothing, Presented, Rejected, Source
from ext_proc.identity import NO_REGISTRY, UNKNOWN, Identity, Registry, beside_workload


class Chain:
    """The sources of one bundle.

    Args:
        sources: in the bundle's order.
        peers: likewise.

    Attributes:
        key_sets: the keys that somebody should keep up to date.
    """

    def __init__(
        self, sources: Sequence[Source] = (), peers: Sequence[PeerSource] = (), registry: Registry = NO_REGISTRY
    ) -> None:
        self.sources = tuple(sources)
        self.key_sets: tuple[KeySet, ...] = tuple(
            keys
            for source in self.sources
            if isinstance(source, BearerTokens)
            for keys in source.key_sets
            if keys.origin is not None
        )
        self._peers = tuple(peers)
        self._registry = registry
        self._sightings = Sightings()

    def take_over(self, before: Chain) -> None:
        """Goes on with what the chain of the bundle before has seen."""
        self._sightings = before._sightings

    def identify(self, presented: Presented) -> Identity | Rejected | KeyMissing:
        """Who presents this."""
        try:
            peer = self._peer(presented)
        except CredentialError as error:
            return Rejected(error.reason)
        foreign = False
        for source in self.sources:
            found = source.identify(presented)
            if found is Nothing.ABSENT:
                continue
            if found is Nothing.FOREIGN:
                foreign = True
                continue
            if not isinstance(found, Identity):
                return found
            caller = beside_workload(found, peer.spiffe, self._registry) if peer is not None else found
            return self._sightings.see(found, caller)
        if foreign:
            return Rejected("credential-unknown")
        return UNKNOWN if peer is None else peer.identity

    def _peer(self, presented: Presented) -> Peer | None:
        for source in self._peers:
            peer = source.peer(presented)
            if peer is not None:
                return peer
        return None


def envoy_only() -> Chain:
    """What a bundle has that says nothing: the only payload that Envoy verified."""
    return Chain((VerifiedByEnvoy(),))
