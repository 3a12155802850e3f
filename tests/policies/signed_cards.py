"""Agents' cards, signed by the official SDK's own signer, and forgeries of them.

Not here: what is found out about them (test_agent_cards.py), cards over a network (tests/envoy/test_agents.py).
"""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jwt
from a2a.server.request_handlers.response_helpers import agent_card_to_dict
from a2a.types import a2a_pb2 as a2a
from a2a.utils.signing import create_agent_card_signer

from ext_proc.credentials.keys import VerificationKey, read_jwks
from ext_proc.policy import BundleFile
from tests.unit.credentials.minting import Minter, base64url, jwks

URL = "https://agents.example/travel"


def plain_card(*versions: str) -> a2a.AgentCard:
    """A card of the versions' interfaces, with something of each kind that signers treat differently."""
    card = a2a.AgentCard(
        name="Reisebüro \U0001f30d",
        description="Finds the way",
        version="1.2.0",
        default_input_modes=["text/plain"],
        default_output_modes=["text/plain"],
        capabilities=a2a.AgentCapabilities(
            streaming=True,
            push_notifications=False,
            extended_agent_card=True,
            extensions=[a2a.AgentExtension(uri="https://ext.example/a", required=False)],
        ),
        skills=[a2a.AgentSkill(id="book", name="Book", description="", tags=["travel"])],
        supported_interfaces=[
            a2a.AgentInterface(url=URL, protocol_binding="JSONRPC", protocol_version=version) for version in versions
        ],
    )
    card.capabilities.extensions[0].params.update({"weight": 1.50, "large": 1e21, "required": False})
    scheme = card.security_schemes["key"].api_key_security_scheme
    scheme.name, scheme.location = "X-Key", "header"
    flow = card.security_schemes["oauth"].oauth2_security_scheme.flows.authorization_code
    flow.authorization_url, flow.token_url = "https://id.example/auth", "https://id.example/token"
    card.security_requirements.add().schemes["key"].list.append("read")
    card.skills[0].security_requirements.add().schemes["oauth"].list.append("book")
    return card


def signed_by(minter: Minter, *versions: str, header: Mapping[str, Any] | None = None) -> a2a.AgentCard:
    """The same, signed."""
    protected = {"alg": minter.algorithm, "kid": minter.key_id or "", "typ": "JOSE", "jku": None, **(header or {})}
    private = jwt.PyJWK(minter.private_jwk(), minter.algorithm)
    logging.disable(logging.WARNING)  # the SDK tells on every use that a skill has no description
    try:
        return create_agent_card_signer(private, protected)(plain_card(*versions or ("1.0",)))  # type: ignore[arg-type]
    finally:
        logging.disable(logging.NOTSET)


def as_served(card: a2a.AgentCard) -> dict[str, Any]:
    """What the SDK's server sends."""
    logging.disable(logging.WARNING)
    try:
        return json.loads(json.dumps(agent_card_to_dict(card)))  # type: ignore[no-any-return]
    finally:
        logging.disable(logging.NOTSET)


def signature_over(minter: Minter, payload: bytes, **header: Any) -> dict[str, str]:
    """A signature over any bytes."""
    members = {"alg": minter.algorithm, "kid": minter.key_id, "typ": "JOSE", **header}
    token = minter.sign(
        json.dumps({name: value for name, value in members.items() if value is not None}).encode(), payload
    )
    protected, _, signature = token.split(".")
    return {"protected": protected, "signature": signature}


def protected_of(**header: Any) -> str:
    return base64url(json.dumps(header).encode()).decode()


def key_file(content: bytes) -> BundleFile:
    """A file of keys beside a bundle."""
    return BundleFile("agents.jwks.json", Path("agents.jwks.json"), content)


def keys_of(*minters: Minter) -> tuple[VerificationKey, ...]:
    return read_jwks(jwks(*minters))
