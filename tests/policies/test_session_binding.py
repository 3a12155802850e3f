"""session-binding: sessions, request states and tasks are used by whom they were handed out to, and by nobody else."""

from __future__ import annotations

import asyncio
import itertools
import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from ext_proc.engine.pipeline import Binding
from ext_proc.headers import Headers
from ext_proc.identity import from_claims
from ext_proc.messages import RequestHead, ResponseHead, ToolCall, ToolResult
from ext_proc.policy import Context, Deny, Exchanged, Mutation, NoParameters, Policy, Verdict
from ext_proc.stores.embedded import EmbeddedStore
from ext_proc.stores.store import Count, Counted, Entry, Key, Write
from ext_proc.testing import HttpResponse, Played, call, response
from ext_proc.trail import Trail
from gatehouse_policies.session_binding import Parameters, SessionBinding, State
from tests.policies.town import ANN, ANNS_AGENT, BOB, MODERN, OTHER_ANN, Broken, Interleaving, Town, reason, went_on

INITIALIZE = {"jsonrpc": "2.0", "id": 1, "method": "initialize", "params": {"protocolVersion": "2025-11-25"}}
PING = {"jsonrpc": "2.0", "id": 2, "method": "ping"}
SESSION = "5e551011-0000-4000-8000-c0ffee"
STATE = 'v1.0paque~{"a": 1}\u00fc\U0001f98a='


def policy(**parameters: Any) -> SessionBinding:
    return SessionBinding("sessions", Parameters.model_validate(parameters))


def town(**parameters: Any) -> Town:
    return Town(policy(**parameters))


def opened(session: str = SESSION, status: int = 200) -> HttpResponse:
    """The answer to `initialize` with a session id."""
    result = {"protocolVersion": "2025-11-25", "capabilities": {}, "serverInfo": {"name": "s", "version": "1"}}
    body = {"jsonrpc": "2.0", "id": 1, "result": result}
    return response(body, status=status, headers={"content-type": "application/json", "mcp-session-id": session})


def with_session(claims: Mapping[str, Any] | None = ANN, **parameters: Any) -> Town:
    """A town in which a caller has opened SESSION."""
    found = town(**parameters)
    assert not reason(found.play(INITIALIZE, opened(), claims))
    return found


def told(played: Played) -> tuple[int, dict[str, str], Any]:
    """What a client was told, but for the trail's id."""
    assert played.client is not None
    body = played.client.json
    body["error"]["data"].pop("trail")
    return played.client.status, played.client.headers, body


@pytest.mark.parametrize("method", ["POST", "GET", "DELETE"])
@pytest.mark.parametrize("claims", [ANN, ANNS_AGENT, None], ids=["human", "agent", "anonymous"])
def test_a_session_is_used_by_the_principal_that_got_it(claims: Mapping[str, Any] | None, method: str) -> None:
    here = with_session(claims)
    played = here.play(PING, claims=claims, method=method, session=SESSION)
    assert (reason(played), went_on(played)) == ("", True)
    assert played.upstream is not None
    assert played.upstream.headers["mcp-session-id"] == SESSION


def test_an_agent_and_the_caller_it_acts_for_share_their_sessions() -> None:
    assert not reason(with_session(ANN).play(PING, claims=ANNS_AGENT, session=SESSION))
    assert not reason(with_session(ANNS_AGENT).play(PING, claims=ANN, session=SESSION))


@pytest.mark.parametrize("method", ["POST", "GET", "DELETE"])
@pytest.mark.parametrize("version", ["", MODERN])
@pytest.mark.parametrize("thief", [BOB, OTHER_ANN, None], ids=["bob", "ann of another issuer", "anonymous"])
def test_anothers_session_and_one_that_never_was_are_answered_alike(
    thief: Mapping[str, Any] | None, version: str, method: str
) -> None:
    here = with_session()
    stolen = here.play(PING, claims=thief, method=method, session=SESSION, version=version)
    never = here.play(PING, claims=thief, method=method, session="5e551011-never", version=version)
    assert not went_on(stolen)
    assert not went_on(never)
    assert told(stolen) == told(never)
    status, headers, body = told(never)
    assert (status, headers["content-type"], body["id"]) == (404, "application/json", None)
    assert body["error"] == {"code": -32600, "message": "session not found", "data": {"reason": "session-unknown"}}
    assert not reason(here.play(PING, claims=ANN, session=SESSION)), "its owner is not disturbed"


def test_the_record_and_not_the_caller_says_that_a_session_is_anothers() -> None:
    here = with_session()
    assert here.play(PING, claims=BOB, session=SESSION).metadata["session_of_another"] is True
    assert "session_of_another" not in here.play(PING, claims=BOB, session="never").metadata


