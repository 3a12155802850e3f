"""JSON in which an escaped surrogate may stand alone, as a model's answer cut inside a character has it.

Rules:
- As strict as json_view.py but for this one thing: `"\\ud83d"` is read as the surrogate that it names.
- Strict first: only a document that escapes a surrogate is read a second time, and slower.
- What leaves for policies is text without surrogates: `Halves` joins a pair whose halves came in two pieces, and puts
  U+FFFD where a half has no other.

Not here: surrogates that are not escaped, which are not UTF-8.
"""

from __future__ import annotations

import json
import math
import re
from dataclasses import dataclass
from typing import Any, NoReturn

from ext_proc.framing.json_view import JsonError, parse
from ext_proc.limits import DEFAULTS

_ESCAPED = re.compile(rb"\\u[dD][89a-fA-F]")
_HIGH_FIRST, _HIGH_LAST = "\ud800", "\udbff"


def parse_tolerant(raw: bytes, max_depth: int, max_values: int = DEFAULTS.json_values) -> Any:
    """As `json_view.parse`, and lone surrogates in strings (and keys) are kept.

    Raises:
        JsonError: as there.
    """
    try:
        return parse(raw, max_depth, max_values)
    except JsonError as error:
        # Depth and number of values are refused before all else, so what is read again here is not too deep.
        if error.reason != "json-malformed" or not _ESCAPED.search(raw):
            raise
    try:
        return json.loads(raw.decode("utf-8"), object_pairs_hook=_object, parse_constant=_constant, parse_float=_number)
    except (ValueError, RecursionError):
        raise JsonError("json-malformed", "this is not JSON") from None


def encode_tolerant(value: Any) -> bytes:
    """A JSON value in compact UTF-8; a surrogate leaves as its escape (and all else that is not ASCII beside it)."""
    try:
        return json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode()
    except UnicodeEncodeError:
        return json.dumps(value, separators=(",", ":")).encode()


@dataclass(slots=True)  # made for every event: frozen ones take three times as long
class Joined:
    """A piece of text as policies see it; never changed.

    Attributes:
        text: without surrogates.
        begun: what stands here of the first character, whose high half stands at the end of the piece before: its low
            half, or "" where that one has no other half; None where no piece before has a part in it.
        held: the high half at the end, which belongs to the next piece's text; "" if there is none.
    """

    text: str
    begun: str | None = None
    held: str = ""

    def written(self, text: str) -> str:
        """What stands in the piece when its text becomes `text`: half a character stays where its other half is."""
        if self.begun is not None and text[:1] == self.text[:1]:
            text = self.begun + text[1:]
        return text + self.held


class Halves:
    """One channel's text over its pieces: the same whatever character it is cut in."""

    __slots__ = ("_held",)

    def __init__(self) -> None:
        self._held = ""

    def take(self, text: str) -> Joined:
        """The next piece."""
        if not self._held and (text.isascii() or _is_whole(text)):
            return Joined(text)
        if not text:
            return Joined("")
        before, held = self._held, text[-1] if _HIGH_FIRST <= text[-1] <= _HIGH_LAST else ""
        self._held = held
        own = text[: len(text) - len(held)]
        if not own and before:
            # A second high half: the first is alone for good.
            return Joined("\ufffd", begun="", held=held)
        whole = (before + own).encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")
        if not before:
            return Joined(whole, held=held)
        paired = "\udc00" <= own[0] <= "\udfff"
        return Joined(whole, begun=own[0] if paired else "", held=held)


def _is_whole(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise JsonError("json-duplicate-key", "an object in the JSON holds a key twice")
    return found


def _number(text: str) -> float:
    value = float(text)
    if math.isinf(value):
        raise JsonError("json-number", "a number in the JSON is out of range")
    return value


def _constant(name: str) -> NoReturn:
    raise ValueError(name)
