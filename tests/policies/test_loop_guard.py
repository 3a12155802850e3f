"""loop-guard: caps per session, workflow, tool and minute; identical calls; chains of agents; whose workflow it is."""

from __future__ import annotations

import asyncio
import itertools
import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from ext_proc.engine.pipeline import Binding
from ext_proc.headers import Headers
from ext_proc.identity import from_claims
from ext_proc.messages import RequestHead, ToolCall
from ext_proc.policy import Context, Deny, Exchanged, NoParameters, Policy, Verdict
from ext_proc.stores.embedded import EmbeddedStore
from ext_proc.stores.store import Key, Write
from ext_proc.testing import Played, call, response
from ext_proc.trail import Trail
from gatehouse_policies.loop_guard import LoopGuard, Parameters
from gatehouse_policies.session_binding import Parameters as Sessions
from gatehouse_policies.session_binding import SessionBinding
from tests.policies.town import ANN, ANNS_AGENT, BOB, MODERN, OTHER_ANN, Broken, Interleaving, Town, reason, went_on

SEARCH = call("search", {"query": "a"})
LIST = {"jsonrpc": "2.0", "id": 1, "method": "tools/list"}
BY_HEADER = {"by": "header", "name": "x-workflow-id"}


def flow(id: str) -> dict[str, str]:
    """The header that names a workflow."""
    return {"x-workflow-id": id}


def policy(**parameters: Any) -> LoopGuard:
    return LoopGuard("loops", Parameters.model_validate(parameters))


def town(**parameters: Any) -> Town:
    return Town(policy(**parameters))


def said(played: Played) -> str:
    """What the model reads of a denied call."""
    assert played.client is not None
    (block,) = played.client.json["result"]["content"]
    return str(block["text"])


def count(here: Town, sent: Any, claims: Mapping[str, Any] | None = ANN, *, most: int = 20, **how: Any) -> int:
    """How many calls go on until one is denied."""
    for made in range(most):
        if reason(here.play(sent, claims=claims, **how)):
            return made
    return most


def different(here: Town, *tools: str, claims: Mapping[str, Any] | None = ANN, most: int = 20, **how: Any) -> int:
    """How many differing calls of these tools in turn go on until one is denied."""
    for number, tool in zip(range(most), itertools.cycle(tools or ("search",))):
        if reason(here.play(call(tool, {"n": number}), claims=claims, **how)):
            return number
    return most


@pytest.mark.parametrize("version", ["", MODERN])
def test_a_call_repeated_too_often_is_answered_with_a_result_that_the_model_reads(version: str) -> None:
    here = town(identical_calls=5)
    assert count(here, SEARCH, version=version) == 5
    denied = here.play({**SEARCH, "id": "six"}, claims=ANN, version=version)
    assert (reason(denied), went_on(denied)) == ("identical-calls", False)
    assert denied.client is not None
    assert (denied.client.status, denied.client.json["id"]) == (200, "six")
    result = denied.client.json["result"]
    assert result["isError"] is True
    (block,) = result["content"]
    said = "this call was made 5 times with the same arguments; use what it gave, or call something else"
    assert block == {"type": "text", "text": said}


def test_a_denied_call_counts_for_nothing() -> None:
    here = town(identical_calls=2, calls_per_session=4)
    assert count(here, SEARCH) == 2
    assert count(here, SEARCH, most=5) == 0
    assert different(here) == 2


def test_only_calls_of_tools_are_counted() -> None:
    here = town(calls_per_session=1, identical_calls=1, chain_depth=0)
    for _ in range(5):
        assert not reason(here.play(LIST, response({"jsonrpc": "2.0", "id": 1, "result": {"tools": []}}), ANNS_AGENT))
        assert not reason(here.play({"jsonrpc": "2.0", "method": "notifications/initialized"}, claims=ANN))
        assert not reason(here.play(None, claims=ANN, method="GET"))
    assert count(here, SEARCH) == 1


