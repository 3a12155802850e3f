"""Text as a model may read it, for matching: one spelling for many, and every letter knows where it came from.

Rules:
- Compatibility forms, case, accents and look-alike letters are folded away; tag characters read as the ASCII that they
  spell.
- Hidden characters are left out, or read as blanks: `ig<ZWSP>nore` and `ignore<ZWSP>all` are both words to a model, so
  there are several readings where it makes a difference. Of a terminal's escape sequence the text that it carries is
  kept.
- Words are runs of letters and digits; in one that has both, digits are read as the letters that they stand for
  (`1gn0re`). The end of a sentence is a word of its own, END.
- Offsets are those of the text that was handed over, in code points.

Not here: what is looked for (rules.py); whether anything hidden is there (hidden.py).
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

from ext_proc.scanning.hidden import CANDIDATE, SEQUENCE
from ext_proc.scanning.lookalikes import LOOKALIKES

END = "."
_TAG_FIRST, _TAG_LAST, _TAG_BASE = "\U000e0020", "\U000e007e", 0xE0000
_COMMAND_STRING = re.compile(r"\x1b[\]PX^_]|[\x9d\x90\x98\x9e\x9f]")
_WORD = re.compile(r"[^\W_]++(?:'[^\W_]++)*+|[.!?;](?=\s|\Z)|\n[^\S\n]*+\n")
_MIXED = re.compile(r"(?=\D*+\d)(?=\d*+[a-z])")
_DIGITS = str.maketrans("013457", "oieast")
_MOST_LETTERS = 4  # that one character stands for; a few Arabic ones stand for whole sentences
_QUOTES = str.maketrans("\u2018\u2019\u02bc", "'''")


@dataclass(frozen=True, slots=True)
class Folded:
    """A text, folded.

    Attributes:
        text: folded; blanks are as they were.
        offsets: for each character of `text` where it came from; None if it stands where it came from.
    """

    text: str
    offsets: Sequence[int] | None

    def span(self, start: int, end: int) -> tuple[int, int]:
        """Where a part of the folded text (not empty) stands in the text that was handed over."""
        if self.offsets is None:
            return start, end
        return self.offsets[start], self.offsets[end - 1] + 1


class Words:
    """The words of a folded text, and the ends of its sentences.

    Attributes:
        texts: each word.
    """

    def __init__(self, folded: Folded) -> None:
        self._folded = folded
        self._spans: list[tuple[int, int]] = []
        self.texts: list[str] = []
        for match in _WORD.finditer(folded.text):
            word = match.group()
            self._spans.append(match.span())
            self.texts.append(word if word.isalpha() else _read(word))

    def span(self, first: int, after: int) -> tuple[int, int]:
        """Where the words from `first` up to `after` stand in the text that was handed over."""
        return self._folded.span(self._spans[first][0], self._spans[after - 1][1])


def readings(text: str) -> list[Folded]:
    """The text folded: one reading, or more where hidden characters make a difference.

    Without them; with a blank for each; and, if there are escape sequences, with these taken for plain text behind a
    blank (in `ESC [ ignore` a terminal shows `gnore`, and a model may read `ignore`).
    """
    if not CANDIDATE.search(text):
        return [Folded(text.lower(), None) if text.isascii() else _folded(text, "", sequences=True)]
    found = [_folded(text, "", sequences=True), _folded(text, " ", sequences=True)]
    return [*found, _folded(text, " ", sequences=False)] if SEQUENCE.search(text) else found


def _read(word: str) -> str:
    """A word that has more than letters, as it is read."""
    if not word[0].isalnum():
        return END
    word = word.removesuffix("'s")
    return word.translate(_DIGITS) if _MIXED.match(word) else word


def _folded(text: str, blank: str, *, sequences: bool) -> Folded:
    """The text folded, with `blank` for hidden characters and, if `sequences`, for whole escape sequences."""
    out: list[str] = []
    offsets: list[int] = []
    at = 0
    while at < len(text):
        character = text[at]
        step = 1
        if _TAG_FIRST <= character <= _TAG_LAST:
            folded = chr(ord(character) - _TAG_BASE).lower()
        elif CANDIDATE.match(character):
            folded = blank
            if sequences and (sequence := SEQUENCE.match(text, at)):
                inner = _COMMAND_STRING.match(text, at)
                step = sequence.end() - at if inner is None else inner.end() - at
        else:
            folded = _letter(character)
        out.append(folded)
        offsets += [at] * len(folded)
        at += step
    return Folded("".join(out), offsets)


@lru_cache(maxsize=4096)
def _letter(character: str) -> str:
    """What a visible character is read as: itself, or some letters, or nothing for an accent."""
    if character.isascii():
        return character.lower()
    decomposed = unicodedata.normalize("NFKD", character)
    bare = "".join(part for part in decomposed if not unicodedata.combining(part))
    return bare.casefold().translate(LOOKALIKES).translate(_QUOTES)[:_MOST_LETTERS]
