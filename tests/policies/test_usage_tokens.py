"""Counting where a provider did not: by which encoding, what of an answer, whose words of a prompt."""

from __future__ import annotations

from itertools import pairwise
from typing import Any
from unittest.mock import patch

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from ext_proc.codecs.llm_prompts import parts_of
from ext_proc.messages import Channel, ChannelKind, Piece, PromptPart, Role
from ext_proc.tokens.counting import Counter, count
from ext_proc.tokens.encodings import load
from ext_proc.tokens.estimating import estimate
from gatehouse_policies.usage_tokens import (
    LONGEST_KEPT,
    MAX_CHANNELS,
    PER_CALL,
    PER_PIECE,
    AnswerTokens,
    Counting,
    PromptTokens,
    Tokenizer,
)

EXACT = Counting(Tokenizer(default="o200k_base"))
O200K = load("o200k_base")
STORY = "The fox went into the forest, and nobody knew where it was. " * 40


def says(text: str, kind: ChannelKind = ChannelKind.CONTENT, **channel: Any) -> Piece:
    return Piece(Channel(kind, **channel), text)


def counted(*pieces: Piece, counting: Counting = EXACT, by: Any = "o200k_base") -> int:
    answer = AnswerTokens(counting, by)
    answer.add(pieces)
    return answer.total


@pytest.mark.parametrize(
    ("models", "expected"),
    [
        (("gpt-4o-2024-08-06",), "o200k_base"),
        (("gpt-4-turbo",), "cl100k_base"),
        (("gpt-4-turbo", "gpt-4o"), "cl100k_base"),
        (("served-by-nobody", "gpt-4o"), "o200k_base"),
        (("llama-3",), "cl100k_base"),
        (("claude-opus",), "estimate"),
        (("qwen",), "o200k_base"),
        ((), "o200k_base"),
    ],
)
def test_openais_own_encoding_comes_before_the_table_and_that_before_the_default(
    models: tuple[str, ...], expected: str
) -> None:
    table: Any = {"gpt-4*": "estimate", "llama*": "cl100k_base", "claude*": "estimate", "claude-opus": "o200k_base"}
    assert Counting(Tokenizer(default="o200k_base", models=table)).by(*models) == expected


def test_where_nothing_names_an_encoding_none_is_used() -> None:
    assert Counting(Tokenizer()).by("gpt-4o") == "estimate"
    table: Any = {"gpt-*": "o200k_base"}
    assert Counting(Tokenizer(models=table)).by("gpt-4-turbo") == "o200k_base"


def test_an_encoding_that_is_not_here_is_refused() -> None:
    with pytest.raises(ValidationError):
        Tokenizer.model_validate({"default": "p50k_base"})


@given(st.lists(st.integers(0, len(STORY)), max_size=30), st.sampled_from(["o200k_base", "estimate"]))
@settings(max_examples=40, deadline=None)
def test_an_answer_counts_the_same_however_it_is_cut(cuts: list[int], by: str) -> None:
    places = sorted({0, len(STORY), *cuts})
    pieces = [says(STORY[start:end]) for start, end in pairwise(places)]
    assert counted(*pieces, by=by) == counted(says(STORY), by=by)


def test_an_answer_in_many_small_pieces_is_estimated_as_one_text() -> None:
    assert counted(*map(says, STORY), by="estimate") == estimate(STORY)


def test_a_long_answer_keeps_little_waiting_and_its_estimate_stays_close() -> None:
    found = counted(*[says(STORY)] * 50, by="estimate")
    assert found == pytest.approx(estimate(STORY * 50), rel=0.001)


def test_texts_of_several_channels_are_added_up_and_copies_are_not() -> None:
    alone = count("Hello there", O200K)
    assert counted(says("Hello there"), says("Hello there", choice=1)) == 2 * alone
    assert counted(says("Hello there"), says("Hello there", index=4096, copy=True)) == alone
    assert counted(says("Hello there"), says("Hello there", ChannelKind.REASONING)) == 2 * alone


