"""Text on its way through policies: streams of language models, whole answers, and the laws of cutting and order."""

from __future__ import annotations

import itertools
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
from ext_proc.messages import CompletionChunk, LlmError
from ext_proc.policy import Context, Deny, Edit, Text, TextVerdict, TextWindow, Verdict
from ext_proc.testing import HttpRequest, HttpResponse, Played, pass_through, request, response
from tests.exchange.test_cutting import cut_at, seen
from tests.exchange.text_policies import (
    Base,
    Counter,
    DenyAt,
    DenyWord,
    Forever,
    Nothing,
    Replace,
    Sentences,
    Signature,
    merged,
    only,
)
from tests.unit.framing.json_writing import strings_in, values, written

SSE = {"content-type": "text/event-stream"}


def book(
    *policies: Base | Binding, limits: Limits = DEFAULTS, clock: Callable[[], float] = lambda: 0.0, **route: Any
) -> Rulebook:
    """A route of chat completions with these policies.

    Args:
        clock: stands still unless given: where the machine is busy the laws of cutting must hold all the same.
    """
    bindings = [policy if isinstance(policy, Binding) else Binding(policy) for policy in policies]
    pipeline = Pipeline(bindings, clock)
    return Rulebook(
        "test",
        "r1",
        (Route("llm", RouteMatch(path="/v1"), "openai", (OpenAiChatCodec(),), pipeline, **route),),
        limits=limits,
    )


def asked(stream: bool = True) -> HttpRequest:
    body = {"model": "gpt", "messages": [{"role": "user", "content": "hi"}], "stream": stream}
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


def whole(text: str | None, *sources: str) -> HttpResponse:
    """A whole answer of one choice, with tool calls of these arguments."""
    return wholes({"content": text, "tool_calls": [tool_call(source, index) for index, source in enumerate(sources)]})


def wholes(*messages: dict[str, Any]) -> HttpResponse:
    choices = [
        {"index": index, "message": {"role": "assistant", **message}, "finish_reason": "stop"}
        for index, message in enumerate(messages)
    ]
    return response({"id": "c", "object": "chat.completion", "created": 1, "model": "gpt", "choices": choices})


def tool_call(source: str, index: int = 0) -> dict[str, Any]:
    return {"index": index, "function": {"arguments": source}}


def calling(*sources: str, index: int = 0, finish: bool = True) -> bytes:
    """A stream of one tool call, whose arguments come in these pieces."""
    first = {"index": index, "id": "c1", "type": "function", "function": {"name": "send", "arguments": ""}}
    body = chunk({"role": "assistant", "content": None, "tool_calls": [first]})
    body += b"".join(chunk({"tool_calls": [tool_call(source, index)]}) for source in sources)
    return body + (chunk({}, finish="tool_calls") + DONE if finish else b"")


def events(played: Played) -> list[Any]:
    assert played.client is not None
    lines = [line[6:] for line in played.client.body.split(b"\n") if line.startswith(b"data: ")]
    return [line if line == b"[DONE]" else msgspec.json.decode(line) for line in lines]


def texts(played: Played, choice: int = 0) -> str:
    return "".join(delta.get("content") or "" for delta in deltas_of(played, choice))


def arguments(played: Played, choice: int = 0, index: int = 0) -> str:
    """The arguments of a tool call, as a client puts them together."""
    calls = [call for delta in deltas_of(played, choice) for call in delta.get("tool_calls") or ()]
    return "".join(call["function"]["arguments"] for call in calls if call["index"] == index)


def deltas_of(played: Played, choice: int) -> list[Any]:
    found = [part for event in events(played) if isinstance(event, dict) for part in event["choices"]]
    return [part["delta"] for part in found if part["index"] == choice]


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


class DenyPiece(Base):
    """Denies the pieces of answers, and errors in them, that say something."""

    def on_response(self, message: CompletionChunk | LlmError, ctx: Context[Any]) -> Verdict:
        return Deny("piece-not-allowed", "no") if b"two" in message.raw else None


@pytest.mark.parametrize("beside", [(), (Nothing(),), (Sentences(),)], ids=["alone", "released", "held"])
def test_a_denied_piece_of_a_stream_ends_it_and_nothing_that_follows_leaves(beside: tuple[Base, ...]) -> None:
    played = pass_through(book(DenyPiece(), *beside), asked(), answer(stream("one.", "two", "three")))
    assert texts(played) == "one."
    assert events(played)[-2]["choices"] == [{"index": 0, "delta": {}, "finish_reason": "content_filter"}]
    assert events(played)[-1] == b"[DONE]"
    assert str(played.trail.outcome) == "refused"
    error = b'data: {"error":{"message":"two"}}\n\n'
    played = pass_through(book(DenyPiece(), *beside), asked(), answer(stream("one.", finish=False) + error))
    assert (texts(played), events(played)[-1]) == ("one.", b"[DONE]")


