"""framing/sse.py: events to the letter of the standard, the same for every cutting, and written back line by line."""

from __future__ import annotations

import base64
import json
import time
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from ext_proc.framing.body import SPAN
from ext_proc.framing.sse import (
    EventSplitter,
    ServerSentEvent,
    Span,
    encode_event,
    with_data,
    without_data,
)

FIXTURES = Path(__file__).parents[2] / "data" / "sse" / "eventsource_parser_fixtures.jsonl"
CASES = [json.loads(line) for line in FIXTURES.read_text().splitlines()]
LIMIT = 1 << 20

fixture = pytest.mark.parametrize("case", CASES, ids=lambda case: case["name"])


def split(chunks: Sequence[bytes], limit: int = LIMIT) -> list[ServerSentEvent]:
    splitter = EventSplitter(limit)
    return [event for chunk in chunks for event in splitter.feed(chunk)] + splitter.close()


def one(raw: bytes) -> ServerSentEvent:
    (event,) = split([raw])
    return event


def dispatched(events: Sequence[ServerSentEvent]) -> list[dict[str, Any]]:
    """What a client would dispatch, in the fixtures' words."""
    found = []
    last_id = ""
    for event in events:
        if event.span is not Span.EVENT:
            continue
        last_id = last_id if event.id is None else event.id
        if event.data is not None:
            found.append(
                {
                    "event": event.event or None,
                    "data": event.data.decode(),
                    "id_in_block": event.id,
                    "last_event_id": last_id,
                }
            )
    return found


def check(case: dict[str, Any], chunks: Sequence[bytes]) -> None:
    events = split(chunks)
    assert dispatched(events) == case["events"]
    assert [event.retry for event in events if event.retry is not None] == case["retry"]
    assert b"".join(event.raw for event in events) == base64.b64decode(case["bytes_base64"])


@fixture
def test_a_fixture_fed_whole_gives_its_events(case: dict[str, Any]) -> None:
    check(case, [base64.b64decode(case["bytes_base64"])])


@fixture
def test_a_fixture_fed_as_its_author_did_gives_its_events(case: dict[str, Any]) -> None:
    check(case, [chunk.encode() for chunk in case["chunks"]])


@fixture
def test_a_fixture_fed_byte_by_byte_gives_its_events(case: dict[str, Any]) -> None:
    raw = base64.b64decode(case["bytes_base64"])
    check(case, [raw[i : i + 1] for i in range(len(raw))])


@fixture
@given(data=st.data())
def test_a_fixture_cut_anywhere_gives_its_events(case: dict[str, Any], data: st.DataObject) -> None:
    raw = base64.b64decode(case["bytes_base64"])
    cuts = data.draw(st.lists(st.integers(0, len(raw)), max_size=6))
    bounds = [0, *sorted(cuts), len(raw)]
    check(case, [raw[a:b] for a, b in pairwise(bounds)])


@pytest.mark.parametrize("ending", [b"\n", b"\r", b"\r\n"])
def test_each_kind_of_line_end_ends_a_line(ending: bytes) -> None:
    raw = ending.join([b"id: 7", b"event: e", b"data: a", b"data:b", b"", b""])
    event = one(raw)
    assert (event.id, event.event, event.data, event.raw) == ("7", "e", b"a\nb", raw)


def test_a_cr_lf_in_two_chunks_is_one_line_end() -> None:
    events = split([b"data: a\r", b"\ndata: b\r\n\r", b"\ndata: c\r\n\r\n"])
    assert [event.data for event in events] == [b"a\nb", b"c"]
    assert events[0].raw.endswith(b"\r\n\r\n")


def test_a_cr_at_the_end_of_the_stream_ends_the_event() -> None:
    assert one(b"data: a\r\r").span is Span.EVENT


@pytest.mark.parametrize(
    ("raw", "data"),
    [
        (b"data\n\n", b""),
        (b"data:\n\n", b""),
        (b"data:  a\n\n", b" a"),
        (b"data:a:b\n\n", b"a:b"),
        (b"data: \ndata: \n\n", b"\n"),
        (b"Data: a\n\n", None),
        (b" data: a\n\n", None),
        (b": data: a\n\n", None),
        (b"id: 1\n\n", None),
        (b"\n", None),
    ],
)
def test_data_is_what_the_standard_says(raw: bytes, data: bytes | None) -> None:
    assert one(raw).data == data


