"""Calls that models propose, through a real Envoy: what the official clients put together has only the calls that the
rules allow and whose arguments fit, and a denied answer ends for them without a surprise.

Rules:
- The header `x-way` chooses what becomes of a call that is not allowed, and by what that is told: its name, its
  arguments (`args-`), or the schema that the client offers the function with (`fits-`).

Not here: every format at any cutting (policies/test_proposed_calls.py).
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import anthropic
import httpx2
import openai
import pytest

from tests.envoy.harness import Running, Stacks
from tests.envoy.observed import decisions, mark
from tests.envoy.upstream import json_body, pieces
from tests.policies.proposing import WAYS, Call, offered

BUNDLE = """
apiVersion: gatehouse/v1
kind: Bundle
metadata: {name: proposals, revision: "1"}
routes:
  - {name: strips, match: {path: /v1, headers: {x-way: strip}}, protocol: auto, policies: [strips]}
  - {name: denies, match: {path: /v1, headers: {x-way: deny}}, protocol: auto, policies: [denies]}
  - {name: marks, match: {path: /v1, headers: {x-way: mark}}, protocol: auto, policies: [marks]}
  - {name: args-strip, match: {path: /v1, headers: {x-way: args-strip}}, protocol: auto, policies: [args-strip]}
  - {name: args-deny, match: {path: /v1, headers: {x-way: args-deny}}, protocol: auto, policies: [args-deny]}
  - {name: fits-strip, match: {path: /v1, headers: {x-way: fits-strip}}, protocol: auto, policies: [fits-strip]}
  - {name: fits-deny, match: {path: /v1, headers: {x-way: fits-deny}}, protocol: auto, policies: [fits-deny]}
policies:
  - {name: strips, type: tool-access, parameters: {rules: [{tools: [search], allow: true}], proposals: strip}}
  - {name: denies, type: tool-access, parameters: {rules: [{tools: [search], allow: true}], proposals: deny}}
  - {name: marks, type: tool-access, parameters: {rules: [{tools: [search], allow: true}], proposals: mark}}
  - name: args-strip
    type: tool-access
    parameters: {rules: [{tools: [search], allow: "args.q.startsWith('gr')"}], proposals: strip}
  - name: args-deny
    type: tool-access
    parameters: {rules: [{tools: [search], allow: "args.q.startsWith('gr')"}], proposals: deny}
  - {name: fits-strip, type: tool-arguments, parameters: {proposals: strip}}
  - {name: fits-deny, type: tool-arguments, parameters: {proposals: deny}}
