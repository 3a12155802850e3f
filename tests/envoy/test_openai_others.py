"""OpenAI's official client and its older APIs, completions and embeddings, through a real Envoy.

Rules:
- Answers are recorded ones, or have the shape of OpenAI's reference.
- The header `x-way` chooses the route, whatever the path; without it nothing is governed.

Not here: chat completions (test_models.py), responses (test_openai_responses.py), the comparison (both_ways.py).
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any

import openai
import pytest

from tests.envoy.both_ways import Shown, replaying, same_both_ways
from tests.envoy.harness import Running, Stacks
from tests.envoy.observed import decisions, mark
from tests.envoy.test_openai_responses import client
from tests.envoy.upstream import json_body, pieces
from tests.exchange.recordings import RECORDINGS
from tests.unit.codecs.openai_building import stream
from tests.unit.codecs.openai_completions_building import says, vectors, whole

BUNDLE = """
apiVersion: gatehouse/v1
kind: Bundle
metadata: {name: others, revision: "1"}
routes:
  - {name: read, match: {path: /v1, headers: {x-way: read}}, protocol: openai, policies: [tokens, redacts]}
  - {name: auto, match: {path: /v1, headers: {x-way: auto}}, protocol: auto, policies: [guard, tokens]}
  - {name: bounded, match: {path: /v1, headers: {x-way: bounded}}, protocol: openai, policies: [aliases, bounds]}
  - {name: stopped, match: {path: /v1, headers: {x-way: stopped}}, protocol: openai, policies: [stops, tokens]}
policies:
  - {name: aliases, type: model-routing, parameters: {models: {small: {upstreams: [{name: model-b, model: large}]}}}}
  - {name: bounds, type: generation-policy, parameters: {max_tokens: {max: 100}}}
  - {name: guard, type: "tests.envoy.policies:Guard"}
  - {name: redacts, type: "tests.envoy.text_policies:Redacts", parameters: {word: secret, by: "***"}}
  - {name: stops, type: "tests.envoy.text_policies:Stops", parameters: {word: secret, by: " (stopped)"}}
  - {name: tokens, type: usage}
"""
WAYS = ["ungoverned", "read", "auto"]
COMPLETED = RECORDINGS["033-openai"]
EMBEDDED = ["035-mistral", "036-openai"]
SPOKEN = stream(says("a se"), says("cret"), says(" word"), says("", finish="stop"))
in_every_way = pytest.mark.parametrize("way", WAYS)


@pytest.fixture
def running(gatehouse_stack: Stacks) -> Running:
    return gatehouse_stack(BUNDLE)


@in_every_way
def test_a_stream_of_completions_is_the_same_as_without_gatehouse(running: Running, way: str) -> None:
    def ask(at: str) -> Iterable[Shown]:
        with client(running, at, way) as models:
            yield from models.completions.create(model="m", prompt="grüße", stream=True)

    seen = same_both_ways(running, replaying(COMPLETED), ask, openai.APIError)
    assert seen.error is None
    assert len(seen.values) > 10
    assert json.loads(seen.sent)["prompt"] == "grüße"


@in_every_way
@pytest.mark.parametrize("name", EMBEDDED)
@pytest.mark.parametrize("asked", ["grüße", ["a", "b"], [1, 2, 3]], ids=["text", "texts", "tokens"])
def test_vectors_are_the_same_as_without_gatehouse(running: Running, asked: Any, name: str, way: str) -> None:
    def ask(at: str) -> Iterable[Shown]:
        with client(running, at, way) as models:
            yield models.embeddings.create(model="m", input=asked)

    seen = same_both_ways(running, replaying(RECORDINGS[name]), ask, openai.APIError)
    assert seen.error is None
    assert json.loads(seen.sent)["input"] == asked


@in_every_way
def test_an_error_is_the_clients_own_error(running: Running, way: str) -> None:
    def ask(at: str) -> Iterable[Shown]:
        with client(running, at, way) as models:
            yield models.embeddings.create(model="m", input="a")

    seen = same_both_ways(running, replaying(RECORDINGS["038-openai"]), ask, openai.APIStatusError)
    assert seen.error is not None
    assert seen.error[:2] == (openai.NotFoundError, 404)


def test_a_word_is_replaced_in_prompts_inputs_and_answers(running: Running) -> None:
    running.upstream.answer_with(json_body(whole("a secret", "my secret")))
    with client(running, running.stack.url, "read") as models:
        answer = models.completions.create(model="m", prompt=["a secret", "b"], suffix="secret")
    assert [choice.text for choice in answer.choices] == ["a ***", "my ***"]
    (request,) = running.upstream.requests
    sent = json.loads(request.body)
    assert (sent["prompt"], sent["suffix"]) == (["a ***", "b"], "***")
    running.upstream.answer_with(pieces([SPOKEN[:200], SPOKEN[200:]]))
    with client(running, running.stack.url, "read") as models:
        events = list(models.completions.create(model="m", prompt="x", stream=True))
    assert "".join(event.choices[0].text for event in events if event.choices) == "a *** word"
    running.upstream.answer_with(json_body(vectors([0.5])))
    with client(running, running.stack.url, "read") as models:
        models.embeddings.create(model="m", input=["a secret"], encoding_format="float")
    (request,) = running.upstream.requests
    assert json.loads(request.body)["input"] == ["a ***"]


def test_a_model_is_asked_by_its_own_name_and_answers_by_the_clients(running: Running) -> None:
    with client(running, running.stack.url, "bounded") as models:
        running.upstream.answer_with(json_body(whole("a", model="large")))
        said = models.completions.create(model="small", prompt="a", max_tokens=500)
        (asked,) = (json.loads(request.body) for request in running.upstream.requests)
        running.upstream.answer_with(json_body(vectors([0.5], model="large")))
        embedded = models.embeddings.create(model="small", input="a", encoding_format="float")
        (embedding,) = (json.loads(request.body) for request in running.upstream.requests)
    assert (asked["model"], asked["max_tokens"], embedding["model"]) == ("large", 100, "large")
    assert (said.model, embedded.model, embedded.data[0].embedding) == ("small", "small", [0.5])


def test_a_stream_that_is_stopped_ends_for_the_client(running: Running) -> None:
    running.upstream.answer_with(pieces([SPOKEN]))
    since = mark(running)
    with client(running, running.stack.url, "stopped") as models:
        events = list(models.completions.create(model="m", prompt="x", stream=True))
    assert "".join(event.choices[0].text for event in events) == " (stopped)"
    assert events[-1].choices[0].finish_reason == "content_filter"
    (decision,) = decisions(running, since)
    assert (decision["outcome"], decision["method"]) == ("refused", "completions")


def test_vectors_are_on_record_with_their_usage(running: Running) -> None:
    running.upstream.answer_with(replaying(RECORDINGS["036-openai"]))
    since = mark(running)
    with client(running, running.stack.url, "auto") as models:
        models.embeddings.create(model="m", input="a")
    (decision,) = decisions(running, since)
    assert (decision["outcome"], decision["method"], decision["target"]) == ("ok", "embeddings", "m")
    assert decision["facts"]["input_tokens"] == 8
