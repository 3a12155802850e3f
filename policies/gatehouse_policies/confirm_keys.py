"""Keys that sign what confirm hands out and keeps: request states, requests and their decisions, tokens of its forms.

Rules:
- What is signed is HMAC-SHA256 (RFC 2104) over the policy's name, a purpose, and the text: what was signed for one
  purpose or by one policy says nothing for another.
- A random key is made and kept in the store, which all hosts share. It is replaced after ROTATED, and verifies until
  what it signed has expired. Who can write into that store and read it can forge, unless the bundle has secrets.
- Of the bundle's secrets the first signs and all verify: a new key is put in front, and the old one is taken out once
  what it signed has expired. Each signs with the random key mixed in: what was used up is written in the store, so
  what was signed must not outlive it, nor count beside another one.

Not here: what is signed, and how long it holds (confirm_states.py, confirm_requests.py).
"""

from __future__ import annotations

import hashlib
import hmac
import json
import secrets
from collections.abc import Sequence
from typing import NamedTuple

from ext_proc.policy import ABSENT, Key, Keyspace, Secret, StoreError, Write

ROTATED = 7 * 86400.0  # seconds after which a random key signs nothing more
SHORTEST = 32  # bytes of a key (RFC 2104, section 3: not below the length of the hash)
_RECORD = Key("keys", "signing")
_ATTEMPTS = 3


class Signature(NamedTuple):
    """A signature as text: 64 hexadecimal digits, and the id of the key."""

    key: str
    mac: str


class _Known(NamedTuple):
    id: str
    value: bytes
    since: float


class Keys:
    """The keys of one policy.

    Args:
        name: the policy's.
        given: the bundle's secrets, the one that signs first.
        holds: for how many seconds after it was signed anything has to verify.
    """

    def __init__(self, name: str, given: Sequence[Secret], holds: float) -> None:
        self._name = name
        self._given = [(secret.key_id, secret.reveal()) for secret in given]
        self._holds = holds

    async def sign(self, purpose: str, text: str, store: Keyspace, time: float) -> Signature:
        """Signs a text.

        Args:
            time: seconds since the Unix epoch.

        Raises:
            StoreError: the store failed.
        """
        first = self._mixed(await self._current(store, time))[0]
        return Signature(first.id, self._mac(first.value, purpose, text))

    async def verifies(self, signature: Signature, purpose: str, text: str, store: Keyspace, time: float) -> bool:
        """Whether a text was signed here for that purpose, with a key that still counts.

        Raises:
            StoreError: the store failed.
        """
        known = self._mixed(await self._current(store, time))
        value = next((key.value for key in known if key.id == signature.key), None)
        if value is None:
            return False
        mac = self._mac(value, purpose, text)
        return hmac.compare_digest(mac.encode(), signature.mac.encode("utf-8", "surrogatepass"))

    def _mixed(self, made: Sequence[_Known]) -> Sequence[_Known]:
        """The keys that verify, the one that signs first, from the random ones."""
        if not self._given:
            return made
        return [
            _Known(f"{id}.{random.id}", hmac.digest(value, random.value, "sha256"), random.since)
            for id, value in self._given
            for random in made
        ]

    def _mac(self, key: bytes, purpose: str, text: str) -> str:
        # JSON tells where each part ends.
        return hmac.new(key, json.dumps([self._name, purpose, text]).encode(), hashlib.sha256).hexdigest()

    async def _current(self, store: Keyspace, time: float) -> Sequence[_Known]:
        """The random keys, the one that signs first; made where there is none, or that one is too old."""
        # Read each time: a store that was emptied a moment ago has forgotten uses as well.
        for _ in range(_ATTEMPTS):
            entry = await store.get(_RECORD)
            kept = [] if entry is None else [_Known(k, bytes.fromhex(v), s) for k, v, s in json.loads(entry.value)]
            if not kept or time - kept[0].since >= ROTATED:
                counting = [key for key in kept if time - key.since < ROTATED + self._holds]
                kept = [_Known(secrets.token_hex(4), secrets.token_bytes(SHORTEST), time), *counting]
                value = json.dumps([[key.id, key.value.hex(), key.since] for key in kept]).encode()
                version = ABSENT if entry is None else entry.version
                if not await store.write([Write(_RECORD, value, 2 * ROTATED + self._holds, expected=version)]):
                    continue
            return kept
        raise StoreError("the keys were written by others again and again")
