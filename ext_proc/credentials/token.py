"""A JSON Web Token in its compact form, taken apart strictly: three segments, two JSON objects, one signature.

Rules:
- The length is bounded before anything is decoded, the nesting of the JSON before anything is built.
- One token has one spelling: base64url without padding, blanks or stray bits (RFC 7515 section 2), JSON without a key
  twice.
- What would change how the token is to be read is refused, for nothing of it is known here: `crit` and `b64` (RFC 7515
  section 4.1.11, RFC 7797), encryption (RFC 7516), a token inside a token (`cty`, RFC 7519 section 5.2).
- Keys and addresses of keys in a token (`jwk`, `jku`, `x5c`, `x5u`) are never read: a token does not vouch for itself.

Not here: whether the signature and the claims hold (jwt.py), whose keys they are (keys.py).
"""

from __future__ import annotations

import base64
import re
from dataclasses import dataclass
from typing import Any

from ext_proc.credentials.source import CredentialError
from ext_proc.framing.json_view import JsonError, parse

MAX_KEY_ID = 256  # characters
_SEGMENT = re.compile(rb"[A-Za-z0-9_-]+")
_MAX_VALUES = 5000  # in one token's JSON; the smallest take four bytes each


@dataclass(frozen=True, slots=True, repr=False)
class Token:
    """A token whose signature nobody has looked at yet: its claims are what somebody wrote.

    Attributes:
        algorithm: the header's `alg`.
        key_id: the header's `kid`; None where there is none.
        type: the header's `typ` in lower case, without "application/" (RFC 7515 section 4.1.9); "" where there is none.
        signing_input: the bytes that the signature is over.
    """

    algorithm: str
    key_id: str | None
    type: str
    claims: dict[str, Any]
    signing_input: bytes
    signature: bytes


def read_token(raw: bytes, max_length: int, max_depth: int) -> Token | None:
    """Takes a token apart; None for what has not the form of one (no two dots), which may be another credential.

    Args:
        max_length: in bytes.
        max_depth: the deepest nesting of its JSON.

    Raises:
        CredentialError: too long, encrypted, nested in another, with a critical extension, or malformed.
    """
    if len(raw) > max_length:
        raise CredentialError("token-too-long")
    dots = raw.count(b".")
    if dots == 4:
        raise CredentialError("token-encrypted")
    if dots != 2:
        return None
    signing_input, _, signature = raw.rpartition(b".")
    first, _, second = signing_input.partition(b".")
    header = _object(first, max_depth)
    if "enc" in header:
        raise CredentialError("token-encrypted")
    if "crit" in header or "b64" in header:
        raise CredentialError("token-critical")
    if "cty" in header:
        raise CredentialError("token-nested")
    algorithm, key_id, kind = header.get("alg"), header.get("kid"), header.get("typ", "")
    if not isinstance(algorithm, str) or not isinstance(kind, str):
        raise CredentialError("token-malformed")
    if key_id is not None and (not isinstance(key_id, str) or len(key_id) > MAX_KEY_ID):
        raise CredentialError("token-malformed")
    return Token(
        algorithm=algorithm,
        key_id=key_id,
        type=kind.lower().removeprefix("application/"),
        claims=_object(second, max_depth),
        signing_input=signing_input,
        signature=_bytes(signature),
    )


def _object(segment: bytes, max_depth: int) -> dict[str, Any]:
    try:
        value = parse(_bytes(segment), max_depth, _MAX_VALUES)
    except JsonError:
        raise CredentialError("token-malformed") from None
    if not isinstance(value, dict):
        raise CredentialError("token-malformed")
    return value


def _bytes(segment: bytes) -> bytes:
    if not _SEGMENT.fullmatch(segment) or len(segment) % 4 == 1:
        raise CredentialError("token-malformed")
    decoded = base64.urlsafe_b64decode(segment + b"=" * (-len(segment) % 4))
    if base64.urlsafe_b64encode(decoded).rstrip(b"=") != segment:
        raise CredentialError("token-malformed")
    return decoded
