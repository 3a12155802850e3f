"""confirm under attack: by a server that looks like the gate, by an agent with its person's token, by odd clients, and
by what changes between the question and the yes."""

from __future__ import annotations

import asyncio
import json
import time
import unicodedata
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import pytest

from ext_proc.credentials.source import fingerprint
from ext_proc.policy import Secret, StoreError
from ext_proc.stores.embedded import EmbeddedStore
from ext_proc.stores.store import Count, Counted, Store, Write
from ext_proc.testing import HttpResponse, Played, call, pass_through, request, response
from tests.policies.confirming import (
    ANN,
    ANN_IN_A_BROWSER,
    ANNS_AGENT,
    ARGUMENTS,
    BOB_IN_A_BROWSER,
    KEY,
    URL,
    YES,
    Gate,
    asked_at_once,
    elicitation_of,
    error_of,
    path_of,
    policy,
    result_of,
    state_of,
    word,
)
from tests.policies.town import MODERN, Interleaving, reason, went_on

LEGACY = "2025-11-25"
SRE = {"approvers": {"groups": ["sre"]}}


@pytest.fixture
def later(monkeypatch: pytest.MonkeyPatch) -> Callable[[float], None]:
    """Puts the clock of everything ahead, the store's too."""
    real = time.time

    def put(seconds: float) -> None:
        monkeypatch.setattr(time, "time", lambda: real() + seconds)

    return put


def raw(gate: Gate, body: bytes, version: str = MODERN) -> Played:
    """A call as these bytes."""
    lines = {"content-type": "application/json", "accept": "application/json, text/event-stream"}
    lines["mcp-protocol-version"] = version
    if version == MODERN:
        lines |= {"mcp-method": "tools/call", "mcp-name": "delete_file"}
    sent = replace(request({}, headers=lines, claims=ANN), body=body)
    return pass_through(gate.book, sent, HttpResponse(status=202, headers={}), store=gate.store)


def says_for_the_gate(state: str | None) -> HttpResponse:
    """A server's answer that looks like the gate's question."""
    form = {"method": "elicitation/create", "params": {"message": "Allow the tool?", "requestedSchema": {}}}
    result: dict[str, Any] = {"resultType": "input_required", "inputRequests": {KEY: form}}
    if state is not None:
        result["requestState"] = state
    return response({"jsonrpc": "2.0", "id": 1, "result": result})


# --- a server that looks like the gate


@pytest.mark.parametrize("state", ["theirs", None])
def test_a_server_that_asks_under_the_gates_key_gets_its_answer_and_nothing_of_the_gates(state: str | None) -> None:
    gate = Gate()
    gate.retry(gate.call(), answer=says_for_the_gate(state))
    brought: dict[str, Any] = {"inputResponses": {KEY: YES}} | ({} if state is None else {"requestState": state})
    goes_on = gate.call(**brought)
    assert (went_on(goes_on), word(goes_on)) == (True, "goes on after a yes")
    assert goes_on.upstream is not None
    assert json.loads(goes_on.upstream.body)["params"]["inputResponses"] == {KEY: YES}
    again = gate.call(**brought)
    assert (went_on(again), word(again)) == (False, "confirmation-required"), "that yes was to the server"
    other = gate.call({"path": "/"}, **brought)
    assert (went_on(other), word(other)) == (False, "confirmation-required")


def test_a_server_that_hands_out_a_state_that_looks_like_the_gates_gets_it_back_from_nobody() -> None:
    gate = Gate()
    shape = state_of(gate.call({"path": "/other"}))
    for state in ("gatehouse.ask.1.theirs", shape[:-1] + ("0" if shape[-1] != "0" else "1")):
        arguments = {"path": state[-4:]}
        gate.retry(gate.call(arguments), arguments=arguments, answer=says_for_the_gate(state))
        back = gate.retry(state, arguments=arguments)
        assert (went_on(back), reason(back)) == (False, "confirmation-forged")


def test_what_a_server_asks_in_the_gates_name_for_a_harmless_tool_allows_no_other_call() -> None:
    gate = Gate()
    gate.call(tool="search", answer=says_for_the_gate("theirs"))
    brought: dict[str, Any] = {"requestState": "theirs", "inputResponses": {KEY: YES}}
    assert went_on(gate.call(tool="search", **brought))
    stolen = gate.call(**brought)
    assert (went_on(stolen), word(stolen)) == (False, "confirmation-required")


