"""What scripts/preflight.py says about a machine, with injected facts."""

from __future__ import annotations

import pytest

from scripts.preflight import Facts, complaint, gather

LINUX = Facts(python=(3, 11), has_venv=True, broken_venv=False, system="Linux", machine="x86_64", glibc=(2, 31))
MACOS = LINUX._replace(system="Darwin", machine="arm64", glibc=None, macos=(15, 0))


@pytest.mark.parametrize(
    "facts",
    [LINUX, LINUX._replace(machine="aarch64", python=(3, 14), glibc=(2, 41)), MACOS, MACOS._replace(macos=None)],
)
def test_a_supported_machine_is_not_complained_about(facts: Facts) -> None:
    assert complaint(facts) is None


@pytest.mark.parametrize(
    ("facts", "what_is_wrong", "what_to_do"),
    [
        (LINUX._replace(python=(3, 10)), "3.10", "PYTHON="),
        (LINUX._replace(has_venv=False), "venv", "apt install python3-venv"),
        (LINUX._replace(broken_venv=True), "no pip", "rm -r .venv"),
        (LINUX._replace(machine="riscv64"), "riscv64", "x86-64 or arm64"),
        (LINUX._replace(glibc=None), "musl", "Debian"),
        (LINUX._replace(glibc=(2, 28)), "2.28", "newer Linux"),
        (MACOS._replace(machine="x86_64"), "x86_64", "Apple silicon"),
        (MACOS._replace(macos=(14, 6)), "14.6", "update macOS"),
        (LINUX._replace(system="Windows"), "Windows", "WSL 2"),
    ],
)
def test_each_lack_is_one_sentence_that_says_what_to_do(facts: Facts, what_is_wrong: str, what_to_do: str) -> None:
    sentence = complaint(facts)
    assert sentence is not None
    assert what_is_wrong in sentence
    assert what_to_do in sentence
    assert sentence.endswith(".")
    assert "\n" not in sentence


def test_an_old_python_is_named_before_anything_else() -> None:
    sentence = complaint(LINUX._replace(python=(3, 9), has_venv=False, system="Windows"))
    assert sentence is not None
    assert "Python 3.11" in sentence


def test_this_machine_runs_the_tests_so_it_passes() -> None:
    assert complaint(gather()) is None
