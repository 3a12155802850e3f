"""OpenAI responses: where text stands in items, of an answer and of a request alike, and which channel it is of.

Rules:
- Items are read by their fields, not by their types: a type that is not known yet carries its text where others do.
- A text comes up to five times: in deltas, when it is done, when its part is, when its item is, and in the answer's
  object. The deltas of an item are the channels of its choice, known by where in the item they stand. Each copy is
  whole where it stands: it is a choice of its own, from COPIES on, which ends with it; decided alike and changed alike.
- `arguments` are JSON source, as a model wrote it; where they are an object, the strings in it are texts.
- What a model asks of a tool in other words (code, commands, queries, patches) is TOOL_INPUT.
- A field of another type than its text is malformed; so is a key beside it that equals a text's but for case.
- What repeats or indexes a changed text goes with it: logprobs, annotations.

Sources: OpenAI, Responses API (objects, streaming events); vLLM and OpenRouter, responses (events that differ).

Not here: the classes of messages (openai_responses_messages.py), when an item is over (openai_responses_answer.py).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from ext_proc.codecs import llm_found
from ext_proc.codecs.llm_fields import check_keys, objects, reject, text_of
from ext_proc.codecs.llm_found import Found, spliced_spots
from ext_proc.codecs.llm_texts import Place, at_path
from ext_proc.framing.json_splice import Path
from ext_proc.messages import ChannelKind, Role

MAX_ITEMS = 1024
MAX_PARTS = 1024  # of an item
COPIES = MAX_ITEMS  # the first choice that is a copy's
_DEPTH = 6  # of what stands in an item

# Indices of channels within an item, beside the positions of its parts. Those of one kind do not overlap.
REASONING_TEXT = MAX_PARTS  # of REASONING: summaries are before it
INPUT, CODE, COMMAND = 0, 1, 2  # of TOOL_INPUT
UNKNOWN = MAX_PARTS  # of CONTENT: the deltas of a type that is not known
OUTPUTS = 2 * MAX_PARTS  # of CONTENT: what a shell gave back, in pieces
OTHERS = 8 * MAX_PARTS  # of all: texts that no delta carries, counted

_NAMED = frozenset(
    {"id", "type", "role", "status", "content", "summary", "refusal", "arguments", "input", "code", "name", "call_id"}
    | {"annotations", "logprobs", "tools", "delta", "container_id", "environment"}
)
# Fields that are text below an item or a part of one, and those in which a model asks something of a tool.
_SAID = (
    *("content", "summary", "text", "refusal", "transcript", "output", "logs", "result", "stdout", "stderr"),
    *("error", "message", "reason", "instructions", "revised_prompt", "thought"),
)
_ASKED = ("query", "pattern", "diff", "command")
_TEXTS = (*_SAID, *_ASKED)
# Fields that hold texts, or others that do, and those of them in which a model asks something of a tool.
_HOLDERS = ("content", "summary", "output", "outputs", "results", "error")
_ASKING = ("queries", "commands", "command", "action", "actions", "operation")
_OTHERS = frozenset((*_TEXTS, *_HOLDERS, *_ASKING))
ITEM = _NAMED | _OTHERS
_BESIDE = ("logprobs", "annotations")


@dataclass(frozen=True, slots=True)
class _At:
    """Where in an item it is looked, and what the texts there are."""

    path: Path
    role: Role
    kind: ChannelKind = ChannelKind.CONTENT
    depth: int = 0


def of_item(item: Mapping[str, Any], path: Path, role: Role = Role.ASSISTANT) -> Iterator[Found]:
    """Every text of an item.

    Raises:
        Malformed: something has another type than its field's, or is nested too deep.
    """
    check_item(item)
    for name in ("id", "container_id"):
        text_of(item, name)
    type_ = text_of(item, "type")
    gave_back = type_.endswith("_output") or type_ in ("mcp_call", "mcp_list_tools")
    kind = ChannelKind.REASONING if type_ == "reasoning" else ChannelKind.CONTENT
    at = _At(path, Role.TOOL if gave_back else role, kind)
    yield from of_call(item, path)
    for name in ("content", "summary"):
        for position, part in enumerate(_parts(item, name)):
            yield from of_part(part, position, (*path, name, position), at.role, summary=name == "summary", kind=kind)
    if isinstance(item.get("content"), str) and item["content"]:
        yield Found(kind, role, (*path, "content"), item["content"])
    pictured = ("result",) if type_ == "image_generation_call" else ()
    yield from of_others(item, at, skip=("content", "summary", *pictured))


def of_call(holder: Mapping[str, Any], path: Path) -> Iterator[Found]:
    """What a model asks of a tool: the members of an item, or of an event that says that they are done."""
    for name, number in (("input", INPUT), ("code", CODE)):
        if isinstance(holder.get(name), str) and holder[name]:
            yield Found(ChannelKind.TOOL_INPUT, Role.ASSISTANT, (*path, name), holder[name], number)
    arguments = holder.get("arguments")
    if isinstance(arguments, str) and arguments:
        yield Found(ChannelKind.TOOL_ARGUMENTS, Role.ASSISTANT, (*path, "arguments"), arguments, 0)
    elif isinstance(arguments, dict | list) and arguments:
        yield Found(ChannelKind.TOOL_ARGUMENTS, Role.ASSISTANT, (*path, "arguments"), None)


def of_part(
    part: Mapping[str, Any],
    position: int,
    path: Path,
    role: Role,
    *,
    summary: bool = False,
    kind: ChannelKind = ChannelKind.CONTENT,
) -> Iterator[Found]:
    """Every text of a part of an item's content or summary."""
    check_item(part)
    if position >= MAX_PARTS:
        reject("an item has too many parts")
    if summary or text_of(part, "type") in ("reasoning_text", "summary_text"):
        kind = ChannelKind.REASONING
    text, refusal = text_of(part, "text"), text_of(part, "refusal")
    if text:
        above = kind is ChannelKind.REASONING and not summary
        yield Found(kind, role, (*path, "text"), text, position + (REASONING_TEXT if above else 0))
    if refusal:
        yield Found(ChannelKind.REFUSAL, role, (*path, "refusal"), refusal, position)
    yield from of_others(part, _At(path, role, kind, 1), skip=("text", "refusal"))


