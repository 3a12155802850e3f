"""The trail is bounded, counts what repeats, and knows what ended the exchange."""

from __future__ import annotations

import itertools

import pytest

from ext_proc.trail import MAX_ENTRIES, Entry, Outcome, Stage, Trail, Word


def entry(policy: str = "p", verdict: Word = Word.ALLOW, reason: str = "", enforced: bool = True) -> Entry:
    return Entry(policy, Stage.RESPONSE, verdict, reason, 0.001, enforced)


def test_like_entries_are_counted_where_the_first_of_them_stands() -> None:
    trail = Trail("t")
    for _ in range(3):
        trail.record(entry())
    trail.record(entry("q"))
    trail.record(entry())
    assert [(e.policy, e.count) for e in trail.entries] == [("p", 4), ("q", 1)]
    assert trail.entries[0].duration == pytest.approx(0.004)


def test_who_records_is_told_which_entry_counts() -> None:
    trail = Trail("t")
    first = trail.record(entry())
    assert first is trail.entries[0]
    assert trail.record(entry()) is first
    for index in range(MAX_ENTRIES):
        last = trail.record(entry(str(index)))
    assert last is None


def test_a_denial_is_on_record_however_much_came_before_it() -> None:
    trail = Trail("t")
    for index in range(MAX_ENTRIES + 5):
        trail.record(entry(str(index)))
    trail.record(entry("guard", Word.DENY, "leak"))
    assert trail.denied is not None
    assert (trail.denied.policy, trail.dropped) == ("guard", 5)


def test_past_its_bound_entries_are_only_counted() -> None:
    trail = Trail("t")
    for index in range(MAX_ENTRIES + 5):
        trail.record(entry(str(index)))
    assert (len(trail.entries), trail.dropped) == (MAX_ENTRIES, 5)
    for index in range(MAX_ENTRIES + 5):
        trail.note(str(index))
        trail.note(str(index))
    assert len(trail.notes) == MAX_ENTRIES


@pytest.mark.parametrize(
    ("verdict", "enforced", "ends"),
    [
        (Word.DENY, True, True),
        (Word.RESPOND, True, True),
        (Word.ERROR, True, True),
        (Word.DENY, False, False),
        (Word.ERROR, False, False),
        (Word.ALLOW, True, False),
    ],
)
def test_only_an_enforced_denial_ended_it(verdict: Word, enforced: bool, ends: bool) -> None:
    trail = Trail("t")
    trail.record(entry(verdict=verdict, enforced=enforced))
    assert (trail.denied is not None) is ends


def test_the_graver_outcome_wins_whichever_comes_first() -> None:
    for a, b in itertools.product(Outcome, Outcome):
        assert a.worse(b) is b.worse(a)
    assert Outcome.OK.worse(Outcome.TOOL_ERROR) is Outcome.TOOL_ERROR
    assert Outcome.TRUNCATED.worse(Outcome.REFUSED) is Outcome.REFUSED


def test_as_plain_values_durations_are_milliseconds() -> None:
    trail = Trail("t", duration=0.0125)
    trail.record(entry(reason="because"))
    assert trail.as_dict()["duration_ms"] == 12.5
    assert trail.as_dict()["entries"] == [
        {
            "policy": "p",
            "stage": "response",
            "verdict": "allow",
            "reason": "because",
            "duration_ms": 1.0,
            "enforced": True,
            "count": 1,
        }
    ]


def test_the_path_has_each_policy_once_with_its_gravest_word() -> None:
    trail = Trail("t")
    for policy, word, enforced in (
        ("access", Word.ALLOW, True),
        ("tone", Word.ALLOW, False),
        ("tone", Word.DENY, False),
        ("access", Word.CHANGE, True),
        ("meter", Word.SKIP, True),
        ("access", Word.ALLOW, True),
    ):
        trail.record(Entry(policy, Stage.REQUEST, word, "", 0.0, enforced))
    assert trail.path() == ("access:change", "tone:deny:shadow", "meter:skip")