def test_an_outcome_that_is_known_is_told_although_nothing_leaves_with_it() -> None:
    begun, error = stream("one", finish=False), b'data: {"error":{"message":"no"}}\n\n'
    broken_off = HttpResponse(begun + error, headers=dict(SSE), sized=False, complete=False)
    played = pass_through(book(Forever()), asked(), broken_off, cut=lambda body: [begun, error])
    assert texts(played) == ""
    assert played.metadata["outcome"] == "protocol_error"


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
    assert list(counter.seen.values()) == ["hi", "aaaaaaaa"]
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


def test_an_edit_inside_streamed_arguments_keeps_them_valid_json_and_every_other_byte() -> None:
    body = calling('{"to": "an', "\\u0061@exam", 'ple.org",  "n": 1.50, "at', '":"x"}')
    edit = only(Replace("ana@example.org", 'a "friend"'))
    played = pass_through(book(edit, only(Sentences())), asked(), answer(body))
    assert arguments(played) == '{"to": "a \\"friend\\"",  "n": 1.50, "at":"x"}'
    assert played.trail.outcome == "ok"
    untouched = pass_through(book(only(Replace("z", "-")), only(Sentences())), asked(), answer(body))
    assert untouched.client is not None
    assert untouched.client.body == body


def test_arguments_leave_as_soon_as_no_string_of_them_is_held() -> None:
    seen: list[str] = []

    class Ends(Base):
        """Lets a string through at its end."""

        def on_text(self, text: TextWindow, ctx: Context[Any]) -> TextVerdict:
            seen.append(text.text)
            return Text(text.end if text.closed else text.start)

    played = pass_through(book(only(Ends())), asked(), answer(calling('{"a":"x', 'y","b":', '[1,2,"', 'z"]}')))
    assert arguments(played) == '{"a":"xy","b":[1,2,"z"]}'
    assert seen == ["hi", "x", "xy", "z"]


@pytest.mark.parametrize("streamed", [True, False])
def test_an_edit_in_a_name_of_the_arguments_is_the_policys_on_error(streamed: bool) -> None:
    source = '{"secret": "a secret"}'
    plain = answer(calling('{"sec', 'ret": "a sec', 'ret"}')) if streamed else whole(None, source)
    denied = pass_through(book(Replace("secret", "*")), asked(streamed), plain)
    assert denied.client is not None
    assert b"ret" not in denied.client.body
    assert denied.trail.outcome == "refused"
    allowed = pass_through(book(Binding(Replace("secret", "*"), deny_on_error=False)), asked(streamed), plain)
    assert allowed.client is not None
    if streamed:
        assert arguments(allowed) == '{"secret": "a *"}'
    else:
        assert allowed.client.json["choices"][0]["message"]["tool_calls"][0]["function"]["arguments"] == (
            '{"secret": "a *"}'
        )


def test_a_denial_inside_arguments_ends_the_stream_and_puts_nothing_into_them() -> None:
    played = pass_through(book(DenyAt(3, closing_text=" [stopped]")), asked(), answer(calling('{"q":"ab', "cd", '"}')))
    assert arguments(played) == '{"q":"ab'
    assert events(played)[-2]["choices"][0]["finish_reason"] == "content_filter"
    assert events(played)[-1] == b"[DONE]"


def test_arguments_that_are_no_json_or_break_off_are_edited_as_plain_text() -> None:
    edit = only(Replace("secret", '"'))
    assert arguments(pass_through(book(edit), asked(), answer(calling("my sec", "ret")))) == 'my \\"'
    broken = calling('{"q": "a sec', "ret", finish=False)
    assert arguments(pass_through(book(edit), asked(), answer(broken))) == '{"q": "a \\"'
    cut_off = calling('{"q": "a \\u00', finish=False)
    assert arguments(pass_through(book(edit), asked(), answer(cut_off))) == '{"q": "a \\u00'


@pytest.mark.parametrize("streamed", [True, False])
def test_text_that_nobody_holds_may_be_larger_than_what_may_be_held_back(streamed: bool) -> None:
    long = answer(stream("x" * 10_000)) if streamed else whole("x" * 10_000)
    played = pass_through(book(Nothing(), limits=Limits(hold_back=1000)), asked(streamed), long)
    assert played.client is not None
    assert (played.client.status, played.client.body) == (200, long.body)
    assert played.trail.outcome == "ok"


