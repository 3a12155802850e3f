"""codecs/openai_chat: requests to generate, and what they let policies read and change."""

from __future__ import annotations

import json
from typing import Any

import pytest

from ext_proc.codecs.codec import Match
from ext_proc.limits import Limits
from ext_proc.messages import Channel, ChannelKind, Generation, Message, ModelListing, Opaque, Setting
from ext_proc.policy import Deny
from ext_proc.trail import Outcome
from tests.unit.codecs.openai_building import CODEC, USER, asking, drain, head, messages_of, opaque, read_request


def generation(**fields: Any) -> Generation:
    message = read_request(asking(**fields))
    assert isinstance(message, Generation)
    return message


@pytest.mark.parametrize(
    ("request_head", "match"),
    [
        (head(), Match.YES),
        (head(path="/chat/completions"), Match.YES),
        (head(path="/openai/deployments/x/chat/completions"), Match.YES),
        (head(path="/v1/chat/completions/"), Match.NO),
        (head(path="/v1/completions"), Match.NO),
        (head(path="/v1/embeddings"), Match.NO),
        (head(content_type="text/plain"), Match.NO),
        (head(content_type="application/json; charset=utf-16"), Match.NO),
        (head("GET", "/v1/models"), Match.YES),
        (head("GET", "/v1/models/gpt"), Match.NO),
        (head("GET"), Match.NO),
        (head("DELETE", "/v1/models"), Match.NO),
    ],
)
def test_only_chat_and_the_list_of_models_are_read(request_head: Any, match: Match) -> None:
    assert CODEC.matches(request_head) is match


def test_the_list_of_models_is_asked_for_by_headers_alone() -> None:
    assert isinstance(CODEC.transport_message(head("GET", "/v1/models")), ModelListing)
    assert CODEC.transport_message(head()) is None


def test_a_request_tells_its_model_and_whether_it_streams() -> None:
    message = generation(model="gpt", stream=True)
    assert (message.method, message.target, message.model, message.stream) == ("chat", "gpt", "gpt", True)
    assert message.as_variables()["model"] == "gpt"
    assert not generation(stream=None).stream
    assert CODEC.mirrored_headers(message, head()) == {}


def test_a_repr_holds_nothing_of_the_payload() -> None:
    assert "hello" not in repr(generation())


def invalid(value: Any) -> Opaque:
    message = opaque([read_request(value)])
    assert message.malformed
    return message


@pytest.mark.parametrize(
    "fields",
    [
        {"model": None},
        {"model": 1},
        {"messages": None},
        {"messages": []},
        {"messages": "hello"},
        {"messages": [USER, "hello"]},
        {"stream": "true"},
        {"stream": 1},
        {"n": 0},
        {"n": 1.0},
        {"n": True},
        {"max_tokens": -1},
        {"max_tokens": "9"},
        {"max_completion_tokens": 0},
        {"temperature": "hot"},
        {"top_p": True},
        {"seed": 1.5},
        {"reasoning_effort": 3},
    ],
)
def test_a_request_of_another_shape_is_malformed(fields: dict[str, Any]) -> None:
    assert invalid(asking(**fields)).reason == "openai-invalid"


@pytest.mark.parametrize("value", [[], 1, "x", None, [asking()], {}])
def test_what_is_no_request_at_all_is_malformed(value: Any) -> None:
    assert invalid(value).reason == "openai-invalid"


@pytest.mark.parametrize("key", ["Model", "MESSAGES", "Stream", "max_Tokens", "N", "toolS", "tool_choice".title()])
def test_a_key_that_differs_in_case_alone_is_malformed(key: str) -> None:
    assert invalid(asking(**{key: 1})).reason == "ambiguous-key"
    assert invalid({**asking(), "messages": [{**USER, "Content": "other"}]}).reason == "ambiguous-key"


@pytest.mark.parametrize(
    ("raw", "reason"),
    [
        (b"", "json-empty"),
        (b"{", "json-malformed"),
        (b'{"model":"a","model":"b","messages":[{}]}', "json-duplicate-key"),
        (b'{"model":"\\ud83d","messages":[{}]}', "json-malformed"),
        (b"\xef\xbb\xbf{}", "json-malformed"),
    ],
)
def test_a_request_is_read_strictly(raw: bytes, reason: str) -> None:
    decoder = CODEC.request_decoder(head(), Limits())
    message = opaque(messages_of(drain(decoder, raw)))
    assert (message.reason, message.malformed, decoder.outcome) == (reason, True, Outcome.INVALID)


