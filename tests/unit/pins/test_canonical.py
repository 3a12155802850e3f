"""canonical: RFC 8785 where that has a form, exact where it has none, and one form for equal values alone."""

from __future__ import annotations

import hashlib
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ext_proc.pins.canonical import LARGEST, canonical, definition_of, digest_of

INT64 = 2**63 - 1

scalars = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.integers(-(2**70), 2**70)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(exclude_categories=["Cs"]), max_size=8)
)
values = st.recursive(
    scalars,
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.text(st.characters(exclude_categories=["Cs"]), max_size=4), inner, max_size=3)
    ),
    max_leaves=8,
)


def same(one: Any, other: Any) -> bool:
    """Whether two JSON values are one, numbers compared exactly: 1 and 1.0 are, true and 1 are not."""
    if isinstance(one, dict) and isinstance(other, dict):
        return one.keys() == other.keys() and all(same(one[key], other[key]) for key in one)
    if isinstance(one, list) and isinstance(other, list):
        return len(one) == len(other) and all(same(a, b) for a, b in zip(one, other, strict=True))
    return (type(one) is bool) == (type(other) is bool) and bool(one == other)


# RFC 8785, section 3.2.3 (sorting) and appendix B (numbers).
def test_keys_are_sorted_by_their_utf_16_code_units() -> None:
    keys = ["\u20ac", "\r", "\ufb33", "1", "\U0001f600", "\u0080", "\u00f6"]
    form = canonical(dict.fromkeys(keys, 0))
    assert list(json.loads(form)) == ["\r", "1", "\u0080", "\u00f6", "\u20ac", "\U0001f600", "\ufb33"]
    assert list(json.loads(canonical(dict.fromkeys(keys, INT64)))) == list(json.loads(form))


@pytest.mark.parametrize(
    ("number", "written"),
    [
        (333333333.33333329, "333333333.3333333"),
        (1e30, "1e+30"),
        (4.50, "4.5"),
        (2e-3, "0.002"),
        (1e-27, "1e-27"),
        (-0.0, "0"),
        (9007199254740994.0, "9007199254740994"),
        (295147905179352830000.0, "295147905179352830000"),
        (1e21, "1e+21"),
        (LARGEST, "9007199254740991"),
    ],
)
def test_numbers_are_written_as_the_rfc_says(number: float, written: str) -> None:
    assert canonical(number) == written.encode()


@pytest.mark.parametrize("number", [INT64, -INT64 - 1, 2**64 - 1, LARGEST + 1, -LARGEST - 1, 10**30])
def test_an_integer_beyond_doubles_keeps_all_of_its_digits(number: int) -> None:
    assert canonical({"maximum": [number]}) == b'{"maximum":[%d.0]}' % number
    assert canonical({"maximum": [number]}) != canonical({"maximum": [number + 1]})


def test_an_integer_beyond_doubles_is_not_taken_for_the_double_that_is_written_alike() -> None:
    # The shortest text of the double 2^63 is this integer's.
    assert canonical(float(2**63)) == b"9223372036854776000"
    assert canonical(9223372036854776000) != canonical(float(2**63))


@pytest.mark.parametrize("value", [float("nan"), float("inf"), "\ud800", {"\ud800": 1}])
def test_what_is_no_strict_json_has_no_form(value: object) -> None:
    with pytest.raises(ValueError, match=r"."):
        canonical(value)


@given(values, values)
def test_two_values_have_one_form_only_if_they_are_equal(one: Any, other: Any) -> None:
    assert (canonical(one) == canonical(other)) == same(one, other)


@given(values)
def test_a_form_is_its_own_form_however_the_value_was_written(value: Any) -> None:
    again = json.loads(json.dumps(value, indent=3, ensure_ascii=True))
    assert canonical(again) == canonical(value)
    json.loads(canonical(value))  # it is JSON itself


def test_the_digest_is_the_sha_256_of_the_form() -> None:
    form = canonical({"b": 1, "a": "é"})
    assert form == '{"a":"é","b":1}'.encode()
    assert digest_of(form) == hashlib.sha256(form).hexdigest()


def test_of_a_tool_everything_counts_but_meta() -> None:
    tool = {"name": "a", "icons": [{"src": "x"}], "annotations": {"readOnlyHint": True}, "_meta": {"now": 1}}
    assert definition_of(tool) == {key: value for key, value in tool.items() if key != "_meta"}
