"""Metering through a real Envoy: OpenAI's own client sees what it asked for and no more, and the figures are exact.

Rules:
- The upstream behaves as OpenAI's API: it tells a stream's usage only where it was asked, and then with `usage: null`
  in all other events.

Not here: what is counted, estimated and priced (tests/policies/test_usage*.py).
"""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import httpx2
import openai
import pytest

from ext_proc.tokens.counting import count
from ext_proc.tokens.encodings import load
from tests.envoy.harness import Running, Stacks
from tests.envoy.observed import decisions, mark, metric
from tests.envoy.test_models import client
from tests.envoy.upstream import Connection, Request, Script
from tests.unit.codecs.openai_building import DONE, chunk, says
from tests.unit.codecs.openai_building import event as sent

BUNDLE = """
apiVersion: gatehouse/v1
kind: Bundle
metadata: {name: metered, revision: "1"}
routes:
  - {name: plain, match: {path: /v1/plain}, protocol: openai, policies: [plain]}
  - {name: metered, match: {path: /v1}, protocol: openai, policies: [meter]}
policies:
  - {name: plain, type: usage, parameters: {tokenizer: {default: o200k_base}}}
  - name: meter
    type: usage
    parameters:
      include_usage: add-and-hide
      tokenizer: {default: o200k_base}
      prices:
        currency: EUR
        rows: [{model: gpt-4o, input: 2.5, cached: 1.25, output: 10}]
"""
WORDS = ["The fox", " went home", ", 🦊", " and slept."]
USAGE = {
    "prompt_tokens": 12,
    "completion_tokens": 30,
    "total_tokens": 42,
    "prompt_tokens_details": {"cached_tokens": 8},
    "completion_tokens_details": {"reasoning_tokens": 20},
}
QUESTION: Any = [{"role": "user", "content": "Where is the fox?"}]


def answering(*, model: str = "gpt-4o", cut: bool = False) -> Script:
    """A stream as OpenAI sends it; cut off before its end if wanted."""

    async def script(request: Request, connection: Connection) -> None:
        asked = (json.loads(request.body).get("stream_options") or {}).get("include_usage") is True
        told: dict[str, Any] = {"model": model, **({"usage": None} if asked else {})}
        await connection.head(200, ("content-type", "text/event-stream"), ("transfer-encoding", "chunked"))
        for word in WORDS:
            await connection.chunk(sent(says(word, **told)))
        if cut:
            await connection.gate("read")
            connection.cut()
            return
        await connection.chunk(sent(chunk(finish="stop", **told)))
        if asked:
            await connection.chunk(sent({**chunk(), "model": model, "choices": [], "usage": USAGE}))
        await connection.chunk(DONE)
        await connection.end()

    return script


@pytest.fixture
def metered(gatehouse_stack: Stacks) -> Running:
    running = gatehouse_stack(BUNDLE)
    running.upstream.answer_with(answering())
    return running


def streamed(running: Running, below: str = "", read: Callable[[Any], bool] | None = None, **asked: Any) -> list[Any]:
    """The events of a stream, as the official client gives them.

    Args:
        read: tells the event at which the upstream may go on.
    """
    events = []
    with client(running, below) as models:
        for event in models.chat.completions.create(model="gpt-4o", messages=QUESTION, stream=True, **asked):
            events.append(event)
            if read is not None and read(event):
                running.upstream.open("read")
    return events


def text(events: list[Any]) -> str:
    return "".join(choice.delta.content or "" for event in events for choice in event.choices)


def test_a_client_that_did_not_ask_sees_no_usage_and_the_measure_is_exact(metered: Running) -> None:
    since = mark(metered)
    events = streamed(metered)
    assert text(events) == "".join(WORDS)
    assert len(events) == len(WORDS) + 1
    assert all("usage" not in event.model_fields_set and event.choices for event in events)
    (request,) = metered.upstream.requests
    assert json.loads(request.body)["stream_options"] == {"include_usage": True}
    (decision,) = decisions(metered, since)
    facts = decision["facts"]
    assert (facts["usage_reported"], facts["usage_estimated"]) == (True, False)
    assert (facts["input_tokens"], facts["output_tokens"], facts["cached_tokens"]) == (12, 30, 8)
    assert (facts["cost"], facts["currency"]) == ("0.00032", "EUR")


def test_a_client_that_asked_sees_all_of_it(metered: Running) -> None:
    since = mark(metered)
    events = streamed(metered, stream_options={"include_usage": True})
    assert text(events) == "".join(WORDS)
    *others, last = events
    assert (last.choices, last.usage.total_tokens) == ([], 42)
    assert all("usage" in event.model_fields_set and event.usage is None for event in others)
    (decision,) = decisions(metered, since)
    assert decision["facts"]["cost"] == "0.00032"


def test_where_nobody_asks_the_stream_is_counted_here(metered: Running) -> None:
    since = mark(metered)
    assert text(streamed(metered, "/plain")) == "".join(WORDS)
    (request,) = metered.upstream.requests
    assert "stream_options" not in json.loads(request.body)
    (decision,) = decisions(metered, since)
    facts = decision["facts"]
    assert (facts["usage_reported"], facts["usage_estimated"], facts["tokenizer"]) == (False, True, "o200k_base")
    assert facts["output_tokens"] == count("".join(WORDS), load("o200k_base"))


def test_of_a_stream_that_the_server_cut_off_what_came_is_counted_and_priced(metered: Running) -> None:
    what = {"route": "metered", "kind": "output", "counted": "estimated", "model": "gpt-4o"}
    before, since = metric(metered, "gatehouse_tokens_total", **what), mark(metered)
    metered.upstream.answer_with(answering(cut=True), gates=["read"])
    with pytest.raises((openai.APIError, httpx2.HTTPError)):
        streamed(metered, read=lambda event: event.choices[0].delta.content == WORDS[-1])
    (decision,) = decisions(metered, since)
    facts, came = decision["facts"], count("".join(WORDS), load("o200k_base"))
    assert (decision["outcome"], facts["usage_estimated"]) == ("truncated", True)
    assert facts["output_tokens"] == came
    assert facts["cost"] not in ("", "0")
    assert metric(metered, "gatehouse_tokens_total", **what) - before == facts["output_tokens"]


def test_a_model_without_a_price_is_named_in_a_metric(metered: Running) -> None:
    metered.upstream.answer_with(answering(model="unheard-of"))
    since = mark(metered)
    with client(metered) as models:
        list(models.chat.completions.create(model="also-unheard-of", messages=QUESTION, stream=True))
    (decision,) = decisions(metered, since)
    assert decision["facts"]["price_unknown"] == "unheard-of"
    assert "cost" not in decision["facts"]
    assert metric(metered, "gatehouse_prices_unknown_total", route="metered", model="unheard-of") == 1
