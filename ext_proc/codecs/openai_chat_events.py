"""OpenAI chat: the events that most of a stream is, read at a glance.

Rules:
- An event is ordinary if it is no error and has one choice, which goes on and keeps its texts where they belong. Its
  keys alone say what it can hold, and all events of a stream have the same: what was found out of keys once is
  remembered.
- An ordinary event is read as every event is (openai_chat_texts.py); what is in any doubt is not ordinary.
- What is remembered is bounded, for keys come over the network.

Not here: what an event means for its answer (openai_chat_answer.py).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ext_proc.codecs.llm_texts import Malformed, Place
from ext_proc.codecs.openai_chat_messages import ANSWER, CHOICE, HELD
from ext_proc.codecs.openai_chat_texts import (
    MAX_INDEX,
    NESTED,
    PLAIN,
    PRODUCTS,
    Content,
    channel_of,
    copy_of,
    nested,
    told_copies,
)
from ext_proc.framing.json_splice import Path
from ext_proc.framing.json_view import colliding_key
from ext_proc.messages import ChannelKind

MOST_KNOWN = 256  # events' keys that are remembered
MOST_KEYS = 64  # of an event
LONGEST_KEYS = 1024  # characters of all of them

_CHOICE: Path = ("choices", 0)
_DELTA: Path = (*_CHOICE, "delta")

# The keys of an event, of its choice, and of that one's delta, with None between them.
Keys = tuple[str | None, ...]
# Of a text: whether it stands in the delta or in the choice itself, under which name, its kind and index, and its path.
Field = tuple[bool, str, ChannelKind, int, Path]

_known: dict[Keys, Shape | None] = {}


@dataclass(frozen=True, slots=True)
class Shape:
    """What an ordinary event with certain keys can hold.

    Attributes:
        fields: where strings of its choice stand, in the order of the fields' table.
        nests: whether its delta may hold more than strings: calls, for one.
    """

    fields: tuple[Field, ...]
    nests: bool


@dataclass(slots=True)
class Ordinary:
    """An ordinary event; never changed.

    Attributes:
        index: its choice's.
        awaits: whether it says that the choice's end is still to come: `finish_reason: null`.
        places: its texts.
        produces: whether it holds part of something else that an answer can be.
    """

    index: int
    awaits: bool
    places: Sequence[Place]
    produces: bool = False


def ordinary(value: Any) -> Ordinary | None:
    """An event as read at a glance; None where it has to be looked at. Never raises."""
    if type(value) is not dict:
        return None
    choices = value.get("choices")
    if type(choices) is not list or len(choices) != 1:
        return None
    choice = choices[0]
    if type(choice) is not dict or choice.get("finish_reason") is not None:
        return None
    delta, index = choice.get("delta"), choice.get("index")
    if type(delta) is not dict or type(index) is not int or not 0 <= index < MAX_INDEX:
        return None
    shape = _shape(value, choice, delta)
    if shape is None or value.get("object") == "error":
        return None
    places: list[Place] = []
    kinds: list[ChannelKind] = []
    for in_delta, name, kind, number, path in shape.fields:
        text = delta[name] if in_delta else choice[name]
        if type(text) is str:
            if text:
                # A kind of these that stands in a second field is a copy there.
                channel = (copy_of if kind in kinds else channel_of)(kind, index, number)
                places.append(Place(channel, path, text))
                kinds.append(kind)
        elif text is not None:
            return None
    awaits = "finish_reason" in choice
    if not shape.nests:
        return Ordinary(index, awaits, places)
    try:
        places += nested(delta, index, _DELTA)
    except Malformed:
        return None
    return Ordinary(index, awaits, told_copies(places), any(delta.get(name) for name in PRODUCTS))


def _shape(value: Mapping[str, Any], choice: Mapping[str, Any], delta: Mapping[str, Any]) -> Shape | None:
    """What an event with such keys can hold; None where they say that it is not ordinary."""
    keys: Keys = (*value, None, *choice, None, *delta)
    try:
        return _known[keys]
    except KeyError:
        shape = _found(value, choice, delta)
    if len(keys) <= MOST_KEYS and sum(len(key) for key in keys if key is not None) <= LONGEST_KEYS:
        if len(_known) >= MOST_KNOWN:
            _known.clear()
        _known[keys] = shape
    return shape


def _found(value: Mapping[str, Any], choice: Mapping[str, Any], delta: Mapping[str, Any]) -> Shape | None:
    ambiguous = any(colliding_key(*pair) is not None for pair in ((value, ANSWER), (choice, CHOICE), (delta, HELD)))
    if ambiguous or "error" in value or "message" in choice:
        return None
    fields: list[Field] = []
    if "text" in choice:
        fields.append((False, "text", ChannelKind.CONTENT, Content.TEXT, (*_CHOICE, "text")))
    fields += [(True, name, kind, number, (*_DELTA, name)) for name, kind, number in PLAIN if name in delta]
    return Shape(tuple(fields), nests=not (NESTED.isdisjoint(delta) and delta.keys().isdisjoint(PRODUCTS)))