def of_others(value: Mapping[str, Any], at: _At, skip: Sequence[str] = ()) -> Iterator[Found]:
    """The texts of fields that no delta carries.

    Raises:
        Malformed: one has another type than its field's, or is nested too deep.
    """
    if at.depth > _DEPTH:
        reject("an item is nested too deep")
    if _OTHERS.isdisjoint(value):
        return
    for name in _TEXTS:
        text = None if name in skip else value.get(name)
        if isinstance(text, str) and text:
            yield Found(ChannelKind.TOOL_INPUT if name in _ASKED else at.kind, at.role, (*at.path, name), text)
        elif isinstance(text, dict | list) and name not in (*_HOLDERS, *_ASKING) and at.depth:
            reject(f"{name} must be a string")
    for name in (*_HOLDERS, *_ASKING):
        held = None if name in skip else value.get(name)
        if not isinstance(held, dict | list):
            continue
        kind = ChannelKind.TOOL_INPUT if name in _ASKING else at.kind
        entries = [((*at.path, name), held)] if isinstance(held, dict) else _entries(held, (*at.path, name))
        for number, (path, entry) in enumerate(entries):
            if isinstance(entry, str) and entry:
                yield Found(kind, at.role, path, entry, COMMAND + number if name == "commands" else None)
            elif isinstance(entry, dict):
                check_item(entry)
                yield from of_others(entry, _At(path, at.role, kind, at.depth + 1))


def of_own(value: Mapping[str, Any], role: Role, skip: Sequence[str]) -> Iterator[Found]:
    """The texts of an event's own members, but for those that a delta carries in pieces."""
    yield from of_others(value, _At((), role), skip=("text", "refusal", "transcript", "error", "message", *skip))


def _entries(values: Sequence[Any], path: Path) -> list[tuple[Path, Any]]:
    return [((*path, position), value) for position, value in enumerate(values)]


def _parts(item: Mapping[str, Any], name: str) -> Sequence[Mapping[str, Any]]:
    parts = item.get(name)
    return () if isinstance(parts, str) else objects(parts, name)


def placed(found: Iterable[Found], choice: int, raw: bytes) -> Iterator[Place]:
    """The texts of an answer's item, each on its channel.

    Args:
        raw: the document that they stand in.
    """
    return llm_found.placed(found, choice, raw, OTHERS)


def beside(value: Any, path: Path) -> dict[Path, bytes | None]:
    """What goes with a changed text: what stands beside it and repeats or indexes it. Clients need the lists, empty."""
    found = [(*path[:-1], name) for name in _BESIDE]
    return {place: b"[]" for place in found if at_path(value, place) not in (None, [])}


def check_item(value: Mapping[str, Any]) -> None:
    """Looks at the keys of what texts stand in.

    Raises:
        Ambiguous: one equals one of the format's but for case.
    """
    check_keys(value, ITEM)


changes_for = partial(spliced_spots, beside)
