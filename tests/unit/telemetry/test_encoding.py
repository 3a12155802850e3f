"""Plain values to JSON, always."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ext_proc.telemetry.encoding import to_json
from ext_proc.trail import Outcome

# Surrogates too: Headers.get keeps bytes that are not UTF-8 as such.
TEXT = st.text(st.characters(exclude_categories=()))
PLAIN = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | TEXT,
    lambda inner: st.lists(inner) | st.dictionaries(TEXT, inner),
    max_leaves=10,
)


@given(PLAIN)
def test_plain_values_come_back_from_one_line(value: Any) -> None:
    line = to_json(value)
    assert b"\n" not in line
    assert json.loads(line) == value


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (Outcome.OK, '"ok"'),
        ({"at": Exception("x")}, '{"at":"x"}'),
        ({"at": Exception("x"), "text": "\udcff"}, '{"at":"x","text":"\\udcff"}'),
    ],
)
def test_what_json_lacks_becomes_text(value: Any, expected: str) -> None:
    assert to_json(value).decode() == expected