policies: st.SearchStrategy[Callable[[], list[Base]]] = st.sampled_from(
    [
        lambda: [Nothing()],
        lambda: [Replace("ab", "*")],
        lambda: [Sentences(), Replace("ab", "*"), Replace("ba", "++", "other")],
        lambda: [Replace("ba", "++", "other"), Replace("ab", "*"), Sentences()],
        lambda: [Signature(), DenyAt(12, " [end]")],
        lambda: [Counter(), Sentences()],
        lambda: [DenyWord("bab"), Sentences()],
    ]
)
deltas = st.lists(st.tuples(st.integers(0, 2), st.text("ab. ", max_size=6)), max_size=8)
positions = st.lists(st.integers(0, 10_000), max_size=10)


# What arguments are made of; as often as not it is no JSON.
sources = st.lists(st.sampled_from([*'{}[]":,ab. ', '{"a":"', '","b":', "\\u0061", "\\ud83d", "tru"]), max_size=5).map(
    "".join
)
calls = st.lists(st.tuples(st.integers(0, 2), st.integers(0, 1), sources), max_size=6)


@st.composite
def streams(draw: st.DrawFn) -> bytes:
    """One to three interleaved choices with content and tool calls, finished or not, now and then broken or cut off."""
    parts = [chunk({"content": text}, index) for index, text in draw(deltas)]
    parts += [chunk({"tool_calls": [tool_call(source, number)]}, index) for index, number, source in draw(calls)]
    body = b"".join(draw(st.permutations(parts)))
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


characters = st.text(st.sampled_from('aabb ."\\\n😀'), max_size=6)
documents = values(characters, st.text("xyz", max_size=3))
spellings = documents.flatmap(lambda value: st.tuples(st.just(value), written(value)))


@given(
    st.lists(spellings, min_size=1, max_size=3),
    st.lists(st.tuples(st.integers(0, 2), st.integers(1, 9)), max_size=40),
    st.booleans(),
)
@settings(max_examples=300, deadline=None)
def test_the_same_arguments_come_out_however_they_were_cut_into_deltas(
    spelled: list[tuple[Any, str]], order: list[tuple[int, int]], turned: bool
) -> None:
    """One to three choices, each with a tool call, whose deltas interleave."""
    pair: list[Replace] = [Replace("ab", '*"', "one"), Replace("ba", "++", "other")]
    if turned:
        pair.reverse()
    limits = Limits(decision=60.0)
    left = [source for _, source in spelled]
    body = b""
    for choice, size in [*order, *((choice, len(source)) for choice, (_, source) in enumerate(spelled))]:
        if choice < len(left) and left[choice]:
            body += chunk({"tool_calls": [tool_call(left[choice][:size])]}, choice)
            left[choice] = left[choice][size:]
    body += b"".join(chunk({}, choice, "tool_calls") for choice in range(len(spelled))) + DONE
    streamed = pass_through(book(*map(only, pair), only(Sentences()), limits=limits), asked(), answer(body))
    plain = wholes(*({"content": None, "tool_calls": [tool_call(source)]} for _, source in spelled))
    json = pass_through(book(*map(only, pair), limits=limits), asked(stream=False), plain).client
    assert json is not None
    for choice, (value, source) in enumerate(spelled):
        came = json.json["choices"][choice]["message"]["tool_calls"][0]["function"]["arguments"]
        assert arguments(streamed, choice) == came
        # Answers are asked about in reverse, so the last of the list comes first.
        edited = [text if is_name else merged(text, pair[::-1]) for _, is_name, text in strings_in(value)]
        assert [text for _, _, text in strings_in(msgspec.json.decode(came))] == edited
        if edited == [text for _, _, text in strings_in(value)]:
            assert came == source
    if all(arguments(streamed, choice) == source for choice, (_, source) in enumerate(spelled)):
        assert streamed.client is not None
        assert streamed.client.body == body


@given(
    st.lists(st.tuples(st.text("ab. ", max_size=12), sources), min_size=1, max_size=3),
    policies,
    positions,
    st.booleans(),
)
@settings(max_examples=300, deadline=None)
def test_any_cutting_of_a_whole_answer_gives_the_same_bytes_and_the_same_trail(
    said: list[tuple[str, str]], make: Callable[[], list[Base]], where: Sequence[int], sized: bool
) -> None:
    """One to three choices, each with content and a tool call."""
    plain = wholes(*({"content": text, "tool_calls": [tool_call(source)]} for text, source in said))
    plain.sized = sized
    limits = Limits(decision=60.0, envoy_buffer=1)
    one = pass_through(book(*make(), limits=limits), asked(stream=False), plain)
    other = pass_through(book(*make(), limits=limits), asked(stream=False), plain, cut=lambda data: cut_at(data, where))
    assert seen(other) == seen(one)
