"""Prices: what an exchange costs, to the last decimal place, and what is never free because nobody said."""

from __future__ import annotations

from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from ext_proc.policy import BundleFile
from gatehouse_policies.usage_prices import COUNTS, Prices, PriceTable, read_prices

NOVEMBER = datetime(2026, 11, 21, tzinfo=UTC).timestamp()
PACKS = Path(__file__).parents[2] / "policies" / "packs"


def table(*rows: dict[str, Any], currency: str = "EUR") -> Prices:
    return Prices(PriceTable.model_validate({"currency": currency, "rows": rows}))


def cost(prices: Prices, model: str = "m", time: float = NOVEMBER, **counts: int) -> str | None:
    return prices.cost([model], {f"{name}_tokens": count for name, count in counts.items()}, time)


def file(text: str) -> BundleFile:
    return BundleFile("prices.yaml", Path("prices.yaml"), text.encode())


def test_tokens_cost_their_price_for_a_million() -> None:
    assert cost(table({"model": "m", "input": 3, "output": 15}), input=1_000_000, output=2_000_000) == "33"
    assert cost(table({"model": "m", "input": "2.50", "output": 10}), input=1, output=1) == "0.0000125"


def test_a_price_in_a_bundle_is_read_as_it_is_written() -> None:
    # 0.1 and 0.7 are no binary fractions: three and ten million of their tokens would cost 0.30000000000000004.
    assert cost(table({"model": "m", "input": 0.1, "output": 0.7}), input=3_000_000, output=10_000_000) == "7.3"


def test_each_kind_of_token_has_its_own_price_and_is_taken_out_of_its_whole() -> None:
    row: dict[str, Any] = {"input": 10, "cached": 1, "cache_write": 12, "input_audio": 100}
    row |= {"output": 50, "reasoning": 60, "output_audio": 200, "request": "0.5"}
    counts: dict[str, Any] = {"input": 1000, "cached": 200, "cache_write": 100, "input_audio": 50}
    counts |= {"output": 400, "reasoning": 100, "output_audio": 20}
    expected = 650 * 10 + 200 * 1 + 100 * 12 + 50 * 100 + 280 * 50 + 100 * 60 + 20 * 200
    assert cost(table({"model": "m", **row}), **counts) == str(Decimal(expected) / 10**6 + Decimal("0.5"))


def test_a_kind_without_a_price_of_its_own_costs_what_its_whole_does() -> None:
    prices = table({"model": "m", "input": 10, "output": 50})
    assert cost(prices, input=100, cached=90, output=10, reasoning=10) == "0.0015"


def test_the_first_row_that_fits_counts() -> None:
    prices = table({"model": "m-small*", "input": 1}, {"model": "m*", "input": 2}, {"model": "m-small", "input": 9})
    assert cost(prices, "m-small-2026", input=1_000_000) == "1"
    assert cost(prices, "m-large", input=1_000_000) == "2"


def test_the_name_in_the_answer_is_tried_before_the_one_that_was_asked_for() -> None:
    prices = table({"model": "alias", "input": 1}, {"model": "served-*", "input": 2})
    assert prices.cost(["served-1", "alias"], {"input_tokens": 1_000_000}, NOVEMBER) == "2"
    assert prices.cost(["unheard-of", "alias"], {"input_tokens": 1_000_000}, NOVEMBER) == "1"


@pytest.mark.parametrize(
    ("moment", "expected"),
    [
        (datetime(2026, 5, 31, 23, 59, 59, tzinfo=UTC), "1"),
        (datetime(2026, 6, 1, tzinfo=UTC), "2"),
        (datetime(2026, 12, 31, 23, 59, 59, tzinfo=UTC), "2"),
        (datetime(2027, 1, 1, tzinfo=UTC), None),
    ],
)
def test_a_row_counts_from_its_first_day_until_before_its_last_by_utc(moment: datetime, expected: str | None) -> None:
    prices = table(
        {"model": "m", "valid_until": "2026-06-01", "input": 1},
        {"model": "m", "valid_from": "2026-06-01", "valid_until": "2027-01-01", "input": 2},
    )
    assert cost(prices, time=moment.timestamp(), input=1_000_000) == expected


def test_a_row_for_long_prompts_counts_past_its_length() -> None:
    prices = table({"model": "m", "input_over": 200_000, "input": 2}, {"model": "m", "input": 1})
    assert cost(prices, input=200_000) == "0.2"
    assert cost(prices, input=200_001) == "0.400002"


def test_a_model_that_no_row_fits_has_no_cost_and_is_not_free() -> None:
    assert cost(table({"model": "m", "input": 1}), "n", input=1) is None


def test_a_row_that_says_nothing_of_a_kind_that_was_used_gives_no_cost() -> None:
    prices = table({"model": "m", "input": 1})
    assert cost(prices, input=5, output=1) is None
    assert cost(prices, input=5) == "0.000005"


