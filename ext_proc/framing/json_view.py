"""JSON, read strictly: what two readers could read in two ways is refused.

Rules:
- RFC 8259 and no more: UTF-8 without a byte order mark, no NaN, no lone surrogates, nothing after the value.
- A key twice in one object is refused at any depth: one reader takes the first, another the last.
- Nesting is measured before decoding, without recursion; every step is linear in the input, whatever it holds.
- An error's text holds nothing of the payload.

Not here: what a document means; which keys a protocol knows (codecs/).
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from itertools import accumulate
from typing import Any

import msgspec

from ext_proc.errors import GatehouseError
from ext_proc.limits import DEFAULTS

_BLANKS = b" \t\r\n"
_NOT_BRACKETS = bytes(set(range(256)) - set(b"[]{}"))
_AS_SQUARE = bytes.maketrans(b"{}", b"[]")
_STEPS = {ord("["): 1, ord("]"): -1}
_DECODER = msgspec.json.Decoder()
_BEFORE_VALUES = (b",", b":", b"[", b"{")


class JsonError(GatehouseError):
    """Bytes that are no acceptable JSON.

    Attributes:
        reason: a slug: json-malformed, json-not-utf8, json-duplicate-key, json-too-deep,
            json-too-many, json-empty, json-number.
        detail: the same in words, without a byte of the payload.
    """

    def __init__(self, reason: str, detail: str) -> None:
        super().__init__(detail)
        self.reason = reason
        self.detail = detail


def parse(raw: bytes, max_depth: int, max_values: int = DEFAULTS.json_values) -> Any:
    """The value of a JSON document: dict, list, str, int, float, bool or None.

    Integers are exact whatever their size (up to 4300 digits, Python's own bound); other numbers are doubles.

    Args:
        max_depth: the deepest nesting of arrays and objects; 1 admits `[1]` and not `[[1]]`.
        max_values: the most values, keys included.

    Raises:
        JsonError: see its `reason`.
    """
    structure = _outside_strings(raw)
    if _is_deeper(structure, max_depth):
        raise JsonError("json-too-deep", f"the JSON is nested deeper than {max_depth} levels")
    if sum(map(structure.count, _BEFORE_VALUES)) > max_values:
        raise JsonError("json-too-many", f"the JSON has more than {max_values} values")
    try:
        value = _DECODER.decode(raw)
    except RecursionError:
        raise JsonError("json-too-deep", "the JSON is nested too deep") from None
    except msgspec.ValidationError:
        raise JsonError("json-number", "a number in the JSON is out of range") from None
    except (msgspec.DecodeError, UnicodeDecodeError):
        raise _fault(raw) from None
    keys = structure.count(b":")
    if keys and not _has_keys(value, keys):
        raise JsonError("json-duplicate-key", "an object in the JSON holds a key twice")
    return value


def colliding_key(mapping: Mapping[str, Any], names: frozenset[str]) -> str | None:
    """A key of `mapping` that is none of `names` but equals one of them if case is ignored; None if there is none.

    Go's encoding/json reads such a key as the name itself, by Unicode's folding (U+017F for "s", U+212A for "k"), where
    most other readers ignore it.
    """
    folded = _folded(names)
    for key in mapping:
        if key not in names and key.casefold() in folded:
            return key
    return None


@cache
def _folded(names: frozenset[str]) -> frozenset[str]:
    return frozenset(name.casefold() for name in names)


def _outside_strings(raw: bytes) -> bytes:
    """The bytes outside of strings: exact for valid JSON, and for the valid beginning of anything else.

    That is enough: a decoder stops at the first byte that is not valid, so it cannot nest deeper than that beginning.
    """
    if b"\\" in raw:
        # Pairs first: what then stands before a quote escapes it.
        raw = raw.replace(b"\\\\", b"").replace(b'\\"', b"")
    return b"".join(raw.split(b'"')[::2])


def _is_deeper(structure: bytes, max_depth: int) -> bool:
    brackets = structure.translate(_AS_SQUARE, _NOT_BRACKETS)
    rest = brackets
    for _ in range(max_depth):
        inner = rest.replace(b"[]", b"")  # takes the innermost level away
        if not inner:
            return False
        if len(inner) == len(rest):
            break
        rest = inner
    # What is left is too deep or unbalanced; only then is each bracket looked at.
    return max(accumulate(map(_STEPS.__getitem__, brackets)), default=0) > max_depth


def _has_keys(value: Any, keys: int) -> bool:
    """Whether the decoded tree holds `keys` keys: each colon outside of strings was one; fewer: a repetition."""
    level = [value]
    while level:
        keys -= sum([len(node) for node in level if type(node) is dict])
        if not keys:
            return True  # it can hold no more than were written
        level = [
            child
            for node in level
            for child in (node.values() if type(node) is dict else node)
            if type(child) is dict or type(child) is list
        ]
    return False


def _fault(raw: bytes) -> JsonError:
    """What is wrong with bytes that the decoder refused."""
    if not raw.strip(_BLANKS):
        return JsonError("json-empty", "there is no JSON")
    try:
        raw.decode("utf-8")
    except UnicodeDecodeError:
        return JsonError("json-not-utf8", "the JSON is not UTF-8")
    return JsonError("json-malformed", "this is not JSON")
