"""Models through a real Envoy: routed, bounded and counted, as the official OpenAI client sees it.

Rules:
- `served` has the demo's two models behind it, which name themselves in their answers; `scripted` has an upstream that
  shows what reached it.
- Each test has a path of its own, so that its lines of the access log are its own.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import httpx
import httpx2
import openai
import pytest

from tests.envoy.exchanges import call
from tests.envoy.harness import Running, Stacks
from tests.envoy.observed import decisions, mark, metric
from tests.envoy.upstream import Connection, Request, json_body, pieces
from tests.unit.codecs.openai_building import RECORDED, asking, chunk, says, stream, whole

BUNDLE = """
apiVersion: gatehouse/v1
kind: Bundle
metadata: {name: models, revision: "1"}
routes:
  - {name: split, match: {path: /v1/split}, protocol: openai, policies: [split]}
  - {name: sticky, match: {path: /v1/sticky}, protocol: openai, policies: [sticky]}
  - {name: both, match: {path: /v1/both}, protocol: auto, policies: [routing, access, tokens]}
  - {name: models, match: {path: /v1}, protocol: openai, policies: [routing, bounds, tokens]}
policies:
  - name: routing
    type: model-routing
    parameters:
      models:
        model-a: {upstreams: [{name: model-a}]}
        small: {upstreams: [{name: model-b, model: model-b}]}
  - name: split
    type: model-routing
    parameters:
      models: {m: {upstreams: [{name: model-a, weight: 3}, {name: model-b, weight: 1}]}}
  - name: sticky
    type: model-routing
    parameters:
      models: {m: {upstreams: [{name: model-a, weight: 3}, {name: model-b, weight: 1}]}}
      sticky: {by: subject}
  - name: bounds
    type: generation-policy
    parameters:
      max_tokens: {max: 100}
      temperature: {forbid: true}
  - name: access
    type: tool-access
    parameters: {rules: [{tools: [search], allow: true}]}
  - {name: tokens, type: usage}
"""
QUESTION: Any = [{"role": "user", "content": "who are you?"}]
USAGE = {
    "prompt_tokens": 12,
    "completion_tokens": 30,
    "total_tokens": 42,
    "prompt_tokens_details": {"cached_tokens": 8},
    "completion_tokens_details": {"reasoning_tokens": 20},
}
FIGURES = {"input_tokens": 12, "output_tokens": 30, "total_tokens": 42, "cached_tokens": 8, "reasoning_tokens": 20}


def with_tokens(bootstrap: str) -> str:
    """The bootstrap with tokens in the access log, as docs/recipes.md has it."""
    outcome = 'outcome: "%DYNAMIC_METADATA(gatehouse:outcome)%"'
    tokens = [f'{name}: "%DYNAMIC_METADATA(gatehouse:{name})%"' for name in ("model", *FIGURES)]
    assert outcome in bootstrap
    return bootstrap.replace(outcome, ("\n" + " " * 26).join([*tokens, outcome]))


@pytest.fixture
def served(gatehouse_stack: Stacks) -> Running:
    return gatehouse_stack(BUNDLE, demo_upstreams=True)


@pytest.fixture
def scripted(gatehouse_stack: Stacks) -> Running:
    running = gatehouse_stack(BUNDLE, edit_bootstrap=with_tokens)
    running.upstream.answer_with(json_body(whole({"role": "assistant", "content": "hi"}, model="model-a")))
    return running


@contextmanager
def client(running: Running, below: str = "", subject: str = "bob") -> Iterator[openai.OpenAI]:
    """The official client, whose base URL is /v1 and what is `below` it."""
    with (
        httpx2.Client(trust_env=False) as http,
        openai.OpenAI(
            api_key=running.stack.token(subject),
            base_url=running.stack.models_url + below,
            max_retries=0,
            http_client=http,
        ) as made,
    ):
        yield made


def posted(running: Running, value: Any, below: str = "") -> httpx.Response:
    """The whole answer to a chat request without any client's doing."""
    return httpx.post(f"{running.stack.models_url}{below}/chat/completions", json=value)


def seen(running: Running) -> Any:
    """The request's body as the upstream got it, whose length is what its headers say."""
    (request,) = running.upstream.requests
    assert request.header("content-length") in (None, str(len(request.body)))
    return json.loads(request.body)


def on_record(running: Running, trail: str) -> dict[str, Any]:
    (found,) = httpx.get(f"{running.stack.admin_url}/decisions", params={"id": trail}).json()["decisions"]
    return dict(found)


def test_an_alias_is_answered_by_its_upstream_under_the_clients_own_name(served: Running) -> None:
    with client(served) as models:
        answer = models.chat.completions.create(model="small", messages=QUESTION)
    assert answer.choices[0].message.content == "This is model-b. You said: who are you?"
    assert answer.model == "small"


