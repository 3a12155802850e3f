"""scanning/lookalikes.py: a small table, with one Latin letter for each stranger."""

from __future__ import annotations

import unicodedata

from ext_proc.scanning.lookalikes import LOOKALIKES


def test_each_letter_stands_for_one_latin_letter_and_none_for_itself() -> None:
    for code, latin in LOOKALIKES.items():
        assert len(latin) == 1
        assert latin.isascii()
        assert latin.islower()
        assert not chr(code).isascii()


def test_the_letters_are_those_that_folding_leaves() -> None:
    for code in LOOKALIKES:
        letter = chr(code)
        assert unicodedata.category(letter).startswith("L")
        assert unicodedata.normalize("NFKD", letter).casefold() == letter or letter == "\u03f2"


def test_english_words_in_cyrillic_letters_read_as_english() -> None:
    assert "\u0440\u0430\u0443\u0440\u0430\u04cf".translate(LOOKALIKES) == "paypal"
    assert "\u0441\u043e\u0440\u0443".translate(LOOKALIKES) == "copy"