def test_no_session_id_that_its_server_did_not_give_gets_to_initialize() -> None:
    here = town()
    fixed = here.play(INITIALIZE, opened("chosen"), ANN, session="chosen")
    assert (reason(fixed), went_on(fixed)) == ("session-unknown", False)


def test_the_store_that_fails_keeps_an_answer_with_a_session_from_leaving() -> None:
    played = Town(policy(), store=Broken()).play(INITIALIZE, opened(), ANN)
    assert went_on(played)
    assert played.client is not None
    assert "mcp-session-id" not in played.client.headers
    assert played.client.json["error"]["data"]["reason"] == "policy-failed"
    later = Town(policy(), store=Broken()).play(PING, claims=ANN, session=SESSION)
    assert (reason(later), went_on(later)) == ("raised StoreError", False)


def test_with_on_error_allow_the_store_that_fails_stops_nothing() -> None:
    here = Town(Binding(policy(), deny_on_error=False), store=Broken())
    played = here.play(INITIALIZE, opened(), ANN)
    assert played.client is not None
    assert played.client.headers["mcp-session-id"] == SESSION
    assert went_on(here.play(PING, claims=BOB, session=SESSION))


def test_an_answer_that_hands_out_anothers_session_is_refused() -> None:
    here = with_session()
    again = here.play(INITIALIZE, opened(), BOB)
    assert again.client is not None
    assert (reason(again), again.client.status) == ("session-taken", 502)
    assert "mcp-session-id" not in again.client.headers
    assert not reason(here.play(INITIALIZE, opened(), ANN)), "its own may be handed out again"
    assert reason(here.play(PING, claims=BOB, session=SESSION)) == "session-unknown"


def test_a_session_that_any_answer_hands_out_is_bound() -> None:
    here = with_session()
    moved = response(
        {"jsonrpc": "2.0", "id": 2, "result": {}},
        headers={"content-type": "application/json", "mcp-session-id": "moved"},
    )
    here.play(PING, moved, ANN, session=SESSION)
    assert not reason(here.play(PING, claims=ANN, session="moved"))
    assert reason(here.play(PING, claims=BOB, session="moved")) == "session-unknown"


def test_the_id_in_an_error_is_not_bound() -> None:
    here = town()
    here.play(INITIALIZE, opened(status=400), ANN)
    assert reason(here.play(PING, claims=ANN, session=SESSION)) == "session-unknown"


def test_delete_frees_the_session_once_its_server_accepted() -> None:
    here = with_session()
    here.play(None, HttpResponse(status=405, headers={}), ANN, method="DELETE", session=SESSION)
    assert not reason(here.play(PING, claims=ANN, session=SESSION))
    here.play(None, HttpResponse(status=200, headers={}), ANN, method="DELETE", session=SESSION)
    assert reason(here.play(PING, claims=ANN, session=SESSION)) == "session-unknown"
    assert not reason(here.play(INITIALIZE, opened(), BOB)), "the server may give it to another"


def test_an_unknown_session_is_adopted_or_allowed_where_the_bundle_says_so() -> None:
    adopting = town(unknown="adopt")
    assert not reason(adopting.play(PING, claims=ANN, session="old"))
    assert reason(adopting.play(PING, claims=BOB, session="old")) == "session-unknown"
    allowing = with_session(unknown="allow")
    assert not reason(allowing.play(PING, claims=ANN, session="old"))
    assert not reason(allowing.play(PING, claims=BOB, session="old"))
    assert reason(allowing.play(PING, claims=BOB, session=SESSION)) == "session-unknown"
    # Servers repeat a session's id in every answer of it: nothing is handed out by that.
    allowing.play(PING, opened("old"), ANN, session="old")
    assert not reason(allowing.play(PING, claims=BOB, session="old"))


def test_callers_that_nobody_vouches_for_are_one_principal() -> None:
    here = with_session(None)
    assert not reason(here.play(PING, session=SESSION))
    assert reason(here.play(PING, claims=ANN, session=SESSION)) == "session-unknown"


def test_with_anonymous_deny_nothing_is_handed_out_to_them() -> None:
    here = town(anonymous="deny")
    first = here.play(INITIALIZE, opened())
    assert (reason(first), went_on(first)) == ("caller-unknown", False)
    assert reason(here.play(PING, opened())) == "caller-unknown", "nor does another answer"
    assert reason(here.play(call("ask"), asks_back(STATE))) == "caller-unknown"
    assert reason(here.play(call("work"), creates("t1"))) == "caller-unknown"
    assert reason(here.play(PING, session=SESSION)) == "session-unknown"
    assert reason(here.play(task("get", "t1"))) == "task-unknown"
    for unknown in ("adopt", "allow"):
        assert reason(town(anonymous="deny", unknown=unknown).play(PING, session=SESSION)) == "session-unknown"
    assert not reason(here.play(call("search"))), "what hands out nothing is not concerned"
    assert not reason(here.play(INITIALIZE, opened(), ANN))


