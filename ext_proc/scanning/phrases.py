"""Phrases over the words of a text: the small language that the rules are written in.

    ignore|disregard ..3 {earlier} ..2 instructions?

Rules:
- Elements stand side by side: one of some words (`a|b`) or of a named set (`{earlier}`, joined with others by `|` as
  well); `..3` is up to three words of any kind. A `?` after an element: it may be missing.
- No phrase goes over the end of a sentence.
- The work is bounded by what is written in the phrase, not by the text: from each place where the first element fits no
  word is looked at that is further away than the phrase is long, and each element looks at it once. So the whole is
  linear in the text, whatever stands there; there is nothing to backtrack.

Not here: the phrases (rules.py), how words come about (folding.py).
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence, Set
from dataclasses import dataclass

from ext_proc.scanning.folding import END

_GAP = re.compile(r"\.\.(\d++)")


@dataclass(frozen=True, slots=True)
class Element:
    """One place in a phrase.

    Attributes:
        words: those that fit.
        gap: how many words of any kind may stand before it.
        optional: whether it may be missing.
    """

    words: frozenset[str]
    gap: int
    optional: bool


@dataclass(frozen=True, slots=True)
class Phrase:
    """A phrase: its first element is there, and has no gap before it."""

    elements: tuple[Element, ...]

    @property
    def first(self) -> frozenset[str]:
        """The words with which it can begin."""
        return self.elements[0].words

    @property
    def reach(self) -> int:
        """How many words it can be long."""
        return sum(1 + element.gap for element in self.elements)

    def match(self, words: Sequence[str], at: int) -> int | None:
        """The index after the shortest phrase that begins at `at`, where its first element fits; None if none does."""
        ends = [at + 1]
        for element in self.elements[1:]:
            reached = set(ends) if element.optional else set()
            for start in ends:
                for index in range(start, min(start + element.gap + 1, len(words))):
                    word = words[index]
                    if word in element.words:
                        reached.add(index + 1)
                    if word == END:
                        break
            ends = sorted(reached)
            if not ends:
                return None
        return ends[0]


def parse(source: str, sets: Mapping[str, Set[str]]) -> Phrase:
    """A phrase from how it is written.

    Args:
        sets: the named sets of words.

    Raises:
        ValueError: if it begins with a gap or something optional, ends with a gap, or names a set that is not there.
    """
    elements: list[Element] = []
    gap = 0
    for part in source.split():
        if matched := _GAP.fullmatch(part):
            gap = int(matched[1])
            continue
        words: set[str] = set()
        for word in part.removesuffix("?").split("|"):
            if not word.startswith("{"):
                words.add(word)
            elif word[1:-1] in sets:
                words |= sets[word[1:-1]]
            else:
                raise ValueError(f"{word} in {source!r} is no set of words")
        elements.append(Element(frozenset(words), gap, part.endswith("?")))
        gap = 0
    if gap or not elements or elements[0].gap or elements[0].optional:
        raise ValueError(f"{source!r} has to begin and end with words")
    return Phrase(tuple(elements))
