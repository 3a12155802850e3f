"""Any text as a header value, and back: the sentinel encoding `=?base64?...?=`.

Rules:
- Printable ASCII without a blank at either end travels as it is; everything else, and what looks like the sentinel, is
  base64 over UTF-8 (MCP 2026-07-28, transports: unsafe header values).
- Encoding never fails, so no name can inject a line into a header; what cannot be decoded equals nothing.

Not here: which headers carry such values (codecs/, engine/).
"""

from __future__ import annotations

import base64
import binascii

_OPEN = "=?base64?"
_CLOSE = "?="


def encode_header_value(text: str) -> str:
    """`text` as a value that any HTTP hop carries unchanged."""
    if text.isascii() and (text.isprintable()) and text == text.strip(" ") and not _is_wrapped(text):
        return text
    # surrogatepass: a lone surrogate must neither raise nor become equal to another text.
    return f"{_OPEN}{base64.b64encode(text.encode('utf-8', 'surrogatepass')).decode('ascii')}{_CLOSE}"


def decode_header_value(value: str) -> str | None:
    """The text that `value` stands for; None where its wrapping is broken (bad or non-canonical base64, bad UTF-8)."""
    if not _is_wrapped(value):
        return value
    payload = value[len(_OPEN) : -len(_CLOSE)]
    try:
        decoded = base64.b64decode(payload, validate=True)
        # base64 has several spellings of the same bytes; only the canonical one may compare equal.
        return decoded.decode("utf-8") if base64.b64encode(decoded).decode("ascii") == payload else None
    except (binascii.Error, ValueError):
        return None


def read_header_value(line: bytes) -> str | None:
    """The text that a header's line stands for; None where it is not printable ASCII, or its wrapping is broken."""
    value = line.decode("latin-1")
    return decode_header_value(value) if value.isascii() and value.isprintable() else None


def _is_wrapped(text: str) -> bool:
    return len(text) >= len(_OPEN) + len(_CLOSE) and text.startswith(_OPEN) and text.endswith(_CLOSE)