def test_every_event_of_a_stream_has_the_clients_own_name(served: Running) -> None:
    with client(served) as models:
        events = list(models.chat.completions.create(model="small", messages=QUESTION, stream=True))
    text = "".join(choice.delta.content or "" for event in events for choice in event.choices)
    assert text == "This is model-b. You said: who are you?"
    assert {event.model for event in events} == {"small"}
    assert events[-1].choices[0].finish_reason == "stop"


@pytest.mark.parametrize("streamed", [False, True])
def test_a_forged_routing_header_chooses_nothing(served: Running, streamed: bool) -> None:
    forged = {"x-gatehouse-upstream": "model-b"}
    since = mark(served)
    with client(served) as models:
        asked: Any = {"model": "model-a", "messages": QUESTION, "extra_headers": forged, "stream": streamed}
        answer = models.chat.completions.create(**asked)
        names = {event.model for event in answer} if streamed else {answer.model}
    assert names == {"model-a"}
    (decision,) = decisions(served, since)
    assert decision["facts"]["upstream"] == "model-a"


async def telling(request: Request, connection: Connection) -> None:
    """Answers with the routing header that came."""
    content = {"role": "assistant", "content": request.header("x-gatehouse-upstream")}
    await json_body(whole(content, model="m"))(request, connection)


def test_weights_are_roughly_honoured(scripted: Running) -> None:
    scripted.upstream.answer_with(telling)
    with client(scripted, "/split") as models:
        answers = [models.chat.completions.create(model="m", messages=QUESTION) for _ in range(200)]
    told = Counter(answer.choices[0].message.content for answer in answers)
    lines = scripted.access_log(200, path="/v1/split/chat/completions")
    assert Counter(line["upstream"] for line in lines) == told  # Envoy sent each where the header says
    assert 120 <= told["model-a"] <= 180  # 150 of 200; five standard deviations are 31


def test_who_is_known_stays_with_the_same_upstream(scripted: Running) -> None:
    scripted.upstream.answer_with(telling)
    homes: list[set[str | None]] = []
    for number in range(40):
        with client(scripted, "/sticky", subject=f"user-{number}") as models:
            answers = [models.chat.completions.create(model="m", messages=QUESTION) for _ in range(5)]
        homes.append({answer.choices[0].message.content for answer in answers})
    assert all(len(home) == 1 for home in homes)
    assert set().union(*homes) == {"model-a", "model-b"}


def test_an_unknown_model_is_the_clients_own_error_with_our_words_and_the_trail(scripted: Running) -> None:
    with client(scripted) as models, pytest.raises(openai.NotFoundError, match="there is no such model here") as denied:
        models.chat.completions.create(model="model-x", messages=QUESTION)
    error: Any = denied.value.body
    assert error["code"] == "model-unknown"
    decision = on_record(scripted, error["trail"])
    assert (decision["target"], decision["outcome"], decision["status"]) == ("model-x", "refused", 404)
    assert scripted.upstream.requests == []


@pytest.mark.parametrize("asked", [{"max_tokens": 5000}, {"max_completion_tokens": 5000}, {}])
def test_the_upstream_sees_no_more_tokens_than_may_be_asked(scripted: Running, asked: dict[str, int]) -> None:
    with client(scripted) as models:
        models.chat.completions.create(model="model-a", messages=QUESTION, **asked)  # type: ignore[call-overload]
    name = next(iter(asked), "max_completion_tokens")
    assert seen(scripted) == {"messages": QUESTION, "model": "model-a", name: 100}


def test_a_forbidden_setting_is_the_clients_own_error(scripted: Running) -> None:
    with (
        client(scripted) as models,
        pytest.raises(openai.BadRequestError, match="temperature may not be set") as denied,
    ):
        models.chat.completions.create(model="model-a", messages=QUESTION, temperature=0.5)
    error: Any = denied.value.body
    assert error["code"] == "setting-not-allowed"
    assert on_record(scripted, error["trail"])["outcome"] == "refused"
    assert scripted.upstream.requests == []