def test_what_a_tool_gave_back_is_no_word_of_the_models() -> None:
    assert counted(says("Hello there", role=Role.TOOL)) == 0


def test_a_call_counts_for_more_than_its_arguments() -> None:
    call = says('{"city":"Bern"}', ChannelKind.TOOL_ARGUMENTS)
    assert counted(call) == count('{"city":"Bern"}', O200K) + PER_CALL
    assert counted(call, call) == count('{"city":"Bern"}' * 2, O200K) + PER_CALL


def test_an_answer_of_very_many_channels_is_counted_in_bounded_memory() -> None:
    answer = AnswerTokens(EXACT, "o200k_base")
    for choice in range(10 * MAX_CHANNELS):
        answer.add([says("Hello there. ", choice=choice)])
    assert len(answer._channels) == MAX_CHANNELS
    others = count("Hello there. " * 9 * MAX_CHANNELS, O200K)
    assert answer.total == MAX_CHANNELS * count("Hello there. ", O200K) + others


def test_an_answer_is_not_counted_before_somebody_asks() -> None:
    answer = AnswerTokens(EXACT, "o200k_base")
    with patch.object(Counter, "feed", side_effect=AssertionError("counted")):
        for _ in range(20):
            answer.add([says(STORY)])
    assert answer.total == count(STORY * 20, O200K)


@pytest.mark.parametrize("text", [STORY, "a"])
def test_a_long_answer_is_counted_and_let_go_before_too_much_is_kept(text: str) -> None:
    answer = AnswerTokens(EXACT, "o200k_base")
    times = 3 * LONGEST_KEPT // len(text)
    for number in range(times):
        answer.add([says(text)])
        assert len(answer._kept) <= LONGEST_KEPT / PER_PIECE
        if number % (times // 20) == 0:
            assert sum(len(kept) for _, kept in answer._kept) <= LONGEST_KEPT
    assert answer.total == count(text * times, O200K)


@given(
    st.lists(st.sampled_from([STORY, "Hello ", "there", "日本語"]), max_size=40),
    st.sampled_from(["o200k_base", "estimate"]),
)
@settings(max_examples=40, deadline=None)
def test_asking_in_between_changes_no_count(texts: list[str], by: Any) -> None:
    asked, unasked = AnswerTokens(EXACT, by), AnswerTokens(EXACT, by)
    for number, text in enumerate(texts):
        asked.add([says(text, choice=number % 3)])
        unasked.add([says(text, choice=number % 3)])
        assert asked.total >= 0
    assert asked.total == unasked.total


def test_a_prompt_is_told_apart_by_whose_words_it_is() -> None:
    words = {"one": 1, "two": 1}
    parts = [
        PromptPart(Role.SYSTEM, "one two", 3),
        PromptPart(Role.USER, "one"),
        PromptPart(Role.ASSISTANT, "one two"),
        PromptPart(Role.TOOL, "one"),
        PromptPart(Role.USER, "one two", 5),
        PromptPart(Role.SYSTEM, "one", 7, definition=True),
    ]
    assert all(count(word, O200K) == tokens for word, tokens in words.items())
    found = EXACT.prompt(parts, "o200k_base")
    assert found == PromptTokens(system=5, history=3, user=7, tool_result=1, tool_definition=8)
    assert found.total == 24
    assert found.as_measures()["tool_result_tokens"] == 1


def test_a_prompt_past_its_length_is_estimated_from_there_on() -> None:
    bounded = Counting(Tokenizer(default="o200k_base", longest_exact=len(STORY)))
    parts = [PromptPart(Role.USER, STORY), PromptPart(Role.USER, STORY)]
    assert bounded.prompt(parts, "o200k_base").user == count(STORY, O200K) + estimate(STORY)


@pytest.mark.parametrize("text", [" " * 300_000, "\ud83d" * 50, "<|endoftext|>", "\x00" * 9000])
def test_hostile_text_is_counted_like_any_other(text: str) -> None:
    assert counted(says(text)) > 0
    assert EXACT.prompt(parts_of({"messages": [{"role": "user", "content": text}]}), "o200k_base").user > 0
