"""Policies over texts, as a bundle sets them up: `type: tests.envoy.text_policies:Name`.

Not here: what becomes of it (test_texts.py).
"""

from __future__ import annotations

from pydantic import BaseModel

from ext_proc.policy import (
    ChannelKind,
    Context,
    Edit,
    Policy,
    RequestText,
    ResponseText,
    Text,
    TextDeny,
    TextVerdict,
    TextWindow,
)


class Word(BaseModel, extra="forbid"):
    """A word, and what stands in its place."""

    word: str
    by: str = ""


class Redacts(Policy[Word, None]):
    """Replaces a word in both directions; holds back no more than might be its beginning."""

    channels = frozenset(ChannelKind) - {ChannelKind.NAME}

    def on_text(self, text: TextWindow, ctx: Context[None]) -> TextVerdict:
        word, edits, at = self.parameters.word, [], 0
        while (found := text.text.find(word, at)) >= 0:
            at = found + len(word)
            edits.append(Edit(text.start + found, text.start + at, self.parameters.by))
        done = max(at, len(text.text) - len(word) + 1)
        return Text(text.end if text.closed else text.start + max(done, 0), tuple(edits))


class Forbids(Policy[Word, None]):
    """Denies a request that holds a word, keys of arguments included."""

    def on_text(self, text: RequestText, ctx: Context[None]) -> TextVerdict:
        if self.parameters.word in text.text:
            return TextDeny("word-not-allowed", "this may not be sent")
        return None


class Stops(Policy[Word, None]):
    """Ends an answer that holds a word, with another text as the last."""

    def on_text(self, text: ResponseText, ctx: Context[None]) -> TextVerdict:
        if self.parameters.word in text.text:
            return TextDeny("word-not-allowed", "this may not be said", self.parameters.by)
        return Text(text.end if text.closed else max(text.start, text.end - len(self.parameters.word) + 1))
