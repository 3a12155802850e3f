"""Text on its way through policies: streams of language models, whole answers, and the laws of cutting and order."""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable, Sequence
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ext_proc.codecs.openai_chat import OpenAiChatCodec
from ext_proc.engine.pipeline import Binding, Pipeline
from ext_proc.engine.route import Route, RouteMatch, Rulebook
from ext_proc.limits import DEFAULTS, Limits
from ext_proc.policy import Context, Edit, Text, TextVerdict, TextWindow
from ext_proc.testing import HttpRequest, HttpResponse, Played, pass_through, request, response
from tests.exchange.test_cutting import cut_at, seen
from tests.exchange.text_policies import Base, Counter, DenyAt, Forever, Nothing, Replace, Sentences, Signature

SSE = {"content-type": "text/event-stream"}


def book(*policies: Base | Binding, limits: Limits = DEFAULTS, **route: Any) -> Rulebook:
    bindings = [policy if isinstance(policy, Binding) else Binding(policy) for policy in policies]
    pipeline = Pipeline(bindings, time.monotonic)
    return Rulebook(
        "test",
        "r1",
        (Route("llm", RouteMatch(path="/v1"), "openai", (OpenAiChatCodec(),), pipeline, **route),),
        limits=limits,
    )


def asked(stream: bool = True) -> HttpRequest:
    body = {"model": "gpt", "messages": [{"role": "user", "content": "hello"}], "stream": stream}
    return request(body, path="/v1/chat/completions")


def chunk(delta: dict[str, Any], index: int = 0, finish: str | None = None) -> bytes:
    choices = [{"index": index, "delta": delta, "finish_reason": finish}]
    value = {"id": "c", "object": "chat.completion.chunk", "created": 1, "model": "gpt", "choices": choices}
    return b"data: " + msgspec.json.encode(value) + b"\n\n"


DONE = b"data: [DONE]\n\n"


def stream(*texts: str, finish: bool = True) -> bytes:
    body = chunk({"role": "assistant", "content": ""}) + b"".join(chunk({"content": text}) for text in texts)
    return body + (chunk({}, finish="stop") + DONE if finish else b"")


def answer(body: bytes) -> HttpResponse:
    return HttpResponse(body, headers=dict(SSE), sized=False)


def whole(text: str) -> HttpResponse:
    choice = {"index": 0, "message": {"role": "assistant", "content": text}, "finish_reason": "stop"}
    return response({"id": "c", "object": "chat.completion", "created": 1, "model": "gpt", "choices": [choice]})


def events(played: Played) -> list[Any]:
    assert played.client is not None
    lines = [line[6:] for line in played.client.body.split(b"\n") if line.startswith(b"data: ")]
    return [line if line == b"[DONE]" else msgspec.json.decode(line) for line in lines]


def texts(played: Played, choice: int = 0) -> str:
    found = ""
    for event in events(played):
        for part in event["choices"] if isinstance(event, dict) else ():
            if part["index"] == choice:
                found += part["delta"].get("content") or ""
    return found


@pytest.mark.parametrize("policy", [Nothing, Sentences, Counter])
def test_a_stream_that_no_policy_edits_leaves_byte_for_byte(policy: type[Base]) -> None:
    body = b": hi\n\n" + stream("One. ", "Two. ", "x\u00fc\U0001f98a")
    played = pass_through(book(policy()), asked(), answer(body))
    assert played.client is not None
    assert played.client.body == body
    assert played.trail.outcome == "ok"


def test_a_word_is_replaced_although_it_came_in_pieces() -> None:
    played = pass_through(book(Replace("secret", "***")), asked(), answer(stream("a sec", "r", "et!")))
    assert texts(played) == "a ***!"
    assert played.trail.outcome == "ok"


