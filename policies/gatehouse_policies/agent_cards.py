"""Signatures of A2A's agent cards: whether one of the bundle's keys signed what the card says.

Rules:
- A signature is a detached JWS (RFC 7515) over the card's canonical JSON (RFC 8785) without `signatures` (A2A 1.0,
  agent card signing). One that holds is enough.
- Keys are the bundle's alone. A `jku` is never fetched, for whoever writes a card could write that, too. The type of a
  key says its algorithms: `none` and symmetric ones verify nothing.
- The signature names its key (`kid`) in the protected header. One with `crit` is not understood (RFC 7515, 4.1.11).
- Signers leave out what means nothing in protobuf's JSON, and do not agree on what that is: a signature may be over
  the card as it stands, or without members that are empty, or also without `false` where that is no presence. All of
  them mean the same card.
- What a server adds for clients of 0.3 may be left out where it repeats what is signed (card_mirrors.py).

Not here: what is done with a card that is not signed (agent_access.py).
"""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import rfc8785

from ext_proc.credentials.keys import VerificationKey
from ext_proc.framing.json_view import JsonError, parse
from gatehouse_policies.card_mirrors import meaningful, without_mirrors

_MOST_SIGNATURES = 8  # that are looked at, of one card
_MOST_KEYS = 4  # that one signature is tried with
_LONGEST = 8192  # characters of a protected header, and of a signature
_BASE64URL = re.compile(r"[A-Za-z0-9_-]+", re.ASCII)
# Booleans of the card's schema that are not `optional`: false and absent are the same in protobuf.
_WITHOUT_PRESENCE = frozenset({"required", "pkceRequired"})


def fault_of(card: Mapping[str, Any], keys: Sequence[VerificationKey]) -> str:
    """Why nobody vouches for a card, as a short slug for the trail: "card-unsigned", "card-unverified" or
    "card-not-canonical"; "" if one of the keys signed it."""
    signatures = card.get("signatures")
    if not signatures:
        return "card-unsigned"
    if not isinstance(signatures, list):
        return "card-unverified"
    signed = {name: value for name, value in card.items() if name != "signatures"}
    try:
        payloads = [base64.urlsafe_b64encode(form).rstrip(b"=") for form in _forms(signed)]
    except (rfc8785.CanonicalizationError, RecursionError):
        return "card-not-canonical"
    holds = any(_holds(signature, payloads, keys) for signature in signatures[:_MOST_SIGNATURES])
    return "" if holds else "card-unverified"


def _holds(signature: object, payloads: Sequence[bytes], keys: Sequence[VerificationKey]) -> bool:
    if not isinstance(signature, Mapping):
        return False
    protected, header, value = signature.get("protected"), _header(signature.get("protected")), _bytes(signature)
    if header is None or value is None or not isinstance(protected, str):
        return False
    algorithm, key_id = header.get("alg"), header.get("kid")
    if not isinstance(algorithm, str) or not isinstance(key_id, str) or "crit" in header:
        return False
    fitting = [key for key in keys if algorithm in key.algorithms and key.key_id in (None, key_id)]
    start = protected.encode("ascii") + b"."
    return any(key.verifies(algorithm, start + form, value) for key in fitting[:_MOST_KEYS] for form in payloads)


def _header(protected: object) -> Mapping[str, Any] | None:
    """A protected header's members; None for what is none."""
    decoded = _decoded(protected)
    try:
        header = None if decoded is None else parse(decoded, 8)
    except JsonError:
        return None
    return header if isinstance(header, Mapping) else None


def _bytes(signature: Mapping[str, Any]) -> bytes | None:
    return _decoded(signature.get("signature"))


def _decoded(text: object) -> bytes | None:
    """What base64url without padding stands for (RFC 7515 section 2); None for anything else."""
    if not isinstance(text, str) or len(text) > _LONGEST or not _BASE64URL.fullmatch(text):
        return None
    try:
        return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))
    except binascii.Error:
        return None


def _forms(card: Mapping[str, Any]) -> Iterator[bytes]:
    """The texts that a signature over this card may be over, each once.

    Raises:
        rfc8785.CanonicalizationError: it has a number that has no canonical form.
    """
    own = without_mirrors(card)
    forms = (card, meaningful(card), meaningful(own), meaningful(own, _WITHOUT_PRESENCE))
    yield from dict.fromkeys(rfc8785.dumps(form) for form in forms)
