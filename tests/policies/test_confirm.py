"""confirm: nothing reaches a tool that needs a yes before it was said, to exactly this call, as often as it allows."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from ext_proc.engine.pipeline import Binding
from ext_proc.expressions import Expression
from ext_proc.headers import Headers
from ext_proc.identity import from_claims
from ext_proc.messages import RequestHead, ToolCall, ToolHeaders
from ext_proc.policy import Context, Exchanged, Secret
from ext_proc.stores.embedded import EmbeddedStore
from ext_proc.testing import Played, call, pass_through, request, response, rulebook_of
from ext_proc.trail import Trail, Word
from gatehouse_policies.confirm import Confirm
from tests.policies.confirming import (
    ANN,
    ANNS_AGENT,
    ARGUMENTS,
    BOB,
    BOB_IN_A_BROWSER,
    DECLINE,
    FORM,
    KEY,
    PAGES,
    URL,
    YES,
    Gate,
    asked_at_once,
    asks_for_more,
    elicitation_of,
    error_of,
    path_of,
    policy,
    result_of,
    state_for,
    state_of,
    word,
)
from tests.policies.town import MODERN, OTHER_ANN, Broken, Interleaving, reason, went_on
from tests.redis_server import RedisServer, redis_server
from tests.unit.stores.places import RedisPlace

BOT = {"iss": ANN["iss"], "sub": "bot", "client_id": "bot"}
APPROVERS = {"approvers": {"groups": ["sre"]}}
LEGACY = "2025-11-25"


@pytest.fixture
def later(monkeypatch: pytest.MonkeyPatch) -> Callable[[float], None]:
    """Puts the clock of everything ahead, the store's too."""
    real = time.time

    def put(seconds: float) -> None:
        monkeypatch.setattr(time, "time", lambda: real() + seconds)

    return put


# --- 2026-07-28: a form, and the retry


def test_nothing_reaches_the_tool_before_the_yes_and_then_the_call_as_it_was_first_made() -> None:
    gate = Gate()
    asked = gate.call()
    assert (went_on(asked), word(asked)) == (False, "confirmation-required")
    assert asked.client is not None
    assert (asked.client.status, asked.client.headers["content-type"]) == (200, "application/json")
    assert result_of(asked)["resultType"] == "input_required"
    params = elicitation_of(asked)
    assert params["mode"] == "form"
    assert params["requestedSchema"]["properties"] == {
        "confirmed": {"type": "boolean", "title": "Allow this call", "default": False}
    }
    for said in ('"delete_file"', '"tools"', '"ann"', '"path": "/srv/a"', "once, within 10m"):
        assert said in params["message"]
    passed = gate.retry(asked)
    assert (went_on(passed), word(passed)) == (True, "confirmed")
    assert passed.upstream is not None
    sent = json.loads(passed.upstream.body)["params"]
    assert {"requestState", "inputResponses"} & sent.keys() == set(), "what was ours is not the server's"
    assert (sent["name"], sent["arguments"]) == ("delete_file", ARGUMENTS)


@pytest.mark.parametrize(
    ("said", "slug"),
    [
        (DECLINE, "confirmation-declined"),
        ({"action": "cancel"}, "confirmation-cancelled"),
        ({"action": "accept", "content": {"confirmed": False}}, "confirmation-declined"),
        ({"action": "accept", "content": {"confirmed": "true"}}, "confirmation-declined"),
        ({"action": "accept", "content": {"confirmed": 1}}, "confirmation-declined"),
        ({"action": "accept"}, "confirmation-declined"),
        ({"action": "ACCEPT", "content": {"confirmed": True}}, "confirmation-declined"),
        ("accept", "confirmation-declined"),
        ([], "confirmation-declined"),
    ],
)
def test_whatever_is_not_exactly_a_yes_is_a_no_that_the_model_can_read(said: Any, slug: str) -> None:
    gate = Gate()
    asked = gate.call()
    refused = gate.retry(asked, said)
    assert (went_on(refused), reason(refused)) == (False, slug)
    assert result_of(refused)["isError"] is True
    after = gate.retry(asked)
    assert (went_on(after), reason(after)) == (False, "confirmation-used"), "a yes after the no is too late"


