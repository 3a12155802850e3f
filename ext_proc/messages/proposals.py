"""Calls that a model proposes in its answer, for its client to run; and what became of those of one answer.

Rules:
- A call is known by its choice and its index there, in all events of a stream.
- What a provider runs itself is no proposal: it is decided when it is asked for (`HostedTool`).
- Memory is bounded: so many calls of one answer are remembered, and past them none is kept.

Not here: where a format keeps calls (codecs/), who decides on them (policies).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from ext_proc.messages.channel import Channel

MAX_CALLS = 4096  # of one answer

CallKey = tuple[int, int]  # by which a call is known: its choice, its index there
Arguments = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class ProposedCall:
    """A call that a model proposes.

    Attributes:
        choice: of the answer's.
        index: of the call in its choice, as its format counts.
        name: of the tool, as the client will look for it; never empty.
        id: by which the client answers it; "" where the format has none.
        arguments: where they are whole, and an object; None where they come in pieces, or are something else.
        pieces: where the call begins here and its arguments may follow in pieces, the channel of those; else None.
        begun: what stands for them where it begins, and counts where no piece follows.
        appended: whether clients put the name behind one that the call has already (OpenAI's chat completions).
        repeated: whether the event may tell once more what one before it told.
    """

    choice: int
    index: int
    name: str
    id: str = ""
    arguments: Arguments | None = field(default=None, repr=False)
    pieces: Channel | None = None
    begun: Arguments = field(default_factory=dict, repr=False)
    appended: bool = False
    repeated: bool = False

    @property
    def key(self) -> CallKey:
        """By what it is known in all events of a stream."""
        return self.choice, self.index


class Proposals:
    """What became of the calls of one answer: which were kept, which taken out.

    Attributes:
        denied: how many were not allowed.
        unfinished: by choice, whether the call that goes on in pieces without a name or an index was kept.
    """

    def __init__(self) -> None:
        self._kept: dict[int, dict[int, int]] = {}  # by choice: each call's place among those that were kept
        self._taken: set[CallKey] = set()
        self._count = 0
        self.denied = 0
        self.unfinished: dict[int, bool] = {}

    @property
    def full(self) -> bool:
        """Whether there are as many as are remembered."""
        return self._count >= MAX_CALLS

    def keep(self, call: ProposedCall) -> None:
        """The call goes on to the client."""
        self._taken.discard((call.choice, call.index))
        kept = self._kept.setdefault(call.choice, {})
        if call.index not in kept:
            kept[call.index] = len(kept)
            self._count += 1

    def take(self, call: ProposedCall) -> None:
        """The call is taken out, and what comes of it later too."""
        key = (call.choice, call.index)
        self._count += key not in self._taken
        self._taken.add(key)

    def has_kept(self, choice: int, index: int) -> bool:
        """Whether a call was kept, and not taken out since."""
        return index in self._kept.get(choice, ()) and (choice, index) not in self._taken

    def has_taken(self, choice: int, index: int) -> bool:
        """Whether a call was taken out."""
        return (choice, index) in self._taken

    def place(self, choice: int, index: int) -> int | None:
        """A kept call's place among those of its choice that were kept; None for one that was not."""
        return self._kept[choice][index] if self.has_kept(choice, index) else None

    def took_all(self, choice: int) -> bool:
        """Whether calls of a choice were taken out, and none is left."""
        if not any(of == choice for of, _ in self._taken):
            return False
        return not any(self.has_kept(choice, index) for index in self._kept.get(choice, ()))
