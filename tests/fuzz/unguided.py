"""Fuzzes one target by chance alone, where atheris is not: `python -m tests.fuzz.unguided TARGET SECONDS SEED PREFIX`.

Rules:
- It says what libFuzzer says, in the same words, as far as __main__.py reads them, and keeps inputs as it does: in a
  file whose name is PREFIX, what is wrong with it, and its hash.
- An input that takes too long is a finding too. So is one that takes too much memory, on Linux.

Not here: guidance by coverage (one.py), without which far fewer inputs get into rare places.
"""

from __future__ import annotations

import hashlib
import os
import resource
import signal
import sys
import time
import traceback
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from random import Random
from types import FrameType

from tests.fuzz.mutations import mutations
from tests.fuzz.seeds import seeds
from tests.fuzz.targets import TARGETS, Target

EXIT_BROKEN = 77  # libFuzzer's own
EXIT_SLOW = 70
LONGEST_INPUT = 10  # seconds for one input; every reader is linear, so none needs one
_MEMORY = 4 << 30  # bytes of addresses, of which a process uses the fewest


def inputs(start: Sequence[bytes], chance: Random) -> Iterator[bytes]:
    """The seeds, then changed ones without end."""
    yield from start
    while True:
        yield from mutations(start, 1000, chance)


def search(target: Target, given: Iterator[bytes], goes_on: Callable[[], bool]) -> tuple[int, bytes | None]:
    """Tries inputs while `goes_on` says so; how many there were, and the one that broke a law, its trace printed."""
    tried = 0
    while goes_on():
        data = next(given)
        tried += 1
        try:
            target(data)
        except Exception:
            traceback.print_exc()
            return tried, data
    return tried, None


def keep(prefix: str, what: str, data: bytes) -> None:
    """Writes an input that breaks a law, and says where."""
    path = Path(f"{prefix}{what}-{hashlib.sha1(data, usedforsecurity=False).hexdigest()}")
    path.write_bytes(data)
    print(f"Test unit written to {path}", flush=True)


def main(arguments: Sequence[str]) -> int:
    """The exit code."""
    name, seconds, seed, prefix = arguments
    target, current = TARGETS[name], b""

    def too_slow(number: int, frame: FrameType | None) -> None:
        # Whatever runs now might catch an exception, and go on.
        traceback.print_stack(frame)
        keep(prefix, "timeout", current)
        os._exit(EXIT_SLOW)

    def timed(data: bytes) -> None:
        nonlocal current
        current = data
        signal.alarm(LONGEST_INPUT)
        target(data)
        signal.alarm(0)

    signal.signal(signal.SIGALRM, too_slow)
    if sys.platform == "linux":
        resource.setrlimit(resource.RLIMIT_AS, (_MEMORY, _MEMORY))
    ends = time.monotonic() + int(seconds)
    tried, broken = search(timed, inputs(seeds(name), Random(int(seed))), lambda: time.monotonic() < ends)
    print(f"stat::number_of_executed_units: {tried}", flush=True)
    if broken is None:
        return 0
    keep(prefix, "crash", broken)
    return EXIT_BROKEN


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
