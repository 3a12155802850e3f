"""Usage over every recorded stream, disturbed: by what event streams may carry beside their events, by line ends, by
being cut short anywhere, by chunks of one byte. No figure changes that could be known, and no exchange is lost.

Not here: recordings as they are (test_usage_recorded.py).
"""

from __future__ import annotations

import dataclasses
import random
import re
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import pytest

from ext_proc.framing.sse import EventSplitter, Span
from ext_proc.ledger.record import Counted, State
from ext_proc.testing import Played, pass_through
from ext_proc.trail import Outcome, Word
from gatehouse_policies.usage import Parameters, UsageMeter
from tests.exchange.recordings import RECORDINGS, Recording
from tests.exchange.test_cutting import cut_at
from tests.policies.test_usage_recorded import METER, METERED, book, played
from tests.unit.ledger.keeping import kept

STREAMS = {name: recording for name, recording in RECORDINGS.items() if recording.streams}
EVERY = pytest.mark.parametrize("name", STREAMS)
SMALL = 2000  # bytes: up to here a stream is cut short at every byte
SHORT = 20_000  # bytes: up to here an answer comes byte by byte
MOST = 20  # events of a longer one at whose ends it is cut short
UNKNOWN = b'event: gatehouse.unknown\ndata: {"type":"gatehouse.unknown","x":[1,"two"]}\n\n'


def with_line_ends(ending: bytes) -> Callable[[bytes], bytes]:
    return lambda body: re.sub(rb"\r\n|\n", lambda _: ending, body)


def between_events(noise: bytes) -> Callable[[bytes], bytes]:
    """With something behind every whole event, in the stream's own line ends."""

    def disturb(body: bytes) -> bytes:
        ending = b"\r\n" if b"\r\n" in body else b"\n"
        return b"".join(
            raw + (noise.replace(b"\n", ending) if whole else b"") for raw, whole in [(b"", True), *events(body)]
        )

    return disturb


def events(body: bytes) -> Iterator[tuple[bytes, bool]]:
    """The events, and whether each is whole."""
    splitter = EventSplitter(1 << 30)
    for event in [*splitter.feed(body), *splitter.close()]:
        yield event.raw, event.span is Span.EVENT


DISTURBED: Mapping[str, Callable[[bytes], bytes]] = {
    "CR": with_line_ends(b"\r"),
    "CR LF": with_line_ends(b"\r\n"),
    "LF": with_line_ends(b"\n"),
    "a byte order mark": lambda body: b"\xef\xbb\xbf" + body,
    "comments": between_events(b": keep-alive\n\n"),
    "comments before events": between_events(b":\n"),
    "ids and times": between_events(b"id: 7\nretry: 3000\n\n"),
    "ids and times in events": between_events(b"id: 7\nretry: 3000\n"),
    "no data": between_events(b"data\n\n"),
    "blank lines": between_events(b"\n\n"),
    "unknown fields": between_events(b"colour: blue\n"),
    "unknown types": between_events(b"event: gatehouse.unknown\n\n"),
    "unknown events": between_events(UNKNOWN),
}


@EVERY
def test_what_a_stream_may_carry_beside_its_events_changes_no_figure_and_passes(name: str) -> None:
    recording = STREAMS[name]
    plain = played(recording)
    for how, disturb in DISTURBED.items():
        if how == "unknown fields" and recording.api == "streamGenerateContent":
            continue  # Google's clients read such a line as JSON of its own: it is malformed (codecs/gemini_streams.py)
        body = disturb(recording.response)
        found = played(dataclasses.replace(recording, response=body))
        assert found.client is not None
        assert found.client.body == body, how
        assert found.trail.facts == plain.trail.facts, how
        assert found.trail.outcome is plain.trail.outcome, how


def cut_short(
    recording: Recording, end: int, *, complete: bool, meter: UsageMeter = METER, id: str = "trail-1"
) -> Played:
    """An answer of which so many bytes came, and then an end or none."""
    less = dataclasses.replace(recording, response=recording.response[:end])
    return pass_through(book(meter), recording.asked(), less.answered(sized=False, complete=complete), trail_id=id)