def test_what_costs_nothing_must_be_said_to() -> None:
    assert cost(table({"model": "own-*", "input": 0, "output": 0}), "own-1", input=5, output=7) == "0"


def test_a_formula_yields_millionths_in_place_of_prices() -> None:
    prices = table({"model": "m", "cost": "request_count * 500 + (output_tokens > 10 ? output_tokens * 2 : 0)"})
    assert cost(prices, output=10) == "0.0005"
    assert cost(prices, output=11) == "0.000522"


@pytest.mark.parametrize("formula", ["input_tokens / output_tokens", "input_tokens > 1", "0 - input_tokens"])
def test_a_formula_that_fails_yields_no_number_or_less_than_nothing_gives_no_cost(formula: str) -> None:
    assert cost(table({"model": "m", "cost": formula}), input=5) is None


@given(
    st.dictionaries(st.sampled_from(COUNTS), st.integers(0, 10**12)),
    st.dictionaries(st.sampled_from(["cached", "reasoning", "request"]), st.decimals(0, 10**6, places=6)),
    st.decimals(0, 10**6, places=6),
    st.decimals(0, 10**6, places=6),
)
def test_no_digit_of_any_cost_is_lost(
    counts: dict[str, int], own: dict[str, Decimal], input: Decimal, output: Decimal
) -> None:
    prices = table({"model": "m", "input": input, "output": output, **own})
    found = prices.cost(["m"], counts, NOVEMBER)

    def amount(name: str) -> int:
        return counts.get(f"{name}_tokens", 0)

    def millionths(price: Decimal) -> int:
        return int(price * 10**6)

    rest_in = max(0, amount("input") - amount("cached") - amount("cache_write") - amount("input_audio"))
    rest_out = max(0, amount("output") - amount("reasoning") - amount("output_audio"))
    expected = (rest_in + amount("cache_write") + amount("input_audio")) * millionths(input)
    expected += (rest_out + amount("output_audio")) * millionths(output)
    expected += amount("cached") * millionths(own.get("cached", input))
    expected += amount("reasoning") * millionths(own.get("reasoning", output))
    expected += 10**6 * millionths(own.get("request", Decimal(0)))
    assert found is not None
    assert "e" not in found.lower()
    whole, _, fraction = found.partition(".")
    assert int(whole + fraction.ljust(12, "0")) == expected


@pytest.mark.parametrize(
    ("row", "expected"),
    [
        ({}, "either prices or `cost`"),
        ({"input": 1, "cost": "1"}, "either prices or `cost`"),
        ({"input": -1}, "a price from 0"),
        ({"input": True}, "a price"),
        ({"input": "a lot"}, "a price"),
        ({"input": "nan"}, "a price from 0"),
        ({"input": "0.0000001"}, "at most 6 decimal places"),
        ({"input": 1, "valid_from": "2026-06-01", "valid_until": "2026-06-01"}, "later than valid_from"),
        ({"input": 1, "valid_from": "soon"}, "date"),
        ({"cost": "tokens * 2"}, "unknown name 'tokens'"),
        ({"cost": "1 +"}, "CEL"),
        ({"inputs": 1}, "Extra inputs"),
    ],
)
def test_a_row_that_means_nothing_is_refused(row: dict[str, Any], expected: str) -> None:
    with pytest.raises(ValidationError, match=expected):
        PriceTable.model_validate({"currency": "EUR", "rows": [{"model": "m", **row}]})


def test_a_file_holds_the_same_and_its_decimals_are_text() -> None:
    read = read_prices(file("currency: EUR\nas_of: 2026-11-21\nrows:\n  - {model: m, input: 0.1, input_over: 7}\n"))
    assert (read.currency, str(read.as_of)) == ("EUR", "2026-11-21")
    assert (read.rows[0].input, read.rows[0].input_over) == (Decimal("0.1"), 7)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("currency: EUR\ncurrency: USD\nrows: []", "line 1: expected YAML without keys that stand twice"),
        ("currency: [", "expected YAML"),
        ("currency: EUR\nrows: []", "rows: "),
        ("currency: euro\nrows: [{model: m, input: 1}]", "currency: "),
        ("currency: EUR\nrows: [{model: m, input: 1}, {model: n, input: -1}]", "rows.1.input: .*from 0"),
        ("just words", "prices.yaml: "),
    ],
)
def test_what_is_wrong_with_a_file_is_one_sentence_that_says_where(text: str, expected: str) -> None:
    with pytest.raises(ValueError, match=expected) as wrong:
        read_prices(file(text))
    assert "prices.yaml" in str(wrong.value)


def test_the_example_file_is_read_and_says_when_it_was_written() -> None:
    path = PACKS / "prices.yaml"
    example = read_prices(BundleFile("prices.yaml", path, path.read_bytes()))
    assert example.as_of is not None
    assert cost(Prices(example), "claude-haiku-4-5-20251001", input=1_000_000, output=1_000_000) == "6"
