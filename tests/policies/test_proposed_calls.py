"""tool-access over calls that models propose: one list of rules for both worlds, in every format, at any cutting.

Not here: formats' answers and what clients find in them (proposing.py).
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ext_proc.engine.pipeline import Binding, Pipeline
from ext_proc.messages import Completion
from ext_proc.messages.proposals import MAX_CALLS
from ext_proc.testing import Played, call, pass_through, play, request, response, rulebook_of
from ext_proc.trail import Stage
from gatehouse_policies.tool_access import Parameters, ToolAccess
from tests.exchange.test_cutting import seen
from tests.exchange.text_policies import DenyAt, Replace
from tests.policies.proposing import WAYS, Call, answered
from tests.unit.codecs import anthropic_building as a
from tests.unit.codecs import gemini_building as g
from tests.unit.codecs import openai_building as o
from tests.unit.codecs import openai_responses_building as r

SEARCH: Call = ("search", {"q": "grüße"})
READ: Call = ("docs.read", {"page": 2})
DELETE: Call = ("delete_all", {"path": "/"})
RULES: list[dict[str, Any]] = [
    {"tools": ["search", "docs.*"], "allow": True},
    {"tools": ["delete_*"], "allow": "'admin' in identity.groups", "message": "deleting needs the admin group"},
]
PAGES: list[dict[str, Any]] = [{"tools": ["read"], "allow": "args.page < 3"}]
LOW: Call = ("read", {"page": 2})
HIGH: Call = ("read", {"page": 7})
ADMIN = {"sub": "ann", "groups": ["admin"]}
ENDINGS = ("content_filter", "refusal", "incomplete", "PROHIBITED_CONTENT")
every = pytest.mark.parametrize("name", WAYS)
streamed = pytest.mark.parametrize("name", [name for name, way in WAYS.items() if way.streams])


def policy(proposals: str, rules: list[dict[str, Any]] | None = None, default: str = "deny") -> ToolAccess:
    written = {"default": default, "rules": RULES if rules is None else rules, "proposals": proposals}
    return ToolAccess("access", Parameters.model_validate(written))


def body_of(played: Played) -> bytes:
    assert played.client is not None
    return played.client.body


def judged(name: str, proposals: str, *calls: Call, rules: Any = None, default: str = "deny", **options: Any) -> Played:
    way = WAYS[name]
    return answered(way, way.says(calls), policy(proposals, rules, default), **options)


def found(name: str, played: Played) -> tuple[list[Call], str]:
    return WAYS[name].found(body_of(played))


def reasons(played: Played) -> set[str]:
    return {entry.reason for entry in played.trail.entries if entry.reason}


@every
def test_by_default_nobody_looks_and_every_byte_passes(name: str) -> None:
    body = WAYS[name].says([DELETE])
    played = answered(WAYS[name], body, ToolAccess("access", Parameters.model_validate({"rules": RULES})))
    assert body_of(played) == body
    assert "proposals_denied" not in played.trail.facts


@every
@pytest.mark.parametrize("proposals", ["deny", "strip", "mark"])
def test_what_the_rules_allow_passes_byte_for_byte(name: str, proposals: str) -> None:
    played = judged(name, proposals, SEARCH, READ)
    assert body_of(played) == WAYS[name].says([SEARCH, READ])
    assert "proposals_denied" not in played.trail.facts
    assert body_of(judged(name, proposals)) == WAYS[name].says([])
    assert body_of(judged(name, proposals, DELETE, claims=ADMIN)) == WAYS[name].says([DELETE])


@every
def test_denied_no_call_reaches_the_client_and_the_answer_ends_as_its_format_ends(name: str) -> None:
    played = judged(name, "deny", DELETE)
    assert played.trail.outcome == "refused"
    assert played.trail.denied is not None
    assert played.trail.denied.reason == "proposal-not-allowed"
    assert played.trail.facts["proposals_denied"] == 1
    body = body_of(played)
    assert b"delete_all" not in body
    assert played.client is not None
    if played.client.status == 403:
        assert json.loads(body)["error"]["message"] == "deleting needs the admin group"
        assert not WAYS[name].streams
    else:
        calls, finish = found(name, played)
        assert calls == []
        assert finish in ENDINGS


@streamed
def test_denied_in_a_stream_what_stood_before_has_left_and_what_follows_has_not(name: str) -> None:
    played = judged(name, "deny", SEARCH, DELETE, READ)
    body = body_of(played)
    assert b"hello" in body
    assert b"docs.read" not in body
    assert b"delete_all" not in body


@every
@pytest.mark.parametrize(
    "calls", [[DELETE], [DELETE, SEARCH], [SEARCH, DELETE, READ], [DELETE, DELETE], [SEARCH, DELETE, DELETE, READ]]
)
def test_stripped_the_other_calls_are_what_the_client_finds(name: str, calls: list[Call]) -> None:
    played = judged(name, "strip", *calls)
    left = [each for each in calls if each != DELETE]
    assert found(name, played) == (left, WAYS[name].ended[0 if left else 1])
    assert b"delete_all" not in body_of(played)
    assert b"hello" in body_of(played)
    assert played.trail.facts["proposals_denied"] == calls.count(DELETE)
    assert "stripped: rules[1]" in reasons(played)


@every
def test_marked_every_byte_passes_and_the_trail_says_so(name: str) -> None:
    played = judged(name, "mark", SEARCH, DELETE)
    assert body_of(played) == WAYS[name].says([SEARCH, DELETE])
    assert played.trail.facts["proposals_denied"] == 1
    assert "marked: rules[1]" in reasons(played)


@every
def test_what_no_rule_names_falls_to_the_default(name: str) -> None:
    assert found(name, judged(name, "strip", ("other", {})))[0] == []
    assert found(name, judged(name, "strip", ("other", {}), default="allow"))[0] == [("other", {})]


@every
@pytest.mark.parametrize("calls", [[LOW, HIGH], [HIGH, LOW], [HIGH], [HIGH, LOW, HIGH, LOW]])
def test_a_condition_over_arguments_decides_also_where_they_stream(name: str, calls: list[Call]) -> None:
    left = [each for each in calls if each == LOW]
    stripped = judged(name, "strip", *calls, rules=PAGES)
    assert found(name, stripped) == (left, WAYS[name].ended[0 if left else 1])
    assert stripped.trail.facts["proposals_denied"] == calls.count(HIGH)
    assert body_of(judged(name, "mark", *calls, rules=PAGES)) == WAYS[name].says(calls)
    assert body_of(judged(name, "deny", LOW, LOW, rules=PAGES)) == WAYS[name].says([LOW, LOW])
    assert found(name, judged(name, "strip", ("read", {}), rules=PAGES))[0] == []


@streamed
def test_denied_for_its_arguments_no_piece_of_a_call_has_left(name: str) -> None:
    played = judged(name, "deny", LOW, ("read", {"page": 777}), LOW, rules=PAGES)
    body = body_of(played)
    assert b"777" not in body
    assert b"hello" in body
    calls, finish = found(name, played)
    assert calls == [LOW]
    assert finish in ENDINGS
    assert played.trail.denied is not None
    assert played.trail.denied.reason == "proposal-not-allowed"


@every
def test_rules_of_another_server_say_nothing_and_annotations_allow_nothing(name: str) -> None:
    rules = [{"servers": ["claude"], "tools": ["search"], "allow": True}]
    assert found(name, judged(name, "strip", SEARCH, rules=rules, server="claude"))[0] == [SEARCH]
    assert found(name, judged(name, "strip", SEARCH, rules=rules, server="gpt"))[0] == []
    annotated = [{"tools": ["search"], "allow": True, "unless_annotated": ["destructive"]}]
    assert found(name, judged(name, "strip", SEARCH, rules=annotated))[0] == []


@every
def test_text_policies_edit_what_stays_where_it_then_stands(name: str) -> None:
    secret = ("search", {"q": "a secret"})
    played = answered(
        WAYS[name], WAYS[name].says([DELETE, secret]), policy("strip"), Replace("secret", "***"), where=[50, 400]
    )
    assert found(name, played)[0] == [("search", {"q": "a ***"})]


@streamed
def test_an_answer_that_is_stopped_within_a_call_that_was_taken_out_ends_cleanly(name: str) -> None:
    played = answered(
        WAYS[name], WAYS[name].says([("delete_all", {"path": "/a/long/one"}), SEARCH]), policy("strip"), DenyAt(8)
    )
    assert played.trail.outcome == "refused"
    calls, finish = found(name, played)
    assert (calls, finish in ENDINGS) == ([], True)


HOSTED: Mapping[str, bytes] = {
    "anthropic": o.encoded(
        a.whole({"type": "server_tool_use", "id": "srvtoolu_1", "name": "web_search", "input": {}}, a.text("found"))
    ),
    "responses": o.encoded(
        r.answer(
            {"id": "ws_1", "type": "web_search_call", "status": "completed"},
            {"id": "mcp_1", "type": "mcp_call", "name": "delete_all", "server_label": "x", "arguments": "{}"},
            {
                "id": "sh_1",
                "type": "shell_call",
                "action": {"commands": ["ls"]},
                "environment": {"type": "container_reference", "container_id": "c"},
            },
            r.says("found"),
        )
    ),
    "gemini": o.encoded(g.answer(g.candidate({"toolCall": {"toolType": "x", "args": {}}}, {"text": "found"}))),
}


@pytest.mark.parametrize("name", HOSTED)
def test_what_the_provider_runs_itself_is_no_proposal(name: str) -> None:
    played = answered(WAYS[name], HOSTED[name], policy("deny", []))
    assert body_of(played) == HOSTED[name]


@pytest.mark.parametrize(
    ("type", "tool"),
    [
        ("local_shell_call", "local_shell"),
        ("shell_call", "shell"),
        ("computer_call", "computer"),
        ("apply_patch_call", "apply_patch"),
    ],
)
def test_what_openai_names_itself_and_the_client_runs_is_known_by_its_kind(type: str, tool: str) -> None:
    item = {"id": "x_1", "type": type, "call_id": "c", "status": "completed", "action": {"type": "exec"}}
    body = o.encoded(r.answer(item))
    way = WAYS["responses"]
    assert body_of(answered(way, body, policy("strip", [{"tools": [tool], "allow": True}]))) == body
    (left,) = json.loads(body_of(answered(way, body, policy("strip"))))["output"]
    assert left["type"] == "message"


def test_a_custom_tool_is_known_by_its_name_and_its_input() -> None:
    call = {"id": "call_1", "type": "custom", "custom": {"name": "run", "input": "rm"}}
    body = o.encoded(o.whole({"role": "assistant", "content": None, "tool_calls": [call]}, finish="tool_calls"))
    allowed = [{"tools": ["run"], "allow": "args.input == 'rm'"}]
    assert body_of(answered(WAYS["chat"], body, policy("strip", allowed))) == body
    choice = json.loads(body_of(answered(WAYS["chat"], body, policy("strip"))))["choices"][0]
    assert (choice["message"].get("tool_calls"), choice["finish_reason"]) == (None, "stop")


def test_the_older_function_call_is_a_proposal_too() -> None:
    called = {"name": "delete_all", "arguments": "{}"}
    body = o.encoded(o.whole({"role": "assistant", "content": None, "function_call": called}, finish="function_call"))
    choice = json.loads(body_of(answered(WAYS["chat"], body, policy("strip"))))["choices"][0]
    assert ("function_call" in choice["message"], choice["finish_reason"]) == (False, "stop")
    parts = [{"function_call": {"name": "delete_all"}}, {"function_call": {"arguments": "{}"}}]
    stream = o.stream(*map(o.chunk, parts), o.chunk(finish="function_call"))
    left = body_of(answered(WAYS["chat streamed"], stream, policy("strip")))
    assert b'"function_call"' not in left
    assert b'"stop"' in left


@pytest.mark.parametrize("proposals", ["deny", "strip"])
def test_a_name_that_goes_on_in_the_next_piece_ends_the_answer(proposals: str) -> None:
    pieces = [("search", ""), ("_and_delete", "{}")]
    values = [
        o.chunk({"tool_calls": [{"index": 0, "id": "c", "function": {"name": name, "arguments": text}}]})
        for name, text in pieces
    ]
    played = answered(WAYS["chat streamed"], o.stream(*values, o.chunk(finish="tool_calls")), policy(proposals))
    assert played.trail.denied is not None
    assert played.trail.denied.reason == "proposal-ambiguous"
    assert b"_and_delete" not in body_of(played)


def test_pieces_that_come_before_any_name_are_of_no_call_that_was_kept() -> None:
    early = o.chunk({"tool_calls": [{"index": 0, "function": {"arguments": '{"path"'}}]})
    named = o.chunk({"tool_calls": [{"index": 0, "id": "c", "function": {"name": "delete_all", "arguments": ": 1}"}}]})
    played = answered(WAYS["chat streamed"], o.stream(early, named, o.chunk(finish="tool_calls")), policy("strip"))
    assert found("chat streamed", played) == ([], "stop")
    assert b"path" not in body_of(played)


def test_geminis_other_spelling_hides_no_call() -> None:
    part = {"function_call": {"name": "delete_all", "args": {}}}
    for body in (g.answer(g.candidate(part)), g.answer({"content": {"parts": part}})):
        left = body_of(answered(WAYS["gemini"], o.encoded(body), policy("strip")))
        assert b"delete_all" not in left
        assert b"taken out" in left


def test_geminis_pieces_of_a_call_go_with_the_call_that_they_are_of() -> None:
    def going_on(name: str) -> list[Any]:
        first = {"functionCall": {"name": name, "willContinue": True}}
        rest = {"functionCall": {"partialArgs": [{"jsonPath": "$.q", "stringValue": f"of {name}"}]}}
        return [g.answer(g.candidate(first)), g.answer(g.candidate(rest))]

    body = g.stream(*going_on("delete_all"), *going_on("search"), g.says("", "STOP"))
    left = body_of(answered(WAYS["gemini streamed"], body, policy("strip")))
    assert b"delete_all" not in left
    assert b"of search" in left


def test_calls_without_number_end_the_answer() -> None:
    listed = [{"id": str(n), "function": {"name": "search", "arguments": ""}} for n in range(MAX_CALLS // 4)]
    full = [{"role": "assistant", "content": None, "tool_calls": listed} for _ in range(4)]
    one = {"role": "assistant", "content": None, "tool_calls": listed[:1]}
    body = o.encoded(o.whole(*full, finish="tool_calls"))
    assert body_of(answered(WAYS["chat"], body, policy("deny"))) == body
    played = answered(WAYS["chat"], o.encoded(o.whole(*full, one, finish="tool_calls")), policy("deny"))
    assert played.trail.denied is not None
    assert played.trail.denied.reason == "proposals-too-many"


@pytest.mark.parametrize("name", [name for name, way in WAYS.items() if not way.streams])
@pytest.mark.parametrize("proposals", ["deny", "strip"])
def test_an_error_with_calls_beside_it_hides_none_of_them(name: str, proposals: str) -> None:
    body = o.encoded({**json.loads(WAYS[name].says([DELETE])), "error": {"message": "no", "type": "x", "code": 500}})
    played = answered(WAYS[name], body, policy(proposals))
    assert played.trail.facts["proposals_denied"] == 1
    assert b"delete_all" not in body_of(played)
    assert body_of(answered(WAYS[name], body, policy(proposals), claims=ADMIN)) == body


ANNOTATED = {"tools": ["wiki"], "allow": True, "unless_annotated": ["destructive"]}
READS = {"resources": ["file:///*"], "allow": "'admin' in identity.groups"}
LISTED = {"jsonrpc": "2.0", "id": 1, "method": "tools/list"}


@pytest.mark.parametrize("more", [[], [ANNOTATED], [READS], [ANNOTATED, READS]])
def test_whatever_else_rules_ask_for_answers_wait_only_where_calls_in_them_are_looked_at(more: list[Any]) -> None:
    rules = [*RULES, {"methods": ["tools/list"], "allow": True}, *more]
    for proposals in ("ignore", "deny", "strip", "mark"):
        pipeline = Pipeline([Binding(policy(proposals, rules))], lambda: 0.0)
        assert pipeline.wants(Stage.RESPONSE, (Completion,)) == (proposals != "ignore")
    assert found("chat", judged("chat", "strip", DELETE, SEARCH, rules=rules))[0] == [SEARCH]
    tools = [{"name": name, "inputSchema": {"type": "object"}} for name in ("search", "delete_all")]
    page = response({"jsonrpc": "2.0", "id": 1, "result": {"tools": tools}})
    played = pass_through(rulebook_of(policy("strip", rules)), request(LISTED), page)
    assert [tool["name"] for tool in json.loads(body_of(played))["result"]["tools"]] == ["search"]


def test_calls_of_mcp_obey_the_same_list() -> None:
    assert play(policy("strip"), call("search")).trail.denied is None
    denied = play(policy("strip"), call("delete_all")).trail.denied
    assert denied is not None
    assert denied.reason == "tool-not-allowed"


@given(
    st.sampled_from(list(WAYS)),
    st.sampled_from(["deny", "strip", "mark"]),
    st.lists(st.sampled_from([SEARCH, READ, DELETE, LOW, HIGH]), max_size=4),
    st.lists(st.integers(0, 5000), max_size=8),
    st.sampled_from([RULES, [*RULES, *PAGES]]),
)
@settings(max_examples=160, deadline=None)
def test_any_cutting_gives_the_same_bytes_and_the_same_trail(
    name: str, proposals: str, calls: list[Call], where: list[int], rules: list[Any]
) -> None:
    cut, whole = (judged(name, proposals, *calls, rules=rules, where=at) for at in (where, []))
    assert seen(cut) == seen(whole)
