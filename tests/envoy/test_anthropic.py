"""Anthropic's official client through a real Envoy: the same as without Gatehouse, or changed and stopped as it says.

Rules:
- Answers are recorded ones; errors have the shape of Anthropic's documentation (`type: error`, with `error.type` and
  `error.message`), in JSON and as an event of a stream.
- The header `x-way` chooses the route; without one nothing is governed.

Not here: the comparison (both_ways.py), every byte of every recording (test_recorded.py).
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import anthropic
import httpx2
import pytest

from tests.envoy.both_ways import Shown, replaying, same_both_ways
from tests.envoy.exchanges import step_by_step
from tests.envoy.harness import Running, Stacks
from tests.envoy.observed import decisions, mark
from tests.envoy.upstream import json_body
from tests.exchange.recordings import RECORDINGS

BUNDLE = """
apiVersion: gatehouse/v1
kind: Bundle
metadata: {name: anthropic, revision: "1"}
routes:
  - {name: watched, match: {path: /v1, headers: {x-way: watched}}, protocol: anthropic, policies: [tokens]}
  - {name: guarded, match: {path: /v1, headers: {x-way: guarded}}, protocol: auto, policies: [access, guard, tokens]}
  - {name: routed, match: {path: /v1, headers: {x-way: routed}}, protocol: anthropic, policies: [routing, bounds]}
  - {name: edited, match: {path: /v1, headers: {x-way: edited}}, protocol: anthropic, policies: [redacts]}
  - {name: stopped, match: {path: /v1, headers: {x-way: stopped}}, protocol: anthropic, policies: [stops, tokens]}
  - {name: closed, match: {path: /v1, headers: {x-way: closed}}, protocol: openai, policies: [bounds]}
policies:
  - {name: access, type: tool-access, parameters: {rules: [{tools: [search], allow: true}]}}
  - {name: guard, type: "tests.envoy.policies:Guard"}
  - {name: tokens, type: usage}
  - name: routing
    type: model-routing
    parameters: {models: {claude: {upstreams: [{name: model-b, model: claude-dated}]}}}
  - {name: bounds, type: generation-policy, parameters: {max_tokens: {max: 100}}}
  - {name: redacts, type: "tests.envoy.text_policies:Redacts", parameters: {word: the, by: THE}}
  - {name: stops, type: "tests.envoy.text_policies:Stops", parameters: {word: trace, by: "(stopped)"}}
"""
WAYS = ["ungoverned", "watched", "guarded"]
ASKED: Any = {"model": "claude", "max_tokens": 5000, "messages": [{"role": "user", "content": "grüße 🦊"}]}
MESSAGES = {name: recording for name, recording in RECORDINGS.items() if recording.api == "messages"}
WHOLE = [name for name, recording in MESSAGES.items() if not recording.streams and recording.status == 200]
STREAMED = [name for name, recording in MESSAGES.items() if recording.streams]
TEXT = "050-anthropic"
ERRORS = {
    400: (anthropic.BadRequestError, "invalid_request_error"),
    401: (anthropic.AuthenticationError, "authentication_error"),
    404: (anthropic.NotFoundError, "not_found_error"),
    429: (anthropic.RateLimitError, "rate_limit_error"),
    500: (anthropic.InternalServerError, "api_error"),
    529: (anthropic.OverloadedError, "overloaded_error"),
}
in_every_way = pytest.mark.parametrize("way", WAYS)


@pytest.fixture
def running(gatehouse_stack: Stacks) -> Running:
    return gatehouse_stack(BUNDLE)


@contextmanager
def client(running: Running, at: str, way: str) -> Iterator[anthropic.Anthropic]:
    """The official client at a base URL; its key is a token that Envoy verifies, and takes out."""
    with (
        httpx2.Client(trust_env=False, timeout=20.0) as http,
        anthropic.Anthropic(
            api_key=running.stack.token("bob"),
            base_url=at,
            max_retries=0,
            http_client=http,
            default_headers={"x-way": way},
        ) as made,
    ):
        yield made


def asking(running: Running, way: str, *, stream: bool) -> Any:
    """What asks for a message at a base URL, whole or event by event."""

    def ask(at: str) -> Iterable[Shown]:
        with client(running, at, way) as models:
            answer: Any = models.messages.create(**ASKED, stream=stream)
            yield from answer if stream else [answer]

    return ask


def error_of(type: str) -> dict[str, Any]:
    """Anthropic's error object."""
    return {"type": "error", "error": {"type": type, "message": "it cannot be done"}, "request_id": "req_1"}


