"""tool-arguments over calls that models propose: by the schemas that requests offer, in every format, at any cutting.

Not here: arguments of MCP's calls (test_tool_arguments.py), what a request offers (unit/codecs/test_llm_offers.py).
"""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ext_proc.engine.pipeline import Binding, Pipeline
from ext_proc.messages import Completion, Generation
from ext_proc.testing import Played, call, play
from ext_proc.trail import Stage
from gatehouse_policies.tool_access import Parameters as Access
from gatehouse_policies.tool_access import ToolAccess
from gatehouse_policies.tool_arguments import Parameters, ToolArguments
from tests.exchange.test_cutting import seen
from tests.policies.proposing import WAYS, Call, answered, offered
from tests.unit.codecs import openai_building as o

PATHS = {
    "type": "object",
    "properties": {"path": {"type": "string", "pattern": "^/srv/"}, "limit": {"type": "integer", "minimum": 1}},
    "required": ["path"],
    "additionalProperties": False,
}
FUNCTIONS = {"read": PATHS, "now": {"type": "object", "additionalProperties": False}}
GOOD: Call = ("read", {"path": "/srv/a", "limit": 3})
BAD: Call = ("read", {"path": "/etc/passwd"})
NOW: Call = ("now", {})
ENDINGS = ("content_filter", "refusal", "incomplete", "PROHIBITED_CONTENT")
every = pytest.mark.parametrize("name", WAYS)


def policy(proposals: str, **parameters: Any) -> ToolArguments:
    return ToolArguments("shapes", Parameters.model_validate({"proposals": proposals, **parameters}))


def body_of(played: Played) -> bytes:
    assert played.client is not None
    return played.client.body


def judged(name: str, proposals: str, *calls: Call, functions: Any = FUNCTIONS, where: Any = (), **more: Any) -> Played:
    tools = offered(name, functions)
    return answered(WAYS[name], WAYS[name].says(calls), policy(proposals, **more), tools=tools, where=where)


def found(name: str, played: Played) -> tuple[list[Call], str]:
    return WAYS[name].found(body_of(played))


def denial(played: Played) -> str:
    assert played.trail.denied is not None
    return played.trail.denied.reason


@every
@pytest.mark.parametrize("proposals", ["deny", "strip", "mark"])
def test_calls_that_fit_pass_byte_for_byte(name: str, proposals: str) -> None:
    played = judged(name, proposals, GOOD, NOW, GOOD)
    assert body_of(played) == WAYS[name].says([GOOD, NOW, GOOD])
    assert "proposals_denied" not in played.trail.facts


@every
def test_denied_the_answer_ends_and_nothing_of_the_call_has_left(name: str) -> None:
    played = judged(name, "deny", BAD)
    assert (denial(played), played.trail.outcome) == ("proposal-arguments-invalid", "refused")
    assert b"passwd" not in body_of(played)
    if WAYS[name].streams:
        assert found(name, played)[0] == []
        assert found(name, played)[1] in ENDINGS
    else:
        said = json.loads(body_of(played))["error"]["message"]
        assert said == "the model proposed a call that does not fit: path: expected text that matches ^/srv/"


@every
@pytest.mark.parametrize("calls", [[BAD], [BAD, GOOD], [GOOD, BAD, NOW], [BAD, GOOD, BAD, NOW]])
def test_stripped_the_client_finds_the_calls_that_fit(name: str, calls: list[Call]) -> None:
    played = judged(name, "strip", *calls)
    left = [each for each in calls if each != BAD]
    assert found(name, played) == (left, WAYS[name].ended[0 if left else 1])
    assert b"passwd" not in body_of(played)
    assert played.trail.facts["proposals_denied"] == calls.count(BAD)


@every
def test_marked_every_byte_passes_and_it_is_counted(name: str) -> None:
    played = judged(name, "mark", GOOD, BAD)
    assert body_of(played) == WAYS[name].says([GOOD, BAD])
    assert played.trail.facts["proposals_denied"] == 1
    assert {entry.reason for entry in played.trail.entries} >= {"marked: arguments-invalid"}


@every
def test_a_function_that_was_not_offered_is_unknown(name: str) -> None:
    other: Call = ("other", {"path": "/srv/a"})
    assert denial(judged(name, "deny", other)) == "proposal-schema-unknown"
    assert body_of(judged(name, "deny", other, unknown_schema="allow")) == WAYS[name].says([other])


@every
def test_a_schema_that_cannot_be_used_is_unknown(name: str) -> None:
    functions = {"read": {"$ref": "https://example.com/schema"}}
    assert denial(judged(name, "deny", GOOD, functions=functions)) == "proposal-schema-unknown"
    assert found(name, judged(name, "deny", GOOD, functions=functions, unknown_schema="allow"))[0] == [GOOD]


