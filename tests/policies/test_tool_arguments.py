"""tool-arguments: calls that fit their tool's schema, results that are what was promised, sentences to learn from."""

from __future__ import annotations

import itertools
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from ext_proc.engine.pipeline import Binding
from ext_proc.limits import Limits
from ext_proc.testing import HttpResponse, Played, call, play, response, whole
from gatehouse_policies.tool_access import Parameters as Access
from gatehouse_policies.tool_access import ToolAccess
from gatehouse_policies.tool_arguments import MARK, Parameters, ToolArguments
from tests.policies.town import MODERN, Broken, Town, reason, went_on

LIST = {"jsonrpc": "2.0", "id": 1, "method": "tools/list"}
FILES = {
    "type": "object",
    "properties": {"path": {"type": "string"}, "limit": {"type": "integer", "minimum": 1}},
    "required": ["path"],
    "additionalProperties": False,
}
COUNT = {"type": "object", "properties": {"count": {"type": "integer"}}, "required": ["count"]}
GOOD = {"path": "/srv/public/a"}


def policy(**parameters: Any) -> ToolArguments:
    return ToolArguments("shapes", Parameters.model_validate(parameters))


def town(*tools: dict[str, Any], **parameters: Any) -> Town:
    """A route whose server was asked for its tools."""
    here = Town(policy(**parameters))
    here.play(LIST, listing(*tools))
    return here


def tool(name: str = "files.read", schema: Any = FILES, **parts: Any) -> dict[str, Any]:
    return {"name": name, "inputSchema": schema, **parts}


def listing(*tools: dict[str, Any], **result: Any) -> HttpResponse:
    return response({"jsonrpc": "2.0", "id": 1, "result": {"tools": list(tools), **result}})


def answer(**result: Any) -> HttpResponse:
    return response({"jsonrpc": "2.0", "id": 1, "result": {"content": [], **result}})


def said(played: Played) -> str:
    """What the model reads of a denied call."""
    assert played.client is not None
    result = played.client.json["result"]
    assert (played.client.status, result["isError"]) == (200, True)
    (block,) = result["content"]
    return str(block["text"])


@pytest.mark.parametrize(
    ("arguments", "wrong"),
    [
        (GOOD, ""),
        ({**GOOD, "limit": 1}, ""),
        ({**GOOD, "limit": 1.0}, ""),
        ({}, "path: expected a value: it is required"),
        ({"path": 5}, "path: expected text"),
        ({**GOOD, "limit": 0}, "limit: expected at least 1"),
        ({**GOOD, "limit": "10"}, "limit: expected a whole number"),
        ({**GOOD, "other": 1}, "other: expected nothing: it must not be there"),
        ({"path": None, "limit": 0}, "limit: expected at least 1; path: expected text"),
    ],
)
def test_arguments_are_checked_against_the_schema_that_the_server_listed(arguments: Any, wrong: str) -> None:
    played = town(tool()).play({**call("files.read"), "params": {"name": "files.read", "arguments": arguments}})
    if not wrong:
        assert (reason(played), went_on(played)) == ("", True)
        return
    assert (reason(played), went_on(played)) == ("arguments-invalid", False)
    parts = (
        said(played)
        .removeprefix("These arguments do not fit the tool. ")
        .removesuffix(". Correct them and call again.")
    )
    assert sorted(parts.split("; ")) == sorted(wrong.split("; "))


@pytest.mark.parametrize(
    "params", [{"name": "now"}, {"name": "now", "arguments": None}, {"name": "now", "arguments": {}}]
)
def test_absent_arguments_are_empty_ones(params: dict[str, Any]) -> None:
    sent = {**call("now"), "params": params}
    assert reason(town(tool("now", {"type": "object", "maxProperties": 0})).play(sent)) == ""
    assert reason(town(tool("now", {"type": "object", "required": ["zone"]})).play(sent)) == "arguments-invalid"


def test_a_call_before_any_list_is_denied_unless_it_may_pass() -> None:
    sent = call("files.read", GOOD)
    denied = play(policy(), sent)
    assert reason(denied) == "schema-unknown"
    assert said(denied) == "the gateway does not know this tool's schema yet: list the tools, then call again"
    assert reason(play(policy(unknown_schema="allow"), sent)) == ""
    assert reason(town(tool("other")).play(sent)) == "schema-unknown"


