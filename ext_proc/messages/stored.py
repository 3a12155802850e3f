"""What a model's provider keeps under an id: answers hand the id out, later requests refer to it.

Rules:
- Whoever has the credential that the provider knows may use any of its ids: with one for all callers it is for the
  gateway to tell whose they are. A request that is about nothing else does not go on where no policy does.

Not here: where a format has ids (codecs/), whose they are (policies).
"""

from __future__ import annotations

import enum
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from ext_proc.messages.base import Message


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


class StoredRequest(Message):
    """A request about one thing that the provider keeps, which its path names: to fetch it, cancel it, delete it.

    Attributes:
        thing: what it is about. Its id is in no trail: who knows it may have the thing.
    """

    __slots__ = ("_method", "thing")
    kind: ClassVar[str] = "stored_request"
    passes_unguarded = False

    def __init__(self, method: str, thing: StoredObject) -> None:
        super().__init__(b"")
        self._method = method
        self.thing = thing

    @property
    def method(self) -> str:
        return self._method

    @property
    def references(self) -> Sequence[StoredObject]:
        """What it is about."""
        return (self.thing,)


class StoredAnswer(Message):
    """What is said of such a thing where that is no answer of the model's: that it is there, or was deleted."""

    __slots__ = ()
    kind: ClassVar[str] = "stored_answer"
