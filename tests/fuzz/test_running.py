"""fuzz/: a run ends in time, tells a broken law by its exit code, and keeps the input; with atheris and without."""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Sequence
from pathlib import Path
from random import Random
from typing import Any

import pytest

from tests.fuzz import __main__ as running
from tests.fuzz import repeat, unguided
from tests.fuzz.targets import TARGETS

PRINTS = "import sys; sys.stdout.write({!r}); sys.exit({})"


def breaks_on_quotes(data: bytes) -> None:
    assert data.count(b'"') < 2, "too many quotes"


def fuzzer_that(text: str, code: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Puts a process in the fuzzers' place that prints a text and ends with a code."""
    monkeypatch.setattr(running, "command_for", lambda *given: [sys.executable, "-c", PRINTS.format(text, code)])


def run(folder: Path, *more: str) -> int:
    return running.main(["--only", "wire", "--seconds", "1", "--findings", str(folder), *more])


def test_a_run_without_atheris_ends_and_says_so(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert run(tmp_path, "--unguided", "--seed", "1") == 0
    told = capfd.readouterr().out
    assert "seed 1, without atheris" in told
    assert "wire: " in told
    assert [path.name for path in tmp_path.iterdir()] == ["wire.log"]


def test_without_atheris_nothing_else_is_tried(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    corpora: list[str | None] = []

    def command_for(*given: Any) -> Sequence[str]:
        corpora.append(given[-1])
        return [sys.executable, "-c", ""]

    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    monkeypatch.setattr(running, "command_for", command_for)
    assert run(tmp_path) == 1
    assert corpora == [None]


def test_a_broken_law_is_exit_code_1_and_names_the_input(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    fuzzer_that("stat::number_of_executed_units: 9\nTest unit written to /x/wire-crash-1\n", 77, monkeypatch)
    assert run(tmp_path) == 1
    assert "wire: /x/wire-crash-1 breaks a law" in capfd.readouterr().err


@pytest.mark.parametrize(
    ("text", "code", "problem"),
    [
        ("ModuleNotFoundError", 1, "did not run"),
        ("", 0, "not even all seeds were tried"),
        ("stat::number_of_executed_units: 1\n", 0, "not even all seeds were tried"),
    ],
)
def test_a_target_that_did_not_run_is_a_failure(
    text: str,
    code: int,
    problem: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    fuzzer_that(text, code, monkeypatch)
    assert run(tmp_path) == 1
    assert problem in capfd.readouterr().err


def test_a_fuzzer_that_hangs_is_ended(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(running, "_GRACE", -running._LEAST)
    monkeypatch.setattr(running, "command_for", lambda *given: [sys.executable, "-c", "import time; time.sleep(600)"])
    assert run(tmp_path) == 1
    assert "wire: hangs" in capfd.readouterr().err


def test_the_whole_time_is_shared_by_the_targets(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    given: dict[str, int] = {}

    def fuzz(name: str, seconds: int, *more: Any, **others: Any) -> str:
        given[name] = seconds
        return ""

    monkeypatch.setattr(running, "fuzz", fuzz)
    assert running.main(["--findings", str(tmp_path), "--seconds", str(10 * len(TARGETS))]) == 0
    # Nothing took any time here, so that those that come later had more.
    assert list(given) == list(TARGETS)
    assert given["sse"] < 10
    assert given["wire"] < given["openai_exchange"] < given["events"] < 10 * len(TARGETS)


def test_chance_alone_finds_what_a_quote_more_breaks() -> None:
    tried, found = unguided.search(breaks_on_quotes, unguided.inputs([b'{"'], Random(1)), lambda: True)
    assert found is not None
    assert found.count(b'"') >= 2
    assert tried > 1


def test_chance_alone_ends_where_nothing_is_found() -> None:
    left = iter(range(50))
    goes_on = lambda: next(left, None) is not None  # noqa: E731
    assert unguided.search(lambda data: None, unguided.inputs([b"a"], Random(1)), goes_on) == (50, None)


def test_a_finding_is_kept_under_a_name_of_its_own(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    for data in (b"a", b"b", b"a"):
        unguided.keep(f"{tmp_path}/wire-", "crash", data)
    kept = sorted(tmp_path.iterdir())
    assert [path.read_bytes() for path in kept] in ([b"a", b"b"], [b"b", b"a"])
    assert all(path.name.startswith("wire-crash-") for path in kept)
    assert running._KEPT.search(capfd.readouterr().out)


def test_an_input_is_made_smaller_as_long_as_it_breaks_the_same_law() -> None:
    assert repeat.smaller(breaks_on_quotes, b'{"jsonrpc":"2.0"}') == b'""'


def test_a_finding_is_repeated_from_its_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(repeat, "TARGETS", {"quotes": breaks_on_quotes})
    file = tmp_path / "found"
    file.write_bytes(b'{"a":1}')
    assert repeat.main(["quotes", str(file), "--smaller"]) == 1
    assert (tmp_path / "found.smaller").read_bytes() == b'""'
    assert "too many quotes" in capfd.readouterr().err
    file.write_bytes(b"{}")
    assert repeat.main(["quotes", str(file)]) == 0
