"""What a server of A2A 1.0 adds to an agent's card for clients of 0.3: the same once more, in other words.

Rules:
- Such members are added after the card was signed, so the signature does not cover them. They may be left out only
  where they repeat a member of 1.0: an endpoint that is not among the card's interfaces stays, and no signature holds.
- A server that speaks both versions writes them (A2A 1.0, backward compatibility); in a card of 0.3 they are all there
  is, and stay.

Not here: signatures (agent_cards.py).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

# Each scheme of 1.0 stands under a name of its own, where 0.3 says its `type`.
_SCHEMES = {
    "apiKeySecurityScheme": "apiKey",
    "httpAuthSecurityScheme": "http",
    "oauth2SecurityScheme": "oauth2",
    "openIdConnectSecurityScheme": "openIdConnect",
    "mtlsSecurityScheme": "mutualTLS",
}
_RENAMED = {"in": "location"}  # of an API key: 0.3's member, and 1.0's


def without_mirrors(card: Mapping[str, Any]) -> Mapping[str, Any]:
    """The card without 0.3's members that repeat its own; a new one, where there are any."""
    own = dict(card)
    written = card.get("supportedInterfaces")
    interfaces = [item for item in written if isinstance(item, Mapping)] if isinstance(written, list) else []
    if not interfaces:
        return own
    endpoints = [(item.get("url"), item.get("protocolBinding")) for item in interfaces]
    if {"url", "preferredTransport"} <= own.keys() and (own["url"], own["preferredTransport"]) in endpoints:
        del own["url"], own["preferredTransport"]
    if "protocolVersion" in own and own["protocolVersion"] in [item.get("protocolVersion") for item in interfaces]:
        del own["protocolVersion"]
    others = own.get("additionalInterfaces")
    if isinstance(others, list) and all(_endpoint(item) in endpoints for item in others):
        del own["additionalInterfaces"]
    capabilities = own.get("capabilities")
    if (
        "supportsAuthenticatedExtendedCard" in own
        and isinstance(capabilities, Mapping)
        and own["supportsAuthenticatedExtendedCard"] is capabilities.get("extendedAgentCard", False)
    ):
        del own["supportsAuthenticatedExtendedCard"]
    own = _without_security(own)
    if isinstance(own.get("skills"), list):
        own["skills"] = [_without_security(item) if isinstance(item, Mapping) else item for item in own["skills"]]
    schemes = own.get("securitySchemes")
    if isinstance(schemes, Mapping):
        own["securitySchemes"] = {name: _own_scheme(scheme) for name, scheme in schemes.items()}
    return own


def _endpoint(item: object) -> object:
    return (item.get("url"), item.get("transport")) if isinstance(item, Mapping) else None


def _without_security(holder: Mapping[str, Any]) -> dict[str, Any]:
    """A card or a skill without `security`, where that says what `securityRequirements` says."""
    own = dict(holder)
    if "security" in own and meaningful(own["security"]) == meaningful(_requirements(own.get("securityRequirements"))):
        del own["security"]
    return own


def _requirements(written: object) -> object:
    """Security requirements as 0.3 writes them; None for what are none."""
    if not isinstance(written, list):
        return None
    found = []
    for item in written:
        schemes = item.get("schemes") if isinstance(item, Mapping) else None
        if not isinstance(schemes, Mapping) or not all(isinstance(scopes, Mapping) for scopes in schemes.values()):
            return None
        found.append({name: scopes.get("list", []) for name, scopes in schemes.items()})
    return found


def _own_scheme(scheme: object) -> object:
    """A security scheme as 1.0 writes it; unchanged where 0.3's members say anything else."""
    if not isinstance(scheme, Mapping):
        return scheme
    wrapped = [name for name in scheme if name in _SCHEMES and isinstance(scheme[name], Mapping)]
    if len(wrapped) != 1:
        return scheme
    (kind,) = wrapped
    own = scheme[kind]
    for name, value in scheme.items():
        repeated = name == kind or meaningful(value) == meaningful(own.get(_RENAMED.get(name, name)))
        if not repeated and not (name == "type" and value == _SCHEMES[kind]):
            return scheme
    return {kind: own}


def meaningful(value: Any, no_presence: frozenset[str] = frozenset()) -> Any:
    """The value without members that are empty; None where nothing is left. Numbers and booleans stay."""
    if isinstance(value, Mapping):
        kept = {}
        for name, member in value.items():
            # What stands in an extension's `params` is its own: there false is something that was said.
            left = meaningful(member, no_presence if name != "params" else frozenset())
            if left is not None and not (left is False and name in no_presence):
                kept[name] = left
        return kept or None
    if isinstance(value, list):
        return [left for item in value if (left := meaningful(item, no_presence)) is not None] or None
    return None if value == "" else value
