"""Tools that a provider runs itself, through a real Envoy: what no rule allows reaches no provider, and the official
OpenAI client reports it cleanly.

Rules:
- The upstream shows what reached it; where something was denied, nothing did.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import httpx
import httpx2
import openai
import pytest

from tests.envoy.exchanges import call
from tests.envoy.harness import Running, Stacks
from tests.envoy.observed import decisions, mark
from tests.envoy.upstream import json_body, pieces
from tests.unit.codecs.openai_building import asking, chunk, says, stream, whole

BUNDLE = """
apiVersion: gatehouse/v1
kind: Bundle
metadata: {name: hosted, revision: "1"}
routes:
  - {name: both, match: {path: /v1/both}, protocol: auto, policies: [access]}
  - {name: models, match: {path: /v1}, protocol: openai, server: provider, policies: [access]}
policies:
  - name: access
    type: tool-access
    parameters:
      rules:
        - {tools: [search], allow: true}
        - {servers: [provider], hosted: ["mcp:https://docs.example.com/*"], allow: "args.require_approval == 'never'"}
        - {hosted: ["web_search*", "plugin:web"], allow: "identity.subject == 'ann'", message: "searching is Ann's"}
"""
QUESTION: Any = [{"role": "user", "content": "what changed today?"}]
DOCS = {
    "type": "mcp",
    "server_label": "docs",
    "server_url": "https://docs.example.com/mcp",
    "require_approval": "never",
}
FUNCTION = {"type": "function", "function": {"name": "delete_everything", "parameters": {"type": "object"}}}


@pytest.fixture
def running(gatehouse_stack: Stacks) -> Running:
    made = gatehouse_stack(BUNDLE)
    made.upstream.answer_with(json_body(whole({"role": "assistant", "content": "nothing"}, model="m")))
    return made


@contextmanager
def client(running: Running, subject: str = "bob", below: str = "") -> Iterator[openai.OpenAI]:
    """The official client of a caller."""
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


def seen(running: Running) -> Any:
    """The one request's body as the upstream got it."""
    (request,) = running.upstream.requests
    return json.loads(request.body)


def test_what_a_rule_allows_reaches_the_provider_byte_for_byte(running: Running) -> None:
    since = mark(running)
    tools: Any = [DOCS, FUNCTION]
    with client(running) as models:
        answer = models.chat.completions.create(model="m", messages=QUESTION, tools=tools)
    assert answer.choices[0].message.content == "nothing"
    assert seen(running)["tools"] == tools
    assert [decision["outcome"] for decision in decisions(running, since)] == ["ok"]


@pytest.mark.parametrize("streamed", [False, True], ids=["whole", "streamed"])
@pytest.mark.parametrize(
    "extra",
    [
        {"tools": [{"type": "code_interpreter", "container": {"type": "auto"}}]},
        {"tools": [FUNCTION, {**DOCS, "server_url": "https://docs.example.com.evil.example/mcp"}]},
        {"tools": [{**DOCS, "require_approval": "always"}]},
        {"extra_body": {"enable_code_interpreter": True}},
        {"extra_body": {"data_sources": [{"type": "azure_search"}]}},
        {"extra_body": {"mcp_servers": [{"type": "url", "url": "https://evil.example/mcp", "name": "e"}]}},
        {"extra_body": {"extra_body": {"tools": [{"type": "file_search"}]}}},
    ],
    ids=["code", "a server alike", "an unfit argument", "a switch", "data", "Anthropic's words", "wrapped"],
)
def test_what_no_rule_allows_is_the_clients_own_error_and_reaches_no_provider(
    running: Running, extra: dict[str, Any], streamed: bool
) -> None:
    since = mark(running)
    asked: Any = {"model": "m", "messages": QUESTION, "stream": streamed, **extra}
    with client(running) as models, pytest.raises(openai.PermissionDeniedError) as denied:
        models.chat.completions.create(**asked)
    error: Any = denied.value.body
    assert (error["code"], error["type"]) == ("hosted-tool-not-allowed", "permission_error")
    assert running.upstream.requests == []
    (decision,) = decisions(running, since)
    assert (decision["id"], decision["outcome"], decision["status"]) == (error["trail"], "refused", 403)


