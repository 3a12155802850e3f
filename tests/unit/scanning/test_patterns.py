"""The regular expressions of scanning/: none of them can go back over what it has read."""

from __future__ import annotations

import re
from collections.abc import Iterator
from types import ModuleType
from typing import Any

import pytest

from ext_proc.scanning import folding, hidden, instructions, names, phrases, visible

MODULES = [folding, hidden, instructions, names, phrases, visible]


def patterns(module: ModuleType) -> list[re.Pattern[str]]:
    """The module's own expressions; they are made once, when it is imported."""
    values = [item for value in vars(module).values() for item in (value if isinstance(value, tuple) else [value])]
    return [value for value in values if isinstance(value, re.Pattern)]


def repeats(parsed: Any) -> Iterator[tuple[str, int]]:
    """Each repetition in an expression as Python parses it: its kind, and how often it may repeat."""
    if isinstance(parsed, tuple) and parsed and str(parsed[0]).endswith("_REPEAT"):
        kind, (_, most, _) = parsed
        yield str(kind), most
    if isinstance(parsed, (list, tuple)) or hasattr(parsed, "data"):
        for part in getattr(parsed, "data", parsed):
            yield from repeats(part)


@pytest.mark.parametrize("module", MODULES, ids=lambda module: module.__name__)
def test_what_repeats_without_end_gives_nothing_back(module: ModuleType) -> None:
    parser = vars(re)["_parser"]
    found = patterns(module)
    assert found
    for pattern in found:
        for kind, most in repeats(parser.parse(pattern.pattern, pattern.flags & ~re.UNICODE)):
            assert kind == "POSSESSIVE_REPEAT" or most <= 128, pattern.pattern


def test_the_check_sees_what_it_is_for() -> None:
    parser = vars(re)["_parser"]
    assert [kind for kind, _ in repeats(parser.parse("(a+)*"))] == ["MAX_REPEAT", "MAX_REPEAT"]
    assert [kind for kind, _ in repeats(parser.parse("x|a*+"))] == ["POSSESSIVE_REPEAT"]
