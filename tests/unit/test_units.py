"""Sizes and durations as an operator writes them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ext_proc.units import (
    MAX_DURATION,
    MAX_PERIOD,
    MAX_SIZE,
    format_duration,
    format_size,
    parse_duration,
    parse_period,
    parse_size,
)


@pytest.mark.parametrize(
    ("written", "size"), [("1B", 1), ("7", 7), (4096, 4096), ("64KiB", 65536), ("32MiB", 33554432), ("1GiB", 1 << 30)]
)
def test_a_size_is_bytes_or_has_a_binary_unit(written: object, size: int) -> None:
    assert parse_size(written) == size


@pytest.mark.parametrize(
    "written", ["32MB", "1.5MiB", "MiB", "", "-1", " 1", "1 KiB", "1kib", 1.0, True, None, [], "\u0661KiB", "1\n"]
)
def test_what_is_no_size_is_refused_with_an_example(written: object) -> None:
    with pytest.raises(ValueError, match="expected a size such as 64KiB or 32MiB"):
        parse_size(written)


@pytest.mark.parametrize("written", [0, "0KiB", -1, "2GiB", MAX_SIZE + 1, "999999999999GiB"])
def test_a_size_out_of_bounds_is_refused(written: object) -> None:
    with pytest.raises(ValueError, match="expected a size from 1 byte to 1GiB"):
        parse_size(written)


@given(st.integers(min_value=1, max_value=MAX_SIZE))
def test_a_size_reads_back_as_it_was_written(size: int) -> None:
    assert parse_size(format_size(size)) == size


@pytest.mark.parametrize(
    ("written", "seconds"),
    [("150ms", 0.15), ("2s", 2.0), ("1.5s", 1.5), ("5m", 300.0), ("1h", 3600.0), ("0.5ms", 0.0005)],
)
def test_a_duration_has_its_unit(written: str, seconds: float) -> None:
    assert parse_duration(written) == pytest.approx(seconds)


@pytest.mark.parametrize("written", [150, 0.5, "150", "150 ms", "2sec", "-1s", "", None, True, "1m30s", "1s\n"])
def test_a_duration_without_a_unit_is_refused_with_examples(written: object) -> None:
    with pytest.raises(ValueError, match="expected a duration with its unit, such as 150ms, 2s or 5m"):
        parse_duration(written)


@pytest.mark.parametrize("written", ["0s", "0.0ms", "2h", "61m", "1d"])
def test_a_duration_out_of_bounds_is_refused(written: str) -> None:
    with pytest.raises(ValueError, match="expected a duration above 0 and up to 1h"):
        parse_duration(written)


@given(st.integers(min_value=1, max_value=int(MAX_DURATION * 1000)))
def test_a_duration_reads_back_as_it_was_written(milliseconds: int) -> None:
    assert parse_duration(format_duration(milliseconds / 1000)) == pytest.approx(milliseconds / 1000)


@pytest.mark.parametrize(("written", "seconds"), [("10m", 600.0), ("24h", 86400.0), ("30d", 2592000.0), ("1s", 1.0)])
def test_a_period_may_be_days(written: str, seconds: float) -> None:
    assert parse_period(written) == seconds


@pytest.mark.parametrize("written", ["0d", "367d", "9999h"])
def test_a_period_out_of_bounds_is_refused(written: str) -> None:
    with pytest.raises(ValueError, match="expected a duration above 0 and up to 366d"):
        parse_period(written)


@given(st.integers(min_value=1, max_value=int(MAX_PERIOD)))
def test_a_period_reads_back_as_it_was_written(seconds: int) -> None:
    assert parse_period(format_duration(float(seconds))) == seconds
