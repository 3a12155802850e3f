"""JSON, read strictly: what two readers could read in two ways is refused.

Rules:
- RFC 8259 and no more: UTF-8 without a byte order mark, no NaN, no lone surrogates, nothing after the value.
- A key twice in one object is refused at any depth: one reader takes the first, another the last.
- What can hold too many values is measured before it is decoded. Nesting is measured without recursion, and says why
  before anything else does; every step is linear in the input, whatever it holds.
- A key that came twice takes a member from the tree. So a tree that is written again as it came, but for blanks, has
  lost none; of any other document the strings are counted, in its tree and in its bytes.
- msgspec reads: it compares the keys that it remembers. orjson, which takes two keys of one hash for the same, only
  writes, which takes it little where strings are long.
- An error's text holds nothing of the payload.

Not here: what a document means; which keys a protocol knows (codecs/).
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from itertools import accumulate
from typing import Any

import msgspec
import orjson

from ext_proc.errors import GatehouseError
from ext_proc.limits import DEFAULTS

_BLANKS = b" \t\r\n"
_NOT_BRACKETS = bytes(set(range(256)) - set(b"[]{}"))
_AS_SQUARE = bytes.maketrans(b"{}", b"[]")
_STEPS = {ord("["): 1, ord("]"): -1}
_DECODE = msgspec.json.Decoder().decode
_SMALL = 4096  # bytes; in what is larger, counting strings takes less than leaving blanks out
_BEGINNING = 512  # bytes of it, which show most of what is written in another way than orjson writes:
_UNLIKE = (b'": ', b"\\u")
_BEFORE_VALUES = (b",", b":", b"[", b"{")
# Objects' keys of which none collides with these names.
_HARMLESS: dict[frozenset[str], set[tuple[str, ...]]] = {}
_MOST_KNOWN = 256  # objects, per set of names
_MOST_KEYS = 64  # of an object
_LONGEST_KEYS = 1024  # characters of all of them


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
    if len(raw) > max_values:  # else it has no room for more
        _measure(raw, max_depth, max_values)
    try:
        value = _DECODE(raw)
    except (RecursionError, msgspec.DecodeError, UnicodeDecodeError) as error:  # a ValidationError is a DecodeError
        _measure(raw, max_depth, max_values)
        raise _fault(raw, error) from None
    if type(value) is dict or type(value) is list:
        if _is_as_written(value, raw):
            # Those in strings too: there are at most so many.
            brackets = 2 * len(raw) - len(raw.replace(b"{", b"")) - len(raw.replace(b"[", b""))
            if brackets > max_depth:
                _check_depth(value, brackets, max_depth)
        elif (strings := _strings(value, max_depth)) and strings != _written_strings(raw):
            raise JsonError("json-duplicate-key", "an object in the JSON holds a key twice")
    return value


def colliding_key(mapping: Mapping[str, Any], names: frozenset[str]) -> str | None:
    """A key of `mapping` that is none of `names` but equals one of them if case is ignored; None if there is none.

    Go's encoding/json reads such a key as the name itself, by Unicode's folding (U+017F for "s", U+212A for "k"), where
    most other readers ignore it.
    """
    if names.issuperset(mapping):
        return None
    keys = tuple(mapping)
    if keys in _HARMLESS.get(names, ()):
        return None
    folded = _folded(names)
    for key in keys:
        if key not in names and key.casefold() in folded:
            return key
    _remember(names, keys)
    return None


def _remember(names: frozenset[str], keys: tuple[str, ...]) -> None:
    """Keeps keys that were looked at: all events of a stream have the same. Bounded, for they come over the network."""
    if len(keys) > _MOST_KEYS or sum(map(len, keys)) > _LONGEST_KEYS:
        return
    known = _HARMLESS.setdefault(names, set())
    if len(known) >= _MOST_KNOWN:
        known.clear()
    known.add(keys)


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


def _is_as_written(value: Any, raw: bytes) -> bool:
    """Whether the tree is written as it came, but for blanks: then no key came twice.

    Most clients and servers write as orjson does. Some put blanks between tokens: where all blanks are left out, those
    in strings too, the same strings begin and end in the same places.
    """
    is_small = len(raw) <= _SMALL
    if not is_small and any(map(raw[:_BEGINNING].__contains__, _UNLIKE)):
        return False
    try:
        written = orjson.dumps(value)
    except orjson.JSONEncodeError:  # it nests deeper than orjson writes, or holds an integer of more than 64 bits
        return False
    return written == raw or (is_small and written.translate(None, _BLANKS) == raw.translate(None, _BLANKS))


def _check_depth(value: Any, brackets: int, max_depth: int) -> None:
    """Goes down as far as is needed: below a level nothing nests deeper than there are brackets left.

    Args:
        brackets: how many open, at most.

    Raises:
        JsonError: it is too deep.
    """
    depth, level = 0, [value]
    while level:
        depth += 1
        if depth > max_depth:
            raise _too_deep(max_depth)
        brackets -= len(level)
        if depth + brackets <= max_depth:
            return
        level = [
            child
            for node in level
            for child in (node.values() if type(node) is dict else node)
            if type(child) is dict or type(child) is list
        ]


def _strings(value: Any, max_depth: int) -> int:
    """How many strings the decoded tree holds, keys included.

    Raises:
        JsonError: it is too deep.
    """
    found = depth = 0
    level = [value]
    while level:
        depth += 1
        if depth > max_depth:
            raise _too_deep(max_depth)
        below = []
        for node in level:
            if type(node) is dict:
                found += len(node)
                node = node.values()
            for child in node:
                kind = type(child)
                if kind is str:
                    found += 1
                elif kind is dict or kind is list:
                    below.append(child)
        level = below
    return found


def _written_strings(raw: bytes) -> int:
    """How many strings stand in valid JSON: more than are in its tree only where a key that came again took some."""
    if b"\\" not in raw:
        return (len(raw) - len(raw.replace(b'"', b""))) // 2  # bytes.count takes twice as long
    # Pairs first: what then stands before a quote escapes it.
    raw = raw.replace(b"\\\\", b"")
    return (raw.count(b'"') - raw.count(b'\\"')) // 2


def _measure(raw: bytes, max_depth: int, max_values: int) -> None:
    """Looks at depth and number of values without decoding.

    Raises:
        JsonError: there is too much of one.
    """
    structure = _outside_strings(raw)
    if _is_deeper(structure, max_depth):
        raise _too_deep(max_depth)
    if sum(map(structure.count, _BEFORE_VALUES)) > max_values:
        raise JsonError("json-too-many", f"the JSON has more than {max_values} values")


def _too_deep(max_depth: int) -> JsonError:
    return JsonError("json-too-deep", f"the JSON is nested deeper than {max_depth} levels")


def _fault(raw: bytes, error: Exception) -> JsonError:
    """What is wrong with bytes that the decoder refused."""
    if isinstance(error, RecursionError):
        return JsonError("json-too-deep", "the JSON is nested too deep")
    if isinstance(error, msgspec.ValidationError):
        return JsonError("json-number", "a number in the JSON is out of range")
    if not raw.strip(_BLANKS):
        return JsonError("json-empty", "there is no JSON")
    try:
        raw.decode("utf-8")
    except UnicodeDecodeError:
        return JsonError("json-not-utf8", "the JSON is not UTF-8")
    return JsonError("json-malformed", "this is not JSON")
