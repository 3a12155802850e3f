"""Google's own client through a real Envoy: answers untouched, under another name, edited, stopped, and without calls.

Rules:
- The client is `google-genai`, synchronous and asynchronous, with a key as its users have one.
- The header `x-way` chooses the route.

Not here: the same on the wire, arrays, recorded answers (test_gemini.py).
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from google import genai
from google.genai import errors, types

from tests.envoy.harness import Running, Stacks
from tests.envoy.observed import decisions, mark
from tests.envoy.test_recorded import with_every_path
from tests.envoy.upstream import json_body, pieces
from tests.policies.proposing import WAYS, Call
from tests.unit.codecs.gemini_building import answer, candidate, says, stream
from tests.unit.codecs.openai_building import encoded

BUNDLE = """
apiVersion: gatehouse/v1
kind: Bundle
metadata: {name: google, revision: "1"}
routes:
  - {name: routed, match: {headers: {x-way: routed}}, protocol: gemini, policies: [routing, tokens]}
  - {name: edited, match: {headers: {x-way: edited}}, protocol: auto, policies: [redacts, tokens]}
  - {name: stopped, match: {headers: {x-way: stopped}}, protocol: gemini, policies: [stops]}
  - {name: stripped, match: {headers: {x-way: stripped}}, protocol: gemini, policies: [strips]}
  - {name: denied, match: {headers: {x-way: denied}}, protocol: gemini, policies: [denies]}
policies:
  - {name: routing, type: model-routing, parameters: {models: {small: {upstreams: [{name: b, model: gemini@002}]}}}}
  - {name: tokens, type: usage}
  - {name: redacts, type: "tests.envoy.text_policies:Redacts", parameters: {word: secret, by: "***"}}
  - {name: stops, type: "tests.envoy.text_policies:Stops", parameters: {word: secret, by: "(stopped)"}}
  - name: strips
    type: tool-access
    parameters: {rules: [{tools: [search], allow: "args.q != 'no'"}], proposals: strip}
  - name: denies
    type: tool-access
    parameters: {rules: [{tools: [search], allow: "args.q != 'no'"}], proposals: deny}
