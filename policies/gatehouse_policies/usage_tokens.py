"""How many tokens a prompt and an answer are, where the provider did not say: by an encoding, or by an estimate.

Rules:
- Which encoding: the one that OpenAI counts the model by, then the first fitting name in `models`, then `default`. What
  the model is called in the answer is tried before what the caller asked for.
- With `default: estimate` no encoding is loaded that `models` does not name, which saves 110 MB.
- An answer is kept as it comes and counted, by channel, when somebody asks: whoever learns the provider's figures in
  time never does. What is kept is bounded; past that it is counted and let go. Copies of a text and what tools gave
  back count nothing; a call counts for its name and the signs around it as well.
- A prompt is counted when all is over and its count is missing, not before; past `longest_exact` characters by kinds of
  characters. Where the provider says its count, the parts are shares of that, by their lengths. They are the system's
  words, the tools' definitions, what tools gave back, what the caller says last (behind the model's last words), and
  the history: all else.

Not here: pictures, sound, and what stands around a message (the codecs say it, `ModelRequest.prompt`).
"""

from __future__ import annotations

import collections
import fnmatch
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Final, Literal, Protocol

from pydantic import BaseModel, Field

from ext_proc.messages import Channel, ChannelKind, Piece, PromptPart, Role
from ext_proc.tokens.counting import BLOCK, Counter, count
from ext_proc.tokens.encodings import ENCODINGS, encoding_of, load
from ext_proc.tokens.estimating import estimate

By = Literal["o200k_base", "cl100k_base", "estimate"]

MAX_CHANNELS: Final = 64  # of an answer, counted apart; the others are one text
LONGEST_KEPT: Final = 64 * 1024  # characters of an answer that wait to be counted
PER_PIECE: Final = 4  # characters that each piece of it counts for beside its own: it takes memory, however short
_PER_TOKEN: Final = 4  # characters of ASCII that are about a token
PER_CALL: Final = 8  # tokens of a call beside its arguments
_CALLS = (ChannelKind.TOOL_ARGUMENTS, ChannelKind.TOOL_INPUT)


class Tokenizer(BaseModel, extra="forbid"):
    """What tokens are counted by where the provider does not say them."""

    default: By = Field(
        default="estimate",
        description="For models of which nothing is known. An encoding here also counts OpenAI's models by their own;"
        " `estimate`, by kinds of characters, takes no memory.",
    )
    models: dict[str, By] = Field(
        default={}, description="By globs over models' names; the first that fits counts.", max_length=1000
    )
    longest_exact: int = Field(
        default=200_000,
        ge=0,
        le=10_000_000,
        description="Characters of a prompt up to which it is counted by its encoding: a million takes about 0.1 s.",
    )


class _Counts(Protocol):
    def feed(self, text: str) -> None: ...

    @property
    def total(self) -> int: ...


class _Estimates:
    """Estimates a text that comes in pieces, by blocks: each piece for itself would be at least one token."""

    __slots__ = ("_counted", "_length", "_waiting")

    def __init__(self) -> None:
        self._counted = self._length = 0
        self._waiting: list[str] = []

    def feed(self, text: str) -> None:
        """More of the text."""
        self._waiting.append(text)
        self._length += len(text)
        if self._length > BLOCK:
            self._counted += estimate("".join(self._waiting))
            self._waiting, self._length = [], 0

    @property
    def total(self) -> int:
        """The tokens so far."""
        return self._counted + estimate("".join(self._waiting))


class Counting:
    """A tokenizer with its encodings loaded.

    Raises:
        RanksError: an encoding cannot be loaded.
    """

    def __init__(self, parameters: Tokenizer) -> None:
        wanted = {parameters.default, *parameters.models.values()}
        self._parameters = parameters
        self._encodings = {name: load(name) for name in ENCODINGS if name in wanted or parameters.default in ENCODINGS}

    def by(self, *models: str) -> By:
        """What a model's texts are counted by, whose first name that says something counts."""
        for model in models:
            name = encoding_of(model)
            if name in self._encodings:
                return name
        for model in models:
            for glob, chosen in self._parameters.models.items():
                if fnmatch.fnmatchcase(model, glob):
                    return chosen
        return self._parameters.default

    def counter(self, by: By) -> _Counts:
        """Counts a text that comes in pieces."""
        return _Estimates() if by == "estimate" else Counter(self._encodings[by])

    def added(self, came: Iterable[PromptPart], went: Iterable[PromptPart], by: By) -> int:
        """By how many tokens a prompt grew on its way here; only what changed is counted."""
        before, after = collections.Counter(came), collections.Counter(went)
        grown, gone = (self.prompt(parts.elements(), by).total for parts in (after - before, before - after))
        return max(grown - gone, 0)

    def prompt(self, parts: Iterable[PromptPart], by: By) -> PromptTokens:
        """Counts a prompt."""
        left = self._parameters.longest_exact

        def counted(text: str) -> int:
            nonlocal left
            if text and by != "estimate" and len(text) <= left:
                left -= len(text)
                return count(text, self._encodings[by])
            return estimate(text)

        return _by_whose(parts, counted)


