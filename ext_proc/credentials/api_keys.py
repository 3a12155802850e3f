"""API keys: long random texts, of which only the SHA-256 is known here.

Rules:
- A key is made at random (`gatehouse keys new`, 256 bits), so one round of SHA-256 is enough: nobody guesses it.
- The digest is what is looked up and compared; how long that takes tells of the digest, which leads to no key.
- A key proves no human: of what kind its holder is, its entry says.

Not here: how entries are written (bundle/identity_models.py).
"""

from __future__ import annotations

import hashlib
import hmac
import secrets
from collections.abc import Sequence
from dataclasses import dataclass

from ext_proc.credentials.jwt import AUTHORIZATION
from ext_proc.credentials.source import CredentialError, Found, Nothing, Presented, Rejected, bearer, only_line
from ext_proc.identity import Identity

HEADER = "x-api-key"
PREFIX = "gh_"  # by which scanners for leaked secrets find one
_MAX_LENGTH = 512  # bytes of a key


@dataclass(frozen=True, slots=True)
class ApiKey:
    """One key.

    Attributes:
        digest: SHA-256 of the key, 32 bytes.
        expires: seconds since the Unix epoch; None never.
    """

    digest: bytes
    identity: Identity
    expires: float | None = None


class ApiKeys:
    """The keys in one header.

    Args:
        header: any; in `authorization` a key has the scheme Bearer, and what is none may be another source's.
    """

    def __init__(self, keys: Sequence[ApiKey], header: str = HEADER) -> None:
        self.header = header
        self._keys = {key.digest: key for key in keys}

    def identify(self, presented: Presented) -> Found:
        """The caller whose key was presented."""
        shared = self.header == AUTHORIZATION
        try:
            value = only_line(presented.headers, self.header)
            written = bearer(value) if shared and value is not None else value
        except CredentialError as error:
            return Rejected(error.reason)
        if written is None:
            return Nothing.ABSENT
        found = self._find(written)
        if found is None:
            return Nothing.FOREIGN if shared else Rejected("api-key-unknown")
        if found.expires is not None and presented.time >= found.expires:
            return Rejected("api-key-expired")
        return found.identity

    def _find(self, written: bytes) -> ApiKey | None:
        if len(written) > _MAX_LENGTH:
            return None
        digest = hashlib.sha256(written).digest()
        found = self._keys.get(digest)
        return found if found is not None and hmac.compare_digest(found.digest, digest) else None


def new_key() -> tuple[str, str]:
    """A new key, and the SHA-256 of it in hex."""
    key = PREFIX + secrets.token_urlsafe(32)
    return key, hashlib.sha256(key.encode()).hexdigest()
