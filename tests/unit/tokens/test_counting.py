"""Counting: exact where texts have blanks, near where they have none, the same however a text is cut; no failure."""

from __future__ import annotations

import itertools

import pytest
import tiktoken
from hypothesis import given
from hypothesis import strategies as st

from ext_proc.tokens.counting import BLOCK, Counter, count
from ext_proc.tokens.encodings import ENCODINGS, load

WORDS = st.text(alphabet=st.sampled_from("ab Zé9.,-/'\n\t世\u200d🙂"), max_size=3 * BLOCK)


@pytest.fixture(scope="module", params=ENCODINGS)
def encoding(request: pytest.FixtureRequest) -> tiktoken.Encoding:
    return load(request.param)


def prose(words: int) -> str:
    return " ".join(f"the {n}th word, said (again) in Zürich: it's {n * 7919}\n" for n in range(words))


def fed(text: str, encoding: tiktoken.Encoding, cuts: list[int]) -> int:
    counter = Counter(encoding)
    places = sorted({0, len(text), *(cut % (len(text) + 1) for cut in cuts)})
    for start, end in itertools.pairwise(places):
        counter.feed(text[start:end])
    return counter.total


def test_text_with_blanks_counts_exactly_as_tiktoken_counts_it_whole(encoding: tiktoken.Encoding) -> None:
    text = prose(3000)
    assert len(text) > 20 * BLOCK
    assert count(text, encoding) == len(encoding.encode_ordinary(text))


@pytest.mark.parametrize("text", ["世界和平" * 20_000, "QmFzZTY0IGlzIGxvbmc" * 5_000, "0123456789" * 8_000])
def test_text_without_blanks_counts_within_half_a_percent_of_the_whole(text: str, encoding: tiktoken.Encoding) -> None:
    whole = len(encoding.encode_ordinary(text))
    assert whole <= count(text, encoding) <= whole * 1.005


@given(text=WORDS, cuts=st.lists(st.integers(min_value=0), max_size=20))
def test_however_a_text_is_cut_it_counts_the_same(text: str, cuts: list[int]) -> None:
    encoding = load("o200k_base")
    assert fed(text, encoding, cuts) == count(text, encoding)


def test_a_text_that_comes_character_by_character_counts_as_the_whole(encoding: tiktoken.Encoding) -> None:
    text = prose(300)
    assert fed(text, encoding, list(range(len(text)))) == len(encoding.encode_ordinary(text))


@pytest.mark.parametrize("blank", [" ", "\n", "\t", "\u3000", " \n"])
def test_two_million_blanks_in_a_row_are_counted(blank: str, encoding: tiktoken.Encoding) -> None:
    assert 0 < count(blank * (2_000_000 // len(blank)) + "x", encoding) < 2_000_000


def test_what_looks_like_a_special_token_is_the_text_that_it_is(encoding: tiktoken.Encoding) -> None:
    assert count("<|endoftext|>", encoding) > 1


def test_lone_surrogates_are_counted(encoding: tiktoken.Encoding) -> None:
    assert count("a \ud83d b", encoding) == count("a \ufffd b", encoding)


class Panicking:
    """An encoding whose panic is no Exception, as one of tiktoken's is."""

    def encode_ordinary(self, text: str) -> list[int]:
        raise BaseException("a panic")


def test_where_the_library_panics_the_text_is_estimated() -> None:
    panicking: tiktoken.Encoding = Panicking()  # type: ignore[assignment]  # as far as it is used
    assert count("twelve words or so", panicking) > 0