class Bench:
    """Hooks called by themselves, for what the tests' Envoy cannot send, and for time."""

    def __init__(self, **parameters: Any) -> None:
        self.policy = policy(**parameters)
        self.now = 1_000_000.0
        self.store = Interleaving(EmbeddedStore.in_memory(clock=lambda: self.now))

    def context(
        self, *ids: bytes, answered: Sequence[bytes] = (), status: int = 200, claims: Mapping[str, Any] = ANN
    ) -> Context[State]:
        head = RequestHead("POST", "/mcp", "x", Headers(("mcp-session-id", id) for id in ids))
        exchanged = Exchanged(from_claims(claims), "tools", "mcp", head, Trail("t"), store=self.store, time=self.now)
        exchanged.response = ResponseHead(status, Headers(("mcp-session-id", id) for id in answered))
        return Context(exchanged, State(), "sessions")

    def comes(self, *ids: bytes) -> str:
        """Why a request with these headers is denied; "" if it is not."""
        verdict = asyncio.run(self.policy.on_request_headers(self.context(*ids)))
        return verdict.reason if isinstance(verdict, Deny) else ""

    def leaves(self, *ids: bytes) -> str:
        verdict = asyncio.run(self.policy.on_response_headers(self.context(answered=ids)))
        return verdict.reason if isinstance(verdict, Deny) else ""


@pytest.mark.parametrize("ids", [(b"a", b"a"), (b"a", b"b"), (b"",), (b"a b",), (b"\xff",), (b"a\x00",)])
@pytest.mark.parametrize("unknown", ["deny", "adopt", "allow"])
def test_two_session_headers_or_one_that_is_none_are_refused_both_ways(ids: Sequence[bytes], unknown: str) -> None:
    bench = Bench(unknown=unknown)
    assert bench.comes(*ids) == "session-invalid"
    assert bench.leaves(*ids) == "session-invalid"


@pytest.mark.parametrize("handed_out", [True, False], ids=["by the server", "adopted"])
async def test_of_two_principals_that_get_a_session_at_the_same_time_one_has_it(handed_out: bool) -> None:
    bench = Bench(unknown="adopt")
    if handed_out:
        hook, contexts = (
            bench.policy.on_response_headers,
            [bench.context(answered=[b"s"], claims=c) for c in (ANN, BOB)],
        )
    else:
        hook, contexts = bench.policy.on_request_headers, [bench.context(b"s", claims=c) for c in (ANN, BOB)]
    verdicts = await asyncio.gather(*(hook(context) for context in contexts))
    assert sum(isinstance(verdict, Deny) for verdict in verdicts) == 1


def test_a_session_that_is_used_stays_bound_and_one_that_is_not_expires() -> None:
    bench = Bench(expires="24h")
    bench.leaves(b"used")
    bench.leaves(b"left")
    for _ in range(5):
        bench.now += 20 * 3600
        assert bench.comes(b"used") == ""
    assert bench.comes(b"left") == "session-unknown"
    bench.now += 25 * 3600
    assert bench.comes(b"used") == "session-unknown"


class Deleting(Interleaving):
    """A store in which what is to be prolonged has been deleted meanwhile."""

    async def write(self, writes: Sequence[Write]) -> bool:
        await self.store.write([Write(write.key, None, None) for write in writes if write.expected])
        return await self.store.write(writes)


def test_a_session_that_ends_while_it_is_used_does_not_come_back() -> None:
    bench = Bench()
    bench.leaves(b"s")
    bench.store = Deleting(bench.store)
    bench.now += 20 * 3600
    assert bench.comes(b"s") == "", "this request was before the end"
    assert bench.comes(b"s") == "session-unknown"


class Noting(Broken):
    """A store that remembers what was written."""

    def __init__(self) -> None:
        self.real = EmbeddedStore.in_memory()
        self.written: list[Write] = []
        self.counted: list[Count] = []

    async def read(self, keys: Sequence[Key]) -> Sequence[Entry | None]:
        return await self.real.read(keys)

    async def write(self, writes: Sequence[Write]) -> bool:
        self.written += writes
        return await self.real.write(writes)

    async def count(self, counts: Sequence[Count]) -> Counted:
        self.counted += counts
        return await self.real.count(counts)


def test_a_session_in_use_is_not_written_anew_for_each_request() -> None:
    noting = Noting()
    here = Town(policy(), store=noting)
    here.play(INITIALIZE, opened(), ANN)
    for _ in range(20):
        here.play(PING, claims=ANN, session=SESSION)
    assert len(noting.written) == 1


