"""OpenAI's official client and the Responses API through a real Envoy: untouched, renamed, with other words, stopped.

Rules:
- Answers are recorded ones; errors have the shape of OpenAI's reference: JSON (`error`), an event of type `error`, a
  response that failed.
- The header `x-way` chooses the route, whatever the path; without it nothing is governed.

Not here: the comparison (both_ways.py), chat completions (test_models.py), the older APIs (test_openai_others.py).
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import httpx2
import openai
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
metadata: {name: responses, revision: "1"}
limits: {hold_back: 1MiB}
routes:
  - {name: read, match: {path: /v1, headers: {x-way: read}}, protocol: openai, policies: [tokens, nothing]}
  - {name: auto, match: {path: /v1, headers: {x-way: auto}}, protocol: auto, policies: [access, guard, tokens]}
  - {name: bounded, match: {path: /v1, headers: {x-way: bounded}}, protocol: openai, policies: [aliases, bounds]}
  - {name: redacted, match: {path: /v1, headers: {x-way: redacted}}, protocol: openai, policies: [redacts, tokens]}
  - {name: stopped, match: {path: /v1, headers: {x-way: stopped}}, protocol: openai, policies: [stops, tokens]}
policies:
  - {name: aliases, type: model-routing, parameters: {models: {small: {upstreams: [{name: model-b, model: gpt}]}}}}
  - {name: bounds, type: generation-policy, parameters: {max_tokens: {max: 100}, reasoning_effort: {max: low}}}
  - {name: access, type: tool-access, parameters: {default: allow, rules: [{hosted: ["mcp:*"], allow: false}]}}
  - {name: guard, type: "tests.envoy.policies:Guard"}
  - {name: nothing, type: "tests.envoy.text_policies:Redacts", parameters: {word: "\u2603", by: x}}
  - {name: redacts, type: "tests.envoy.text_policies:Redacts", parameters: {word: Potato, by: "Pot*to"}}
  - {name: stops, type: "tests.envoy.text_policies:Stops", parameters: {word: capital, by: " (stopped)"}}
  - {name: tokens, type: usage}
"""
WAYS = ["ungoverned", "read", "auto"]
ASKED: Any = {"model": "gpt", "input": "grüße 🦊"}
RESPONSES = {name: recording for name, recording in RECORDINGS.items() if recording.api == "responses"}
WHOLE = [name for name, recording in RESPONSES.items() if not recording.streams]
# Cut inside a character, where the client itself fails.
STREAMED = [name for name, recording in RESPONSES.items() if recording.streams and not recording.interrupted]
TEXT = "069-openai"
ERROR = {"message": "it cannot be done", "type": "invalid_request_error", "param": "input", "code": None}
ERRORS = {
    400: openai.BadRequestError,
    401: openai.AuthenticationError,
    404: openai.NotFoundError,
    429: openai.RateLimitError,
    500: openai.InternalServerError,
}
in_every_way = pytest.mark.parametrize("way", WAYS)


@pytest.fixture
def running(gatehouse_stack: Stacks) -> Running:
    return gatehouse_stack(BUNDLE)


@contextmanager
def client(running: Running, at: str, way: str) -> Iterator[openai.OpenAI]:
    """The official client at a base URL; its key is a token that Envoy verifies, and takes out."""
    with (
        httpx2.Client(trust_env=False, timeout=20.0) as http,
        openai.OpenAI(
            api_key=running.stack.token("bob"),
            base_url=f"{at}/v1",
            max_retries=0,
            http_client=http,
            default_headers={"x-way": way},
        ) as made,
    ):
        yield made


def asking(running: Running, way: str, *, stream: bool) -> Any:
    """What asks for a response at a base URL, whole or event by event."""

    def ask(at: str) -> Iterable[Shown]:
        with client(running, at, way) as models:
            answer: Any = models.responses.create(**ASKED, stream=stream)
            yield from answer if stream else [answer]

    return ask


