"""codecs/anthropic_stored: the container that a request goes on in, and that an answer names."""

from __future__ import annotations

from typing import Any

import pytest

from ext_proc.messages import Completion, Generation, Opaque, StoredKind, StoredObject
from tests.unit.codecs.anthropic_building import ANTHROPIC, asking, event, start, whole
from tests.unit.codecs.openai_building import answer_head, messages_of

CONTAINER = (StoredObject(StoredKind.CONTAINER, "c1"),)
USED = {"id": "c1", "expires_at": "2026-11-21T00:00:00Z"}
ENDED = {"type": "message_delta", "usage": {"output_tokens": 1}}
NAMED: list[tuple[Any, tuple[StoredObject, ...]]] = [
    (None, ()),
    ("", ()),
    ("c1", CONTAINER),
    ({"id": "c1"}, CONTAINER),
    ({"skills": []}, ()),
    (USED, CONTAINER),
]
OTHERS = [(1, "anthropic-invalid"), (["c1"], "anthropic-invalid"), ({"id": 1}, "anthropic-invalid")]


@pytest.mark.parametrize(("container", "expected"), NAMED)
def test_a_request_and_an_answer_tell_their_container(container: Any, expected: tuple[StoredObject, ...]) -> None:
    request = ANTHROPIC.read(asking(container=container))
    assert isinstance(request, Generation)
    assert request.references == expected
    (answer,) = messages_of(ANTHROPIC.decoded(whole(container=container), answer_head())[0])
    assert isinstance(answer, Completion)
    assert answer.handed_out == expected


@pytest.mark.parametrize(("container", "expected"), NAMED)
def test_the_last_delta_of_a_stream_tells_its_container(container: Any, expected: tuple[StoredObject, ...]) -> None:
    ended = {**ENDED, "delta": {"stop_reason": "end_turn", "container": container}}
    found = messages_of(ANTHROPIC.decoded(event(start(container=None)) + event(ended))[0])
    assert [message.handed_out for message in found if isinstance(message, Completion)] == [(), expected]


@pytest.mark.parametrize(("container", "reason"), [*OTHERS, ({"id": "c1", "ID": "c2"}, "ambiguous-key")])
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