def test_the_store_holds_no_id_no_state_and_no_name() -> None:
    noting = Noting()
    here = Town(policy(affinity="principal"), store=noting)
    here.play(INITIALIZE, opened(), ANN)
    here.play(call("ask"), asks_back(STATE), ANN)
    here.play(call("work"), creates("task-0001"), ANN)
    kept = [(write.key.group, write.key.name, write.value) for write in noting.written]
    assert len(kept) == 3
    assert all(write.expires in (86400.0, 3600.0) for write in noting.written)
    said = repr((kept, noting.counted))
    assert not [text for text in (SESSION, STATE, "task-0001", "ann", "id.example", "ask") if text in said]


def test_a_caller_has_so_many_sessions_and_ends_some_to_have_more() -> None:
    here = town(sessions_per_caller=3)
    made = [here.play(INITIALIZE, opened(f"s{n}"), ANN) for n in range(5)]
    assert [reason(one) for one in made] == [""] * 3 + ["sessions-too-many"] * 2
    assert made[4].client is not None
    assert (made[4].client.status, "mcp-session-id" in made[4].client.headers) == (429, False)
    assert reason(here.play(PING, claims=ANN, session="s4")) == "session-unknown", "nothing was written of it"
    assert not reason(here.play(INITIALIZE, opened("s0"), ANN)), "what it has is handed out again"
    assert not reason(here.play(INITIALIZE, opened("bobs"), BOB)), "others are not concerned"
    for _ in range(2):
        here.play(None, HttpResponse(status=200, headers={}), ANN, method="DELETE", session="s1")
    assert [reason(here.play(INITIALIZE, opened(id), ANN)) for id in ("s5", "s6")] == ["", "sessions-too-many"]


def test_callers_that_nobody_vouches_for_share_their_places() -> None:
    here = town(sessions_per_caller=2)
    made = [reason(here.play(INITIALIZE, opened(f"s{n}"))) for n in range(3)]
    assert made == ["", "", "sessions-too-many"]


async def test_sessions_that_are_kept_alive_take_places_too() -> None:
    bench = Bench(expires="24h", sessions_per_caller=3, unknown="adopt")
    kept: set[bytes] = set()
    for day in range(8):
        for id in [*kept, *(b"%d-%d" % (day, n) for n in range(3))]:
            if await bench.policy.on_request_headers(bench.context(id)) is None:
                kept.add(id)
        bench.now += 20 * 3600
    bench.policy = policy(expires="24h")
    left = [id for id in kept if await bench.policy.on_request_headers(bench.context(id)) is None]
    assert 3 <= len(left) <= 2 * 3


def test_made_up_ids_that_are_adopted_take_so_much_room_and_no_more() -> None:
    noting = Noting()
    here = Town(policy(unknown="adopt", sessions_per_caller=4), store=noting)
    made = [reason(here.play(PING, claims=ANN, session=f"made-up-{n}")) for n in range(10)]
    assert made == [""] * 4 + ["sessions-too-many"] * 6
    assert len({write.key for write in noting.written}) == 4


@pytest.mark.parametrize("status", [400, 404])
def test_what_was_adopted_and_the_upstream_refused_is_free_again(status: int) -> None:
    here = town(unknown="adopt", sessions_per_caller=2)
    for n in range(5):
        refused = here.play(PING, HttpResponse(status=status, headers={}), ANN, session=f"made-up-{n}")
        assert (reason(refused), went_on(refused)) == ("", True)
    assert not reason(here.play(PING, claims=BOB, session="made-up-0"))
    assert reason(here.play(PING, claims=ANN, session="made-up-0")) == "session-unknown"
    assert not reason(here.play(PING, claims=ANN, session="old"))
    here.play(PING, HttpResponse(status=status, headers={}), ANN, session="old")
    assert reason(here.play(PING, claims=BOB, session="old")) == "session-unknown", "what was accepted once stays"


def test_what_was_adopted_and_the_upstream_never_saw_is_free_again() -> None:
    here = Town(policy(unknown="adopt"), Denies("denies", NoParameters()))
    assert reason(here.play(call("search"), claims=ANN, session="old")) == "no"
    assert not reason(here.play(PING, claims=BOB, session="old"))


class Denies(Policy[NoParameters, None]):
    """Denies every call of a tool."""

    def on_request(self, message: ToolCall, ctx: Context[None]) -> Verdict:
        return Deny("no", "no")


def test_an_end_adopts_nothing() -> None:
    here = town(unknown="adopt")
    ended = here.play(None, claims=ANN, method="DELETE", session="old")
    assert (reason(ended), went_on(ended)) == ("session-unknown", False)
    assert not reason(here.play(PING, claims=BOB, session="old"))


