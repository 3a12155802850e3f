"""JSON source that comes in pieces: the strings in it, decoded, with the way back from each character to its source.

Rules:
- Any cutting into pieces gives the same strings with the same map.
- An escape is one character, and so is a pair of escaped surrogates; one without its other half is U+FFFD. A backslash
  before what is no escape stands for nothing.
- Outside of strings nothing is text but punctuation, numbers, true, false and null. Where anything else stands, or the
  source does not begin as an object, an array or a string, it is no JSON, and the rest is one plain text, in which
  escapes are decoded all the same. So is what goes past the bounds of depth and of values.
- Grammar is not checked any further: what passes for it are tokens that say nothing.
- Time is linear in the source; no more of it is kept than the beginning of an escape or a literal.

Not here: who sees a string and what becomes of it (engine/track.py).
"""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Iterator
from typing import NamedTuple

from ext_proc.limits import DEFAULTS

MAX_KEY = 256  # characters of a key in a path

_IN_STRING = re.compile(r'[^"\\]++')
_IN_PLAIN = re.compile(r"[^\\]++")
# What stands between strings and brackets: outside of all values, within one, and where it is known to be JSON.
_BETWEEN = re.compile(r"[ \t\r\n,:]++")
_NUMBERS = re.compile(r"(?:[ \t\r\n,:]++|[-0-9][-+.0-9eE]*+)++")
_REST_OF_NUMBER = re.compile(r"[-+.0-9eE]++")
_SILENT = re.compile(r'[^"{}\[\]]++')
_ESCAPE = re.compile(r"\\(?:u([0-9a-fA-F]{4})|(.))", re.DOTALL)
_CUT_ESCAPE = re.compile(r"\\(?:u[0-9a-fA-F]{0,3})?\Z")
_LOW = re.compile(r"\\u([dD][c-fC-F][0-9a-fA-F]{2})")
_CUT_LOW = re.compile(r"(?:\\(?:u(?:[dD](?:[c-fC-F][0-9a-fA-F]?)?)?)?)?\Z")
_CHARACTERS = {"b": "\b", "f": "\f", "n": "\n", "r": "\r", "t": "\t"}
_LITERALS = {"t": "true", "f": "false", "n": "null"}


class JsonString:
    """One string of the source, or the plain text that follows where it is no JSON.

    Attributes:
        number: counted from 0, names included.
        path: where it stands, as a JSON Pointer (RFC 6901); of a name, where its object does.
        is_name: whether it is a key.
    """

    __slots__ = ("_behind", "_length", "_shifts", "_start", "is_name", "number", "path")

    def __init__(self, number: int, path: str, start: int, *, is_name: bool) -> None:
        self.number = number
        self.path = path
        self.is_name = is_name
        self._start = start
        self._length = 0
        # Of each character that is written as an escape: the offset behind it, and how much longer all is up to there.
        self._behind: list[int] = []
        self._shifts: list[int] = []

    def source_offset(self, offset: int) -> int:
        """Where the source of the character at `offset` begins; at the end, where the next one's would."""
        found = bisect_right(self._behind, offset)
        return self._start + offset + (self._shifts[found - 1] if found else 0)

    def forget(self, before: int) -> None:
        """Drops the map of the characters before an offset that is asked for no more."""
        found = bisect_right(self._behind, before)
        if found > 1:
            del self._behind[: found - 1]
            del self._shifts[: found - 1]

    def grow(self, characters: int) -> None:
        """Takes characters that stand for themselves."""
        self._length += characters

    def escape(self, width: int) -> None:
        """Takes a character that is written with `width` characters."""
        self._length += 1
        self._behind.append(self._length)
        self._shifts.append((self._shifts[-1] if self._shifts else 0) + width - 1)


class Stretch(NamedTuple):
    """What a piece of the source brought of one string.

    Attributes:
        ended: nothing more of this string will follow.
    """

    string: JsonString
    text: str
    ended: bool


