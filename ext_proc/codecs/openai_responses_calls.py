"""OpenAI responses: the calls that an answer proposes, and how they are taken out of it.

Rules:
- Calls for the client are items: functions and custom tools by their name, and by their kind what OpenAI names itself:
  `local_shell`, `shell`, `computer`, `apply_patch`. What runs at the provider is none: also a shell in its container.
- An item stands in several events, and again in the whole answer: each time it is decided, by what it says there.
  Where it begins, its arguments are still to come. An event that tells them whole without a name is of its item.
- An item that is taken out is a message in its place; the events of its pieces are dropped.

Source: OpenAI, Responses API (items, streaming events).

Not here: texts in calls (openai_responses_texts.py), messages (openai_responses_messages.py).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Self

from ext_proc.codecs.llm_calls import NOTE, Changeable, arguments_in, name_in
from ext_proc.framing.json_splice import Path
from ext_proc.messages import Channel, ChannelKind, Proposals, ProposedCall, encode_json

_NAMED = ("function_call", "custom_tool_call")
_OWN = {
    "local_shell_call": "local_shell",
    "shell_call": "shell",
    "computer_call": "computer",
    "apply_patch_call": "apply_patch",
}
_FIRST = "response.output_item.added"
_DONE = ("response.function_call_arguments.done", "response.custom_tool_call_input.done")
_ENVELOPE = ("id", "type", "status", "call_id", "name")


class ResponsesCalls(Changeable):
    """What a whole answer and an event of one have in common."""

    __slots__ = ()

    @property
    def proposals(self) -> Sequence[ProposedCall]:
        """The calls whose name stands in it."""
        value = self.value
        begins, repeated = value.get("type") == _FIRST, "type" in value and value.get("type") != _FIRST
        found = [
            ProposedCall(0, index, name, name_in(item, "call_id"), pieces=_pieces(item, index))
            if begins
            else ProposedCall(0, index, name, name_in(item, "call_id"), _arguments(item), repeated=repeated)
            for index, _, item in items_in(value)
            if (name := name_of(item))
        ]
        if name_in(value, "type") in _DONE:
            index, arguments = value.get("output_index") or 0, _told(value)
            for name in dict.fromkeys((name_in(value), getattr(self, "called", ""))):
                if name:
                    found.append(ProposedCall(0, index, name, "", arguments, repeated=True))
        return self.with_gathered(found)

    def without_calls(self, decided: Proposals) -> Self | None:
        """The same message without the calls that were taken out; None for a piece of one of them."""
        value = self.value
        if "type" in value and not value.get("item") and not value.get("response"):
            return None if decided.has_taken(0, value.get("output_index", -1)) else self
        changes: dict[Path, bytes | None] = {
            path: _instead(item)
            for index, path, item in items_in(value)
            if item.get("type") in _NAMED or item.get("type") in _OWN
            if not _is_hosted(item) and not decided.has_kept(0, index)
        }
        return self.with_changes(changes)


def items_in(value: Mapping[str, Any]) -> Iterator[tuple[int, Path, Mapping[str, Any]]]:
    """The items in an answer or an event: the index, where it stands, the item."""
    if isinstance(item := value.get("item"), dict):
        yield value.get("output_index") or 0, ("item",), item
    for at, holder in ((("response",), value.get("response")), ((), value)):
        output = holder.get("output") if isinstance(holder, dict) else None
        for index, item in enumerate(output if isinstance(output, list) else ()):
            if isinstance(item, dict):
                yield index, (*at, "output", index), item


def name_of(item: Mapping[str, Any]) -> str:
    """The name of the tool that an item is a call of; "" where it is none, or the provider's own."""
    kind = name_in(item, "type")
    return name_in(item) if kind in _NAMED else "" if _is_hosted(item) else _OWN.get(kind, "")


def _pieces(item: Mapping[str, Any], index: int) -> Channel:
    """The channel of a call's pieces; one without any, of what OpenAI names itself."""
    plain = item.get("type") == "custom_tool_call"
    return Channel(ChannelKind.TOOL_INPUT if plain else ChannelKind.TOOL_ARGUMENTS, index)


def _is_hosted(item: Mapping[str, Any]) -> bool:
    environment = item.get("environment")
    return item.get("type") == "shell_call" and name_in(environment, "type").startswith("container")


def _told(value: Mapping[str, Any]) -> Mapping[str, Any] | None:
    """What an event tells of a call once more, whole."""
    return {"input": value.get("input")} if value["type"] == _DONE[1] else arguments_in(value.get("arguments"))


def _arguments(item: Mapping[str, Any]) -> Mapping[str, Any] | None:
    if item.get("type") == "function_call":
        return arguments_in(item.get("arguments"))
    if item.get("type") == "custom_tool_call":
        return {"input": item.get("input")}
    return {name: value for name, value in item.items() if name not in _ENVELOPE}


def _instead(item: Mapping[str, Any]) -> bytes:
    said = {"type": "output_text", "text": NOTE, "annotations": [], "logprobs": []}
    kept = {"id": f"msg_{name_in(item, 'id')}", "status": name_in(item, "status") or "completed"}
    return encode_json({"type": "message", "role": "assistant", **kept, "content": [said]})