def test_after_a_no_nobody_is_asked_again_about_the_same_call() -> None:
    gate = Gate()
    gate.retry(gate.call(), DECLINE)
    again = gate.call()
    assert (went_on(again), reason(again)) == (False, "confirmation-denied")
    assert word(gate.call({"path": "/srv/b"})) == "confirmation-required", "another call is another question"


def test_what_was_dismissed_is_asked_again() -> None:
    gate = Gate()
    gate.retry(gate.call(), {"action": "cancel"})
    assert went_on(gate.retry(gate.call()))


def test_a_retry_without_an_answer_is_asked_again() -> None:
    gate = Gate()
    asked = gate.call()
    silent = gate.call(requestState=state_of(asked))
    assert (went_on(silent), word(silent)) == (False, "confirmation-required")
    assert went_on(gate.retry(silent))


def test_uses_with_one_state_take_one_place() -> None:
    gate = Gate(policy(uses=3, requests_per_caller=2))
    asked = gate.call()
    assert [went_on(gate.retry(asked)) for _ in range(3)] == [True] * 3
    assert word(gate.call(version=LEGACY)) == "confirmation-required"


def test_a_confirmation_is_used_once() -> None:
    gate = Gate()
    asked = gate.call()
    assert went_on(gate.retry(asked))
    replayed = gate.retry(asked)
    assert (went_on(replayed), reason(replayed)) == (False, "confirmation-used")
    assert error_of(replayed)["code"] == -32602
    assert word(gate.call()) == "confirmation-required"


def test_one_yes_is_for_as_many_uses_as_it_says_with_the_state_or_without() -> None:
    gate = Gate(policy(uses=3))
    asked = gate.call()
    assert "up to 3 times" in elicitation_of(asked)["message"]
    assert [went_on(gate.retry(asked)), went_on(gate.call()), went_on(gate.call())] == [True, True, True]
    assert word(gate.call()) == "confirmation-required"
    assert reason(gate.retry(asked)) == "confirmation-used"


@pytest.mark.parametrize("uses", [1, 2])
def test_of_retries_that_race_as_many_go_on_as_there_are_uses(uses: int) -> None:
    with EmbeddedStore.in_memory() as store:
        gate = Gate(policy(uses=uses), store=Interleaving(store))
        asked = gate.call()
        params = {
            "name": "delete_file",
            "arguments": ARGUMENTS,
            "requestState": state_of(asked),
            "inputResponses": {KEY: YES},
        }
        came = asyncio.run(asked_at_once(gate, *[params] * 5))
    assert sorted(came) == ["confirmation-used"] * (5 - uses) + ["on"] * uses


def test_of_retries_that_race_over_two_hosts_and_one_redis_one_goes_on() -> None:
    hosts = [Gate(policy(keys=[Secret("k", b"0" * 32)])) for _ in range(2)]

    async def race(server: RedisServer) -> list[str]:
        place = RedisPlace(server)
        stores = [await place.open() for _ in hosts]
        try:
            params = {
                "name": "delete_file",
                "arguments": ARGUMENTS,
                "requestState": await state_for(hosts[0], stores[0]),
                "inputResponses": {KEY: YES},
            }
            came = await asyncio.gather(
                *(asked_at_once(host, *[params] * 5, store=store) for host, store in zip(hosts, stores, strict=True))
            )
        finally:
            await place.close()
        return [reason for of_host in came for reason in of_host]

    with redis_server() as server:
        assert sorted(asyncio.run(race(server))) == ["confirmation-used"] * 9 + ["on"]