"""
DELETE: Call = ("delete_all", {"path": "/"})
SEARCH: Call = ("search", {"q": "grüße 🦊"})
OTHER: Call = ("search", {"q": "no"})
FUNCTIONS = {"search": {"type": "object", "properties": {"q": {"type": "string", "minLength": 3}}}}
QUESTION: Any = [{"role": "user", "content": "clean up"}]
Asked = Callable[[Running, str], tuple[list[Call], str]]


@pytest.fixture
def running(gatehouse_stack: Stacks) -> Running:
    return gatehouse_stack(BUNDLE)


@contextmanager
def by_openai(running: Running, way: str) -> Iterator[openai.OpenAI]:
    with (
        httpx2.Client(trust_env=False, timeout=20.0) as http,
        openai.OpenAI(
            api_key=running.stack.token("bob"),
            base_url=running.stack.models_url,
            max_retries=0,
            http_client=http,
            default_headers={"x-way": way},
        ) as made,
    ):
        yield made


@contextmanager
def by_anthropic(running: Running, way: str) -> Iterator[anthropic.Anthropic]:
    with (
        httpx2.Client(trust_env=False, timeout=20.0) as http,
        anthropic.Anthropic(
            api_key=running.stack.token("bob"),
            base_url=running.stack.models_url.removesuffix("/v1"),
            max_retries=0,
            http_client=http,
            default_headers={"x-way": way},
        ) as made,
    ):
        yield made


def offering(name: str) -> Any:
    """What a request offers the model."""
    return {"tools": offered(name, FUNCTIONS)}


def chat(running: Running, way: str) -> tuple[list[Call], str]:
    with by_openai(running, way) as models:
        (choice,) = models.chat.completions.create(model="m", messages=QUESTION, extra_body=offering("chat")).choices
        calls: Any = choice.message.tool_calls or []
        return [(call.function.name, json.loads(call.function.arguments)) for call in calls], choice.finish_reason


def chat_streamed(running: Running, way: str) -> tuple[list[Call], str]:
    with by_openai(running, way) as models:
        with models.chat.completions.stream(model="m", messages=QUESTION, extra_body=offering("chat")) as stream:
            for _ in stream:
                pass
            (choice,) = stream.current_completion_snapshot.choices
        calls: Any = choice.message.tool_calls or []
        return [(call.function.name, json.loads(call.function.arguments)) for call in calls], choice.finish_reason


def responses(running: Running, way: str) -> tuple[list[Call], str]:
    with by_openai(running, way) as models:
        answer = models.responses.create(model="m", input="clean up", extra_body=offering("responses"))
        return _called(answer), str(answer.status)


def responses_streamed(running: Running, way: str) -> tuple[list[Call], str]:
    answer: Any = None
    with (
        by_openai(running, way) as models,
        models.responses.stream(model="m", input="clean up", extra_body=offering("responses")) as stream,
    ):
        for event in stream:
            answer = getattr(event, "response", answer)
    return _called(answer), str(answer.status)


def _called(answer: Any) -> list[Call]:
    return [(item.name, json.loads(item.arguments)) for item in answer.output if item.type == "function_call"]


def messages(running: Running, way: str) -> tuple[list[Call], str]:
    with by_anthropic(running, way) as models:
        return _used(models.messages.create(model="m", max_tokens=100, messages=QUESTION, **offering("anthropic")))


def messages_streamed(running: Running, way: str) -> tuple[list[Call], str]:
    with (
        by_anthropic(running, way) as models,
        models.messages.stream(model="m", max_tokens=100, messages=QUESTION, **offering("anthropic")) as stream,
    ):
        return _used(stream.get_final_message())


def _used(message: Any) -> tuple[list[Call], str]:
    return [(block.name, block.input) for block in message.content if block.type == "tool_use"], message.stop_reason


CLIENTS: dict[str, Asked] = {
    "chat": chat,
    "chat streamed": chat_streamed,
    "responses": responses,
    "responses streamed": responses_streamed,
    "anthropic": messages,
    "anthropic streamed": messages_streamed,
}
ENDED = {"chat": "content_filter", "responses": "incomplete", "anthropic": "refusal"}
every = pytest.mark.parametrize("name", CLIENTS)


def answering(running: Running, name: str, calls: Sequence[Call]) -> None:
    """Scripts the upstream: an answer that proposes calls, a stream in pieces."""
    body = WAYS[name].says(calls)
    if WAYS[name].streams:
        running.upstream.answer_with(pieces([body[at : at + 97] for at in range(0, len(body), 97)]))
    else:
        running.upstream.answer_with(json_body(json.loads(body)))


@every
@pytest.mark.parametrize("calls", [[DELETE], [DELETE, SEARCH], [SEARCH, DELETE, SEARCH]])
def test_stripped_the_official_client_puts_together_only_what_is_allowed(
    running: Running, name: str, calls: list[Call]
) -> None:
    answering(running, name, calls)
    since = mark(running)
    left = [call for call in calls if call != DELETE]
    assert CLIENTS[name](running, "strip") == (left, WAYS[name].ended[0 if left else 1])
    (decision,) = decisions(running, since)
    assert decision["outcome"] == "ok"


@every
def test_denied_the_official_client_finds_no_call(running: Running, name: str) -> None:
    answering(running, name, [DELETE, SEARCH])
    since = mark(running)
    if WAYS[name].streams:
        assert CLIENTS[name](running, "deny") == ([], ENDED[name.removesuffix(" streamed")])
    else:
        with pytest.raises((openai.PermissionDeniedError, anthropic.PermissionDeniedError)):
            CLIENTS[name](running, "deny")
    (decision,) = decisions(running, since)
    assert decision["outcome"] == "refused"


@every
@pytest.mark.parametrize("way", ["args-strip", "fits-strip"])
@pytest.mark.parametrize("calls", [[OTHER], [OTHER, SEARCH], [SEARCH, OTHER, SEARCH]])
def test_stripped_for_its_arguments_no_piece_of_a_call_is_put_together(
    running: Running, name: str, way: str, calls: list[Call]
) -> None:
    answering(running, name, calls)
    left = [call for call in calls if call != OTHER]
    assert CLIENTS[name](running, way) == (left, WAYS[name].ended[0 if left else 1])


@every
@pytest.mark.parametrize("way", ["args-deny", "fits-deny"])
def test_denied_for_its_arguments_the_answer_ends_before_the_call(running: Running, name: str, way: str) -> None:
    answering(running, name, [SEARCH, OTHER])
    since = mark(running)
    if WAYS[name].streams:
        # Of the Responses API the client keeps the final answer, which is empty where it was stopped.
        left = [] if name.startswith("responses") else [SEARCH]
        assert CLIENTS[name](running, way) == (left, ENDED[name.removesuffix(" streamed")])
    else:
        with pytest.raises((openai.PermissionDeniedError, anthropic.PermissionDeniedError)):
            CLIENTS[name](running, way)
    (decision,) = decisions(running, since)
    assert decision["outcome"] == "refused"


@every
def test_marked_the_call_passes_and_the_decision_counts_it(running: Running, name: str) -> None:
    answering(running, name, [DELETE, SEARCH])
    since = mark(running)
    assert CLIENTS[name](running, "mark") == ([DELETE, SEARCH], WAYS[name].ended[0])
    (decision,) = decisions(running, since)
    assert decision["facts"]["proposals_denied"] == 1
