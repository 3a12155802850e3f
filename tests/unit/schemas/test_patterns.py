"""schemas/patterns.py: ECMA-262's expressions, in linear time or not at all."""

from __future__ import annotations

import pytest

from ext_proc.schemas.faults import SchemaError
from ext_proc.schemas.patterns import Pattern

# As a well-known schema library writes it for e-mail addresses.
EMAIL = r"^(?!\.)(?!.*\.\.)([A-Za-z0-9_'+\-\.]*)[A-Za-z0-9_+-]@([A-Za-z0-9][A-Za-z0-9\-]*\.)+[A-Za-z]{2,}$"
PASSWORD = r"^(?=.*[a-z])(?=.*[A-Z])(?=.*\d)[a-zA-Z\d]{8,}$"


@pytest.mark.parametrize(
    ("source", "text", "expected"),
    [
        ("b", "abc", True),
        ("^b", "abc", False),
        ("^a$", "a\n", False),
        (r"^\d$", "\u0663", False),
        (r"^\w$", "é", False),
        (r"^\s$", "\u2003", True),
        ("^.$", "\U0001f600", True),
        (r"^\p{L}+$", "Überraschung", True),
        (r"^[a-z&&[aeiou]]$", "b]", True),
        (r"^\<b\>$", "<b>", True),
        ("^(?:a|b)+$", "abba", True),
        ("", "", True),
    ],
)
def test_an_expression_means_what_ecmascript_says(source: str, text: str, expected: bool) -> None:
    assert Pattern(source).matches(text) is expected


@pytest.mark.parametrize(
    ("source", "text", "expected"),
    [
        (EMAIL, "ann.smith@example.com", True),
        (EMAIL, ".ann@example.com", False),
        (EMAIL, "ann..smith@example.com", False),
        (PASSWORD, "Passw0rdxx", True),
        (PASSWORD, "passw0rdxx", False),
        ("^(?=(a|b))(?!(?:ab|\\)))[ab(]+$", "ba", True),
        ("^(?=(a|b))(?!(?:ab|\\)))[ab(]+$", "ab", False),
        (r"^(?=[)|])[)]$", ")", True),
        ("^(?=a)$", "a", False),
        ("^(?!admin$)", "admins", True),
        ("^(?!admin$)", "admin", False),
    ],
)
def test_conditions_at_the_start_are_matched_one_by_one(source: str, text: str, expected: bool) -> None:
    assert Pattern(source).matches(text) is expected


@pytest.mark.parametrize(
    "source",
    [
        "(?=a)b",
        "a(?!b)",
        "^(?!a)b|c$",
        "^(?=a)*b",
        "^(?=a",
        "(?<=a)b",
        r"(a)\1",
        "(",
        "[a",
        "\\",
        "a" * 9000,
        "(a{1000}){1000}",
        r"(?:\p{L}{500}){500}",
    ],
)
def test_what_cannot_be_matched_in_linear_time_or_is_too_large_is_refused(source: str) -> None:
    with pytest.raises(SchemaError):
        Pattern(source)


@pytest.mark.parametrize("source", ["^(a+)+$", "(x+x+)+y", "^(a|a)*$", "(.*)(.*)(.*)(.*)z", "(?:a?){50}a{50}"])
def test_an_expression_that_makes_others_hang_answers(source: str) -> None:
    # A backtracking engine would need far longer than the age of the universe.
    assert Pattern(source).matches("a" * 20_000 + "x" * 20_000 + "!") in (True, False)


def test_a_match_costs_more_for_a_larger_expression_and_a_longer_text() -> None:
    small, large = Pattern("^/srv/"), Pattern("^[^/]{1,255}$")
    assert small.cost("/srv/") == 1
    assert small.cost("a" * 64_000) < large.cost("a" * 64_000)
    assert large.cost("a" * 1000) < large.cost("a" * 10_000)
    assert large.size > small.size
