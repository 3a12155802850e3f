"""records: what is approved stays approved, what changes is quarantined until somebody says yes, and bounds hold."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ext_proc.pins.records import (
    CHANGED,
    FIRST_USE,
    LOCK,
    MOST_BY,
    NEW,
    PINNED,
    QUARANTINED,
    UNLOCKED,
    Pin,
    Terms,
    allows,
    approved,
    growth,
    in_force,
    listed,
)

OPEN = Terms(opens=True)
LATER = Terms()


def after(*digests: str, terms: Terms = LATER, pin: Pin | None = None, found: Sequence[str] = ()) -> Pin:
    """The record after these definitions were listed, one second after the other; the first at first use."""
    for second, digest in enumerate(digests):
        at_first = OPEN if pin is None and terms is LATER else terms
        pin = listed(pin, digest, 10, found, at_first, float(second))
    assert pin is not None
    return pin


def test_what_is_there_at_first_is_pinned() -> None:
    pin = after("a")
    assert (pin.state, pin.why, [version.by for version in pin.approved]) == (PINNED, (), [FIRST_USE])
    assert allows(pin, None, True)


def test_what_has_not_changed_is_the_same_record() -> None:
    pin = after("a")
    assert listed(pin, "a", 10, (), LATER, 99.0) is pin
    changed = after("a", "b")
    assert listed(changed, "b", 10, (), LATER, 99.0) is changed


def test_a_change_is_quarantined_and_stays_so_when_it_is_taken_back() -> None:
    pin = after("a", "b", "a", "a")
    assert (pin.state, pin.why, pin.since) == (QUARANTINED, (CHANGED,), 1.0)
    assert not allows(pin, None, True)


def test_a_name_that_comes_later_is_quarantined() -> None:
    pin = listed(None, "a", 10, (), LATER, 1.0)
    assert (pin.state, pin.why, pin.approved) == (QUARANTINED, (NEW,), ())


def test_what_speaks_against_a_definition_quarantines_it_at_first_use_too() -> None:
    pin = listed(None, "a", 10, ("hidden-characters",), OPEN, 1.0)
    assert (pin.state, pin.why) == (QUARANTINED, ("hidden-characters",))


def test_what_was_trusted_at_first_use_is_held_back_once_something_is_found_in_it() -> None:
    pin = listed(after("a"), "a", 10, ("instruction-like",), LATER, 5.0)
    assert (pin.state, pin.why) == (QUARANTINED, (CHANGED, "instruction-like"))


def test_what_a_person_approved_is_approved_with_all_that_is_found_in_it() -> None:
    pin = approved(listed(None, "a", 10, ("hidden-characters",), OPEN, 1.0), "a", "ann", 2.0, 4)
    assert (pin.state, pin.why, pin.offered, pin.since) == (PINNED, (), (), 2.0)
    assert listed(pin, "a", 10, ("hidden-characters",), LATER, 3.0) is pin


def test_approving_names_who_and_when_and_adds_to_what_was_approved() -> None:
    pin = approved(after("a", "b"), "b", "ann" * 100, 7.0, 4)
    assert [(version.digest, version.at) for version in pin.approved] == [("a", 0.0), ("b", 7.0)]
    assert len(pin.approved[-1].by) == MOST_BY
    # A rolling deployment lists the one and the other.
    assert listed(listed(pin, "a", 10, (), LATER, 8.0), "b", 10, (), LATER, 9.0) is pin


def test_approving_only_one_takes_back_the_others() -> None:
    pin = approved(after("a", "b"), "b", "ann", 7.0, 4, only=True)
    assert listed(pin, "a", 10, (), LATER, 8.0).state == QUARANTINED


def test_what_was_listed_while_somebody_looked_still_holds_the_tool_back() -> None:
    pin = approved(after("a", "b", "c"), "b", "ann", 7.0, 4)
    assert (pin.state, pin.why, [version.digest for version in pin.offered]) == (QUARANTINED, (CHANGED,), ["c"])
    assert [version.digest for version in pin.approved] == ["a", "b"]
    # Whoever says it again knows that the server is back at it.
    assert approved(pin, "b", "ann", 8.0, 4).state == PINNED
    assert approved(pin, "c", "ann", 8.0, 4).state == PINNED
    assert approved(after("a", "b"), "a", "ann", 8.0, 4).state == PINNED


def test_what_is_not_known_cannot_be_approved() -> None:
    with pytest.raises(KeyError):
        approved(after("a"), "z", "ann", 1.0, 4)


def test_versions_are_bounded_and_the_oldest_make_room() -> None:
    pin = after("a", *"bcdefgh", terms=LATER)
    assert [version.digest for version in pin.offered] == list("efgh")
    for digest in "efgh":
        pin = approved(listed(pin, digest, 10, (), LATER, 8.0), digest, "ann", 9.0, 3)
    assert [version.digest for version in pin.approved] == list("fgh")


def test_without_first_use_only_what_is_locked_is_pinned() -> None:
    strict = Terms(trusts_first=False, opens=True)
    pin = listed(None, "a", 10, (), strict, 1.0)
    assert (pin.state, pin.why) == (QUARANTINED, (UNLOCKED,))
    assert listed(after("a"), "a", 10, (), strict, 2.0).state == QUARANTINED


def test_what_the_lock_file_names_is_pinned_to_it() -> None:
    terms = Terms(locked=("a", "b"), opens=True)
    pin = after("a", "b", "a", terms=terms)
    assert (pin.state, {version.by for version in pin.approved}) == (PINNED, {LOCK})
    assert (after("a", "z", "a", terms=terms).state, after("a", "z", terms=terms).why) == (QUARANTINED, (CHANGED,))
    assert after("z", terms=terms).state == QUARANTINED
    assert allows(pin, ("b", "a"), True)


def test_another_lock_file_is_another_question() -> None:
    held = after("a", "z", terms=Terms(locked=("a",)))
    assert listed(held, "z", 10, (), Terms(locked=("a", "z")), 3.0).state == PINNED
    pinned = after("a", terms=Terms(locked=("a",)))
    assert not allows(pinned, ("z",), True)
    assert not allows(pinned, None, True)
    assert listed(pinned, "a", 10, (), Terms(locked=("z",)), 3.0).state == QUARANTINED
    # Named no longer, it is what trust says of a name that is not new.
    assert listed(pinned, "a", 10, (), LATER, 3.0).state == QUARANTINED


def test_a_new_lock_file_that_names_all_that_may_be_there_changes_nothing() -> None:
    pinned = approved(after("a", "b"), "b", "ann", 7.0, 4)
    assert allows(pinned, ("b", "x", "a"), True)
    assert not allows(pinned, ("b",), True)
    assert not allows(after("a", "z", terms=Terms(locked=("a",))), ("a", "z"), True)


def test_what_was_trusted_at_first_is_not_called_once_only_the_lock_file_is_trusted() -> None:
    assert allows(after("a"), None, True)
    assert not allows(after("a"), None, False)
    assert not allows(approved(after("a", "b"), "b", "ann", 7.0, 4), None, False)
    assert allows(approved(after("a", "b"), "b", "ann", 7.0, 4, only=True), None, False)


def test_what_is_in_force_is_what_still_counts() -> None:
    pin = approved(after("a", "b", terms=Terms(locked=("a",))), "b", "ann", 7.0, 4)
    for locked, wanted in ((("a",), ["a", "b"]), (("x", "a"), ["a"]), (None, ["b"])):
        assert [version.digest for version in in_force(pin, Terms(locked=locked))] == wanted
    assert [version.digest for version in in_force(after("a"), Terms())] == ["a"]
    assert in_force(after("a"), Terms(trusts_first=False)) == []


def test_an_approval_counts_as_long_as_the_lock_file_says_what_it_said() -> None:
    terms = Terms(locked=("a",))
    pin = approved(after("a", "z", terms=terms), "z", "ann", 3.0, 4)
    assert allows(pin, ("a",), True)
    assert listed(pin, "z", 10, (), terms, 4.0) is pin
    assert listed(pin, "z", 10, (), Terms(locked=("other",)), 5.0).state == QUARANTINED


def test_what_a_lock_file_names_can_be_approved_after_something_else_was_listed() -> None:
    pin = after("z", "a", terms=Terms(locked=("a",)))
    assert pin.state == QUARANTINED
    assert approved(pin, "a", "ann", 3.0, 4).state == PINNED


def test_growth_is_what_is_kept_more() -> None:
    pin = after("a")
    assert growth(None, pin) == 10
    assert growth(pin, after("a", "b")) == 10
    assert growth(after("a", "b"), approved(after("a", "b"), "b", "x", 3.0, 4, only=True)) == -10


@given(st.lists(st.tuples(st.sampled_from("abcde"), st.booleans()), max_size=30))
def test_nothing_but_approval_ends_a_quarantine(steps: list[tuple[str, bool]]) -> None:
    pin: Pin | None = None
    for second, (digest, approves) in enumerate(steps):
        before = pin
        pin = listed(pin, digest, 1, (), Terms(opens=second == 0, most=3), float(second))
        if before is not None and before.state == QUARANTINED:
            assert pin.state == QUARANTINED
        if pin.state == PINNED:
            assert digest in {version.digest for version in pin.approved}
        if approves and digest in pin.digests:
            pin = approved(pin, digest, "ann", float(second), 3)
            assert digest in {version.digest for version in pin.approved}
        assert len(pin.approved) <= 3
        assert len(pin.offered) <= 3
        assert msgspec.json.decode(msgspec.json.encode(pin), type=Pin) == pin
