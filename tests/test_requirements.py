"""The list of requirements, checked both ways."""

from __future__ import annotations

import ast
from pathlib import Path

from tests.requirements import REQUIREMENTS

ROOT = Path(__file__).resolve().parents[1]
# Every test in these proves a rule of the protocols.
PROVING = ("tests/exchange", "tests/envoy", "tests/conformance")
# Tests of the test equipment, and of what is no protocol: the demo's command line and README's text.
ELSEWHERE = {"tests/envoy/test_upstream.py", "tests/envoy/test_demo.py", "tests/envoy/test_readme.py"}


def names_in(path: str) -> set[str]:
    """The names of the test functions in a file."""
    tree = ast.parse((ROOT / path).read_text(encoding="utf-8"))
    functions = (node for node in tree.body if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef))
    return {function.name for function in functions if function.name.startswith("test_")}


def named() -> list[tuple[str, str]]:
    """What the requirements name: (path, test), with "" for a whole file."""
    entries = [entry for requirement in REQUIREMENTS.values() for entry in requirement.proved_by]
    return [(path, test) for path, _, test in (entry.partition("::") for entry in entries)]


def test_every_requirement_says_where_it_comes_from_and_is_proved_by_tests_that_exist() -> None:
    assert all(r.text and r.source and r.proved_by for r in REQUIREMENTS.values())
    missing = [
        f"{path}::{test}"
        for path, test in named()
        if not (ROOT / path).is_file() or not names_in(path) or (test and test not in names_in(path))
    ]
    assert missing == []


def test_every_test_that_proves_a_rule_of_the_protocols_is_named_by_one() -> None:
    files = [path.relative_to(ROOT).as_posix() for folder in PROVING for path in (ROOT / folder).glob("test_*.py")]
    whole = {path for path, test in named() if not test}
    single = set(named())
    unnamed = [
        f"{path}::{test}"
        for path in sorted(set(files) - ELSEWHERE - whole)
        for test in sorted(names_in(path))
        if (path, test) not in single
    ]
    assert unnamed == []