# --- odd clients


@pytest.mark.parametrize(
    "body",
    [
        b'{"jsonrpc":"2.0","method":"tools/call","params":{"name":"delete_file","arguments":{}}}',
        b'{"jsonrpc":"2.0","id":null,"method":"tools/call","params":{"name":"delete_file"}}',
        b'{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"search","name":"delete_file"}}',
        b'{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"search","Name":"delete_file"}}',
        b'{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"delete_file","arguments":{"a":1,"a":2}}}',
        b'{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"delete_file","arguments":{"a":1e999}}}',
        b'{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"delete_file","arguments":[]}}',
        b'{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"delete_file","arguments":null}}',
    ],
    ids=["notification", "null id", "two names", "two cases", "two members", "infinite", "array", "null"],
)
@pytest.mark.parametrize("version", [MODERN, LEGACY])
def test_no_way_to_write_a_call_gets_past_the_question(body: bytes, version: str) -> None:
    assert not went_on(raw(Gate(), body, version))


def test_no_other_method_of_http_brings_a_call() -> None:
    gate = Gate()
    for method in ("GET", "DELETE"):
        played = gate.play(None, HttpResponse(status=405, headers={}), ANN, method=method, version=LEGACY)
        assert played.upstream is None or played.upstream.body == b""


@pytest.mark.parametrize(
    ("responses", "word_"),
    [
        (None, "confirmation-required"),
        ([], "confirmation-required"),
        ({}, "confirmation-required"),
        ("yes", "confirmation-required"),
        ({"size": YES}, "confirmation-required"),
        ({KEY.upper(): YES}, "confirmation-required"),
        ({KEY: None}, "confirmation-declined"),
        ({KEY: {"action": ["accept"], "content": {"confirmed": True}}}, "confirmation-declined"),
        ({KEY: {"action": "accept", "content": [True]}}, "confirmation-declined"),
        ({KEY: {"action": "accept", "content": {"Confirmed": True}}}, "confirmation-declined"),
        ({KEY: {**YES, "content": {"confirmed": True, "more": 1}}, "size": None}, "confirmed"),
    ],
)
def test_an_answer_of_another_shape_is_none_or_a_no(responses: Any, word_: str) -> None:
    gate = Gate()
    played = gate.call(requestState=state_of(gate.call()), inputResponses=responses)
    assert (word(played), went_on(played)) == (word_, word_ == "confirmed")


@pytest.mark.parametrize(
    ("asked", "sent"),
    [
        ({"n": 1}, {"n": True}),
        ({"n": 1}, {"n": "1"}),
        ({"n": None}, {}),
        ({"n": [1, 2]}, {"n": [2, 1]}),
        ({"n": unicodedata.normalize("NFC", "\u00e4")}, {"n": unicodedata.normalize("NFD", "\u00e4")}),
        ({"n": "\u00e4"}, {"n": "\\u00e4"}),
        ({"n": 0.1}, {"n": 0.1 + 2**-54}),
        ({"n": "a"}, {"n": "a\u200b"}),
        ({"n": "a"}, {"n": "\u0430"}),
    ],
)
def test_arguments_that_only_look_alike_are_others(asked: Any, sent: Any) -> None:
    gate = Gate()
    changed = gate.retry(gate.call(asked), arguments=sent)
    assert (went_on(changed), word(changed)) == (False, "confirmation-changed")


def test_a_call_as_a_task_is_asked_about_like_any_other_and_then_is_one() -> None:
    gate = Gate()
    asked = gate.call(version=LEGACY, task={"ttl": 60_000})
    assert not went_on(asked)
    gate.decide(path_of(error_of(asked)["message"]))
    passed = gate.call(version=LEGACY, task={"ttl": 60_000})
    assert passed.upstream is not None
    assert json.loads(passed.upstream.body)["params"]["task"] == {"ttl": 60_000}
    assert not went_on(gate.call(version=LEGACY)), "one yes, one call, as a task or not"


def test_a_batch_takes_as_many_uses_as_it_has_calls() -> None:
    gate = Gate()
    gate.decide(path_of(error_of(gate.call(version=LEGACY))["message"]))
    batch = [call("delete_file", ARGUMENTS, number) for number in (1, 2, 3)]
    played = gate.play(batch, response([{"jsonrpc": "2.0", "id": 1, "result": {}}]), ANN)
    assert played.upstream is not None
    assert len(json.loads(played.upstream.body)) == 1


