"""Channels and watermarks: one mechanism for all that happens to streamed text.

Every stretch of streamed text belongs to a channel (choice 0's content, its reasoning, a tool call's arguments). A
policy sees a window of the channel's text by absolute offset and answers with edits and a watermark: up to here I am
done.

Rules:
1. All policies see the channel's original text, once per frame. Edits start at or after the policy's own watermark.
2. Overlapping edits merge to the union of their spans; the replacement of the policy that comes first wins.
3. A frame leaves, in order of arrival, when for each text in it every watermark has passed its end and the end of every
   merged edit that touches it. A replacement goes into the text where its edit begins; the others keep their part,
   possibly empty. An insert at n belongs to the text that starts at n; at a close, to the channel's last text in the
   closing frame, or to a new event from the codec.
4. `hold_back` bounds the raw bytes that wait, over all channels; past it the policy that holds longest is at fault.
5. A finish closes a choice's channels after a last call to the policies; text on a closed channel is malformed.
6. On a deny, frames that have left stay, and those that wait are dropped.
7. In a channel of JSON source a replacement is escaped as in a JSON string.

Not here: who is asked (pipeline.py), what a frame's bytes become (the codecs), where text comes from.
"""

from __future__ import annotations

import json
from collections import deque
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass

from ext_proc.codecs.codec import Frame
from ext_proc.errors import PolicyError
from ext_proc.messages import Channel, ChannelKind, Message
from ext_proc.policy import Text, TextWindow

DONE = float("inf")
LOOK_BACK = 64 * 1024  # characters that a policy may look back that nothing is held for (an observer, a shadow)
Span = tuple[Channel, int, int]
Changes = dict[int, Message | None]


@dataclass(slots=True)
class _Merged:
    """Edits whose spans overlap, as one; `used` once its replacement has left."""

    start: int
    end: int
    replacement: str
    owner: int
    used: bool = False

    def overlaps(self, other: _Merged) -> bool:
        """Whether both are about the same text; an insert only with what surrounds it on both sides."""
        if self.start == self.end:
            return other.start < self.start < other.end
        if other.start == other.end:
            return self.start < other.start < self.end
        return self.start < other.end and other.start < self.end

    def touches(self, start: int, end: int) -> bool:
        """Whether it changes what the text at this span becomes."""
        return self.start == start or (self.start < end and self.end > start)


class _Track:
    """One channel: the text that still matters, and what has been said about it.

    Args:
        listeners: all policies that are asked, with where they come in the order.
        counting: those that are waited for; shared by all channels.
    """

    def __init__(self, listeners: Sequence[int], counting: Collection[int]) -> None:
        self._order = {policy: position for position, policy in enumerate(listeners)}
        self._counting = counting
        self._base = 0  # the offset of _text[0]; what was before has left for good
        self._text = ""
        self._edits: list[_Merged] = []
        self.closed = False
        self.marks: dict[int, float] = dict.fromkeys(listeners, 0)

    @property
    def end(self) -> int:
        return self._base + len(self._text)

    def add(self, text: str) -> tuple[int, int]:
        """Appends text; its span."""
        start = self.end
        self._text += text
        return start, self.end

    def window(self, channel: Channel, policy: int) -> TextWindow:
        start = int(min(self.marks[policy], self.end))
        return TextWindow(channel, start, self._original(start, self.end), self.closed)

    def take(self, policy: int, verdict: Text, *, json_source: bool) -> None:
        """One policy's word; an observer's edits do not count.

        Raises:
            PolicyError: an edit outside the window, edits that overlap each other, or a watermark that goes back.
        """
        before = last = self.marks[policy]
        if verdict.watermark < before:
            raise PolicyError("took its watermark back")
        for edit in sorted(verdict.edits, key=lambda edit: (edit.start, edit.end)):
            if not last <= edit.start <= edit.end <= self.end:
                raise PolicyError("edited text that it may not edit")
            last = edit.end
            if policy in self._counting:
                replacement = json.dumps(edit.replacement)[1:-1] if json_source else edit.replacement
                self._merge(_Merged(edit.start, edit.end, replacement, policy))
        # At the close there is nothing more to wait for, whatever the policy says.
        self.marks[policy] = DONE if self.closed else max(min(verdict.watermark, self.end), last)
        if policy not in self._counting:
            # Nothing is held back for it, so nothing bounds how far it may look back but this.
            self.marks[policy] = max(self.marks[policy], self.end - LOOK_BACK)

    def _merge(self, new: _Merged) -> None:
        apart = []
        for old in self._edits:
            if not old.overlaps(new):
                apart.append(old)
                continue
            winner = min(old, new, key=lambda edit: self._order[edit.owner])
            new = _Merged(min(old.start, new.start), max(old.end, new.end), winner.replacement, winner.owner, old.used)
        self._edits = sorted([*apart, new], key=lambda edit: (edit.start, edit.end, self._order[edit.owner]))

    def waiting_for(self) -> tuple[float, int | None]:
        """The lowest watermark that counts, and whose it is."""
        marks = [(mark, policy) for policy, mark in self.marks.items() if policy in self._counting]
        return min(marks, default=(DONE, None), key=lambda pair: pair[0])

    def stable(self, start: int, end: int) -> bool:
        """Whether nobody that counts can say anything more about this span."""
        reach = max((edit.end for edit in self._edits if edit.touches(start, end)), default=end)
        return self.waiting_for()[0] >= max(end, reach)

    def rendered(self, start: int, end: int) -> str:
        """The text that leaves for this span; a replacement leaves once, where its edit begins."""
        parts: list[str] = []
        at = start
        for edit in self._edits:
            if not edit.touches(start, end):
                continue
            parts.append(self._original(at, max(at, min(edit.start, end))))
            if not edit.used:
                parts.append(edit.replacement)
                edit.used = True
            at = max(at, min(edit.end, end))
        parts.append(self._original(at, end))
        return "".join(parts)

    def tail(self) -> str:
        """What was inserted after the last text; each insert is given once."""
        inserts = [edit for edit in self._edits if not edit.used and edit.start >= self.end]
        for edit in inserts:
            edit.used = True
        return "".join(edit.replacement for edit in inserts)

    def forget(self, before: int) -> None:
        """Drops text and edits before an offset that has left, as far as every policy is done with them."""
        keep = int(min(before, self.end, *self.marks.values()))
        if keep > self._base:
            self._text = self._text[keep - self._base :]
            self._base = keep
            self._edits = [edit for edit in self._edits if edit.end >= keep]

    def _original(self, start: int, end: int) -> str:
        return self._text[start - self._base : end - self._base]