SAME = [
    b'{"query":"a","limit":10,"deep":{"x":1,"y":[1,2]}}',
    b'{ "limit": 10.0, "deep": {"y":[1.0,2],"x":1}, "query": "\\u0061" }',
    b'{"deep":{"x":1e0,"y":[1,20e-1]},"limit":10,"query":"a"}',
]
OTHER = [
    b'{"query":"a","limit":10,"deep":{"x":1,"y":[2,1]}}',
    b'{"query":"a","limit":11,"deep":{"x":1,"y":[1,2]}}',
    b'{"query":"a","limit":"10","deep":{"x":1,"y":[1,2]}}',
    b'{"query":"A","limit":10,"deep":{"x":1,"y":[1,2]}}',
    b'{"query":"a","limit":10,"deep":{"x":true,"y":[1,2]}}',
    b'{"query":"a","limit":10,"deep":{"x":1,"y":[1,2]},"more":null}',
    b"{}",
]


def written(arguments: bytes, tool: str = "search") -> bytes:
    return b'{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"%s","arguments":%s}}' % (
        tool.encode(),
        arguments,
    )


def test_equal_arguments_are_identical_however_they_are_written() -> None:
    here = town(identical_calls=len(SAME))
    for arguments in SAME:
        assert not reason(here.play(written(arguments), claims=ANN))
    for arguments in SAME:
        assert reason(here.play(written(arguments), claims=ANN)) == "identical-calls"
    for arguments in OTHER:
        assert not reason(here.play(written(arguments), claims=ANN))
    assert not reason(here.play(written(SAME[0], "find"), claims=ANN))


def test_calls_without_arguments_are_identical_to_calls_with_none() -> None:
    here = town(identical_calls=1)
    assert not reason(here.play(call("search"), claims=ANN))
    for params in ({"name": "search"}, {"name": "search", "arguments": None}, {"name": "search", "arguments": {}}):
        played = here.play({**SEARCH, "params": {**params, "_meta": {"progressToken": 7}}}, claims=ANN)
        assert reason(played) == "identical-calls"


def test_the_next_round_of_a_call_that_its_server_asked_about_is_another_call() -> None:
    here = town(identical_calls=1)
    for round_ in (
        {},
        {"requestState": "1"},
        {"requestState": "2"},
        {"requestState": "2", "inputResponses": {"a": {}}},
    ):
        assert not reason(here.play({**SEARCH, "params": {**SEARCH["params"], **round_}}, claims=ANN))


def test_other_calls_in_between_change_nothing() -> None:
    here = town(identical_calls=3)
    for _ in range(3):
        assert not reason(here.play(SEARCH, claims=ANN))
        assert not reason(here.play(call("read"), claims=ANN))
    assert reason(here.play(SEARCH, claims=ANN)) == "identical-calls"


def test_in_a_row_another_call_begins_a_new_row_if_it_goes_on() -> None:
    here = town(identical_calls=3, in_a_row=True, tools=[{"tools": ["read"], "calls_per_session": 1}])
    assert count(here, SEARCH) == 3
    assert not reason(here.play(call("read"), claims=ANN))
    assert count(here, SEARCH) == 3
    assert reason(here.play(call("read"), claims=ANN)) == "calls-per-session"
    assert count(here, SEARCH) == 0, "a denied call is none in between"
    assert count(here, call("find")) == 3
    assert count(here, SEARCH) == 3


def test_identical_calls_are_counted_in_their_session_and_for_their_principal() -> None:
    here = town(identical_calls=2)
    for claims in (ANN, BOB, OTHER_ANN, None):
        for session in ("one", "two"):
            assert count(here, SEARCH, claims, session=session) == 2
    assert count(here, SEARCH, ANNS_AGENT, session="one") == 0, "an agent counts as whom it acts for"


def test_in_a_workflow_identical_calls_are_counted_across_sessions() -> None:
    here = town(identical_calls=2, workflow=BY_HEADER)
    made = [reason(here.play(SEARCH, claims=ANN, session=f"s{n}", headers=flow("w"))) for n in range(3)]
    assert made == ["", "", "identical-calls"]
    assert count(here, SEARCH, headers=flow("w2")) == 2


def test_a_session_has_so_many_calls_and_its_principal_as_many_in_another() -> None:
    here = town(calls_per_session=4)
    assert different(here, session="one") == 4
    assert different(here, session="two") == 4
    assert different(here, claims=BOB, session="one") == 4
    denied = here.play(SEARCH, claims=ANN, session="one")
    assert said(denied) == "tools were called 4 times in this session; no other may be"


