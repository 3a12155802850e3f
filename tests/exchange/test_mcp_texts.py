"""Texts of MCP's calls and results on their way through policies, on both wires."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ext_proc.engine.pipeline import Binding
from ext_proc.events import Direction
from ext_proc.limits import Limits
from ext_proc.messages import ToolCall
from ext_proc.policy import Channel, ChannelKind, Context, Mutation, Role, TextWindow, Verdict
from ext_proc.testing import HttpRequest, HttpResponse, Played, call, pass_through, request, response, rulebook_of
from tests.exchange.test_cutting import cut_at, seen
from tests.exchange.test_request_texts import in_pieces
from tests.exchange.text_policies import (
    VALUES,
    Base,
    Counter,
    DenyWord,
    InAnswers,
    InRequests,
    Nothing,
    Replace,
    Sentences,
    merged,
    only,
)
from tests.unit.framing.json_writing import strings_in, values, written

LEGACY = {"mcp-protocol-version": "2025-06-18"}
MODERN = {"mcp-protocol-version": "2026-07-28", "mcp-method": "tools/call", "mcp-name": "search"}
WIRES = pytest.mark.parametrize("wire", [LEGACY, MODERN], ids=["legacy", "2026-07-28"])
SOURCE = '{ "q": "a s\\u0065cret",\t"n": 1.50, "all": ["x", {"deep": "secret"}] }'
BLOCKS: list[Any] = [
    {"type": "text", "text": "a secret", "annotations": {"priority": 1.0}},
    {"type": "image", "data": "c2VjcmV0", "mimeType": "image/png"},
    {"type": "resource", "resource": {"uri": "file:///secret", "text": "secret file"}},
    {"type": "resource_link", "uri": "file:///secret", "name": "secret"},
]


def called(source: str = SOURCE, wire: Any = LEGACY, **changes: Any) -> HttpRequest:
    """A tool call in which the arguments are spelled so."""
    meta = ', "_meta": {"io.modelcontextprotocol/protocolVersion": "2026-07-28"}' if wire is MODERN else ""
    params = '{"name":"search", "arguments":' + source + meta + "}"
    body = '{"jsonrpc" : "2.0","id":1,"method":"tools/call","params":' + params + "}"
    sent = request(body.encode(), **changes)
    sent.headers.update(wire)
    return sent


def result(value: Any, id: int = 1) -> dict[str, Any]:
    return {"jsonrpc": "2.0", "id": id, "result": value}


def events(*sent: Any) -> HttpResponse:
    body = b"".join(b"event: message\ndata: " + msgspec.json.encode(value) + b"\n\n" for value in sent)
    return HttpResponse(body, headers={"content-type": "text/event-stream"}, sized=False)


DONE = response(result({"content": [{"type": "text", "text": "done"}]}))


def upstream(played: Played) -> bytes:
    assert played.upstream is not None
    return played.upstream.body


def client(played: Played) -> HttpResponse:
    assert played.client is not None
    return played.client


@WIRES
@pytest.mark.parametrize("sized", [True, False])
def test_an_edit_in_arguments_is_seen_by_the_server_and_every_other_byte_stays(wire: Any, sized: bool) -> None:
    book = rulebook_of(InRequests(Replace("secret", '"!')), limits=Limits(envoy_buffer=10_000 if sized else 1))
    played = pass_through(book, called(wire=wire), DONE, cut=in_pieces)
    changed = SOURCE.replace("s\\u0065cret", '\\"!').replace('"secret"', '"\\"!"')
    assert upstream(played) == called(changed, wire).body
    assert played.upstream is not None
    length = str(len(upstream(played))) if sized else None
    assert played.upstream.headers.get("content-length") == length
    assert played.upstream.headers.get("mcp-name") == wire.get("mcp-name")


@WIRES
def test_a_denied_call_is_answered_with_its_id_and_never_reaches_the_server(wire: Any) -> None:
    played = pass_through(rulebook_of(DenyWord("a secret")), called(wire=wire), DONE)
    assert played.upstream is None
    told = client(played).json
    assert (told["id"], told["error"]["data"]["reason"]) == (1, "word-not-allowed")
    assert told["error"]["message"] == "this may not be said"
    assert played.trail.outcome == "refused"


class Watching(Base):
    """Observes every text, of both directions."""

    def __init__(self) -> None:
        super().__init__("watching")
        self.shown: list[tuple[Channel, str]] = []

    def on_text(self, text: TextWindow, ctx: Context[Any]) -> None:
        assert text.closed
        self.shown.append((text.channel, text.text))


def test_each_string_of_the_arguments_and_each_text_of_the_result_is_shown() -> None:
    watching = Watching()
    value = {"content": BLOCKS, "structuredContent": {"rows": ["a secret", 5]}}
    pass_through(rulebook_of(watching), called(), response(result(value)))
    name, there, back = ChannelKind.NAME, Direction.REQUEST, Direction.RESPONSE
    model, tool = Role.ASSISTANT, Role.TOOL
    assert watching.shown == [
        (Channel(name, 0, 0, there, model, "", 0), "q"),
        (Channel(ChannelKind.TOOL_ARGUMENTS, 0, 0, there, model, "/q", 1), "a secret"),
        (Channel(name, 0, 0, there, model, "", 2), "n"),
        (Channel(name, 0, 0, there, model, "", 3), "all"),
        (Channel(ChannelKind.TOOL_ARGUMENTS, 0, 0, there, model, "/all/0", 4), "x"),
        (Channel(name, 0, 0, there, model, "/all/1", 5), "deep"),
        (Channel(ChannelKind.TOOL_ARGUMENTS, 0, 0, there, model, "/all/1/deep", 6), "secret"),
        (Channel(ChannelKind.CONTENT, 0, 0, back, tool), "a secret"),
        (Channel(ChannelKind.CONTENT, 0, 1, back, tool), "secret file"),
        (Channel(name, 0, 2, back, tool, "", 0), "rows"),
        (Channel(ChannelKind.CONTENT, 0, 2, back, tool, "/rows/0", 1), "a secret"),
    ]


@pytest.mark.parametrize("streamed", [False, True], ids=["JSON", "a stream"])
@pytest.mark.parametrize("sized", [True, False])
def test_a_result_is_edited_wherever_it_repeats_itself(streamed: bool, sized: bool) -> None:
    value = result({"content": BLOCKS, "structuredContent": {"a": "a secret"}, "_meta": {"x": "secret"}})
    progress = {"jsonrpc": "2.0", "method": "notifications/progress", "params": {"message": "secret"}}
    plain = events(progress, value) if streamed else response(value, sized=sized)
    played = pass_through(rulebook_of(Replace("secret", "*")), call_without_text(), plain)
    expected = plain.body
    for text in (b'"text":"a secret"', b'"text":"secret file"', b'"structuredContent":{"a":"a secret"}'):
        assert text in expected
        expected = expected.replace(text, text.replace(b"secret", b"*"))
    assert client(played).body == expected
    assert played.trail.outcome == "ok"


def call_without_text() -> HttpRequest:
    return request(call("search"))


@pytest.mark.parametrize("streamed", [False, True], ids=["JSON", "a stream"])
def test_a_denied_result_is_an_error_with_the_calls_id(streamed: bool) -> None:
    value = result({"content": [{"type": "text", "text": "a secret"}]})
    plain = events(value) if streamed else response(value)
    played = pass_through(rulebook_of(DenyWord("secret")), call_without_text(), plain)
    told = client(played).json if not streamed else msgspec.json.decode(client(played).body.split(b"data: ")[1])
    assert (told["id"], told["error"]["data"]["reason"]) == (1, "word-not-allowed")
    assert b"secret" not in client(played).body
    assert played.trail.outcome == "refused"


def test_a_resource_and_a_prompt_are_texts_too() -> None:
    asked = {"jsonrpc": "2.0", "id": 1, "method": "resources/read", "params": {"uri": "x:"}}
    read = response(result({"contents": [{"uri": "x:", "text": "a secret"}, {"uri": "y:", "blob": "c2VjcmV0"}]}))
    played = pass_through(rulebook_of(Replace("secret", "*")), request(asked), read)
    assert client(played).body == read.body.replace(b"a secret", b"a *")
    asked = {
        "jsonrpc": "2.0",
        "id": 1,
        "method": "prompts/get",
        "params": {"name": "p", "arguments": {"q": "a secret"}},
    }
    said = {"messages": [{"role": "user", "content": {"type": "text", "text": "a secret"}}]}
    watching = Watching()
    played = pass_through(rulebook_of(Replace("secret", "*"), watching), request(asked), response(result(said)))
    assert msgspec.json.decode(upstream(played))["params"]["arguments"] == {"q": "a *"}
    assert client(played).json["result"]["messages"][0]["content"]["text"] == "a *"
    assert [(channel.kind, channel.role) for channel, _ in watching.shown] == [
        (ChannelKind.NAME, Role.USER),
        (ChannelKind.CONTENT, Role.USER),
        (ChannelKind.CONTENT, Role.USER),
    ]


def test_of_a_batch_each_call_has_its_own_verdict_and_its_own_edits() -> None:
    sent = request([call("a", {"q": "secret"}, 1), call("b", {"q": "forbidden"}, 2), call("c", {"q": "x"}, 3)])
    sent.headers["mcp-protocol-version"] = "2025-03-26"
    answer = response([result({"content": []}, 1), result({"content": []}, 3)])
    played = pass_through(rulebook_of(Replace("secret", "*"), DenyWord("forbidden")), sent, answer)
    assert [(m["id"], m["params"]["arguments"]) for m in msgspec.json.decode(upstream(played))] == [
        (1, {"q": "*"}),
        (3, {"q": "x"}),
    ]
    assert {m["id"]: "error" in m for m in client(played).json} == {1: False, 2: True, 3: False}


@pytest.mark.parametrize(
    "value",
    [
        {"content": [{"type": "text", "text": 5}]},
        {"content": [{"type": "resource", "resource": {"uri": "x:", "Text": "secret"}}]},
        {"contents": "secret"},
        {"messages": [{"role": "user", "Content": {}}]},
        {"messages": [{"role": "user", "content": "secret"}]},
    ],
)
def test_what_should_be_text_and_is_not_is_refused_where_text_is_governed(value: Any) -> None:
    asked = call("search") if "content" in value else {"jsonrpc": "2.0", "id": 1, "method": "x/y"}
    played = pass_through(rulebook_of(InAnswers(Nothing())), request(asked), response(result(value)))
    assert client(played).json["error"]["data"]["reason"] in ("mcp-result-invalid", "ambiguous-key")
    plain = response(result(value))
    observed = pass_through(rulebook_of(Counter()), request(asked), plain)
    assert client(observed).body == plain.body


def test_lists_and_what_holds_no_text_are_neither_shown_nor_held() -> None:
    watching = Watching()
    asked = {"jsonrpc": "2.0", "id": 1, "method": "tools/list"}
    listed = response(result({"tools": [{"name": "secret", "description": "secret", "inputSchema": {}}]}), sized=False)
    played = pass_through(rulebook_of(DenyWord("secret"), watching, read_answers=False), request(asked), listed)
    assert client(played).body == listed.body
    assert watching.shown == []
    assert "outcome" not in played.metadata or played.trail.outcome == "ok"


def test_a_policy_for_other_kinds_of_text_is_not_asked() -> None:
    refusals = only(DenyWord("secret"), frozenset({ChannelKind.REFUSAL}))
    played = pass_through(rulebook_of(refusals), called(), response(result({"content": BLOCKS})))
    assert upstream(played) == called().body
    assert [entry for entry in played.trail.entries if entry.policy == "deny-word"] == []


class Adds(Base):
    """Puts an argument into every call."""

    def on_request(self, message: ToolCall, ctx: Context[Any]) -> Verdict:
        arguments = {**message.arguments, "added": "a secret"}
        return Mutation(message=message.with_params({**message.params, "arguments": arguments}))


def test_texts_are_those_of_the_call_as_its_own_policies_left_it() -> None:
    played = pass_through(rulebook_of(Replace("secret", "*"), Adds("adds")), called(), DONE)
    arguments = msgspec.json.decode(upstream(played))["params"]["arguments"]
    assert arguments == {"q": "a *", "n": 1.5, "all": ["x", {"deep": "*"}], "added": "a *"}


def test_shadow_and_observing_policies_change_nothing() -> None:
    value = response(result({"content": BLOCKS, "structuredContent": {"secret": "secret"}}))
    shadows = [Binding(Replace("secret", "*"), enforce=False), Binding(DenyWord("secret"), enforce=False)]
    played = pass_through(rulebook_of(*shadows, Watching()), called(), value)
    assert upstream(played) == called().body
    assert client(played).body == value.body


strings = st.text(st.sampled_from('aabb ."\\\n😀'), max_size=8)
names = st.text("xyz", max_size=3)


def edited(value: Any, policies: Sequence[Replace]) -> list[str]:
    return [text if is_name else merged(text, policies) for _, is_name, text in strings_in(value)]


@given(st.data(), values(strings, names), values(strings, names), st.lists(st.integers(0, 10_000), max_size=10))
@settings(max_examples=300, deadline=None)
def test_any_cutting_and_any_order_edits_each_string_of_a_call_and_its_result(
    data: st.DataObject, arguments: Any, structured: Any, where: list[int]
) -> None:
    pair = [Replace("ab", '*"', "one"), Replace("ba", "++", "other")]
    turned, streamed = data.draw(st.booleans()), data.draw(st.booleans())
    if turned:
        pair.reverse()
    limits = Limits(envoy_buffer=1, decision=60.0)
    sent = called(data.draw(written(arguments)), sized=data.draw(st.booleans()))
    value = result({"content": [{"type": "text", "text": 'ab"a'}], "structuredContent": structured})
    plain = events(value) if streamed else response(value, sized=False)
    one = pass_through(rulebook_of(*map(only, pair), limits=limits), sent, plain)
    other = pass_through(
        rulebook_of(*map(only, pair), limits=limits), sent, plain, cut=lambda body: cut_at(body, where)
    )
    assert seen(other) == seen(one)
    assert upstream(other) == upstream(one)
    went = msgspec.json.decode(upstream(one))["params"]["arguments"]
    assert [text for _, _, text in strings_in(went)] == edited(arguments, pair)
    came = client(one).body
    answered = json.loads(came.split(b"data: ")[1] if streamed else came)["result"]
    # Answers are asked about in reverse.
    assert [text for _, _, text in strings_in(answered["structuredContent"])] == edited(structured, pair[::-1])
    assert answered["content"][0]["text"] == merged('ab"a', pair[::-1])
    idle = rulebook_of(only(Replace("c", "d"), VALUES), Sentences(), limits=limits)
    untouched = pass_through(idle, sent, plain)
    assert (upstream(untouched), client(untouched).body) == (sent.body, plain.body)
