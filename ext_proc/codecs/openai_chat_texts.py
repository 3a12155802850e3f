"""OpenAI chat: where text stands in an answer (and in the messages of a request, which have the same fields), and what
is written when it changes.

Rules:
- Every field that clients are known to show or run as the model's text is a channel: a copy that nobody reads would
  carry past the policies what was taken out of the original. So a copy is a channel of its own (another `index`),
  decided alike and changed alike.
- A field of another type than its text is malformed, for some reader may take it as text; so is a key beside it that
  equals a text's but for case.
- What repeats or indexes a changed text goes with it: logprobs, token ids, annotations, a signature, the audio.
- All other bytes stay.

Not here: the classes of messages (openai_chat_messages.py), when a choice is over (openai_chat_answer.py), whose words
the texts of a request are (openai_chat_request_texts.py).
"""

from __future__ import annotations

import enum
from collections.abc import Iterator, Mapping, Sequence
from functools import lru_cache
from typing import Any, NoReturn

from ext_proc.codecs.llm_texts import Malformed, Place, Spot, at_path
from ext_proc.framing.json_splice import Path
from ext_proc.framing.json_view import colliding_key
from ext_proc.messages import Channel, ChannelKind

MAX_INDEX = 1024  # choices of an answer, tool calls of a choice


class Content(enum.IntEnum):
    """Where content stands: the index of its channel."""

    CONTENT = 0
    TEXT = 1  # of the choice itself, as in the older API (Together writes both)
    TRANSCRIPT = 2  # of spoken content


class Reasoning(enum.IntEnum):
    """Where reasoning stands: the index of its channel."""

    REASONING_CONTENT = 0  # DeepSeek, vLLM
    REASONING = 1  # Groq, OpenRouter, Cerebras
    DETAILS = 2  # OpenRouter, Snowflake
    PARTS = 3  # Mistral, within content
    BLOCKS = 4  # LiteLLM


class Tool(enum.IntEnum):
    """The index of the one call that has none: `function_call`, which came before tool calls."""

    FUNCTION_CALL = -1


PLAIN: tuple[tuple[str, ChannelKind, int], ...] = (
    ("content", ChannelKind.CONTENT, Content.CONTENT),
    ("refusal", ChannelKind.REFUSAL, 0),
    ("reasoning_content", ChannelKind.REASONING, Reasoning.REASONING_CONTENT),
    ("reasoning", ChannelKind.REASONING, Reasoning.REASONING),
)
_LISTED = (
    ("reasoning_details", ("text", "summary"), Reasoning.DETAILS),
    ("thinking_blocks", ("thinking",), Reasoning.BLOCKS),
)
NESTED = frozenset({*(field for field, _, _ in _LISTED), "audio", "function_call", "tool_calls"})
# What an answer can be instead of text.
PRODUCTS = ("tool_calls", "function_call", "audio", "images")
_COPIED = (ChannelKind.CONTENT, ChannelKind.REASONING)  # the kinds that some servers write in several fields at once
# What goes with a changed text: of its choice, of the message or delta, and beside the text itself.
_OF_CHOICE = ("logprobs", "token_ids")
_OF_HOLDER = ("annotations", "token_id")
_BESIDE = {"reasoning_details": "signature", "thinking_blocks": "signature", "audio": "data"}
# The keys of what texts stand in, below a message or delta.
_WITHIN = frozenset(
    {"type", "id", "index", "name", "text", "summary", "refusal", "thinking", "transcript", "data", "signature"}
    | {"function", "custom", "arguments", "input"}
)


def places(choices: Sequence[Mapping[str, Any]], holder: str, *, legacy: bool = False) -> list[Place]:
    """Every text of an answer's choices, in the order of the fields' table.

    Args:
        holder: where a choice keeps its text: "message" of a whole answer, "delta" of a streamed one.
        legacy: whether the choices are those of the older completions, which keep it themselves.

    Raises:
        Malformed: something has another type than its field's.
    """
    found: list[Place] = []
    field = Content.CONTENT if legacy else Content.TEXT
    for position, choice in enumerate(choices):
        number = index_of(choice, position)
        at: Path = ("choices", position)
        of_choice = list(_text(choice, "text", ChannelKind.CONTENT, number, field, at)) if "text" in choice else []
        if legacy and (choice.get("message") or choice.get("delta")):
            _reject("a choice keeps text where it has no place")
        if choice.get("message" if holder == "delta" else "delta"):
            # A stream's snapshots, for one: no policy could take out of them what goes on in the next.
            _reject("a choice keeps text where it has no place")
        held = choice.get(holder)
        if held:
            if not isinstance(held, dict):
                _reject(f"{holder} must be an object")
            of_choice += of_holder(held, number, (*at, holder))
        found += of_choice if len(of_choice) < 2 else told_copies(of_choice)
    return found


