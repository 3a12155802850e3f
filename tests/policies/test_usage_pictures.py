"""Usage where megabytes of base64 come: in requests and answers of every format, in bounded memory, with right figures.

Not here: what a picture counts (unit/codecs/test_llm_prompts.py).
"""

from __future__ import annotations

import base64
import gc
import random
import tracemalloc
from collections.abc import Mapping
from typing import Any

import pytest

from ext_proc.codecs.llm_prompts import FILE, IMAGE_ANTHROPIC, IMAGE_GEMINI, IMAGE_HIGH
from ext_proc.engine.exchange import Exchange
from ext_proc.engine.pipeline import Binding, Pipeline
from ext_proc.engine.route import Route, RouteMatch, Rulebook
from ext_proc.events import Closed, Event
from ext_proc.limits import MIB, Limits
from ext_proc.testing import HttpRequest, HttpResponse, Played, pass_through
from gatehouse_policies.usage import Parameters, UsageMeter
from tests.exchange.test_cutting import cut_at
from tests.fuzz.retained import retained
from tests.policies.proposing import WAYS, Way
from tests.unit.codecs import anthropic_building as a
from tests.unit.codecs import gemini_building as g
from tests.unit.codecs import openai_building as o
from tests.unit.codecs import openai_responses_building as r
from tests.unit.codecs.openai_building import encoded

