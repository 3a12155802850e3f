"""schemas/values.py: equal is what JSON Schema calls equal."""

from __future__ import annotations

import copy
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ext_proc.schemas.values import is_multiple, key_of, size_of

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=12,
)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (1, 1.0),
        (0, -0.0),
        (10**30, 1e30),
        ({"a": 1, "b": [2.0]}, {"b": [2], "a": 1.0}),
    ],
)
def test_the_same_number_is_equal_however_it_is_written(one: Any, other: Any) -> None:
    assert key_of(one) == key_of(other)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (1, True),
        (0, False),
        (1, "1"),
        (None, "None"),
        (None, False),
        ([], {}),
        ([1, 2], [2, 1]),
        ({"a": 1}, {"a": None}),
        (["a"], "a"),
        (2**53, 2**53 + 1),
        (0.1, 0.1 + 2**-55),
        ("number", ["number"]),
        ([["array"]], ["array"]),
    ],
)
def test_values_of_other_types_or_other_digits_are_not_equal(one: Any, other: Any) -> None:
    assert key_of(one) != key_of(other)


@given(JSON)
def test_a_copy_is_equal(value: Any) -> None:
    assert key_of(copy.deepcopy(value)) == key_of(value)


def test_numbers_that_collide_as_numbers_do_not_collide_as_keys() -> None:
    # Python's hash of a number is the number modulo 2**61 - 1: anybody can write many with the same one.
    hashes = {hash(key_of(n * (2**61 - 1))) for n in range(1, 1000)}
    assert len(hashes) > 990


def test_the_size_counts_values_and_keys_and_long_numbers() -> None:
    assert size_of(5) == 1
    assert size_of({"a": [1, 2], "b": {}}) == 1 + 2 + 1 + 2 + 1
    assert size_of(10**4000) > 50


@pytest.mark.parametrize(
    ("value", "of", "expected"),
    [
        (10, 2, True),
        (7, 2, False),
        (4.5, 1.5, True),
        (0.0075, 0.0001, True),
        (0.00751, 0.0001, False),
        (1e308, 0.123456789, False),
        (12391239123, 1e-8, True),
        (0, 7, True),
        (10**400, 1.0, True),
        (0.3, 0.1, True),
    ],
)
def test_multiples_are_those_of_the_decimals_as_written(value: float, of: float, expected: bool) -> None:
    assert is_multiple(value, of) is expected