def test_the_rest_of_a_stream_is_its_sessions() -> None:
    rest = {"last-event-id": "17"}
    here = with_session()
    unbound = here.play(None, claims=ANN, method="GET", headers=rest)
    assert not went_on(unbound)
    assert told(unbound) == told(here.play(None, claims=BOB, method="GET", session=SESSION, headers=rest))
    assert told(unbound)[0] == 404
    assert went_on(here.play(None, claims=ANN, method="GET", session=SESSION, headers=rest))
    assert went_on(here.play(None, claims=ANN, method="GET")), "a new stream is nobody's yet"
    allowing = town(resume_without_session="allow")
    assert went_on(allowing.play(None, claims=ANN, method="GET", headers=rest))


def asks_back(state: object = STATE, id: object = 1, **result: Any) -> HttpResponse:
    """A result that asks for input, with the state that the retry has to bring back."""
    asked = {"resultType": "input_required", "inputRequests": {}, "requestState": state, **result}
    return response({"jsonrpc": "2.0", "id": id, "result": asked})


def retry(asked: Mapping[str, Any], state: object = STATE) -> dict[str, Any]:
    """The same request again, with the state."""
    return {**asked, "id": 2, "params": {**asked["params"], "inputResponses": {}, "requestState": state}}


PROMPT = {"jsonrpc": "2.0", "id": 1, "method": "prompts/get", "params": {"name": "ask"}}
RESOURCE = {"jsonrpc": "2.0", "id": 1, "method": "resources/read", "params": {"uri": "file:///ask"}}
ASKED = {"tool": call("ask", {"amount": 10}), "prompt": PROMPT, "resource": RESOURCE}


@pytest.mark.parametrize("asked", ASKED.values(), ids=ASKED.keys())
def test_a_state_comes_back_byte_for_byte_from_the_principal_that_got_it(asked: Mapping[str, Any]) -> None:
    here = town()
    assert not reason(here.play(asked, asks_back(), ANN, version=MODERN))
    for claims in (ANN, ANNS_AGENT, ANN):
        # Escapes, blanks and the order of keys are the client's own.
        body = json.dumps(retry(asked), ensure_ascii=True, indent=1).encode()
        played = here.play(body, claims=claims, version=MODERN)
        assert played.upstream is not None
        assert played.upstream.body == body


STOLEN: dict[str, tuple[Mapping[str, Any], Mapping[str, Any] | None]] = {
    "another principal": (retry(ASKED["tool"]), BOB),
    "the same name of another issuer": (retry(ASKED["tool"]), OTHER_ANN),
    "nobody known": (retry(ASKED["tool"]), None),
    "another tool": (retry(call("pay")), ANN),
    "another method": (retry(PROMPT), ANN),
    "a method that has no states": (retry({**PING, "params": {}}), ANN),
    "a changed state": (retry(ASKED["tool"], STATE + " "), ANN),
    "a state that never was": (retry(ASKED["tool"], "v1.x"), ANN),
    "no text": (retry(ASKED["tool"], {"a": 1}), ANN),
    "an empty text": (retry(ASKED["tool"], ""), ANN),
}


@pytest.mark.parametrize(("sent", "thief"), STOLEN.values(), ids=STOLEN.keys())
@pytest.mark.parametrize(("version", "status"), [(MODERN, 400), ("", 200)])
def test_any_other_use_of_a_state_is_answered_as_by_a_server_that_does_not_know_it(
    sent: Mapping[str, Any], thief: Mapping[str, Any] | None, version: str, status: int
) -> None:
    here = town()
    here.play(ASKED["tool"], asks_back(), ANN, version=version)
    played = here.play(sent, claims=thief, version=version)
    assert not went_on(played)
    found, _, body = told(played)
    assert (found, body["id"], body["error"]["code"]) == (status, 2, -32602)
    assert body["error"]["data"] == {"reason": "state-unknown"}


@pytest.mark.parametrize(("server", "known"), [("other", False), ("tools", True)])
def test_states_and_tasks_of_another_server_are_unknown(server: str, known: bool) -> None:
    here = town()
    here.play(ASKED["tool"], asks_back(), ANN)
    here.play(call("work"), creates("t1"), ANN)
    (route,) = here.book.routes
    here.book = replace(here.book, routes=(replace(route, name="another-route", server=server),))
    assert (not reason(here.play(retry(ASKED["tool"]), claims=ANN))) == known
    assert (not reason(here.play(task("get", "t1"), claims=ANN))) == known


def test_a_state_that_is_null_is_none() -> None:
    assert not reason(town().play(retry(ASKED["tool"], None), claims=ANN))


def test_a_state_that_two_principals_got_is_both_of_theirs() -> None:
    here = town()
    for claims in (ANN, BOB):
        here.play(ASKED["tool"], asks_back("step 2"), claims)
    for claims in (ANN, BOB):
        assert not reason(here.play(retry(ASKED["tool"], "step 2"), claims=claims))