SIZE = 3 * MIB
PICTURE = base64.b64encode(random.Random(22).randbytes(SIZE * 3 // 4)).decode()
URL = f"data:image/png;base64,{PICTURE}"
METER = UsageMeter("usage", Parameters(split_prompt=True))
LITTLE = 64 * 1024  # bytes that an exchange may keep beside the bodies
WORDS = "what is on it?"


def asked(name: str, *parts: Any) -> dict[str, Any]:
    """A request that says something beside these parts, in a way's format."""
    match name.split(" ")[0]:
        case "responses":
            return {
                "model": "m",
                "input": [{"role": "user", "content": [*parts, {"type": "input_text", "text": WORDS}]}],
            }
        case "gemini":
            return {"contents": [{"role": "user", "parts": [*parts, {"text": WORDS}]}]}
        case _:
            turn = {"role": "user", "content": [*parts, {"type": "text", "text": WORDS}]}
            return {"model": "m", "max_tokens": 9, "messages": [turn]}


SOURCE = {"type": "base64", "media_type": "image/png", "data": PICTURE}
SHOWN: Mapping[str, tuple[str, Any, int]] = {
    "chat": ("chat", {"type": "image_url", "image_url": {"url": URL}}, IMAGE_HIGH),
    "a file in a chat": ("chat", {"type": "file", "file": {"file_data": URL}}, FILE),
    "responses": ("responses", {"type": "input_image", "image_url": URL}, IMAGE_HIGH),
    "anthropic": ("anthropic", {"type": "image", "source": SOURCE}, IMAGE_ANTHROPIC),
    "a tool's result": (
        "anthropic",
        {"type": "tool_result", "tool_use_id": "t", "content": [{"type": "image", "source": SOURCE}]},
        IMAGE_ANTHROPIC,
    ),
    "gemini": ("gemini", {"inlineData": {"mimeType": "image/png", "data": PICTURE}}, IMAGE_GEMINI),
}


def rulebook(way: Way) -> Rulebook:
    pipeline = Pipeline([Binding(METER)], lambda: 0.0)
    route = Route("llm", RouteMatch(path="/"), way.form.codec.name, (way.form.codec,), pipeline)
    return Rulebook("test", "r1", (route,), limits=Limits(decision=60.0, event=16 * MIB))


def played(name: str, value: Any = None, body: bytes | None = None) -> Played:
    """An exchange, in chunks of 64 KiB where it streams."""
    way = WAYS[name]
    sent = HttpRequest(encoded(value or way.form.asked), path=way.path, headers={"content-type": "application/json"})
    came = way.says([]).replace(b'"usage"', b'"usagx"') if body is None else body
    answer = HttpResponse(came, headers={"content-type": way.kind}, sized=not way.streams)
    return pass_through(rulebook(way), sent, answer, lambda raw: cut_at(raw, range(0, len(raw), 64 * 1024)))


@pytest.mark.parametrize("shown", SHOWN)
def test_a_request_with_a_large_picture_counts_the_picture_and_the_words(shown: str) -> None:
    name, part, tokens = SHOWN[shown]
    plain, pictured = played(name, asked(name)), played(name, asked(name, part))
    assert pictured.upstream is not None
    assert PICTURE.encode() in pictured.upstream.body
    assert pictured.trail.facts["usage_estimated"] is True
    assert pictured.trail.facts["input_tokens"] - plain.trail.facts["input_tokens"] == tokens


COUNTED = {"input_tokens": 10, "output_tokens": 1000, "total_tokens": 1010}
CHAT_COUNTED = {"prompt_tokens": 10, "completion_tokens": 1000, "total_tokens": 1010}
GOOGLE_COUNTED = {"promptTokenCount": 10, "candidatesTokenCount": 1000, "totalTokenCount": 1010}
DRAWN = {"id": "ig_1", "type": "image_generation_call", "status": "completed", "result": PICTURE}
MESSAGE = {"role": "assistant", "content": "here", "images": [{"type": "image_url", "image_url": {"url": URL}}]}
SOUND = {"role": "assistant", "content": None, "audio": {"id": "a", "data": PICTURE, "transcript": "here"}}
BLOCK = {"type": "mcp_tool_result", "tool_use_id": "t", "content": [{"type": "image", "source": SOURCE}]}
INLINE = {"inlineData": {"mimeType": "image/png", "data": PICTURE}}


def drawing() -> bytes:
    """A stream of the Responses API with every copy of a picture."""
    partial = r.event(
        "response.image_generation_call.partial_image", output_index=0, item_id="ig_1", partial_image_b64=PICTURE
    )
    return r.stream(
        r.event("response.created", response=r.answer(status="in_progress")),
        r.event("response.output_item.added", output_index=0, item={**DRAWN, "result": None}),
        partial,
        r.event("response.output_item.done", output_index=0, item=DRAWN),
        r.event("response.completed", response=r.answer(DRAWN, usage=COUNTED)),
    )


def answers() -> dict[str, tuple[str, bytes]]:
    pictured = g.answer(g.candidate(INLINE, finish="STOP"), usageMetadata=GOOGLE_COUNTED)
    told = {**o.chunk(), "choices": [], "usage": CHAT_COUNTED}
    return {
        "chat": ("chat", encoded(o.whole(MESSAGE, usage=CHAT_COUNTED))),
        "sound in a chat": ("chat", encoded(o.whole(SOUND, usage=CHAT_COUNTED))),
        "chat streamed": ("chat streamed", o.stream(o.chunk(MESSAGE), o.chunk(finish="stop"), told)),
        "responses": ("responses", encoded(r.answer(DRAWN, usage=COUNTED))),
        "responses streamed": ("responses streamed", drawing()),
        "anthropic": ("anthropic", encoded(a.whole(BLOCK, a.text("here"), usage=COUNTED))),
        "anthropic streamed": (
            "anthropic streamed",
            a.stream(a.start(usage=COUNTED), a.begin(BLOCK), a.ends(), a.closes(output_tokens=1000), a.STOP),
        ),
        "gemini": ("gemini", encoded(pictured)),
        "gemini streamed": ("gemini streamed", g.stream(pictured)),
        "gemini in an array": ("gemini in an array", g.array(pictured)),
    }


ANSWERS = answers()


@pytest.mark.parametrize("answer", ANSWERS)
def test_an_answer_with_a_large_picture_passes_and_its_figures_are_the_providers(answer: str) -> None:
    name, body = ANSWERS[answer]
    found = played(name, body=body)
    assert found.client is not None
    assert found.client.body == body
    facts = found.trail.facts
    assert (facts["usage_reported"], facts["input_tokens"], facts["output_tokens"]) == (True, 10, 1000)


@pytest.mark.parametrize("answer", [name for name in ANSWERS if "stream" in name])
def test_a_large_picture_that_passed_in_a_stream_is_not_kept(answer: str, monkeypatch: pytest.MonkeyPatch) -> None:
    kept: list[int] = []
    receive = Exchange.receive

    def receives(exchange: Exchange, event: Event) -> None:
        if isinstance(event, Closed):
            kept.append(retained(exchange))
        receive(exchange, event)

    monkeypatch.setattr(Exchange, "receive", receives)
    name, body = ANSWERS[answer]
    played(name, body=body)
    (left,) = kept
    assert left < LITTLE


def peak_of(name: str, value: Any = None, body: bytes | None = None) -> int:
    """The most bytes that playing an exchange takes."""
    gc.collect()
    tracemalloc.start()
    try:
        played(name, value, body)
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("answer", ANSWERS)
def test_an_answer_with_a_large_picture_takes_a_few_times_its_own_memory_at_the_most(answer: str) -> None:
    name, body = ANSWERS[answer]
    own = 3 * len(body)  # the test's: what was sent, its pieces, what came
    assert peak_of(name, body=body) < own + 5 * SIZE


@pytest.mark.parametrize("shown", SHOWN)
def test_a_request_with_a_large_picture_takes_a_few_times_its_own_memory_at_the_most(shown: str) -> None:
    name, part, _ = SHOWN[shown]
    assert peak_of(name, asked(name, part)) < 8 * SIZE
