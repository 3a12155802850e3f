"""Characters that people do not see, or that change what they see: where they stand in a text.

Rules:
- Hidden is what Unicode lets a renderer show as nothing (Default_Ignorable_Code_Point), what moves or colours other
  text (bidi controls, terminals' escape sequences), what looks like a blank and is a letter or symbol, and what has no
  agreed look (private use, noncharacters, lone surrogates). Controls too, but for tab, line feed and carriage return.
- A few of them are needed to write some languages and emoji. They are kept only where they do that, judged by the
  characters directly beside them, and nowhere can two of them follow each other (but VARIATION SELECTOR-16 and a joiner
  inside an emoji sequence, and the three flags below):
  - ZERO WIDTH JOINER and NON-JOINER between two characters of one script that uses them (Arabic, Indic, Mongolian ...),
    and after a virama (RFC 5892, appendices A.1 and A.2, widened to all letters: people type them where they change
    nothing);
  - ZERO WIDTH SPACE between two characters of Thai, Lao, Myanmar or Khmer, which write no spaces;
  - Mongolian's own variation selectors and vowel separator after its letters;
  - ZERO WIDTH JOINER between two emoji; VARIATION SELECTOR-15 and -16 after an emoji, or inside a keycap;
  - the tag characters of the flags of England, Scotland and Wales, whole, after the black flag;
  - BRAILLE PATTERN BLANK between two Braille cells.
  So a bit per visible character can be written this way, in text of such a script, and no run of hidden characters.
- Ideographic variation selectors and the marks LRM and RLM have honest uses as well, and are hidden all the same: the
  first carry a byte per character, the second turn what is beside them.
- An escape sequence is one finding with all its content (a hyperlink's address); one without an end is its introducer.
- Adjacent characters of one kind are one finding.
- Stripping leaves nothing to find: what is kept leans on visible characters alone.

Not here: how they are shown (visible.py); spaces of other widths, which are seen as spaces; look-alikes (names.py);
combining marks, however many are stacked.
"""

from __future__ import annotations

import re
import unicodedata
from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum


class Kind(StrEnum):
    """Why a character is not what people see."""

    ZERO_WIDTH = "zero-width"
    BIDI = "bidi"
    TAG = "tag"
    VARIATION_SELECTOR = "variation-selector"
    BLANK = "blank"  # as wide as a letter, and empty
    FORMAT = "format"  # other characters without a look: interlinear, musical, reserved for such use
    CONTROL = "control"
    ESCAPE_SEQUENCE = "escape-sequence"
    SEPARATOR = "separator"  # of lines and paragraphs, where some readers break the line and some do not
    PRIVATE_USE = "private-use"
    NONCHARACTER = "noncharacter"
    SURROGATE = "surrogate"


@dataclass(frozen=True, slots=True)
class Hidden:
    """Hidden characters side by side.

    Attributes:
        start: offset of the first, in code points.
        end: offset after the last.
        kind: of all of them.
        name: the first one's name in Unicode, or what a control is called: `ZERO WIDTH SPACE`, `ESC`.
    """

    start: int
    end: int
    kind: Kind
    name: str


# Fixed here rather than asked of `unicodedata`, so that all versions of Python find the same.
_RANGES: tuple[tuple[int, int, Kind], ...] = (
    (0x00, 0x08, Kind.CONTROL),
    (0x0B, 0x0C, Kind.CONTROL),
    (0x0E, 0x1F, Kind.CONTROL),
    (0x7F, 0x9F, Kind.CONTROL),
    (0xAD, 0xAD, Kind.ZERO_WIDTH),  # soft hyphen
    (0x034F, 0x034F, Kind.ZERO_WIDTH),  # combining grapheme joiner
    (0x061C, 0x061C, Kind.BIDI),
    (0x115F, 0x1160, Kind.BLANK),  # Hangul fillers
    (0x17B4, 0x17B5, Kind.ZERO_WIDTH),  # Khmer inherent vowels
    (0x180B, 0x180D, Kind.VARIATION_SELECTOR),
    (0x180E, 0x180E, Kind.ZERO_WIDTH),  # Mongolian vowel separator
    (0x180F, 0x180F, Kind.VARIATION_SELECTOR),
    (0x200B, 0x200D, Kind.ZERO_WIDTH),
    (0x200E, 0x200F, Kind.BIDI),
    (0x2028, 0x2029, Kind.SEPARATOR),
    (0x202A, 0x202E, Kind.BIDI),
    (0x2060, 0x2064, Kind.ZERO_WIDTH),  # word joiner, invisible operators
    (0x2065, 0x2065, Kind.FORMAT),
    (0x2066, 0x2069, Kind.BIDI),
    (0x206A, 0x206F, Kind.FORMAT),
    (0x2800, 0x2800, Kind.BLANK),  # Braille
    (0x3164, 0x3164, Kind.BLANK),  # Hangul filler
    (0xD800, 0xDFFF, Kind.SURROGATE),
    (0xE000, 0xF8FF, Kind.PRIVATE_USE),
    (0xFDD0, 0xFDEF, Kind.NONCHARACTER),
    (0xFE00, 0xFE0F, Kind.VARIATION_SELECTOR),
    (0xFEFF, 0xFEFF, Kind.ZERO_WIDTH),  # byte order mark
    (0xFFA0, 0xFFA0, Kind.BLANK),  # halfwidth Hangul filler
    (0xFFF0, 0xFFFC, Kind.FORMAT),  # interlinear annotations, object replacement
    (0xFFFE, 0xFFFF, Kind.NONCHARACTER),
    (0x13430, 0x1343F, Kind.FORMAT),  # joiners of Egyptian hieroglyphs
    (0x1BCA0, 0x1BCA3, Kind.FORMAT),  # shorthand
    (0x1D159, 0x1D159, Kind.BLANK),  # null notehead
    (0x1D173, 0x1D17A, Kind.FORMAT),  # musical beams and slurs
    *((plane + 0xFFFE, plane + 0xFFFF, Kind.NONCHARACTER) for plane in range(0x10000, 0xE0000, 0x10000)),
    (0xE0000, 0xE007F, Kind.TAG),
    (0xE0080, 0xE00FF, Kind.FORMAT),
    (0xE0100, 0xE01EF, Kind.VARIATION_SELECTOR),
    (0xE01F0, 0xE0FFF, Kind.FORMAT),
    (0xEFFFE, 0xEFFFF, Kind.NONCHARACTER),
    (0xF0000, 0xFFFFD, Kind.PRIVATE_USE),
    (0xFFFFE, 0xFFFFF, Kind.NONCHARACTER),
    (0x100000, 0x10FFFD, Kind.PRIVATE_USE),
    (0x10FFFE, 0x10FFFF, Kind.NONCHARACTER),
)
_FIRSTS = [first for first, _, _ in _RANGES]


