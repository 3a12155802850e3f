"""Plain values to JSON, for lines that must always come out.

Rules:
- Whatever a trail holds, encoding it does not fail: a record that cannot be written is a denial nobody can explain.

Not here: any payload's JSON (codecs/).
"""

from __future__ import annotations

import json
from typing import Any

import msgspec

_ENCODER = msgspec.json.Encoder(enc_hook=str)


def to_json(value: Any) -> bytes:
    """`value` as one line of JSON in UTF-8; a type that JSON lacks becomes its text.

    A name that came as bytes which are not UTF-8 holds surrogates, which strict UTF-8 cannot carry: then every
    character outside ASCII is escaped.
    """
    try:
        return _ENCODER.encode(value)
    except (UnicodeEncodeError, TypeError, ValueError):
        return json.dumps(value, default=str, separators=(",", ":")).encode("ascii")
