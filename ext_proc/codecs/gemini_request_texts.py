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

from ext_proc.codecs import llm_found
from ext_proc.codecs.gemini_messages import GeminiCount, GeminiEmbedding, GeminiRequest
from ext_proc.codecs.gemini_texts import beside, member, of_content, spelling
from ext_proc.codecs.llm_fields import objects
from ext_proc.codecs.llm_found import numbered
from ext_proc.codecs.llm_texts import Malformed, Place, unreadable
from ext_proc.framing.json_splice import Path
from ext_proc.messages import Opaque, Piece, Role

Request = GeminiRequest | GeminiCount | GeminiEmbedding


def texts_of(request: Request) -> Sequence[Piece] | Opaque:
    """The texts of a request; see `codec.Codec.texts`."""
    try:
        return [place.piece for place in _places(request.value, request.raw)]
    except Malformed as fault:
        return unreadable("gemini", fault, request.raw)


def with_texts(request: Request, texts: Mapping[int, str]) -> Request:
    """The request with new ones of its texts, by index; what vouches for a changed one goes."""
    places = _places(request.value, request.raw)
    return request.remade(*llm_found.with_texts(request.value, request.raw, places, texts, beside))


def _places(value: Mapping[str, Any], raw: bytes) -> Iterator[Place]:
    """Every text of a request: its instruction, its contents, the contents of a batch or of a counted request."""
    inner = member(value, "generateContentRequest")
    if isinstance(inner, dict):
        yield from _of_request(inner, (spelling(value, "generateContentRequest"),), raw)
    yield from _of_request(value, (), raw)
    for position, request in enumerate(objects(value.get("requests"), "requests")):
        at: Path = ("requests", position, "content")
        yield from numbered(of_content(request.get("content"), Role.USER, at), position, raw)


def _of_request(value: Mapping[str, Any], at: Path, raw: bytes) -> Iterator[Place]:
    name = spelling(value, "systemInstruction")
    yield from numbered(of_content(value.get(name), Role.SYSTEM, (*at, name)), 0, raw)
    yield from numbered(of_content(value.get("content"), Role.USER, (*at, "content")), 0, raw)
    for position, content in enumerate(objects(value.get("contents"), "contents")):
        role = Role.ASSISTANT if content.get("role") == "model" else Role.USER
        yield from numbered(of_content(content, role, (*at, "contents", position)), position, raw)
