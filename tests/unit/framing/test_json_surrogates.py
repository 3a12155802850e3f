"""framing/json_surrogates: half characters in JSON, and text whole again whatever it was cut in."""

from __future__ import annotations

import json
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ext_proc.framing.json_surrogates import Halves, Joined, encode_tolerant, parse_tolerant
from ext_proc.framing.json_view import JsonError, parse

HIGH, LOW = "\ud83d", "\ude00"


@pytest.mark.parametrize("raw", [b'"\\ud83d"', b'["\\ude00\\ud83d"]', b'{"\\uDBFF":1.5, "a":"\\ud83d\\ude00"}'])
def test_a_lone_surrogate_is_read_as_what_it_is(raw: bytes) -> None:
    with pytest.raises(JsonError):
        parse(raw, 4)
    assert parse_tolerant(raw, 4) == json.loads(raw)


@pytest.mark.parametrize(
    ("raw", "reason"),
    [
        (b'["\\ud83d"', "json-malformed"),
        (b'["\\ud83d", NaN]', "json-malformed"),
        (b'["\\ud83d", -Infinity]', "json-malformed"),
        (b'["\\ud83d", 1e999]', "json-number"),
        (b'["\\ud83d\n"]', "json-malformed"),
        (b'["\\ud83d"] x', "json-malformed"),
        (b'\xef\xbb\xbf["\\ud83d"]', "json-malformed"),
        (b'["\\ud83d", ' + b"9" * 5000 + b"]", "json-malformed"),
        (b'{"\\ud83d":1,"\\ud83d":2}', "json-duplicate-key"),
        (b'[["\\ud83d"]]', "json-too-deep"),
        (b'["\xed\xa0\xbd"]', "json-not-utf8"),
        (b'["\\ud83d\xff"]', "json-not-utf8"),
        (b"", "json-empty"),
    ],
)
def test_all_else_stays_as_strict_as_ever(raw: bytes, reason: str) -> None:
    with pytest.raises(JsonError) as caught:
        parse_tolerant(raw, 1)
    assert caught.value.reason == reason


@given(st.text(alphabet=st.characters(), max_size=10) | st.sampled_from([HIGH, LOW + HIGH, "a" + HIGH]))
def test_any_text_is_written_as_json_that_reads_the_same(text: str) -> None:
    assert json.loads(encode_tolerant(text)) == text


def take(*pieces: str) -> list[Joined]:
    halves = Halves()
    return [halves.take(piece) for piece in pieces]


def test_a_pair_split_over_two_pieces_is_one_character_in_the_second() -> None:
    assert [joined.text for joined in take("a" + HIGH, LOW + "b")] == ["a", "😀b"]
    assert [joined.text for joined in take(HIGH, "", LOW)] == ["", "", "😀"]


def test_a_half_without_its_other_is_a_replacement_character() -> None:
    assert [joined.text for joined in take(HIGH, "b")] == ["", "\ufffdb"]
    assert [joined.text for joined in take(HIGH, HIGH, LOW)] == ["", "\ufffd", "😀"]
    assert [joined.text for joined in take(LOW + "a")] == ["\ufffda"]
    assert [joined.text for joined in take("a" + HIGH)] == ["a"]


def test_what_is_written_leaves_each_half_where_the_other_piece_needs_it() -> None:
    first, second = take("a" + HIGH, LOW + "b")
    assert first.written("A") == "A" + HIGH
    assert second.written("😀B") == LOW + "B"
    assert second.written("B") == "B"
    alone = take(HIGH, "b")[1]
    assert alone.written("\ufffdB") == "B"


@given(
    st.text(alphabet=st.sampled_from(["a", "é", "😀", HIGH, LOW]), max_size=8),
    st.lists(st.integers(0, 8), max_size=5),
)
def test_the_text_is_the_same_however_it_was_cut(text: str, cuts: list[int]) -> None:
    bounds = [0, *sorted(min(cut, len(text)) for cut in cuts), len(text)]
    joined = take(*(text[a:b] for a, b in pairwise(bounds)))
    whole = "".join(piece.text for piece in joined)
    assert whole == "".join(piece.text for piece in take(text))
    assert whole.encode().decode() == whole
    # Written unchanged, the pieces are the same text to whoever joins them.
    assert well_formed("".join(piece.written(piece.text) for piece in joined)) == well_formed(text)


def well_formed(text: str) -> Any:
    return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")