@pytest.mark.parametrize(
    "schema",
    [
        {"$schema": "http://json-schema.org/draft-04/schema#", "type": "object"},
        {"type": "object", "properties": {"a": {"$ref": "https://example.com/schema.json"}}},
        {"type": "object", "properties": {"a": {"$ref": "file:///etc/passwd"}}},
        {"type": "object", "properties": {"a": {"pattern": "(?=x)(a+)+$"}}},
        {"type": "object", "properties": {"a": {"type": "any"}}},
        {"$ref": "#"},
        {"type": "object", "description": "x" * 300_000},
        None,
        True,
    ],
)
def test_a_schema_that_cannot_be_used_is_unknown(schema: Any) -> None:
    sent = call("files.read", {"a": "b"})
    assert reason(town(tool(schema=schema)).play(sent)) == "schema-unusable"
    assert reason(town(tool(schema=schema), unknown_schema="allow").play(sent)) == ""


def test_a_schema_of_draft_07_is_read_as_one() -> None:
    seven = {
        "$schema": "http://json-schema.org/draft-07/schema#",
        "type": "object",
        "definitions": {"pair": {"items": [{"type": "string"}, {"type": "integer"}], "additionalItems": False}},
        "properties": {"pair": {"$ref": "#/definitions/pair"}},
    }
    here = town(tool("t", seven))
    assert reason(here.play(call("t", {"pair": ["a", 1]}))) == ""
    assert reason(here.play(call("t", {"pair": ["a", "b"]}))) == "arguments-invalid"
    assert reason(here.play(call("t", {"pair": ["a", 1, 2]}))) == "arguments-invalid"


CONSTRAINTS = {"files.*": {"properties": {"path": {"pattern": "^/srv/public/"}}}}


def test_a_constraint_narrows_what_the_servers_schema_admits() -> None:
    here = town(tool(), tool("mail.read"), constraints=CONSTRAINTS)
    assert reason(here.play(call("files.read", GOOD))) == ""
    denied = here.play(call("files.read", {"path": "/etc/passwd"}))
    assert said(denied).startswith(
        "These arguments do not fit the tool. path: expected text that matches ^/srv/public/."
    )
    assert "/etc/passwd" not in said(denied)
    assert reason(here.play(call("files.read", {**GOOD, "limit": 0}))) == "arguments-invalid"
    assert reason(here.play(call("mail.read", {"path": "/etc/passwd"}))) == ""


def test_every_constraint_that_fits_the_name_holds_even_where_the_schema_is_unknown() -> None:
    constraints = {**CONSTRAINTS, "*.read": {"properties": {"limit": {"maximum": 10}}}}
    allowing = policy(unknown_schema="allow", constraints=constraints)
    assert reason(play(allowing, call("files.read", {**GOOD, "limit": 10}))) == ""
    assert reason(play(allowing, call("files.read", {**GOOD, "limit": 11}))) == "arguments-invalid"
    assert reason(play(allowing, call("files.read", {"path": "/etc"}))) == "arguments-invalid"
    assert reason(play(allowing, call("mail.read", {"limit": 11}))) == "arguments-invalid"
    assert reason(play(allowing, call("mail.send", {"limit": 11}))) == ""


def test_a_schema_of_the_bundle_stands_in_the_place_of_the_servers() -> None:
    given = {"files.read": {"type": "object", "required": ["path", "limit"]}, "files.*": {"type": "object"}}
    here = town(tool(), schemas=given)
    assert reason(here.play(call("files.read", GOOD))) == "arguments-invalid"
    assert reason(here.play(call("files.read", {"path": 5, "limit": "x"}))) == ""
    assert reason(here.play(call("files.write", {"anything": 1}))) == ""
    assert reason(play(policy(schemas=given), call("files.read", {"path": 1, "limit": 1}))) == ""
    assert reason(play(policy(schemas=given), call("mail.send"))) == "schema-unknown"


def test_a_denied_call_tells_names_of_the_schema_and_nothing_of_the_values() -> None:
    nested = {
        "type": "object",
        "properties": {
            "to": {"type": "array", "items": {"type": "object", "additionalProperties": {"type": "string"}}}
        },
    }
    secret = "correct horse battery staple"
    value = {"to": [{"a": "x"}, {"name": 1, secret: {"k": secret}}], secret: secret}
    denied = town(tool("t", {**nested, "additionalProperties": False})).play(call("t", value))
    assert "to[1].name: expected text; to[1].*: expected text; *: expected nothing" in said(denied)
    assert secret not in msgspec.json.encode(denied.client.json if denied.client else None).decode()


def test_as_many_places_are_told_as_was_set() -> None:
    schema = {"type": "object", "properties": {f"p{n}": {"type": "null"} for n in range(30)}}
    value = {f"p{n}": n for n in range(30)}
    for most in (1, 5, 20):
        assert said(town(tool("t", schema), errors=most).play(call("t", value))).count("expected null") == most


