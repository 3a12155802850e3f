"""JSON-RPC: texts and JSON values of a message as policies see them, and the message with new ones.

Rules:
- A JSON value is seen as its source, and written as it comes; a text is written as a string.
- All else of the message keeps its bytes (framing/json_splice.py).

Not here: where a protocol's texts stand (mcp_texts.py, a2a_texts.py).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import msgspec

from ext_proc.framing.json_splice import Path, source, splice
from ext_proc.messages import Channel, Form, Piece, encode_json


def piece_at(raw: bytes, path: Path, channel: Channel, text: str | None = None) -> Piece:
    """What stands at a path of a document.

    Args:
        text: None for a JSON value.
    """
    if text is None:
        return Piece(channel, source(raw, path).decode(), Form.VALID_JSON)
    return Piece(channel, text)


def with_texts(
    raw: bytes, places: Iterable[tuple[Piece, Path]], texts: Mapping[int, str]
) -> tuple[Mapping[str, Any], bytes]:
    """A message's value and bytes with new ones of its texts, by index."""
    changes: dict[Path, bytes | None] = {}
    for number, (piece, path) in enumerate(places):
        if number in texts:
            changes[path] = encode_json(texts[number]) if piece.form is Form.PLAIN else texts[number].encode()
    raw = splice(raw, changes)
    return msgspec.json.decode(raw), raw