@in_every_way
@pytest.mark.parametrize("name", WHOLE)
def test_a_message_is_the_same_as_without_gatehouse(running: Running, name: str, way: str) -> None:
    seen = same_both_ways(
        running, replaying(MESSAGES[name]), asking(running, way, stream=False), anthropic.APIStatusError
    )
    assert seen.error is None
    (message,) = seen.values
    assert message == json.loads(MESSAGES[name].response)
    assert json.loads(seen.sent) == {**ASKED, "stream": False}


@in_every_way
@pytest.mark.parametrize("name", STREAMED)
def test_every_event_of_a_stream_is_the_same_as_without_gatehouse(running: Running, name: str, way: str) -> None:
    seen = same_both_ways(
        running, replaying(MESSAGES[name]), asking(running, way, stream=True), anthropic.APIStatusError
    )
    assert seen.error is None
    kinds = [value["type"] for value in seen.values]
    assert kinds[0] == "message_start"
    assert (kinds[-1] == "message_stop") != MESSAGES[name].interrupted
    assert json.loads(seen.sent) == {**ASKED, "stream": True}


@in_every_way
def test_the_message_that_the_client_puts_together_is_the_same(running: Running, way: str) -> None:
    def ask(at: str) -> Iterable[Shown]:
        with client(running, at, way) as models, models.messages.stream(**ASKED) as stream:
            texts.append("".join(stream.text_stream))
            yield stream.get_final_message()

    texts: list[str] = []
    seen = same_both_ways(running, replaying(MESSAGES[TEXT]), ask, anthropic.APIStatusError)
    (message,) = seen.values
    assert message["stop_reason"] == "end_turn"
    assert len(texts[0]) > 100
    assert texts[0] == texts[1]


@in_every_way
def test_events_arrive_one_by_one_while_the_model_speaks(running: Running, way: str) -> None:
    parts = [part + b"\n\n" for part in MESSAGES[TEXT].response.split(b"\n\n")[:-1]]
    shown = [part for part in parts if not part.startswith(b"event: ping")]
    script, gates = step_by_step(shown)
    running.upstream.answer_with(script, gates)
    with client(running, running.stack.url, way) as models:
        running.upstream.open(gates[0])
        events = iter(models.messages.create(**ASKED, stream=True))
        for part, following in zip(shown, [*gates[1:], None], strict=True):
            assert f"event: {next(events).type}\n".encode() in part  # what comes next is still behind its gate
            if following is not None:
                running.upstream.open(following)
        assert next(events, None) is None
    assert running.upstream.failures == []


@in_every_way
@pytest.mark.parametrize("stream", [False, True], ids=["asked whole", "asked as a stream"])
@pytest.mark.parametrize("status", ERRORS)
def test_an_error_is_the_clients_own_error(running: Running, status: int, stream: bool, way: str) -> None:
    raised, type = ERRORS[status]
    script = json_body(error_of(type), status, ("request-id", "req_1"), ("retry-after", "1"))
    seen = same_both_ways(running, script, asking(running, way, stream=stream), anthropic.APIStatusError)
    assert (seen.values, seen.error) == ([], (raised, status, error_of(type)))


@in_every_way
def test_a_recorded_error_is_the_clients_own_error(running: Running, way: str) -> None:
    recording = RECORDINGS["062-anthropic"]
    seen = same_both_ways(running, replaying(recording), asking(running, way, stream=False), anthropic.APIStatusError)
    assert seen.error == (anthropic.BadRequestError, 400, json.loads(recording.response))


@in_every_way
@pytest.mark.parametrize("after", [0, 1, 5])
def test_an_error_within_a_stream_comes_behind_what_came_before_it(running: Running, after: int, way: str) -> None:
    recording = MESSAGES[TEXT]
    before = recording.response.split(b"\n\n")[:after]
    failed = b"event: error\ndata: " + json.dumps(error_of("overloaded_error")).encode()
    script = replaying(recording, body=b"".join(part + b"\n\n" for part in [*before, failed]))
    seen = same_both_ways(running, script, asking(running, way, stream=True), anthropic.APIStatusError)
    assert len(seen.values) == sum(not part.startswith(b"event: ping") for part in before)
    assert seen.error is not None
    assert issubclass(seen.error[0], anthropic.APIStatusError)
    assert seen.error[2] == error_of("overloaded_error")