@pytest.mark.parametrize(
    "extra",
    [
        {"web_search_options": {"search_context_size": "low"}},
        {"model": "maker/model:online"},
        {"extra_body": {"plugins": [{"id": "web", "max_results": 1}]}},
        {"extra_body": {"search_parameters": {"mode": "auto"}}},
    ],
    ids=["OpenAI's option", "a variant of the model", "a plug-in", "Live Search"],
)
def test_searching_the_web_is_for_whom_a_rule_says_however_it_is_asked_for(
    running: Running, extra: dict[str, Any]
) -> None:
    asked: Any = {"model": "m", "messages": QUESTION, **extra}
    with client(running) as models, pytest.raises(openai.PermissionDeniedError, match="searching is Ann's"):
        models.chat.completions.create(**asked)
    assert running.upstream.requests == []
    with client(running, "ann") as models:
        models.chat.completions.create(**asked)
    assert seen(running)["model"] == asked["model"]


def test_a_server_that_could_be_read_in_two_ways_is_denied(running: Running) -> None:
    tools: Any = [{**DOCS, "server_url": "https://docs.example.com@evil.example/mcp"}]
    with client(running) as models, pytest.raises(openai.PermissionDeniedError) as denied:
        models.chat.completions.create(model="m", messages=QUESTION, tools=tools)
    error: Any = denied.value.body
    assert error["code"] == "hosted-tool-ambiguous"
    assert running.upstream.requests == []


@pytest.mark.parametrize(
    "body", [{"tools": ["web_search"]}, {"tools": [{**DOCS, "SERVER_URL": "https://evil.example"}]}]
)
def test_a_malformed_tool_is_a_bad_request(running: Running, body: dict[str, Any]) -> None:
    with client(running) as models, pytest.raises(openai.BadRequestError):
        models.chat.completions.create(model="m", messages=QUESTION, extra_body=body)
    assert running.upstream.requests == []


def test_a_stream_without_such_tools_passes_as_it_is(running: Running) -> None:
    body = stream(says("no"), says("thing"), chunk(finish="stop"))
    running.upstream.answer_with(pieces([body[:40], body[40:]]))
    tools: Any = [FUNCTION]
    with client(running) as models:
        events = list(models.chat.completions.create(model="m", messages=QUESTION, tools=tools, stream=True))
    assert "".join(choice.delta.content or "" for event in events for choice in event.choices) == "nothing"


def test_on_a_route_for_both_protocols_each_has_its_own_rules(running: Running) -> None:
    """There the upstream is another, of which no rule says that its provider may reach the documentation."""
    tools: Any = [DOCS]
    with client(running, below="/both") as models, pytest.raises(openai.PermissionDeniedError):
        models.chat.completions.create(model="m", messages=QUESTION, tools=tools)
    result = {"content": [{"type": "text", "text": "found"}]}
    running.upstream.answer_with(json_body({"jsonrpc": "2.0", "id": 1, "result": result}))
    url = f"{running.stack.models_url}/both/tools"
    allowed, denied = (httpx.post(url, json=call(tool)).json() for tool in ("search", "web_search"))
    assert allowed["result"] == result
    assert denied["error"]["data"]["reason"] == "tool-not-allowed"


def test_a_call_of_mcps_that_looks_like_a_chat_is_held_to_the_rules_for_calls(running: Running) -> None:
    """Its server may take whatever stands behind its path, and pass over members that it does not know."""
    running.upstream.answer_with(json_body({"jsonrpc": "2.0", "id": 1, "result": {"content": []}}))
    url = f"{running.stack.models_url}/both/chat/completions"
    hidden = {**call("web_search"), "model": "m", "messages": QUESTION}
    answer = httpx.post(url, json=hidden).json()
    assert (answer["id"], answer["error"]["data"]["reason"]) == (1, "tool-not-allowed")
    assert running.upstream.requests == []


def test_a_large_request_is_looked_through_too(running: Running) -> None:
    body = asking(model="m", tools=[{"type": "file_search"}])
    body["messages"] = [{"role": "user", "content": "x" * (3 << 20)}]
    answer = httpx.post(f"{running.stack.models_url}/chat/completions", json=body)
    assert (answer.status_code, answer.json()["error"]["code"]) == (403, "hosted-tool-not-allowed")
    assert running.upstream.requests == []
