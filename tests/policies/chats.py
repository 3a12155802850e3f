"""One chat with a model through the real engine: what was sent on, and what came back.

Not here: requests and answers as values (unit/codecs/openai_building.py).
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

import msgspec

from ext_proc.codecs.auto import McpByBody
from ext_proc.codecs.openai_chat import OpenAiChatCodec
from ext_proc.engine.pipeline import Binding, Pipeline
from ext_proc.engine.route import Route, RouteMatch, Rulebook
from ext_proc.policy import Policy
from ext_proc.testing import HttpResponse, Played, pass_through, request, response, whole
from tests.unit.codecs.openai_building import asking
from tests.unit.codecs.openai_building import whole as answering

PATH = "/v1/chat/completions"
ANSWER = answering({"role": "assistant", "content": "hello"})


def book(*policies: Policy[Any, Any] | Binding) -> Rulebook:
    """A rulebook with one route for chats (and MCP) at every path."""
    bindings = [policy if isinstance(policy, Binding) else Binding(policy) for policy in policies]
    pipeline = Pipeline(bindings, time.monotonic)
    route = Route("models", RouteMatch(path="/"), "auto", (OpenAiChatCodec(), McpByBody()), pipeline)
    return Rulebook("test", "r1", (route,))


def chat(
    *policies: Policy[Any, Any] | Binding,
    sent: Any = None,
    answer: Any = ANSWER,
    claims: Mapping[str, Any] | None = None,
    headers: Mapping[str, str] | None = None,
    status: int = 200,
    cut: Any = whole,
) -> Played:
    """Plays one chat.

    Args:
        sent: the request, as a value or as bytes; a plain one if None.
        answer: the upstream's, as a value, or as the bytes of an event stream.
    """
    asked = request(asking() if sent is None else sent, path=PATH, claims=claims)
    asked.headers.update(headers or {})
    if isinstance(answer, bytes):
        came = HttpResponse(answer, status, {"content-type": "text/event-stream"}, sized=False)
    else:
        came = response(answer, status=status)
    return pass_through(book(*policies), asked, came, cut)


def went_on(played: Played) -> Any:
    """The request's body as the upstream got it."""
    assert played.upstream is not None
    return msgspec.json.decode(played.upstream.body)


def refusal(played: Played) -> tuple[int, Mapping[str, Any]]:
    """The status and the error object that the client got in place of an answer."""
    assert played.upstream is None
    assert played.client is not None
    return played.client.status, played.client.json["error"]


def reasons(played: Played) -> list[str]:
    """The reasons on record, in order."""
    return [entry.reason for entry in played.trail.entries]
