"""Names of tools: whether two are one to the eye or to a careless resolver, and which names a text speaks of.

Rules:
- The skeleton is for comparing, never for showing or calling: names with one skeleton are taken for each other.
- It folds, in this order: hidden characters and accents away; compatibility forms (fullwidth, mathematical), case;
  letters of other scripts that look like Latin ones (lookalikes.py); separators, any run of
  `-`, `_`, `.`, `/`, `:` and blanks being one; `0` and `o`, `1`, `i`, `|` and `l`, `rn` and `m`, `vv` and `w`.
  The order matters: a pair is looked for among the letters that come out of all before it.
- A name is mentioned where it stands as a whole word, in any case. A name that is an ordinary word to look at (letters
  only: `search`, `add`) has to be marked as a name as well: in quotes or backquotes, before `(`, or beside
  `tool` or `function`; else every text that says "search" would speak of that tool.

Not here: `5` and `s`, plurals, synonyms; who owns a name (the policies).
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable

from ext_proc.scanning.hidden import CANDIDATE
from ext_proc.scanning.lookalikes import LOOKALIKES

_ALIKE = str.maketrans({"0": "o", "1": "l", "i": "l", "|": "l"})
_SEPARATORS = re.compile(r"[-_./:\s\u2010-\u2015\u2212]++")
_PLAIN = re.compile(r"[A-Za-z0-9_\-./]{1,128}")
_COMMON = frozenset({"LATIN", "CJK", "IDEOGRAPHIC", "HIRAGANA", "KATAKANA", "KATAKANA-HIRAGANA", "HANGUL", "BOPOMOFO"})

# A word of a name or a text; the parts of a qualified one (`github.create_issue`, `mcp__github__create_issue`).
_WORD = re.compile(r"[\w\-./]++")
_EDGES = "-./"
_PARTS = re.compile(r"__|[./]")
_ORDINARY = re.compile(r"[^\W\d_]++(?: [^\W\d_]++)*+")
_QUOTES = frozenset("\"'`\u2018\u2019\u201c\u201d\u00ab\u00bb")
_TOOL_WORDS = frozenset({"tool", "function", "tools", "functions"})
_LONGEST = 8  # words of a name that are looked for; names have one, as a rule


def skeleton(name: str) -> str:
    """What is left of a name for an eye that does not look closely; equal for names that look alike."""
    folded = fold(name).translate(LOOKALIKES)
    folded = _SEPARATORS.sub("_", folded).translate(_ALIKE)
    return folded.replace("rn", "m").replace("vv", "w")


def is_plain(name: str) -> bool:
    """Whether a name is of 1 to 128 characters `A-Z a-z 0-9 _ - . /`.

    That is what MCP 2025-11-25 recommends for names of tools (server/tools, "Tool Names"), and the slash, which the
    proposal that it comes from has (SEP-986) and which hides nothing.
    """
    return _PLAIN.fullmatch(name) is not None


def mixes_scripts(name: str) -> bool:
    """Whether a name has letters of scripts that nobody writes together: Latin and Cyrillic, Greek and Cyrillic ...

    Latin, Chinese, Japanese and Korean are written together (UTS 39, "highly restrictive").
    """
    scripts = {
        unicodedata.name(letter, "UNKNOWN").partition(" ")[0]
        for letter in unicodedata.normalize("NFKC", name)
        if letter.isalpha()
    }
    return len(scripts) > 1 and not scripts <= _COMMON


def fold(text: str) -> str:
    """A text without hidden characters, accents, compatibility forms and case."""
    if text.isascii():
        return CANDIDATE.sub("", text).casefold()
    decomposed = unicodedata.normalize("NFKD", CANDIDATE.sub("", text))
    bare = "".join(character for character in decomposed if not unicodedata.combining(character))
    return unicodedata.normalize("NFKC", bare.casefold())


def references(text: str, names: Iterable[str]) -> set[str]:
    """Which of the names a text speaks of, as they were given: `NameIndex(names).mentioned_in(text)`."""
    return NameIndex(names).mentioned_in(text)


class NameIndex:
    """Names, made ready to be looked for in many texts: there may be thousands of both."""

    def __init__(self, names: Iterable[str]) -> None:
        """
        Args:
            names: other tools' names. One of more than eight words is not looked for.
        """
        self._names: dict[tuple[str, ...], list[str]] = {}
        for name in names:
            words = tuple(word for word, _, _ in _words(fold(name)))
            if 0 < len(words) <= _LONGEST:
                self._names.setdefault(words, []).append(name)
        self._lengths = sorted({len(words) for words in self._names})

    def mentioned_in(self, text: str) -> set[str]:
        """Which of the names a text speaks of, as they were given. The time is linear in the text.

        Args:
            text: a description, say; what it hides is taken away before it is read.
        """
        folded = fold(text)
        found: set[str] = set()
        spans = _words(folded)
        words = tuple(word for word, _, _ in spans)
        for at, word in enumerate(words):
            for part in _PARTS.split(word):
                found.update(name for name in self._names.get((part,), ()) if not _is_ordinary(name))
            for length in self._lengths:
                if at + length <= len(words) and (called := self._names.get(words[at : at + length])):
                    marked = _is_marked(folded, spans, at, at + length)
                    found.update(name for name in called if marked or not _is_ordinary(name))
        return found


def _words(text: str) -> list[tuple[str, int, int]]:
    """The words of a text with their offsets; a full stop or dash at an end is no part of a word."""
    words: list[tuple[str, int, int]] = []
    for match in _WORD.finditer(text):
        if word := match.group().strip(_EDGES):
            start = match.start() + len(match.group()) - len(match.group().lstrip(_EDGES))
            words.append((word, start, start + len(word)))
    return words


def _is_ordinary(name: str) -> bool:
    """Whether a name looks like words of a sentence: letters alone, none of them a capital inside a word."""
    return _ORDINARY.fullmatch(name) is not None and all(
        word.islower() or word.isupper() or word.istitle() for word in name.split(" ")
    )


def _is_marked(text: str, spans: list[tuple[str, int, int]], first: int, after: int) -> bool:
    """Whether the words from `first` up to `after` are said to be a name."""
    start, end = spans[first][1], spans[after - 1][2]
    before, behind = text[max(0, start - 1) : start], text[end : end + 1]
    if behind == "(" or (before in _QUOTES and behind in _QUOTES):
        return True
    beside = [spans[at] for at in (first - 1, after) if 0 <= at < len(spans)]
    return any(
        word in _TOOL_WORDS and text[min(end, its_end) : max(start, its_start)].isspace()
        for word, its_start, its_end in beside
    )
