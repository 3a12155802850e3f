"""Estimates: near the exact count for what people write, and not far below it for what would be cheap by its length."""

from __future__ import annotations

import base64
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ext_proc.tokens.counting import count
from ext_proc.tokens.encodings import load
from ext_proc.tokens.estimating import estimate

PROSE = (
    "Envoy keeps connections, retries and load balancing; what a request means stands in its body. Somebody has to "
    "read it before it goes on, and has to say so clearly when it does not. "
) * 40


@pytest.mark.parametrize(
    ("text", "off"),
    [
        (PROSE, 0.25),
        (json.dumps([{"id": n, "name": f"item {n}", "price": n * 1.5} for n in range(300)]), 0.35),
        (base64.b64encode(bytes(range(256)) * 40).decode(), 0.6),
        ("Größe, Maß und Straße: für dich überall. " * 60, 0.35),
        ("今日は世界のみなさん。" * 100, 0.45),
    ],
)
def test_an_estimate_is_near_the_exact_count(text: str, off: float) -> None:
    exact = count(text, load("o200k_base"))
    assert exact * (1 - off) <= estimate(text) <= exact * (1 + off)


def test_nothing_is_no_token_and_something_is_at_least_one() -> None:
    assert (estimate(""), estimate(" "), estimate("a")) == (0, 1, 1)


@given(st.text(max_size=200), st.text(max_size=200))
def test_two_texts_together_are_estimated_as_their_sum(one: str, other: str) -> None:
    assert abs(estimate(one + other) - estimate(one) - estimate(other)) <= 2