def test_a_request_past_the_limit_is_opaque_in_every_span() -> None:
    decoder = CODEC.request_decoder(head(), Limits(request_body=10))
    frames = drain(decoder, b'{"model":"a"}')
    assert [frame.raw for frame in frames] == [b'{"model":"', b'a"}']
    assert all(isinstance(message, Opaque) and message.too_large for message in messages_of(frames))


def test_settings_are_read_as_the_caller_gave_them() -> None:
    message = generation(temperature=0.5, top_p=1, seed=7, n=2, reasoning_effort="low")
    assert [message.setting(setting) for setting in Setting] == [None, 0.5, 1, 7, 2, "low"]


def test_of_two_spellings_of_the_most_tokens_the_smaller_counts() -> None:
    assert generation(max_tokens=5).setting(Setting.MAX_TOKENS) == 5
    assert generation(max_completion_tokens=6).setting(Setting.MAX_TOKENS) == 6
    assert generation(max_tokens=5, max_completion_tokens=6).setting(Setting.MAX_TOKENS) == 5
    assert generation(max_tokens=7, max_completion_tokens=None).setting(Setting.MAX_TOKENS) == 7


@pytest.mark.parametrize(
    ("asked", "sent"),
    [
        ({}, {"max_completion_tokens": 9}),
        ({"max_tokens": 50}, {"max_tokens": 9}),
        ({"max_completion_tokens": 50}, {"max_completion_tokens": 9}),
        ({"max_tokens": 50, "max_completion_tokens": None}, {"max_tokens": 9, "max_completion_tokens": 9}),
    ],
)
def test_a_setting_is_written_in_every_spelling_that_the_caller_used(
    asked: dict[str, Any], sent: dict[str, Any]
) -> None:
    changed = generation(**asked).with_settings({Setting.MAX_TOKENS: 9})
    assert json.loads(changed.raw) == changed.value == asking(**sent)
    assert changed.setting(Setting.MAX_TOKENS) == 9


def test_a_setting_can_be_removed_and_others_set_at_once() -> None:
    changed = generation(max_tokens=5, seed=3).with_settings(
        {Setting.MAX_TOKENS: None, Setting.SEED: 4, Setting.TEMPERATURE: None, Setting.REASONING_EFFORT: "low"}
    )
    assert json.loads(changed.raw) == changed.value == asking(seed=4, reasoning_effort="low")


def test_another_model_changes_no_other_byte() -> None:
    raw = b'{ "messages":[{"role":"user","content":"\\u00e9 1.0"}],\n "mod\\u0065l" : "a", "temperature": 1.00}'
    message = read_request(raw)
    assert isinstance(message, Generation)
    renamed = message.with_model('b"é')
    assert renamed.raw == raw.replace(b'"a"', '"b\\"é"'.encode())
    assert renamed.model == 'b"é'
    assert renamed.with_model("a").raw == raw


def test_a_changed_request_is_what_its_frame_becomes() -> None:
    (frame,) = drain(CODEC.request_decoder(head(), Limits()), json.dumps(asking()).encode())
    (message,) = frame.messages
    assert isinstance(message, Generation)
    renamed: Message = message.with_model("b")
    assert frame.encode({0: renamed}) == renamed.raw
    assert frame.encode({0: message}) == frame.encode({}) == frame.raw
    assert frame.encode({0: None}) == b""
    assert (frame.batch, frame.pieces, frame.closes) == (False, (), ())


def test_a_request_has_no_events_of_its_own() -> None:
    decoder = CODEC.request_decoder(head(), Limits())
    assert decoder.text_event(Channel(ChannelKind.CONTENT), "x") == decoder.stream_end(Deny("a", "b"), "t") == b""
    assert decoder.unanswered == ()


def test_a_models_name_has_a_limit() -> None:
    assert isinstance(read_request(asking(model="m" * 64), Limits(name=64)), Generation)
    refused = opaque([read_request(asking(model="m" * 65), Limits(name=64))])
    assert (refused.reason, refused.malformed) == ("name-too-long", True)
