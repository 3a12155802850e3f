"""Tokens that Envoy verified: the payload that its jwt_authn filter forwards as dynamic metadata.

Rules:
- What stands there was verified: Envoy's filter refuses what does not hold. It is not verified again.
- Exactly one payload counts: of two, chance would choose whose name it is. `key` says which, where there are several.
- A payload without a textual `sub` names nobody.

Not here: what the claims mean (identity.py).
"""

from __future__ import annotations

from collections.abc import Mapping

from ext_proc.credentials.source import Found, Nothing, Presented, Rejected, token_fingerprint
from ext_proc.identity import (
    ACT_DEPTH,
    NO_REGISTRY,
    UNKNOWN,
    USUAL_CLAIMS,
    ClaimNames,
    ClaimsError,
    Registry,
    from_claims,
)

JWT_NAMESPACE = "envoy.filters.http.jwt_authn"


class VerifiedByEnvoy:
    """The payload in Envoy's metadata.

    Args:
        namespace: where it is; jwt_authn writes under its filter's name.
        key: the key in the namespace (`payload_in_metadata`); None takes the only entry, if it is the only one.
        act_depth: the most actors in a chain of delegation.
    """

    def __init__(
        self,
        namespace: str = JWT_NAMESPACE,
        key: str | None = None,
        registry: Registry = NO_REGISTRY,
        names: ClaimNames = USUAL_CLAIMS,
        act_depth: int = ACT_DEPTH,
    ) -> None:
        self.namespace = namespace
        self.key = key
        self._registry = registry
        self._names = names
        self._act_depth = act_depth

    def identify(self, presented: Presented) -> Found:
        """The caller that the payload names."""
        entries = presented.facts.metadata.get(self.namespace)
        if not entries:
            return Nothing.ABSENT
        if self.key is not None:
            claims = entries.get(self.key)
        else:
            claims = next(iter(entries.values())) if len(entries) == 1 else None
        if not isinstance(claims, Mapping):
            return Nothing.ABSENT
        try:
            found = from_claims(
                claims, self._registry, self._names, act_depth=self._act_depth, credential=token_fingerprint(claims)
            )
        except ClaimsError as error:
            return Rejected(error.reason)
        return Nothing.ABSENT if found is UNKNOWN else found