@every
def test_the_bundles_schema_stands_in_the_place_of_the_requests_and_its_constraints_beside_it(name: str) -> None:
    lax = {"re*": {"type": "object"}}
    assert found(name, judged(name, "strip", BAD, schemas=lax))[0] == [BAD]
    narrow = {"*": {"properties": {"limit": {"maximum": 2}}}}
    assert found(name, judged(name, "strip", GOOD, ("read", {"path": "/srv/b"}), constraints=narrow))[0] == [
        ("read", {"path": "/srv/b"})
    ]
    assert found(name, judged(name, "strip", BAD, schemas=lax, constraints={"read": PATHS}))[0] == []


def test_a_function_that_is_offered_twice_must_fit_both() -> None:
    tools = [*offered("chat", {"read": {"type": "object"}}), *offered("chat", {"read": PATHS})]
    way = WAYS["chat"]
    for call_, left in ((GOOD, [GOOD]), (BAD, [])):
        assert way.found(body_of(answered(way, way.says([call_]), policy("strip"), tools=tools)))[0] == left


@pytest.mark.parametrize("text", ["[1]", '{"path": "/srv/a"', "no json", '{"path": "/srv/a", "path": "/etc"}'])
@pytest.mark.parametrize("streams", [True, False])
def test_arguments_that_are_no_object_fit_nothing(text: str, streams: bool) -> None:
    call_ = {"index": 0, "id": "c", "type": "function", "function": {"name": "read", "arguments": text}}
    values = [o.chunk({"tool_calls": [call_]}), o.chunk(finish="tool_calls")]
    body = o.stream(*values) if streams else o.encoded(o.whole({"role": "assistant", "tool_calls": [call_]}))
    way = WAYS["chat streamed" if streams else "chat"]
    for more in ({}, {"unknown_schema": "allow"}):
        played = answered(way, body, policy("deny", **more), tools=offered("chat", FUNCTIONS))
        assert denial(played) == "proposal-arguments-invalid"


def test_what_takes_too_long_to_check_fits_nothing() -> None:
    deep = {"type": "object", "properties": {"path": {"anyOf": [{"type": "number"}] * 2000}}}
    played = judged("chat", "deny", GOOD, functions={"read": deep}, limits={"steps": 1000})
    assert denial(played) == "proposal-arguments-too-complex"


@every
def test_two_policies_may_each_take_calls_out_of_one_answer(name: str) -> None:
    access = Access.model_validate({"rules": [{"tools": ["read"], "allow": "args.limit < 9"}], "proposals": "strip"})
    calls: list[Call] = [NOW, BAD, ("read", {"path": "/srv/b", "limit": 10}), GOOD]
    policies: list[Any] = [ToolAccess("access", access), policy("strip")]
    for order in (policies, policies[::-1]):
        played = answered(WAYS[name], WAYS[name].says(calls), *order, tools=offered(name, FUNCTIONS))
        assert found(name, played) == ([GOOD], WAYS[name].ended[0])
        assert played.trail.facts["proposals_denied"] == 3


@every
def test_in_shadow_every_byte_passes_and_the_trail_says_what_would_be(name: str) -> None:
    way = WAYS[name]
    body = way.says([BAD, GOOD])
    played = answered(way, body, Binding(policy("deny"), enforce=False), tools=offered(name, FUNCTIONS))
    assert body_of(played) == body
    assert "proposal-arguments-invalid" in {entry.reason for entry in played.trail.entries}


def test_answers_wait_only_where_calls_in_them_are_looked_at() -> None:
    for output in ("deny", "off"):
        for proposals in ("ignore", "deny"):
            pipeline = Pipeline([Binding(policy(proposals, output=output))], lambda: 0.0)
            looks = proposals != "ignore"
            assert pipeline.wants(Stage.RESPONSE, (Completion,)) == looks
            assert pipeline.wants(Stage.REQUEST, (Generation,)) == looks
            assert pipeline.wants_whole_calls == looks


@pytest.mark.parametrize("output", ["deny", "off"])
def test_calls_of_mcp_are_checked_all_the_same(output: str) -> None:
    shapes = policy("strip", output=output, schemas={"read": PATHS})
    assert play(shapes, call("read", {"path": "/srv/a"})).trail.denied is None
    denied = play(shapes, call("read", {"path": "/etc"})).trail.denied
    assert denied is not None
    assert denied.reason == "arguments-invalid"


@given(
    st.sampled_from(list(WAYS)),
    st.sampled_from(["deny", "strip", "mark"]),
    st.lists(st.sampled_from([GOOD, BAD, NOW]), max_size=4),
    st.lists(st.integers(0, 5000), max_size=8),
)
@settings(max_examples=120, deadline=None)
def test_any_cutting_gives_the_same_bytes_and_the_same_trail(
    name: str, proposals: str, calls: list[Call], where: list[int]
) -> None:
    assert seen(judged(name, proposals, *calls, where=where)) == seen(judged(name, proposals, *calls))