def test_a_word_is_replaced_in_a_whole_answer_and_every_other_byte_stays() -> None:
    plain = whole("a secret and 1.50")
    played = pass_through(book(Replace("secret", "***")), asked(stream=False), plain)
    assert played.client is not None
    assert played.client.body == plain.body.replace(b"secret", b"***")
    assert played.client.headers["content-length"] == str(len(played.client.body))


def test_what_is_put_at_the_end_comes_before_the_finish() -> None:
    played = pass_through(book(Signature()), asked(), answer(stream("text")))
    assert texts(played) == "text -- signed"
    assert events(played)[-2]["choices"][0]["finish_reason"] == "stop"
    assert events(played)[-1] == b"[DONE]"


def test_a_denied_stream_ends_in_the_protocols_own_way_and_what_had_left_stays() -> None:
    sent = stream("0123456789", "abc", "never")
    played = pass_through(book(DenyAt(12, closing_text=" [stopped]")), asked(), answer(sent))
    assert texts(played) == "0123456789 [stopped]"
    assert events(played)[-2]["choices"][0]["finish_reason"] == "content_filter"
    assert events(played)[-1] == b"[DONE]"
    assert played.trail.outcome == "refused"
    assert played.metadata["reason"] == "too-long"


def test_every_open_choice_is_finished_by_a_denial() -> None:
    body = (
        chunk({"content": "zero"})
        + chunk({"content": "one"}, 1)
        + chunk({}, 1, "stop")
        + chunk({"content": "x" * 99}, 2)
    )
    played = pass_through(book(DenyAt(50)), asked(), answer(body + DONE))
    finished = [(c["index"], c["finish_reason"]) for e in events(played) if isinstance(e, dict) for c in e["choices"]]
    assert (1, "stop") in finished
    assert [pair for pair in finished if pair[1] == "content_filter"] == [(0, "content_filter"), (2, "content_filter")]


def test_a_denied_whole_answer_is_an_error_of_the_protocols() -> None:
    played = pass_through(book(DenyAt(3)), asked(stream=False), whole("too long"))
    assert played.client is not None
    assert played.client.status == 403
    assert played.client.json["error"]["message"] == "the answer got too long"
    assert played.client.json["error"]["trail"] == "trail-1"
    assert played.trail.outcome == "refused"


def test_what_is_held_at_the_end_of_a_broken_stream_is_not_lost_for_want_of_a_finish() -> None:
    played = pass_through(book(Sentences()), asked(), answer(stream("no end", finish=False)))
    assert texts(played) == "no end"
    assert played.trail.outcome == "truncated"


def test_past_the_bound_the_policy_that_holds_decides_by_its_on_error() -> None:
    body = stream(*["x" * 100] * 50)
    small = Limits(hold_back=4096)
    denied = pass_through(book(Forever(), limits=small), asked(), answer(body))
    assert texts(denied) == ""
    assert denied.trail.outcome == "refused"
    assert any(entry.reason == "held-too-much" for entry in denied.trail.entries)
    allowed = pass_through(book(Binding(Forever(), deny_on_error=False), limits=small), asked(), answer(body))
    assert allowed.client is not None
    assert allowed.client.body == body


def test_shadow_and_observing_policies_hold_nothing_and_change_nothing() -> None:
    counter = Counter()
    shadows = [
        Binding(Replace("a", "b"), enforce=False),
        Binding(Forever(), enforce=False),
        Binding(DenyAt(1), enforce=False),
    ]
    body = stream("aaaa", "aaaa")
    played = pass_through(book(*shadows, counter), asked(), answer(body))
    assert played.client is not None
    assert played.client.body == body
    assert list(counter.seen.values()) == ["aaaaaaaa"]
    assert {(e.policy, str(e.verdict), e.enforced) for e in played.trail.entries} >= {("deny-at", "deny", False)}


class Wild(Base):
    """Edits what it may not edit."""

    def on_text(self, text: TextWindow, ctx: Context[Any]) -> TextVerdict:
        return Text(text.end, (Edit(text.end + 5, text.end + 9, "x"),))


