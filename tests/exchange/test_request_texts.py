"""Texts of chat requests on their way through policies: shown whole, edited in place, denied before anything leaves."""

from __future__ import annotations

import copy
import json
import time
from collections.abc import Sequence
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ext_proc.engine.pipeline import Binding
from ext_proc.events import Direction
from ext_proc.limits import Limits
from ext_proc.messages import Generation
from ext_proc.policy import (
    Channel,
    ChannelKind,
    Context,
    Edit,
    Mutation,
    RequestText,
    Role,
    Text,
    TextVerdict,
    TextWindow,
    Verdict,
)
from ext_proc.testing import HttpRequest, Played, pass_through, request
from tests.exchange.test_cutting import cut_at
from tests.exchange.test_texts import answer, book, stream, texts, whole
from tests.exchange.text_policies import (
    Base,
    Counter,
    DenyWord,
    Forever,
    InAnswers,
    InRequests,
    Nothing,
    Replace,
    Sentences,
    merged,
    only,
)
from tests.unit.framing.json_writing import values, written

ARGUMENTS = '{"to": "an\\u0061",  "n": 1.50, "secret": ["x", "a secret"]}'
TURNS: list[Any] = [
    {"role": "developer", "content": "be a secret"},
    {"role": "user", "content": [{"type": "text", "text": "one sec"}, {"type": "text", "text": "ret two"}, "secret"]},
    {
        "role": "assistant",
        "content": None,
        "tool_calls": [
            {"id": "c1", "type": "function", "function": {"name": "send", "arguments": ARGUMENTS}},
            {"id": "c2", "type": "custom", "custom": {"name": "run", "input": "secret.sh"}},
        ],
    },
    {"role": "tool", "tool_call_id": "c1", "content": "no secret"},
    {"role": "critic", "content": "hm"},
]


def chat(turns: Any, **changes: Any) -> HttpRequest:
    """A chat request whose bytes say more than its value: blanks, a number's spelling, an unknown field."""
    body = b'{ "model":"gpt",\t"top_p": 0.50, "messages" : ' + json.dumps(turns).encode() + b', "x-own":[1e0] }'
    return request(body, path="/v1/chat/completions", **changes)


def upstream(played: Played) -> HttpRequest:
    assert played.upstream is not None
    return played.upstream


def error(played: Played) -> tuple[int, Any]:
    assert played.upstream is None
    assert played.client is not None
    return played.client.status, played.client.json["error"]


def test_an_edit_in_a_request_is_seen_by_the_upstream_and_every_other_byte_stays() -> None:
    sent = chat(TURNS)
    played = pass_through(book(only(Replace("secret", "***"))), sent, whole("hi"))
    assert upstream(played).body == (
        sent.body.replace(b"be a secret", b"be a ***")
        .replace(b', "secret"]}', b', "***"]}')
        .replace(b"a secret\\", b"a ***\\")
        .replace(b"secret.sh", b"***.sh")
        .replace(b"no secret", b"no ***")
    )
    assert b'\\"secret\\": [' in upstream(played).body
    assert upstream(played).headers["content-length"] == str(len(upstream(played).body))
    assert played.trail.outcome == "ok"
    assert [(e.stage, e.verdict, e.count) for e in played.trail.entries][:2] == [
        ("request_text", "change", 5),
        ("request_text", "allow", 5),
    ]


def test_each_text_is_shown_whole_with_whose_words_it_is() -> None:
    seen = Watching()
    pass_through(book(seen), chat(TURNS), whole("hi"))
    said, own, heard, model = Role.SYSTEM, Role.USER, Role.TOOL, Role.ASSISTANT
    content, named, called = ChannelKind.CONTENT, ChannelKind.NAME, ChannelKind.TOOL_ARGUMENTS
    there = Direction.REQUEST
    assert seen.windows == [
        (Channel(content, 0, 0, there, said), "be a secret"),
        (Channel(content, 1, 0, there, own), "one sec"),
        (Channel(content, 1, 1, there, own), "ret two"),
        (Channel(content, 1, 2, there, own), "secret"),
        (Channel(named, 2, 0, there, model, "", 0), "to"),
        (Channel(called, 2, 0, there, model, "/to", 1), "ana"),
        (Channel(named, 2, 0, there, model, "", 2), "n"),
        (Channel(named, 2, 0, there, model, "", 3), "secret"),
        (Channel(called, 2, 0, there, model, "/secret/0", 4), "x"),
        (Channel(called, 2, 0, there, model, "/secret/1", 5), "a secret"),
        (Channel(ChannelKind.TOOL_INPUT, 2, 0, there, model), "secret.sh"),
        (Channel(content, 3, 0, there, heard), "no secret"),
        (Channel(content, 4, 0, there, own), "hm"),
    ]


