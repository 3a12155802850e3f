"""Gemini's API through a real Envoy: routed by its path, read, changed and stopped.

Rules:
- The header `x-way` chooses the route. Answers are recorded ones, or a few pieces here.

Not here: every byte of every recording (test_recorded.py); the shapes of answers (tests/unit/codecs).
"""

from __future__ import annotations

import json
from typing import Any

import httpx
import pytest

from tests.envoy.both_ways import replaying
from tests.envoy.harness import Running, Stacks
from tests.envoy.observed import decisions, mark
from tests.envoy.test_recorded import with_every_path
from tests.envoy.upstream import json_body, pieces
from tests.exchange.recordings import RECORDINGS
from tests.unit.codecs.gemini_building import array, asking, says, stream

BUNDLE = """
apiVersion: gatehouse/v1
kind: Bundle
metadata: {name: gemini, revision: "1"}
routes:
  - {name: routed, match: {headers: {x-way: routed}}, protocol: gemini, policies: [routing, bounds, tokens]}
  - {name: both, match: {headers: {x-way: both}}, protocol: auto, policies: [routing, access]}
  - {name: edited, match: {headers: {x-way: edited}}, protocol: gemini, policies: [redacts]}
  - {name: stopped, match: {headers: {x-way: stopped}}, protocol: gemini, policies: [stops]}
policies:
  - name: routing
    type: model-routing
    parameters: {models: {small: {upstreams: [{name: model-b, model: gemini@002}]}}}
  - {name: bounds, type: generation-policy, parameters: {max_tokens: {max: 100}}}
  - {name: access, type: tool-access, parameters: {rules: [{tools: [search], allow: true}]}}
  - {name: tokens, type: usage}
  - {name: redacts, type: "tests.envoy.text_policies:Redacts", parameters: {word: secret, by: "***"}}
  - {name: stops, type: "tests.envoy.text_policies:Stops", parameters: {word: secret, by: "(stopped)"}}
"""
GENERATE, STREAM = ":generateContent", ":streamGenerateContent"
SECRET = [says("it is a se"), says("cret for"), says(" you", "STOP")]


@pytest.fixture
def running(gatehouse_stack: Stacks) -> Running:
    return gatehouse_stack(BUNDLE, edit_bootstrap=with_every_path)


def posted(
    running: Running, way: str, model: str = "small", action: str = GENERATE, value: Any = None
) -> httpx.Response:
    """The answer to a request; a key is in the query."""
    url = f"{running.stack.url}/v1beta/models/{model}{action}{'&' if '?' in action else '?'}key=k"
    return httpx.post(url, json=value or asking(), headers={"x-way": way}, trust_env=False, timeout=20.0)


def values_of(answer: httpx.Response) -> list[Any]:
    return [json.loads(line[6:]) for line in answer.text.splitlines() if line.startswith("data: ")]


def text_of(values: list[Any]) -> str:
    candidates = [candidate for value in values for candidate in value.get("candidates", ())]
    return "".join(part["text"] for each in candidates for part in each.get("content", {}).get("parts", ()))


@pytest.mark.parametrize("action", [GENERATE, f"{STREAM}?alt=sse"])
def test_an_alias_reaches_the_server_under_its_own_path_and_the_client_sees_its_own_name(
    running: Running, action: str
) -> None:
    answer = {**says("hi", "STOP"), "modelVersion": "gemini@002", "usageMetadata": {"promptTokenCount": 3}}
    running.upstream.answer_with(json_body(answer) if action == GENERATE else pieces([stream(answer)]))
    since = mark(running)
    got = posted(running, "routed", action=action)
    assert got.status_code == 200
    (shown,) = [got.json()] if action == GENERATE else values_of(got)
    assert shown["modelVersion"] == "small"
    (request,) = running.upstream.requests
    assert request.path == f"/v1beta/models/gemini@002{action}{'&' if '?' in action else '?'}key=k"
    assert request.header("x-gatehouse-upstream") == "model-b"
    assert json.loads(request.body) == asking(generationConfig={"maxOutputTokens": 100})
    (decision,) = decisions(running, since)
    assert (decision["target"], decision["facts"]["model"]) == ("small", "gemini@002")
    assert decision["facts"]["input_tokens"] == 3


def test_a_tool_of_the_providers_is_denied_in_googles_words_and_the_server_sees_nothing(running: Running) -> None:
    running.upstream.answer_with(json_body(says("hi", "STOP")))
    answer = posted(running, "both", value=asking(tools=[{"google_search": {}}]))
    error = answer.json()["error"]
    assert (answer.status_code, error["code"], error["status"]) == (403, 403, "PERMISSION_DENIED")
    assert error["details"][0]["reason"]
    assert running.upstream.requests == []


def test_a_model_that_the_body_names_otherwise_is_refused(running: Running) -> None:
    running.upstream.answer_with(json_body(says("hi", "STOP")))
    answer = posted(running, "routed", value=asking(model="models/other"))
    assert (answer.status_code, answer.json()["error"]["status"]) == (400, "INVALID_ARGUMENT")
    assert running.upstream.requests == []


def test_a_word_is_replaced_in_the_request_and_wherever_it_was_cut_in_the_answer(running: Running) -> None:
    running.upstream.answer_with(pieces([stream(*SECRET)]))
    answer = posted(
        running, "edited", action=f"{STREAM}?alt=sse", value=asking(systemInstruction={"parts": [{"text": "secret"}]})
    )
    assert text_of(values_of(answer)) == "it is a *** for you"
    (request,) = running.upstream.requests
    assert json.loads(request.body)["systemInstruction"]["parts"] == [{"text": "***"}]


def test_a_word_is_replaced_in_an_array_too(running: Running) -> None:
    running.upstream.answer_with(json_body(json.loads(array(*SECRET))))
    assert text_of(posted(running, "edited", action=STREAM).json()) == "it is a *** for you"


def test_a_stream_that_a_policy_stops_ends_with_its_last_text_and_a_reason(running: Running) -> None:
    running.upstream.answer_with(pieces([stream(says("it is "), *SECRET)]))
    since = mark(running)
    values = values_of(posted(running, "stopped", action=f"{STREAM}?alt=sse"))
    assert text_of(values).endswith("(stopped)")
    assert "secret" not in text_of(values)
    assert values[-1]["candidates"] == [{"finishReason": "PROHIBITED_CONTENT", "index": 0}]
    (decision,) = decisions(running, since)
    assert decision["outcome"] == "refused"


def test_an_array_that_a_policy_stops_is_json_still(running: Running) -> None:
    running.upstream.answer_with(json_body(json.loads(array(*SECRET))))
    answer = posted(running, "stopped", action=STREAM)
    assert "cret" not in answer.text
    value = answer.json()
    if isinstance(value, list):
        assert value[-1]["candidates"][0]["finishReason"] == "PROHIBITED_CONTENT"
    else:
        assert value["error"]["details"][0]["reason"] == "word-not-allowed"


@pytest.mark.parametrize("name", ["041-google", "078-google", "081-google"])
def test_a_recorded_answer_that_holds_nothing_to_replace_is_the_same(running: Running, name: str) -> None:
    recording = RECORDINGS[name]
    running.upstream.answer_with(replaying(recording))
    action = STREAM + "?alt=sse" if recording.streams else GENERATE
    assert posted(running, "edited", action=action).content == recording.response
