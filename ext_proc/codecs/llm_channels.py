"""Language models' answers: the channels that are open, over all pieces of an answer.

Rules:
- A choice that ended has no more text: what comes all the same is malformed.
- Memory is bounded: so many channels, and no texts.
- A character that was cut in two is one, in the piece where it ends (json_surrogates.py).

Not here: what ends a choice (each format's own file).
"""

from __future__ import annotations

from collections.abc import Iterable

from ext_proc.codecs.llm_texts import Malformed, Place, Spot
from ext_proc.framing.json_surrogates import Halves
from ext_proc.messages import Channel

MAX_CHANNELS = 1024


class Channels:
    """The channels of one answer.

    Args:
        most: how many there may be.

    Attributes:
        open: the choices that began and have not ended, in that order.
        ended: the choices that have.
        done: whether nothing more may come.
    """

    def __init__(self, most: int = MAX_CHANNELS) -> None:
        self._most = most
        self._halves: dict[Channel, Halves] = {}
        self.ended: set[int] = set()
        self.open: dict[int, None] = {}
        self.done = False

    def spots(self, found: Iterable[Place]) -> tuple[Spot, ...]:
        """The texts as policies see them.

        Raises:
            Malformed: text after its choice's end, or past the bound of channels.
        """
        admitted: list[tuple[Place, Halves]] = []
        for place in found:
            channel = place.channel
            if self.done or channel.choice in self.ended:
                raise Malformed("text follows the end of its choice")
            halves = self._halves.get(channel)
            if halves is None:
                if len(self._halves) >= self._most:
                    raise Malformed("there are too many channels of text")
                halves = self._halves[channel] = Halves()
            admitted.append((place, halves))
        spots: list[Spot] = []
        for place, halves in admitted:
            joined = halves.take(place.text)
            if joined.text:
                spots.append(Spot(place.channel, place.path, joined, place.json))
        return tuple(spots)

    def has_ended(self, choice: int) -> bool:
        """Whether a choice has ended."""
        return self.done or choice in self.ended

    def begin(self, choice: int) -> None:
        """A choice began, or goes on."""
        if not self.has_ended(choice):
            self.open[choice] = None

    def end(self, choices: Iterable[int]) -> tuple[int, ...]:
        """These choices ended; themselves."""
        ended = tuple(choices)
        for choice in ended:
            self.open.pop(choice, None)
            self.ended.add(choice)
        return ended

    def finish(self) -> tuple[int, ...]:
        """The answer is over; the choices that end with it."""
        self.done = True
        return self.end(tuple(self.open))