class Watching(Base):
    """Observes requests: each window that it is shown, which is the last of its text."""

    def __init__(self) -> None:
        super().__init__("watching")
        self.windows: list[tuple[Channel, str]] = []

    def on_text(self, text: RequestText, ctx: Context[Any]) -> None:
        assert (text.start, text.closed, type(text)) == (0, True, RequestText)
        self.windows.append((text.channel, text.text))


@pytest.mark.parametrize("sized", [True, False])
def test_a_denied_request_never_reaches_the_upstream(sized: bool) -> None:
    played = pass_through(book(DenyWord("ret two")), chat(TURNS, sized=sized), whole("hi"))
    status, told = error(played)
    assert (status, told["code"], told["message"]) == (403, "word-not-allowed", "this may not be said")
    assert told["trail"] == "trail-1"
    assert played.trail.outcome == "refused"
    assert played.metadata["reason"] == "word-not-allowed"


def test_a_request_of_unknown_or_large_length_is_edited_and_loses_its_length() -> None:
    turns = [{"role": "user", "content": "secret " * 1000}]
    for sized in (True, False):
        sent = chat(turns, sized=sized)
        limits = Limits(envoy_buffer=1000)
        played = pass_through(book(Replace("secret", "*"), limits=limits), sent, whole("hi"), cut=in_pieces)
        assert upstream(played).body == sent.body.replace(b"secret", b"*")
        assert "content-length" not in upstream(played).headers


def in_pieces(body: bytes) -> Sequence[bytes]:
    return cut_at(body, range(0, len(body), 97))


def test_the_annotation_says_in_which_direction_text_is_wanted() -> None:
    turns, said = [{"role": "user", "content": "secret"}], answer(stream("a secret"))
    for policy, asked, answered in (
        (InRequests(Replace("secret", "*")), b"*", "a secret"),
        (InAnswers(Replace("secret", "*")), b"secret", "a *"),
        (Replace("secret", "*"), b"*", "a *"),
    ):
        played = pass_through(book(policy), chat(turns), said)
        assert msgspec.json.decode(upstream(played).body)["messages"][0]["content"].encode() == asked
        assert texts(played) == answered
    denied = pass_through(book(InAnswers(DenyWord("secret"))), chat(turns), answer(stream("hello")))
    assert texts(denied) == "hello"


def test_the_first_policy_of_the_list_wins_in_requests_and_the_last_in_answers() -> None:
    policies = [Replace("ab", "1", "one"), Replace("bc", "2", "two")]
    played = pass_through(book(*policies), chat([{"role": "user", "content": "abc"}]), answer(stream("abc")))
    assert msgspec.json.decode(upstream(played).body)["messages"][0]["content"] == "1"
    assert texts(played) == "2"


def test_an_edit_in_a_name_is_the_policys_on_error() -> None:
    turns = [TURNS[2]]
    denied = pass_through(book(Replace("secret", "*")), chat(turns), whole("hi"))
    assert error(denied)[1]["code"] == "policy-failed"
    assert "edited a name, which can only be read" in {entry.reason for entry in denied.trail.entries}
    allowed = pass_through(book(Binding(Replace("secret", "*"), deny_on_error=False)), chat(turns), whole("hi"))
    body = upstream(allowed).body
    assert b'\\"secret\\": [' in body
    assert b'\\"a *\\"' in body, "what could be done was done"
    assert error(pass_through(book(DenyWord("secret")), chat(turns), whole("hi")))[1]["code"] == "word-not-allowed"


