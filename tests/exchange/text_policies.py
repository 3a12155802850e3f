"""Small policies over texts of both directions, as a plug-in author would write them; what they do to whole texts."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

from ext_proc.policy import (
    Channel,
    ChannelKind,
    Context,
    Edit,
    NoParameters,
    Policy,
    RequestText,
    ResponseText,
    Text,
    TextDeny,
    TextVerdict,
    TextWindow,
)


class Base(Policy[NoParameters, dict[str, Any]]):
    """A policy with a name and no parameters, whose state is a dictionary."""

    def __init__(self, name: str = "text") -> None:
        super().__init__(name, NoParameters())

    def new_state(self) -> dict[str, Any]:
        return {}


class Nothing(Base):
    """Lets every text through at once."""

    def on_text(self, text: TextWindow, ctx: Context[Any]) -> TextVerdict:
        return Text(text.end)


class Replace(Base):
    """Replaces a word; holds back no more than might be the word's beginning."""

    def __init__(self, word: str, by: str, name: str = "replace") -> None:
        super().__init__(name)
        self.word, self.by = word, by

    def on_text(self, text: TextWindow, ctx: Context[Any]) -> TextVerdict:
        edits, at = [], 0
        while (found := text.text.find(self.word, at)) >= 0:
            at = found + len(self.word)
            edits.append(Edit(text.start + found, text.start + at, self.by))
        keep = max(at, len(text.text) - len(self.word) + 1)
        return Text(text.end if text.closed else text.start + max(keep, 0), tuple(edits))

    def edits(self, whole: str) -> list[tuple[int, int, str]]:
        """What it does to a text that is all there."""
        return [(match.start(), match.end(), self.by) for match in re.finditer(re.escape(self.word), whole)]


class Sentences(Base):
    """Lets text through sentence by sentence."""

    def on_text(self, text: TextWindow, ctx: Context[Any]) -> TextVerdict:
        return Text(text.start + text.text.rfind(".") + 1)


class Signature(Base):
    """Puts a text behind the last one."""

    def on_text(self, text: TextWindow, ctx: Context[Any]) -> TextVerdict:
        return Text(text.end, (Edit(text.end, text.end, " -- signed"),) if text.closed else ())


class DenyAt(Base):
    """Denies what gets longer than so many characters; nothing past them leaves."""

    def __init__(self, offset: int, closing_text: str = "", name: str = "deny-at") -> None:
        super().__init__(name)
        self.offset, self.closing_text = offset, closing_text

    def on_text(self, text: TextWindow, ctx: Context[Any]) -> TextVerdict:
        if text.end > self.offset:
            return TextDeny("too-long", "the answer got too long", self.closing_text)
        return Text(text.end)


class Forever(Base):
    """Never lets anything through before the end."""

    def on_text(self, text: TextWindow, ctx: Context[Any]) -> TextVerdict:
        return Text(text.start)


class Counter(Base):
    """Observes: what text there was, by channel."""

    def __init__(self, name: str = "counter") -> None:
        super().__init__(name)
        self.seen: dict[Channel, str] = {}

    def on_text(self, text: TextWindow, ctx: Context[Any]) -> None:
        before = self.seen.get(text.channel, "")
        self.seen[text.channel] = before[: text.start] + text.text


class DenyWord(Base):
    """Denies what holds a word; holds back no more than might be its beginning."""

    def __init__(self, word: str, name: str = "deny-word") -> None:
        super().__init__(name)
        self.word = word

    def on_text(self, text: TextWindow, ctx: Context[Any]) -> TextVerdict:
        if self.word in text.text:
            return TextDeny("word-not-allowed", "this may not be said")
        return Text(text.end if text.closed else max(text.end - len(self.word) + 1, text.start))


class InRequests(Base):
    """What another policy does, in requests only."""

    def __init__(self, inner: Nothing | Replace | DenyWord) -> None:
        super().__init__(inner.name)
        self.inner = inner

    def on_text(self, text: RequestText, ctx: Context[Any]) -> TextVerdict:
        return self.inner.on_text(text, ctx)


class InAnswers(Base):
    """What another policy does, in answers only."""

    def __init__(self, inner: Nothing | Replace | DenyWord) -> None:
        super().__init__(inner.name)
        self.inner = inner

    def on_text(self, text: ResponseText, ctx: Context[Any]) -> TextVerdict:
        return self.inner.on_text(text, ctx)


VALUES = frozenset(ChannelKind) - {ChannelKind.NAME}


def only(policy: Base, kinds: frozenset[ChannelKind] = VALUES) -> Base:
    """The policy, shown no other kinds of text."""
    policy.channels = kinds  # type: ignore[misc]  # a class variable, set for one instance
    return policy


def merged(whole: str, policies: Sequence[Replace]) -> str:
    """Rule 2 on a text that is all there: spans that overlap become one, and the first policy's replacement wins."""
    spans = [(start, end, order, by) for order, p in enumerate(policies) for start, end, by in p.edits(whole)]
    groups: list[list[tuple[int, int, int, str]]] = []
    for span in sorted(spans):
        if groups and span[0] < max(end for _, end, _, _ in groups[-1]):
            groups[-1].append(span)
        else:
            groups.append([span])
    out, at = "", 0
    for group in groups:
        start, end = group[0][0], max(end for _, end, _, _ in group)
        out += whole[at:start] + min(group, key=lambda span: (span[2], span[0]))[3]
        at = end
    return out + whole[at:]
