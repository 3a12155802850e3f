"""Fuzzes one target, guided by coverage: `python -m tests.fuzz.one TARGET [libFuzzer's flags and folders]`.

Rules:
- What is measured is instrumented before it is imported, so nothing of ours is imported above.
- libFuzzer ends the process itself, with an exit code of its own if a law is broken; so each target has a process of
  its own.
- Of an input of several parts one is changed as often as the whole, or the short ones would stay as they are.

Not here: seeds, times and reports (__main__.py), fuzzing without atheris (unguided.py).
"""

from __future__ import annotations

import sys
from random import Random

import atheris


def main() -> None:
    """Never returns."""
    with atheris.instrument_imports(include=["ext_proc"]):
        from tests.fuzz.mutations import in_a_part
        from tests.fuzz.targets import TARGETS

    def mutated(data: bytes, most: int, seed: int) -> bytes:
        """libFuzzer's own change, to a part or to the whole."""
        chance = Random(seed)
        if chance.random() < 0.5:
            return bytes(atheris.Mutate(data, most))
        return in_a_part(data, lambda part: bytes(atheris.Mutate(part, most)), chance)[:most]

    name, *flags = sys.argv[1:]
    atheris.Setup([sys.argv[0], *flags], TARGETS[name], custom_mutator=mutated)
    atheris.Fuzz()


if __name__ == "__main__":
    main()
