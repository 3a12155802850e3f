"""What becomes of one channel: who was shown how much of it, and what they made of it.

Rules:
1. All policies see the original text. Edits start at or after the policy's own watermark.
2. Overlapping edits merge to the union of their spans; the replacement of the policy that comes first wins, and of its
   edits the first.
3. A span is stable when every watermark that counts has passed its end and the end of every merged edit on it. A
   replacement goes into the span where its edit begins; the others keep their part, possibly empty. An insert at n
   belongs to the span that starts at n; at the end, it is the tail.
4. Of JSON source each string is a text of its own, shown decoded. Edits are kept by their place in the source, and what
   they put there is escaped: whatever is said of strings, the source is as much JSON as it was. A name is only shown.

Not here: the order in which frames leave (channels.py), how source is read (framing/json_source.py), who is asked
(questions.py).
"""

from __future__ import annotations

import json
from bisect import bisect_left, bisect_right
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

from ext_proc.errors import PolicyError
from ext_proc.events import Direction
from ext_proc.framing.json_source import JsonSource, JsonString
from ext_proc.limits import DEFAULTS, Limits
from ext_proc.messages import Channel, ChannelKind, Form, RequestText, ResponseText, TextWindow
from ext_proc.policy import Edit, Text

DONE = float("inf")
LOOK_BACK = 64 * 1024  # characters that a policy may look back that nothing is held for (an observer, a shadow)


class ReadOnly(PolicyError):
    """A policy edited a name. All else that it said of it was taken."""


@dataclass(slots=True)
class _Merged:
    """Edits whose spans overlap, as one, by offset in the source.

    Attributes:
        rank: the place of the edit that wins: its policy's in their order, then its own in the source.
        used: its replacement has left.
    """

    start: int
    end: int
    replacement: str
    rank: tuple[int, int]
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


class View:
    """One text as policies are shown it: the channel's own, or a string of its source, decoded.

    Args:
        listeners: the policies that are shown it.
        string: that it is the text of; None for plain text.

    Attributes:
        marks: each policy's watermark; DONE once it has said its last.
        closed: nothing will follow.
    """

    __slots__ = ("_base", "_string", "_text", "_window", "channel", "closed", "marks")

    def __init__(self, channel: Channel, listeners: Iterable[int], string: JsonString | None = None) -> None:
        self.channel = channel
        self._string = string
        self.closed = False
        self.marks: dict[int, float] = dict.fromkeys(listeners, 0)
        self._window = RequestText if channel.direction is Direction.REQUEST else ResponseText
        self._base = 0  # the offset of _text[0]; nobody looks back further
        self._text = ""

    @property
    def end(self) -> int:
        return self._base + len(self._text)

    def add(self, text: str) -> None:
        self._text += text

    def origin(self, offset: int) -> int:
        """The offset in the source for one in the text that is not behind every watermark."""
        return offset if self._string is None else self._string.source_offset(offset)

    def windows(self) -> dict[int, TextWindow]:
        """What each policy is to be shown."""
        return {policy: self._shown(policy) for policy in self.marks}

    def take(self, policy: int, verdict: Text, *, counts: bool) -> Sequence[Edit]:
        """One policy's word; its edits, in order.

        Args:
            counts: whether it is waited for.

        Raises:
            PolicyError: an edit outside the window, edits that overlap each other, or a watermark that goes back.
        """
        before = last = self.marks[policy]
        if verdict.watermark < before:
            raise PolicyError("took its watermark back")
        edits = sorted(verdict.edits, key=lambda edit: (edit.start, edit.end))
        for edit in edits:
            if not last <= edit.start <= edit.end <= self.end:
                raise PolicyError("edited text that it may not edit")
            last = edit.end
        # At the close there is nothing more to wait for, whatever the policy says.
        self.marks[policy] = DONE if self.closed else max(min(verdict.watermark, self.end), last)
        if not counts:
            # Nothing is held back for it, so nothing bounds how far it may look back but this.
            self.marks[policy] = max(self.marks[policy], self.end - LOOK_BACK)
        return edits

    def skip(self, *policies: int) -> None:
        """These policies have said all they may of what is there now: they were not asked, or talked nonsense."""
        for policy in policies:
            self.marks[policy] = DONE if self.closed else max(self.marks[policy], self.end)
        self.forget()

    def forget(self) -> None:
        """Drops what every watermark has passed, and the way from there to the source."""
        keep = int(min(self.end, *self.marks.values()))
        if keep > self._base:
            self._text = self._text[keep - self._base :]
            self._base = keep
            if self._string is not None:
                self._string.forget(keep)

    def _shown(self, policy: int) -> TextWindow:
        start = int(min(self.marks[policy], self.end))
        return self._window(self.channel, start, self._text[start - self._base :], self.closed)


