"""The decision log and the process's log."""

from __future__ import annotations

import io
import json
import logging
from typing import Any

import pytest

from ext_proc.telemetry.log import StandardLibraryHandler, decision_log, fault, json_log
from ext_proc.trail import Entry, Outcome, Stage, Trail, Word


def lines(stream: io.BytesIO) -> list[dict[str, Any]]:
    return [json.loads(line) for line in stream.getvalue().splitlines()]


def logged(trail: Trail) -> dict[str, Any]:
    stream = io.BytesIO()
    decision_log(json_log(stream), "eu")(trail)
    (line,) = lines(stream)
    return line


def entry(word: Word, enforced: bool) -> Entry:
    return Entry("p", Stage.REQUEST, word, "r", 0.001, enforced)


def test_a_decision_is_one_line_with_the_whole_trail() -> None:
    trail = Trail("t1", revision="7", route="tools", method="tools/call", target="search\n", duration=0.25)
    trail.record(entry(Word.ALLOW, True))
    line = logged(trail)
    assert line.pop("timestamp").endswith("Z")
    assert line == {"event": "decision", "level": "info", "region": "eu", **trail.as_dict()}


@pytest.mark.parametrize(
    ("word", "enforced", "outcome", "level"),
    [
        (Word.ALLOW, True, Outcome.OK, "info"),
        (Word.DENY, False, Outcome.OK, "info"),
        (Word.DENY, True, Outcome.REFUSED, "warning"),
        (Word.DENY, True, Outcome.OK, "warning"),  # one of a batch
        (Word.RESPOND, True, Outcome.REFUSED, "warning"),
        (Word.ALLOW, True, Outcome.REFUSED, "warning"),
        (Word.ALLOW, True, Outcome.TOOL_ERROR, "info"),
    ],
)
def test_denials_are_warnings_and_all_else_is_information(
    word: Word, enforced: bool, outcome: Outcome, level: str
) -> None:
    trail = Trail("t1", outcome=outcome)
    trail.record(entry(word, enforced))
    assert logged(trail)["level"] == level


def test_a_credential_that_serves_a_human_and_an_agent_is_a_warning() -> None:
    trail = Trail("t1", kind="delegated_agent", subject="ann")
    trail.record(Entry("gatehouse", Stage.IDENTITY, Word.ALLOW, "credential-shared", 0.0, enforced=True))
    line = logged(trail)
    assert (line["level"], line["kind"], line["subject"]) == ("warning", "delegated_agent", "ann")


def test_a_level_keeps_what_is_below_it_out() -> None:
    stream = io.BytesIO()
    log = json_log(stream, "warning")
    log.info("quiet")
    log.warning("heard", number=1)
    (line,) = lines(stream)
    assert (line["event"], line["level"], line["number"]) == ("heard", "warning", 1)


def test_a_fault_is_its_class_and_place_and_never_its_text() -> None:
    try:
        raise ValueError("payload")
    except ValueError as error:
        facts = fault(error)
    assert facts["error"] == "ValueError"
    assert facts["raised_at"][-1].endswith("test_a_fault_is_its_class_and_place_and_never_its_text")
    assert "payload" not in str(facts)


def test_what_libraries_log_arrives_without_the_text_of_their_exceptions() -> None:
    stream = io.BytesIO()
    handler = StandardLibraryHandler(json_log(stream))
    logger = logging.Logger("library")
    logger.addHandler(handler)
    logger.info("chatter")
    logger.warning("odd %s", "thing")
    try:
        raise ValueError("payload")
    except ValueError:
        logger.exception("broken")
    odd, broken = lines(stream)
    assert (odd["event"], odd["level"], odd["logger"]) == ("odd thing", "warning", "library")
    assert (broken["event"], broken["level"], broken["error"]) == ("broken", "error", "ValueError")
    assert "payload" not in str(broken)
