"""How many tokens a text is, whole or as it comes.

Rules:
- A text is counted in blocks, which bound time and memory. A block ends where the encodings' own rules end a piece:
  before a blank that follows something else. There the sum of blocks is the count of the whole.
- Where a text has no such place within a block (CJK, base64), it is cut anyway, at a character: a block of BLOCK
  characters then counts up to about 0.1 % more.
- So no expression of an encoding meets more than a block: a million blanks in a row make tiktoken panic.
- Lone surrogates count as the replacement character does, and what looks like a special token as the text that it is.

Not here: which encoding (encodings.py), estimates (estimating.py).
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

import tiktoken

from ext_proc.tokens.estimating import estimate

BLOCK: Final = 4096  # characters


def count(text: str, encoding: tiktoken.Encoding) -> int:
    """The tokens of a whole text. Never raises for what the text is."""
    return sum(_count_block(block, encoding) for block in _blocks(text))


class Counter:
    """Counts a text that comes in pieces: it adds up to `count` of the whole, however it is cut.

    What waits to be counted is shorter than two blocks.
    """

    __slots__ = ("_counted", "_encoding", "_length", "_waiting")

    def __init__(self, encoding: tiktoken.Encoding) -> None:
        self._encoding = encoding
        self._waiting: list[str] = []
        self._length = 0
        self._counted = 0

    def feed(self, text: str) -> None:
        """More of the text."""
        self._waiting.append(text)
        self._length += len(text)
        if self._length > BLOCK:
            self._count_whole_blocks()

    @property
    def total(self) -> int:
        """The tokens so far: what came, counted as if it were over."""
        return self._counted + count("".join(self._waiting), self._encoding)

    def _count_whole_blocks(self) -> None:
        waiting = "".join(self._waiting)
        start = 0
        while len(waiting) - start > BLOCK:
            end = _end_of_block(waiting, start)
            self._counted += _count_block(waiting[start:end], self._encoding)
            start = end
        self._waiting = [waiting[start:]]
        self._length = len(waiting) - start


def _blocks(text: str) -> Iterator[str]:
    start = 0
    while len(text) - start > BLOCK:
        end = _end_of_block(text, start)
        yield text[start:end]
        start = end
    if start < len(text):
        yield text[start:]


def _end_of_block(text: str, start: int) -> int:
    """Where the block that begins at `start` ends; it depends on nothing past that block.

    By the patterns of both encodings no piece of letters, digits or signs goes on over a blank.
    """
    end = start + BLOCK
    place = text.rfind(" ", start + 1, end)
    while place > start and text[place - 1].isspace():
        place = text.rfind(" ", start + 1, place)
    return place if place > start else end


def _count_block(block: str, encoding: tiktoken.Encoding) -> int:
    try:
        return len(encoding.encode_ordinary(block))
    except (KeyboardInterrupt, SystemExit):
        raise
    except BaseException:  # a panic of tiktoken's is no Exception; a text must not end an exchange
        return estimate(block)
