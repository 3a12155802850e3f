"""framing/body.py: whole within the limit, spans on a fixed grid past it."""

from __future__ import annotations

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from ext_proc.framing.body import SPAN, WholeBody


def test_a_body_within_the_limit_is_held_until_its_end() -> None:
    body = WholeBody(4)
    assert body.feed(b"ab") == []
    assert body.feed(b"cd") == []
    assert body.close() == b"abcd"
    assert not body.too_large


def test_a_body_past_the_limit_is_let_go_at_once() -> None:
    body = WholeBody(4)
    assert body.feed(b"abcdef") == [b"abcd"]
    assert body.too_large
    assert body.close() == b"ef"


def test_past_the_limit_no_more_than_a_span_is_held() -> None:
    body = WholeBody(10)
    handed_out = sum(len(span) for _ in range(40) for span in body.feed(b"x" * 10_000))
    assert 400_000 - handed_out <= SPAN


@given(st.integers(1, 5), st.lists(st.integers(1, 3 * SPAN), max_size=5))
def test_the_spans_do_not_depend_on_how_the_body_was_cut(limit: int, cuts: list[int]) -> None:
    raw = bytes(range(256)) * (3 * SPAN // 256) + b"end"

    def spans(chunks: list[bytes]) -> list[bytes]:
        body = WholeBody(limit)
        return [span for chunk in chunks for span in body.feed(chunk)] + [body.close()]

    bounds = [0, *sorted(cuts), len(raw)]
    cut = spans([raw[a:b] for a, b in pairwise(bounds)])
    assert cut == spans([raw])
    assert b"".join(cut) == raw
