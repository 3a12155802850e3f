"""How a target reads its input: parts, choices, and ways to cut a part into chunks.

Rules:
- What a run is about besides bytes (limits, versions, policies, order) is the input's first part, one byte a choice. So
  a fuzzer can hold it while it changes the rest, and an input stays the same finding while it is made smaller.
- The same bytes give the same choices and the same chunks: a finding needs nothing but its input.

Not here: what must hold (*_laws.py).
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator, Sequence
from itertools import pairwise
from random import Random
from typing import TypeVar

T = TypeVar("T")

SEPARATOR = b"\n--\n"
_BYTEWISE = 512  # bytes: longer inputs are cut at a few places only, or a run would be all cutting


class Choices:
    """Choices from a part of an input: each takes a byte, and the first of its options where none is left."""

    def __init__(self, source: bytes) -> None:
        self._source = iter(source)
        self._left = len(source)

    def __bool__(self) -> bool:
        """Whether a byte is left."""
        return self._left > 0

    def of(self, options: Sequence[T]) -> T:
        """One of at most 256 options."""
        self._left -= 1
        return options[next(self._source, 0) % len(options)]


def parts(data: bytes, count: int) -> tuple[Choices, list[bytes]]:
    """The choices, and `count` parts behind them; b"" for those that are not there."""
    source, *found = data.split(SEPARATOR, count)
    return Choices(source), (found + [b""] * count)[:count]


def joined(choices: bytes, *others: bytes) -> bytes:
    """An input of these parts."""
    return SEPARATOR.join((choices.replace(b"\n", b"\0"), *others))


def chance_of(data: bytes) -> Random:
    """Chance that depends on the bytes alone."""
    return Random(zlib.crc32(data))


def cuttings(data: bytes) -> Iterator[list[bytes]]:
    """Ways to cut the bytes: whole first, then at a few places (empty chunks occur), then byte by byte if short."""
    yield [data]
    yield few_places(data)
    if len(data) <= _BYTEWISE:
        yield [data[at : at + 1] for at in range(len(data))] or [b""]


def few_places(data: bytes) -> list[bytes]:
    """The bytes cut at one to eight places."""
    chance = chance_of(data)
    inner = sorted(chance.randint(0, len(data)) for _ in range(chance.randint(1, 8)))
    return [data[start:end] for start, end in pairwise([0, *inner, len(data)])]
