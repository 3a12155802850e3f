"""OpenAI responses: where text stands in the events of a stream, and which channel of its item it is of.

Rules:
- Texts are read wherever they stand in an event, whatever its type, for some servers write them in other places. A
  delta of a type that is not known is text all the same, unless it is sound.
- Most events are deltas that are strings, with nothing beside them that could be text: those are read at a glance.
- A delta, and what begins an item or a part of one, adds to a text; all else repeats it.

Sources: OpenAI, Responses API (streaming events); OpenRouter and vLLM, responses (reasoning in words of their own,
deltas that are objects).

Not here: items and parts (openai_responses_texts.py), what an event means (openai_responses_answer.py).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from ext_proc.codecs.llm_fields import text_of
from ext_proc.codecs.llm_found import Found
from ext_proc.codecs.llm_texts import Malformed
from ext_proc.codecs.openai_responses_texts import (
    CODE,
    COMMAND,
    INPUT,
    MAX_ITEMS,
    MAX_PARTS,
    OUTPUTS,
    REASONING_TEXT,
    UNKNOWN,
    check_item,
    of_call,
    of_item,
    of_own,
    of_part,
)
from ext_proc.framing.json_splice import Path
from ext_proc.messages import Channel, ChannelKind, Role

# What a delta is of: the kind, the member that counts it within its item, and the index of the first.
_DELTAS: Mapping[str, tuple[ChannelKind, str, int]] = {
    "response.output_text": (ChannelKind.CONTENT, "content_index", 0),
    "response.refusal": (ChannelKind.REFUSAL, "content_index", 0),
    "response.reasoning_text": (ChannelKind.REASONING, "content_index", REASONING_TEXT),
    "response.reasoning": (ChannelKind.REASONING, "content_index", REASONING_TEXT),  # OpenRouter, vLLM
    "response.reasoning_summary_text": (ChannelKind.REASONING, "summary_index", 0),
    "response.reasoning_summary": (ChannelKind.REASONING, "summary_index", 0),
    "response.function_call_arguments": (ChannelKind.TOOL_ARGUMENTS, "", 0),
    "response.mcp_call_arguments": (ChannelKind.TOOL_ARGUMENTS, "", 0),
    "response.custom_tool_call_input": (ChannelKind.TOOL_INPUT, "", INPUT),
    "response.code_interpreter_call_code": (ChannelKind.TOOL_INPUT, "", CODE),
    "response.shell_call_command": (ChannelKind.TOOL_INPUT, "command_index", COMMAND),
}
_DELTA: Path = ("delta",)
_UNKNOWN = (ChannelKind.CONTENT, "content_index", UNKNOWN)
_GAVE_BACK = "response.shell_call_output_content"
_OUTPUTS = ("stdout", "stderr")
_WORDED = ("text", "content")  # where a delta is an object, as vLLM had it
_NO_TEXT = frozenset({"response.audio"})  # what is base64 in its deltas
_PLAIN = {f"{stem}.delta": of for stem, of in _DELTAS.items()}
# The keys that a delta read at a glance may have. What is not read there holds no text.
_PLAIN_KEYS = frozenset(
    {"type", "delta", "output_index", "content_index", "summary_index", "command_index", "item_id", "sequence_number"}
    | {"logprobs", "obfuscation"}
)
_WHOLE = ("text", "refusal", "transcript")  # how an event repeats what its deltas said


def plain_delta(value: Any) -> tuple[int, Found] | None:
    """The item and the text of an event that is a delta and nothing else; None where it has to be looked at.

    Never raises: what is in any doubt has to be looked at.
    """
    if type(value) is not dict or not _PLAIN_KEYS.issuperset(value):
        return None
    kind, text, choice = value.get("type"), value.get("delta"), value.get("output_index")
    found = _PLAIN.get(kind) if type(kind) is str else None
    if found is None or type(text) is not str or not text or type(choice) is not int or not 0 <= choice < MAX_ITEMS:
        return None
    of, counted, first = found
    position = value.get(counted, 0)
    if type(position) is not int or not 0 <= position < MAX_PARTS:
        return None
    return choice, Found(of, Role.ASSISTANT, _DELTA, text, first + position)


def of_event(kind: str, value: Mapping[str, Any]) -> Iterator[Found]:
    """The texts of an event but its delta's and those of an answer's object.

    Raises:
        Malformed: something has another type than its field's.
    """
    if (item := object_of(value, "item")) is not None:
        yield from of_item(item, ("item",))
    if (part := object_of(value, "part")) is not None:
        summary = "summary_index" in value
        position = index_of(value, "summary_index" if summary else "content_index", MAX_PARTS)
        yield from of_part(part, position, ("part",), Role.ASSISTANT, summary=summary)
    if kind != "error":
        yield from _of_whole(kind.rpartition(".")[0], value)


def of_delta(stem: str, value: Mapping[str, Any]) -> Iterator[Found]:
    """What an event adds to a text.

    Raises:
        Malformed: it is no text.
    """
    delta, (kind, counted, first) = value.get("delta"), _DELTAS.get(stem, _UNKNOWN)
    if delta is None or stem in _NO_TEXT:
        return
    position = index_of(value, counted, MAX_PARTS) if counted else 0
    if not isinstance(delta, dict):
        if text_of(value, "delta"):
            yield Found(kind, Role.ASSISTANT, ("delta",), delta, first + position)
        return
    check_item(delta)
    strays = [name for name, said in delta.items() if name not in (*_OUTPUTS, *_WORDED, "type") and said is not None]
    if strays:
        raise Malformed("a delta must be a string")
    command = index_of(value, "command_index", MAX_PARTS)
    for number, name in enumerate(_OUTPUTS):
        if text_of(delta, name):
            at = OUTPUTS + len(_OUTPUTS) * command + number
            yield Found(ChannelKind.CONTENT, Role.TOOL, ("delta", name), delta[name], at)
    for name in _WORDED:
        if text_of(delta, name):
            yield Found(kind, Role.ASSISTANT, ("delta", name), delta[name], first + position)


def _of_whole(stem: str, value: Mapping[str, Any]) -> Iterator[Found]:
    """What an event says beside its item and its part: a text once more, or at once."""
    kind, counted, first = _DELTAS.get(stem, _UNKNOWN)
    position = index_of(value, counted, MAX_PARTS) if counted else 0
    for name in _WHOLE:
        if text_of(value, name):
            yield Found(kind, Role.ASSISTANT, (name,), value[name], first + position)
    command = text_of(value, "command")
    if command:
        yield Found(ChannelKind.TOOL_INPUT, Role.ASSISTANT, ("command",), command, first + position)
    yield from of_call(value, ())
    yield from of_own(value, Role.TOOL if stem == _GAVE_BACK else Role.ASSISTANT, skip=("command",))


def output_text_of(answer: Mapping[str, Any], path: tuple[str, ...]) -> Iterator[Found]:
    """The text of all items together, which clients make themselves and some servers write."""
    if text_of(answer, "output_text"):
        yield Found(ChannelKind.CONTENT, Role.ASSISTANT, (*path, "output_text"), answer["output_text"], 0)


def delta_on(channel: Channel, item: str) -> tuple[str, dict[str, Any]] | None:
    """The type of the delta that carries text on a channel, and what it says beside; None where no delta does.

    Args:
        item: the type of the channel's item.
    """
    for stem, (kind, counted, first) in _DELTAS.items():
        position = channel.index - first
        fits = 0 <= position < MAX_PARTS if counted else position == 0
        other = stem == "response.function_call_arguments" and item.startswith("mcp_")
        if kind is channel.kind and fits and not other:
            logged: dict[str, Any] = {"logprobs": []} if kind is ChannelKind.CONTENT else {}
            return f"{stem}.delta", {**({counted: position} if counted else {}), **logged}
    return None


def object_of(value: Mapping[str, Any], name: str) -> Mapping[str, Any] | None:
    held = value.get(name)
    if not isinstance(held, dict | None):
        raise Malformed(f"{name} must be an object")
    return held


def index_of(value: Mapping[str, Any], name: str, most: int) -> int:
    """A position; 0 where it does not stand."""
    index = value.get(name)
    if index is None:
        return 0
    if type(index) is not int or not 0 <= index < most:
        raise Malformed("an index is out of range")
    return index
