"""Estimates: near the exact count for what people write, and not far below it for what is made to be cheap."""

from __future__ import annotations

import base64
import json
import random
import string
from itertools import pairwise
from pathlib import Path
from statistics import mean

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ext_proc.tokens.counting import count
from ext_proc.tokens.encodings import load
from ext_proc.tokens.estimating import estimate

# The same few sentences in many languages, and what else stands in prompts.
ORDINARY: dict[str, str] = json.loads(
    (Path(__file__).parents[2] / "data" / "languages" / "texts.json").read_text(encoding="utf-8")
)
DICE = random.Random(16)


def words(letters: str, length: int) -> str:
    """Random words of a length."""
    return " ".join("".join(DICE.choices(letters, k=length)) for _ in range(6000 // length))


def syllables(each: int) -> str:
    """Random words of syllables."""
    consonants = sorted(set(string.ascii_lowercase) - set("aeiou"))
    return " ".join(
        "".join(DICE.choice(consonants) + DICE.choice("aeiou") for _ in range(each)) for _ in range(3000 // each)
    )


REPEATED = (
    *(
        "\t x",
        "\n",
        "\r\n",
        " ",
        "\t",
        "\t ",
        "\n \t",
        "\n x",
        "x\n",
        " a",
        "A ",
        "aB",
        "a1",
        "a.",
        "'s",
        "1",
        "1 ",
        '",',
    ),
    *(
        "((a))",
        "| a | b |\n",
        "e\u0301",
        "\u0300",
        "\u0277",
        "\U0001fabf",
        "😀",
        "㿿䶵",
        "\ue123",
        "ß ",
        "\u0430 ",
        "\x00",
        "\x0b",
    ),
    *("\\n", "%E4", "Ab", "aa", "q", "\U0001d51e", "\u2368", "\U000e0041", "\u200b", "\ud83d"),
)
CHEAP = {
    **{repr(text): text * (6000 // len(text)) for text in REPEATED},
    **{f"letters, words of {n}": words(string.ascii_lowercase, n) for n in (1, 2, 3, 5, 8, 16, 6000)},
    **{f"frequent letters, words of {n}": words("etaoinsrhldcu", n) for n in (3, 5, 8, 6000)},
    **{f"capitals, words of {n}": words(string.ascii_uppercase, n) for n in (5, 6000)},
    **{f"syllables, words of {n}": syllables(n) for n in (2, 3, 3000)},
    "letters of both kinds": words(string.ascii_letters, 6000),
    "letters and digits": words(string.ascii_lowercase + string.digits, 6000),
    "signs": words(string.punctuation, 6000),
    "numbers": words(string.digits + ".,:-", 12),
    "base64": base64.b64encode(DICE.randbytes(4500)).decode(),
    "hexadecimal": DICE.randbytes(3000).hex(),
}
# Random letters of scripts whose words are mostly in the vocabulary.
OTHER_SCRIPTS = {
    name: words("".join(map(chr, range(first, last))), 6)
    for name, first, last in (
        *(("Greek", 0x3B1, 0x3CA), ("Cyrillic", 0x430, 0x450), ("Hebrew", 0x5D0, 0x5EB), ("Arabic", 0x627, 0x64B)),
        *(("Devanagari", 0x905, 0x94D), ("Thai", 0xE01, 0xE30), ("kana", 0x3041, 0x3097), ("Han", 0x4E00, 0x9F00)),
        ("Hangul", 0xAC00, 0xD7A0),
    )
}


def ratio(text: str) -> float:
    """The estimate by the exact count."""
    return estimate(text) / count(text, load("o200k_base"))


@pytest.mark.parametrize("name", ORDINARY)
def test_an_estimate_is_near_the_exact_count(name: str) -> None:
    assert 0.7 <= ratio(ORDINARY[name]) <= 1.55


def test_over_all_kinds_of_text_the_mean_error_is_small() -> None:
    table = {name: ratio(text) for name, text in ORDINARY.items()}
    print(*(f"{found:.2f} {name}" for name, found in sorted(table.items(), key=lambda one: one[1])), sep="\n")
    assert mean(abs(found - 1) for found in table.values()) <= 0.13


@pytest.mark.parametrize("name", CHEAP)
def test_what_is_made_to_be_cheap_is_not_estimated_far_below_its_count(name: str) -> None:
    assert ratio(CHEAP[name]) >= 0.6


@pytest.mark.parametrize("text", ["\t x", "\n", " a", "e\u0301", "\U0001fabf", "aB", "a."])
def test_what_was_once_had_for_a_tenth_is_not(text: str) -> None:
    assert ratio(text * 5000) >= 0.7


@pytest.mark.parametrize("name", OTHER_SCRIPTS)
def test_random_letters_of_other_scripts_count_for_a_third_at_least(name: str) -> None:
    assert ratio(OTHER_SCRIPTS[name]) >= 0.3


def test_nothing_is_no_token_and_something_is_at_least_one() -> None:
    assert (estimate(""), estimate(" "), estimate("a")) == (0, 1, 1)


@given(st.text(max_size=200), st.text(max_size=200))
def test_two_texts_together_are_estimated_as_their_sum_but_for_where_they_meet(one: str, other: str) -> None:
    assert abs(estimate(one + other) - estimate(one) - estimate(other)) <= 5


@given(st.text(max_size=200), st.lists(st.integers(0, 200), max_size=3))
def test_more_text_is_never_estimated_for_less(text: str, cuts: list[int]) -> None:
    places = sorted({0, *cuts, len(text)})
    assert all(estimate(text[:a]) <= estimate(text[:b]) for a, b in pairwise(places) if b <= len(text))