def rough(parts: Iterable[PromptPart]) -> PromptTokens:
    """About what a prompt is, by the length of its texts alone: for shares of a number that is known, and for a number
    that is soon replaced."""
    return _by_whose(parts, lambda text: -(-len(text) // (_PER_TOKEN if text.isascii() else 2)))


def _by_whose(parts: Iterable[PromptPart], counted: Callable[[str], int]) -> PromptTokens:
    """Adds up the tokens of a prompt's parts by whose they are."""
    system = history = user = tool_result = tool_definition = 0
    for part in parts:
        tokens = part.tokens + counted(part.text)
        if part.definition:
            tool_definition += tokens
        elif part.role is Role.SYSTEM:
            system += tokens
        elif part.role is Role.TOOL:
            tool_result += tokens
        elif part.role is Role.USER:
            user += tokens
        else:  # what the caller said before is history now
            history += tokens + user
            user = 0
    return PromptTokens(system, history, user, tool_result, tool_definition)


@dataclass(frozen=True, slots=True)
class PromptTokens:
    """A prompt's tokens by whose they are."""

    system: int = 0
    history: int = 0
    user: int = 0
    tool_result: int = 0
    tool_definition: int = 0

    @property
    def total(self) -> int:
        """All of them."""
        return self.system + self.history + self.user + self.tool_result + self.tool_definition

    def scaled(self, total: int) -> PromptTokens:
        """The same shares of another total, to which they add up."""
        counts = [getattr(self, name) for name in self.__slots__]
        whole = sum(counts)
        if not whole:
            return self
        # Each up to where all before it end: what is rounded off one is in the next.
        ends = [round(sum(counts[: place + 1]) * total / whole) for place in range(len(counts))]
        return PromptTokens(*(end - start for start, end in zip([0, *ends], ends, strict=False)))

    def as_measures(self) -> Mapping[str, int]:
        """By the names of measures."""
        return {f"{name}_tokens": getattr(self, name) for name in self.__slots__}


class AnswerTokens:
    """Keeps the texts of an answer as they come, and counts them when that is asked for."""

    __slots__ = ("_by", "_calls", "_channels", "_counting", "_kept", "_length", "_others")

    def __init__(self, counting: Counting, by: By) -> None:
        self._counting = counting
        self._by: By = by
        self._channels: dict[Channel, _Counts] = {}
        self._others = counting.counter(by)
        self._calls = 0
        self._kept: list[tuple[_Counts, str]] = []  # in the order in which they came
        self._length = 0  # of what is kept, in characters

    def add(self, pieces: Iterable[Piece]) -> bool:
        """Takes the texts of a message; whether any of them counts."""
        counts = False
        for piece in pieces:
            channel, text = piece.channel, piece.text
            if channel.copy or channel.role is not Role.ASSISTANT or not text:
                continue
            counts = True
            self._kept.append((self._channels.get(channel) or self._counter(channel), text))
            self._length += len(text) + PER_PIECE
            if self._length > LONGEST_KEPT:
                self._count()
        return counts

    @property
    def total(self) -> int:
        """The tokens so far."""
        self._count()
        texts = sum(counter.total for counter in self._channels.values())
        return texts + self._others.total + PER_CALL * self._calls

    def _counter(self, channel: Channel) -> _Counts:
        """What counts the texts of a channel that is new, or one too many."""
        if len(self._channels) >= MAX_CHANNELS:
            return self._others
        counter = self._channels[channel] = self._counting.counter(self._by)
        self._calls += channel.kind in _CALLS
        return counter

    def _count(self) -> None:
        """Counts what is kept, and lets it go."""
        for counter, text in self._kept:
            counter.feed(text)
        self._kept, self._length = [], 0
