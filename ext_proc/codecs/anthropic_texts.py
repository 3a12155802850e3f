"""Anthropic messages: where text stands in blocks, in requests and answers alike.

Rules:
- Blocks are read by their fields, not by their types: a type that is not known yet carries its text where others do,
  and what nobody reads would carry past the policies what they take out elsewhere.
- A block's own text is one channel (index 0), whether it comes whole or in deltas. What else is in it, as in the result
  of a tool that the provider ran, has channels of its own.
- `input` is a JSON value, and the strings in it are texts. In a stream it comes as its source.
- A field of another type than its text is malformed; so is a key beside it that equals a text's but for case.
- What a citation quotes is a text too, of the document's; the citation stays when the text that it supports changes.
- What vouches for a changed text goes with it: a signature. In a stream it comes later, and leaves empty.

Source: Anthropic, Messages API (content blocks, streaming events).

Not here: the classes of messages (anthropic_messages.py), when a block is over (anthropic_answer.py).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NoReturn

from ext_proc.codecs.llm_texts import Ambiguous, Malformed, Spot, Texts, at_path
from ext_proc.framing.json_splice import Path, source
from ext_proc.framing.json_view import colliding_key
from ext_proc.messages import ChannelKind, Role

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
_BESIDE = ("signature",)


@dataclass(frozen=True, slots=True)
class Found:
    """A text of a block.

    Attributes:
        text: None for a JSON value.
        own: whether it is the block's own, which deltas go on.
    """

    kind: ChannelKind
    role: Role
    path: Path
    text: str | None
    own: bool


def of_block(block: Mapping[str, Any], role: Role, at: Path, depth: int = 0) -> Iterator[Found]:
    """Every text of a block, in the order of the fields' table.

    Args:
        role: whose words the block's own are; what a tool gave back is the tool's.

    Raises:
        Malformed: something has another type than its field's, or blocks are nested too deep.
    """
    if depth >= _DEPTH:
        _reject("blocks are nested too deep")
    check_keys(block)
    if "tool_use_id" in block:
        role = Role.TOOL
    for name, kind in _PLAIN:
        text = text_of(block, name)
        if text:
            yield Found(kind, role, (*at, name), text, own=depth == 0 and name in DELTAS)
    if isinstance(block.get("input"), str):
        _reject("input must not be a string")
    if block.get("input"):
        yield Found(ChannelKind.TOOL_ARGUMENTS, role, (*at, "input"), None, own=False)
    yield from _of_content(block.get("content"), role, (*at, "content"), depth)
    for position, line in enumerate(_lines(block)):
        if line:
            yield Found(ChannelKind.CONTENT, role, (*at, "lines", position), line, own=False)
    citations = block.get("citations")
    for position, citation in enumerate(citations if isinstance(citations, list) else ()):  # an object is a setting
        yield from of_citation(citation, (*at, "citations", position))
    origin = block.get("source")
    if isinstance(origin, dict):
        check_keys(origin)
        if origin.get("type") == "text" and text_of(origin, "data"):
            yield Found(ChannelKind.CONTENT, role, (*at, "source", "data"), origin["data"], own=False)
        yield from _of_content(origin.get("content"), role, (*at, "source", "content"), depth + 1)


def of_citation(citation: Any, at: Path) -> Iterator[Found]:
    """What a citation quotes: the words of a document.

    Raises:
        Malformed: something has another type than its field's.
    """
    if not isinstance(citation, dict):
        _reject("a citation must be an object")
    check_keys(citation, _CITATION)
    for name in _CITED:
        text = text_of(citation, name)
        if text:
            yield Found(ChannelKind.CONTENT, Role.TOOL, (*at, name), text, own=False)


def _lines(block: Mapping[str, Any]) -> Sequence[str]:
    """What an editor's tool shows of a file."""
    lines = block.get("lines")
    if lines is not None and not (isinstance(lines, list) and all(isinstance(line, str) for line in lines)):
        _reject("lines must be a list of strings")
    return lines or ()


def _of_content(content: Any, role: Role, at: Path, depth: int) -> Iterator[Found]:
    if isinstance(content, str):
        if content:
            yield Found(ChannelKind.CONTENT, role, at, content, own=depth == 0 and at[-1] in DELTAS)
    elif isinstance(content, dict):
        yield from of_block(content, role, at, depth + 1)
    else:
        for position, block in enumerate(objects(content, "content")):
            yield from of_block(block, role, (*at, position), depth + 1)


def text_of(holder: Mapping[str, Any], name: str) -> str:
    """The text under a name; "" where there is none.

    Raises:
        Malformed: it is something else.
    """
    text = holder.get(name)
    if text is None:
        return ""
    if not isinstance(text, str):
        _reject(f"{name} must be a string")
    return text


def objects(value: Any, name: str) -> Sequence[Mapping[str, Any]]:
    """A list of objects; () for null.

    Raises:
        Malformed: it is something else.
    """
    if value is None:
        return ()
    if not isinstance(value, list) or not all(isinstance(item, dict) for item in value):
        _reject(f"{name} must be a list of objects")
    return value


def check_keys(value: Mapping[str, Any], names: frozenset[str] = _BLOCK) -> None:
    """Looks at the keys of what texts stand in.

    Raises:
        Ambiguous: one equals one of the format's but for case.
    """
    if colliding_key(value, names) is not None:
        raise Ambiguous("a key equals one of the format's but for upper and lower case")


def read(found: Found, raw: bytes) -> str:
    """The text; of a JSON value its source in `raw`."""
    return source(raw, found.path).decode() if found.text is None else found.text


def changes_for(value: Mapping[str, Any], spots: Sequence[Spot], texts: Texts) -> dict[Path, bytes | None]:
    """What is to be spliced into an answer for new texts of some spots; what is no text in `value` any more is left."""
    changes: dict[Path, bytes | None] = {}
    for number, text in texts.items():
        spot = spots[number]
        if at_path(value, spot.path) is None:
            continue
        changes[spot.path] = spot.encoded(text)
        changes.update(beside(value, spot.path))
    return changes


def beside(value: Any, path: Path) -> dict[Path, bytes | None]:
    """What goes with a changed text: what stands beside it and vouches for it."""
    found = [(*path[:-1], name) for name in _BESIDE]
    return {place: None for place in found if at_path(value, place) is not None}


def _reject(detail: str) -> NoReturn:
    raise Malformed(detail)
