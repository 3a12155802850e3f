"""A record: what it says of its end, and how it is written."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ext_proc.ledger.record import (
    FIELDS,
    MAX_NAME,
    Counted,
    LedgerError,
    State,
    UsageRecord,
    decode,
    encode,
    name,
)
from tests.unit.ledger.keeping import OPENED, record

FIGURES: dict[str, Any] = {"input_tokens": 10, "output_tokens": 21, "counted": Counted.REPORTED}


def test_what_is_not_known_is_not_written() -> None:
    written = msgspec.json.decode(encode(record(model_asked="m", input_tokens=3)))
    assert written == {"version": 1, "id": "a", "opened": OPENED, "model_asked": "m", "input_tokens": 3}


@settings(max_examples=60)
@given(st.text(max_size=300), st.integers(0, 2**53), st.one_of(st.none(), st.floats(0, 1e10)))
def test_what_is_written_is_read_again(text: str, count: int, seconds: float | None) -> None:
    before = record(subject=name(text), output_tokens=count, first_token=seconds, path=(name(text),))
    line = encode(before)
    assert b"\n" not in line
    assert decode(line) == before


def test_a_record_with_more_fields_is_read_and_one_of_another_version_is_not() -> None:
    assert decode(b'{"version":1,"id":"a","opened":1.0,"new":[1]}') == UsageRecord(id="a", opened=1.0)
    for data in (
        b'{"version":2,"id":"a","opened":1.0}',
        b'{"id":"a"}',
        b"{",
        b"",
        b'{"version":1,"id":"\xff","opened":1}',
    ):
        with pytest.raises(LedgerError, match="no usage record of version 1"):
            decode(data)


def test_the_end_tells_how_long_it_took_and_how_long_each_token() -> None:
    ended = record(first_token=OPENED + 2, **FIGURES).ended(State.CLOSED, OPENED + 12)
    assert (ended.state, ended.closed, ended.total_seconds) == (State.CLOSED, OPENED + 12, 12.0)
    assert ended.seconds_per_output_token == 0.5


def test_of_an_answer_that_came_whole_no_time_per_token_is_known() -> None:
    assert record(**FIGURES).ended(State.CLOSED, OPENED + 12).seconds_per_output_token is None


def test_a_clock_that_goes_back_makes_no_negative_times() -> None:
    assert record().ended(State.CLOSED, OPENED - 5).total_seconds == 0.0


def test_an_interrupted_record_keeps_the_figures_of_its_last_checkpoint_as_an_estimate() -> None:
    found = record(checkpointed=OPENED + 4, **FIGURES).interrupted()
    assert (found.state, found.counted, found.output_tokens) == (State.INTERRUPTED, Counted.ESTIMATED, 21)
    assert (found.closed, found.total_seconds, found.outcome) == (OPENED + 4, 4.0, "")


def test_an_interrupted_record_without_a_checkpoint_has_no_figures() -> None:
    found = record().interrupted()
    assert (found.closed, found.counted, found.total_seconds) == (OPENED, Counted.NOT, 0.0)


def test_a_name_is_bounded_and_can_be_written() -> None:
    assert name("\ud800" + "x" * 1000) == "?" + "x" * (MAX_NAME - 1)


def test_the_fields_are_those_of_the_record_and_its_version() -> None:
    assert FIELDS[0] == "version"
    assert set(msgspec.json.decode(encode(record(subject="s")))) <= set(FIELDS)
