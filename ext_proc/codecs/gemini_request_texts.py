"""Gemini: the texts of a request: its instruction and what its contents say, whose words that is, and what is written
when it changes.

Rules:
- Texts are read where those of an answer are (gemini_texts.py), and each stands for itself.
- A question for tokens may hold a whole request, and a batch of embeddings many contents: their texts are texts too.

Not here: descriptions of tools, schemas, files by reference, and what else a request holds beside its contents.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import msgspec

from ext_proc.codecs.gemini_messages import GeminiCount, GeminiEmbedding, GeminiRequest, unreadable
from ext_proc.codecs.gemini_texts import Found, beside, member, objects, of_content, read, spelling
from ext_proc.codecs.llm_texts import Malformed, Place
from ext_proc.events import Direction
from ext_proc.framing.json_splice import Path, splice
from ext_proc.messages import Channel, ChannelKind, Form, Opaque, Piece, Role, encode_json

Request = GeminiRequest | GeminiCount | GeminiEmbedding


def texts_of(request: Request) -> Sequence[Piece] | Opaque:
    """The texts of a request; see `codec.Codec.texts`."""
    try:
        return [
            Piece(place.channel, place.text, Form.VALID_JSON if place.json else Form.PLAIN)
            for place in _places(request.value, request.raw)
        ]
    except Malformed as fault:
        return unreadable(fault, request.raw)


def with_texts(request: Request, texts: Mapping[int, str]) -> Request:
    """The request with new ones of its texts, by index; what vouches for a changed one goes."""
    changes: dict[Path, bytes | None] = {}
    for number, place in enumerate(_places(request.value, request.raw)):
        if number in texts:
            changes[place.path] = texts[number].encode() if place.json else encode_json(texts[number])
            changes.update(beside(request.value, place.path))
    raw = splice(request.raw, changes)
    value = msgspec.json.decode(raw)
    if isinstance(request, GeminiRequest):
        return GeminiRequest(value, raw, request.model, streamed=request.streamed)
    return (GeminiCount if isinstance(request, GeminiCount) else GeminiEmbedding)(value, raw, request.model)


def _places(value: Mapping[str, Any], raw: bytes) -> Iterator[Place]:
    """Every text of a request: its instruction, its contents, the contents of a batch or of a counted request."""
    inner = member(value, "generateContentRequest")
    if isinstance(inner, dict):
        yield from _of_request(inner, (spelling(value, "generateContentRequest"),), raw)
    yield from _of_request(value, (), raw)
    for position, request in enumerate(objects(value.get("requests"), "requests")):
        at: Path = ("requests", position, "content")
        yield from _numbered(of_content(request.get("content"), Role.USER, at), position, raw)


def _of_request(value: Mapping[str, Any], at: Path, raw: bytes) -> Iterator[Place]:
    name = spelling(value, "systemInstruction")
    yield from _numbered(of_content(value.get(name), Role.SYSTEM, (*at, name)), 0, raw)
    yield from _numbered(of_content(value.get("content"), Role.USER, (*at, "content")), 0, raw)
    for position, content in enumerate(objects(value.get("contents"), "contents")):
        role = Role.ASSISTANT if content.get("role") == "model" else Role.USER
        yield from _numbered(of_content(content, role, (*at, "contents", position)), position, raw)


def _numbered(found: Iterator[Found], position: int, raw: bytes) -> Iterator[Place]:
    counted: dict[tuple[ChannelKind, Role], int] = {}
    for text in found:
        index = counted.get((text.kind, text.role), 0)
        counted[text.kind, text.role] = index + 1
        channel = Channel(text.kind, position, index, Direction.REQUEST, text.role)
        yield Place(channel, text.path, read(text, raw), text.text is None)
