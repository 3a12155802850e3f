"""About how many tokens a text is, by its kinds of characters: where exactness is not worth its price.

Rules:
- A weight for each kind of character, not one for all: by their length alone digits and base64 would be taken for a
  third of what they are, and a caller could have them at that price.
- A text of 1 MiB takes about a millisecond, whatever is in it.

The weights fit o200k_base on ordinary text with a mean error of 7.7 %; prose of short words is taken for a fifth less.

Not here: exact counts (counting.py).
"""

from __future__ import annotations

import string
from typing import Final

# A kind of character, by the bytes that begin one in UTF-8, and tokens for each.
_KINDS: Final = (
    (string.ascii_letters.encode(), 0.196),
    (string.digits.encode(), 1.187),
    (b" \t\n\r\x0b\x0c", 0.010),
    (bytes(range(0xC2, 0xE0)), 0.324),
    (bytes(range(0xE0, 0xF0)), 0.768),
    (bytes(range(0xF0, 0xF5)), 0.888),
)
_PUNCTUATION: Final = 0.773  # for every other character of ASCII
_ASCII: Final = bytes(range(0x80))


def estimate(text: str) -> int:
    """About how many tokens `text` is: at least 1 for a text that is not empty."""
    if not text:
        return 0
    data = text.encode("utf-8", "replace")
    ascii_characters = len(data) - len(data.translate(None, _ASCII))
    tokens = 0.0
    for beginnings, weight in _KINDS:
        count = len(data) - len(data.translate(None, beginnings))
        tokens += count * weight
        if beginnings[0] < 0x80:
            ascii_characters -= count
    return max(1, round(tokens + ascii_characters * _PUNCTUATION))