"""
USED = {"promptTokenCount": 5, "candidatesTokenCount": 7, "totalTokenCount": 12}
SECRET = [says("it is a se"), says("cret for"), {**says(" you", "STOP"), "usageMetadata": USED}]
SEARCH: Call = ("search", {"q": "grüße 🦊"})
OTHER: Call = ("search", {"q": "no"})


@pytest.fixture
def running(gatehouse_stack: Stacks) -> Running:
    return gatehouse_stack(BUNDLE, edit_bootstrap=with_every_path)


@contextmanager
def client(running: Running, way: str) -> Iterator[genai.Client]:
    options = types.HttpOptions(
        base_url=running.stack.url,
        headers={"x-way": way},
        timeout=20_000,
        client_args={"trust_env": False},
        async_client_args={"trust_env": False},
        retry_options=types.HttpRetryOptions(attempts=1),
    )
    with genai.Client(api_key="k", http_options=options) as made:
        yield made


def streamed(running: Running, way: str, model: str = "small") -> list[types.GenerateContentResponse]:
    with client(running, way) as models:
        return list(models.models.generate_content_stream(model=model, contents="hello"))


def words(found: list[types.GenerateContentResponse]) -> str:
    parts = [part for each in found for one in each.candidates or () if one.content for part in one.content.parts or ()]
    return "".join(part.text or "" for part in parts)


def ended(found: list[types.GenerateContentResponse]) -> types.FinishReason | None:
    candidates = found[-1].candidates
    assert candidates is not None
    return candidates[0].finish_reason


def test_whole_and_streamed_the_client_sees_the_name_that_it_asked_for_and_the_servers_usage(running: Running) -> None:
    said = {**says("hi", "STOP"), "modelVersion": "gemini@002", "usageMetadata": USED}
    running.upstream.answer_with(json_body(said))
    with client(running, "routed") as models:
        found = models.models.generate_content(model="small", contents="hello")
    assert (found.text, found.model_version) == ("hi", "small")
    assert found.usage_metadata is not None
    assert found.usage_metadata.total_token_count == 12
    running.upstream.answer_with(pieces([stream(said)]))
    since = mark(running)
    (piece,) = streamed(running, "routed")
    assert (piece.text, piece.model_version) == ("hi", "small")
    (decision,) = decisions(running, since)
    assert (decision["facts"]["input_tokens"], decision["facts"]["output_tokens"]) == (5, 7)


def test_a_word_is_replaced_wherever_it_was_cut(running: Running) -> None:
    body = stream(*SECRET)
    running.upstream.answer_with(pieces([body[at : at + 37] for at in range(0, len(body), 37)]))
    found = streamed(running, "edited")
    assert words(found) == "it is a *** for you"
    assert found[-1].usage_metadata is not None
    running.upstream.answer_with(json_body(says("a secret", "STOP")))
    with client(running, "edited") as models:
        assert models.models.generate_content(model="small", contents="a secret too").text == "a ***"
    assert b"secret" not in running.upstream.requests[-1].body


async def test_a_stream_that_a_policy_stops_ends_without_an_exception(running: Running) -> None:
    running.upstream.answer_with(pieces([stream(says("it is "), *SECRET)]))
    found = streamed(running, "stopped")
    assert words(found).endswith("(stopped)")
    assert ended(found) == types.FinishReason.PROHIBITED_CONTENT
    with client(running, "stopped") as models:
        pieces_ = [
            piece async for piece in await models.aio.models.generate_content_stream(model="small", contents="hello")
        ]
        await models.aio.aclose()
    assert words(pieces_) == words(found)


def test_a_whole_answer_that_a_policy_stops_is_an_error_of_googles(running: Running) -> None:
    running.upstream.answer_with(json_body(says("a secret", "STOP")))
    with client(running, "stopped") as models, pytest.raises(errors.ClientError) as refused:
        models.models.generate_content(model="small", contents="hello")
    assert (refused.value.code, refused.value.status) == (403, "PERMISSION_DENIED")


@pytest.mark.parametrize("way", ["gemini", "gemini streamed"])
@pytest.mark.parametrize("calls", [[OTHER], [OTHER, SEARCH], [SEARCH, OTHER, SEARCH]])
def test_the_client_finds_only_the_calls_that_the_rules_allow(running: Running, way: str, calls: list[Call]) -> None:
    body = WAYS[way].says(calls)
    running.upstream.answer_with(pieces([body]) if WAYS[way].streams else json_body(json.loads(body)))
    if WAYS[way].streams:
        found = streamed(running, "stripped")
    else:
        with client(running, "stripped") as models:
            found = [models.models.generate_content(model="small", contents="hello")]
    made: list[Any] = [(call.name, call.args) for each in found for call in each.function_calls or ()]
    assert made == [call for call in calls if call != OTHER]


def test_a_stream_that_is_ended_for_a_call_ends_without_an_exception_and_without_the_call(running: Running) -> None:
    values = [says("hello"), *(answer(candidate({"functionCall": {"name": n, "args": a}})) for n, a in (SEARCH, OTHER))]
    running.upstream.answer_with(pieces([stream(*values, says("", "STOP"))]))
    found = streamed(running, "denied")
    assert [(call.name, call.args) for each in found for call in each.function_calls or ()] == [SEARCH]
    assert ended(found) == types.FinishReason.PROHIBITED_CONTENT


def test_tokens_are_counted_by_the_server(running: Running) -> None:
    running.upstream.answer_with(pieces([encoded({"totalTokens": 31})], content_type="application/json"))
    with client(running, "routed") as models:
        assert models.models.count_tokens(model="small", contents="hello").total_tokens == 31
