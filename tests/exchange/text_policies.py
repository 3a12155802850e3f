"""Small policies over channels of text, as a plug-in author would write them, and what they do to a whole text."""

from __future__ import annotations

import re
from typing import Any

from ext_proc.policy import Context, Edit, NoParameters, Policy, Text, TextDeny, TextVerdict, TextWindow


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
    """Ends the answer when a channel gets longer than so many characters; nothing past them leaves."""

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
    """Observes: how much text there was."""

    def __init__(self, name: str = "counter") -> None:
        super().__init__(name)
        self.seen: dict[Any, str] = {}

    def on_text(self, text: TextWindow, ctx: Context[Any]) -> None:
        before = self.seen.get(text.channel, "")
        self.seen[text.channel] = before[: text.start] + text.text
