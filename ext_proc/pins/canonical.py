"""One text for one JSON value, and its digest: what is pinned of a tool, however a server writes it.

Rules:
- The canonical form is that of RFC 8785 (JSON Canonicalization Scheme), in UTF-8; the digest is its SHA-256.
- RFC 8785 has no form for an integer beyond what a double holds exactly (2^53 - 1), which real schemas have (the
  largest of 64 bits). Such an integer is written with all of its digits and `.0` behind them. RFC 8785 ends no number
  in `.0`, so two values that are not equal never have one form.
- Of a tool's entry everything counts but `_meta`, which is for clients' programs and may differ by answer.

Not here: whether a definition is approved (records.py).
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Any, Final

import rfc8785

LARGEST: Final = 2**53 - 1  # of integers that RFC 8785 writes
PREFIX: Final = "sha256:"  # of a digest where people read it
HEX: Final = 64  # digits of a digest


def canonical(value: Any) -> bytes:
    """The canonical form of a JSON value.

    Raises:
        ValueError: it holds what no strict JSON has: a number that is none, a surrogate, a key that is no text.
    """
    try:
        return rfc8785.dumps(value)
    except rfc8785.IntegerDomainError:
        return _with_long_integers(value)


def digest_of(form: bytes) -> str:
    """The digest of a canonical form: 64 hexadecimal digits."""
    return hashlib.sha256(form).hexdigest()


def definition_of(tool: Mapping[str, Any]) -> Mapping[str, Any]:
    """What is pinned of an entry of tools/list."""
    return {key: value for key, value in tool.items() if key != "_meta"}


def _with_long_integers(value: Any) -> bytes:
    if isinstance(value, int) and not isinstance(value, bool) and abs(value) > LARGEST:
        return b"%d.0" % value
    if isinstance(value, Mapping):
        # RFC 8785, section 3.2.3: by the UTF-16 code units of the keys.
        keys = sorted(value, key=lambda key: key.encode("utf-16-be"))
        return b"{" + b",".join(rfc8785.dumps(key) + b":" + _with_long_integers(value[key]) for key in keys) + b"}"
    if isinstance(value, list | tuple):
        return b"[" + b",".join(_with_long_integers(item) for item in value) + b"]"
    return rfc8785.dumps(value)