def test_where_there_is_no_session_the_workflow_stands_for_it_or_else_the_principal() -> None:
    here = town(calls_per_session=4, workflow=BY_HEADER)
    assert different(here, version=MODERN) == 4
    assert different(here, version=MODERN, headers=flow("w1")) == 4
    assert different(here, version=MODERN, headers=flow("w2")) == 4
    assert different(here, version=MODERN) == 0
    assert different(here, claims=BOB, version=MODERN) == 4
    denied = [here.play(SEARCH, claims=ANN, headers=headers) for headers in ({}, flow("w1"))]
    assert [said(played).partition(";")[0] for played in denied] == [
        "tools were called 4 times by this caller",
        "tools were called 4 times in this workflow",
    ]


def test_behind_session_binding_no_made_up_session_escapes_its_cap() -> None:
    sessions = SessionBinding("sessions", Sessions())
    here = Town(sessions, policy(calls_per_session=4))
    assert [reason(here.play(SEARCH, claims=ANN, session=f"made-up-{n}")) for n in range(3)] == ["session-unknown"] * 3


def test_a_workflow_has_so_many_calls_over_all_its_sessions() -> None:
    here = town(calls_per_workflow=5, workflow=BY_HEADER)
    made = [reason(here.play(call("t", {"n": n}), claims=ANN, session=f"s{n}", headers=flow("w"))) for n in range(7)]
    assert made == [""] * 5 + ["calls-per-workflow"] * 2
    assert different(here) == 20, "a call of no workflow has no such cap"


def test_a_tool_has_caps_of_its_own_beside_those_on_all() -> None:
    tools = [
        {"tools": ["delete_*"], "calls_per_session": 1},
        {"tools": ["status"], "identical_calls": 6},
        {"tools": ["*"], "calls_per_session": 3},
    ]
    here = town(calls_per_session=10, identical_calls=2, tools=tools)
    assert different(here, "delete_file") == 1
    assert different(here, "delete_user") == 1, "each tool by itself"
    assert count(here, call("status"), most=7) == 6
    assert count(here, call("search")) == 2
    assert reason(here.play(call("delete_user", {"x": 1}), claims=ANN)) == "calls-per-session"
    assert different(here, "a", "b", "c") == 0, "all of them together have their cap"


def test_a_minute_has_so_many_calls_whatever_the_session() -> None:
    here = town(calls_per_minute=3)
    made = [reason(here.play(call("t", {"n": n}), claims=ANN, session=f"s{n}")) for n in range(4)]
    assert made == ["", "", "", "calls-per-minute"]
    assert different(here, claims=BOB, most=3) == 3


class Clocked:
    """The hook called by itself, with a clock."""

    def __init__(self, **parameters: Any) -> None:
        self.policy = policy(**parameters)
        self.now = 1_000_000.0
        self.store = Interleaving(EmbeddedStore.in_memory(clock=lambda: self.now))

    def context(self, claims: Mapping[str, Any], headers: Headers) -> Context[None]:
        head = RequestHead("POST", "/mcp", "x", headers)
        exchanged = Exchanged(from_claims(claims), "tools", "mcp", head, Trail("t"), store=self.store, time=self.now)
        return Context(exchanged, None, "loops")

    async def ask(self, sent: Any = SEARCH, claims: Mapping[str, Any] = ANN, **headers: str) -> str:
        """Why a call is denied; "" if it is not."""
        return await self.ask_with(Headers.of(**headers), sent, claims)

    async def ask_with(self, headers: Headers, sent: Any = SEARCH, claims: Mapping[str, Any] = ANN) -> str:
        verdict = await self.policy.on_request(ToolCall(sent), self.context(claims, headers))
        return verdict.reason if isinstance(verdict, Deny) else ""


async def test_a_minute_and_a_window_end() -> None:
    minute, window = Clocked(calls_per_minute=2), Clocked(identical_calls=2, identical_within="10m")
    for clocked, seconds in ((minute, 60), (window, 600)):
        assert [await clocked.ask() for _ in range(3)][:2] == ["", ""]
        clocked.now += seconds - 1
        assert await clocked.ask()
        clocked.now += 2
        assert await clocked.ask() == ""


@pytest.mark.parametrize(
    "parameters",
    [
        {"identical_calls": 4},
        {"calls_per_minute": 4},
        {"calls_per_session": 4},
        {"identical_calls": 4, "in_a_row": True},
    ],
)
async def test_of_calls_at_the_same_time_no_more_go_on_than_the_cap_says(parameters: Mapping[str, Any]) -> None:
    clocked = Clocked(**parameters)
    made = await asyncio.gather(*(clocked.ask() for _ in range(20)))
    assert sorted(made).count("") == 4


