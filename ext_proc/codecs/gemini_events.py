"""Gemini: the events that most of a stream is, read at a glance.

Rules:
- An event is ordinary if it has one candidate, which goes on and holds one part, a text, and if all that it holds is
  spelled as Google spells it. What is in any doubt is not ordinary.
- An ordinary event means what every event means (gemini_answer.py).

Not here: all other events, and where they hold texts (gemini_texts.py).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from ext_proc.codecs.llm_found import channel_of
from ext_proc.codecs.llm_texts import Place
from ext_proc.framing.json_splice import Path
from ext_proc.messages import ChannelKind

MAX_CANDIDATES = 128

# The keys that an ordinary event may have. What is not read here holds no text.
_EVENT = frozenset({"candidates", "usageMetadata", "modelVersion", "responseId", "createTime"})
_CANDIDATE = frozenset({"content", "finishReason", "index", "safetyRatings", "avgLogprobs"})
_CONTENT = frozenset({"parts", "role"})
_PART = frozenset({"text", "thought", "thoughtSignature"})
_AT: Path = ("candidates", 0, "content", "parts", 0, "text")


@dataclass(slots=True)
class Ordinary:
    """An ordinary event; never changed.

    Attributes:
        index: its candidate's.
        places: its text; () where that is empty.
    """

    index: int
    places: tuple[Place, ...]


def ordinary(value: Any) -> Ordinary | None:
    """An event as read at a glance; None where it has to be looked at. Never raises."""
    if type(value) is not dict or not _EVENT.issuperset(value):
        return None
    candidate = _only(value.get("candidates"), _CANDIDATE)
    if candidate is None or candidate.get("finishReason") is not None:
        return None
    content, index = candidate.get("content"), candidate.get("index")
    if index is None:
        index = 0  # ProtoJSON leaves it out
    if type(index) is not int or not 0 <= index < MAX_CANDIDATES:
        return None
    if type(content) is not dict or not _CONTENT.issuperset(content):
        return None
    part = _only(content.get("parts"), _PART)
    if part is None:
        return None
    text = part.get("text")
    if type(text) is not str:
        return None
    kind = ChannelKind.REASONING if part.get("thought") is True else ChannelKind.CONTENT
    return Ordinary(index, (Place(channel_of(kind, index), _AT, text),) if text else ())


def _only(listed: Any, keys: frozenset[str]) -> dict[str, Any] | None:
    """The only object of a list; None where there is not one with these keys alone."""
    if type(listed) is not list or len(listed) != 1:
        return None
    only = listed[0]
    return only if type(only) is dict and keys.issuperset(only) else None
