"""Anthropic messages: the texts of a request: its instructions and what its messages say, whose words that is, and what
is written when it changes.

Rules:
- Texts are read where those of an answer are (anthropic_texts.py), and each stands for itself.
- The input of a tool in the history is JSON, as the model wrote it; what a tool gave back is the tool's word.
- A role that is not known is the caller's own.

Not here: descriptions of tools, schemas, names, files by reference, and what else a request holds beside its messages.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import msgspec

from ext_proc.codecs.anthropic_messages import CountRequest, MessagesRequest, unreadable
from ext_proc.codecs.anthropic_texts import Found, beside, objects, of_block, read
from ext_proc.codecs.llm_texts import Malformed, Place
from ext_proc.events import Direction
from ext_proc.framing.json_splice import Path, splice
from ext_proc.messages import Channel, ChannelKind, Form, Opaque, Piece, Role, encode_json

_ROLES = {"system": Role.SYSTEM, "assistant": Role.ASSISTANT}


def texts_of(request: MessagesRequest | CountRequest) -> Sequence[Piece] | Opaque:
    """The texts of a request; see `codec.Codec.texts`."""
    try:
        return [
            Piece(place.channel, place.text, Form.VALID_JSON if place.json else Form.PLAIN)
            for place in _places(request.value, request.raw)
        ]
    except Malformed as fault:
        return unreadable(fault, request.raw)


def with_texts(request: MessagesRequest | CountRequest, texts: Mapping[int, str]) -> MessagesRequest | CountRequest:
    """The request with new ones of its texts, by index; what repeats or vouches for a changed one goes."""
    changes: dict[Path, bytes | None] = {}
    for number, place in enumerate(_places(request.value, request.raw)):
        if number in texts:
            changes[place.path] = texts[number].encode() if place.json else encode_json(texts[number])
            changes.update(beside(request.value, place.path))
    raw = splice(request.raw, changes)
    return type(request)(msgspec.json.decode(raw), raw)


def _places(value: Mapping[str, Any], raw: bytes) -> Iterator[Place]:
    """Every text of a request. Channels are counted by message and kind; those of `system` stand before the first.

    Raises:
        Malformed: something has another type than its field's.
    """
    yield from _numbered(_said(value.get("system"), Role.SYSTEM, ("system",)), 0, raw)
    for position, turn in enumerate(value["messages"]):
        said = turn.get("role")
        role = _ROLES.get(said, Role.USER) if isinstance(said, str) else Role.USER
        yield from _numbered(_said(turn.get("content"), role, ("messages", position, "content")), position, raw)


def _numbered(found: Iterator[Found], position: int, raw: bytes) -> Iterator[Place]:
    counted: Counter[tuple[ChannelKind, Role]] = Counter()
    for text in found:
        index = counted[text.kind, text.role]
        counted[text.kind, text.role] += 1
        channel = Channel(text.kind, position, index, Direction.REQUEST, text.role)
        yield Place(channel, text.path, read(text, raw), text.text is None)


def _said(content: Any, role: Role, at: Path) -> Iterator[Found]:
    if isinstance(content, str):
        if content:
            yield Found(ChannelKind.CONTENT, role, at, content, own=True)
        return
    for position, block in enumerate(objects(content, "content")):
        yield from of_block(block, role, (*at, position))