async def test_of_two_principals_that_begin_a_workflow_at_the_same_time_one_gets_it() -> None:
    for _ in range(10):
        clocked = Clocked(workflow=BY_HEADER)
        made = await asyncio.gather(*(clocked.ask(claims=claims, x_workflow_id="w") for claims in (ANN, BOB)))
        assert sorted(made) == ["", "workflow-not-yours"]


async def test_a_workflow_that_is_used_stays_its_principals_and_one_that_is_not_is_free() -> None:
    clocked = Clocked(workflow=BY_HEADER, lifetime="24h")
    for _ in range(4):
        assert await clocked.ask(x_workflow_id="w") == ""
        clocked.now += 20 * 3600
        assert await clocked.ask(claims=BOB, x_workflow_id="w") == "workflow-not-yours"
    clocked.now += 5 * 3600
    assert await clocked.ask(claims=BOB, x_workflow_id="w") == ""
    assert await clocked.ask(x_workflow_id="w") == "workflow-not-yours"


async def test_a_caller_begins_so_many_workflows_and_others_are_not_concerned() -> None:
    clocked = Clocked(workflow=BY_HEADER, workflows_per_caller=3, lifetime="24h")
    made = [await clocked.ask(x_workflow_id=f"w{n}") for n in range(6)]
    assert made == [""] * 3 + ["workflows-too-many"] * 3
    assert [await clocked.ask(x_workflow_id=f"w{n}") for n in range(3)] == [""] * 3, "what it has goes on"
    assert await clocked.ask(claims=ANNS_AGENT, x_workflow_id="w6") == "workflows-too-many", "its agents are it"
    assert await clocked.ask(claims=BOB, x_workflow_id="w3") == "", "what was denied is nobody's"
    clocked.now += 24 * 3600
    assert await clocked.ask(x_workflow_id="w7") == ""


async def test_workflows_that_are_kept_alive_take_places_too() -> None:
    clocked = Clocked(workflow=BY_HEADER, workflows_per_caller=3, lifetime="24h")
    kept: set[str] = set()
    for day in range(8):
        for name in [*kept, *(f"w{day}-{n}" for n in range(3))]:
            if not await clocked.ask(x_workflow_id=name):
                kept.add(name)
        clocked.now += 20 * 3600
    free = [name for name in sorted(kept) if not await clocked.ask(claims=BOB, x_workflow_id=name)]
    assert len(kept) - len(free) <= 2 * 3


async def test_of_calls_that_begin_a_workflow_at_the_same_time_one_takes_a_place() -> None:
    clocked = Clocked(workflow=BY_HEADER, workflows_per_caller=4)
    assert await asyncio.gather(*(clocked.ask(x_workflow_id="w") for _ in range(3))) == [""] * 3
    assert [await clocked.ask(x_workflow_id=f"w{n}") for n in range(4)] == [""] * 3 + ["workflows-too-many"]


MADE_UP: dict[str, tuple[Mapping[str, Any], Callable[[int], Mapping[str, Any]], Callable[[int], dict[str, str]]]] = {
    "sessions": ({"calls_per_session": 9}, lambda n: SEARCH, lambda n: {"mcp-session-id": f"made-up-{n}"}),
    "calls": ({"identical_calls": 9}, lambda n: call("search", {"n": n}), lambda n: {}),
    "rows": ({"identical_calls": 9, "in_a_row": True}, lambda n: SEARCH, lambda n: {"mcp-session-id": f"m-{n}"}),
    "tools": ({"tools": [{"tools": ["*"], "calls_per_minute": 9}]}, lambda n: call(f"t{n}"), lambda n: {}),
}


@pytest.mark.parametrize(("caps", "sent", "headers"), MADE_UP.values(), ids=MADE_UP.keys())
@pytest.mark.parametrize("claims", [ANN, None], ids=["ann", "anonymous"])
def test_what_a_caller_makes_up_takes_so_much_room_and_no_more(
    caps: Mapping[str, Any],
    sent: Callable[[int], Mapping[str, Any]],
    headers: Callable[[int], dict[str, str]],
    claims: Mapping[str, Any] | None,
) -> None:
    noting = Noting()
    here = Town(policy(**caps, counters_per_caller=5), store=noting)
    made = [reason(here.play(sent(n), claims=claims, headers=headers(n))) for n in range(20)]
    assert made == [""] * 5 + ["counters-too-many"] * 15
    assert not reason(here.play(sent(0), claims=claims, headers=headers(0))), "what it has goes on"
    assert not reason(here.play(sent(0), claims=BOB, headers=headers(0))), "and others are not concerned"
    assert len({given.key for given in noting.given if isinstance(given, Write)}) <= 6


