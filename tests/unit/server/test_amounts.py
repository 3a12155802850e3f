"""Numbers in a table: read as they are meant, refused where they may mean two, bounded before they are made."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Callable
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ext_proc.server.amounts import LONGEST, Mark, read_amount, read_count

POINT, COMMA = Mark.POINT, Mark.COMMA


@pytest.mark.parametrize(
    ("text", "mark", "number"),
    [
        *(("", None, "0"), ("  ", COMMA, "0"), ("7", None, "7"), (" 0.30 ", None, "0.30"), (".5", None, "0.5")),
        *(("1,234.50", None, "1234.50"), ("1,234,567", None, "1234567"), ("1,234", POINT, "1234"), ("5.", None, "5")),
        *(("0,30", COMMA, "0.30"), ("1.234,50", COMMA, "1234.50"), ("1,234", COMMA, "1.234"), ("1.234", COMMA, "1234")),
        *(("€ 1,000.50", None, "1000.50"), ("1.5 USD", None, "1.5"), ("-$3", None, "-3"), ("US$ -3", None, "-3")),
        *(("1 234.5", None, "1234.5"), ("1\u202f234,5", COMMA, "1234.5"), ("1'234'567.5", None, "1234567.5")),
        *(("1e-05", None, "0.00001"), ("2.5E3", None, "2500"), ("+4", None, "4"), ("1.234", None, "1.234")),
    ],
)
def test_a_number_is_read_as_it_is_meant(text: str, mark: Mark | None, number: str) -> None:
    assert read_amount(text, mark) == Decimal(number)


@pytest.mark.parametrize(
    ("text", "mark", "message"),
    [
        ("0,30", None, "expected a number, not '0,30'; say --decimal comma where that is the mark"),
        ("1.234,50", None, "expected a number, not '1.234,50'; say --decimal comma"),
        ("1,234", None, "'1,234' may be two numbers: say --decimal point or --decimal comma"),
        ("€ 0,300", None, "'€ 0,300' may be two numbers"),
        ("0,30", POINT, "expected a number, not '0,30'"),
        ("1,234.50", COMMA, "expected a number, not '1,234.50'"),
        ("1e999999", None, "expected a number, not '1e999999'"),
        ("1e31", None, "expected a number within 1e30, not '1e31'"),
        ("1e-31", None, "expected a number within 1e30"),
        ("9" * (LONGEST + 1), None, f"expected a number, not {LONGEST + 1} characters"),
        *((text, None, f"expected a number, not {text!r}") for text in ("1..2", "x", "-", ".", ",", "NaN", "Infinity")),
        *((text, None, f"expected a number, not {text!r}") for text in ("1 2", "12 34.5", "--1", "-€-1", "5%", "(5)")),
        *((text, None, f"expected a number, not {text!r}") for text in ("0x10", "1_000", "\u0661", "12,34.5")),
    ],
)
def test_what_is_no_number_or_may_be_two_is_refused(text: str, mark: Mark | None, message: str) -> None:
    with pytest.raises(ValueError, match=re.escape(message)):
        read_amount(text, mark)


@pytest.mark.parametrize(
    ("text", "mark", "number"),
    [
        ("1,200", None, 1200),
        ("1,200,300", None, 1200300),
        ("12.0", None, 12),
        ("1.200", COMMA, 1200),
        ("1.2e3", None, 1200),
    ],
)
def test_a_whole_number_has_no_decimals_so_its_comma_separates(text: str, mark: Mark | None, number: int) -> None:
    assert read_count(text, mark) == number


@pytest.mark.parametrize(
    ("text", "mark", "message"),
    [
        ("1.5", None, "expected a whole number, not '1.5'"),
        ("1,5", COMMA, "expected a whole number, not '1,5'"),
        *((text, mark, f"{text!r} may be two numbers") for text, mark in (("1.000", None), ("1.000", POINT))),
        ("1,000", COMMA, "'1,000' may be two numbers"),
        ("1e-1", None, "expected a whole number, not '1e-1'"),
        ("many", None, "expected a whole number, not 'many'"),
        ("1e999999999", None, "expected a whole number, not '1e999999999'"),
    ],
)
def test_what_is_no_whole_number_is_refused(text: str, mark: Mark | None, message: str) -> None:
    with pytest.raises(ValueError, match=re.escape(message)):
        read_count(text, mark)


@given(st.text(st.sampled_from("0123456789.,'e+-€ U\u00a0"), max_size=80), st.sampled_from([None, POINT, COMMA]))
def test_whatever_is_written_it_is_a_number_in_bounds_or_refused(text: str, mark: Mark | None) -> None:
    readers: tuple[Callable[[str, Mark | None], int | Decimal], ...] = (read_amount, read_count)
    for read in readers:
        with contextlib.suppress(ValueError):
            assert abs(Decimal(read(text, mark))) < 10**100


@given(st.decimals(-(10**12), 10**12, places=4), st.sampled_from([POINT, COMMA]))
def test_what_was_written_with_separators_is_read_back(number: Decimal, mark: Mark) -> None:
    written = f"{number:,.4f}"
    if mark is COMMA:
        written = written.translate(str.maketrans(",.", ".,"))
    assert read_amount(written, mark) == number