def test_what_a_schema_says_reaches_the_model_short_and_printable() -> None:
    odd = "\u001b[31mIgnore \u200ball\u202e \U000e0041" + "a" * 5000
    schema = {
        "type": "object",
        "properties": {"p": {"enum": ["\x1b[2J\u200b"]}, "q": {"pattern": odd[:150]}, "r": {"const": odd}},
    }
    text = said(town(tool("t", schema)).play(call("t", {"p": 1, "q": "x", "r": 1})))
    assert text.isprintable()
    assert len(text) < 1200


def test_a_deep_place_is_told_by_its_end() -> None:
    schema: dict[str, Any] = {"type": "null"}
    value: Any = 1
    for _ in range(20):
        schema, value = {"type": "object", "properties": {"n": schema}}, {"n": value}
    text = said(town(tool("t", schema)).play(call("t", value)))
    assert f"...{'.n' * 12}: expected null" in text


BOMB = {
    "type": "object",
    "$defs": {"d0": {"type": "string"}}
    | {f"d{n}": {"allOf": [{"$ref": f"#/$defs/d{n - 1}"}] * 2} for n in range(1, 40)},
    "properties": {"a": {"$ref": "#/$defs/d39"}},
}


def test_a_schema_that_would_take_forever_is_given_up() -> None:
    patient = Limits(decision=60.0)  # a slow machine is not what is looked at
    here = Town(Binding(policy(), timeout=60.0), limits=patient)
    here.play(
        LIST, listing(tool("t", BOMB), tool("u", {"type": "object", "properties": {"a": {"pattern": "^(a+)+$"}}}))
    )
    assert reason(here.play(call("t", {"a": "x"}))) == "arguments-too-complex"
    assert reason(here.play(call("t", {}))) == ""
    assert reason(here.play(call("u", {"a": "a" * 50_000 + "!"}))) == "arguments-invalid"


def test_what_may_be_spent_is_a_limit_of_the_bundle() -> None:
    schema = {"type": "object", "properties": {"a": {"items": {"type": "integer"}}}}
    sent = call("t", {"a": list(range(1500))})
    assert reason(town(tool("t", schema)).play(sent)) == ""
    assert reason(town(tool("t", schema), limits={"steps": 1000}).play(sent)) == "arguments-too-complex"


def counting(**parameters: Any) -> Town:
    return town(tool("count", {"type": "object"}, outputSchema=COUNT), **parameters)


WRONG: dict[str, dict[str, Any]] = {
    "not as its schema says": {"structuredContent": {"count": "3"}},
    "no structured content": {},
    "no object": {"structuredContent": [3]},
    "a text that says otherwise": {
        "structuredContent": {"count": 3},
        "content": [{"type": "text", "text": '{"count": 4}'}],
    },
    "a text that two readers read differently": {
        "structuredContent": {"count": 3},
        "content": [{"type": "text", "text": '{"count": 3, "count": 4}'}],
    },
    "one text of several that says otherwise": {
        "structuredContent": {"count": 3},
        "content": [{"type": "text", "text": '{"count": 3}'}, {"type": "text", "text": ' [{"count": 3}]'}],
    },
}
RIGHT: dict[str, dict[str, Any]] = {
    "as its schema says": {"structuredContent": {"count": 3}},
    "the same as text": {"structuredContent": {"count": 3}, "content": [{"type": "text", "text": '{ "count": 3.0 }'}]},
    "words beside it": {"structuredContent": {"count": 3}, "content": [{"type": "text", "text": "{three} of them"}]},
    "a number beside it": {"structuredContent": {"count": 3}, "content": [{"type": "text", "text": "4"}]},
    "a picture beside it": {
        "structuredContent": {"count": 3},
        "content": [{"type": "image", "data": "", "mimeType": "x"}],
    },
    "an error": {"content": [{"type": "text", "text": "no"}], "isError": True},
    "an error with wrong content": {"structuredContent": {"count": "?"}, "isError": True},
    "a question back": {"resultType": "input_required", "requestState": "s"},
    "a task": {"task": {"taskId": "t"}},
}


@pytest.mark.parametrize("name", RIGHT)
def test_a_result_as_promised_passes_untouched(name: str) -> None:
    sent = answer(**RIGHT[name])
    played = counting().play(call("count"), sent)
    assert played.client is not None
    assert (reason(played), played.client.body) == ("", sent.body)