class Shown(NamedTuple):
    """A text that policies are to be asked about, and the channel that it is in."""

    track: Track
    view: View


class Track:
    """One channel.

    Args:
        listeners: all policies that are asked, in their order, each with the kinds of text that it wants.
        counting: those that are waited for; shared by all channels.
        form: what its pieces are.

    Attributes:
        end: the offset behind the last character of its source: for plain text, the text itself.
        is_json: whether its texts are the strings of JSON.
        closed: nothing will follow.
    """

    def __init__(
        self,
        channel: Channel,
        listeners: Mapping[int, Collection[ChannelKind]],
        counting: Collection[int],
        form: Form = Form.PLAIN,
        limits: Limits = DEFAULTS,
    ) -> None:
        self.channel = channel
        self.end = 0
        self.closed = False
        self.is_json = form is not Form.PLAIN
        self._order = {policy: position for position, policy in enumerate(listeners)}
        self._counting = counting
        self._edits: list[_Merged] = []
        self._wanting = [policy for policy, kinds in listeners.items() if channel.kind in kinds]
        self._naming: list[int] = []
        self._source: JsonSource | None = None
        self._view: View | None = None  # what policies may still have to say something about
        self._string: JsonString | None = None  # that it is the text of
        if not self.is_json:
            self._view = View(channel, self._wanting)
            return
        self._naming = [policy for policy, kinds in listeners.items() if ChannelKind.NAME in kinds]
        if self._wanting or self._naming:
            self._source = JsonSource(
                valid=form is Form.VALID_JSON, max_depth=limits.json_depth, max_values=limits.json_values
            )

    def read(self, text: str) -> Iterator[Shown]:
        """Appends text; what policies are to be asked about then. To be exhausted."""
        self.end += len(text)
        if self._source is not None:
            for string, added, ended in self._source.feed(text):
                yield from self._grown(string, added, ended=ended)
        elif self._view is not None and self._view.marks:
            self._view.add(text)
            yield Shown(self, self._view)

    def close(self) -> Iterator[Shown]:
        """Nothing will follow; what policies are to be asked about for the last time."""
        self.closed = True
        if self._source is not None:
            for string, added, ended in self._source.close():
                yield from self._grown(string, added, ended=ended)
        elif self._view is not None and self._view.marks:
            self._view.closed = True
            yield Shown(self, self._view)

    def whole(self, text: str) -> Iterator[Shown]:
        """`read` and `close` of a text that is all there: each text once, and closed."""
        last: Shown | None = None
        for part in (self.read(text), self.close()):
            for shown in part:
                if last is not None and last.view is not shown.view:
                    yield last
                last = shown
        if last is not None:
            yield last

    def take(self, view: View, policy: int, verdict: Text) -> None:
        """One policy's word; the edits of one that is not waited for do not count.

        Raises:
            PolicyError: it says what it may not say.
        """
        counts = policy in self._counting
        edits = view.take(policy, verdict, counts=counts)
        if view.channel.kind is ChannelKind.NAME and edits:
            raise ReadOnly("edited a name, which can only be read")
        for edit in edits if counts else ():
            replacement = edit.replacement
            if self._source is not None:
                replacement = json.dumps(replacement, ensure_ascii=False)[1:-1]
            start = view.origin(edit.start)
            self._merge(_Merged(start, view.origin(edit.end), replacement, (self._order[policy], start)))
        view.forget()

    def waiting_for(self) -> tuple[float, int | None]:
        """The lowest watermark that counts, as an offset in the source, and whose it is."""
        lowest, whose = DONE, None
        for policy in self._order:
            if policy in self._counting and (policy in self._wanting or policy in self._naming):
                mark = self._mark(policy)
                if mark < lowest:
                    lowest, whose = mark, policy
        return lowest, whose

    def stable(self, start: int, end: int) -> bool:
        """Whether nobody that counts can say anything more about this span."""
        reach = max((edit.end for edit in self._touching(start, end)), default=end) if self._edits else end
        return self.waiting_for()[0] >= max(end, reach)

    def rendered(self, start: int, text: str) -> str:
        """What leaves for the text that stands at `start`; a replacement leaves once, where its edit begins."""
        if not self._edits:
            return text
        end = start + len(text)
        parts: list[str] = []
        at = start
        for edit in self._touching(start, end):
            parts.append(text[at - start : max(at, min(edit.start, end)) - start])
            if not edit.used:
                parts.append(edit.replacement)
                edit.used = True
            at = max(at, min(edit.end, end))
        parts.append(text[at - start :])
        return "".join(parts)

    def tail(self) -> str:
        """What was inserted after the last text; each insert is given once."""
        inserts = [edit for edit in self._edits if not edit.used and edit.start >= self.end]
        for edit in inserts:
            edit.used = True
        return "".join(edit.replacement for edit in inserts)

    def forget(self, before: int) -> None:
        """Drops the edits before an offset that has left."""
        if self._edits:
            self._edits = [edit for edit in self._edits if edit.end >= before]

    def _grown(self, string: JsonString, text: str, *, ended: bool) -> Iterator[Shown]:
        """A string of the source got longer, or ended. One that is empty is not shown."""
        if string is not self._string:
            self._string, self._view = string, None
            listeners = self._naming if string.is_name else self._wanting
            if text and listeners:
                kind = ChannelKind.NAME if string.is_name else self.channel.kind
                channel = replace(self.channel, kind=kind, path=string.path, number=string.number)
                self._view = View(channel, listeners, string)
        if self._view is not None:
            self._view.add(text)
            self._view.closed = ended
            yield Shown(self, self._view)

    def _mark(self, policy: int) -> float:
        """A policy's watermark, as an offset in the source."""
        view, source = self._view, self._source
        if view is not None and view.marks.get(policy, DONE) != DONE:
            return view.origin(int(view.marks[policy]))
        return DONE if source is None or self.closed else source.frontier

    def _near(self, start: int, end: int) -> slice:
        """Where the edits stand that overlap or border on a span: they are in order and apart, and may be very many."""
        first = bisect_left(self._edits, start, key=lambda edit: edit.end)
        return slice(first, bisect_right(self._edits, end, lo=first, key=lambda edit: edit.start))

    def _touching(self, start: int, end: int) -> list[_Merged]:
        """The edits that change what the text at a span becomes, in order."""
        return [edit for edit in self._edits[self._near(start, end)] if edit.touches(start, end)]

    def _merge(self, new: _Merged) -> None:
        apart = []
        near = self._near(new.start, new.end)
        for old in self._edits[near]:
            if not old.overlaps(new):
                apart.append(old)
                continue
            winner = min(old, new, key=lambda edit: edit.rank)
            new = _Merged(min(old.start, new.start), max(old.end, new.end), winner.replacement, winner.rank, old.used)
        self._edits[near] = sorted([*apart, new], key=lambda edit: (edit.start, edit.end, edit.rank))