def test_a_state_expires() -> None:
    bench = Bench(state_expires="10m")
    asked, again = ToolCall(ASKED["tool"]), ToolCall(retry(ASKED["tool"]))
    answer = ToolResult(asks_back().json, request=asked)
    asyncio.run(bench.policy.on_response(answer, bench.context()))
    bench.now += 599
    assert asyncio.run(bench.policy.on_request(again, bench.context())) is None
    bench.now += 2
    verdict = asyncio.run(bench.policy.on_request(again, bench.context()))
    assert isinstance(verdict, Deny)


def test_a_caller_is_handed_out_so_many_states_and_tasks_for_as_long_as_they_are_kept() -> None:
    here = town(handed_out_per_caller=3)
    for answer_ in (asks_back, creates):
        made = [here.play(ASKED["tool"], answer_(f"v{n}"), ANN) for n in range(5)]
        assert [reason(one) for one in made] == [""] * 3 + ["handed-out-too-many"] * 2
        assert made[4].client is not None
        assert b"v4" not in made[4].client.body
        assert not reason(here.play(ASKED["tool"], answer_("v0"), ANN)), "what it has is handed out again"
        assert not reason(here.play(ASKED["tool"], answer_("v4"), BOB)), "others are not concerned"
    assert reason(here.play(retry(ASKED["tool"], "v4"), claims=ANN)) == "state-unknown"
    assert not reason(here.play(retry(ASKED["tool"], "v2"), claims=ANN))


async def test_states_that_have_expired_take_no_place() -> None:
    bench = Bench(state_expires="10m", handed_out_per_caller=2)
    for _ in range(3):
        answers = [ToolResult(asks_back(f"{bench.now} {n}").json, request=ToolCall(ASKED["tool"])) for n in range(3)]
        verdicts = [await bench.policy.on_response(answer, bench.context()) for answer in answers]
        assert [verdict is None for verdict in verdicts] == [True, True, False]
        bench.now += 600


def test_of_one_answer_with_many_states_so_many_are_kept() -> None:
    noting = Noting()
    here = Town(policy(handed_out_per_caller=10), store=noting)
    asked = [{**call("ask"), "id": n} for n in range(50)]
    here.play(asked, stream(*(asks_back(f"v{n}", id=n).json for n in range(50))), ANN, version="2025-03-26")
    assert len(noting.written) == 10


class Renames(Policy[NoParameters, None]):
    """The tool has another name at the server."""

    def on_request(self, message: ToolCall, ctx: Context[None]) -> Verdict:
        return Mutation(message=message.with_params({**message.params, "name": "internal." + message.name}))


def test_a_state_is_bound_to_the_name_that_the_client_knows() -> None:
    here = Town(policy(), Renames("renames", NoParameters()))
    first = here.play(ASKED["tool"], asks_back(), ANN)
    assert first.upstream is not None
    assert b"internal.ask" in first.upstream.body
    assert not reason(here.play(retry(ASKED["tool"]), claims=ANN))


def stream(*values: Any) -> HttpResponse:
    """A stream of events."""
    body = b"".join(b"id: %d\ndata: %s\n\n" % (n, json.dumps(value).encode()) for n, value in enumerate(values))
    return HttpResponse(body, headers={"content-type": "text/event-stream"}, sized=False)


NOTE = {"jsonrpc": "2.0", "method": "notifications/message", "params": {"level": "info", "data": "grüße 🦊"}}


@settings(deadline=None, max_examples=60)
@given(
    cuts=st.lists(st.integers(0, 400), max_size=6),
    as_stream=st.booleans(),
    kind=st.sampled_from(list(ASKED)),
)
def test_a_state_is_bound_and_taken_back_however_bodies_are_cut(
    cuts: Sequence[int], as_stream: bool, kind: str
) -> None:
    def cut(body: bytes) -> Sequence[bytes]:
        ends = [0, *sorted(at for at in cuts if at < len(body)), len(body)]
        return [body[start:end] for start, end in itertools.pairwise(ends)]

    here = town()
    answer = asks_back()
    answer = stream(NOTE, answer.json) if as_stream else replace(answer, sized=False)
    first = here.play(ASKED[kind], answer, ANN, version=MODERN, cut=cut)
    assert first.client is not None
    assert first.client.body == answer.body, [entry.reason for entry in first.trail.entries]
    assert not reason(here.play(retry(ASKED[kind]), claims=ANN, version=MODERN, cut=cut))
    assert reason(here.play(retry(ASKED[kind]), claims=BOB, version=MODERN, cut=cut)) == "state-unknown"


