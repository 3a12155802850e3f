"""Ratios are taken within a round, and their median and spread over the rounds."""

from __future__ import annotations

import math

import pytest

from tests.bench.figures import Figures, Sample, Spread, percentile, spread


def _sample(variant: str, number: int, count: int, *, processor: float | None = None) -> Sample:
    cpu = {"envoy": 1.0} if processor is None else {"envoy": 1.0, "processor": processor}
    return Sample(variant, "case", number, 32, 2.0, count, tuple(range(1_000_000, 1_000_000 * (count + 1), 1_000_000)), cpu, 0.5)  # fmt: skip  # noqa: E501


def test_variants_are_compared_only_within_a_round() -> None:
    """A machine that was twice as fast in the second round changes nothing."""
    samples = [_sample("a", 0, 50), _sample("b", 0, 100), _sample("a", 1, 100), _sample("b", 1, 200)]
    assert Figures(samples).ratio("a", "b", "case", 32, lambda sample: sample.rate) == Spread(0.5, 0.5, 0.5)


def test_a_spread_is_the_lowest_and_the_highest_round() -> None:
    samples = [_sample("b", number, 100) for number in range(3)]
    samples += [_sample("a", number, count) for number, count in enumerate((40, 90, 50))]
    assert Figures(samples).ratio("a", "b", "case", 32, lambda sample: sample.rate) == Spread(0.5, 0.4, 0.9)


def test_a_round_without_its_neighbour_is_left_out() -> None:
    figures = Figures([_sample("a", 0, 50), _sample("a", 1, 10), _sample("b", 1, 100)])
    assert figures.ratio("a", "b", "case", 32, lambda sample: sample.rate) == Spread(0.1, 0.1, 0.1)
    assert figures.ratio("a", "absent", "case", 32, lambda sample: sample.rate) is None


def test_differences_are_taken_within_a_round_too() -> None:
    figures = Figures([_sample("a", 0, 60), _sample("b", 0, 20)])
    assert figures.difference("a", "b", "case", 32, lambda sample: sample.rate) == Spread(20.0, 20.0, 20.0)


def test_cpu_time_is_per_answer_and_absent_without_a_processor() -> None:
    assert _sample("a", 0, 100, processor=0.5).micros("processor") == pytest.approx(5000.0)
    assert _sample("a", 0, 100).micros("processor") is None
    assert _sample("a", 0, 0, processor=0.5).micros("processor") is None


def test_percentiles_are_values_that_were_measured() -> None:
    values = [1_000_000, 2_000_000, 3_000_000, 100_000_000]
    assert percentile(values, 0.5) == 2.0
    assert percentile(values, 0.99) == 100.0
    assert percentile(values, 0.0) == 1.0
    assert math.isnan(percentile([], 0.5))


def test_percentiles_of_a_run_are_of_all_rounds_together() -> None:
    figures = Figures([_sample("a", 0, 1), _sample("a", 1, 9)])
    assert figures.pooled("a", "case", 32, 0.5) == 4.0


def test_what_was_not_measured_is_no_figure() -> None:
    assert spread([None, math.nan]) is None
    assert spread([None, 2.0]) == Spread(2.0, 2.0, 2.0)


def test_a_sample_says_how_busy_the_rest_of_the_machine_was() -> None:
    assert Figures([_sample("a", 0, 1)]).foreign() == Spread(0.25, 0.25, 0.25)


def test_a_spread_is_written_with_three_digits() -> None:
    assert str(Spread(0.5, 0.456, 12.34)) == "0.50 (0.46 to 12.3)"
    assert str(Spread(12345.6, 1, 2)) == "12346 (1.00 to 2.00)"
