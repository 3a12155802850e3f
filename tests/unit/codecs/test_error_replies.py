"""codecs/error_replies.py: the status of a denial, and the reply that carries an error."""

from __future__ import annotations

import json

import pytest

from ext_proc.codecs.error_replies import reply, status_of
from ext_proc.messages import Message, ModelListing, Opaque
from ext_proc.policy import Deny

READ = ModelListing(b"")


@pytest.mark.parametrize(
    ("message", "status"),
    [
        (READ, 403),
        (Opaque("other", "no"), 403),
        (Opaque("bad", "no", malformed=True), 400),
        (Opaque("big", "no", too_large=True), 413),
    ],
)
def test_what_could_not_be_read_has_a_status_of_its_own_unless_the_verdict_says_one(
    message: Message, status: int
) -> None:
    assert status_of(message, Deny("a", "b")) == status
    assert status_of(message, Deny("a", "b", status=429)) == 429


def test_only_what_was_read_has_the_formats_usual_status() -> None:
    assert status_of(READ, Deny("a", "b"), usual=200) == 200
    assert status_of(Opaque("other", "no"), Deny("a", "b"), usual=200) == 403


def test_a_reply_is_json_with_the_verdicts_headers_and_reason() -> None:
    deny = Deny("why", "b", headers=(("Retry-After", "3"), ("Content-Type", "text/plain")))
    answer = reply(deny, 429, {"error": "no"})
    assert (answer.status, answer.details, json.loads(answer.body)) == (429, "why", {"error": "no"})
    assert answer.headers == (("content-type", b"application/json"), ("retry-after", b"3"))
