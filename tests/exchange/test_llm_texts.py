"""Text of Anthropic's and Gemini's answers on its way through policies: changed, added to and stopped, at any cutting.

Not here: the laws of text itself, on chat completions (test_texts.py); what is text where (tests/unit/codecs).
"""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ext_proc.engine.pipeline import Binding, Pipeline
from ext_proc.engine.route import Route, RouteMatch, Rulebook
from ext_proc.testing import HttpRequest, HttpResponse, Played, pass_through
from tests.exchange.test_cutting import cut_at, seen
from tests.exchange.text_policies import Base, DenyAt, Replace, Sentences, Signature
from tests.unit.codecs import anthropic_building as a
from tests.unit.codecs import gemini_building as g
from tests.unit.codecs.llm_building import Format
from tests.unit.codecs.openai_building import encoded

THOUGHT = {"type": "thinking", "thinking": "", "signature": ""}
THINKS = [
    *(
        a.begin(THOUGHT),
        a.delta(type="thinking_delta", thinking="a se"),
        a.delta(type="thinking_delta", thinking="cret"),
    ),
    *(a.delta(type="signature_delta", signature="s"), a.ends()),
    *(a.begin(a.text(""), 1), a.says("no se", 1), a.says("cret. ", 1), a.says("End.", 1), a.ends(1)),
]
SAYS = [g.says("no se"), g.says("cret. "), g.says("End.", "STOP")]
EVENTS, JSON = "text/event-stream", "application/json"
BODIES: dict[str, tuple[Format, str, str, bytes]] = {
    "anthropic": (a.ANTHROPIC, "/v1/messages", EVENTS, a.story(*THINKS)),
    "gemini": (g.GEMINI, g.STREAMED, EVENTS, g.stream(*SAYS)),
    "gemini in an array": (g.GEMINI, g.STREAMED, JSON, g.array(*SAYS)),
}
every = pytest.mark.parametrize("name", BODIES)
cuts = st.lists(st.integers(0, 3000), max_size=10)


def played(name: str, policy: Base, where: list[int] | None = None, *, sized: bool = False) -> Played:
    """One exchange through one policy."""
    form, path, kind, body = BODIES[name]
    pipeline = Pipeline([Binding(policy)], lambda: 0.0)
    route = Route("llm", RouteMatch(path="/"), form.codec.name, (form.codec,), pipeline)
    sent = HttpRequest(encoded(form.asked), path=path, headers={"content-type": JSON})
    answer = HttpResponse(body, headers={"content-type": kind}, sized=sized)
    return pass_through(Rulebook("test", "r1", (route,)), sent, answer, lambda raw: cut_at(raw, where or []))


def said(played: Played) -> str:
    """The text that the client shows, and nothing of its thought."""
    assert played.client is not None
    body = played.client.body
    found = ""
    for value in json.loads(body) if body.startswith(b"[") else [json.loads(line) for line in data_of(body)]:
        found += (value.get("delta") or {}).get("text") or ""
        for candidate in value.get("candidates", ()):
            found += "".join(part["text"] for part in (candidate.get("content") or {}).get("parts", ()))
    return found


def data_of(body: bytes) -> list[bytes]:
    return [line[6:] for line in body.splitlines() if line.startswith(b"data: ")]


@every
def test_a_word_is_replaced_wherever_it_was_cut(name: str) -> None:
    assert said(played(name, Replace("secret", "***"))) == "no ***. End."


def test_a_thought_that_was_changed_leaves_with_an_empty_signature_and_another_keeps_its_own() -> None:
    def signature(policy: Base) -> Any:
        client = played("anthropic", policy).client
        assert client is not None
        (signed,) = [json.loads(line) for line in data_of(client.body) if b"signature_delta" in line]
        return signed["delta"]["signature"]

    assert signature(Replace("a secret", "nothing")) == ""
    assert signature(Replace("no secret", "nothing")) == "s"
    assert signature(Sentences()) == "s"


@every
def test_a_text_that_a_policy_adds_at_the_end_is_the_last_that_is_said(name: str) -> None:
    assert said(played(name, Signature())) == "no secret. End. -- signed"


@every
@pytest.mark.parametrize("at", [0, 5, 8])
def test_an_answer_that_is_stopped_ends_as_its_format_ends_and_says_no_more(name: str, at: int) -> None:
    done = played(name, DenyAt(at, "(stopped)"))
    assert done.client is not None
    assert done.trail.outcome == "refused"
    body = done.client.body
    if done.client.status != 200 or body.startswith(b"{"):
        assert json.loads(body)["error"]
        return
    assert len(said(done).removesuffix("(stopped)")) <= at
    last = json.loads(body)[-1] if body.startswith(b"[") else json.loads(data_of(body)[-1])
    assert last.get("type") == "message_stop" or last["candidates"][0]["finishReason"] == "PROHIBITED_CONTENT"


POLICIES: list[Callable[[], Base]] = [
    lambda: Replace("secret", "***"),
    Signature,
    Sentences,
    lambda: DenyAt(8, "(stopped)"),
]


@given(st.sampled_from(list(BODIES)), st.sampled_from(range(len(POLICIES))), cuts)
@settings(max_examples=150, deadline=None)
def test_any_cutting_gives_the_same_bytes_and_the_same_trail(name: str, policy: int, where: list[int]) -> None:
    assert seen(played(name, POLICIES[policy](), where)) == seen(played(name, POLICIES[policy]()))
