"""scanning/phrases.py: what a phrase fits, and how much work that is."""

from __future__ import annotations

import pytest

from ext_proc.scanning.folding import Words, readings
from ext_proc.scanning.phrases import parse

SETS = {"earlier": frozenset({"previous", "prior"})}


@pytest.mark.parametrize(
    ("phrase", "text", "fits"),
    [
        ("ignore rules", "ignore rules", True),
        ("ignore rules", "ignore the rules", False),
        ("ignore ..1 rules", "ignore the rules", True),
        ("ignore ..1 rules", "ignore rules", True),
        ("ignore ..1 rules", "ignore all the rules", False),
        ("ignore ..2 {earlier}|old ..1 rules", "ignore all of prior house rules", True),
        ("ignore ..2 {earlier}|old ..1 rules", "ignore old rules", True),
        ("ignore my? rules", "ignore rules", True),
        ("ignore my? rules", "ignore my rules", True),
        ("ignore ..3 rules", "ignore it. The rules", False),
        ("ignore ..3 rules", "ignore it, the rules", True),
        ("a ..2 b ..2 c", "a b x b x x c", True),
        ("ignore rules", "ignore", False),
    ],
)
def test_a_phrase_fits(phrase: str, text: str, fits: bool) -> None:
    words = Words(readings(text)[0]).texts
    assert (parse(phrase, SETS).match(words, 0) is not None) is fits


def test_the_shortest_fit_is_taken() -> None:
    assert parse("a ..3 b", {}).match(["a", "b", "b"], 0) == 2


@pytest.mark.parametrize("phrase", ["", "..2 a", "a? b", "a ..2", "{none}"])
def test_a_phrase_that_says_nothing_is_an_error(phrase: str) -> None:
    with pytest.raises(ValueError, match=r"begin and end|no set"):
        parse(phrase, SETS)


class Counted(list[str]):
    """Words that count how often one of them is looked at."""

    looks = 0

    def __getitem__(self, index: object) -> str:  # type: ignore[override]
        self.looks += 1
        return super().__getitem__(index)  # type: ignore[call-overload,no-any-return]


@pytest.mark.parametrize("filler", ["a", "b", "x", "a b", "b x", "a b x c"])
@pytest.mark.parametrize("source", ["a ..9 b ..9 c ..9 d", "a a? a? a? a? b", "a ..9 a ..9 a ..9 a ..9 z"])
def test_the_work_at_one_place_does_not_grow_with_the_text(source: str, filler: str) -> None:
    phrase = parse(source, {})
    looks = []
    for length in (100, 1000, 10000):
        words = Counted(["a", *(filler.split() * length)])
        phrase.match(words, 0)
        looks.append(words.looks)
    assert looks[0] == looks[1] == looks[2]
    # Each element looks at no more words than its gap is wide, from each place that the one before reached.
    assert looks[0] <= len(phrase.elements) * phrase.reach**2
