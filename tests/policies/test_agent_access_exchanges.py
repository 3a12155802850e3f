"""agent-access in whole exchanges with the engine and A2A's codec: what reaches the agent, and what leaves."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping, Sequence
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ext_proc.codecs.a2a import A2aCodec
from ext_proc.engine.pipeline import Binding, Pipeline
from ext_proc.engine.route import Route, RouteMatch, Rulebook
from ext_proc.limits import Limits
from ext_proc.stores.embedded import EmbeddedStore
from ext_proc.stores.store import Store
from ext_proc.testing import Cut, HttpRequest, HttpResponse, Played, pass_through, request, response, whole
from gatehouse_policies.agent_access import AgentAccess, Parameters
from tests.exchange.test_cutting import cut_at
from tests.policies.agent_exchanges import EVERYTHING, event, hands_out, on_list, on_task, page, send, task
from tests.policies.signed_cards import as_served, key_file, signed_by
from tests.policies.town import ANN, BOB, PATIENCE, Broken, reason, went_on
from tests.unit.credentials.minting import Minter, jwks

MINTER, STRANGER = Minter("ES256", "k1"), Minter("ES256", "k1")
VERSIONS = ["1.0", "0.3"]
REQUIRED: dict[str, Any] = {"cards": {"verify": "required", "keys": [key_file(jwks(MINTER))]}}
CARD = "/.well-known/agent-card.json"


class Agency:
    """One route to an agent, and a store."""

    def __init__(
        self, *, store: Store | None = None, shadow: bool = False, on_error_deny: bool = True, **parameters: Any
    ) -> None:
        policy = AgentAccess("agents", Parameters.model_validate({"rules": EVERYTHING, **parameters}))
        bound = Binding(policy, enforce=not shadow, deny_on_error=on_error_deny, timeout=PATIENCE)
        route = Route("agents", RouteMatch(path="/"), "a2a", (A2aCodec(),), Pipeline([bound], time.monotonic))
        self.book = Rulebook("test", "r1", (route,), limits=Limits(decision=PATIENCE))
        self.store = EmbeddedStore.in_memory() if store is None else store

    def play(
        self, sent: Any, answer: HttpResponse | None = None, claims: Mapping[str, Any] | None = ANN, cut: Cut = whole
    ) -> Played:
        """One exchange; a text is the path of a card."""
        if isinstance(sent, str):
            asked = HttpRequest(method="GET", path=sent, headers={}, claims=claims)
        else:
            asked = request(sent.raw, path="/a2a", claims=claims)
        return pass_through(self.book, asked, answer or json_of(hands_out("t0")), cut, store=self.store)


def json_of(message: Any) -> HttpResponse:
    return response(message.raw)


def events(*messages: Any) -> HttpResponse:
    """A stream of answers, whose length nobody knows."""
    body = b"".join(b"data: " + message.raw + b"\n\n" for message in messages)
    return HttpResponse(body, headers={"content-type": "text/event-stream"}, sized=False)


def card_of(minter: Minter, *versions: str, sized: bool = True) -> HttpResponse:
    """A card as a server may write it: not as anybody here would."""
    return HttpResponse(json.dumps(as_served(signed_by(minter, *versions)), indent=3).encode(), sized=sized)


def body_of(played: Played) -> bytes:
    assert played.client is not None
    return played.client.body


def error_of(played: Played) -> Any:
    return json.loads(body_of(played))["error"]


def cut_by(positions: Sequence[int]) -> Cut:
    return lambda body: cut_at(body, positions)


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("operation", ["GetTask", "CancelTask", "SubscribeToTask"])
def test_nothing_of_a_stolen_task_reaches_the_agent(operation: str, version: str) -> None:
    here = Agency()
    assert reason(here.play(send(version), json_of(hands_out("t1", "c1", version)))) == ""
    stolen, never = (here.play(on_task(operation, id, version), claims=BOB) for id in ("t1", "t2"))
    assert [went_on(stolen), went_on(never)] == [False, False]
    assert (error_of(stolen)["code"], error_of(stolen)["message"]) == (-32001, "Task not found")
    assert json.loads(body_of(stolen)) == json.loads(body_of(never))
    assert went_on(here.play(on_task(operation, "t1", version)))


@pytest.mark.parametrize("version", VERSIONS)
def test_a_stream_ends_at_the_first_event_of_anothers_context(version: str) -> None:
    here = Agency()
    here.play(send(version), json_of(hands_out("t1", "anns", version)))
    told = [event("t2", "bobs", version), event("t2", "anns", version), event("t3", "bobs", version)]
    played = here.play(send(version, stream=True), events(*told), BOB)
    assert reason(played) == "context-taken"
    assert body_of(played).startswith(b"data: " + told[0].raw + b"\n\n")
    assert b"anns" not in body_of(played)
    assert b"t3" not in body_of(played)
    assert went_on(here.play(on_task("GetTask", "t2", version), claims=BOB))
    assert not went_on(here.play(on_task("GetTask", "t3", version), claims=BOB))


@settings(max_examples=40, deadline=None)
@given(st.lists(st.integers(0, 800), max_size=12), st.sampled_from(VERSIONS))
def test_a_stream_cut_anywhere_leaves_as_it_came_and_binds_the_same(positions: list[int], version: str) -> None:
    here = Agency()
    told = events(*(event(f"t{number % 3}", "c1", version) for number in range(6)))
    played = here.play(send(version, stream=True), told, cut=cut_by(positions))
    assert body_of(played) == told.body
    assert [reason(here.play(on_task("GetTask", f"t{number}", version))) for number in range(4)] == [
        *("", "", ""),
        "task-unknown",
    ]
    assert reason(here.play(send(version, contextId="c1"), claims=BOB)) == "task-unknown"


@settings(max_examples=40, deadline=None)
@given(st.lists(st.integers(0, 800), max_size=12))
def test_a_list_cut_anywhere_holds_the_principals_own(positions: list[int]) -> None:
    here = Agency()
    here.play(send(), json_of(hands_out("t1", "c1")))
    here.play(send(), json_of(hands_out("t2", "c2")), BOB)
    listed = HttpResponse(page(task("t1"), task("t2"), task("t3")).raw, sized=False)
    result = json.loads(body_of(here.play(on_list(), listed, BOB, cut_by(positions))))["result"]
    assert ([found["id"] for found in result["tasks"]], result["totalSize"]) == (["t2"], 1)


@settings(max_examples=30, deadline=None)
@given(st.lists(st.integers(0, 3000), max_size=8), st.sampled_from([("1.0",), ("1.0", "0.3")]), st.booleans())
def test_a_signed_card_cut_anywhere_arrives_byte_for_byte(
    positions: list[int], versions: tuple[str, ...], sized: bool
) -> None:
    served = card_of(MINTER, *versions, sized=sized)
    played = Agency(**REQUIRED).play(CARD, served, claims=None, cut=cut_by(positions))
    assert (reason(played), body_of(played)) == ("", served.body)


@settings(max_examples=20, deadline=None)
@given(st.lists(st.integers(0, 3000), max_size=8), st.booleans())
def test_of_a_card_that_nobody_vouches_for_not_a_byte_leaves(positions: list[int], sized: bool) -> None:
    played = Agency(**REQUIRED).play(CARD, card_of(STRANGER, sized=sized), claims=None, cut=cut_by(positions))
    assert played.client is not None
    # Where the length is not known the headers have left before (docs/adr/0005).
    assert (reason(played), played.client.status) == ("card-unverified", 502 if sized else 200)
    assert error_of(played)["code"] == 502
    assert b"agents.example" not in body_of(played)


def test_what_an_agent_is_told_to_notify_is_decided_before_it_hears_of_it() -> None:
    config = {"taskPushNotificationConfig": {"url": "https://169.254.169.254/latest/meta-data/", "token": "t"}}
    here = Agency(push_notifications={"hosts": ["hooks.example.com"]})
    played = here.play(send(configuration=config))
    assert (reason(played), went_on(played), error_of(played)["code"]) == ("push-url-address", False, -32602)
    assert b"169.254" not in body_of(played)


def test_a_shadow_decides_is_recorded_and_changes_nothing() -> None:
    here = Agency(shadow=True, **REQUIRED)
    stolen = here.play(on_task("GetTask", "t1"))
    assert (went_on(stolen), reason(stolen)) == (True, "")
    assert "task-unknown" in {entry.reason for entry in stolen.trail.entries}
    forged = card_of(STRANGER)
    assert body_of(here.play(CARD, forged)) == forged.body
    listed = json_of(page(task("t9")))
    assert body_of(here.play(on_list(), listed)) == listed.body


def test_a_store_that_fails_lets_nobody_at_a_task_and_hands_out_none() -> None:
    here = Agency(store=Broken())
    assert not went_on(here.play(on_task("GetTask", "t1")))
    answered = here.play(send(), json_of(hands_out("t1", "c1")))
    assert went_on(answered)
    assert b"t1" not in body_of(answered)
    allowing = Agency(store=Broken(), on_error_deny=False)
    assert went_on(allowing.play(on_task("GetTask", "t1")))


def test_a_skill_travels_as_a_header_for_routing() -> None:
    here = Agency(rules=[{"skills": ["book"], "allow": True}])
    played = here.play(send(metadata={"skillId": "book"}))
    assert played.upstream is not None
    assert played.upstream.headers["x-gatehouse-skill"] == "book"


def test_a_key_that_is_written_otherwise_gets_nobody_anothers_task() -> None:
    # The official SDK reads `task_id` and `taskId` alike (protobuf's JSON).
    here = Agency()
    here.play(send(), json_of(hands_out("t1", "c1")))
    for message in ({"task_id": "t1"}, {"context_id": "c1"}, {"reference_task_ids": ["t1"]}, {"TaskId": "t1"}):
        assert not went_on(here.play(send(**message), claims=BOB))
