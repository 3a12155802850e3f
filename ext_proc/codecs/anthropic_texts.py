"""Anthropic messages: where text stands in blocks, in requests and answers alike.

Rules:
- Blocks are read by their fields, not by their types: a type that is not known yet carries its text where others do,
  and what nobody reads would carry past the policies what they take out elsewhere.
- A block's own text is one channel (index 0), whether it comes whole or in deltas. What else is in it, as in the result
  of a tool that the provider ran, has channels of its own.
- `input` is a JSON value, and the strings in it are texts. In a stream it comes as its source.
- A field of another type than its text is malformed; so is a key beside it that equals a text's but for case.
- What a citation quotes is a text too, of the document's; the citation stays when the text that it supports changes.
- Most events are deltas of one text and nothing else: those are read at a glance.
- What vouches for a changed text goes with it: a signature. In a stream it comes later, and leaves empty.

Source: Anthropic, Messages API (content blocks, streaming events).

Not here: the classes of messages (anthropic_messages.py), when a block is over (anthropic_answer.py).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from typing import Any

from ext_proc.codecs.llm_fields import check_keys, objects, reject, text_of
from ext_proc.codecs.llm_found import Found, channel_of, spliced_spots
from ext_proc.codecs.llm_texts import Place, at_path
from ext_proc.framing.json_splice import Path
from ext_proc.messages import ChannelKind, Role

MAX_INDEX = 1024  # blocks of a message
_DEPTH = 8  # of blocks within blocks
# The keys of what texts stand in.
_BLOCK = frozenset(
    {"type", "id", "name", "text", "thinking", "input", "content", "source", "data", "stdout", "stderr", "signature"}
    | {"citations", "citation", "partial_json", "title", "context", "url", "tool_use_id", "is_error", "lines"}
)
_CITATION = frozenset({"type", "cited_text", "title", "document_title", "url", "source"})
_CITED = ("cited_text", "document_title", "title")
_PLAIN: tuple[tuple[str, ChannelKind], ...] = (
    ("text", ChannelKind.CONTENT),
    ("thinking", ChannelKind.REASONING),
    ("title", ChannelKind.CONTENT),
    ("context", ChannelKind.CONTENT),
    ("stdout", ChannelKind.CONTENT),
    ("stderr", ChannelKind.CONTENT),
)
# A delta's text, and the channel of its block that it goes on.
DELTAS: Mapping[str, ChannelKind] = {
    "text": ChannelKind.CONTENT,
    "thinking": ChannelKind.REASONING,
    "partial_json": ChannelKind.TOOL_ARGUMENTS,
    "content": ChannelKind.CONTENT,
}
# The keys of an event that is read at a glance, and of its delta the keys by its type.
_PLAIN_EVENT = {"type", "index", "delta"}
_PLAIN_DELTAS: Mapping[object, str] = {
    "text_delta": "text",
    "thinking_delta": "thinking",
    "input_json_delta": "partial_json",
}
_BESIDE = ("signature",)


def plain_delta(value: Any) -> Place | None:
    """The text of an event that is a delta of its block's text and nothing else; None where it has to be looked at.

    Never raises: what is in any doubt has to be looked at.
    """
    if type(value) is not dict or value.keys() != _PLAIN_EVENT or value["type"] != "content_block_delta":
        return None
    index, delta = value["index"], value["delta"]
    if type(index) is not int or not 0 <= index < MAX_INDEX or type(delta) is not dict or len(delta) != 2:
        return None
    kind = delta.get("type")
    name = _PLAIN_DELTAS.get(kind) if type(kind) is str else None
    text = None if name is None else delta.get(name)
    if name is None or type(text) is not str or not text:
        return None
    return Place(channel_of(DELTAS[name], index), ("delta", name), text)


def of_block(block: Mapping[str, Any], role: Role, at: Path, depth: int = 0) -> Iterator[Found]:
    """Every text of a block, in the order of the fields' table.

    Args:
        role: whose words the block's own are; what a tool gave back is the tool's.

    Raises:
        Malformed: something has another type than its field's, or blocks are nested too deep.
    """
    if depth >= _DEPTH:
        reject("blocks are nested too deep")
    check_block(block)
    if "tool_use_id" in block:
        role = Role.TOOL
    for name, kind in _PLAIN:
        text = text_of(block, name)
        if text:
            yield Found(kind, role, (*at, name), text, index=_index(depth, name))
    if isinstance(block.get("input"), str):
        reject("input must not be a string")
    if block.get("input"):
        yield Found(ChannelKind.TOOL_ARGUMENTS, role, (*at, "input"), None)
    yield from _of_content(block.get("content"), role, (*at, "content"), depth)
    for position, line in enumerate(_lines(block)):
        if line:
            yield Found(ChannelKind.CONTENT, role, (*at, "lines", position), line)
    citations = block.get("citations")
    for position, citation in enumerate(citations if isinstance(citations, list) else ()):  # an object is a setting
        yield from of_citation(citation, (*at, "citations", position))
    origin = block.get("source")
    if isinstance(origin, dict):
        check_block(origin)
        if origin.get("type") == "text" and text_of(origin, "data"):
            yield Found(ChannelKind.CONTENT, role, (*at, "source", "data"), origin["data"])
        yield from _of_content(origin.get("content"), role, (*at, "source", "content"), depth + 1)


def of_citation(citation: Any, at: Path) -> Iterator[Found]:
    """What a citation quotes: the words of a document.

    Raises:
        Malformed: something has another type than its field's.
    """
    if not isinstance(citation, dict):
        reject("a citation must be an object")
    check_keys(citation, _CITATION)
    for name in _CITED:
        text = text_of(citation, name)
        if text:
            yield Found(ChannelKind.CONTENT, Role.TOOL, (*at, name), text)


def _lines(block: Mapping[str, Any]) -> Sequence[str]:
    """What an editor's tool shows of a file."""
    lines = block.get("lines")
    if lines is not None and not (isinstance(lines, list) and all(isinstance(line, str) for line in lines)):
        reject("lines must be a list of strings")
    return lines or ()


def _of_content(content: Any, role: Role, at: Path, depth: int) -> Iterator[Found]:
    if isinstance(content, str):
        if content:
            yield Found(ChannelKind.CONTENT, role, at, content, index=_index(depth, at[-1]))
    elif isinstance(content, dict):
        yield from of_block(content, role, at, depth + 1)
    else:
        for position, block in enumerate(objects(content, "content")):
            yield from of_block(block, role, (*at, position), depth + 1)


def _index(depth: int, name: object) -> int | None:
    """0 for a block's own text, which deltas go on."""
    return 0 if depth == 0 and name in DELTAS else None


def beside(value: Any, path: Path) -> dict[Path, bytes | None]:
    """What goes with a changed text: what stands beside it and vouches for it."""
    found = [(*path[:-1], name) for name in _BESIDE]
    return {place: None for place in found if at_path(value, place) is not None}


def check_block(value: Mapping[str, Any]) -> None:
    """Looks at the keys of what texts stand in.

    Raises:
        Ambiguous: one equals one of the format's but for case.
    """
    check_keys(value, _BLOCK)


changes_for = partial(spliced_spots, beside)