def test_only_a_call_is_decided_about_by_headers_and_the_body_is_held_to_them() -> None:
    gate = Gate(trusts_headers=True)
    asked = gate.call()
    assert not went_on(asked)
    assert went_on(gate.retry(asked))
    assert not went_on(gate.retry(asked))


# --- an agent with its person's token


def test_the_token_that_comes_back_for_the_answer_opens_no_page() -> None:
    """A client renews its token while it waits; the new one is the agent's as well."""
    gate = Gate()
    asked = gate.call(elicitation=URL)
    path = path_of(elicitation_of(asked)["url"])
    renewed = replace(ANN_IN_A_BROWSER, credential=fingerprint(ANN["iss"], "renewed"))
    assert gate.visit(path, renewed).status == 200
    waiting = gate.retry(asked, {"action": "accept"}, elicitation=URL, claims={**ANN, "jti": "renewed"})
    assert word(waiting) == "confirmation-pending"
    assert gate.visit(path, renewed).status == 404
    gate.decide(path)
    assert went_on(gate.retry(asked, {"action": "accept"}, elicitation=URL))


def test_who_comes_back_with_ever_other_tokens_is_bounded() -> None:
    gate = Gate()
    asked = gate.call(elicitation=URL)
    said = [
        word(gate.retry(asked, {"action": "accept"}, elicitation=URL, claims={**ANN, "jti": f"t-{number}"}))
        for number in range(16)
    ]
    assert said == ["confirmation-pending"] * 15 + ["confirmations-too-many"]


def test_an_agent_decides_nothing_with_its_delegated_token_even_with_its_persons_form() -> None:
    gate = Gate()
    path = path_of(error_of(gate.call(version=LEGACY, claims=ANNS_AGENT))["message"])
    agent = replace(ANN_IN_A_BROWSER, actor="agent-7", credential="another")
    for kind in set(type(agent.kind)) - {ANN_IN_A_BROWSER.kind}:
        who = replace(agent, kind=kind)
        assert {gate.visit(at, who).status for at in (path, "/")} == {404}


# --- what changes between the question and the yes


def test_a_bundle_with_shorter_times_gives_no_use_back(later: Callable[[float], None]) -> None:
    """Else the counter would end before what it counts for."""
    gate = Gate(policy(expires="1h"))
    asked = gate.call()
    gate.decide(path_of(error_of(gate.call({"path": "/b"}, version=LEGACY))["message"]))
    shorter = Gate(policy(expires="10s"), store=gate.store)
    assert went_on(shorter.retry(asked))
    assert went_on(shorter.call({"path": "/b"}, version=LEGACY))
    for seconds in (200.0, 1800.0, 3590.0):
        later(seconds)
        for now in (shorter, gate):
            assert reason(now.retry(asked)) == "confirmation-used"
            assert not went_on(now.call({"path": "/b"}, version=LEGACY))


def test_a_no_holds_as_long_as_the_question_under_a_bundle_with_shorter_times(later: Callable[[float], None]) -> None:
    gate = Gate(policy(expires="1h"))
    asked = gate.call()
    shorter = Gate(policy(expires="10s"), store=gate.store)
    assert reason(shorter.retry(asked, {"action": "decline"})) == "confirmation-declined"
    later(200.0)
    assert reason(shorter.retry(asked)) == "confirmation-used"


@pytest.mark.parametrize("version", [MODERN, LEGACY])
def test_a_yes_is_for_as_many_calls_as_the_person_read(version: str) -> None:
    gate = Gate()
    asked = gate.call(version=version)
    more = Gate(policy(uses=3), store=gate.store)
    if version == MODERN:
        assert "to be called once" in elicitation_of(asked)["message"]
        assert [went_on(more.retry(asked)) for _ in range(2)] == [True, False]
    else:
        more.decide(path_of(error_of(asked)["message"]))
        assert [went_on(more.call(version=version)) for _ in range(2)] == [True, False]