class JsonSource:
    """Reads JSON source.

    Args:
        valid: whether a strict reader accepted it: then it is never plain text, and no bound holds.
        max_depth, max_values: of objects and arrays in each other; of strings, objects and arrays in all.

    Attributes:
        frontier: up to where the source is understood; what follows waits for the next piece.
    """

    def __init__(
        self, *, valid: bool = False, max_depth: int = DEFAULTS.json_depth, max_values: int = DEFAULTS.json_values
    ) -> None:
        self.frontier = 0
        self._valid = valid
        self._max_depth = max_depth
        self._max_values = max_values
        self._values = 0
        self._strings = 0
        self._pending = ""
        self._nesting: list[str | int] = []  # of each open object its last key, of each open array the position
        self._expects_name = False
        self._in_number = False
        self._string: JsonString | None = None
        self._key = ""
        self._plain = False

    def feed(self, piece: str) -> Iterator[Stretch]:
        """Takes a piece; what it brought, at most one stretch of each string. To be exhausted before the next call."""
        return self._read(self._pending + piece, final=False)

    def close(self) -> Iterator[Stretch]:
        """The end of the source: a string that has no end ends here, and half an escape stands for what it can."""
        yield from self._read(self._pending, final=True)
        if self._string is not None:
            string, self._string = self._string, None
            yield Stretch(string, "", True)

    def _read(self, text: str, *, final: bool) -> Iterator[Stretch]:
        start, at = self.frontier, 0
        while at < len(text):
            if self._string is None:
                at = self._outside(text, at, start)
                self.frontier = start + at
                if self._string is None and at < len(text) and not final:
                    break  # the beginning of a literal
                if self._string is None:
                    at = len(text)
                continue
            string = self._string
            added, at, ended = self._inside(string, text, at, final=final)
            ended = ended or final
            if string.is_name:
                self._key = (self._key + added)[:MAX_KEY]
            if ended:
                self._leave(string)
            self.frontier = start + at
            if added or ended:
                yield Stretch(string, added, ended)
            if not ended and at < len(text):
                break  # the beginning of an escape
        self.frontier = start + at
        self._pending = text[at:]

    def _outside(self, text: str, at: int, start: int) -> int:
        """Passes over what says nothing, up to the text of a string or the cut beginning of a literal; the offset."""
        between = _SILENT if self._valid else _NUMBERS
        while at < len(text):
            first = text[at]
            if first == '"':
                if self._is_full():
                    return self._go_plain(start, at)
                self._enter(start + at + 1)
                return at + 1
            elif first in "{[":
                if self._is_full() or (len(self._nesting) >= self._max_depth and not self._valid):
                    return self._go_plain(start, at)
                self._nesting.append("" if first == "{" else 0)
                self._expects_name, self._in_number = first == "{", False
                at += 1
            elif first in "}]":
                if not self._nesting or isinstance(self._nesting[-1], str) is not (first == "}"):
                    return self._go_plain(start, at)
                self._nesting.pop()
                self._expects_name = self._in_number = False
                at += 1
            elif run := (between if self._nesting else _BETWEEN).match(text, at):
                at = self._separate(text, at, run.end())
            elif self._in_number and (run := _REST_OF_NUMBER.match(text, at)):
                at = run.end()
            else:
                literal = _LITERALS.get(first, "") if self._nesting else ""
                if literal and text.startswith(literal, at):
                    at += len(literal)
                elif literal and literal.startswith(text[at:]):
                    return at
                else:
                    return self._go_plain(start, at)
        return at

    def _separate(self, text: str, at: int, end: int) -> int:
        """Passes over what stands between strings and brackets; the offset behind it."""
        commas, colon = text.count(",", at, end), text.rfind(":", at, end)
        self._in_number = text[end - 1] not in " \t\r\n,:"
        if self._nesting and (commas or colon >= 0):
            inside = self._nesting[-1]
            if isinstance(inside, int):
                self._nesting[-1] = inside + commas
            else:
                self._expects_name = text.rfind(",", at, end) > colon
        return end

    def _is_full(self) -> bool:
        """Whether there are too many values to take one more."""
        self._values += 1
        return self._values > self._max_values and not self._valid

    def _enter(self, start: int) -> None:
        is_name = self._expects_name and bool(self._nesting) and isinstance(self._nesting[-1], str)
        steps = self._nesting[:-1] if is_name else self._nesting
        path = "".join(f"/{step}" for step in steps)
        self._string = JsonString(self._strings, path, start, is_name=is_name)
        self._strings += 1
        self._expects_name = self._in_number = False
        self._key = ""

    def _leave(self, string: JsonString) -> None:
        self._string = None
        if string.is_name:
            self._nesting[-1] = self._key.replace("~", "~0").replace("/", "~1")

    def _go_plain(self, start: int, at: int) -> int:
        """What follows is one plain text."""
        self._plain = True
        self._string = JsonString(self._strings, "", start + at, is_name=False)
        return at

    def _inside(self, string: JsonString, text: str, at: int, *, final: bool) -> tuple[str, int, bool]:
        """What is decoded of a string, the offset behind it, and whether the string ended."""
        pattern = _IN_PLAIN if self._plain else _IN_STRING
        parts: list[str] = []
        while at < len(text):
            run = pattern.match(text, at)
            if run is not None:
                parts.append(run.group())
                string.grow(run.end() - at)
                at = run.end()
            elif text[at] == '"':
                return "".join(parts), at + 1, True
            else:
                character, width = _escaped(text, at, final=final)
                if not width:
                    break
                parts.append(character)
                string.escape(width)
                at += width
        return "".join(parts), at, False


def _escaped(text: str, at: int, *, final: bool) -> tuple[str, int]:
    """The character that an escape stands for, and the escape's length: 0 where it is cut off and may go on."""
    if not final and _CUT_ESCAPE.match(text, at):
        return "", 0
    found = _ESCAPE.match(text, at)
    if found is None:
        return "\\", 1  # the last character of all
    if found[1] is None:
        return _CHARACTERS.get(found[2], found[2]), 2
    code = int(found[1], 16)
    if not 0xD800 <= code <= 0xDFFF:
        return chr(code), 6
    if code <= 0xDBFF:
        low = _LOW.match(text, found.end())
        if low is not None:
            return chr(0x10000 + ((code - 0xD800) << 10) + int(low[1], 16) - 0xDC00), 12
        if not final and _CUT_LOW.match(text, found.end()):
            return "", 0
    return "\ufffd", 6
