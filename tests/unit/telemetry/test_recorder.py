"""One trail to every view."""

from __future__ import annotations

import io
import json

from ext_proc.telemetry.log import json_log
from ext_proc.telemetry.recorder import Recorder, governed_only
from ext_proc.trail import Entry, Stage, Trail, Word


def test_every_view_gets_every_trail() -> None:
    first: list[Trail] = []
    second: list[Trail] = []
    recorder = Recorder({"a": first.append, "b": second.append}, json_log(io.BytesIO()))
    trails = [Trail("1"), Trail("2")]
    for trail in trails:
        recorder.record(trail)
    assert first == second == trails


def test_a_view_that_fails_stops_nobody_and_is_logged_once() -> None:
    def fail(trail: Trail) -> None:
        raise ValueError("payload")

    seen: list[Trail] = []
    stream = io.BytesIO()
    recorder = Recorder({"broken": fail, "b": seen.append}, json_log(stream))
    for _ in range(3):
        recorder.record(Trail("1"))
    assert len(seen) == 3
    (line,) = stream.getvalue().splitlines()
    assert (json.loads(line)["view"], json.loads(line)["error"]) == ("broken", "ValueError")
    assert b"payload" not in line


def test_an_exchange_that_nothing_governed_is_no_decision_unless_it_was_refused() -> None:
    seen: list[str] = []
    view = governed_only(lambda trail: seen.append(trail.id))
    unmatched, refused = Trail("unmatched"), Trail("refused")
    refused.record(Entry("gatehouse", Stage.REQUEST_HEADERS, Word.DENY, "unmatched-route", 0.0, enforced=True))
    for trail in (unmatched, refused, Trail("governed", route="tools")):
        view(trail)
    assert seen == ["refused", "governed"]
