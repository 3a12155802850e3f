"""codecs/openai_chat: where servers that imitate OpenAI's chat depart from it, each by its own words."""

from __future__ import annotations

import json
from typing import Any

import pytest

from ext_proc.messages import (
    Channel,
    ChannelKind,
    Completion,
    Generation,
    LlmError,
    ModelListing,
    Opaque,
    Setting,
    Usage,
)
from ext_proc.trail import Outcome
from tests.unit.codecs.openai_building import (
    DONE,
    answer_head,
    asking,
    chunk,
    decoded,
    encoded,
    event,
    messages_of,
    read_request,
    says,
    stream,
    texts_of,
    whole,
)

JSON = answer_head()
CONTENT = Channel(ChannelKind.CONTENT)
END = chunk(finish="stop")


@pytest.mark.parametrize(
    "error",
    [
        {"error": {"message": "no", "code": 502, "metadata": {}}},  # OpenRouter: codes are numbers
        {"error": "model 'm' not found"},  # Ollama, its own API's shape
        {"object": "error", "message": "no", "type": "BadRequestError", "code": 400},  # vLLM, at first
        {"object": "error", "message": {"detail": []}, "type": "invalid_request_error"},  # Mistral
    ],
    ids=["OpenRouter", "Ollama", "vLLM", "Mistral"],
)
def test_an_error_in_a_servers_own_words_is_one(error: dict[str, Any]) -> None:
    for status in (200, 400, 500):
        (message,) = messages_of(decoded(error, answer_head(status))[0])
        assert isinstance(message, LlmError)
    frames, decoder = decoded(stream(says("a"), error))
    assert isinstance(messages_of(frames)[-1], LlmError)
    assert (decoder.outcome, decoder.unanswered) == (Outcome.PROTOCOL_ERROR, ())
    (listed,) = messages_of(decoded(error, answer_head(401), (ModelListing(b""),))[0])
    assert isinstance(listed, LlmError)


def test_an_object_that_is_called_error_within_a_choice_is_none() -> None:
    (message,) = messages_of(decoded(whole({"content": "a", "object": "error"}), JSON)[0])
    assert isinstance(message, Completion)


def test_an_error_of_openrouters_ends_its_choice_in_the_same_event() -> None:
    error = {"code": "server_error", "message": "Provider disconnected"}
    frames, decoder = decoded(stream(says("a"), {**chunk({"content": ""}, finish="error"), "error": error}))
    assert [tuple(frame.closes) for frame in frames] == [(), (0,), ()]
    assert decoder.outcome is Outcome.PROTOCOL_ERROR


@pytest.mark.parametrize("comment", [b": OPENROUTER PROCESSING\n\n", b": keep-alive\n\n", b":\n\n"])
def test_comments_while_a_server_waits_carry_nothing(comment: bytes) -> None:
    body = comment + event(says("a")) + comment + event(END) + comment + DONE + comment
    frames, decoder = decoded(body)
    assert [len(frame.messages) for frame in frames] == [0, 1, 0, 1, 0, 0, 0]
    assert (texts_of(frames), decoder.outcome) == ({CONTENT: "a"}, Outcome.OK)


def test_an_answer_of_ollamas_that_failed_ends_with_an_empty_event_and_is_cut_off() -> None:
    # Its error is lost where its status has left: what comes is an event without words, and no end.
    frames, decoder = decoded(event(says("a")) + event(chunk({"role": "assistant", "content": ""})))
    assert (texts_of(frames), decoder.outcome) == ({CONTENT: "a"}, Outcome.TRUNCATED)


def test_a_whole_call_in_one_event_and_reasoning_beside_empty_content_as_ollama_has_them() -> None:
    call = {"id": "call_1", "index": 0, "type": "function", "function": {"name": "f", "arguments": '{"a":1}'}}
    body = stream(
        chunk({"role": "assistant", "content": "", "reasoning": "hm"}),
        chunk({"role": "assistant", "content": "", "tool_calls": [call]}),
        chunk({"role": "assistant", "content": ""}, finish="tool_calls"),
        {**chunk(), "choices": [], "usage": {"prompt_tokens": 3, "completion_tokens": 4, "total_tokens": 7}},
    )
    frames, decoder = decoded(body)
    assert texts_of(frames) == {
        Channel(ChannelKind.REASONING, 0, 1): "hm",
        Channel(ChannelKind.TOOL_ARGUMENTS, 0, 0): '{"a":1}',
    }
    (*_, last) = messages_of(frames)
    assert isinstance(last, Completion)
    assert (last.usage, decoder.outcome) == (Usage(3, 4), Outcome.OK)


