"""codecs/openai_completions: the older completions: prompts and tokens, answers whole and streamed, what ends them."""

from __future__ import annotations

import json
from functools import partial
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ext_proc.codecs.codec import Match
from ext_proc.limits import DEFAULTS, Limits
from ext_proc.messages import (
    Channel,
    ChannelKind,
    Completion,
    CompletionChunk,
    Generation,
    LlmError,
    Opaque,
    Role,
    Setting,
    Usage,
)
from ext_proc.policy import Deny
from ext_proc.trail import Outcome
from tests.unit.codecs.openai_building import DONE, answer_head, encoded, messages_of, stream, texts_of
from tests.unit.codecs.openai_building import whole as chat
from tests.unit.codecs.openai_client import client
from tests.unit.codecs.openai_completions_building import COMPLETIONS, says, whole
from tests.unit.codecs.test_openai_chat_cutting import CUTS, check, mutilated

CODEC = COMPLETIONS.codec
JSON, STREAM = answer_head(), answer_head(content_type="text/event-stream")
CONTENT = Channel(ChannelKind.CONTENT)
DENY = Deny("leak", "this may not leave")
FIM = "/v1/fim/completions"


def asking(**fields: Any) -> dict[str, Any]:
    return {"model": "m", "prompt": "hello", **fields}


def generation(**fields: Any) -> Generation:
    message = COMPLETIONS.read(asking(**fields))
    assert isinstance(message, Generation)
    return message


@pytest.mark.parametrize(
    ("method", "path", "match"),
    [
        ("POST", "/v1/completions", Match.YES),
        ("POST", "/completions", Match.YES),
        ("POST", "/beta/completions", Match.YES),
        ("POST", FIM, Match.YES),
        ("POST", "/v1/chat/completions", Match.NO),
        ("GET", "/v1/completions", Match.NO),
        ("POST", "/v1/completions/render", Match.NO),
    ],
)
def test_completions_that_are_no_chats_are_read(method: str, path: str, match: Match) -> None:
    assert CODEC.matches(COMPLETIONS.head(method, path)) is match


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({}, [(0, 0, "hello")]),
        ({"prompt": ["a", "", "b"]}, [(0, 0, "a"), (2, 0, "b")]),
        ({"prompt": "a", "suffix": "b"}, [(0, 0, "a"), (0, 1, "b")]),
        ({"prompt": [1, 2]}, []),
        ({"prompt": [[1, 2], [3]]}, []),
        ({"prompt": []}, []),
        ({"prompt": None}, []),
    ],
)
def test_prompts_are_texts_and_tokens_are_none(fields: dict[str, Any], expected: list[Any]) -> None:
    message = generation(**fields)
    found = COMPLETIONS.texts(message)
    assert [(piece.channel.choice, piece.channel.index, piece.text) for piece in found] == expected
    assert {piece.channel.role for piece in found} <= {Role.USER}
    changed = CODEC.with_texts(message, dict.fromkeys(range(len(found)), '"new"'))
    assert [piece.text for piece in COMPLETIONS.texts(changed)] == ['"new"'] * len(found)
    assert CODEC.with_texts(message, {}).raw == message.raw


def test_a_request_tells_its_model_settings_and_whether_it_streams() -> None:
    message = generation(stream=True, max_tokens=0, temperature=0.5, top_p=1, seed=7, n=2)
    assert (message.method, message.target, message.stream) == ("completions", "m", True)
    assert [message.setting(setting) for setting in Setting] == [0, 0.5, 1, 7, 2, None]
    changed = message.with_settings({Setting.MAX_TOKENS: 9, Setting.SEED: None})
    expected = asking(stream=True, max_tokens=9, temperature=0.5, top_p=1, n=2)
    assert json.loads(changed.raw) == changed.value == expected
    assert json.loads(message.with_model("b").raw)["model"] == "b"
    with pytest.raises(ValueError, match="reasoning_effort"):
        message.with_settings({Setting.REASONING_EFFORT: "low"})


