"""Ids of trails: what a denied client is told, and what `gatehouse explain` takes.

Rules:
- Sortable by time, unguessable, and easy to read out: 20 characters of Crockford's base32 in lower case.

Not here: who keeps them (telemetry/history.py).
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable

_ALPHABET = "0123456789abcdefghjkmnpqrstvwxyz"
_TIME = 9  # characters: 45 bits of milliseconds, enough until the year 3084
_RANDOM = 11  # characters: 55 bits


def new_trail_id(wall_clock: Callable[[], float] = time.time, random_bytes: Callable[[int], bytes] = os.urandom) -> str:
    """A new id.

    Args:
        wall_clock: seconds since the epoch.
        random_bytes: as many unpredictable bytes as asked for.
    """
    chance = int.from_bytes(random_bytes(7)) >> 1
    return _base32(int(wall_clock() * 1000), _TIME) + _base32(chance, _RANDOM)


def _base32(number: int, length: int) -> str:
    return "".join(_ALPHABET[number >> shift & 31] for shift in range(5 * (length - 1), -1, -5))
