"""Anthropic messages: the texts of a request: its instructions and what its messages say, whose words that is, and what
is written when it changes.

Rules:
- Texts are read where those of an answer are (anthropic_texts.py), and each stands for itself.
- The input of a tool in the history is JSON, as the model wrote it; what a tool gave back is the tool's word.
- A role that is not known is the caller's own.

Not here: descriptions of tools, schemas, names, files by reference, and what else a request holds beside its messages.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from ext_proc.codecs import llm_found
from ext_proc.codecs.anthropic_messages import CountRequest, MessagesRequest
from ext_proc.codecs.anthropic_texts import beside, of_block
from ext_proc.codecs.llm_fields import objects
from ext_proc.codecs.llm_found import Found, numbered
from ext_proc.codecs.llm_texts import Malformed, Place, unreadable
from ext_proc.framing.json_splice import Path
from ext_proc.messages import ChannelKind, Opaque, Piece, Role

_ROLES = {"system": Role.SYSTEM, "assistant": Role.ASSISTANT}


def texts_of(request: MessagesRequest | CountRequest) -> Sequence[Piece] | Opaque:
    """The texts of a request; see `codec.Codec.texts`."""
    try:
        return [place.piece for place in _places(request.value, request.raw)]
    except Malformed as fault:
        return unreadable("anthropic", fault, request.raw)


def with_texts(request: MessagesRequest | CountRequest, texts: Mapping[int, str]) -> MessagesRequest | CountRequest:
    """The request with new ones of its texts, by index; what repeats or vouches for a changed one goes."""
    places = _places(request.value, request.raw)
    return request.remade(*llm_found.with_texts(request.value, request.raw, places, texts, beside))


def _places(value: Mapping[str, Any], raw: bytes) -> Iterator[Place]:
    """Every text of a request. Channels are counted by message and kind; those of `system` stand before the first.

    Raises:
        Malformed: something has another type than its field's.
    """
    yield from numbered(_said(value.get("system"), Role.SYSTEM, ("system",)), 0, raw)
    for position, turn in enumerate(value["messages"]):
        said = turn.get("role")
        role = _ROLES.get(said, Role.USER) if isinstance(said, str) else Role.USER
        yield from numbered(_said(turn.get("content"), role, ("messages", position, "content")), position, raw)


def _said(content: Any, role: Role, at: Path) -> Iterator[Found]:
    if isinstance(content, str):
        if content:
            yield Found(ChannelKind.CONTENT, role, at, content)
        return
    for position, block in enumerate(objects(content, "content")):
        yield from of_block(block, role, (*at, position))