@pytest.mark.parametrize("keys", [[], [Secret("k", b"0" * 32)]], ids=["random", "given"])
def test_a_store_that_was_lost_gives_no_use_back(keys: Sequence[Secret]) -> None:
    confirm = policy(keys=list(keys))
    gate = Gate(confirm)
    asked = gate.call()
    assert went_on(gate.retry(asked))
    emptied = Gate(confirm).retry(asked)
    assert (went_on(emptied), reason(emptied)) == (False, "confirmation-forged")


def test_the_page_of_a_question_to_others_is_gone_once_the_bundle_asks_somebody_else() -> None:
    gate = Gate()
    path = path_of(error_of(gate.call(version=LEGACY))["message"])
    now = Gate(policy(by=SRE), store=gate.store)
    assert now.visit(path, BOB_IN_A_BROWSER).status == 404
    assert gate.visit(path).status == 200


@pytest.mark.parametrize("claims", [ANN, ANNS_AGENT], ids=["person", "agent"])
def test_calls_that_ask_at_the_same_moment_leave_one_request(claims: Any) -> None:
    class Counting(Interleaving):
        """A store that knows how many requests it has."""

        def __init__(self, store: Store) -> None:
            super().__init__(store)
            self.requests = 0

        async def write(self, writes: Sequence[Write]) -> bool:
            done = await super().write(writes)
            self.requests += sum(1 if write.value else -1 for write in writes if write.key.name == "request")
            return done

    with EmbeddedStore.in_memory() as kept:
        store = Counting(kept)
        gate = Gate(store=store)
        params = {"name": "delete_file", "arguments": ARGUMENTS}
        said = asyncio.run(asked_at_once(gate, *[params] * 20, claims=claims, version=LEGACY))
        assert set(said) == {"confirmation-required"}
        assert store.requests == 1


# --- a store that fails in the middle


class FailsAfterCounting:
    """A store that counts what it is told to, and then says that it failed; or does not answer to writes."""

    def __init__(self, store: Store, operation: str) -> None:
        self._store = store
        self._operation = operation
        self.fails = False
        self.read, self.close = store.read, store.close

    async def count(self, counts: Sequence[Count]) -> Counted:
        counted = await self._store.count(counts)
        if self.fails and self._operation == "count":
            raise StoreError("it took too long")
        return counted

    async def write(self, writes: Sequence[Write]) -> bool:
        if self.fails and self._operation == "write":
            raise StoreError("it took too long")
        return await self._store.write(writes)


@pytest.mark.parametrize(("operation", "uses"), [("count", 1), ("write", 2)])
def test_a_store_that_fails_after_a_use_was_taken_loses_it_and_gives_none_back(operation: str, uses: int) -> None:
    with EmbeddedStore.in_memory() as kept:
        store = FailsAfterCounting(kept, operation)
        gate = Gate(policy(uses=uses), store=store)
        asked = gate.call()
        store.fails = True
        lost = gate.retry(asked)
        assert (went_on(lost), reason(lost)) == (False, "raised StoreError")
        store.fails = False
        assert [went_on(gate.retry(asked)) for _ in range(uses)] == [True] * (uses - 1) + [False]


def test_the_person_is_told_that_it_is_decided_although_the_list_could_not_be_changed() -> None:
    class Listless(Interleaving):
        fails = False

        async def write(self, writes: Sequence[Write]) -> bool:
            if self.fails and any(write.key.name == "waiting" for write in writes):
                raise StoreError("gone")
            return await super().write(writes)

    with EmbeddedStore.in_memory() as kept:
        store = Listless(kept)
        gate = Gate(store=store)
        path = path_of(error_of(gate.call(version=LEGACY))["message"])
        store.fails = True
        assert gate.decide(path).reason == "confirmation-approved"
        assert went_on(gate.call(version=LEGACY))
        assert path not in gate.visit("/").body, "what is listed still is looked at again"


def test_a_trail_says_who_said_yes_and_no_name_ends_its_line() -> None:
    gate = Gate(policy(by=SRE))
    path = path_of(error_of(gate.call(version=LEGACY))["message"])
    forger = replace(BOB_IN_A_BROWSER, subject='bob\n{"event":"visit"}' + "x" * 400)
    gate.decide(path, who=forger)
    passed = gate.call(version=LEGACY)
    assert went_on(passed)
    assert len(passed.metadata["confirmed_by"]) == 128
    assert "\n" not in json.dumps(passed.metadata)
    assert result_of(passed) == {}