@dataclass(frozen=True, slots=True)
class _Waiting:
    """A frame that has not left, the spans of its pieces, and what policies made of its messages."""

    frame: Frame
    spans: tuple[Span, ...]
    changes: Changes


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
        listeners: the policies that are asked, in their order, each with the kinds of channel that it wants.
        counting: those that may edit and are waited for; an observer's and a shadow's watermark counts as infinite.
        hold_back: bytes that may wait.
    """

    def __init__(
        self, listeners: Mapping[int, Collection[ChannelKind]], counting: Collection[int], hold_back: int
    ) -> None:
        self._listeners = listeners
        self._counting = set(counting)
        self._hold_back = hold_back
        self._tracks: dict[Channel, _Track] = {}
        self._queue: deque[_Waiting] = deque()
        self._held = 0
        self._closed: set[int] = set()

    def admit(self, frame: Frame, changes: Changes) -> list[Channel] | None:
        """Takes a frame; the channels to ask about now, or None where it has text on a closed channel."""
        if any(piece.channel.choice in self._closed for piece in frame.pieces):
            return None
        spans: list[Span] = []
        for piece in frame.pieces:
            start, end = self._track(piece.channel).add(piece.text)
            spans.append((piece.channel, start, end))
        touched = dict.fromkeys(channel for channel, _, _ in spans)
        for choice in frame.closes:
            touched.update(dict.fromkeys(self._close(choice)))
        self._queue.append(_Waiting(frame, tuple(spans), changes))
        self._held += len(frame.raw)
        return list(touched)

    def close(self) -> list[Channel]:
        """The end of the answer: closes what is open; the channels to ask about for the last time."""
        choices = {channel.choice for channel, track in self._tracks.items() if not track.closed}
        return [channel for choice in sorted(choices) for channel in self._close(choice)]

    def windows(self, channel: Channel) -> dict[int, TextWindow]:
        """What each policy that wants this channel is to be shown."""
        track = self._tracks[channel]
        return {policy: track.window(channel, policy) for policy in track.marks}

    def take(self, channel: Channel, policy: int, verdict: Text) -> None:
        """One policy's word on a channel.

        Raises:
            PolicyError: it says what it may not say.
        """
        self._tracks[channel].take(policy, verdict, json_source=channel.kind is ChannelKind.TOOL_ARGUMENTS)

    def give_up_on(self, policy: int) -> None:
        """This policy is waited for no more (`on_error: allow`)."""
        self._counting.discard(policy)

    def overdue(self) -> int | None:
        """The policy that holds longest, where more than `hold_back` bytes wait."""
        if self._held <= self._hold_back:
            return None
        waits = [self._tracks[channel].waiting_for() for channel, _, _ in self._queue[0].spans]
        return min(waits, default=(DONE, None), key=lambda pair: pair[0])[1]

    def release(self) -> Iterator[Released]:
        """The frames that may leave now, in order of arrival."""
        while self._queue and all(self._tracks[channel].stable(*span) for channel, *span in self._queue[0].spans):
            waiting = self._queue.popleft()
            self._held -= len(waiting.frame.raw)
            news = [self._tracks[channel].rendered(start, end) for channel, start, end in waiting.spans]
            before = self._place_tails(waiting, news)
            pieces = waiting.frame.pieces
            texts = {index: new for index, new in enumerate(news) if new != pieces[index].text}
            yield Released(waiting.frame, texts, before, waiting.changes)
            for channel, _, end in waiting.spans:
                self._tracks[channel].forget(end)

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

    def _track(self, channel: Channel) -> _Track:
        track = self._tracks.get(channel)
        if track is None:
            wanting = [policy for policy, kinds in self._listeners.items() if channel.kind in kinds]
            track = self._tracks[channel] = _Track(wanting, self._counting)
        return track

    def _close(self, choice: int) -> list[Channel]:
        self._closed.add(choice)
        closing = [channel for channel, track in self._tracks.items() if channel.choice == choice and not track.closed]
        for channel in closing:
            self._tracks[channel].closed = True
        return closing

    def _place_tails(self, waiting: _Waiting, news: list[str]) -> list[tuple[Channel, str]]:
        """Inserts at a close go behind the channel's last text in the closing frame, or before that frame."""
        before: list[tuple[Channel, str]] = []
        for channel, track in self._tracks.items():
            if channel.choice not in waiting.frame.closes:
                continue
            tail = track.tail()
            last = max((index for index, span in enumerate(waiting.spans) if span[0] == channel), default=None)
            if tail and last is not None:
                news[last] += tail
            elif tail:
                before.append((channel, tail))
        return before