def _class(*ranges: tuple[int, int]) -> str:
    """A class of a regular expression."""
    return "[" + "".join(f"\\U{first:08x}-\\U{last:08x}" for first, last in ranges) + "]"


CANDIDATE = re.compile(_class(*((first, last) for first, last, _ in _RANGES)))
"""Any character of the table above, also one that is kept where it stands."""
_IN_ASCII = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f]")  # the same, and faster where no more can occur

# ECMA-48: CSI; a command string (OSC, DCS, SOS, PM, APC) up to its terminator; two or more characters after ESC.
# No body holds a control, so that a body without an end is read again by nobody: all of it is linear.
SEQUENCE = re.compile(
    r"""(?: \x1b\[ | \x9b ) [0-?]*+ [\x20-/]*+ [@-~]
    | (?: \x1b[\]PX^_] | [\x9d\x90\x98\x9e\x9f] ) [^\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f]*+ (?: \x07 | \x1b\\ | \x9c )
    | \x1b [\x20-/]*+ [0-~]""",
    re.VERBOSE,
)
_INTRODUCERS = frozenset("\x1b\x90\x98\x9b\x9d\x9e\x9f")

_ZWSP, _ZWNJ, _ZWJ, _VS15, _VS16 = "\u200b", "\u200c", "\u200d", "\ufe0e", "\ufe0f"
_BLANK_CELL, _BLACK_FLAG, _KEYCAP = "\u2800", "\U0001f3f4", "\u20e3"
_MONGOLIAN_ONLY = frozenset("\u180b\u180c\u180d\u180e\u180f")
_FLAG_TAGS = tuple(
    "".join(chr(0xE0000 + ord(letter)) for letter in region) + "\U000e007f" for region in ("gbeng", "gbsct", "gbwls")
)
_EMOJI = re.compile(
    "[\u00a9\u00ae\u203c\u2049\u2122\u2139\u2194-\u2199\u21a9\u21aa\u231a\u231b\u2328\u23cf\u23e9-\u23f3\u23f8-\u23fa"
    "\u24c2\u25aa\u25ab\u25b6\u25c0\u25fb-\u25fe\u2600-\u27bf\u2934\u2935\u2b05-\u2b07\u2b1b\u2b1c\u2b50\u2b55\u3030"
    "\u303d\u3297\u3299\U0001f000-\U0001f1e5\U0001f200-\U0001faff]"
)
_CELL = re.compile("[\u2801-\u28ff]")
_MONGOLIAN = re.compile("[\u1820-\u18aa]")
_NO_SPACES = tuple(
    map(re.compile, ("[\u0e01-\u0e5b]", "[\u0e81-\u0edf]", "[\u1000-\u109f]", "[\u1780-\u17b3\u17b6-\u17dd]"))
)
# One per script: a joiner has to stand inside a word, and a word is of one script.
_JOINING = tuple(
    map(
        re.compile,
        (
            "[\u0620-\u065f\u066e-\u06d3\u06d5-\u06dc\u06df-\u06ff\u0750-\u077f\u08a0-\u08e1\u08e3-\u08ff]",  # Arabic
            "[\u0710-\u074a\u0860-\u086a]",  # Syriac
            "[\u07ca-\u07f5]",  # NKo
            "[\u0900-\u0963\u0971-\u097f]",  # Devanagari
            *(f"[{chr(first)}-{chr(first + 0x63)}]" for first in range(0x0980, 0x0D00, 0x80)),  # Bengali to Kannada
            "[\u0d00-\u0d63\u0d7a-\u0d7f]",  # Malayalam
            "[\u0d81-\u0ddf]",  # Sinhala
            "[\u1000-\u109f]",  # Myanmar
            "[\u1780-\u17b3\u17b6-\u17d3]",  # Khmer
            "[\u1820-\u18aa]",  # Mongolian
            "[\u1b00-\u1b4b]",  # Balinese
            "[\ua980-\ua9c0]",  # Javanese
        ),
    )
)
_VIRAMA = re.compile(
    "[\u094d\u09cd\u0a4d\u0acd\u0b4d\u0bcd\u0c4d\u0ccd\u0d3b\u0d3c\u0d4d\u0dca\u1039\u103a\u17d2\u1b44\ua9c0]"
)