def test_in_a_batch_only_the_call_with_anothers_state_is_denied() -> None:
    here = town()
    here.play(ASKED["tool"], asks_back(), ANN)
    sent = [retry(ASKED["tool"]), {**call("search"), "id": 3}]
    played = here.play(sent, response({"jsonrpc": "2.0", "id": 3, "result": {}}), BOB, version="2025-03-26")
    assert played.upstream is not None
    assert json.loads(played.upstream.body) == sent[1:]
    assert played.client is not None
    assert [answer["id"] for answer in played.client.json] == [3, 2]


def creates(task: str, modern: bool = False, id: object = 1) -> HttpResponse:
    """The answer to a call that became a task."""
    seed = {"taskId": task, "status": "working", "createdAt": "2026-01-01T00:00:00Z", "lastUpdatedAt": "x", "ttl": None}
    result = {"resultType": "task", **seed} if modern else {"task": seed}
    return response({"jsonrpc": "2.0", "id": id, "result": result})


def task(method: str, id: object) -> dict[str, Any]:
    return {"jsonrpc": "2.0", "id": 5, "method": f"tasks/{method}", "params": {"taskId": id}}


@pytest.mark.parametrize("method", ["get", "result", "cancel", "update"])
@pytest.mark.parametrize("modern", [False, True], ids=["2025-11-25", MODERN])
def test_a_task_is_opened_to_the_principal_that_got_its_id(modern: bool, method: str) -> None:
    here = town()
    version = MODERN if modern else "2025-11-25"
    assert not reason(here.play(call("work"), creates("t1", modern), ANN, version=version))
    for claims in (ANN, ANNS_AGENT):
        assert went_on(here.play(task(method, "t1"), claims=claims, version=version))
    stolen = here.play(task(method, "t1"), claims=BOB, version=version)
    never = here.play(task(method, "t2"), claims=BOB, version=version)
    assert not went_on(stolen)
    assert told(stolen) == told(never)
    status, _, body = told(stolen)
    expected = (404, 5, -32601) if modern and method == "result" else (400 if modern else 200, 5, -32602)
    assert (status, body["id"], body["error"]["code"]) == expected


@pytest.mark.parametrize("id", [None, 1, ["t1"], {"taskId": "t1"}])
def test_a_task_id_that_is_no_text_is_unknown(id: object) -> None:
    assert reason(town().play(task("get", id), claims=ANN)) == "task-unknown"
    assert reason(town().play({"jsonrpc": "2.0", "id": 1, "method": "tasks/get"}, claims=ANN)) == "task-unknown"


@pytest.mark.parametrize(("version", "code"), [("", -32602), (MODERN, -32601)], ids=["legacy", "modern"])
def test_a_task_is_unknown_as_the_servers_of_the_revision_say_it(version: str, code: int) -> None:
    # SEP-2663 took tasks/result away: there a server knows no such method.
    played = town().play(task("result", "t1"), claims=ANN, version=version)
    assert played.client is not None
    assert played.client.json["error"]["code"] == code
    assert played.upstream is None


def test_what_a_task_is_asked_for_hands_out_nothing() -> None:
    here = town()
    here.play(call("work"), creates("t1"), ANN)
    status = {"taskId": "t2", "status": "working"}
    here.play(task("get", "t1"), response({"jsonrpc": "2.0", "id": 5, "result": status}), ANN)
    assert reason(here.play(task("get", "t2"), claims=ANN)) == "task-unknown"


def test_a_list_of_tasks_shows_the_principals_own() -> None:
    here = town()
    for number in range(100):
        here.play(call("work"), creates(f"t{number}"), BOB if number % 3 else ANN)
    listing = {"jsonrpc": "2.0", "id": 1, "method": "tasks/list"}
    tasks: list[Any] = [{"taskId": f"t{number}", "status": "working"} for number in range(100)]
    page = {"tasks": [*tasks, {"taskId": "never"}, {"taskId": 7}, "t0"], "nextCursor": "p2"}
    answer = response({"jsonrpc": "2.0", "id": 1, "result": page})
    shown = here.play(listing, answer, ANN)
    assert shown.client is not None
    assert shown.client.json["result"] == {"tasks": tasks[::3], "nextCursor": "p2"}
    assert [entry.reason for entry in shown.trail.entries if entry.reason] == ["hid 69 of 103 tasks"]
    nobody = here.play(listing, answer)
    assert nobody.client is not None
    assert nobody.client.json["result"]["tasks"] == []


@pytest.mark.parametrize("tasks", [None, "t1", {"taskId": "t1"}, 3])
def test_a_list_of_tasks_that_is_none_shows_nothing(tasks: object) -> None:
    listing = {"jsonrpc": "2.0", "id": 1, "method": "tasks/list"}
    shown = town().play(listing, response({"jsonrpc": "2.0", "id": 1, "result": {"tasks": tasks}}), ANN)
    assert shown.client is not None
    assert shown.client.json["result"] == {"tasks": []}