@pytest.mark.parametrize(
    "turn",
    [
        {"role": "user", "content": 5},
        {"role": "user", "content": {"type": "text", "text": "secret"}},
        {"role": "user", "content": [["secret"]]},
        {"role": "user", "content": [{"type": "text", "text": ["secret"]}]},
        {"role": "user", "content": [{"type": "text", "text": "x", "Text": "secret"}]},
        {"role": "assistant", "tool_calls": [{"function": {"name": "f", "arguments": {"a": "secret"}}}]},
        {"role": "assistant", "tool_calls": [{"function": {"name": "f", "Arguments": "secret"}}]},
        {"role": "assistant", "tool_calls": "secret"},
    ],
)
def test_what_should_be_text_and_is_not_is_malformed_where_text_is_governed(turn: Any) -> None:
    denied = pass_through(book(Nothing()), chat([turn]), whole("hi"))
    assert error(denied)[0] == 400
    assert error(denied)[1]["code"] == "openai-invalid"
    observed = pass_through(book(Counter()), chat([turn]), whole("hi"))
    assert upstream(observed).body == chat([turn]).body
    assert observed.trail.notes == ["texts were not shown: openai-invalid"]
    assert upstream(pass_through(book(), chat([turn]), whole("hi"))).body == chat([turn]).body
    assert upstream(pass_through(book(InAnswers(DenyWord("x"))), chat([turn]), whole("hi"))).body == chat([turn]).body


def test_arguments_with_too_many_values_are_too_large_where_text_is_governed() -> None:
    turn = {"role": "assistant", "tool_calls": [{"function": {"name": "f", "arguments": json.dumps(["x"] * 300)}}]}
    small = Limits(json_values=200)
    assert error(pass_through(book(Nothing(), limits=small), chat([turn] * 2), whole("hi")))[0] == 413
    assert upstream(pass_through(book(limits=small), chat([turn] * 2), whole("hi"))).body == chat([turn] * 2).body


def test_shadow_and_observing_policies_change_nothing_in_a_request() -> None:
    seen = Watching()
    shadows = [Binding(Replace("secret", "*"), enforce=False), Binding(DenyWord("secret"), enforce=False)]
    played = pass_through(book(*shadows, seen), chat(TURNS), whole("hi"))
    assert upstream(played).body == chat(TURNS).body
    assert len(seen.windows) == 13
    assert ("deny-word", "deny", False) in {(e.policy, str(e.verdict), e.enforced) for e in played.trail.entries}


@pytest.mark.parametrize("policy", [Nothing, Sentences, Forever, Counter])
def test_a_request_that_no_policy_edits_goes_on_byte_for_byte(policy: type[Base]) -> None:
    sent = chat(TURNS)
    assert upstream(pass_through(book(policy()), sent, whole("hi"))).body == sent.body


class Renames(Base):
    """Asks another model."""

    def on_request(self, message: Generation, ctx: Context[Any]) -> Verdict:
        return Mutation(message=message.with_model("secret-model"))


def test_texts_are_those_of_the_request_as_its_own_policies_left_it() -> None:
    sent = chat([{"role": "user", "content": "a secret"}])
    played = pass_through(book(Replace("secret", "*"), Renames("renames")), sent, whole("hi"))
    assert upstream(played).body == sent.body.replace(b'"gpt"', b'"secret-model"').replace(b"a secret", b"a *")


class Counting(Base):
    """Counts how often it is asked."""

    def __init__(self) -> None:
        super().__init__("counting")
        self.calls = 0

    def on_text(self, text: TextWindow, ctx: Context[Any]) -> TextVerdict:
        self.calls += 1
        return Text(text.end)


@pytest.mark.parametrize("denies", [True, False])
def test_where_the_time_is_used_up_nobody_is_asked_any_further(denies: bool) -> None:
    many = [{"role": "user", "content": f"text {number}"} for number in range(1000)]
    policy, limits = Counting(), Limits(decision=1e-9)
    played = pass_through(
        book(Binding(policy, deny_on_error=denies), limits=limits, clock=time.monotonic), chat(many), whole("")
    )
    assert policy.calls == 1
    (entry,) = [entry for entry in played.trail.entries if entry.stage == "request_text"]
    assert (entry.reason, entry.count) == ("timeout", 1 if denies else 2)
    if denies:
        assert error(played)[1]["code"] == "policy-failed"
    else:
        assert upstream(played).body == chat(many).body


class Insert(Base):
    """Puts text before and behind."""

    def on_text(self, text: TextWindow, ctx: Context[Any]) -> TextVerdict:
        ends = (Edit(text.end, text.end, '>"'),) if text.closed else ()
        return Text(text.end, ((Edit(0, 0, "<"),) if text.start == 0 else ()) + ends)