def told_copies(found: Sequence[Place]) -> list[Place]:
    """The texts of a choice; those of a kind that stands in another field there too are copies of it."""
    fields: dict[ChannelKind, int] = {}
    told: list[Place] = []
    for place in found:
        channel = place.channel
        if channel.kind in _COPIED and fields.setdefault(channel.kind, channel.index) != channel.index:
            place = Place(copy_of(channel.kind, channel.choice, channel.index), place.path, place.text)
        told.append(place)
    return told


def index_of(value: Mapping[str, Any], position: int) -> int:
    """The index of a choice or tool call; its position where it does not say.

    Raises:
        Malformed: it is no index.
    """
    index = value.get("index")
    if index is None:
        index = position
    if type(index) is not int or not 0 <= index < MAX_INDEX:
        _reject("an index is out of range")
    return index


def changes_for(value: Mapping[str, Any], spots: Sequence[Spot], texts: Mapping[int, str]) -> dict[Path, bytes | None]:
    """What is to be spliced into an answer for new texts of some spots; what is no text in `value` any more is left."""
    changes: dict[Path, bytes | None] = {}
    for number, text in texts.items():
        spot = spots[number]
        if not isinstance(at_path(value, spot.path), str):
            continue
        changes[spot.path] = spot.encoded(text)
        repeated = [(*spot.path[:2], name) for name in _OF_CHOICE] + beside(spot.path, 3)
        changes.update((path, None) for path in repeated if at_path(value, path) not in (None, []))
    return changes


def beside(path: Path, holder: int) -> list[Path]:
    """Where, beside a text, what repeats or indexes it may stand.

    Args:
        holder: how many steps lead to the message or delta that it is of.
    """
    field = path[holder : holder + 1]
    if not field:
        return []
    found: list[Path] = [(*path[:holder], name) for name in _OF_HOLDER]
    return found + [(*path[:-1], name) for key, name in _BESIDE.items() if key == field[0]]


def delta_with(channel: Channel, text: str) -> dict[str, Any]:
    """A choice, without its envelope, that carries `text` on `channel` and nothing else."""
    delta: dict[str, Any]
    match channel.kind, channel.index:
        case ChannelKind.CONTENT, Content.TEXT:
            return {"index": channel.choice, "delta": {}, "text": text, "finish_reason": None}
        case ChannelKind.CONTENT, Content.TRANSCRIPT:
            delta = {"audio": {"transcript": text}}
        case ChannelKind.REASONING, Reasoning.DETAILS:
            delta = {"reasoning_details": [{"type": "reasoning.text", "text": text}]}
        case ChannelKind.REASONING, Reasoning.PARTS:
            delta = {"content": [{"type": "thinking", "thinking": [{"type": "text", "text": text}]}]}
        case ChannelKind.REASONING, Reasoning.BLOCKS:
            delta = {"thinking_blocks": [{"type": "thinking", "thinking": text}]}
        case ChannelKind.TOOL_ARGUMENTS, Tool.FUNCTION_CALL:
            delta = {"function_call": {"arguments": text}}
        case ChannelKind.TOOL_ARGUMENTS, index:
            delta = {"tool_calls": [{"index": index, "function": {"arguments": text}}]}
        case ChannelKind.TOOL_INPUT, index:
            delta = {"tool_calls": [{"index": index, "custom": {"input": text}}]}
        case kind, index:
            (field,) = (name for name, of_kind, number in PLAIN if (of_kind, number) == (kind, index))
            delta = {field: text}
    return {"index": channel.choice, "delta": delta, "finish_reason": None}