@in_every_way
@pytest.mark.parametrize("name", WHOLE)
def test_a_response_is_the_same_as_without_gatehouse(running: Running, name: str, way: str) -> None:
    seen = same_both_ways(running, replaying(RESPONSES[name]), asking(running, way, stream=False), openai.APIError)
    assert seen.error is None
    (response,) = seen.values
    assert response == json.loads(RESPONSES[name].response)
    assert json.loads(seen.sent) == {**ASKED, "stream": False}


@in_every_way
@pytest.mark.parametrize("name", STREAMED)
def test_every_event_of_a_stream_is_the_same_as_without_gatehouse(running: Running, name: str, way: str) -> None:
    seen = same_both_ways(running, replaying(RESPONSES[name]), asking(running, way, stream=True), openai.APIError)
    assert seen.error is None
    kinds = [value["type"] for value in seen.values]
    assert (kinds[0], kinds[-1]) == ("response.created", "response.completed")
    assert json.loads(seen.sent) == {**ASKED, "stream": True}


@in_every_way
def test_the_response_that_the_client_puts_together_is_the_same(running: Running, way: str) -> None:
    def ask(at: str) -> Iterable[Shown]:
        with client(running, at, way) as models, models.responses.stream(**ASKED) as stream:
            yield stream.get_final_response()

    seen = same_both_ways(running, replaying(RESPONSES[TEXT]), ask, openai.APIError)
    (response,) = seen.values
    assert response["status"] == "completed"


@in_every_way
def test_events_arrive_one_by_one_while_the_model_speaks(running: Running, way: str) -> None:
    parts = [part + b"\n\n" for part in RESPONSES[TEXT].response.split(b"\n\n")[:-1]]
    script, gates = step_by_step(parts)
    running.upstream.answer_with(script, gates)
    with client(running, running.stack.url, way) as models:
        running.upstream.open(gates[0])
        events = iter(models.responses.create(**ASKED, stream=True))
        for part, following in zip(parts, [*gates[1:], None], strict=True):
            assert f"event: {next(events).type}\n".encode() in part  # what comes next is still behind its gate
            if following is not None:
                running.upstream.open(following)
        assert next(events, None) is None
    assert running.upstream.failures == []


@in_every_way
@pytest.mark.parametrize("stream", [False, True], ids=["asked whole", "asked as a stream"])
@pytest.mark.parametrize("status", ERRORS)
def test_an_error_is_the_clients_own_error(running: Running, status: int, stream: bool, way: str) -> None:
    script = json_body({"error": ERROR}, status, ("x-request-id", "req_1"), ("retry-after", "1"))
    seen = same_both_ways(running, script, asking(running, way, stream=stream), openai.APIStatusError)
    assert (seen.values, seen.error) == ([], (ERRORS[status], status, ERROR))


def failed_response(recorded: bytes) -> dict[str, Any]:
    """The event that a response failed, made of the recorded one that it began."""
    began = json.loads(recorded.partition(b"data: ")[2])["response"]
    failure = {"code": "server_error", "message": "it cannot be done"}
    return {
        "type": "response.failed",
        "sequence_number": 9,
        "response": {**began, "status": "failed", "error": failure},
    }


@in_every_way
@pytest.mark.parametrize("kind", ["error", "response.failed"])
@pytest.mark.parametrize("after", [1, 5])
def test_an_error_within_a_stream_comes_behind_what_came_before_it(
    running: Running, after: int, kind: str, way: str
) -> None:
    recording = RESPONSES[TEXT]
    before = recording.response.split(b"\n\n")[:after]
    error = {
        "type": "error",
        "code": "server_error",
        "message": "it cannot be done",
        "param": None,
        "sequence_number": 9,
    }
    value = error if kind == "error" else failed_response(before[0])
    failed = f"event: {kind}\ndata: {json.dumps(value)}".encode()
    script = replaying(recording, body=b"".join(part + b"\n\n" for part in [*before, failed]))
    seen = same_both_ways(running, script, asking(running, way, stream=True), openai.APIError)
    assert len(seen.values) == after + 1
    assert seen.values[-1] == value


