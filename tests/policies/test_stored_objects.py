"""session-binding: what a model's provider keeps is referred to by whom it was handed out to, and by nobody else."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping, Sequence
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from ext_proc.engine.pipeline import Binding
from ext_proc.headers import Headers
from ext_proc.identity import from_claims
from ext_proc.messages import Completion, Generation, RequestHead
from ext_proc.policy import Context, Deny, Exchanged, NoParameters, Policy, Verdict
from ext_proc.stores.embedded import EmbeddedStore
from ext_proc.stores.store import Count, Counted, Entry, Key, Store, StoreError, Write
from ext_proc.testing import Played
from ext_proc.trail import Trail
from gatehouse_policies.session_binding import Parameters, State
from tests.exchange.recordings import RECORDINGS, Recording
from tests.exchange.test_cutting import cut_at
from tests.exchange.text_policies import Replace
from tests.policies.stored import Provider, answered, policy, told
from tests.policies.town import ANN, ANNS_AGENT, BOB, OTHER_ANN, PATIENCE, Broken, Interleaving, reason, went_on
from tests.unit.codecs.openai_responses_building import RESPONSES, asking, event, says, stream, talk
from tests.unit.codecs.test_openai_chat_cutting import CUTS

CONTAINER = {"type": "code_interpreter_call", "id": "ci_1", "container_id": "cntr_1", "code": "1", "outputs": None}
SPOKEN = answered(says("hello"), CONTAINER, conversation={"id": "conv_1"})
TOOL = {"type": "code_interpreter", "container": "cntr_1"}
# Every way to refer to something of SPOKEN, and what is said where that is not the caller's.
WAYS: Mapping[str, tuple[dict[str, Any], int, str]] = {
    "response": ({"previous_response_id": "resp_1"}, 400, "previous_response_not_found"),
    "compared": ({"prompt_cache_options": {"comparison_response_id": "resp_1"}}, 400, "previous_response_not_found"),
    "conversation": ({"conversation": "conv_1"}, 404, "conversation-unknown"),
    "conversation as an object": ({"conversation": {"id": "conv_1"}}, 404, "conversation-unknown"),
    "item": ({"input": [{"type": "item_reference", "id": "msg_1"}]}, 404, "item-unknown"),
    "item without a type": ({"input": [{"id": "msg_1"}]}, 404, "item-unknown"),
    "item without what it was": ({"input": [{"type": "reasoning", "id": "msg_1", "summary": []}]}, 404, "item-unknown"),
    "container of a tool": ({"tools": [TOOL]}, 404, "container-unknown"),
    "container of a call": ({"input": [CONTAINER]}, 404, "container-unknown"),
    "container of a shell": (
        {"tools": [{"type": "shell", "environment": {"type": "container_reference", "container_id": "cntr_1"}}]},
        *(404, "container-unknown"),
    ),
    "unpacked": ({"extra_body": {"previous_response_id": "resp_1"}}, 400, "previous_response_not_found"),
}
in_every_way = pytest.mark.parametrize(("fields", "status", "code"), WAYS.values(), ids=WAYS)
THIEVES = [BOB, OTHER_ANN, None]


def kept(claims: Mapping[str, Any] | None = ANN, came: Any = SPOKEN, **parameters: Any) -> Provider:
    """A provider that has answered a caller with SPOKEN."""
    here = Provider(policy(**parameters))
    assert not reason(here.ask(claims, came))
    return here


@in_every_way
@pytest.mark.parametrize("claims", [ANN, ANNS_AGENT, None], ids=["human", "agent", "anonymous"])
def test_what_was_handed_out_is_referred_to_by_the_principal_that_got_it(
    claims: Mapping[str, Any] | None, fields: dict[str, Any], status: int, code: str
) -> None:
    played = kept(claims).ask(claims, answered(id="resp_2"), **fields)
    assert (reason(played), went_on(played)) == ("", True)


@in_every_way
@pytest.mark.parametrize("thief", THIEVES, ids=["bob", "ann of another issuer", "anonymous"])
def test_what_is_anothers_and_what_never_was_are_answered_alike(
    thief: Mapping[str, Any] | None, fields: dict[str, Any], status: int, code: str
) -> None:
    here = kept()
    stolen, never = here.ask(thief, **fields), Provider(policy()).ask(thief, **fields)
    assert not went_on(stolen)
    assert not went_on(never)
    assert told(stolen) == told(never)
    assert told(stolen)[0] == status
    assert (told(stolen)[1]["code"], told(stolen)[1]["type"]) == (code, "invalid_request_error")
    assert not reason(here.ask(ANN, **fields)), "its owner is not disturbed"
    assert stolen.metadata["stored_of_another"] is True, "the record says so, not the answer"
    assert "stored_of_another" not in never.metadata


@in_every_way
def test_what_a_stream_hands_out_is_its_principals(fields: dict[str, Any], status: int, code: str) -> None:
    created = event("response.created", response={**SPOKEN, "output": [], "status": "in_progress"})
    items = [event("response.output_item.added", output_index=n, item=item) for n, item in enumerate(SPOKEN["output"])]
    here = kept(came=stream(created, *items, event("response.completed", response=SPOKEN)))
    assert not reason(here.ask(ANN, **fields))
    assert told(here.ask(BOB, **fields))[0] == status


def test_an_item_that_holds_what_it_was_is_no_reference() -> None:
    history = [says("hello"), {"type": "reasoning", "id": "rs_9", "summary": [], "encrypted_content": "x"}]
    assert not reason(Provider(policy()).ask(BOB, input=history))


class Watching:
    """A store that counts its operations, and whose clock can be set."""

    def __init__(self) -> None:
        self.time = 1e9
        self.store = EmbeddedStore.in_memory(lambda: self.time)
        self.operations = 0

    async def read(self, keys: Sequence[Key]) -> Sequence[Entry | None]:
        self.operations += 1
        return await self.store.read(keys)

    async def write(self, writes: Sequence[Write]) -> bool:
        self.operations += 1
        return await self.store.write(writes)

    async def count(self, counts: Sequence[Count]) -> Counted:
        self.operations += 1
        return await self.store.count(counts)

    async def close(self) -> None:
        await self.store.close()


class Full(Watching):
    """A store that reads and counts, and cannot write."""

    async def write(self, writes: Sequence[Write]) -> bool:
        raise StoreError("full")


def context(store: Store, claims: Mapping[str, Any] | None = ANN, time: float = 1e9) -> Context[State]:
    head = RequestHead("POST", "/v1/responses", "x", Headers())
    exchanged = Exchanged(
        from_claims(claims or {}), "r", "openai", head, Trail("t"), server="s", store=store, time=time
    )
    return Context(exchanged, State(), "p")


def referring(**fields: Any) -> Generation:
    message = RESPONSES.read(asking(**fields))
    assert isinstance(message, Generation)
    return message


def answers(*values: Any) -> list[Completion]:
    """The messages of a stream."""
    frames, _ = RESPONSES.decoded(stream(*values))
    return [message for frame in frames for message in frame.messages if isinstance(message, Completion)]


async def test_it_is_bound_when_the_event_that_names_it_leaves() -> None:
    bound, store = policy(), EmbeddedStore.in_memory()
    asked = referring(stream=True)
    ctx = context(store)
    assert await bound.on_request(asked, ctx) is None
    for number, message in enumerate(answers(*talk("a", "b"))):
        assert await bound.on_response(message, ctx) is None
        if number == 0:
            assert await bound.on_request(referring(previous_response_id="resp_1"), context(store)) is None
            denied = await bound.on_request(referring(previous_response_id="resp_1"), context(store, BOB))
            assert isinstance(denied, Deny)


def test_no_answer_leaves_whose_id_could_not_be_bound() -> None:
    played = Provider(policy(), store=Full()).ask(ANN, SPOKEN)
    assert went_on(played)
    assert played.client is not None
    assert b"resp_1" not in played.client.body
    assert told(played)[1]["code"] == "policy-failed"


def test_no_event_leaves_whose_id_could_not_be_bound() -> None:
    played = Provider(policy(), store=Full()).ask(ANN, stream(*talk("said")), stream=True)
    assert played.client is not None
    assert b"msg_1" not in played.client.body
    assert b"said" not in played.client.body
    assert played.client.body.count(b'"reason":"policy-failed"') == 1, "it ends as incomplete, by an event of ours"


def test_the_store_that_fails_lets_no_reference_through_unless_told_to() -> None:
    asked: dict[str, Any] = {"previous_response_id": "resp_1"}
    played = Provider(policy(), store=Broken()).ask(ANN, **asked)
    assert (reason(played), went_on(played)) == ("raised StoreError", False)
    assert not reason(Provider(policy(), store=Broken()).ask(ANN, store=False)), "nothing is looked up"
    careless = Provider(Binding(policy(), deny_on_error=False), store=Broken())
    assert not reason(careless.ask(BOB, **asked))


def test_events_that_name_nothing_new_ask_the_store_nothing() -> None:
    operations = []
    for deltas in (["a"], ["a"] * 50):
        store = Watching()
        assert not reason(Provider(policy(), store=store).ask(ANN, stream(*talk(*deltas)), stream=True))
        operations.append(store.operations)
    assert operations == [6, 6], "a look, a count and a write for the response, and for its item"


def test_what_the_provider_does_not_keep_takes_no_place_and_is_unknown() -> None:
    store = Watching()
    here = Provider(policy(), store=store)
    assert not reason(here.ask(ANN, answered(), store=False))
    assert store.operations == 0
    assert reason(here.ask(ANN, previous_response_id="resp_1")) == "previous_response_not_found"


def test_a_container_is_there_whether_or_not_the_answer_is_kept() -> None:
    here = Provider(policy())
    assert not reason(here.ask(ANN, SPOKEN, store=False))
    assert not reason(here.ask(ANN, tools=[TOOL]))
    assert reason(here.ask(BOB, tools=[TOOL])) == "container-unknown"


def test_what_nobody_has_is_adopted_by_the_first_where_the_bundle_says_so() -> None:
    here = Provider(policy(stored={"unknown": "adopt"}))
    for claims, expected in ((ANN, ""), (ANN, ""), (BOB, "conversation-unknown")):
        assert reason(here.ask(claims, answered(id="resp_2"), conversation="conv_old")) == expected


def test_nothing_is_adopted_by_a_request_that_is_refused() -> None:
    here = kept(stored={"unknown": "adopt"})
    tried = here.ask(BOB, conversation="conv_old", previous_response_id="resp_1")
    assert reason(tried) == "previous_response_not_found"
    assert not reason(here.ask(ANN, conversation="conv_old"))


def test_what_nobody_has_is_anybodys_where_the_bundle_says_so_and_what_somebody_has_is_not() -> None:
    here = kept(stored={"unknown": "allow"})
    for claims in (ANN, BOB):
        spoken = answered(id="resp_2", conversation={"id": "conv_old"})
        assert not reason(here.ask(claims, spoken, conversation="conv_old"))
    assert reason(here.ask(BOB, previous_response_id="resp_1")) == "previous_response_not_found"


@pytest.mark.parametrize("unknown", ["deny", "adopt"])
def test_what_is_in_use_is_prolonged_and_what_is_not_expires(unknown: str) -> None:
    store, bound = Watching(), policy(stored={"expires": "10d", "unknown": unknown})
    day = 86400.0

    def ask(claims: Mapping[str, Any]) -> Any:
        return asyncio.run(bound.on_request(asked, context(store, claims, store.time)))

    asked = referring(previous_response_id="resp_1")
    (message,) = answers(event("response.created", response=SPOKEN))
    assert asyncio.run(bound.on_response(message, context(store))) is None
    for _ in range(4):
        store.time += 9 * day
        assert ask(ANN) is None
    assert isinstance(ask(BOB), Deny)
    store.time += 11 * day
    assert isinstance(ask(BOB), Deny) is (unknown == "deny")
    assert isinstance(ask(ANN), Deny)


def test_what_one_principal_gets_is_bounded() -> None:
    here = Provider(policy(stored={"handed_out_per_caller": 3}))
    assert not reason(here.ask(ANN, answered(id="resp_1"))), "a response and its message"
    assert not reason(here.ask(ANN, answered(id="resp_1"))), "what is its own already takes no place"
    refused = here.ask(ANN, answered(says("hello", id="msg_2"), id="resp_2"))
    assert (reason(refused), told(refused)[0], told(refused)[1]["type"]) == ("stored-too-many", 429, "rate_limit_error")
    assert not reason(here.ask(BOB, answered(says("hello", id="msg_2"), id="resp_2"))), "each has its own bound"


def test_what_is_adopted_takes_a_place_too() -> None:
    here = Provider(policy(stored={"handed_out_per_caller": 1, "unknown": "adopt"}))
    assert not reason(here.ask(ANN, store=False, conversation="conv_1"))
    assert reason(here.ask(ANN, store=False, conversation="conv_2")) == "stored-too-many"


def test_a_conversation_that_goes_on_takes_one_place() -> None:
    here = Provider(policy(stored={"handed_out_per_caller": 1, "unknown": "adopt"}))
    for _ in range(3):
        spoken = answered(conversation={"id": "conv_1"})
        assert not reason(here.ask(ANN, spoken, store=False, conversation="conv_1"))


def test_an_id_that_an_answer_names_again_stays_with_the_first() -> None:
    here = kept()
    again = here.ask(BOB, SPOKEN)
    assert not reason(again)
    assert again.client is not None
    assert again.client.json["id"] == "resp_1", "as a cache before the provider answers"
    assert reason(here.ask(BOB, previous_response_id="resp_1")) == "previous_response_not_found"
    assert not reason(here.ask(ANN, previous_response_id="resp_1"))


def test_callers_that_nobody_vouches_for_get_nothing_that_is_kept_where_the_bundle_says_so() -> None:
    here = kept(anonymous="deny")
    refused = here.ask(None)
    assert (reason(refused), went_on(refused)) == ("caller-unknown", False)
    assert told(here.ask(None, previous_response_id="resp_1")) == told(here.ask(BOB, previous_response_id="resp_1"))
    assert not reason(here.ask(None, answered(), store=False)), "nothing is kept of it"
    assert reason(here.ask(None, SPOKEN, store=False)) == "caller-unknown", "it would have got a container"


def test_so_many_things_are_referred_to_by_one_request_and_no_more() -> None:
    items = [says("x", id=f"msg_{number}") for number in range(200)]
    here = kept(came=answered(*items))
    many = [{"type": "item_reference", "id": item["id"]} for item in items]
    assert not reason(here.ask(ANN, input=many))
    assert reason(here.ask(ANN, input=[*many, {"id": "msg_of_another"}])) == "item-unknown"
    more = [{"type": "item_reference", "id": f"msg_{number}"} for number in range(1025)]
    assert told(here.ask(ANN, input=more))[0] == 400
    assert reason(here.ask(ANN, input=more)) == "references-too-many"


def test_routes_to_one_server_share_what_it_keeps_and_others_do_not() -> None:
    store = EmbeddedStore.in_memory()
    one, two, other = (Provider(policy(), store=store, server=name) for name in ("openai", "openai", "azure"))
    assert not reason(one.ask(ANN, SPOKEN))
    asked: dict[str, Any] = {"previous_response_id": "resp_1"}
    assert not reason(two.ask(ANN, **asked))
    assert reason(two.ask(BOB, **asked)) == "previous_response_not_found", "as on two hosts with one store"
    assert reason(other.ask(ANN, **asked)) == "previous_response_not_found"


@pytest.mark.parametrize("unknown", ["deny", "adopt"])
async def test_of_two_hosts_that_bind_the_same_id_at_the_same_time_one_principal_has_it(unknown: str) -> None:
    store = Interleaving(EmbeddedStore.in_memory())
    bound = policy(stored={"unknown": unknown})
    asked = referring(previous_response_id="resp_1")
    if unknown == "adopt":
        got = await asyncio.gather(*(bound.on_request(asked, context(store, who)) for who in (ANN, BOB)))
        assert sorted(verdict is None for verdict in got) == [False, True]
    else:
        (message,) = answers(event("response.created", response=SPOKEN))
        await asyncio.gather(*(bound.on_response(message, context(store, who)) for who in (ANN, BOB)))
    after = [await bound.on_request(asked, context(store, who)) for who in (ANN, BOB)]
    assert sorted(verdict is None for verdict in after) == [False, True]


async def test_a_place_that_was_not_needed_is_given_back() -> None:
    store, bound = Interleaving(EmbeddedStore.in_memory()), policy(stored={"handed_out_per_caller": 3})
    (message,) = answers(event("response.created", response={"id": "resp_1", "output": [says("x"), says("y", id="b")]}))
    for _ in range(3):
        await asyncio.gather(*(bound.on_response(message, context(store, who)) for who in (ANN, BOB)))
    assert await bound.on_response(message, context(store)) is None


def test_in_shadow_all_is_recorded_and_nothing_refused() -> None:
    here = Provider(Binding(policy(), enforce=False))
    assert not reason(here.ask(ANN, stream(*talk("a")), stream=True))
    own, stolen = (here.ask(claims, previous_response_id="resp_1") for claims in (ANN, BOB))
    assert [went_on(played) for played in (own, stolen)] == [True, True]
    assert [reasons_of(played) for played in (own, stolen)] == [set(), {"previous_response_not_found"}]


def reasons_of(played: Played) -> set[str]:
    return {entry.reason for entry in played.trail.entries if entry.reason}


def test_a_request_goes_where_what_it_refers_to_came_from() -> None:
    here = Provider(policy(affinity="session"))
    first = here.ask(ANN, SPOKEN)
    second = here.ask(ANN, answered(id="resp_2"), previous_response_id="resp_1")
    third = here.ask(ANN, answered(id="resp_3"), previous_response_id="resp_2")
    other = here.ask(ANN, answered(id="resp_4"))
    went = [affinity(played) for played in (first, second, third, other)]
    assert went[0] == went[1] == went[2] != went[3]


def affinity(played: Played) -> str:
    assert played.upstream is not None
    return played.upstream.headers["x-gatehouse-affinity"]


@pytest.mark.parametrize("parameters", [{"expires": "0s"}, {"unknown": "yes"}, {"handed_out_per_caller": 0}, {"x": 1}])
def test_parameters_that_make_no_sense_are_refused(parameters: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        Parameters.model_validate({"stored": parameters})


RESPONSES_STREAMED = [r for r in RECORDINGS.values() if r.api == "responses" and r.streams and not r.interrupted]


@given(st.sampled_from(RESPONSES_STREAMED), CUTS)
@settings(max_examples=25, deadline=None)
def test_any_cutting_of_a_recorded_stream_binds_the_same_and_leaves_the_same_bytes(
    recording: Recording, cuts: list[int]
) -> None:
    here = Provider(policy())
    played = here.ask(ANN, recording.response, stream=True, cut=lambda body: cut_at(body, cuts))
    assert played.client is not None
    assert played.client.body == recording.response
    data = [line[6:] for line in recording.response.splitlines() if line.startswith(b"data: {")]
    values = [json.loads(line) for line in data]
    asked: list[dict[str, Any]] = [{"previous_response_id": each["response"]["id"]} for each in values[:1]]
    asked += [{"input": [{"id": each["item"]["id"]}]} for each in values if each.get("item", {}).get("id")]
    assert len(asked) > 1
    for fields in asked:
        assert not reason(here.ask(ANN, **fields))
        assert not went_on(here.ask(BOB, **fields))


BELOW = "/v1/responses/resp_1"
FETCHED: Mapping[str, tuple[str, str]] = {
    "fetched": ("GET", BELOW),
    "deleted": ("DELETE", BELOW),
    "cancelled": ("POST", f"{BELOW}/cancel"),
    "conversation fetched": ("GET", "/v1/conversations/conv_1"),
    "conversation deleted": ("DELETE", "/v1/conversations/conv_1"),
}
by_path = pytest.mark.parametrize(("method", "path"), FETCHED.values(), ids=FETCHED)


def fetch(here: Provider, claims: Mapping[str, Any] | None, method: str, path: str) -> Played:
    gone = {"id": "x", "object": "response", "deleted": True}
    of_model = "responses" in path and method != "DELETE"
    return here.ask(claims, SPOKEN if of_model else gone, method=method, path=path, sent=b"")


@by_path
def test_a_stored_answer_is_asked_for_by_the_principal_that_got_it(method: str, path: str) -> None:
    played = fetch(kept(), ANN, method, path)
    assert (reason(played), went_on(played)) == ("", True)
    assert played.trail.outcome == "ok"


@by_path
@pytest.mark.parametrize("claims", THIEVES)
def test_nobody_else_is_told_whether_there_is_one(claims: Any, method: str, path: str) -> None:
    refused, never = fetch(kept(), claims, method, path), fetch(Provider(policy()), claims, method, path)
    assert (told(refused), went_on(refused)) == (told(never), False)
    status, error = told(refused)
    assert (status, error["message"].endswith("not found")) == (404, True)
    assert "resp_1" not in str(refused.trail.entries) + refused.trail.target


@by_path
def test_where_no_policy_tells_whose_it_is_it_is_opaque(method: str, path: str) -> None:
    shadow = Provider(Binding(policy(), enforce=False), Binding(policy(), timeout=PATIENCE))
    shadow.ask(ANN, SPOKEN)
    assert not reason(fetch(shadow, ANN, method, path))
    unguarded = Provider(Binding(Guards("guards", NoParameters())))
    played = fetch(unguarded, ANN, method, path)
    assert (reason(played), went_on(played)) == ("unguarded-request", False)
    assert went_on(fetch(Provider(Binding(policy(), enforce=False)), ANN, method, path)), "nothing enforces"


class Guards(Policy[NoParameters, None]):
    """Enforces something about generations, and nothing about what is stored."""

    def on_request(self, message: Generation, ctx: Context[None]) -> Verdict:
        return None


def test_what_is_fetched_is_shown_to_policies_as_any_answer_is() -> None:
    here = kept()
    guarded = Provider(policy(), Binding(Replace("hello", "***")), store=here.store)
    played = fetch(guarded, ANN, "GET", BELOW)
    assert played.client is not None
    assert played.client.json["output"][0]["content"][0]["text"] == "***"


def test_a_body_where_there_is_none_due_is_not_let_through() -> None:
    played = kept().ask(ANN, SPOKEN, method="POST", path=f"{BELOW}/cancel", sent={"id": "resp_2"})
    assert (reason(played), went_on(played)) == ("unexpected-body", False)