class Nonsense(Base):
    """Answers with what is no verdict on text."""

    def on_text(self, text: TextWindow, ctx: Context[Any]) -> TextVerdict:
        return "fine"  # type: ignore[return-value]  # the fault under test


class Broken(Base):
    """Raises."""

    def on_text(self, text: TextWindow, ctx: Context[Any]) -> TextVerdict:
        raise KeyError("the text")


@pytest.mark.parametrize("policy", [Wild, Nonsense, Broken])
def test_a_faulty_policy_is_denied_or_passed_over_as_on_error_says(policy: type[Base]) -> None:
    body = stream("text")
    denied = pass_through(book(policy()), asked(), answer(body))
    assert texts(denied) == ""
    assert denied.trail.outcome == "refused"
    allowed = pass_through(book(Binding(policy(), deny_on_error=False)), asked(), answer(body))
    assert allowed.client is not None
    assert allowed.client.body == body
    assert "the text" not in str(allowed.trail.as_dict())


def test_text_after_the_end_of_its_choice_ends_the_stream() -> None:
    body = chunk({"content": "one"}) + chunk({}, finish="stop") + chunk({"content": "more"}) + DONE
    played = pass_through(book(Nothing()), asked(), answer(body))
    assert texts(played) == "one"
    assert played.trail.outcome == "refused"


policies: st.SearchStrategy[Callable[[], list[Base]]] = st.sampled_from(
    [
        lambda: [Nothing()],
        lambda: [Replace("ab", "*")],
        lambda: [Sentences(), Replace("ab", "*"), Replace("ba", "++", "other")],
        lambda: [Replace("ba", "++", "other"), Replace("ab", "*"), Sentences()],
        lambda: [Signature(), DenyAt(12, " [end]")],
        lambda: [Counter(), Sentences()],
    ]
)
deltas = st.lists(st.tuples(st.integers(0, 2), st.text("ab. ", max_size=6)), max_size=8)
positions = st.lists(st.integers(0, 10_000), max_size=10)


@st.composite
def streams(draw: st.DrawFn) -> bytes:
    """One to three interleaved choices, finished or not, now and then broken or cut off."""
    body = b"".join(chunk({"content": text}, index) for index, text in draw(deltas))
    body += b"".join(chunk({}, index, "stop") for index in draw(st.lists(st.integers(0, 2), max_size=3, unique=True)))
    body += draw(st.sampled_from([DONE, b"", b"data: {oops\n\n", chunk({"content": "late"}, 1), b"data: {"]))
    return body.replace(b"\n", draw(st.sampled_from([b"\n", b"\r\n"])))


@given(streams(), policies, positions)
@settings(max_examples=300, deadline=None)
def test_any_cutting_gives_the_same_bytes_and_the_same_trail(
    body: bytes, make: Callable[[], list[Base]], where: Sequence[int]
) -> None:
    one = pass_through(book(*make()), asked(), answer(body))
    other = pass_through(book(*make()), asked(), answer(body), cut=lambda data: cut_at(data, where))
    assert seen(other) == seen(one)


@given(st.text("ab. ", max_size=24), st.lists(st.integers(0, 99), max_size=8), st.booleans())
@settings(max_examples=200, deadline=None)
def test_the_same_text_comes_out_however_it_was_cut_into_deltas(text: str, where: list[int], turned: bool) -> None:
    pair: list[Base] = [Replace("ab", "*"), Replace("ba", "++", "other")]
    if turned:
        pair.reverse()
    bounds = [0, *sorted(at % (len(text) + 1) for at in where), len(text)]
    pieces = [text[start:end] for start, end in itertools.pairwise(bounds)]
    one = pass_through(book(*pair), asked(), answer(stream(text)))
    other = pass_through(book(*pair), asked(), answer(stream(*pieces)))
    assert texts(one) == texts(other)
    json = pass_through(book(*pair), asked(stream=False), whole(text)).client
    assert json is not None
    assert json.json["choices"][0]["message"]["content"] == texts(one)