@pytest.mark.parametrize(
    ("thief", "slug"),
    [
        (BOB, "confirmation-not-yours"),
        (OTHER_ANN, "confirmation-not-yours"),
        (ANNS_AGENT, "confirmation-not-yours"),
        (None, "caller-unknown"),
    ],
    ids=["bob", "ann of another issuer", "an agent of ann's", "anonymous"],
)
def test_anothers_confirmation_is_of_no_use(thief: Mapping[str, Any] | None, slug: str) -> None:
    gate = Gate()
    asked = gate.call()
    stolen = gate.retry(asked, claims=thief)
    assert (went_on(stolen), reason(stolen)) == (False, slug)
    assert went_on(gate.retry(asked)), "its owner is not disturbed"


def test_a_confirmation_for_a_principal_is_none_for_another_tool_or_server() -> None:
    gate = Gate()
    asked = gate.call()
    other_tool = gate.retry(asked, tool="delete_all")
    assert (went_on(other_tool), reason(other_tool)) == (False, "confirmation-other-tool")
    elsewhere = Gate(gate.confirm, store=gate.store, server="another")
    other_server = elsewhere.retry(asked)
    assert (went_on(other_server), reason(other_server)) == (False, "confirmation-other-server")


def test_changed_arguments_are_asked_about_anew() -> None:
    gate = Gate()
    asked = gate.call()
    changed = gate.retry(asked, arguments={"path": "/"})
    assert (went_on(changed), word(changed)) == (False, "confirmation-changed")
    assert '"path": "/"' in elicitation_of(changed)["message"]
    assert reason(gate.retry(changed, arguments={"path": "/", "force": True})) != ""
    assert went_on(gate.retry(changed, arguments={"path": "/"}))


def test_equal_arguments_are_the_same_however_they_are_written() -> None:
    gate = Gate()
    asked = gate.call({"a": 1, "b": [1.0, "\u00e4"]})
    assert went_on(gate.retry(asked, arguments={"b": [1, "\u00e4"], "a": 1.0}))


@pytest.mark.parametrize("arguments", [{"n": 2**53}, {"n": 9007199254740993}, {"2**70": 2**70}])
def test_arguments_that_two_readers_may_take_apart_are_denied(arguments: Any) -> None:
    played = Gate().call(arguments)
    assert (went_on(played), reason(played)) == (False, "arguments-not-canonical")
    assert result_of(played)["isError"] is True


def test_an_expired_confirmation_is_refused_and_clocks_may_differ_a_little(later: Callable[[float], None]) -> None:
    gate = Gate(policy(expires="60s"))
    asked, other = gate.call(), gate.call({"path": "/b"})
    later(-25.0)
    assert went_on(gate.retry(asked)), "this host's clock is behind the one that asked"
    later(60.0 + 25.0)
    assert went_on(gate.retry(other, arguments={"path": "/b"}))
    later(0.0)
    late = gate.call({"path": "/c"})
    later(60.0 + 35.0)
    expired = gate.retry(late, arguments={"path": "/c"})
    assert (went_on(expired), reason(expired)) == (False, "confirmation-expired")
    later(-35.0)
    ahead = gate.retry(late, arguments={"path": "/c"})
    assert (went_on(ahead), reason(ahead)) == (False, "confirmation-expired")


@given(st.floats(0, 1, exclude_max=True), st.characters(codec="utf-8"), st.sampled_from(["replace", "drop", "add"]))
@settings(max_examples=60, deadline=None)
def test_a_state_with_any_byte_changed_never_reaches_the_tool(where: float, put: str, how: str) -> None:
    gate = Gate()
    state = state_of(gate.call())
    at = int(where * len(state))
    cut = state + put if how == "add" else state[:at] + (put if how == "replace" else "") + state[at + 1 :]
    assume(cut != state)
    played = gate.retry(cut)
    assert not went_on(played)
    if cut.startswith("gatehouse.ask.1."):
        assert reason(played) == "confirmation-forged"
    else:
        assert word(played) == "confirmation-required", "a server's state, for all that can be told"


