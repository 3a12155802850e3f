"""Repeats a finding: `python -m tests.fuzz.repeat TARGET FILE [--smaller]`; exit code 1 if the input breaks a law.

Rules:
- It needs no atheris.
- Made smaller, an input breaks the same law: the same error, raised in the same line.

Not here: how findings are found (one.py, unguided.py).
"""

from __future__ import annotations

import argparse
import sys
import traceback
from collections.abc import Sequence
from pathlib import Path

from tests.fuzz.targets import TARGETS, Target

Fault = tuple[type[Exception], str, int | None]


def fault(target: Target, data: bytes) -> Fault | None:
    """What the input is found to break, by class, file and line; None if it breaks nothing."""
    try:
        target(data)
    except Exception as error:
        last = traceback.extract_tb(error.__traceback__)[-1]
        return type(error), last.filename, last.lineno
    return None


def smaller(target: Target, data: bytes) -> bytes:
    """The input without all spans that the fault does not need: halves first, single bytes last, until none is left."""
    wanted = fault(target, data)
    while True:
        before = data
        size = max(len(data) // 2, 1)
        while size:
            at = 0
            while at < len(data):
                without = data[:at] + data[at + size :]
                if fault(target, without) == wanted:
                    data = without
                else:
                    at += size
            size //= 2
        if data == before:
            return data


def main(arguments: Sequence[str] | None = None) -> int:
    """The exit code."""
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz.repeat", description="Repeats a finding.")
    parser.add_argument("target", choices=TARGETS)
    parser.add_argument("file", type=Path)
    parser.add_argument("--smaller", action="store_true", help="make it smaller, and write that beside it")
    asked = parser.parse_args(arguments)
    target, data = TARGETS[asked.target], asked.file.read_bytes()
    if fault(target, data) is None:
        print("it breaks no law")
        return 0
    if asked.smaller:
        data = smaller(target, data)
        path = asked.file.with_name(f"{asked.file.name}.smaller")
        path.write_bytes(data)
        print(f"{len(data)} bytes are left, in {path}:\n{data!r}")
    try:
        target(data)
    except Exception:
        traceback.print_exc()
    return 1


if __name__ == "__main__":
    sys.exit(main())