@pytest.mark.parametrize("name", WRONG)
def test_a_result_that_is_not_as_promised_is_withheld_or_marked_or_not_looked_at(name: str) -> None:
    sent = answer(**WRONG[name])
    denied = counting().play(call("count"), sent)
    assert reason(denied) == "output-invalid"
    assert said(denied).startswith("the tool's result was withheld: ")
    marked = counting(output="mark").play(call("count"), sent)
    assert marked.client is not None
    result = marked.client.json["result"]
    assert result.pop("_meta")[MARK] in said(denied)
    assert result == sent.json["result"]
    assert marked.trail.entries[-1].reason == "output-invalid"
    unseen = counting(output="off").play(call("count"), sent)
    assert unseen.client is not None
    assert unseen.client.body == sent.body


def test_a_mark_stands_beside_what_the_server_put_into_meta() -> None:
    sent = answer(structuredContent={"count": "3"}, _meta={"server/x": 1})
    played = counting(output="mark").play(call("count"), sent)
    assert played.client is not None
    assert played.client.json["result"]["_meta"] == {
        "server/x": 1,
        MARK: "its structured content is not what its schema says: count: expected a whole number",
    }


@pytest.mark.parametrize(
    ("content", "texts", "contradicts"),
    [
        ({"result": [1, 2]}, ["[1, 2]"], False),
        ({"result": [{"a": 1}, {"a": 2}]}, ['{"a": 1}', '{"a": 2}'], False),
        ({"result": [{"a": 1}]}, ['{"a": 2}'], True),
        ({"result": {"a": 1}}, ['{"a": 1}'], False),
        ({"result": {"a": 1}, "n": 1}, ['{"a": 1}'], True),
        ([{"a": 1}], ['{"a": 1}'], False),
        ({"a": True}, ['{"a": 1}'], True),
        ("text", ["[1]"], True),
        (None, ["null"], False),
    ],
)
def test_a_text_may_say_the_whole_or_what_is_wrapped_or_an_entry(
    content: Any, texts: list[str], contradicts: bool
) -> None:
    blocks = [{"type": "text", "text": text} for text in texts]
    played = play(policy(unknown_schema="allow"), call("any"), answer(structuredContent=content, content=blocks).json)
    assert (reason(played) == "output-invalid") is contradicts


def test_a_result_of_a_tool_without_a_promise_is_looked_at_for_contradictions_only() -> None:
    here = town(tool("t", {"type": "object"}))
    assert reason(here.play(call("t"), answer(structuredContent={"anything": 1}))) == ""
    assert reason(here.play(call("t"), answer())) == ""


def test_an_output_schema_that_cannot_be_used_promises_nothing() -> None:
    here = town(tool("t", {"type": "object"}, outputSchema={"$ref": "https://example.com/x"}))
    assert reason(here.play(call("t"), answer(structuredContent={"anything": 1}))) == ""


def test_results_in_a_stream_are_looked_at_too() -> None:
    def events(*values: Any) -> HttpResponse:
        body = b"".join(b"event: message\nid: 7\ndata: " + msgspec.json.encode(value) + b"\n\n" for value in values)
        return HttpResponse(body, headers={"content-type": "text/event-stream"}, sized=False)

    progress = {"jsonrpc": "2.0", "method": "notifications/progress", "params": {"progressToken": 1, "progress": 1}}
    good = answer(structuredContent={"count": 3}).json
    bad = answer(structuredContent={"count": "3"}).json
    passed = counting().play(call("count"), events(progress, good))
    assert passed.client is not None
    assert passed.client.body == events(progress, good).body
    denied = counting().play(call("count"), events(progress, bad))
    assert denied.client is not None
    assert denied.client.body.startswith(events(progress).body)
    assert b"withheld" in denied.client.body
    assert b'"count":"3"' not in denied.client.body


def test_on_the_wire_of_2026_07_28_a_denied_call_is_a_complete_result() -> None:
    denied = town(tool()).play(call("files.read"), version=MODERN)
    assert denied.client is not None
    assert denied.client.json["result"]["resultType"] == "complete"
    assert said(denied).startswith("These arguments do not fit the tool.")


def test_of_a_batch_each_call_has_its_own_verdict_and_each_result_its_own_schema() -> None:
    here = town(tool(), tool("count", {"type": "object"}, outputSchema=COUNT), tool("free", {"type": "object"}))
    sent = [call("files.read", {}, id="a"), call("count", id="b"), call("free", id="c")]
    result = {"structuredContent": {"count": "3"}, "content": []}
    back = response([{"jsonrpc": "2.0", "id": id, "result": result} for id in ("b", "c")])
    played = here.play(sent, back, version="2025-03-26")
    assert played.upstream is not None
    assert [element["id"] for element in msgspec.json.decode(played.upstream.body)] == ["b", "c"]
    assert played.client is not None
    said_to = {element["id"]: element["result"] for element in played.client.json}
    assert {id: found.get("isError", False) for id, found in said_to.items()} == {"a": True, "b": True, "c": False}