def test_what_is_put_around_a_text_stays_inside_its_string() -> None:
    turns = [{"role": "user", "content": "x"}, {"role": "user", "content": ""}, TURNS[2]]
    played = pass_through(book(only(Insert())), chat(turns), whole("hi"))
    one, empty, called = msgspec.json.decode(upstream(played).body)["messages"]
    assert (one["content"], empty["content"]) == ('<x>"', "")
    arguments = called["tool_calls"][0]["function"]["arguments"]
    assert json.loads(arguments) == {"to": '<ana>"', "n": 1.5, "secret": ['<x>"', '<a secret>"']}
    assert '"n": 1.50' in arguments


strings = st.text(st.sampled_from('aabb ."\\\n😀'), max_size=8)
documents = values(strings, st.text("xyz", max_size=3))


@st.composite
def conversations(draw: st.DrawFn) -> list[Any]:
    """Messages of every role, with content as a string or in parts, and calls with arguments that are JSON or not."""
    turns: list[Any] = []
    for _ in range(draw(st.integers(1, 4))):
        role = draw(st.sampled_from(["system", "user", "assistant", "tool"]))
        parts = st.lists(strings.map(lambda text: {"type": "text", "text": text}), max_size=3)
        turn: dict[str, Any] = {"role": role, "content": draw(strings | st.none() | parts)}
        if role == "assistant" and draw(st.booleans()):
            sources = [draw(written(draw(documents))) for _ in range(draw(st.integers(1, 2)))]
            turn["tool_calls"] = [{"function": {"name": "f", "arguments": source}} for source in sources]
        turns.append(turn)
    return turns


def applied(turns: Any, policies: Sequence[Replace]) -> Any:
    """What the policies make of a conversation, text by text; arguments as values."""

    def of(value: Any) -> Any:
        if isinstance(value, str):
            return merged(value, policies)
        if isinstance(value, list):
            return [of(item) for item in value]
        return {key: of(item) for key, item in value.items()} if isinstance(value, dict) else value

    turns = copy.deepcopy(turns)
    for turn in turns:
        content = turn["content"]
        if isinstance(content, str):
            turn["content"] = of(content)
        for part in content if isinstance(content, list) else ():
            part["text"] = of(part["text"])
        for call in turn.get("tool_calls", ()):
            call["function"]["arguments"] = of(json.loads(call["function"]["arguments"]))
    return turns


def with_values(turns: Any) -> Any:
    """A conversation with its arguments as values."""
    return applied(turns, [])


@given(conversations(), st.lists(st.integers(0, 10_000), max_size=10), st.booleans(), st.booleans())
@settings(max_examples=300, deadline=None)
def test_any_cutting_and_any_order_edits_each_text_of_a_request_and_keeps_every_other_byte(
    turns: list[Any], where: list[int], turned: bool, sized: bool
) -> None:
    pair = [Replace("ab", '*"', "one"), Replace("ba", "++", "other")]
    if turned:
        pair.reverse()
    sent = chat(turns, sized=sized)
    limits = Limits(envoy_buffer=1, decision=60.0)
    one = pass_through(book(*map(only, pair), limits=limits), sent, whole("hi"))
    other = pass_through(
        book(*map(only, pair), only(Sentences()), limits=limits),
        sent,
        whole("hi"),
        cut=lambda body: cut_at(body, where),
    )
    assert upstream(other).body == upstream(one).body
    value = msgspec.json.decode(upstream(one).body)
    assert with_values(value["messages"]) == applied(turns, pair)
    assert upstream(one).body.startswith(b'{ "model":"gpt",\t"top_p": 0.50, "messages" : [')
    assert upstream(one).body.endswith(b', "x-own":[1e0] }')
    if applied(turns, pair) == with_values(turns):
        assert upstream(one).body == sent.body


@given(conversations(), st.booleans())
@settings(max_examples=100, deadline=None)
def test_a_word_anywhere_in_a_request_denies_it_in_any_order_of_policies(turns: list[Any], turned: bool) -> None:
    policies: list[Base] = [only(DenyWord("ab")), only(Replace("ab", "*"))]
    if turned:
        policies.reverse()
    played = pass_through(book(*policies, limits=Limits(decision=60.0)), chat(turns), whole("hi"))
    found = applied(turns, [Replace("ab", "*")]) != with_values(turns)
    assert (played.upstream is None) is found