@given(st.lists(st.integers(1, 40), max_size=8))
@settings(max_examples=20, deadline=None)
def test_the_same_happens_however_a_request_is_cut(sizes: list[int]) -> None:
    def cut(body: bytes) -> list[bytes]:
        pieces, at = [], 0
        for size in sizes:
            pieces.append(body[at : at + size])
            at += size
        return [*pieces, body[at:]]

    gate = Gate()
    sent = call("delete_file", ARGUMENTS)
    sent["params"] |= {"requestState": state_of(gate.call()), "inputResponses": {KEY: YES}}
    lines = {"mcp-protocol-version": MODERN, "mcp-method": "tools/call", "mcp-name": "delete_file"}
    lines |= {"content-type": "application/json", "accept": "application/json, text/event-stream"}
    asked = replace(asks_for_more(), sized=False)
    played = pass_through(
        gate.book, request(sent, headers=lines, claims=ANN, sized=False), asked, cut, store=gate.store
    )
    assert (went_on(played), word(played)) == (True, "confirmed")
    assert played.client is not None
    assert played.client.body == asked.body
    brought = gate.call(requestState="v1.of-the-server", inputResponses={"size": YES})
    assert (went_on(brought), word(brought)) == (True, "goes on after a yes")


@pytest.mark.parametrize("state", ["gatehouse.ask.1.", "gatehouse.ask.1.x", "gatehouse.ask.1.e30.k.m", "\u00fc", "", 7])
def test_what_is_no_state_of_ours_confirms_nothing(state: Any) -> None:
    asked = Gate().call(requestState=state, inputResponses={KEY: YES})
    assert not went_on(asked)


def test_a_policys_states_are_not_anothers_with_the_same_keys() -> None:
    keys = [Secret("k", b"0" * 32)]
    first, second = policy(keys=keys), Confirm("other", policy(keys=keys).parameters)
    with EmbeddedStore.in_memory() as store:
        text = state_of(Gate(first, store=store).call()).replace("gatehouse.ask.", "gatehouse.other.")
        played = Gate(second, store=store).retry(text)
    assert (went_on(played), reason(played)) == (False, "confirmation-forged")


def test_a_new_key_signs_and_the_old_one_verifies_until_it_is_taken_out() -> None:
    old, new = Secret("old", b"o" * 32), Secret("new", b"n" * 32)
    with EmbeddedStore.in_memory() as store:
        asked = [Gate(policy(keys=[old]), store=store).call({"path": path}) for path in "ab"]
        assert went_on(Gate(policy(keys=[new, old]), store=store).retry(asked[0], arguments={"path": "a"}))
        gone = Gate(policy(keys=[new]), store=store).retry(asked[1], arguments={"path": "b"})
        assert (went_on(gone), reason(gone)) == (False, "confirmation-forged")


def test_hosts_that_share_a_store_share_its_keys() -> None:
    with EmbeddedStore.in_memory() as store:
        asked = Gate(store=store).call()
        assert went_on(Gate(store=store).retry(asked))


# --- which tools, and whose calls


def test_a_tool_that_needs_no_yes_goes_on_untouched() -> None:
    played = Gate().call(tool="search", requestState="gatehouse.ask.1.mine")
    assert went_on(played)
    assert played.upstream is not None
    assert json.loads(played.upstream.body)["params"]["requestState"] == "gatehouse.ask.1.mine"


LISTED = [
    {"name": "wipe", "inputSchema": {}, "annotations": {"destructiveHint": True}},
    {"name": "tidy", "inputSchema": {}, "annotations": {"destructiveHint": False}},
    {"name": "peek", "inputSchema": {}, "annotations": {"readOnlyHint": True}},
    {"name": "mute", "inputSchema": {}},
    {"name": "delete_nothing", "inputSchema": {}, "annotations": {"readOnlyHint": True}},
]


def test_what_a_tool_says_of_itself_only_tightens() -> None:
    gate = Gate(policy(annotated=["destructive"]))
    unlisted = gate.call(tool="peek")
    assert (went_on(unlisted), word(unlisted)) == (False, "confirmation-required"), "it was not listed yet"
    listing = {"jsonrpc": "2.0", "id": 1, "method": "tools/list"}
    gate.play(listing, response({"jsonrpc": "2.0", "id": 1, "result": {"tools": LISTED}}), ANN)
    for here in (gate, Gate(policy(annotated=["destructive"]), store=gate.store)):
        needs = {tool["name"]: word(here.call(tool=str(tool["name"]))) == "confirmation-required" for tool in LISTED}
        assert needs == {"wipe": True, "tidy": False, "peek": False, "mute": True, "delete_nothing": True}