def test_separators_of_other_standards_end_no_line() -> None:
    text = "a\u2028data: b\x0b\x0c\x1c\x85\u2029c"
    assert one(f"data: {text}\n\n".encode()).data == text.encode()


@pytest.mark.parametrize(
    ("line", "retry"),
    [(b"500", 500), (b"05", 5), (b"", None), (b"5x", None), (b"-5", None), (b"\xd9\xa3", None), (b"9" * 5000, None)],
)
def test_retry_counts_only_as_plain_digits(line: bytes, retry: int | None) -> None:
    assert one(b"retry: " + line + b"\n\n").retry == retry


def test_an_id_with_nul_is_ignored_and_an_empty_one_counts() -> None:
    assert one(b"id: a\0b\n\n").id is None
    assert one(b"id\n\n").id == ""


def test_a_byte_order_mark_counts_at_the_start_of_any_event() -> None:
    # In the middle of a stream a client reads past it; at its start, where all before was taken out, it does not.
    events = split([b"\xef\xbb\xbfdata: a\n\n\xef\xbb\xbfdata: b\n\n\xef\xbb\xbf\r\ndata: c\n\n"])
    assert [(event.data, event.marked) for event in events] == [(b"a", True), (b"b", True), (None, True), (b"c", False)]
    assert split([b"data: a\n\xef\xbb\xbfdata: b\n\n"])[0].data == b"a"


def test_a_comment_leaves_at_its_blank_line_without_waiting_for_an_event() -> None:
    assert [event.raw for event in EventSplitter(LIMIT).feed(b": ping\n\n")] == [b": ping\n\n"]


def test_what_the_stream_ends_in_the_middle_of_is_unterminated() -> None:
    event = one(b"data: a\ndata: b")
    assert (event.span, event.data) == (Span.UNTERMINATED, b"a\nb")


def test_an_event_past_the_limit_comes_in_spans_and_the_next_one_is_read_again() -> None:
    big = b"data: " + b"x" * (2 * SPAN) + b"\n\n"
    events = split([b"data: a\n\n" + big + b"data: b\n\n"], limit=100)
    assert [event.span for event in events] == [Span.EVENT, Span.TOO_LARGE, Span.REST, Span.REST, Span.EVENT]
    assert b"".join(event.raw for event in events[1:4]) == big
    assert (events[1].data, events[4].data) == (None, b"b")


def test_an_event_of_exactly_the_limit_is_read() -> None:
    raw = b"data: 123\r\n\r\n"
    assert [event.span for event in split([raw, b"data: 1\n\n"], limit=len(raw))] == [Span.EVENT, Span.EVENT]
    assert [event.span for event in split([raw], limit=len(raw) - 1)] == [Span.TOO_LARGE, Span.REST]


def test_an_endless_event_is_never_held() -> None:
    splitter = EventSplitter(1000)
    out = sum(len(event.raw) for _ in range(100) for event in splitter.feed(b"x" * 10_000))
    assert 1_000_000 - out < SPAN + 10


PIECES = st.lists(
    st.sampled_from(
        [b"\r", b"\n", b"\r\n", b"\n\n", b"data: a", b"data", b":", b"id: 1", b"retry: 5", b"x", b"\xef\xbb\xbf", b" "]
    ),
    max_size=24,
).map(b"".join)
# As servers write: most events are alike, and so are most lines' ends.
USUAL = st.lists(
    st.sampled_from(
        [
            *(b"data: a\n\n", b"event: e\ndata: b\n\n", b": c\n\n", b"data: a", b"event: e", b"event: \xff\n"),
            *(b"data:x\n", b"id: 1\n", b"\n", b"\n\n", b" ", b"\r", b"\xef\xbb\xbf"),
        ]
    ),
    max_size=10,
)
STREAMS = PIECES | st.builds(
    lambda pieces, ending: b"".join(pieces).replace(b"\n", ending), USUAL, st.sampled_from([b"\n", b"\r\n"])
)


