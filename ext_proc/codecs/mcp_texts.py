"""MCP: the texts of calls and results, and what is written when they change.

Rules:
- A call's arguments, and a result's structured content, are valid JSON: each string in them is a text.
- Structured content repeats what stands in `content`, so it is content too: what is taken out of the one must not be
  left in the other.
- What a tool or a resource gave back is a tool's word, whoever asked for it; a prompt's messages say whose they are.
- A block whose text is none is malformed, for some reader may take it as text.

Not here: the words of errors, descriptions of tools, `_meta`, what servers ask and clients answer (sampling,
elicitation).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, TypeAlias

from ext_proc.codecs import jsonrpc_texts
from ext_proc.codecs.jsonrpc_texts import piece_at
from ext_proc.codecs.opaques import malformed
from ext_proc.events import Direction
from ext_proc.framing.json_splice import Path
from ext_proc.framing.json_view import colliding_key
from ext_proc.messages import (
    Channel,
    ChannelKind,
    McpResult,
    Message,
    Opaque,
    Piece,
    PromptGet,
    Role,
    ToolCall,
)

_BLOCK = frozenset({"type", "text", "resource", "uri", "mimeType", "blob", "data"})  # and of what a resource holds
_PROMPT = frozenset({"role", "content"})
# Whose words a text is, where it stands, and the text itself: None for JSON.
_Found: TypeAlias = tuple[Role, Path, str | None]


class _Malformed(Exception):
    """Why something is no text: a slug, and words without payload."""

    def __init__(self, reason: str, detail: str) -> None:
        super().__init__(detail)
        self.reason = reason
        self.detail = detail


def texts_of(message: Message) -> Sequence[Piece] | Opaque:
    """The texts of a message; see `codec.Codec.texts`."""
    try:
        return [piece for piece, _ in _places(message)]
    except _Malformed as fault:
        return malformed(fault.reason, fault.detail, message.raw)


def with_texts(message: Message, texts: Mapping[int, str]) -> Message:
    """The message with new ones of its texts, by index."""
    value, raw = jsonrpc_texts.with_texts(message.raw, _places(message), texts)
    if isinstance(message, McpResult):
        return type(message)(value, raw, message.request)
    assert isinstance(message, ToolCall | PromptGet), "nothing else has texts"
    return type(message)(value, raw)


def _places(message: Message) -> Iterator[tuple[Piece, Path]]:
    """Every text of a message, and where it stands."""
    if isinstance(message, ToolCall | PromptGet) and message.arguments:
        called = isinstance(message, ToolCall)
        kind, role = (ChannelKind.TOOL_ARGUMENTS, Role.ASSISTANT) if called else (ChannelKind.CONTENT, Role.USER)
        path: Path = ("params", "arguments")
        channel = Channel(kind, direction=Direction.REQUEST, role=role)
        yield piece_at(message.raw, path, channel), path
    elif isinstance(message, McpResult) and message.texts:
        for index, (role, path, text) in enumerate(_of_result(message.result)):
            channel = Channel(ChannelKind.CONTENT, index=index, role=role)
            yield piece_at(message.raw, path, channel, text), path


def _of_result(result: Mapping[str, Any]) -> Iterator[_Found]:
    """The texts of a result, of a tool or of another method: their fields have the same names."""
    for name in ("content", "contents"):
        for position, block in enumerate(_objects(result, name)):
            yield from _of_block(block, Role.TOOL, ("result", name, position))
    for position, said in enumerate(_objects(result, "messages")):
        _check_keys(said, _PROMPT)
        role = Role.ASSISTANT if said.get("role") == "assistant" else Role.USER
        content, path = said.get("content"), ("result", "messages", position, "content")
        if isinstance(content, dict):
            yield from _of_block(content, role, path)
            continue
        for index, block in enumerate(_objects(said, "content")):
            yield from _of_block(block, role, (*path, index))
    if isinstance(result.get("structuredContent"), dict | list | str):
        yield Role.TOOL, ("result", "structuredContent"), None


def _of_block(block: Mapping[str, Any], role: Role, at: Path) -> Iterator[_Found]:
    """The text of a block, or of the resource that is in it."""
    _check_keys(block, _BLOCK)
    resource = block.get("resource")
    if isinstance(resource, dict):
        _check_keys(resource, _BLOCK)
        yield from _text(resource, Role.TOOL, (*at, "resource"))
    yield from _text(block, role, at)


def _text(value: Mapping[str, Any], role: Role, at: Path) -> Iterator[_Found]:
    text = value.get("text")
    if isinstance(text, str) and text:
        yield role, (*at, "text"), text
    elif text:
        raise _Malformed("mcp-result-invalid", "a text must be a string")


def _objects(value: Mapping[str, Any], name: str) -> Sequence[Mapping[str, Any]]:
    found = value.get(name)
    if found is None:
        return ()
    if not isinstance(found, list) or not all(isinstance(item, dict) for item in found):
        raise _Malformed("mcp-result-invalid", f"result.{name} must be a list of objects")
    return found


def _check_keys(mapping: Mapping[str, Any], names: frozenset[str]) -> None:
    if colliding_key(mapping, names) is not None:
        raise _Malformed("ambiguous-key", "a key equals one of the protocol's but for upper and lower case")