def test_a_stream_can_be_asked_for_usage_which_can_be_taken_out_again() -> None:
    asked = generation(stream=True).including_usage()
    assert json.loads(asked.raw)["stream_options"] == {"include_usage": True}
    assert asked.including_usage() is asked
    last = {**says(""), "choices": [], "usage": {"prompt_tokens": 1, "completion_tokens": 2}}
    frames, _ = COMPLETIONS.decoded(stream({**says("a"), "usage": None}, last))
    first, usage = messages_of(frames)
    assert isinstance(first, CompletionChunk)
    assert isinstance(usage, CompletionChunk)
    assert usage.usage == Usage(1, 2)
    left = first.without_usage()
    assert left is not None
    assert (json.loads(left.raw), left.pieces, left.method) == (says("a"), first.pieces, "completions")
    assert usage.without_usage() is None


@pytest.mark.parametrize(
    "fields",
    [
        {"model": None},
        {"prompt": 5},
        {"prompt": {"text": "a"}},
        {"prompt": ["a", 1]},
        {"prompt": [1, True]},
        {"prompt": [["a"]]},
        {"prompt": [1, [2]]},
        {"suffix": ["a"]},
        {"stream": 1},
        {"max_tokens": -1},
        {"n": 0},
        {"temperature": "hot"},
        {"plugins": {}},
    ],
)
def test_a_request_of_another_shape_is_malformed(fields: dict[str, Any]) -> None:
    message = COMPLETIONS.read(asking(**fields))
    assert isinstance(message, Opaque)
    assert (message.reason, message.malformed) == ("openai-invalid", True)


def test_a_key_that_differs_in_case_alone_is_malformed() -> None:
    for key in ("Prompt", "MODEL", "sufFix"):
        message = COMPLETIONS.read(asking(**{key: "x"}))
        assert isinstance(message, Opaque)
        assert message.reason == "ambiguous-key"
    assert isinstance(COMPLETIONS.read([]), Opaque)


def test_tools_that_a_proxy_would_run_are_told_here_too() -> None:
    assert [tool.kind for tool in generation(plugins=[{"id": "web"}]).hosted_tools] == ["plugin:web"]


def test_a_whole_answer_is_a_completion_with_a_text_for_each_choice() -> None:
    usage = {"prompt_tokens": 1, "completion_tokens": 2, "total_tokens": 3}
    (frame,), decoder = COMPLETIONS.decoded(whole("a", "b", usage=usage), JSON)
    (message,) = frame.messages
    assert isinstance(message, Completion)
    assert (message.method, message.model, message.finish_reasons) == ("completions", "m", ("stop", "stop"))
    assert message.usage == Usage(1, 2)
    assert texts_of([frame]) == {CONTENT: "a", Channel(ChannelKind.CONTENT, 1): "b"}
    assert (tuple(frame.closes), decoder.outcome) == ((0, 1), Outcome.OK)
    renamed = message.with_model("alias")
    assert isinstance(renamed, Completion)
    assert (renamed.method, renamed.model, renamed.pieces) == ("completions", "alias", message.pieces)


def test_what_indexes_a_changed_text_goes_with_it() -> None:
    answer = whole("a", "b")
    answer["choices"][0]["logprobs"] = {"tokens": ["a"], "text_offset": [0]}
    (frame,), _ = COMPLETIONS.decoded(answer, JSON)
    first, second = json.loads(frame.encode({}, texts={0: "new"}))["choices"]
    assert first == {"index": 0, "text": "new", "finish_reason": "stop"}
    assert second == answer["choices"][1]


