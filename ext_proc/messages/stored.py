"""What a model's provider keeps under an id: answers hand the id out, later requests refer to it.

Rules:
- Whoever has the credential that the provider knows may use any of its ids: with one for all callers it is for the
  gateway to tell whose they are.

Not here: where a format has ids (codecs/), whose they are (policies).
"""

from __future__ import annotations

import enum
from dataclasses import dataclass


class StoredKind(enum.StrEnum):
    """What is kept."""

    RESPONSE = "response"  # OpenAI: an answer with all that was before it
    ITEM = "item"  # OpenAI: a part of an answer
    CONVERSATION = "conversation"  # OpenAI
    THREAD = "thread"  # Anthropic: an answer with all that was before it
    CONTAINER = "container"  # OpenAI, Anthropic: where code runs, with its files
    AUDIO = "audio"  # OpenAI: what was spoken in an answer
    CACHE = "cache"  # Gemini: contents that many requests begin with


@dataclass(frozen=True, slots=True)
class StoredObject:
    """One thing that a provider keeps.

    Attributes:
        id: as the provider names it; never empty.
    """

    kind: StoredKind
    id: str