def ends(recording: Recording) -> list[int]:
    """Where an answer is cut short: everywhere, or at the ends of events and at some hundred places in all."""
    body, dice = recording.response, random.Random(recording.name)
    if len(body) <= SMALL:
        return list(range(len(body) + 1))
    bounds = [0]
    for raw, _ in events(body):
        bounds.append(bounds[-1] + len(raw))
    near = bounds if len(bounds) <= MOST else dice.sample(bounds, MOST)
    places = {end + by for end in near for by in (-1, 0, 1)} | {dice.randrange(len(body)) for _ in range(10)}
    return sorted(place for place in places if 0 <= place <= len(body))


def says_something(body: bytes, *, complete: bool) -> bool:
    """Whether a whole event with data came; a last CR ends one only where nothing can follow it."""
    splitter = EventSplitter(1 << 30)
    found = [*splitter.feed(body), *(splitter.close() if complete else ())]
    return any(event.data and event.span is Span.EVENT for event in found)


@pytest.mark.parametrize("name", [name for name in STREAMS if name in METERED])
def test_wherever_a_stream_is_cut_short_what_came_is_on_record(name: str) -> None:
    recording, dice = STREAMS[name], random.Random(name)
    output = 0
    for end in ends(recording):
        complete = dice.random() < 0.5
        found = cut_short(recording, end, complete=complete)
        facts, body = found.trail.facts, recording.response[:end]
        assert found.client is not None, end
        assert found.client.body == body, end
        assert [entry for entry in found.trail.entries if entry.verdict is Word.ERROR] == [], end
        if says_something(body, complete=complete):
            assert facts["usage_reported"] is not facts["usage_estimated"], end
            assert facts["total_tokens"] == facts["input_tokens"] + facts["output_tokens"] > 0, end
            assert facts["usage_estimated"] or found.trail.outcome is not Outcome.EMPTY, end
        else:
            # What came and cannot be read has the figures of its prompt; nothing at all has none.
            assert facts["usage_reported"] is False, end
            # (Where all seems well, only the second half of a line's end was missing.)
            nothing = found.trail.outcome in (Outcome.EMPTY, Outcome.OK)
            assert facts.get("usage_estimated", False) is not nothing, end
        output = max(output, facts.get("output_tokens", 0))
    assert output > 0


def test_wherever_a_stream_is_cut_short_there_is_one_closed_record_of_it(tmp_path: Path) -> None:
    path, dice = tmp_path / "usage.db", random.Random(22)
    expected = {}
    for name in sorted(STREAMS.keys() & METERED.keys()):
        recording = METERED[name]
        for _ in range(2):
            end, complete = dice.randrange(len(recording.response)), dice.random() < 0.5
            id = f"{name}-{end}"
            meter = UsageMeter("usage", Parameters.model_validate({"ledger": {"sink": "sqlite", "path": str(path)}}))
            cut_short(recording, end, complete=complete, meter=meter, id=id)
            expected[id] = end > 0 or not complete
    found = kept(path)
    assert found.keys() == expected.keys()
    assert {record.state for record in found.values()} == {State.CLOSED}
    told = {id: record.counted in (Counted.REPORTED, Counted.ESTIMATED) for id, record in found.items()}
    assert told == expected


@pytest.mark.parametrize("name", RECORDINGS)
def test_an_answer_that_comes_byte_by_byte_or_is_cut_around_its_events_has_the_same_figures(name: str) -> None:
    recording = RECORDINGS[name]
    body, places = recording.response, [0]
    for raw, _ in events(body) if recording.streams else ():
        places.append(places[-1] + len(raw))
    where = range(len(body)) if len(body) <= SHORT else [max(place + by, 0) for place in places for by in (-1, 0, 1)]
    uncut, cut = played(recording), played(recording, cut=lambda raw: cut_at(raw, list(where)))
    assert cut.client is not None
    assert cut.client.body == body
    assert cut.trail.facts == uncut.trail.facts
    assert cut.metadata == uncut.metadata
    assert cut.trail.outcome is uncut.trail.outcome