def test_the_policys_condition_narrows_it_down() -> None:
    narrowed = Gate()
    narrowed.book = rulebook_of(Binding(narrowed.confirm, when=Expression("!args.path.startsWith('/tmp/')")))
    assert went_on(narrowed.call({"path": "/tmp/x"}))
    assert not went_on(narrowed.call({"path": "/srv/x"}))


@pytest.mark.parametrize("version", [MODERN, LEGACY])
def test_a_caller_that_nobody_vouches_for_is_not_asked_unless_the_bundle_says_so(version: str) -> None:
    refused = Gate().call(claims=None, version=version)
    assert (went_on(refused), reason(refused)) == (False, "caller-unknown")
    asked = Gate(policy(anonymous=True)).call(claims=None, version=version)
    assert not went_on(asked)
    assert word(asked) == ("confirmation-required" if version == MODERN else "confirmation-impossible")


def test_an_agent_that_acts_for_nobody_does_not_confirm_to_itself() -> None:
    played = Gate().call(claims=BOT)
    assert (went_on(played), reason(played)) == (False, "confirmation-impossible")
    assert word(Gate(policy(by=APPROVERS)).call(claims=BOT)) == "confirmation-required"


@pytest.mark.parametrize(
    ("parameters", "tool", "settled"),
    [({}, "search", True), ({}, "delete_file", False), ({"annotated": ["writes"]}, "search", False)],
)
def test_headers_alone_decide_only_about_tools_that_need_no_yes(
    parameters: dict[str, Any], tool: str, settled: bool
) -> None:
    confirm = policy(**parameters)
    exchanged = Exchanged(from_claims(ANN), "tools", "mcp", RequestHead("POST", "/mcp", "x", Headers()), Trail("t"))
    context = Context(exchanged, confirm.new_state(), "ask")
    assert confirm.by_headers(ToolHeaders(ToolCall, "tools/call", tool), context) is settled
    trusting = Gate(confirm, trusts_headers=True)
    assert went_on(trusting.call(tool=tool)) is settled


# --- when the server asks for more itself


@pytest.mark.parametrize("state", ["v1.of-the-server", "\u00fc{}\U0001f98a", None])
def test_a_server_that_asks_after_the_yes_is_answered_without_another_yes_and_once(state: str | None) -> None:
    gate = Gate()
    played = gate.retry(gate.call(), answer=asks_for_more(state))
    assert "size" in result_of(played)["inputRequests"]
    brought: dict[str, Any] = {"inputResponses": {"size": YES}}
    if state is not None:
        brought["requestState"] = state
    for round_ in range(2):
        again = gate.call(**brought, answer=asks_for_more(state) if round_ == 0 else None)
        assert (went_on(again), word(again)) == (True, "goes on after a yes")
        assert again.upstream is not None
        assert {**json.loads(again.upstream.body)["params"], "_meta": 0} == {
            "name": "delete_file",
            "arguments": ARGUMENTS,
            "_meta": 0,
            **brought,
        }
    replayed = gate.call(**brought)
    assert (went_on(replayed), word(replayed)) == (False, "confirmation-required")


@pytest.mark.parametrize(
    "changes",
    [
        {"arguments": {"path": "/"}},
        {"claims": BOB},
        {"claims": ANNS_AGENT},
        {"tool": "delete_all"},
        {"requestState": "v1.another"},
    ],
    ids=["arguments", "principal", "actor", "tool", "state"],
)
def test_what_a_server_handed_out_after_a_yes_confirms_nothing_else(changes: dict[str, Any]) -> None:
    gate = Gate()
    gate.retry(gate.call(), answer=asks_for_more())
    brought = {"requestState": "v1.of-the-server", "inputResponses": {"size": YES}, **changes}
    assert word(gate.call(**brought)) == "confirmation-required"