async def test_what_a_caller_began_long_ago_is_not_held_against_it() -> None:
    clocked = Clocked(identical_calls=9, identical_within="10m", counters_per_caller=2)
    for _ in range(3):
        made = [await clocked.ask(call("search", {"n": n})) for n in range(3)]
        assert made == ["", "", "counters-too-many"]
        clocked.now += 1201


def test_a_workflow_is_shared_with_the_agents_of_its_principal_and_with_nobody_else() -> None:
    here = town(calls_per_workflow=9, workflow=BY_HEADER)
    assert not reason(here.play(SEARCH, claims=ANN, headers=flow("w")))
    assert not reason(here.play(SEARCH, claims=ANNS_AGENT, headers=flow("w")))
    for thief in (BOB, OTHER_ANN, None):
        stolen = here.play(SEARCH, claims=thief, headers=flow("w"))
        assert (reason(stolen), went_on(stolen)) == ("workflow-not-yours", False)
        assert stolen.client is not None
        assert stolen.client.json["error"]["code"] == -31403, "no result: the model has no part in it"
    assert different(here, headers=flow("w")) == 7, "and nobody else's calls count in it"


TRACE = "0af7651916cd43dd8448eb211c80319c"
BY: dict[str, tuple[Mapping[str, Any], Mapping[str, str], Mapping[str, Any]]] = {
    "a header": (BY_HEADER, flow("w"), {}),
    "baggage": ({"by": "baggage", "name": "workflow.id"}, {"baggage": "a=1, workflow.id = w;ttl=3,b=2"}, {}),
    "an escape in baggage": ({"by": "baggage", "name": "workflow.id"}, {"baggage": "workflow.id=%77"}, {}),
    "_meta": ({"by": "meta", "name": "example.com/workflow"}, {}, {"_meta": {"example.com/workflow": "w"}}),
    "the trace": ({"by": "traceparent"}, {"traceparent": f"00-{TRACE}-b7ad6b7169203331-01"}, {}),
}


@pytest.mark.parametrize(("source", "headers", "params"), BY.values(), ids=BY.keys())
def test_a_workflow_is_named_where_the_bundle_says(
    source: Mapping[str, Any], headers: Mapping[str, str], params: Mapping[str, Any]
) -> None:
    here = town(calls_per_workflow=2, workflow={**source, "required": True})
    sent = {**SEARCH, "params": {**SEARCH["params"], **params}}
    assert reason(here.play(SEARCH, claims=ANN)) == "workflow-missing"
    made = [reason(here.play(sent, claims=ANN, session=f"s{n}", headers=headers)) for n in range(3)]
    assert made == ["", "", "calls-per-workflow"]
    assert reason(here.play(sent, claims=BOB, headers=headers)) == "workflow-not-yours"


def test_a_workflow_in_baggage_is_the_same_however_it_is_escaped() -> None:
    here = town(calls_per_workflow=3, workflow={"by": "baggage", "name": "w"})
    written_ = ["w=a%20b", "w=a b", "x=1, w = %61%20%62 ;p=1"]
    assert [reason(here.play(SEARCH, claims=ANN, headers={"baggage": one})) for one in written_] == ["", "", ""]
    assert reason(here.play(SEARCH, claims=ANN, headers={"baggage": written_[0]})) == "calls-per-workflow"


INVALID: dict[str, tuple[Mapping[str, Any], Mapping[str, str], Mapping[str, Any]]] = {
    "too long": (BY_HEADER, flow("w" * 257), {}),
    "empty": (BY_HEADER, flow(""), {}),
    "twice in baggage": ({"by": "baggage", "name": "w"}, {"baggage": "w=1,w=2"}, {}),
    "no text": ({"by": "meta", "name": "w"}, {}, {"_meta": {"w": 7}}),
}


