"""Changed inputs from seeds, the same for the same seed of chance: what the fast test feeds, without libFuzzer.

Rules:
- Chance is a random.Random that the caller gives: a run can be repeated.
- No input is longer than twice the longest seed.
- Of an input of several parts (inputs.py) one is changed at a time, or the short ones would stay as they are.

Not here: guidance by coverage (atheris has it; `make fuzz`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from random import Random

from tests.fuzz.inputs import SEPARATOR

_TELLING = (
    b'"',
    b"\\",
    b"{",
    b"}",
    b"[",
    b"]",
    b",",
    b":",
    b"\r",
    b"\n",
    b"\n\n",
    b"\0",
    b"\xff",
    b"\xef\xbb\xbf",
    b"\\ud83d",
    SEPARATOR,
)


def mutations(seeds: Sequence[bytes], count: int, chance: Random) -> Iterator[bytes]:
    """`count` inputs, each a seed with one to four changes.

    Args:
        seeds: at least one.
    """
    longest = 2 * max(map(len, seeds))
    for _ in range(count):
        data = chance.choice(seeds)
        for _ in range(chance.randint(1, 4)):
            data = in_a_part(data, lambda part: _changed(part, seeds, chance), chance)[:longest]
        yield data


def in_a_part(data: bytes, change: Callable[[bytes], bytes], chance: Random) -> bytes:
    """The input with one of its parts changed, a short one as often as a long one."""
    parts = data.split(SEPARATOR)
    at = chance.randrange(len(parts))
    parts[at] = change(parts[at])
    return SEPARATOR.join(parts)


def _changed(data: bytes, seeds: Sequence[bytes], chance: Random) -> bytes:
    """One change: a bit, a byte, a cut, a span twice or not at all, something telling, or another seed's end."""
    at, to = sorted((chance.randint(0, len(data)), chance.randint(0, len(data))))
    match chance.choice(("flip", "change", "cut", "double", "remove", "insert", "splice")):
        case "flip":
            return data[:at] + bytes(byte ^ 1 << chance.randrange(8) for byte in data[at : at + 1]) + data[at + 1 :]
        case "change":
            return data[:at] + chance.randbytes(1) + data[at + 1 :]
        case "cut":
            return data[:to]
        case "double":
            return data[:to] + data[at:]
        case "remove":
            return data[:at] + data[to:]
        case "insert":
            return data[:at] + chance.choice(_TELLING) + data[at:]
    other = chance.choice(seeds)
    return data[:at] + other[chance.randint(0, len(other)) :]
