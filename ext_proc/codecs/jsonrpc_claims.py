"""JSON-RPC: what some reader could take for a message of it, though it is none to ours.

Rules:
- The mark is the member `jsonrpc`, in any case: some readers ignore case.
- Readers of JSON differ about more than keys: the official Python SDK reads `NaN`, which no JSON has (RFC 8259), others
  read UTF-16 by its byte order mark. So what begins like JSON is no error page, though it cannot be read here.

Not here: what a message is (mcp_messages.py, a2a_messages.py), which codec reads a request (auto.py).
"""

from __future__ import annotations

from collections.abc import Mapping

from ext_proc.framing.json_view import colliding_key

_MARK = "jsonrpc"
_BLANKS = b" \t\r\n"  # RFC 8259, section 2
# A brace and a bracket, the first of four bytes or two for one, and the byte order marks of UTF-8 and UTF-16.
_BEGINNINGS = (b"{", b"[", b"\0", b"\xef\xbb\xbf", b"\xff\xfe", b"\xfe\xff")


def is_marked(value: object) -> bool:
    """Whether a JSON value could be taken for a message: an object with the mark."""
    return isinstance(value, Mapping) and (_MARK in value or colliding_key(value, frozenset({_MARK})) is not None)


def begins_like_json(raw: bytes) -> bool:
    """Whether an object or an array begins here for some reader, in whatever encoding of Unicode."""
    return raw.lstrip(_BLANKS).startswith(_BEGINNINGS)
