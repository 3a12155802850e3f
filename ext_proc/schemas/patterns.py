"""Regular expressions of schemas (ECMA-262), matched in linear time whatever they are.

Rules:
- The engine is Rust's, which never backtracks; jsonschema-rs brings it, with a translation from ECMA-262's dialect.
- What it cannot do is refused, but for one form that is common and linear: conditions at the start, as in
  `^(?=.*[0-9])(?!admin).+$`, are matched one by one.
- A compiled expression has a size, and a match costs by it: the worst that an expression can do to a text grows with
  both.

Not here: who pays (run.py), which schemas have how many (compiler.py).
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import NamedTuple

import jsonschema_rs

from ext_proc.schemas.faults import SchemaError

# Bytes that a compiled expression may take, from one for `^/srv/` to one for `^[^/]{1,255}$` and beyond.
_SIZES = (1024, 8 * 1024, 64 * 1024, 512 * 1024, 4 * 1024 * 1024)
_CACHE = 64 * 1024  # bytes of an expression's cache while it matches
_STEP = 64 * 1024  # bytes times characters: one step
_MAX_LENGTH = 8 * 1024  # characters of an expression; the length alone costs before any size is known

_CONDITION = re.compile(r"\(\?([=!])")


class Pattern:
    """A compiled regular expression.

    Args:
        source: in ECMA-262's dialect, with the flag `u`.

    Attributes:
        size: bytes, as far as they are bounded.

    Raises:
        SchemaError: it is no such expression, too large, or needs backtracking.
    """

    __slots__ = ("_parts", "size", "source")

    def __init__(self, source: str) -> None:
        if len(source) > _MAX_LENGTH:
            raise SchemaError(f"expected a regular expression of at most {_MAX_LENGTH} characters")
        self.source = source
        self.size = 0
        self._parts: list[tuple[jsonschema_rs.Draft202012Validator, bool]] = []
        for part in _parts(source):
            engine, size = _compiled(part.source)
            self._parts.append((engine, part.wanted))
            self.size += size

    def cost(self, text: str) -> int:
        """The steps that a match of `text` takes at worst."""
        return 1 + self.size * len(text) // _STEP

    def matches(self, text: str) -> bool:
        """Whether it matches anywhere in `text`."""
        return all(engine.is_valid(text) is wanted for engine, wanted in self._parts)


class _Part(NamedTuple):
    """An expression without conditions at its start, and whether it must match or must not."""

    source: str
    wanted: bool


def _compiled(source: str) -> tuple[jsonschema_rs.Draft202012Validator, int]:
    for size in _SIZES:
        options = jsonschema_rs.RegexOptions(size_limit=size, dfa_size_limit=_CACHE)
        try:
            return jsonschema_rs.Draft202012Validator({"pattern": source}, pattern_options=options), size
        except jsonschema_rs.ValidationError:
            continue
    raise SchemaError("expected a regular expression without look-around and back-references, and not too large")


def _parts(source: str) -> Iterator[_Part]:
    """The expression as several that must or must not match, one for each condition at its start."""
    # Escaped needlessly, they are themselves to ECMA-262 and the edges of words to Rust.
    tokens = [token[1:] if token in ("\\<", "\\>") else token for token in _tokens(source)]
    start = 1
    while tokens[:1] == ["^"] and start < len(tokens) and (found := _CONDITION.fullmatch(tokens[start])):
        end = _closing(tokens, start)
        rest = tokens[end + 1 :]
        # Of several alternatives only the first has the condition, and a repeated one need not hold.
        if end < 0 or "|" in _outermost(rest) or rest[:1] in (["*"], ["+"], ["?"], ["{"]):
            break
        yield _Part("^(?:" + "".join(tokens[start + 1 : end]) + ")", found[1] == "=")
        start = end + 1
    yield _Part("".join(tokens if start == 1 else ["^", *tokens[start:]]), True)


def _tokens(source: str) -> Iterator[str]:
    """The expression in pieces: an escape, a class, the opening of a group, or one character."""
    at = 0
    while at < len(source):
        end = at + 1
        if source[at] == "\\":
            end = at + 2
        elif source[at] == "[":
            end = _class_end(source, at)
        elif source.startswith(("(?=", "(?!", "(?:"), at):
            end = at + 3
        yield source[at:end]
        at = end


def _class_end(source: str, start: int) -> int:
    at = start + 1
    while at < len(source) and source[at] != "]":
        at += 2 if source[at] == "\\" else 1
    return at + 1


def _closing(tokens: list[str], start: int) -> int:
    """Where the group that opens at `start` is closed; -1 where it is not."""
    depth = 0
    for position in range(start, len(tokens)):
        depth += tokens[position].startswith("(") - (tokens[position] == ")")
        if depth == 0:
            return position
    return -1


def _outermost(tokens: list[str]) -> list[str]:
    """The tokens outside of groups."""
    depth, found = 0, []
    for token in tokens:
        depth += token.startswith("(") - (token == ")")
        if depth == 0:
            found.append(token)
    return found