@pytest.mark.parametrize("size", [1000, 3 << 20])
def test_a_request_of_any_size_is_renamed_and_routed(scripted: Running, size: int) -> None:
    question = [{"role": "user", "content": "ü" * (size // 2)}]
    with client(scripted) as models:
        answer = models.chat.completions.create(model="small", messages=question, max_tokens=1)  # type: ignore[arg-type]
    assert answer.model == "small"
    assert seen(scripted) == {"messages": question, "model": "model-b", "max_tokens": 1}
    assert scripted.upstream.requests[0].header("x-gatehouse-upstream") == "model-b"


@pytest.mark.parametrize("streamed", [False, True], ids=["JSON", "a stream"])
def test_usage_is_in_decisions_metrics_and_the_access_log(scripted: Running, streamed: bool) -> None:
    below = "/told-in-a-stream" if streamed else "/told-whole"
    events = [says("hi"), chunk(finish="stop"), {**chunk(), "choices": [], "usage": USAGE}]
    answer = pieces([stream(*events)]) if streamed else json_body(whole({"content": "hi"}, usage=USAGE))
    scripted.upstream.answer_with(answer)

    def counted() -> dict[str, float]:
        what = {"route": "models", "protocol": "openai", "revision": "1"}
        kinds = ("input", "output", "cached", "reasoning")
        return {f"{kind}_tokens": metric(scripted, "gatehouse_tokens_total", **what, kind=kind) for kind in kinds}

    before, since = counted(), mark(scripted)
    asked: Any = {"stream": True, "stream_options": {"include_usage": True}} if streamed else {}
    with client(scripted, below) as models:
        got: Any = models.chat.completions.create(model="small", messages=QUESTION, **asked)
        usage = list(got)[-1].usage if streamed else got.usage
    assert usage.total_tokens == 42
    (decision,) = decisions(scripted, since)
    facts = on_record(scripted, decision["id"])["facts"]
    assert facts.items() >= {**FIGURES, "usage_reported": True}.items()
    assert {name: value - before[name] for name, value in counted().items()} == {name: FIGURES[name] for name in before}
    (line,) = scripted.access_log(1, path=f"/v1{below}/chat/completions")
    assert {name: line[name] for name in FIGURES} == FIGURES
    assert (line["model"], line["upstream"], line["outcome"]) == ("model-b", "model-b", "ok")


def test_a_stream_that_was_not_asked_for_usage_is_estimated(served: Running) -> None:
    since = mark(served)
    with client(served) as models:
        events = list(models.chat.completions.create(model="small", messages=QUESTION, stream=True))
        assert all(event.usage is None for event in events)
        told = models.chat.completions.create(
            model="small", messages=QUESTION, stream=True, stream_options={"include_usage": True}
        )
        (usage,) = [event.usage for event in told if event.usage is not None]
    silent, counted = decisions(served, since, 2)
    assert (silent["facts"]["usage_reported"], silent["facts"]["usage_estimated"]) == (False, True)
    assert silent["facts"]["output_tokens"] > 0
    assert (counted["facts"]["usage_reported"], counted["facts"]["usage_estimated"]) == (True, False)
    assert (counted["facts"]["input_tokens"], counted["facts"]["output_tokens"]) == (
        usage.prompt_tokens,
        usage.completion_tokens,
    )


def cut_up(body: bytes, size: int = 37) -> Sequence[bytes]:
    return [body[start : start + size] for start in range(0, len(body), size)]


# Those that came to their end.
WITH_TOOLS = [
    name
    for name, recorded in RECORDED.items()
    if recorded.streams and b'"tool_calls":[{' in recorded.body and recorded.body.rstrip().endswith(b"[DONE]")
]


@pytest.mark.parametrize("name", WITH_TOOLS)
def test_a_recorded_stream_with_tool_calls_keeps_every_byte_where_nothing_changes(scripted: Running, name: str) -> None:
    scripted.upstream.answer_with(pieces(cut_up(RECORDED[name].body)))
    answer = posted(scripted, asking(model="model-a", stream=True, max_tokens=1))
    assert answer.content == RECORDED[name].body
    assert seen(scripted) == asking(model="model-a", stream=True, max_tokens=1)


def test_a_renamed_stream_of_tool_calls_keeps_every_other_byte(scripted: Running) -> None:
    def event(arguments: str) -> bytes:
        called = '[{"index":0,"function":{"arguments":' + json.dumps(arguments) + "}}]"
        choice = '{"index":0,"delta":{"tool_calls":' + called + '},"finish_reason":null}'
        envelope = '{"id": "c1","created":1.50,"model":"model-b","x":1e0,"choices": [' + choice + "]}"
        return f"data: {envelope}\r\n\r\n".encode()

    body = b": hi\r\n\r\n" + event('{"path": "') + event("grüße") + event('"}')
    body += stream(chunk(finish="tool_calls", model="model-b"))
    scripted.upstream.answer_with(pieces(cut_up(body, 11)))
    answer = posted(scripted, asking(model="small", stream=True))
    assert answer.content == body.replace(b'"model-b"', b'"small"')


def test_mcp_and_openai_share_one_route(scripted: Running) -> None:
    since = mark(scripted)
    with client(scripted, "/both") as models:
        assert models.chat.completions.create(model="small", messages=QUESTION).model == "small"
    assert scripted.upstream.requests[0].header("x-gatehouse-upstream") == "model-b"
    result: Mapping[str, Any] = {"content": [{"type": "text", "text": "found"}]}
    scripted.upstream.answer_with(json_body({"jsonrpc": "2.0", "id": 1, "result": result}))
    url = f"{scripted.stack.models_url}/both/tools"
    allowed, denied = (httpx.post(url, json=call(tool)).json() for tool in ("search", "delete"))
    assert allowed["result"] == result
    assert denied["error"]["data"]["reason"] == "tool-not-allowed"
    (request,) = scripted.upstream.requests
    assert (request.header("x-gatehouse-tool"), request.header("x-gatehouse-upstream")) == ("search", None)
    assert [decision["method"] for decision in decisions(scripted, since, 3)] == ["chat", "tools/call", "tools/call"]
