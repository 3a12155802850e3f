"""Anthropic messages: the calls that an answer proposes, and how they are taken out of it.

Rules:
- A block of type `tool_use` is a call for the client; `server_tool_use` and `mcp_tool_use` are the provider's own.
- A block that is taken out is one of text in its place, from its start on; its deltas are dropped.
- A message of which all calls were taken out ended its turn: its `stop_reason` says so.

Source: Anthropic, Messages API (tool use, streaming).

Not here: texts in calls (anthropic_texts.py), messages (anthropic_messages.py).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Self

from ext_proc.codecs.llm_calls import NOTE, Changeable, name_in
from ext_proc.framing.json_splice import Path
from ext_proc.messages import Channel, ChannelKind, Proposals, ProposedCall, encode_json

_BLOCK = encode_json({"type": "text", "text": NOTE})


class AnthropicCalls(Changeable):
    """What a whole message and an event of one have in common."""

    __slots__ = ()

    @property
    def proposals(self) -> Sequence[ProposedCall]:
        """The calls whose name stands in it."""
        return self.with_gathered(
            [_call(index, path, block, name) for index, path, block in _blocks(self.value) if (name := name_in(block))]
        )

    def without_calls(self, decided: Proposals) -> Self | None:
        """The same message without the calls that were taken out; None for a piece of one of them."""
        value = self.value
        if value.get("type") == "content_block_delta" and decided.has_taken(0, value.get("index", -1)):
            return None
        changes: dict[Path, bytes | None] = {
            path: _BLOCK for index, path, _ in _blocks(value) if not decided.has_kept(0, index)
        }
        for path, holder in (((), value), (("delta",), value.get("delta"))):
            if isinstance(holder, dict) and holder.get("stop_reason") == "tool_use" and decided.took_all(0):
                changes[*path, "stop_reason"] = b'"end_turn"'
        return self.with_changes(changes)


def _blocks(value: Mapping[str, Any]) -> Iterator[tuple[int, Path, Mapping[str, Any]]]:
    """The blocks of calls in a message, or at the start of one: the index, where it stands, the block."""
    started = value.get("content_block")
    if isinstance(started, dict) and started.get("type") == "tool_use":
        yield value.get("index", 0), ("content_block",), started
    content = value.get("content")
    for index, block in enumerate(content if isinstance(content, list) else ()):
        if isinstance(block, dict) and block.get("type") == "tool_use":
            yield index, ("content", index), block


def _call(index: int, path: Path, block: Mapping[str, Any], name: str) -> ProposedCall:
    """A whole message's call, or one that begins: its input then comes in deltas of its block, if any come."""
    written = block.get("input")
    arguments = written if isinstance(written, dict) else None
    if path[0] == "content":
        return ProposedCall(0, index, name, name_in(block, "id"), arguments)
    return ProposedCall(
        0, index, name, name_in(block, "id"), pieces=Channel(ChannelKind.TOOL_ARGUMENTS, index), begun=arguments or {}
    )