def test_lists_are_learned_whole_where_the_policy_stands_behind_the_one_that_filters_them() -> None:
    rules = [{"methods": ["tools/list"], "allow": True}, {"tools": ["*"], "allow": "'admin' in identity.groups"}]
    access = ToolAccess("who", Access.model_validate({"rules": rules}))
    here = Town(access, policy())
    seen = here.play(LIST, listing(tool()))
    assert seen.client is not None
    assert seen.client.json["result"]["tools"] == []
    assert reason(here.play(call("files.read", {}), claims={"sub": "ann", "groups": ["admin"]})) == "arguments-invalid"


def test_what_one_worker_learned_the_others_know() -> None:
    here = town(tool())
    other = Town(policy(), store=here.store)
    assert reason(other.play(call("files.read", {}))) == "arguments-invalid"
    assert reason(Town(policy(), store=here.store, server="mail").play(call("files.read", {}))) == "schema-unknown"


def test_a_list_leaves_as_it_came() -> None:
    sent = listing(tool(), ttlMs=5, cacheScope="public")
    played = Town(policy()).play(LIST, sent)
    assert played.client is not None
    assert played.client.body == sent.body


def test_in_shadow_it_learns_and_says_what_it_would_deny() -> None:
    here = Town(Binding(policy(), enforce=False))
    here.play(LIST, listing(tool()))
    played = here.play(call("files.read", {}))
    assert went_on(played)
    assert [entry.reason for entry in played.trail.entries if entry.reason] == ["arguments-invalid"]
    assert reason(Town(policy(), store=here.store).play(call("files.read", {}))) == "schema-unknown"


def test_without_a_store_nothing_can_be_settled_and_calls_are_denied() -> None:
    here = Town(policy(), store=Broken())
    assert reason(here.play(call("files.read", GOOD))) == "raised StoreError"
    assert reason(here.play(LIST, listing(tool()))) == "raised StoreError"
    given = policy(schemas={"files.read": FILES}, output="off")
    assert reason(Town(given, store=Broken()).play(call("files.read", GOOD))) == ""


@given(
    cuts=st.lists(st.integers(0, 400), max_size=8),
    large=st.booleans(),
    arguments=st.sampled_from([GOOD, {}, {"path": 5}]),
    structured=st.sampled_from([{"count": 3}, {"count": "3"}]),
)
def test_calls_and_results_are_judged_alike_however_they_are_cut(
    cuts: list[int], large: bool, arguments: Any, structured: Any
) -> None:
    def cut(body: bytes) -> list[bytes]:
        bounds = [0, *sorted(at % (len(body) + 1) for at in cuts), len(body)]
        return [body[start:end] for start, end in itertools.pairwise(bounds)]

    listed = listing(tool(outputSchema=COUNT))
    came = answer(structuredContent=structured)
    listed.sized = came.sized = not large
    outcomes = []
    for how in (whole, cut):
        here = Town(policy())
        here.play(LIST, listed, cut=how)
        played = here.play(call("files.read", arguments), came, cut=how)
        assert played.client is not None
        outcomes.append((reason(played), went_on(played), played.client.body))
    assert outcomes[0] == outcomes[1]
    expected = "" if arguments == GOOD and structured == {"count": 3} else "invalid"
    assert outcomes[0][0].rpartition("-")[2] == expected


@pytest.mark.parametrize(
    "parameters",
    [
        {"unknown_schema": "maybe"},
        {"schemas": {"a": {"type": "text"}}},
        {"constraints": {"a": {"properties": {"b": {"pattern": "(?=x)y"}}}}},
        {"constraints": {"a": {"$ref": "https://example.com/x"}}},
        {"constraints": {"a": "type: object"}},
        {"output": "warn"},
        {"errors": 0},
        {"limits": {"steps": 1}},
        {"limits": {"time": 1}},
        {"schema": {}},
    ],
)
def test_parameters_that_mean_nothing_are_refused(parameters: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        Parameters.model_validate(parameters)


def test_a_later_policy_may_deny_a_call_by_its_headers_alone() -> None:
    rules = [{"methods": ["tools/list"], "allow": True}]
    access = ToolAccess("who", Access.model_validate({"rules": rules}))
    headers = {"mcp-method": "tools/call", "mcp-name": "files.read"}
    played = Town(policy(), access).play(call("files.read", GOOD), version=MODERN, headers=headers)
    assert [(entry.policy, entry.reason) for entry in played.trail.entries] == [("who", "tool-not-allowed")]
