"""codecs/openai_responses through the engine: a text that changes changes alike wherever the answer repeats it."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ext_proc.bundle.protocols import PROTOCOLS
from ext_proc.engine.pipeline import Binding, Pipeline
from ext_proc.engine.route import Route, RouteMatch, Rulebook
from ext_proc.limits import MIB, Limits
from ext_proc.policy import Policy
from ext_proc.testing import HttpRequest, HttpResponse, Played, pass_through, whole
from tests.exchange.test_cutting import cut_at
from tests.exchange.text_policies import DenyAt, DenyWord, Forever, Replace, Sentences, Signature, only
from tests.unit.codecs.openai_building import drain, messages_of, texts_of
from tests.unit.codecs.openai_client import client
from tests.unit.codecs.openai_responses_building import RESPONSES, event, stream, talk, told, uncopied

LIMITS = Limits(hold_back=1 * MIB, decision=60.0)
TEXTUAL = [name for name, recording in RESPONSES.recordings.items() if not recording.interrupted]


def answered(
    body: bytes,
    *policies: Policy[Any, Any],
    content_type: str = "text/event-stream",
    cut: Callable[[bytes], Sequence[bytes]] = whole,
) -> Played:
    """What becomes of an answer on a route with these policies."""
    pipeline = Pipeline([Binding(policy) for policy in policies], lambda: 0.0)
    route = Route("all", RouteMatch(path="/"), "openai", PROTOCOLS["openai"].codecs(), pipeline)
    asked = HttpRequest(json.dumps(RESPONSES.asked).encode(), path=RESPONSES.path)
    sent = HttpResponse(body, headers={"content-type": content_type}, sized=False)
    return pass_through(Rulebook("test", "r1", (route,), limits=LIMITS), asked, sent, cut)


def body_of(played: Played) -> bytes:
    assert played.client is not None
    return played.client.body


CUTS = st.lists(st.integers(0, 5_000), max_size=8)


@pytest.mark.parametrize("deltas", [["my secret is"], ["my se", "cret", " is"], list("my secret is")])
@given(CUTS)
@settings(max_examples=15, deadline=None)
def test_a_replaced_word_is_replaced_in_every_copy(deltas: list[str], cuts: list[int]) -> None:
    body = stream(*talk(*deltas))
    left = body_of(answered(body, Replace("secret", "***"), cut=lambda raw: cut_at(raw, cuts)))
    assert b"secret" not in left
    frames, _ = RESPONSES.decoded(left)
    assert uncopied(frames) == "my *** is"
    assert [text for _, text in told(frames)][-4:] == ["my *** is"] * 4
    with client(200, "text/event-stream", left) as asked, asked.responses.stream(model="m", input="x") as events:
        assert events.get_final_response().output_text == "my *** is"


def test_an_insert_at_the_end_stands_in_every_copy_too() -> None:
    left = body_of(answered(stream(*talk("a", "b")), Signature()))
    frames, _ = RESPONSES.decoded(left)
    assert uncopied(frames) == "ab -- signed"
    copies = [piece.text for frame in frames for piece in frame.pieces if piece.channel.copy]
    assert copies == ["ab -- signed"] * 4


def test_what_is_held_to_the_end_of_an_item_does_not_hold_up_the_next() -> None:
    body = stream(*talk("a. ", "b"))
    for policies in ([Sentences()], [Forever()], [Sentences(), Forever("last")]):
        assert body_of(answered(body, *policies)) == body


def test_a_string_in_arguments_is_replaced_alike_in_pieces_and_whole() -> None:
    where = {"item_id": "fc_1", "output_index": 0}
    call = {"id": "fc_1", "type": "function_call", "call_id": "c", "name": "f"}
    source = '{"path": "a secret", "n": 1.0}'
    values = [
        event("response.output_item.added", output_index=0, item={**call, "arguments": ""}),
        *(
            event("response.function_call_arguments.delta", **where, delta=each)
            for each in (source[:14], source[14:16], source[16:])
        ),
        event("response.function_call_arguments.done", **where, arguments=source),
        event("response.output_item.done", output_index=0, item={**call, "arguments": source}),
        event("response.completed", response={"status": "completed", "output": [{**call, "arguments": source}]}),
    ]
    frames, decoder = RESPONSES.decoded(body_of(answered(stream(*values), Replace("secret", 'no"'))))
    written = '{"path": "a no\\"", "n": 1.0}'
    assert uncopied(frames) == written
    assert [text for _, text in told(frames)][-3:] == [written] * 3
    assert decoder.outcome.value == "ok"


@pytest.mark.parametrize("name", TEXTUAL)
def test_no_copy_of_a_recorded_answer_keeps_a_letter_that_is_replaced(name: str) -> None:
    recording = RESPONSES.recordings[name]
    content_type = recording.response_headers["content-type"]
    played = answered(recording.response, only(Replace("e", "É")), content_type=content_type)
    before = texts_of(drain(RESPONSES.answer_to(recording), recording.response))
    after = texts_of(drain(RESPONSES.answer_to(recording), body_of(played)))
    assert before.keys() == after.keys()
    assert len(before) > 1
    assert [text for text in after.values() if "e" in values_in(text)] == []


def values_in(text: str) -> str:
    """A text; of a JSON object its values, for keys are not changed."""
    value = json.loads(text) if text.startswith("{") else text
    return json.dumps(list(value.values()), ensure_ascii=False) if isinstance(value, dict) else text


@given(CUTS, st.integers(5, 12))
@settings(max_examples=40, deadline=None)
def test_past_a_denial_no_text_leaves_in_any_copy(cuts: list[int], most: int) -> None:
    played = answered(stream(*talk("abc", "def", "ghi")), DenyAt(most, "..."), cut=lambda raw: cut_at(raw, cuts))
    frames, decoder = RESPONSES.decoded(body_of(played))
    assert all(len(text) <= most + 3 for _, text in told(frames))
    assert (decoder.outcome.value == "ok") == (most >= 9)
    with client(200, "text/event-stream", body_of(played)) as asked:
        last = list(asked.responses.create(model="m", input="x", stream=True))[-1]
    assert last.type == ("response.completed" if most >= 9 else "response.incomplete")


def test_a_denied_whole_answer_is_an_error() -> None:
    recording = RESPONSES.recordings["072-openai"]
    played = answered(recording.response, DenyWord("light"), content_type="application/json")
    assert json.loads(body_of(played))["error"]["code"] == "word-not-allowed"
    assert played.trail.outcome == "refused"


def test_events_that_are_dropped_leave_nothing_of_their_text() -> None:
    played = answered(stream(*talk("a secret", " more")), DenyWord("secret"))
    assert b"secret" not in body_of(played)
    assert messages_of(RESPONSES.decoded(body_of(played))[0])