def of_holder(held: Mapping[str, Any], choice: int, at: Path) -> list[Place]:
    """Every text of a message or delta.

    Raises:
        Malformed: something has another type than its field's.
    """
    found: list[Place] = []
    for name, kind, index in PLAIN:
        text = held.get(name)
        if text is None or text == "":
            continue
        if isinstance(text, str):
            found.append(Place(channel_of(kind, choice, index), (*at, name), text))
        elif name == "content" and isinstance(text, list):
            for position, part in enumerate(_objects(held, name)):
                found += of_part(part, choice, (*at, name, position))
        else:
            _reject(f"{name} must be a string")
    if not NESTED.isdisjoint(held):
        found += nested(held, choice, at)
    return found


def nested(held: Mapping[str, Any], choice: int, at: Path) -> Iterator[Place]:
    for field, names, place in _LISTED:
        for position, detail in enumerate(_objects(held, field)):
            for name in names:
                yield from _text(detail, name, ChannelKind.REASONING, choice, place, (*at, field, position))
    audio = _object(held, "audio")
    yield from _text(audio, "transcript", ChannelKind.CONTENT, choice, Content.TRANSCRIPT, (*at, "audio"))
    called = _object(held, "function_call")
    yield from _text(
        called, "arguments", ChannelKind.TOOL_ARGUMENTS, choice, Tool.FUNCTION_CALL, (*at, "function_call")
    )
    for position, call in enumerate(_objects(held, "tool_calls")):
        index, where = index_of(call, position), (*at, "tool_calls", position)
        function, custom = _object(call, "function"), _object(call, "custom")
        yield from _text(function, "arguments", ChannelKind.TOOL_ARGUMENTS, choice, index, (*where, "function"))
        yield from _text(custom, "input", ChannelKind.TOOL_INPUT, choice, index, (*where, "custom"))


def of_part(part: Mapping[str, Any], choice: int, at: Path) -> Iterator[Place]:
    """The texts of a part of content (Mistral's reasoning models stream it so, requests may hold it).

    Raises:
        Malformed: something has another type than its field's.
    """
    yield from _text(part, "text", ChannelKind.CONTENT, choice, Content.CONTENT, at)
    yield from _text(part, "refusal", ChannelKind.REFUSAL, choice, 0, at)
    if isinstance(part.get("thinking"), str):
        yield from _text(part, "thinking", ChannelKind.REASONING, choice, Reasoning.PARTS, at)
        return
    for number, thought in enumerate(_objects(part, "thinking")):
        yield from _text(thought, "text", ChannelKind.REASONING, choice, Reasoning.PARTS, (*at, "thinking", number))


def _text(value: Mapping[str, Any], name: str, kind: ChannelKind, choice: int, index: int, at: Path) -> Iterator[Place]:
    text = value.get(name)
    if text is None or text == "":
        return
    if not isinstance(text, str):
        _reject(f"{name} must be a string")
    yield Place(channel_of(kind, choice, index), (*at, name), text)


@lru_cache(maxsize=256)
def channel_of(kind: ChannelKind, choice: int, index: int) -> Channel:
    """The channel of a text; all events of a stream have the same."""
    return Channel(kind, choice, index)


@lru_cache(maxsize=256)
def copy_of(kind: ChannelKind, choice: int, index: int) -> Channel:
    """The channel of a text that says again what another field of its choice says."""
    return Channel(kind, choice, index, copy=True)


def _object(value: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    found = value.get(name)
    if found is None:
        return {}
    if not isinstance(found, dict):
        _reject(f"{name} must be an object")
    check_within(found)
    return found


def _objects(value: Mapping[str, Any], name: str) -> Sequence[Mapping[str, Any]]:
    found = value.get(name)
    if found is None:
        return ()
    if not isinstance(found, list) or not all(isinstance(item, dict) for item in found):
        _reject(f"{name} must be a list of objects")
    for item in found:
        check_within(item)
    return found


def check_within(value: Mapping[str, Any]) -> None:
    """Looks at the keys of what texts stand in, below a message or delta.

    Raises:
        Malformed: one equals one of the protocol's but for case.
    """
    if colliding_key(value, _WITHIN) is not None:
        _reject("a key equals one of the protocol's but for upper and lower case")


def _reject(detail: str) -> NoReturn:
    raise Malformed(detail)