def test_a_state_that_no_server_handed_out_after_a_yes_is_asked_about_and_then_taken_out() -> None:
    gate = Gate()
    asked = gate.call(requestState="v1.made-up", inputResponses={"size": YES})
    assert word(asked) == "confirmation-required"
    passed = gate.retry(asked)
    assert passed.upstream is not None
    assert "requestState" not in json.loads(passed.upstream.body)["params"]


def test_answers_to_others_that_come_along_with_a_yes_do_not_pass() -> None:
    gate = Gate()
    state = state_of(gate.call())
    passed = gate.call(requestState=state, inputResponses={KEY: YES, "amount": {"action": "accept"}})
    assert passed.upstream is not None
    assert "inputResponses" not in json.loads(passed.upstream.body)["params"], "nobody was shown them"


def test_how_much_a_caller_has_kept_is_bounded() -> None:
    gate = Gate(policy(requests_per_caller=2))
    for path in "ab":
        assert went_on(gate.retry(gate.call({"path": path}), arguments={"path": path}, answer=asks_for_more()))
    last = gate.retry(gate.call(), answer=asks_for_more())
    assert (went_on(last), reason(last)) == (True, "confirmations-too-many")
    assert error_of(last)["data"]["reason"] == "confirmations-too-many"
    paged = Gate(policy(requests_per_caller=2))
    said = [word(paged.call({"path": path}, version=LEGACY)) for path in "aabbc"]
    assert said == ["confirmation-required"] * 4 + ["confirmations-too-many"]
    assert word(paged.call({"path": "c"}, version=LEGACY, claims=BOB)) == "confirmation-required"


# --- the page's address, by wire and by what the client can do


def test_a_client_that_has_urls_alone_is_sent_to_the_page_and_comes_back() -> None:
    gate = Gate()
    asked = gate.call(elicitation=URL)
    params = elicitation_of(asked)
    assert (params["mode"], "elicitationId" in params) == ("url", False)
    path = path_of(params["url"])
    waiting = gate.retry(asked, {"action": "accept"}, elicitation=URL)
    assert (went_on(waiting), word(waiting)) == (False, "confirmation-pending")
    assert result_of(waiting).keys() & {"inputRequests", "requestState"} == {"requestState"}, "come again"
    assert result_of(waiting)["requestState"] == state_of(asked)
    gate.decide(path)
    passed = gate.call(elicitation=URL, requestState=state_of(waiting))
    assert (went_on(passed), word(passed)) == (True, "confirmed")
    assert passed.metadata["confirmed_by"] == "ann"
    assert reason(gate.retry(asked, {"action": "accept"}, elicitation=URL)) == "confirmation-used"


def test_who_is_sent_to_the_page_and_declines_withdraws_the_request() -> None:
    gate = Gate()
    asked = gate.call(elicitation=URL)
    refused = gate.retry(asked, DECLINE, elicitation=URL)
    assert (went_on(refused), reason(refused)) == (False, "confirmation-declined")
    assert "refused" in gate.visit(path_of(elicitation_of(asked)["url"])).body
    assert reason(gate.call(elicitation=URL)) == "confirmation-denied"


def test_a_form_never_stands_for_an_approver() -> None:
    gate = Gate(policy(by=APPROVERS))
    asked = gate.call(elicitation={**FORM, **URL})
    assert elicitation_of(asked)["mode"] == "url"
    said = gate.retry(asked, elicitation={**FORM, **URL})
    assert (went_on(said), word(said)) == (False, "confirmation-pending"), "the client's yes is nobody's"
    gate.decide(path_of(elicitation_of(asked)["url"]), who=BOB_IN_A_BROWSER)
    assert went_on(gate.call(elicitation=FORM))


def test_a_form_that_was_handed_out_counts_no_more_once_approvers_have_to_say_yes() -> None:
    with EmbeddedStore.in_memory() as store:
        asked = Gate(store=store).call()
        now = Gate(policy(by=APPROVERS), store=store).retry(asked)
        assert (went_on(now), word(now)) == (False, "confirmation-changed")