@pytest.mark.parametrize(
    ("usage", "expected"),
    [
        ({"prompt_cache_hit_tokens": 4, "prompt_cache_miss_tokens": 6}, Usage(10, 5, cached_tokens=4)),  # DeepSeek
        ({"num_cached_tokens": 4, "prompt_audio_seconds": None}, Usage(10, 5, cached_tokens=4)),  # Mistral
        ({"queue_time": 0.1, "prompt_time": 0.2}, Usage(10, 5)),  # Groq
        ({"cost": 0.1, "is_byok": False}, Usage(10, 5)),  # OpenRouter
        (
            {"prompt_tokens_details": {"audio_tokens": 2}, "completion_tokens_details": {"audio_tokens": 3}},
            Usage(10, 5, input_audio_tokens=2, output_audio_tokens=3),
        ),
    ],
)
def test_usage_is_read_with_what_a_server_adds(usage: dict[str, Any], expected: Usage) -> None:
    answer = whole({"content": "a"}, usage={"prompt_tokens": 10, "completion_tokens": 5, "total_tokens": 15, **usage})
    (message,) = messages_of(decoded(answer, JSON)[0])
    assert isinstance(message, Completion)
    assert message.usage == expected


@pytest.mark.parametrize(
    ("reason", "expected"),
    [("model_length", Outcome.TRUNCATED), ("insufficient_system_resource", Outcome.TRUNCATED), ("eos", Outcome.OK)],
)
def test_ends_in_a_servers_own_words_are_known(reason: str, expected: Outcome) -> None:
    assert decoded(stream(says("a"), chunk(finish=reason)))[1].outcome is expected


def test_running_totals_of_usage_beside_choices_as_vllm_may_send_them_are_read_event_by_event() -> None:
    totals = [{"prompt_tokens": 9, "completion_tokens": count, "total_tokens": 9 + count} for count in (1, 2)]
    frames, _ = decoded(stream(*(says("a", usage=usage) for usage in totals), END))
    usages = [message.usage for message in messages_of(frames) if isinstance(message, Completion)]
    assert usages == [Usage(9, 1), Usage(9, 2), None]


@pytest.mark.parametrize(
    ("asked", "sent"),
    [
        ({"reasoning": {"effort": "high", "exclude": True}}, {"reasoning": {"exclude": True, "effort": "low"}}),
        ({"reasoning_effort": "high"}, {"reasoning_effort": "low"}),
        ({"reasoning": {"max_tokens": 9}}, {"reasoning": {"max_tokens": 9}, "reasoning_effort": "low"}),
        (
            {"reasoning_effort": "low", "reasoning": {"effort": "high"}},
            {"reasoning_effort": "low", "reasoning": {"effort": "low"}},
        ),
    ],
)
def test_the_effort_to_reason_is_set_wherever_openrouter_and_ollama_take_it_from(
    asked: dict[str, Any], sent: dict[str, Any]
) -> None:
    message = read_request(asking(**asked))
    assert isinstance(message, Generation)
    changed = message.with_settings({Setting.REASONING_EFFORT: "low"})
    assert json.loads(changed.raw) == changed.value == asking(**sent)
    removed = message.with_settings({Setting.REASONING_EFFORT: None})
    assert isinstance(removed, Generation)
    assert removed.setting(Setting.REASONING_EFFORT) is None
    assert json.loads(removed.raw) == removed.value


@pytest.mark.parametrize("reasoning", ["high", {"effort": 3}, {"Effort": "high"}])
def test_an_effort_that_some_reader_could_take_otherwise_is_malformed(reasoning: Any) -> None:
    message = read_request(asking(reasoning=reasoning))
    assert isinstance(message, Opaque)
    assert message.malformed


def test_settings_of_servers_pass_with_the_request() -> None:
    extra = {"top_k": 1, "guided_json": {}, "provider": {"order": ["a"]}, "safe_prompt": True, "keep_alive": "5m"}
    message = read_request(asking(**extra))
    assert not isinstance(message, Opaque)
    assert message.raw == encoded(asking(**extra))
