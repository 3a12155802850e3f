"""JSON as a model may write it: values with keys that occur once, in any spelling; and what strings they hold."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from hypothesis import strategies as st

_SHORT = {'"': '\\"', "\\": "\\\\", "/": "\\/", "\n": "\\n", "\t": "\\t", "\b": "\\b", "\f": "\\f", "\r": "\\r"}
_HAS_TO_BE = frozenset(map(chr, range(32))) | {'"', "\\"}


def values(strings: st.SearchStrategy[str], names: st.SearchStrategy[str]) -> st.SearchStrategy[Any]:
    """Objects, as arguments are."""
    scalars = strings | st.sampled_from([0, -1, 1.5, 10**30, 1e-7, True, False, None])
    inner = st.recursive(
        scalars,
        lambda below: st.lists(below, max_size=3) | st.dictionaries(names, below, max_size=3),
        max_leaves=8,
    )
    return st.dictionaries(names, inner, max_size=4)


@st.composite
def written(draw: st.DrawFn, value: Any) -> str:
    """A spelling of `value`: blanks anywhere, characters as they are or as escapes."""
    blanks = st.sampled_from(["", "", " ", "\n  "])
    spellings = draw(st.lists(st.sampled_from(["as it is", "short", "escaped"]), min_size=1, max_size=12))
    counted = iter(range(10_000))

    def text(string: str) -> str:
        parts = []
        for character in string:
            spelling = spellings[next(counted) % len(spellings)]
            if spelling == "escaped" or (character in _HAS_TO_BE and character not in _SHORT):
                parts.append(json.dumps(character)[1:-1] if ord(character) > 127 else f"\\u{ord(character):04X}")
            elif spelling == "short" or character in _HAS_TO_BE:
                parts.append(_SHORT.get(character, character))
            else:
                parts.append(character)
        return '"' + "".join(parts) + '"'

    def write(node: Any) -> str:
        gap = draw(blanks)
        if isinstance(node, str):
            return gap + text(node) + draw(blanks)
        if isinstance(node, dict):
            members = [draw(blanks) + text(key) + draw(blanks) + ":" + write(item) for key, item in node.items()]
            return gap + "{" + ",".join(members) + draw(blanks) + "}"
        if isinstance(node, list):
            return gap + "[" + ",".join(map(write, node)) + draw(blanks) + "]"
        return gap + json.dumps(node) + draw(blanks)

    return write(value)


def strings_in(value: Any, path: str = "") -> Iterator[tuple[str, bool, str]]:
    """Every string of a value in the order in which it is written: its path, whether it is a name, and itself."""
    if isinstance(value, str):
        yield path, False, value
    elif isinstance(value, dict):
        for key, item in value.items():
            yield path, True, key
            yield from strings_in(item, f"{path}/{key.replace('~', '~0').replace('/', '~1')}")
    elif isinstance(value, list):
        for index, item in enumerate(value):
            yield from strings_in(item, f"{path}/{index}")