@example(b"data: a\n\nevent: x", [], LIMIT)
@example(b"data: a\r\n\r\nevent: e\r\ndata: b\r\n\r\ndata: c\r\n", [], LIMIT)
@given(STREAMS, st.lists(st.integers(0, 80), max_size=8), st.sampled_from([1, 2, 3, 4, 5, 8, 16, LIMIT]))
def test_the_events_do_not_depend_on_how_the_stream_was_cut(raw: bytes, cuts: list[int], limit: int) -> None:
    whole = split([raw], limit)
    bounds = [0, *sorted(min(cut, len(raw)) for cut in cuts), len(raw)]
    assert split([raw[a:b] for a, b in pairwise(bounds)], limit) == whole
    assert split([raw[i : i + 1] for i in range(len(raw))], limit) == whole
    assert b"".join(event.raw for event in whole) == raw


@given(st.lists(st.integers(0, 200_100), max_size=5), st.sampled_from([10, SPAN, 100_000]))
def test_the_spans_of_what_is_too_large_do_not_depend_on_cuts_either(cuts: list[int], limit: int) -> None:
    raw = b"data: " + b"x" * 200_000 + b"\r\n\r\ndata: b\r\n\r\n"
    bounds = [0, *sorted(min(cut, len(raw)) for cut in cuts), len(raw)]
    assert split([raw[a:b] for a, b in pairwise(bounds)], limit) == split([raw], limit)


def test_one_byte_chunks_take_time_in_proportion() -> None:
    def seconds(size: int) -> float:
        raw = b"data: " + b"x" * size
        splitter = EventSplitter(LIMIT)
        began = time.perf_counter()
        for i in range(len(raw)):
            splitter.feed(raw[i : i + 1])
        return time.perf_counter() - began

    # Eight times the bytes: linear is about 8, quadratic about 64.
    assert min(seconds(80_000) for _ in range(3)) < 24 * min(seconds(10_000) for _ in range(3))


def test_a_new_event_carries_its_data_whatever_lines_it_has() -> None:
    assert encode_event(b"a\nb") == b"data: a\ndata: b\n\n"
    assert one(encode_event(b"x\r\ny\rz")).data == b"x\ny\nz"


def test_changed_data_leaves_every_other_line_as_it_is() -> None:
    raw = b"\xef\xbb\xbf: hi\r\nid: 7\r\ndata: a\r\nfoo\r\ndata:b\r\nevent:e\r\nretry: 5\r\n\r\n"
    expected = b"\xef\xbb\xbf: hi\r\nid: 7\r\ndata: new\r\nfoo\r\nevent:e\r\nretry: 5\r\n\r\n"
    assert with_data(one(raw), b"new") == expected


def test_data_put_into_an_event_without_data_stands_before_its_end() -> None:
    assert with_data(one(b": hi\n\n"), b"new") == b": hi\ndata: new\n\n"
    assert with_data(one(b"\n"), b"new") == b"data: new\n\n"


def test_what_was_no_whole_event_becomes_a_new_one() -> None:
    assert with_data(one(b"id: 5\ndata: a"), b"new") == b"data: new\n\n"


def test_an_event_that_is_taken_out_leaves_its_id_and_comments() -> None:
    raw = b": hi\nid: 7\nevent: e\ndata: a\nretry: 5\n\n"
    assert without_data(one(raw)) == b": hi\nid: 7\nretry: 5\n\n"


def test_an_event_without_an_id_leaves_nothing() -> None:
    assert without_data(one(b"event: e\ndata: a\n\n")) == b""
    assert without_data(one(b"id: 7\ndata: a")) == b""


JUNK = st.lists(
    st.sampled_from([b"data: a", b"data", b"id: 1", b": c", b"event: e", b"retry: 5", b"foo: x"]),
    min_size=1,
    max_size=6,
)


@given(
    JUNK, st.sampled_from([b"\n", b"\r", b"\r\n"]), st.text(alphabet='{}": \r\n\u2028é', max_size=12).map(str.encode)
)
def test_a_rewritten_event_reads_as_the_same_event_with_the_new_data(
    lines: list[bytes], ending: bytes, data: bytes
) -> None:
    event = one(ending.join([*lines, b"", b""]))
    changed = one(with_data(event, data))
    assert changed.data == data.replace(b"\r\n", b"\n").replace(b"\r", b"\n")
    assert (changed.id, changed.retry, changed.event) == (event.id, event.retry, event.event)
    left = without_data(event)
    if left:
        assert (one(left).data, one(left).id, one(left).retry) == (None, event.id, event.retry)


def test_a_repr_shows_no_payload() -> None:
    assert "secret" not in repr(one(b"id: secret\nevent: secret\ndata: secret\n\n"))