@pytest.mark.parametrize("way", WAYS[1:])
@pytest.mark.parametrize("name", [WHOLE[0], TEXT])
def test_what_was_read_is_on_record_with_its_model_and_its_usage(running: Running, name: str, way: str) -> None:
    recording = RESPONSES[name]
    running.upstream.answer_with(replaying(recording))
    since = mark(running)
    assert len(list(asking(running, way, stream=recording.streams)(running.stack.url))) >= 1
    (decision,) = decisions(running, since)
    assert (decision["route"], decision["outcome"], decision["method"]) == (way, "ok", "responses")
    assert decision["target"] == "gpt"
    assert decision.get("notes", []) == []
    last = recording.response.rpartition(b"data: ")[2] if recording.streams else recording.response
    told = json.loads(last)
    usage = (told.get("response") or told)["usage"]
    facts = decision["facts"]
    assert (facts["input_tokens"], facts["output_tokens"]) == (usage["input_tokens"], usage["output_tokens"])


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "streamed"])
def test_a_model_is_asked_by_its_own_name_and_answers_by_the_clients(running: Running, stream: bool) -> None:
    recording = RESPONSES[TEXT if stream else WHOLE[0]]
    running.upstream.answer_with(replaying(recording))
    asked: Any = {**ASKED, "model": "small", "max_output_tokens": 500, "reasoning": {"effort": "high"}}
    with client(running, running.stack.url, "bounded") as models:
        answer: Any = models.responses.create(**asked, stream=stream)
        events = list(answer) if stream else []
    named = [event.response.model for event in events if hasattr(event, "response")] if stream else [answer.model]
    assert set(named) == {"small"}
    assert len(named) == (3 if stream else 1)
    (request,) = running.upstream.requests
    bounded = {"model": "gpt", "max_output_tokens": 100, "reasoning": {"effort": "low"}}
    assert json.loads(request.body) == {**asked, **bounded, "stream": stream}


def test_a_word_is_replaced_wherever_an_answer_has_it(running: Running) -> None:
    recording = RESPONSES[TEXT]
    assert recording.response.count(b"Potato") > 1
    running.upstream.answer_with(replaying(recording))
    with client(running, running.stack.url, "redacted") as models, models.responses.stream(**ASKED) as stream:
        events = list(stream)
        final = stream.get_final_response()
    shown = json.dumps([event.to_dict(mode="json", warnings=False) for event in events])
    said = "".join(event.delta for event in events if event.type == "response.output_text.delta")
    assert "Potato" not in shown
    assert "Pot*to" in said
    assert said == final.output_text


def test_an_answer_that_is_stopped_in_mid_stream_ends_for_the_client_as_incomplete(running: Running) -> None:
    running.upstream.answer_with(replaying(RESPONSES[TEXT]))
    since = mark(running)
    events: Any = list(asking(running, "stopped", stream=True)(running.stack.url))
    assert events[-1].type == "response.incomplete"
    assert events[-1].response.incomplete_details.reason == "content_filter"
    said = "".join(event.delta for event in events if event.type == "response.output_text.delta")
    assert said.endswith(" (stopped)")
    assert "capital" not in said
    assert "response.output_text.done" not in {event.type for event in events}
    (decision,) = decisions(running, since)
    assert decision["outcome"] == "refused"
    assert "word-not-allowed" in [entry.get("reason") for entry in decision["entries"]]


def test_a_tool_that_the_provider_would_run_is_denied_before_anything_reaches_it(running: Running) -> None:
    running.upstream.answer_with(replaying(RESPONSES[TEXT]))
    server: Any = {"type": "mcp", "server_label": "s", "server_url": "https://a.example/mcp"}
    with (
        client(running, running.stack.url, "auto") as models,
        pytest.raises(openai.PermissionDeniedError) as denied,
    ):
        models.responses.create(**ASKED, tools=[server])
    error: Any = denied.value.body
    assert error["code"].startswith("hosted-tool")
    assert running.upstream.requests == []


def test_what_is_done_with_a_stored_answer_is_denied_where_no_policy_tells_whose_it_is(running: Running) -> None:
    with client(running, running.stack.url, "read") as models:
        for ask in (models.responses.retrieve, models.responses.cancel, models.responses.delete):
            with pytest.raises(openai.PermissionDeniedError, match="no policy here tells"):
                ask("resp_1")
    assert running.upstream.requests == []