@pytest.mark.parametrize("elicitation", [None, FORM], ids=["nothing", "forms"])
def test_a_client_that_lacks_what_it_needs_is_told_so_and_of_the_page(elicitation: Mapping[str, Any] | None) -> None:
    gate = Gate(policy(by=APPROVERS))
    asked = gate.call(elicitation=elicitation)
    assert asked.client is not None
    assert (asked.client.status, error_of(asked)["code"]) == (400, -32021)
    assert error_of(asked)["data"]["requiredCapabilities"] == {"elicitation": {"url": {}}}
    assert path_of(error_of(asked)["message"]) == path_of(error_of(asked)["data"]["url"])


def test_without_pages_a_client_without_forms_is_told_what_it_lacks() -> None:
    asked = Gate(pages=False).call(elicitation=None)
    assert (error_of(asked)["code"], reason(asked)) == (-32021, "confirmation-impossible")
    assert error_of(asked)["data"]["requiredCapabilities"] == {"elicitation": {"form": {}}}
    assert reason(Gate(policy(by=APPROVERS), pages=False).call()) == "confirmation-impossible"
    assert reason(Gate(pages=False).call(version=LEGACY)) == "confirmation-impossible"


def test_an_empty_capability_means_forms() -> None:
    assert elicitation_of(Gate().call(elicitation={}))["mode"] == "form"


def test_what_is_too_large_for_a_form_goes_to_the_page_and_what_is_too_large_for_that_is_denied() -> None:
    gate = Gate(policy(form_arguments=64, arguments=256))
    assert elicitation_of(gate.call({"a": "x" * 100}, elicitation={**FORM, **URL}))["mode"] == "url"
    large = gate.call({"a": "x" * 300})
    assert (went_on(large), reason(large)) == (False, "arguments-too-large")
    deep: Any = [[]] * 10_000
    for _ in range(50):
        deep = [deep]
    for hard in ({"a": "\u200b" * 12_000}, {"a": deep}):
        unread = Gate(policy(arguments="64KiB")).call(hard, elicitation=URL)
        assert (went_on(unread), reason(unread)) == (False, "arguments-too-large"), "nobody could read them"


def test_on_2025_11_25_the_same_call_passes_as_often_as_allowed_once_the_page_has_a_yes() -> None:
    gate = Gate(policy(uses=2))
    asked = gate.call(version=LEGACY)
    assert asked.client is not None
    assert (asked.client.status, error_of(asked)["code"], went_on(asked)) == (200, -32042, False)
    (elicitation,) = error_of(asked)["data"]["elicitations"]
    assert elicitation["mode"] == "url"
    assert elicitation["url"] == f"{PAGES}/r/{elicitation['elicitationId']}"
    again = gate.call(version=LEGACY)
    assert error_of(again)["data"]["elicitations"] == [elicitation], "one question for one call"
    gate.decide(path_of(elicitation["url"]))
    assert went_on(gate.call({"path": "/"}, version=LEGACY)) is False
    assert went_on(gate.call(version=LEGACY, claims=BOB)) is False
    assert went_on(gate.call(version=LEGACY, claims=ANNS_AGENT)) is False
    assert [went_on(gate.call(version=LEGACY)) for _ in range(3)] == [True, True, False]


def test_of_calls_that_race_for_a_grant_as_many_go_on_as_there_are_uses() -> None:
    with EmbeddedStore.in_memory() as store:
        gate = Gate(policy(uses=2), store=Interleaving(store))
        gate.decide(path_of(error_of(gate.call(version=LEGACY))["message"]))
        came = asyncio.run(asked_at_once(gate, *[{"name": "delete_file", "arguments": ARGUMENTS}] * 5))
    assert came.count("on") == 2
    assert set(came) == {"on", "confirmation-required"}


