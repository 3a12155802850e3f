"""codecs/anthropic_stored: the thread and the container that a request goes on in, and what an answer names."""

from __future__ import annotations

from typing import Any

import pytest

from ext_proc.messages import Completion, Generation, ModelRequest, Opaque, StoredKind, StoredObject
from tests.unit.codecs.anthropic_building import ANTHROPIC, COUNT, asking, event, start, text, whole
from tests.unit.codecs.openai_building import answer_head, messages_of

CONTAINER, THREAD = StoredObject(StoredKind.CONTAINER, "c1"), StoredObject(StoredKind.THREAD, "msg_1")
USED = {"id": "c1", "expires_at": "2026-11-21T00:00:00Z"}
ENDED = {"type": "message_delta", "usage": {"output_tokens": 1}}
Things = tuple[StoredObject, ...]
NAMED: list[tuple[Any, Things]] = [
    (None, ()),
    ("", ()),
    ("c1", (CONTAINER,)),
    ({"id": "c1"}, (CONTAINER,)),
    ({"skills": []}, ()),
    (USED, (CONTAINER,)),
]
OTHERS: list[tuple[Any, str]] = [
    (1, "anthropic-invalid"),
    (["c1"], "anthropic-invalid"),
    ({"id": 1}, "anthropic-invalid"),
    ({"id": "c1", "ID": "c2"}, "ambiguous-key"),
]


@pytest.mark.parametrize(("container", "expected"), NAMED)
def test_a_request_and_an_answer_tell_their_container(container: Any, expected: Things) -> None:
    for path in (None, COUNT):
        request = ANTHROPIC.read(asking(container=container), path=path)
        assert isinstance(request, ModelRequest)
        assert request.references == expected
    (answer,) = messages_of(ANTHROPIC.decoded(whole(text("x"), container=container), answer_head())[0])
    assert isinstance(answer, Completion)
    assert answer.handed_out == (THREAD, *expected)


@pytest.mark.parametrize(("container", "expected"), NAMED)
def test_a_stream_tells_itself_at_its_start_and_its_container_at_its_end(container: Any, expected: Things) -> None:
    ended = {**ENDED, "delta": {"stop_reason": "end_turn", "container": container}}
    found = messages_of(ANTHROPIC.decoded(event(start(container=None)) + event({"type": "ping"}) + event(ended))[0])
    assert [message.handed_out for message in found if isinstance(message, Completion)] == [(THREAD,), (), expected]


@pytest.mark.parametrize(
    ("thread", "expected", "kept"),
    [
        (None, (), False),
        ({"type": "create"}, (), True),
        ({"type": "continue", "previous_message_id": "msg_1"}, (THREAD,), True),
    ],
)
def test_a_request_tells_the_thread_that_it_continues(thread: Any, expected: Things, kept: bool) -> None:
    request = ANTHROPIC.read(asking(thread=thread))
    assert isinstance(request, Generation)
    assert (request.references, request.keeps_answer) == (expected, kept)
    assert request.rounds == (None if expected else 0), "the rest of what was said stands in the thread"


@pytest.mark.parametrize(("container", "reason"), OTHERS)
def test_a_container_in_another_shape_is_malformed(container: Any, reason: str) -> None:
    streamed = event(start()) + event({**ENDED, "delta": {"container": container}})
    for message in (
        ANTHROPIC.read(asking(container=container)),
        *messages_of(ANTHROPIC.decoded(whole(container=container), answer_head())[0]),
        *messages_of(ANTHROPIC.decoded(event(start(container=container)))[0]),
        messages_of(ANTHROPIC.decoded(streamed)[0])[-1],
    ):
        assert isinstance(message, Opaque)
        assert (message.reason, message.malformed) == (reason, True)


@pytest.mark.parametrize(
    ("thread", "reason"),
    [
        ("msg_1", "anthropic-invalid"),
        ({"type": 1}, "anthropic-invalid"),
        ({"type": "continue", "previous_message_id": 1}, "anthropic-invalid"),
        ({"type": "continue", "Previous_message_id": "msg_1"}, "ambiguous-key"),
    ],
)
def test_a_thread_in_another_shape_is_malformed(thread: Any, reason: str) -> None:
    message = ANTHROPIC.read(asking(thread=thread))
    assert isinstance(message, Opaque)
    assert (message.reason, message.malformed) == (reason, True)


@pytest.mark.parametrize("value", [whole(id=1), whole(ID="msg_2")])
def test_an_answer_that_names_itself_in_another_shape_is_malformed(value: Any) -> None:
    for frames in (
        ANTHROPIC.decoded(value, answer_head())[0],
        ANTHROPIC.decoded(event({"type": "message_start", "message": value}))[0],
    ):
        (message,) = messages_of(frames)
        assert isinstance(message, Opaque)
        assert message.malformed
