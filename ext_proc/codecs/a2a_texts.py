"""A2A: the texts of messages, tasks and artifacts, and what is written when they change.

Rules:
- A part's text is one text; in a data part each string is one. An artifact's name and description are texts, too.
- What a client sends is the user's word, whatever role it names. What an agent gives back is a tool's: nobody vouches
  for it, and the agent itself wrote the roles that stand there.

Not here: metadata, files, the words of errors, agents' cards, methods that neither version knows.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from ext_proc.codecs import jsonrpc_texts
from ext_proc.codecs.a2a_shapes import messages_of
from ext_proc.codecs.jsonrpc_texts import piece_at
from ext_proc.events import Direction
from ext_proc.framing.json_splice import Path
from ext_proc.messages import (
    A2aResult,
    Channel,
    ChannelKind,
    Message,
    MessageSend,
    Piece,
    Role,
    TaskPage,
)
from ext_proc.messages.a2a_answers import WRAPPERS

_ARTIFACTS = frozenset({"artifact", "artifacts"})


def texts_of(message: Message) -> Sequence[Piece]:
    """The texts of a message; see `codec.Codec.texts`. The shapes were checked when it was read."""
    return [piece for piece, _ in _places(message)]


def with_texts(message: Message, texts: Mapping[int, str]) -> Message:
    """The message with new ones of its texts, by index."""
    value, raw = jsonrpc_texts.with_texts(message.raw, _places(message), texts)
    if isinstance(message, A2aResult):
        return type(message)(value, raw, message.request)
    assert isinstance(message, MessageSend), "nothing else has texts"
    return type(message)(value, raw)


def _places(message: Message) -> Iterator[tuple[Piece, Path]]:
    """Every text of a message, and where it stands."""
    said: Iterator[tuple[Path, Mapping[str, Any]]] = iter(())
    role, direction = Role.TOOL, Direction.RESPONSE
    if isinstance(message, MessageSend):
        role, direction = Role.USER, Direction.REQUEST
        said = iter([(("params", "message"), message.message)])
    elif isinstance(message, A2aResult):
        said = _said(message)
    for index, (path, text) in enumerate(_texts(said)):
        channel = Channel(ChannelKind.CONTENT, index=index, direction=direction, role=role)
        yield piece_at(message.raw, path, channel, text), path


def _said(answer: A2aResult) -> Iterator[tuple[Path, Mapping[str, Any]]]:
    """All that has parts in an answer, with its path."""
    if isinstance(answer, TaskPage):
        for position, task in enumerate(answer.tasks):
            for path, found in messages_of(task):
                yield ("result", "tasks", position, *path), found
        return
    payload = answer.payload
    if not payload:
        return
    wrapper = [name for name in WRAPPERS if payload is not answer.result and answer.result.get(name) is not None]
    for path, found in messages_of(payload):
        yield ("result", *wrapper, *path), found


def _texts(said: Iterator[tuple[Path, Mapping[str, Any]]]) -> Iterator[tuple[Path, str | None]]:
    """Each text with its path; None for JSON."""
    for path, found in said:
        if not _ARTIFACTS.isdisjoint(path):
            yield from (((*path, name), found[name]) for name in ("name", "description") if found.get(name))
        for position, part in enumerate(found.get("parts") or ()):
            at = (*path, "parts", position)
            if part.get("text"):
                yield (*at, "text"), part["text"]
            elif isinstance(part.get("data"), dict | list | str):
                yield (*at, "data"), None