@pytest.mark.parametrize("key", ["Tasks", "ta\u017fks"])
def test_a_list_that_some_clients_would_read_as_one_of_tasks_does_not_leave(key: str) -> None:
    listing = {"jsonrpc": "2.0", "id": 1, "method": "tasks/list"}
    answer = response({"jsonrpc": "2.0", "id": 1, "result": {key: [{"taskId": "t1"}]}})
    shown = town().play(listing, answer, ANN)
    assert shown.client is not None
    assert b"t1" not in shown.client.body


def listen(**notifications: Any) -> dict[str, Any]:
    return {"jsonrpc": "2.0", "id": 1, "method": "subscriptions/listen", "params": {"notifications": notifications}}


def test_a_principal_subscribes_to_its_own_tasks() -> None:
    here = town()
    here.play(call("work"), creates("t1", modern=True), ANN, version=MODERN)
    here.play(call("work"), creates("t2", modern=True), BOB, version=MODERN)
    own = listen(taskIds=["t1"], toolsListChanged=True, resourceSubscriptions=["file:///a"])
    assert here.play(own, claims=ANN, version=MODERN).upstream is not None
    narrowed = here.play(
        listen(**{**own["params"]["notifications"], "taskIds": ["t2", "t1", "t3", 4]}), claims=ANN, version=MODERN
    )
    assert narrowed.upstream is not None
    assert json.loads(narrowed.upstream.body) == own
    whole = here.play(own, claims=ANN, version=MODERN)
    assert whole.upstream is not None
    assert whole.upstream.body == json.dumps(own, separators=(",", ":")).encode()
    assert reason(here.play(listen(taskIds="t1"), claims=ANN, version=MODERN)) == "task-unknown"
    assert not reason(here.play(listen(toolsListChanged=True), claims=ANN, version=MODERN))


def affinity(played: Played) -> str | None:
    assert played.upstream is not None
    return played.upstream.headers.get("x-gatehouse-affinity")


def test_a_session_goes_where_it_was_opened_and_others_elsewhere() -> None:
    here = town(affinity="session")
    forged = {"x-gatehouse-affinity": "mine"}
    first, other = here.play(INITIALIZE, opened(), ANN, headers=forged), here.play(INITIALIZE, opened("other"), ANN)
    home = affinity(first)
    assert home not in (None, "mine", affinity(other))
    assert SESSION not in str(home)
    for method in ("POST", "GET", "DELETE"):
        assert affinity(here.play(PING, claims=ANN, method=method, session=SESSION, headers=forged)) == home
    assert affinity(here.play(PING, claims=ANN, session="other")) == affinity(other)
    assert first.metadata["affinity"] == home


def test_a_state_and_a_task_go_back_to_where_they_were_handed_out() -> None:
    here = town(affinity="session")
    asked = here.play(ASKED["tool"], asks_back(), ANN, version=MODERN)
    worked = here.play(call("work"), creates("t1", modern=True), ANN, version=MODERN)
    assert affinity(asked) != affinity(worked)
    assert affinity(here.play(retry(ASKED["tool"]), claims=ANN, version=MODERN)) == affinity(asked)
    for _ in range(2):
        assert affinity(here.play(task("get", "t1"), claims=ANN, version=MODERN)) == affinity(worked)


def test_a_session_from_before_the_affinity_stays_together() -> None:
    for unknown in ("adopt", "allow"):
        here = town(affinity="session", unknown=unknown)
        homes = {affinity(here.play(PING, claims=ANN, session="old")) for _ in range(3)}
        assert len(homes) == 1
        assert homes != {affinity(here.play(PING, claims=ANN, session="older"))}


def test_a_principal_goes_to_one_place_whoever_acts_for_it() -> None:
    here = town(affinity="principal")
    homes = [affinity(here.play(PING, claims=claims)) for claims in (ANN, ANN, ANNS_AGENT, BOB, None)]
    assert homes[0] == homes[1] == homes[2]
    assert len(set(homes)) == 3
    assert "ann" not in str(homes)


def test_without_affinity_there_is_no_fact() -> None:
    assert affinity(with_session().play(PING, claims=ANN, session=SESSION)) is None


@pytest.mark.parametrize(
    "parameters",
    [
        {"expires": "0s"},
        {"expires": 60},
        {"unknown": "pass"},
        {"affinity": "sticky"},
        {"expire": "1h"},
        {"sessions_per_caller": 0},
        {"handed_out_per_caller": 0},
        {"resume_without_session": "adopt"},
    ],
)
def test_parameters_that_mean_nothing_are_refused(parameters: Mapping[str, Any]) -> None:
    with pytest.raises(ValidationError):
        Parameters.model_validate(parameters)