@pytest.mark.parametrize("version", ["", "2024-11-05", "2025-06-18"])
def test_on_an_older_wire_an_error_names_the_same_page(version: str) -> None:
    gate = Gate()
    asked = gate.call(version=version)
    assert (error_of(asked)["code"], went_on(asked)) == (-31403, False)
    path = path_of(error_of(asked)["message"])
    assert path in error_of(gate.call(version=LEGACY))["message"]
    gate.decide(path)
    assert went_on(gate.call(version=version))


def test_after_a_no_at_the_page_the_call_is_denied_without_asking_again() -> None:
    gate = Gate()
    asked = gate.call(elicitation=URL)
    path = path_of(elicitation_of(asked)["url"])
    gate.decide(path, "deny")
    for played in (gate.call(version=LEGACY), gate.retry(asked, {"action": "accept"}, elicitation=URL)):
        assert (went_on(played), reason(played)) == (False, "confirmation-denied")


def test_a_grant_ends(later: Callable[[float], None]) -> None:
    gate = Gate(policy(expires="60s"))
    asked = gate.call(version=LEGACY)
    gate.decide(path_of(error_of(asked)["message"]))
    later(60.0 + 35.0)
    assert error_of(gate.call(version=LEGACY))["code"] == -32042


def test_each_element_of_a_batch_has_its_own_answer() -> None:
    batch = [call("delete_file", ARGUMENTS, 1), call("search", {}, 2), call("delete_file", {"path": "/b"}, 3)]
    gate = Gate()
    answer = response([{"jsonrpc": "2.0", "id": 2, "result": {"content": []}}])
    played = gate.play(batch, answer, ANN)
    assert played.upstream is not None
    assert [sent["id"] for sent in json.loads(played.upstream.body)] == [2]
    assert played.client is not None
    errors = {one["id"]: one["error"]["data"]["url"] for one in played.client.json if "error" in one}
    assert errors.keys() == {1, 3}
    gate.decide(path_of(errors[1]))
    played = gate.play(batch, answer, ANN)
    assert played.upstream is not None
    assert [sent["id"] for sent in json.loads(played.upstream.body)] == [1, 2]


# --- faults


@pytest.mark.parametrize("version", [MODERN, LEGACY])
def test_the_store_that_fails_means_no(version: str) -> None:
    with EmbeddedStore.in_memory() as store:
        asked = Gate(store=store).call()
    broken = Gate(store=Broken())
    for played in (broken.call(version=version), broken.retry(asked)):
        assert (went_on(played), reason(played)) == (False, "raised StoreError")


def test_in_shadow_mode_it_is_recorded_and_nobody_is_asked() -> None:
    shadow = Gate()
    shadow.book = replace(shadow.book, routes=rulebook_of(Binding(shadow.confirm, enforce=False)).routes)
    for version, said in ((MODERN, Word.RESPOND), (LEGACY, Word.DENY)):
        played = shadow.call(version=version)
        assert went_on(played)
        entry = played.trail.entries[0]
        assert (entry.verdict, entry.reason, entry.enforced) == (said, "confirmation-required", False)


@pytest.mark.parametrize(
    "parameters",
    [
        {"tools": []},
        {"expires": "2d"},
        {"uses": 0},
        {"by": "nobody"},
        {"by": {"approvers": {"groups": []}}},
        {"by": {"scorer": {"url": "http://scores.example/"}}},
        {"by": {"scorer": {"url": "https://user@scores.example/"}}},
        {"keys": [Secret("short", b"x" * 31)]},
        {"arguments": "1MiB"},
        {"page": "https://x"},
    ],
)
def test_parameters_that_could_not_work_are_refused(parameters: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        policy(**parameters)


def test_nothing_of_the_arguments_or_a_state_is_in_the_trail() -> None:
    gate = Gate()
    played: list[Played] = [gate.call({"secret": "s3cr3t"})]
    played.append(gate.retry(played[0], arguments={"secret": "s3cr3t"}))
    state = state_of(played[0])
    for one in played:
        told = repr([entry.as_dict() for entry in one.trail.entries]) + repr(one.trail.facts) + repr(one.metadata)
        assert "s3cr3t" not in told
        assert state not in told