_C0 = (
    "NUL SOH STX ETX EOT ENQ ACK BEL BS TAB LF VT FF CR SO SI "
    "DLE DC1 DC2 DC3 DC4 NAK SYN ETB CAN EM SUB ESC FS GS RS US"
)
_C1 = (
    "PAD HOP BPH NBH IND NEL SSA ESA HTS HTJ VTS PLD PLU RI SS2 SS3 "
    "DCS PU1 PU2 STS CCH MW SPA EPA SOS SGC SCI CSI ST OSC PM APC"
)
_CONTROLS = dict(enumerate(_C0.split())) | {0x7F: "DEL"} | dict(enumerate(_C1.split(), start=0x80))


def find(text: str, limit: int | None = None) -> Sequence[Hidden]:
    """The hidden characters of a text, in order.

    Args:
        text: any text, with lone surrogates too.
        limit: how many findings at most; None for all, which are no more than the text has characters.
    """
    candidate = _IN_ASCII if text.isascii() else CANDIDATE
    found: list[Hidden] = []
    at = visible_since = 0
    while (match := candidate.search(text, at)) is not None:
        start = match.start()
        if kept := _kept(text, start, visible_since):
            at = start + kept
            continue
        sequence = SEQUENCE.match(text, start) if text[start] in _INTRODUCERS else None
        at = visible_since = start + 1 if sequence is None else sequence.end()
        kind = kind_of(text[start]) if sequence is None else Kind.ESCAPE_SEQUENCE
        if found and found[-1].end == start and found[-1].kind is kind and sequence is None:
            found[-1] = Hidden(found[-1].start, at, kind, found[-1].name)
        elif limit is not None and len(found) >= limit:
            break
        else:
            found.append(Hidden(start, at, kind, name_of(text[start])))
    return found


def strip(text: str) -> str:
    """The text without its hidden characters; the same object if it has none."""
    found = find(text)
    if not found:
        return text
    starts = [0, *(hidden.end for hidden in found)]
    ends = [*(hidden.start for hidden in found), len(text)]
    return "".join(text[start:end] for start, end in zip(starts, ends, strict=True))


def kind_of(character: str) -> Kind:
    """The kind of a character that `CANDIDATE` matches.

    Raises:
        ValueError: for any other.
    """
    code = ord(character)
    _, last, kind = _RANGES[bisect_right(_FIRSTS, code) - 1]
    if code > last:
        raise ValueError(f"U+{code:04X} is not hidden")
    return kind


def name_of(character: str) -> str:
    """A character's name in Unicode; a control's abbreviation; or what it is, for those that have no name."""
    code = ord(character)
    if code in _CONTROLS:
        return _CONTROLS[code]
    if name := unicodedata.name(character, ""):
        return name
    return kind_of(character).name.replace("_", " ") if CANDIDATE.match(character) else "UNASSIGNED"


def _kept(text: str, at: int, since: int) -> int:
    """How many characters from `at` on are kept for what they do to their visible neighbours; 0 if it is hidden.

    Args:
        since: where the visible text before `at` begins: what was found hidden there is no neighbour.
    """
    if at == since:
        return 0
    character, before = text[at], text[at - 1]
    after = text[at + 1 : at + 2]
    if character in (_VS15, _VS16):
        return int(_EMOJI.match(before) is not None or (after == _KEYCAP and before in "0123456789#*"))
    if character in (_ZWJ, _ZWNJ):
        if _VIRAMA.match(before) or _both(_JOINING, before, after):
            return 1
        if before == _VS16 and at - 2 >= since:
            before = text[at - 2]
        return int(character == _ZWJ and _both((_EMOJI,), before, after))
    if character == _ZWSP:
        return int(_both(_NO_SPACES, before, after))
    if character in _MONGOLIAN_ONLY:
        return int(_MONGOLIAN.match(before) is not None)
    if character == _BLANK_CELL:
        return int(_both((_CELL,), before, after))
    if before == _BLACK_FLAG:
        return next((len(tags) for tags in _FLAG_TAGS if text.startswith(tags, at)), 0)
    return 0


def _both(scripts: Sequence[re.Pattern[str]], before: str, after: str) -> bool:
    """Whether both characters are of one of the scripts."""
    return any(script.match(before) and script.match(after) for script in scripts)
