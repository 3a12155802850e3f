"""OpenAI chat: the texts of a request: what its messages say, whose words that is, and what is written when it changes.

Rules:
- Texts are read where those of an answer are, and each stands for itself: parts of content are not joined, for servers
  put them together in different ways.
- The arguments of calls in the history are JSON source, as a model wrote it.
- A role that is not known is the caller's own.

Not here: descriptions of tools, schemas, names, predictions and what else a request holds beside its messages.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from ext_proc.codecs import llm_found
from ext_proc.codecs.llm_texts import Malformed, Place, at_path
from ext_proc.codecs.opaques import malformed
from ext_proc.codecs.openai_chat_messages import ChatRequest
from ext_proc.codecs.openai_chat_texts import beside, check_within, of_holder, of_part
from ext_proc.events import Direction
from ext_proc.framing.json_splice import Path
from ext_proc.limits import Limits
from ext_proc.messages import Channel, ChannelKind, Form, Opaque, Piece, Role

_ROLES = {
    "system": Role.SYSTEM,
    "developer": Role.SYSTEM,
    "assistant": Role.ASSISTANT,
    "tool": Role.TOOL,
    "function": Role.TOOL,  # as it was called before tools
}
_CONTENT = Channel(ChannelKind.CONTENT)
_PLAIN = frozenset({"role", "content", "name", "tool_call_id"})  # of a message that has no other text


def texts_of(request: ChatRequest, limits: Limits) -> Sequence[Piece] | Opaque:
    """The texts of a request; see `codec.Codec.texts`."""
    try:
        pieces = [place.piece for place in of_turns(request.value["messages"])]
    except Malformed as fault:
        return malformed("openai-invalid", str(fault), request.raw)
    return too_many_values(pieces, limits) or pieces


def with_texts(request: ChatRequest, texts: Mapping[int, str]) -> ChatRequest:
    """The request with new ones of its texts, by index; what repeats or indexes a changed one goes."""
    value, places = request.value, of_turns(request.value["messages"])
    return ChatRequest(*llm_found.with_texts(value, request.raw, places, texts, _beside))


def _beside(value: Any, path: Path) -> Mapping[Path, bytes | None]:
    return {place: None for place in beside(path, 2) if at_path(value, place) is not None}


def of_turns(turns: Sequence[Mapping[str, Any]]) -> Iterator[Place]:
    """Every text of the messages.

    Raises:
        Malformed: something has another type than its field's.
    """
    for position, turn in enumerate(turns):
        said = turn.get("role")
        role = _ROLES.get(said, Role.USER) if isinstance(said, str) else Role.USER
        yield from counted(of_turn(turn, ("messages", position)), position, role)


def counted(found: Iterator[Place], position: int, role: Role) -> Iterator[Place]:
    """The texts of a message, counted by their kind."""
    before: Counter[ChannelKind] = Counter()
    for place in found:
        kind = place.channel.kind
        channel = Channel(kind, position, before[kind], Direction.REQUEST, role)
        before[kind] += 1
        yield Place(channel, place.path, place.text)


def of_turn(turn: Mapping[str, Any], at: Path) -> Iterator[Place]:
    """The texts of a message.

    Raises:
        Malformed: something has another type than its field's.
    """
    content = turn.get("content")
    if isinstance(content, str) and turn.keys() <= _PLAIN:  # most of them
        if content:
            yield Place(_CONTENT, (*at, "content"), content)
        return
    if not isinstance(content, list):
        yield from of_holder(turn, 0, at)
        return
    for index, part in enumerate(content):
        where = (*at, "content", index)
        if isinstance(part, dict):
            check_within(part)
            yield from of_part(part, 0, where)
        elif not isinstance(part, str):
            raise Malformed("a part of content must be an object")
        elif part:  # vLLM takes bare strings
            yield Place(_CONTENT, where, part)
    yield from of_holder({name: turn[name] for name in turn if name != "content"}, 0, at)


def too_many_values(pieces: Sequence[Piece], limits: Limits) -> Opaque | None:
    """What stands in the place of a request whose arguments, all together, have more values than JSON may."""
    if sum(_values(piece.text) for piece in pieces if piece.form is Form.WRITTEN_JSON) > limits.json_values:
        return Opaque("json-too-many", f"the arguments have more than {limits.json_values} values", too_large=True)
    return None


def _values(source: str) -> int:
    """About how many values JSON source has: strings, objects and arrays."""
    return source.count('"') // 2 + source.count("{") + source.count("[")