@pytest.mark.parametrize("way", WAYS[1:])
@pytest.mark.parametrize("name", [WHOLE[0], TEXT])
def test_what_was_read_is_on_record_with_its_model_and_its_tokens(running: Running, name: str, way: str) -> None:
    recording = MESSAGES[name]
    running.upstream.answer_with(replaying(recording))
    since = mark(running)
    assert len(list(asking(running, way, stream=recording.streams)(running.stack.url))) >= 1
    (decision,) = decisions(running, since)
    assert (decision["route"], decision["outcome"], decision["method"]) == (way, "ok", "chat")
    assert "notes" not in decision or decision["notes"] == []
    assert (decision["target"], decision["facts"]["usage_reported"]) == ("claude", True)
    assert decision["facts"]["total_tokens"] > 10
    (request,) = running.upstream.requests
    assert request.header("authorization") is None


@pytest.mark.parametrize("stream", [False, True], ids=["asked whole", "asked as a stream"])
def test_an_alias_reaches_the_server_under_its_name_there_and_the_client_sees_its_own(
    running: Running, stream: bool
) -> None:
    recording = MESSAGES[TEXT if stream else WHOLE[0]]
    named = json.loads(recording.response.partition(b"data: ")[2].partition(b"\n")[0] if stream else recording.response)
    model = (named["message"] if stream else named)["model"].encode()
    running.upstream.answer_with(replaying(recording, body=recording.response.replace(model, b"claude-dated")))
    first, *_ = list(asking(running, "routed", stream=stream)(running.stack.url))
    assert (first.message if stream else first).model == "claude"
    (request,) = running.upstream.requests
    assert json.loads(request.body) == {**ASKED, "model": "claude-dated", "max_tokens": 100, "stream": stream}
    assert request.header("x-gatehouse-upstream") == "model-b"


def final(running: Running, way: str) -> Any:
    with client(running, running.stack.url, way) as models, models.messages.stream(**ASKED) as stream:
        return stream.get_final_message()


NO_TEXTS = {"id", "tool_use_id", "type", "name", "server_name", "signature", "url", "stop_reason", "encrypted_content"}


def replaced(value: Any) -> Any:
    """What a client shows, with the word replaced in all texts."""
    if isinstance(value, dict):
        return {name: inner if name in NO_TEXTS else replaced(inner) for name, inner in value.items()}
    if isinstance(value, list):
        return list(map(replaced, value))
    return value.replace("the", "THE") if isinstance(value, str) else value


@pytest.mark.parametrize("name", [name for name in STREAMED if "interrupted" not in name])
def test_a_replaced_word_is_replaced_wherever_it_was_cut_and_all_else_is_the_same(running: Running, name: str) -> None:
    running.upstream.answer_with(replaying(MESSAGES[name]))
    direct = final(running, "ungoverned").to_dict(mode="json", warnings=False)
    edited = final(running, "edited").to_dict(mode="json", warnings=False)
    for block in direct["content"]:
        if "the" in block.get("thinking", ""):
            block["signature"] = ""  # it vouched for the other text
    assert edited["content"] == replaced(direct["content"])
    assert (edited["stop_reason"], edited["usage"]) == (direct["stop_reason"], direct["usage"])


def test_a_stream_that_a_policy_stops_ends_cleanly_with_its_last_text(running: Running) -> None:
    recording = MESSAGES[TEXT]
    running.upstream.answer_with(replaying(recording))
    whole = final(running, "ungoverned")
    since = mark(running)
    message = final(running, "stopped")
    said = whole.content[0].text
    assert message.stop_reason == "refusal"
    assert message.content[0].text.endswith("(stopped)")
    assert said.startswith(message.content[0].text.removesuffix("(stopped)"))
    assert "trace" not in message.content[0].text
    (decision,) = decisions(running, since)
    assert (decision["outcome"], decision["route"]) == ("refused", "stopped")


@pytest.mark.parametrize("stream", [False, True], ids=["asked whole", "asked as a stream"])
def test_where_the_route_speaks_another_format_the_client_gets_an_error_and_the_server_nothing(
    running: Running, stream: bool
) -> None:
    running.upstream.answer_with(replaying(MESSAGES[TEXT]))
    with pytest.raises(anthropic.PermissionDeniedError, match="is not what this route speaks") as denied:
        list(asking(running, "closed", stream=stream)(running.stack.url))
    error: Any = denied.value.body
    assert error["error"]["code"] == "not-this-protocol"
    assert running.upstream.requests == []
