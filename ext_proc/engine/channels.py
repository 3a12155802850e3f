"""Channels and watermarks: one mechanism for all that happens to streamed text.

Every stretch of streamed text belongs to a channel (choice 0's content, its reasoning, a tool call's arguments). A
policy sees a window of the channel's text by absolute offset and answers with edits and a watermark: up to here I am
done (track.py).

Rules:
1. Policies are asked about a text once per frame, however many pieces of it are in it.
2. A frame leaves, in order of arrival, when each text in it is stable.
3. What was inserted at a close goes to the channel's last text in the closing frame, or to a new event from the codec.
4. `hold_back` bounds the raw bytes that wait, over all channels; past it the policy that holds longest is at fault.
5. A finish closes a choice's channels after a last call to the policies; text on a closed channel is malformed.
6. On a deny, frames that have left stay, and those that wait are dropped.

Not here: what becomes of one channel's text (track.py), who is asked (questions.py), what a frame's bytes become (the
codecs), where text comes from.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from ext_proc.codecs.codec import Frame
from ext_proc.engine.track import Shown, Track
from ext_proc.limits import DEFAULTS, Limits
from ext_proc.messages import Channel, ChannelKind, Message, Piece

Changes = dict[int, Message | None]


class _Placed(NamedTuple):
    """A piece of a channel, and where it begins there."""

    track: Track
    start: int
    text: str


@dataclass(frozen=True, slots=True)
class _Waiting:
    """A frame that has not left, its pieces, what policies made of its messages, and what it closes."""

    frame: Frame
    pieces: Sequence[_Placed]
    changes: Changes
    closed: Sequence[Track]

    def unstable(self) -> Iterator[Track]:
        """The channels that it waits for."""
        return (track for track, start, text in self.pieces if not track.stable(start, start + len(text)))

    def is_stable(self) -> bool:
        return next(self.unstable(), None) is None


@dataclass(frozen=True, slots=True)
class Released:
    """A frame that may leave.

    Attributes:
        texts: the new texts of its pieces, by index, where they differ.
        before: text that needs an event of its own before it, by channel.
        changes: what the policies made of its messages.
    """

    frame: Frame
    texts: Mapping[int, str]
    before: Sequence[tuple[Channel, str]]
    changes: Changes


class Channels:
    """All channels of one answer.

    Args:
        listeners: the policies that are asked, in their order, each with the kinds of text that it wants.
        counting: those that may edit and are waited for; an observer's and a shadow's watermark counts as infinite.
        limits: for `hold_back`, and how much JSON is read as such.
    """

    def __init__(
        self,
        listeners: Mapping[int, Collection[ChannelKind]],
        counting: Collection[int],
        limits: Limits = DEFAULTS,
    ) -> None:
        self._listeners = listeners
        self._counting = counting
        self._limits = limits
        self._tracks: dict[Channel, Track] = {}
        self._queue: deque[_Waiting] = deque()
        self._held = 0
        self._closed: set[int] = set()

    def admit(self, frame: Frame, changes: Changes) -> Iterator[Shown] | None:
        """Takes a frame; the texts to ask about now, or None where it has text on a closed channel.

        They are read one by one, for one frame may hold very many; to be exhausted unless one of them is denied.
        """
        pieces = frame.pieces
        if any(piece.channel.choice in self._closed for piece in pieces):
            return None
        placed: list[_Placed] = []
        ends: dict[Track, int] = {}
        for piece in pieces:
            track = self._track(piece)
            start = ends.get(track, track.end)
            placed.append(_Placed(track, start, piece.text))
            ends[track] = start + len(piece.text)
        closing = self._close(set(frame.closes) - self._closed)
        self._queue.append(_Waiting(frame, placed, changes, closing))
        self._held += len(frame.raw)
        return _read(placed, closing)

    def close(self) -> Iterator[Shown]:
        """The end of the answer: closes what is open; the texts to ask about for the last time."""
        return _read((), self._close({channel.choice for channel, track in self._tracks.items() if not track.closed}))

    def overdue(self) -> int | None:
        """The policy that holds longest, where more than `hold_back` bytes wait."""
        held = self._held
        for waiting in self._queue:
            if held <= self._limits.hold_back:
                return None
            if not waiting.is_stable():
                return min((track.waiting_for() for track in waiting.unstable()), key=lambda wait: wait[0])[1]
            held -= len(waiting.frame.raw)
        return None

    def release(self) -> Iterator[Released]:
        """The frames that may leave now, in order of arrival."""
        while self._queue and self._queue[0].is_stable():
            waiting = self._queue.popleft()
            self._held -= len(waiting.frame.raw)
            news = [track.rendered(start, text) for track, start, text in waiting.pieces]
            before = self._place_tails(waiting, news)
            texts = {
                index: new
                for index, (new, (_, _, text)) in enumerate(zip(news, waiting.pieces, strict=True))
                if new != text
            }
            yield Released(waiting.frame, texts, before, waiting.changes)
            for track, start, text in waiting.pieces:
                track.forget(start + len(text))

    def tails(self) -> list[tuple[Channel, str]]:
        """What was inserted at the end of channels that no frame closed."""
        found = [(channel, track.tail()) for channel, track in self._tracks.items() if track.closed]
        return [(channel, tail) for channel, tail in found if tail]

    def drop(self) -> list[Frame]:
        """A deny: what waits never leaves. The frames that it was."""
        dropped = [waiting.frame for waiting in self._queue]
        self._queue.clear()
        self._held = 0
        return dropped

    def _track(self, piece: Piece) -> Track:
        track = self._tracks.get(piece.channel)
        if track is None:
            track = Track(piece.channel, self._listeners, self._counting, piece.form, self._limits)
            self._tracks[piece.channel] = track
        return track

    def _close(self, choices: Collection[int]) -> list[Track]:
        """Ends choices; their channels, which are to be closed."""
        self._closed.update(choices)
        return [track for track in self._tracks.values() if track.channel.choice in choices] if choices else []

    def _place_tails(self, waiting: _Waiting, news: list[str]) -> list[tuple[Channel, str]]:
        """Inserts at a close go behind the channel's last text in the closing frame, or before that frame."""
        before: list[tuple[Channel, str]] = []
        last = {placed.track: index for index, placed in enumerate(waiting.pieces)} if waiting.closed else {}
        for track in waiting.closed:
            tail = track.tail()
            if tail and track in last:
                news[last[track]] += tail
            elif tail:
                before.append((track.channel, tail))
        return before


def _read(placed: Sequence[_Placed], closing: Sequence[Track]) -> Iterator[Shown]:
    """Reads pieces and closes channels; each text once: when it has ended, or else when all is read."""
    unended: dict[Track, Shown] = {}
    for track, text in [*((track, text) for track, _, text in placed), *((track, None) for track in closing)]:
        for shown in track.close() if text is None else track.read(text):
            if shown.view.closed:
                unended.pop(track, None)
                yield shown
            else:
                unended[track] = shown
    yield from unended.values()
