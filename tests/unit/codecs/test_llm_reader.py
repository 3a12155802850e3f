"""codecs/llm_reader.py: what readers of all formats know of an answer, and how they tell what cannot be read."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import pytest

from ext_proc.codecs.llm_fields import reject
from ext_proc.codecs.llm_frames import Part
from ext_proc.codecs.llm_reader import Reader
from ext_proc.framing.sse import EventSplitter
from ext_proc.limits import DEFAULTS
from ext_proc.messages import ModelListing, Opaque
from ext_proc.policy import Deny
from ext_proc.trail import Outcome

ASKED = ModelListing(b"")


class Plain(Reader):
    """Reads objects: `{"ends": true}` ends a stream, and all that has members is something produced."""

    provider = "Nobody"
    format = "plain"

    def _document(self, value: Any, data: bytes) -> Part:
        part = self._event(value, data)
        self._channels.finish()
        return part

    def _event(self, value: Any, data: bytes) -> Part:
        if not isinstance(value, dict):
            reject("this is not an object")
        if self._is_error(value):
            self._has_erred()
        if value.get("ends"):
            self._channels.finish()
        self._produced = self._produced or bool(value)
        return Part(Opaque("read", "as it is", raw=data))

    def _error_object(self, deny: Deny, trail_id: str, status: int) -> Mapping[str, Any]:
        return {"error": deny.reason, "trail": trail_id, "status": status}


def reader(*, failed: bool = False) -> Plain:
    return Plain([ASKED], DEFAULTS, failed=failed)


def read(made: Plain, data: bytes) -> Opaque:
    message = made.document(data).message
    assert isinstance(message, Opaque)
    return message


def stream(made: Plain, data: bytes) -> list[str]:
    """The reasons of what events are."""
    splitter = EventSplitter(DEFAULTS.event)
    parts = [made.event(event) for event in (*splitter.feed(data), *splitter.close()) if event.data]
    made.end(empty=not data, streamed=True)
    return [part.message.reason for part in parts if isinstance(part.message, Opaque)]


def test_an_answer_is_awaited_until_it_is_read() -> None:
    made = reader()
    assert (made.unanswered, made.done) == ((ASKED,), False)
    assert read(made, b'{"a":1}').reason == "read"
    made.end(empty=False, streamed=False)
    assert (made.unanswered, made.done, made.outcome) == ((), True, Outcome.OK)


@pytest.mark.parametrize(
    ("data", "reason"),
    [(b"{", "json-malformed"), (b"\xff", "json-not-utf8"), (b"[1]", "plain-invalid"), (b"null", "plain-invalid")],
)
def test_what_is_none_of_the_format_is_malformed(data: bytes, reason: str) -> None:
    made = reader()
    message = read(made, data)
    assert (message.reason, message.malformed, message.raw, made.outcome) == (reason, True, data, Outcome.INVALID)


@pytest.mark.parametrize("data", [b"<html>", b"\xff", b"null", b"[1]", b'{"a":1}'])
def test_behind_an_error_status_what_is_no_error_of_the_format_is_the_servers_own(data: bytes) -> None:
    made = reader(failed=True)
    message = read(made, data)
    assert (message.reason, message.malformed, message.raw) == ("not-nobody", False, data)
    assert message.detail == "the server's own error is no message of Nobody's"
    assert made.outcome is Outcome.PROTOCOL_ERROR


def test_behind_an_error_status_json_that_two_readers_would_read_in_two_ways_is_malformed_all_the_same() -> None:
    message = read(reader(failed=True), b'{"error":1,"error":2}')
    assert (message.reason, message.malformed) == ("json-duplicate-key", True)


@pytest.mark.parametrize("failed", [False, True])
def test_after_an_error_nothing_more_is_awaited(failed: bool) -> None:
    made = reader(failed=failed)
    assert stream(made, b'data: {"error":1}\n\n') == ["read"]
    assert (made.unanswered, made.outcome) == ((), Outcome.PROTOCOL_ERROR)


@pytest.mark.parametrize(
    ("data", "reasons", "outcome"),
    [
        (b'data: {"a":1}\n\ndata: {"ends":true}\n\n', ["read", "read"], Outcome.OK),
        (b'data: {"a":1}\n\n', ["read"], Outcome.TRUNCATED),
        (b"", [], Outcome.EMPTY),
        (b'data: {"a":1}\n\ndata: {"ends"', ["read", "sse-unterminated"], Outcome.INVALID),
    ],
)
def test_a_stream_ends_with_its_own_end(data: bytes, reasons: list[str], outcome: Outcome) -> None:
    made = reader()
    assert stream(made, data) == reasons
    assert made.outcome.worse(outcome) is made.outcome
    assert (made.outcome is Outcome.OK) is (outcome is Outcome.OK)


def test_an_answer_in_which_nothing_was_produced_is_empty() -> None:
    made = reader()
    read(made, b"{}")
    made.end(empty=False, streamed=False)
    assert made.outcome is Outcome.EMPTY


def test_an_error_of_ours_has_the_verdicts_status_or_403() -> None:
    assert json.loads(reader().error(Deny("a", "b"), "t")) == {"error": "a", "trail": "t", "status": 403}
    assert json.loads(reader().error(Deny("a", "b", status=429), "t"))["status"] == 429