@pytest.mark.parametrize(
    ("body", "response", "expected"),
    [
        (whole("a"), JSON, Outcome.OK),
        (whole("a", finish="length"), JSON, Outcome.TRUNCATED),
        (whole("a", finish="content_filter"), JSON, Outcome.REFUSED),
        (whole(""), JSON, Outcome.EMPTY),
        ({"error": {"message": "no"}}, JSON, Outcome.PROTOCOL_ERROR),
        ({"object": "error", "message": "no"}, JSON, Outcome.PROTOCOL_ERROR),
        (b"<html>", answer_head(502), Outcome.PROTOCOL_ERROR),
        ({"object": "text_completion"}, JSON, Outcome.INVALID),
        (whole({"value": "a"}), JSON, Outcome.INVALID),  # type: ignore[arg-type]
        (chat({"content": "a"}), JSON, Outcome.INVALID),
        (stream(says("a"), says("", finish="stop")), STREAM, Outcome.OK),
        (stream(says("a", finish="stop")), STREAM, Outcome.OK),
        (stream(says("a")), STREAM, Outcome.TRUNCATED),
        (stream(says("a"))[: -len(DONE)], STREAM, Outcome.TRUNCATED),
        (stream(says("a"), {"error": {"message": "no"}}), STREAM, Outcome.PROTOCOL_ERROR),
        (stream(says("a", finish="stop"), says("b")), STREAM, Outcome.INVALID),
    ],
)
def test_the_outcome_is_read_from_the_body(body: Any, response: Any, expected: Outcome) -> None:
    assert COMPLETIONS.decoded(body, response)[1].outcome is expected


def test_an_error_is_of_this_api_and_stands_in_the_place_of_a_whole_answer() -> None:
    (error,) = messages_of(COMPLETIONS.decoded({"error": {"message": "no"}}, answer_head(429))[0])
    assert isinstance(error, LlmError)
    (message,) = messages_of(COMPLETIONS.decoded(whole("a"), JSON)[0])
    refusal = CODEC.refusal(message, DENY, "t1")
    assert isinstance(refusal, LlmError)
    assert (error.method, refusal.method) == ("completions", "completions")
    assert json.loads(refusal.raw)["error"]["code"] == "leak"


def test_filling_in_the_middle_is_answered_as_a_chat() -> None:
    frames, decoder = COMPLETIONS.decoded(chat({"content": "a"}), JSON, path=FIM)
    assert (texts_of(frames), decoder.outcome) == ({CONTENT: "a"}, Outcome.OK)


def test_the_official_client_reads_a_stream_that_was_ended_to_its_end() -> None:
    decoder = COMPLETIONS.decoder()
    released = b"".join(frame.raw for frame in decoder.feed(stream(says("a"), says("b", index=1))[: -len(DONE)]))
    body = released + decoder.text_event(CONTENT, " (stopped)") + decoder.stream_end(DENY, "t1")
    with client(200, "text/event-stream", body) as asked:
        events = list(asked.completions.create(model="m", prompt="hello", stream=True))
    said = [(event.choices[0].index, event.choices[0].text, event.choices[0].finish_reason) for event in events]
    assert said == [
        *[(0, "a", None), (1, "b", None), (0, " (stopped)", None)],
        *[(0, "", "content_filter"), (1, "", "content_filter")],
    ]
    assert {event.object for event in events} == {"text_completion"}


BODIES = st.sampled_from([whole("é\u2028", "b"), says("a😀"), says("", finish="stop"), asking(), {"error": 1}, {}, []])


@given(mutilated(BODIES.map(encoded)), mutilated(st.lists(BODIES, max_size=5).map(lambda v: stream(*v))), CUTS)
@settings(max_examples=60)
def test_any_cutting_of_any_body_gives_the_same_frames(body: bytes, events: bytes, cuts: list[int]) -> None:
    asked, head = (generation(),), COMPLETIONS.head()
    for limits in (DEFAULTS, Limits(request_body=40, response_body=40, event=60)):
        check(partial(CODEC.request_decoder, head, limits), body, cuts)
        check(partial(CODEC.response_decoder, asked, head, JSON, limits), body, cuts)
        check(partial(CODEC.response_decoder, asked, head, STREAM, limits), events, cuts)
