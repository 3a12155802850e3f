"""codecs/jsonrpc_texts.py: what stands at a path, and the message with something else there."""

from __future__ import annotations

from ext_proc.codecs.jsonrpc_texts import piece_at, with_texts
from ext_proc.framing.json_splice import Path
from ext_proc.messages import Channel, ChannelKind, Form, Piece

RAW = b'{"text": "a", "data": {"n": 1.0}, "other" : 2.50}'
CHANNEL = Channel(ChannelKind.CONTENT)
PLACES: list[tuple[Piece, Path]] = [
    (piece_at(RAW, ("text",), CHANNEL, "a"), ("text",)),
    (piece_at(RAW, ("data",), CHANNEL), ("data",)),
]


def test_a_text_is_plain_and_a_value_is_seen_as_its_source() -> None:
    assert [(piece.text, piece.form) for piece, _ in PLACES] == [("a", Form.PLAIN), ('{"n": 1.0}', Form.VALID_JSON)]


def test_a_text_is_written_as_a_string_and_a_value_as_it_comes() -> None:
    value, raw = with_texts(RAW, PLACES, {0: '"', 1: '{"n":2}'})
    assert raw == b'{"text": "\\"", "data": {"n":2}, "other" : 2.50}'
    assert value == {"text": '"', "data": {"n": 2}, "other": 2.5}


def test_what_has_no_new_text_keeps_its_bytes() -> None:
    assert with_texts(RAW, PLACES, {1: "[]"})[1] == RAW.replace(b'{"n": 1.0}', b"[]")
