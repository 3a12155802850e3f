"""messages/proposals.py: what is remembered of an answer's calls."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from ext_proc.messages import Proposals, ProposedCall
from ext_proc.messages.proposals import MAX_CALLS


def call(index: int, choice: int = 0) -> ProposedCall:
    return ProposedCall(choice, index, "search")


def test_a_call_is_neither_kept_nor_taken_before_somebody_said_so() -> None:
    decided = Proposals()
    assert (decided.has_kept(0, 0), decided.has_taken(0, 0), decided.place(0, 0)) == (False, False, None)
    assert not decided.took_all(0)


def test_what_was_said_last_of_a_call_holds() -> None:
    decided = Proposals()
    decided.keep(call(0))
    decided.take(call(0))
    assert (decided.has_kept(0, 0), decided.has_taken(0, 0), decided.place(0, 0)) == (False, True, None)
    decided.keep(call(0))
    assert (decided.has_kept(0, 0), decided.has_taken(0, 0), decided.place(0, 0)) == (True, False, 0)


def test_a_choice_of_which_all_calls_were_taken_is_told_from_one_that_had_none() -> None:
    decided = Proposals()
    decided.take(call(0, choice=1))
    decided.keep(call(0, choice=2))
    decided.take(call(1, choice=2))
    assert [decided.took_all(choice) for choice in (0, 1, 2)] == [False, True, False]


@given(st.lists(st.booleans(), max_size=20))
def test_those_that_were_kept_are_counted_without_gaps(kept: list[bool]) -> None:
    decided = Proposals()
    for index, keeps in enumerate(kept):
        (decided.keep if keeps else decided.take)(call(index))
    places = [decided.place(0, index) for index in range(len(kept))]
    assert [place for place in places if place is not None] == list(range(sum(kept)))
    assert [place is not None for place in places] == kept


def test_it_is_full_once_so_many_are_known_and_none_is_counted_twice() -> None:
    decided = Proposals()
    for index in range(MAX_CALLS - 1):
        (decided.keep if index % 2 else decided.take)(call(index))
        (decided.keep if index % 2 else decided.take)(call(index))
    assert not decided.full
    decided.take(call(MAX_CALLS))
    assert decided.full


def test_arguments_are_in_no_text_of_a_call() -> None:
    assert "secret" not in repr(ProposedCall(0, 0, "search", arguments={"q": "secret"}))