@pytest.mark.parametrize(("source", "headers", "params"), INVALID.values(), ids=INVALID.keys())
def test_a_workflow_id_that_is_none_is_denied(
    source: Mapping[str, Any], headers: Mapping[str, str], params: Mapping[str, Any]
) -> None:
    here = town(workflow=source)
    sent = {**SEARCH, "params": {**SEARCH["params"], **params}}
    assert reason(here.play(sent, claims=ANN, headers=headers)) == "workflow-invalid"


async def test_two_headers_that_name_two_workflows_are_denied() -> None:
    both = Headers([("x-workflow-id", b"a"), ("x-workflow-id", b"b")])
    assert await Clocked(workflow=BY_HEADER).ask_with(both) == "workflow-invalid"


@pytest.mark.parametrize("traceparent", ["", "00-x", f"00-{'0' * 32}-b7ad6b7169203331-01", TRACE])
def test_a_trace_that_cannot_be_read_is_no_workflow(traceparent: str) -> None:
    here = town(calls_per_workflow=1, workflow={"by": "traceparent"})
    assert different(here, most=3, headers={"traceparent": traceparent}) == 3


def chain(length: int) -> dict[str, Any]:
    """A token of ann's that so many agents act on."""
    claims: dict[str, Any] = dict(ANN)
    for number in range(length):
        claims = {**ANN, "act": {"sub": f"agent-{number}", **({"act": claims["act"]} if "act" in claims else {})}}
    return claims


def test_a_chain_of_agents_is_only_so_long() -> None:
    here = town(chain_depth=2)
    assert [reason(here.play(SEARCH, claims=chain(length))) for length in range(4)] == ["", "", "", "chain-too-deep"]
    alone = town(chain_depth=0)
    assert [reason(alone.play(SEARCH, claims=claims)) for claims in (ANN, ANNS_AGENT)] == ["", "chain-too-deep"]
    denied = alone.play(SEARCH, claims=ANNS_AGENT)
    assert denied.client is not None
    assert denied.client.json["result"]["isError"] is True


def test_an_agent_without_act_is_one_of_the_chain_too() -> None:
    claims = {**ANN, "client_id": "assistant", "client_profile": "ai_agent"}
    assert [reason(town(chain_depth=most).play(SEARCH, claims=claims)) for most in (0, 1)] == ["chain-too-deep", ""]


def test_no_header_of_a_clients_makes_a_chain_shorter() -> None:
    forged = {"x-gatehouse-depth": "0", "x-depth": "0", "baggage": "depth=0"}
    assert reason(town(chain_depth=2).play(SEARCH, claims=chain(3), headers=forged)) == "chain-too-deep"


def test_each_element_of_a_batch_counts_once() -> None:
    here = town(calls_per_session=3)
    batch = [{**call("search", {"n": number}), "id": number} for number in range(5)]
    answers = [{"jsonrpc": "2.0", "id": number, "result": {"content": []}} for number in range(3)]
    played = here.play(batch, response(answers), ANN, version="2025-03-26")
    assert played.upstream is not None
    assert json.loads(played.upstream.body) == batch[:3]
    assert played.client is not None
    assert [answer["result"].get("isError", False) for answer in played.client.json] == [False] * 3 + [True] * 2
    assert different(here) == 0


@settings(deadline=None, max_examples=40)
@given(st.lists(st.integers(0, 200), max_size=6), st.booleans())
def test_a_call_counts_once_however_its_body_is_cut(cuts: Sequence[int], large: bool) -> None:
    def cut(body: bytes) -> Sequence[bytes]:
        ends = [0, *sorted(at for at in cuts if at < len(body)), len(body)]
        return [body[start:end] for start, end in itertools.pairwise(ends)]

    here = town(identical_calls=2, calls_per_session=2)
    sent = written(b'{"query":"%s"}' % (b"x" * 1_100_000 if large else b"a"))  # in full duplex, or in one piece
    assert [reason(here.play(sent, claims=ANN, cut=cut)) for _ in range(3)] == ["", "", "identical-calls"]


def test_the_store_that_fails_denies_unless_on_error_allows() -> None:
    assert reason(Town(policy(identical_calls=2), store=Broken()).play(SEARCH, claims=ANN)) == "raised StoreError"
    here = Town(Binding(policy(identical_calls=2), deny_on_error=False), store=Broken())
    assert different(here, most=5) == 5


