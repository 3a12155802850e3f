"""Sentences that speak to a model, in text that should describe: tools, their schemas, a server's instructions.

Rules:
- What is flagged is a reason to look, not a proof: who writes other words is not seen. How this was measured, and what
  bounds it, is in docs/scanning.md.
- Read as folding.py folds it, in each of its readings; offsets point into the text as given.
- Beside rules.py's phrases and literals: base64 that reads as a sentence (`encoded-text`) or is long (`encoded-blob`),
  and blanks so many that what follows is out of sight (`padding`).
- The time is linear in the text: phrases look no further than they are long, all else is a search for fixed strings or
  runs of one class of characters, which never goes back.
- A rule raises a bounded number of flags, so that no flood of one hides another.

Not here: hidden characters themselves (hidden.py); names of other tools (names.py); what follows from a flag (the
policies).
"""

from __future__ import annotations

import binascii
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from ext_proc.scanning.folding import Folded, Words, readings
from ext_proc.scanning.phrases import Phrase, parse
from ext_proc.scanning.rules import RULES, SETS, Rule, Severity

MOST = 8  # flags of one rule in one text; nobody reads more
ENCODED_TEXT = Rule("encoded-text", Severity.HIGH, "has a sentence written in base64")
ENCODED_BLOB = Rule("encoded-blob", Severity.LOW, "has a long run of encoded bytes")
PADDING = Rule("padding", Severity.LOW, "has so many blanks that what follows is out of sight")
ALL_RULES: Sequence[Rule] = (*RULES, ENCODED_TEXT, ENCODED_BLOB, PADDING)

_RUN = re.compile(r"[A-Za-z0-9+/_-]{24,}+=*+")
_LONG_RUN = 256  # characters
_PROSE = re.compile(r"[A-Za-z][A-Za-z] [A-Za-z]")
_BLANKS = re.compile(r"\s{20,}+")
_LEAST_LINES, _LEAST_BLANKS = 20, 300


@dataclass(frozen=True, slots=True)
class Flag:
    """Something in a text that speaks to a model.

    Attributes:
        rule: its id.
        start: offset of the first character, in code points.
        end: offset after the last.
        why: one clause for people; nothing of the text is in it.
        severity: HIGH if it is hardly ever honest, LOW if it is sometimes.
    """

    rule: str
    start: int
    end: int
    why: str
    severity: Severity


def _by_first_word() -> dict[str, list[tuple[Rule, Phrase]]]:
    index: dict[str, list[tuple[Rule, Phrase]]] = {}
    for rule in RULES:
        for source in rule.phrases.strip().splitlines():
            phrase = parse(source, SETS)
            for word in phrase.first:
                index.setdefault(word, []).append((rule, phrase))
    return index


_PHRASES = _by_first_word()
_LITERALS = [(rule, literal) for rule in RULES for literal in rule.literals.split()]
_ANY_LITERAL = re.compile("|".join(re.escape(literal) for _, literal in _LITERALS))


def flag(text: str) -> Sequence[Flag]:
    """What in a text speaks to a model, in order of place; the flags of one rule do not overlap.

    Args:
        text: any text. Of each rule no more than the `MOST` first flags are returned.
    """
    found: dict[str, list[Flag]] = {rule.id: [] for rule in ALL_RULES}
    for rule, start, end in _raised(text):
        flags = found[rule.id]
        if len(flags) < MOST and not any(start < other.end and other.start < end for other in flags):
            flags.append(Flag(rule.id, start, end, rule.why, rule.severity))
    return sorted(
        (each for flags in found.values() for each in flags), key=lambda each: (each.start, each.end, each.rule)
    )


def _raised(text: str) -> Iterator[tuple[Rule, int, int]]:
    """Each rule that fits, with the part of the text that it fits."""
    for folded in readings(text):
        yield from _phrases(folded)
        yield from _literals(folded)
    yield from _encoded(text)
    for match in _BLANKS.finditer(text):
        if match.end() - match.start() >= _LEAST_BLANKS or match.group().count("\n") >= _LEAST_LINES:
            yield PADDING, match.start(), match.end()


def _phrases(folded: Folded) -> Iterator[tuple[Rule, int, int]]:
    found = Words(folded)
    for at, text in enumerate(found.texts):
        for rule, phrase in _PHRASES.get(text, ()):
            if (end := phrase.match(found.texts, at)) is not None:
                yield rule, *found.span(at, end)


def _literals(folded: Folded) -> Iterator[tuple[Rule, int, int]]:
    squeezed = "".join(folded.text.split())
    if not _ANY_LITERAL.search(squeezed):
        return  # as in nearly every text
    places: list[int] | None = None
    for rule, literal in _LITERALS:
        at = squeezed.find(literal)
        while at >= 0:
            places = places or [index for index, character in enumerate(folded.text) if not character.isspace()]
            start, end = places[at], places[at + len(literal) - 1] + 1
            if _stands_alone(folded.text, start, end):
                yield rule, *folded.span(start, end)
            at = squeezed.find(literal, at + len(literal))


def _stands_alone(text: str, start: int, end: int) -> bool:
    """Whether a part of a text is no part of a longer word."""
    joined_before = text[start].isalnum() and text[start - 1 : start].isalnum()
    return not joined_before and not (text[end - 1].isalnum() and text[end : end + 1].isalnum())


def _encoded(text: str) -> Iterator[tuple[Rule, int, int]]:
    for match in _RUN.finditer(text):
        run = match.group()
        if _reads_as_prose(run):
            yield ENCODED_TEXT, match.start(), match.end()
        elif len(run) >= _LONG_RUN and not run.islower() and any(map(str.isdigit, run)):
            yield ENCODED_BLOB, match.start(), match.end()


def _reads_as_prose(run: str) -> bool:
    """Whether base64 (either alphabet) is ASCII text with words side by side."""
    bare = run.rstrip("=").replace("-", "+").replace("_", "/")
    try:
        decoded = binascii.a2b_base64(bare[: len(bare) // 4 * 4]).decode("ascii")
    except (ValueError, binascii.Error):
        return False
    return all(character.isprintable() or character in "\t\r\n" for character in decoded) and bool(
        _PROSE.search(decoded)
    )
