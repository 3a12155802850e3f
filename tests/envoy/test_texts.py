"""Texts through a real Envoy: edited and denied on both ways, as official clients and the upstream see it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import httpx
import httpx2
import openai
import pytest

from tests.envoy.exchanges import HEADERS, call
from tests.envoy.harness import Running, Stacks
from tests.envoy.observed import decisions, mark
from tests.envoy.upstream import json_body, pieces
from tests.unit.codecs.openai_building import chunk, says, stream, whole

BUNDLE = """
apiVersion: gatehouse/v1
kind: Bundle
metadata: {name: texts, revision: "1"}
routes:
  - {name: tools, match: {path: /mcp}, protocol: mcp, policies: [redacts, forbids]}
  - {name: models, match: {path: /v1}, protocol: openai, policies: [redacts, forbids]}
policies:
  - name: redacts
    type: "tests.envoy.text_policies:Redacts"
    parameters: {word: hunter2, by: 'a "secret"'}
  - name: forbids
    type: "tests.envoy.text_policies:Forbids"
    parameters: {word: forbidden}
"""
ARGUMENTS = '{"to": "ann", "text": "my word is hunter2", "n": 1.50}'
REDACTED = '{"to": "ann", "text": "my word is a \\"secret\\"", "n": 1.50}'
TOOLS: Any = [{"type": "function", "function": {"name": "send", "parameters": {"type": "object"}}}]


@pytest.fixture
def running(gatehouse_stack: Stacks) -> Running:
    running = gatehouse_stack(BUNDLE)
    running.upstream.answer_with(json_body(whole({"role": "assistant", "content": "hi"}, model="m")))
    return running


@contextmanager
def client(running: Running) -> Iterator[openai.OpenAI]:
    with (
        httpx2.Client(trust_env=False) as http,
        openai.OpenAI(
            api_key=running.stack.token("bob"), base_url=running.stack.models_url, max_retries=0, http_client=http
        ) as made,
    ):
        yield made


def conversation(said: str) -> Any:
    """A conversation with a system's word, a call in the history and its result."""
    called = {"id": "c1", "type": "function", "function": {"name": "send", "arguments": ARGUMENTS}}
    return [
        {"role": "system", "content": "be brief"},
        {"role": "user", "content": [{"type": "text", "text": said}]},
        {"role": "assistant", "content": None, "tool_calls": [called]},
        {"role": "tool", "tool_call_id": "c1", "content": "sent: hunter2"},
    ]


@pytest.mark.parametrize("size", [0, 3 << 20], ids=["short", "larger than Envoy's buffer"])
def test_the_upstream_sees_a_request_with_its_texts_edited_and_nothing_else(running: Running, size: int) -> None:
    with client(running) as models:
        models.chat.completions.create(model="m", messages=conversation("hunter2?" + "x" * size), tools=TOOLS)
    (request,) = running.upstream.requests
    assert request.header("content-length") in (None, str(len(request.body)))
    system, user, assistant, tool = json.loads(request.body)["messages"]
    assert system == conversation("")[0]
    assert user["content"] == [{"type": "text", "text": 'a "secret"?' + "x" * size}]
    assert assistant["tool_calls"][0]["function"]["arguments"] == REDACTED
    assert tool["content"] == 'sent: a "secret"'
    assert b"hunter2" not in request.body


@pytest.mark.parametrize("size", [0, 3 << 20], ids=["short", "larger than Envoy's buffer"])
def test_a_denied_request_never_reaches_the_upstream(running: Running, size: int) -> None:
    since = mark(running)
    with client(running) as models, pytest.raises(openai.PermissionDeniedError, match="this may not be sent") as denied:
        models.chat.completions.create(model="m", messages=conversation("forbidden" + "x" * size))
    error: Any = denied.value.body
    assert error["code"] == "word-not-allowed"
    (decision,) = decisions(running, since)
    assert (decision["id"], decision["outcome"]) == (error["trail"], "refused")
    assert [(e["policy"], e["stage"]) for e in decision["entries"] if e["verdict"] == "deny"] == [
        ("forbids", "request_text")
    ]
    assert running.upstream.requests == []


def argument_deltas(size: int) -> list[dict[str, Any]]:
    """The events of a tool call whose arguments come in pieces of so many characters."""
    first = {"index": 0, "id": "c1", "type": "function", "function": {"name": "send", "arguments": ""}}
    events = [chunk({"role": "assistant", "content": None, "tool_calls": [first]})]
    for start in range(0, len(ARGUMENTS), size):
        piece = {"index": 0, "function": {"arguments": ARGUMENTS[start : start + size]}}
        events.append(chunk({"tool_calls": [piece]}))
    return [*events, chunk(finish="tool_calls")]


@pytest.mark.parametrize("size", [1, 7, 1000])
def test_an_edit_inside_streamed_arguments_stays_valid_json(running: Running, size: int) -> None:
    body = stream(*argument_deltas(size))
    running.upstream.answer_with(pieces([body[start : start + 50] for start in range(0, len(body), 50)]))
    with (
        client(running) as models,
        models.chat.completions.stream(model="m", messages=conversation("hi"), tools=TOOLS) as events,
    ):
        choice = events.get_final_completion().choices[0]
    assert choice.finish_reason == "tool_calls"
    assert choice.message.tool_calls is not None
    arguments = choice.message.tool_calls[0].function.arguments
    assert arguments == REDACTED
    assert json.loads(arguments)["text"] == 'my word is a "secret"'


def test_an_edit_in_a_streamed_answer_is_seen_by_the_client(running: Running) -> None:
    running.upstream.answer_with(pieces([stream(says("it is hun"), says("ter2"), says("."), chunk(finish="stop"))]))
    with client(running) as models:
        events = list(models.chat.completions.create(model="m", messages=conversation("hi"), stream=True))
    text = "".join(choice.delta.content or "" for event in events for choice in event.choices)
    assert text == 'it is a "secret".'


def test_arguments_of_a_tool_and_its_result_are_edited_and_a_denied_call_never_reaches_the_server(
    running: Running,
) -> None:
    value = {"content": [{"type": "text", "text": "hunter2"}], "structuredContent": {"n": 1.5, "text": "hunter2"}}
    running.upstream.answer_with(json_body({"jsonrpc": "2.0", "id": 1, "result": value}))
    allowed, denied = (
        httpx.post(running.stack.mcp_url, json=call("search", q=said), headers=dict(HEADERS)).json()
        for said in ("hunter2", "forbidden")
    )
    (request,) = running.upstream.requests
    assert json.loads(request.body)["params"]["arguments"] == {"q": 'a "secret"'}
    assert allowed["result"]["content"][0]["text"] == 'a "secret"'
    assert allowed["result"]["structuredContent"] == {"n": 1.5, "text": 'a "secret"'}
    assert (denied["id"], denied["error"]["data"]["reason"]) == (1, "word-not-allowed")
