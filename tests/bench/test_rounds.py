"""Samples are taken again where something else disturbed them or they failed, a bounded number of times."""

from __future__ import annotations

from dataclasses import replace

import pytest

from tests.bench.cases import Case, cases
from tests.bench.figures import Sample
from tests.bench.load import LoadError
from tests.bench.rounds import QUICK, Rounds
from tests.bench.variants import VARIANTS, Running

_RUNNING = [Running(variant, 0, "", 0, None) for variant in VARIANTS[:2]]
_STREAM = [case for case in cases() if case.streams][:1]


def _say_nothing(_: str) -> None:
    """Nobody is told where the run stands."""


def _rounds(monkeypatch: pytest.MonkeyPatch, outcomes: list[float | LoadError], *, again: int = 9) -> Rounds:
    """Rounds whose measurements are `outcomes`: how busy the machine was, or a failure."""
    rounds = Rounds(_RUNNING, _STREAM, {}, 0, replace(QUICK, rounds=1, again=again), _say_nothing)

    async def measure(running: Running, case: Case, number: int, connections: int, seconds: float) -> Sample:
        outcome = outcomes.pop(0)
        if isinstance(outcome, LoadError):
            raise outcome
        return Sample(running.variant.name, case.name, number, connections, 1.0, 1, (1,), {}, outcome)

    monkeypatch.setattr(rounds, "_measure", measure)
    return rounds


async def test_a_quiet_sample_is_taken_once(monkeypatch: pytest.MonkeyPatch) -> None:
    rounds = _rounds(monkeypatch, [0.1, 0.2])
    assert [sample.foreign for sample in await rounds.run()] == [0.1, 0.2]
    assert rounds.again == 0


async def test_of_disturbed_samples_the_least_disturbed_is_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    rounds = _rounds(monkeypatch, [0.9, 0.5, 0.7, 0.4, 0.1])
    assert [sample.foreign for sample in await rounds.run()] == [0.5, 0.1]
    assert rounds.again == 3


async def test_samples_are_taken_again_no_more_often_than_the_round_allows(monkeypatch: pytest.MonkeyPatch) -> None:
    rounds = _rounds(monkeypatch, [0.9, 0.8, 0.7], again=1)
    assert [sample.foreign for sample in await rounds.run()] == [0.8, 0.7]


async def test_a_failed_sample_is_taken_again_and_named(monkeypatch: pytest.MonkeyPatch) -> None:
    rounds = _rounds(monkeypatch, [LoadError("504"), 0.1, 0.1])
    assert [sample.foreign for sample in await rounds.run()] == [0.1, 0.1]
    assert rounds.failures == [f"{VARIANTS[0].name}: 504"]


async def test_three_failures_in_a_row_end_the_run(monkeypatch: pytest.MonkeyPatch) -> None:
    rounds = _rounds(monkeypatch, [LoadError("504"), LoadError("504"), LoadError("504")])
    with pytest.raises(LoadError, match=f"{VARIANTS[0].name}: 504"):
        await rounds.run()