def test_in_shadow_it_counts_for_itself_and_says_what_it_would_deny() -> None:
    here = Town(Binding(policy(identical_calls=2), enforce=False))
    played: list[Played] = [here.play(SEARCH, claims=ANN) for _ in range(4)]
    assert all(went_on(one) and not reason(one) for one in played)
    said = [[(str(entry.verdict), entry.reason) for entry in one.trail.entries] for one in played]
    assert said == [[("allow", "")]] * 2 + [[("deny", "identical-calls")]] * 2
    enforced = Town(policy(identical_calls=2), store=here.store)
    assert count(enforced, SEARCH) == 2, "what was counted in shadow is nobody else's"


class Denies(Policy[NoParameters, None]):
    """Denies every call."""

    def on_request(self, message: ToolCall, ctx: Context[None]) -> Verdict:
        return Deny("no", "no")


def test_what_a_policy_before_it_denies_is_not_counted() -> None:
    here = Town(Denies("denies", NoParameters()), policy(calls_per_session=1))
    for _ in range(3):
        assert reason(here.play(SEARCH, claims=ANN)) == "no"
    assert different(Town(policy(calls_per_session=1), store=here.store)) == 1


class Noting(Broken):
    """A store that remembers the keys and values that it was given."""

    def __init__(self) -> None:
        self.real = EmbeddedStore.in_memory()
        self.given: list[object] = []

    async def read(self, keys: Sequence[Key]) -> Any:
        self.given += keys
        return await self.real.read(keys)

    async def write(self, writes: Sequence[Write]) -> bool:
        self.given += writes
        return await self.real.write(writes)

    async def count(self, counts: Any) -> Any:
        self.given.append(tuple(counts))
        return await self.real.count(counts)


EVERYTHING: dict[str, Any] = {
    "calls_per_session": 9, "calls_per_workflow": 9, "calls_per_minute": 9, "identical_calls": 9, "in_a_row": True,
    "workflow": BY_HEADER,
    "tools": [{"tools": ["sea*"], "calls_per_session": 9, "calls_per_workflow": 9, "calls_per_minute": 9}],
}  # fmt: skip


def test_all_counters_of_a_call_are_added_to_in_one_operation() -> None:
    noting = Noting()
    here = Town(policy(**EVERYTHING), store=noting)
    assert not reason(here.play(SEARCH, claims=ANN, session="s", headers=flow("w")))
    operations = [[one for one in given if one.amount] for given in noting.given if isinstance(given, tuple)]
    _, counts = [counts for counts in operations if counts]  # the first is the workflow's, which is new
    assert len(counts) == 7 + 3, "and what is new, by how long it is kept"
    assert len({one.key.group for one in counts}) == 1


def test_the_store_holds_no_argument_no_tool_and_no_name() -> None:
    noting = Noting()
    here = Town(policy(**EVERYTHING), store=noting)
    here.play(call("search", {"query": "secret-plan"}), claims=ANN, session="5e551011", headers=flow("flow-77"))
    assert noting.given
    kept = repr(noting.given)
    assert not [text for text in ("secret-plan", "search", "5e551011", "flow-77", "ann", "id.example") if text in kept]


@pytest.mark.parametrize(
    "parameters",
    [
        {},
        {"identical_within": "5m"},
        {"calls_per_session": 0},
        {"calls_per_session": -1},
        {"calls_per_session": 1.5},
        {"chain_depth": -1},
        {"calls_per_workflow": 5},
        {"tools": [{"tools": ["a"], "calls_per_workflow": 5}]},
        {"tools": [{"tools": ["a"]}]},
        {"tools": [{"tools": [], "calls_per_session": 1}]},
        {"tools": [{"calls_per_session": 1}]},
        {"workflow": {"by": "header"}},
        {"workflow": {"by": "header", "name": "X-Workflow"}},
        {"workflow": {"by": "traceparent", "name": "x"}},
        {"workflow": {"by": "cookie", "name": "x"}},
        {"identical_calls": 5, "identical_within": "0s"},
        {"call_per_session": 5},
        {"workflow": {"by": "traceparent"}, "workflows_per_caller": 0},
        {"identical_calls": 5, "counters_per_caller": 0},
    ],
)
def test_parameters_that_mean_nothing_are_refused(parameters: Mapping[str, Any]) -> None:
    with pytest.raises(ValidationError):
        Parameters.model_validate(parameters)


def test_the_parameters_of_the_documents_are_valid() -> None:
    Parameters.model_validate({"calls_per_session": 200, "identical_calls": 5, "chain_depth": 3})
