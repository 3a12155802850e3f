"""Tasks and contexts of agents: used by whom they were named to, and by nobody else, in both versions of A2A."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any

import pytest

from ext_proc.messages import A2aRequest
from ext_proc.policy import Deny
from ext_proc.stores.store import StoreError
from tests.policies.agent_exchanges import (
    DAY,
    Office,
    event,
    hands_out,
    on_list,
    on_task,
    page,
    replies,
    send,
    task,
    told,
)
from tests.policies.town import ANN, ANNS_AGENT, BOB, OTHER_ANN, Broken

VERSIONS = ["1.0", "0.3"]
ON_TASKS = [
    "GetTask",
    "CancelTask",
    "SubscribeToTask",
    "CreateTaskPushNotificationConfig",
    "GetTaskPushNotificationConfig",
    "ListTaskPushNotificationConfigs",
    "DeleteTaskPushNotificationConfig",
]
PUSH = {"push_notifications": {"hosts": ["hooks.example.com"]}}


def office(**parameters: Any) -> Office:
    """An office in which Ann has the task t1 in the context c1."""
    found = Office(**{**PUSH, **parameters})
    assert found.answers(hands_out("t1", "c1"), ANN) == ""
    return found


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("operation", ON_TASKS)
def test_a_task_is_used_by_the_principal_that_got_it(operation: str, version: str) -> None:
    here = office()
    request = on_task(operation, "t1", version)
    assert request.task_id == "t1"
    assert here.asks(request, ANN) == ""
    assert here.asks(request, ANNS_AGENT) == "", "who acts for the principal has its tasks"


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("operation", ON_TASKS)
@pytest.mark.parametrize("thief", [BOB, OTHER_ANN, None], ids=["bob", "ann of another issuer", "anonymous"])
def test_anothers_task_and_one_that_never_was_are_answered_alike(
    thief: Mapping[str, Any] | None, operation: str, version: str
) -> None:
    here = office()
    verdicts = [
        asyncio.run(here.policy.on_request(on_task(operation, id, version), here.context(thief)))
        for id in ("t1", "never", "")
    ]
    assert told(verdicts) == [("task-unknown", "Task not found", None, -32001, None)] * 3


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("stream", [False, True])
def test_a_message_into_anothers_task_or_context_or_about_one_is_of_an_unknown_task(stream: bool, version: str) -> None:
    here = office()
    strange: list[dict[str, Any]] = [
        {"taskId": "t1"},
        {"taskId": "t1", "contextId": "c1"},
        {"contextId": "c1"},
        {"referenceTaskIds": ["t1"]},
        {"contextId": "bobs", "taskId": "t1"},
    ]
    for message in strange:
        request = send(version, stream=stream, **message)
        assert here.asks(request, BOB) == "task-unknown", message
    own: list[dict[str, Any]] = [{"taskId": "t1"}, {"contextId": "c1"}, {"contextId": "c1", "referenceTaskIds": ["t1"]}]
    for message in own:
        assert here.asks(send(version, stream=stream, **message), ANN) == "", message


def test_a_message_that_has_somebody_notified_of_anothers_task_is_of_an_unknown_task() -> None:
    here = office()
    config = {"taskPushNotificationConfig": {"taskId": "t1", "url": "https://hooks.example.com/a"}}
    assert here.asks(send(configuration=config), BOB) == "task-unknown"
    assert here.asks(send(configuration=config), ANN) == ""


def test_one_reference_of_another_among_ones_own_is_one_too_many() -> None:
    here = office()
    here.answers(hands_out("t2", "c2"), BOB)
    assert here.asks(send(referenceTaskIds=["t2"]), BOB) == ""
    assert here.asks(send(referenceTaskIds=["t2", "t1"]), BOB) == "task-unknown"
    assert here.asks(send(referenceTaskIds=["t2"] * 2000), BOB) == "", "one task, however often"
    assert here.asks(send(referenceTaskIds=[f"x{n}" for n in range(1025)]), BOB) == "references-too-many"


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("makes", [hands_out, event])
def test_whatever_answer_names_a_task_its_caller_has_it(makes: Any, version: str) -> None:
    here = Office()
    assert here.asks(on_task("GetTask", "t7", version), BOB) == "task-unknown"
    assert here.answers(makes("t7", "c7", version), BOB) == ""
    assert here.asks(on_task("GetTask", "t7", version), BOB) == ""
    assert here.asks(send(version, contextId="c7"), BOB) == ""
    assert here.asks(on_task("GetTask", "t7", version), ANN) == "task-unknown"
    assert here.asks(send(version, contextId="c7"), ANN) == "task-unknown"


@pytest.mark.parametrize("version", VERSIONS)
def test_a_task_is_the_same_in_both_versions(version: str) -> None:
    here = Office()
    here.answers(hands_out("t7", "c7", version), BOB)
    for other in VERSIONS:
        assert here.asks(on_task("CancelTask", "t7", other), BOB) == ""


@pytest.mark.parametrize("version", VERSIONS)
def test_the_context_of_a_message_that_answers_is_its_callers(version: str) -> None:
    here = Office()
    assert here.answers(replies("c9", version), BOB) == ""
    assert here.asks(send(version, contextId="c9"), ANN) == "task-unknown"
    assert here.asks(send(version, contextId="c9"), BOB) == ""


def test_a_context_of_a_clients_own_making_belongs_to_the_first_that_uses_it() -> None:
    here = Office()
    assert here.asks(send(contextId="made-up"), ANN) == ""
    assert here.asks(send(contextId="made-up"), BOB) == "task-unknown"
    assert here.answers(hands_out("t1", "made-up"), ANN) == ""
    assert here.asks(send(contextId="made-up"), ANN) == ""


def test_clients_make_no_contexts_where_the_bundle_says_so() -> None:
    here = Office(tasks={"new_contexts": "deny"})
    assert here.asks(send(contextId="made-up"), ANN) == "task-unknown"
    assert here.asks(send(), ANN) == ""
    assert here.answers(hands_out("t1", "c1"), ANN) == ""
    assert here.asks(send(contextId="c1"), ANN) == ""


async def test_of_two_principals_that_make_up_one_context_at_the_same_time_one_has_it() -> None:
    here = Office()
    contexts = [here.context(who) for who in (ANN, BOB)]
    verdicts = await asyncio.gather(*(here.policy.on_request(send(contextId="c"), ctx) for ctx in contexts))
    assert sum(isinstance(verdict, Deny) for verdict in verdicts) == 1


@pytest.mark.parametrize("makes", [hands_out, event])
def test_an_answer_that_names_anothers_context_is_withheld(makes: Any) -> None:
    here = office()
    assert here.answers(makes("t1", "c1"), BOB) == "context-taken"
    assert here.asks(on_task("GetTask", "t1"), BOB) == "task-unknown"


def test_the_record_and_not_the_caller_says_that_a_context_is_anothers() -> None:
    here = office()
    ctx = here.context(BOB)
    asyncio.run(here.policy.on_request(send(contextId="c1"), ctx))
    assert ctx._exchanged.measures == {"context_of_another": True}


def test_a_list_shows_the_principals_own_and_gives_it_nothing() -> None:
    here = office()
    here.answers(hands_out("t2", "c2"), BOB)
    listed = page(task("t1", "c1"), task("t2", "c2"), task("t3", "c3"))
    assert here.lists(listed, ANN) == ["t1"]
    assert here.lists(listed, BOB) == ["t2"]
    assert here.lists(listed, None) == []
    assert here.lists(page(task("t1")), ANN) == ["t1"]
    assert here.asks(on_task("GetTask", "t3"), ANN) == "task-unknown", "to have seen a list is not to have its tasks"


def test_a_list_of_more_tasks_than_are_read_is_withheld() -> None:
    assert Office().answers(page(*(task(f"t{number}") for number in range(1025)))) == "tasks-too-many"


def test_a_list_of_anothers_context_and_of_one_that_never_was_are_answered_alike() -> None:
    here = office()
    assert here.asks(on_list(), BOB) == ""
    assert here.asks(on_list(contextId="c1"), ANN) == ""
    verdicts = [
        asyncio.run(here.policy.on_request(on_list(contextId=context), here.context(BOB)))
        for context in ("c1", "never")
    ]
    assert told(verdicts) == [("task-unknown", "Task not found", None, -32001, None)] * 2


def test_a_task_is_its_servers() -> None:
    here = office()
    assert here.asks(on_task("GetTask", "t1"), ANN, server="billing") == "task-unknown"
    assert here.asks(send(contextId="c1"), BOB, server="billing") == ""


def test_a_task_is_its_tenants() -> None:
    """Two tenants' agents behind one server may call different tasks alike."""

    def at(tenant: str, request: A2aRequest) -> A2aRequest:
        return request.with_params({**request.params, "tenant": tenant})

    here = Office()
    for caller, tenant in ((ANN, "red"), (BOB, "blue")):
        answer = hands_out("t1", "c1")
        answer.request = at(tenant, send(contextId="c1"))
        assert here.answers(answer, caller) == ""
    for request in (on_task("GetTask", "t1"), send(taskId="t1"), send(referenceTaskIds=["t1"]), send(contextId="c1")):
        asked = [here.asks(at(tenant, request), ANN) for tenant in ("red", "blue", "Red")]
        assert asked[:2] == ["", "task-unknown"], request.value
    shown = page(task("t1", "c1"), task("t2", "c2"))
    shown.request = at("blue", on_list())
    assert here.lists(shown) == []


def test_callers_that_nobody_vouches_for_are_one_principal() -> None:
    here = Office()
    here.answers(hands_out("t1", "c1"), None)
    assert here.asks(on_task("GetTask", "t1"), None) == ""
    assert here.asks(on_task("GetTask", "t1"), ANN) == "task-unknown"


def test_with_anonymous_deny_they_send_nothing_and_have_nothing() -> None:
    here = Office(tasks={"anonymous": "deny"})
    assert here.asks(send(), None) == "caller-unknown"
    assert here.asks(on_task("GetTask", "t1"), None) == "task-unknown"
    assert here.asks(on_list(contextId="c1"), None) == "task-unknown"
    assert here.answers(hands_out("t1", "c1"), None) == "caller-unknown"
    assert here.answers(hands_out("t1"), None) == "caller-unknown"
    assert here.lists(page(task("t1")), None) == []
    assert here.asks(on_list(), None) == ""
    assert here.asks(send(), ANN) == ""


def test_what_is_used_stays_its_principals_and_what_is_not_is_nobodys() -> None:
    here = office(tasks={"expires": "2d", "new_contexts": "deny"})
    here.answers(hands_out("left", "c-left"), ANN)
    for _ in range(3):
        here.now += DAY
        assert here.asks(on_task("GetTask", "t1"), ANN) == ""
        assert here.asks(send(contextId="c1"), ANN) == ""
    assert here.asks(on_task("GetTask", "left"), ANN) == "task-unknown"
    assert here.asks(send(contextId="c1"), BOB) == "task-unknown"


def test_what_one_principal_may_have_is_bounded_and_anothers_is_not_touched() -> None:
    here = Office(tasks={"handed_out_per_caller": 2})
    assert [here.answers(hands_out(f"t{number}"), ANN) for number in range(3)] == ["", "", "handed-out-too-many"]
    assert [here.asks(send(contextId=f"c{number}"), ANN) for number in range(3)] == ["", "", "handed-out-too-many"]
    assert here.answers(replies("c9"), ANN) == "handed-out-too-many"
    assert here.answers(hands_out("t9", "c9"), BOB) == ""
    assert here.asks(on_task("GetTask", "t1"), ANN) == "", "what it has it keeps"


async def test_a_streams_events_ask_the_store_once() -> None:
    here = Office()
    ctx = here.context(ANN)
    assert await here.policy.on_response(event("t1", "c1"), ctx) is None
    ctx._exchanged.store = Broken()
    for _ in range(3):
        assert await here.policy.on_response(event("t1", "c1"), ctx) is None
    with pytest.raises(StoreError):
        await here.policy.on_response(event("t2", "c1"), ctx)


def test_what_a_failing_store_is_asked_is_not_answered() -> None:
    here = Office(store=Broken())
    for request in (on_task("GetTask", "t1"), send(contextId="c1"), send(taskId="t1"), send(referenceTaskIds=["t1"])):
        with pytest.raises(StoreError):
            here.asks(request)
    for answered in (hands_out("t1", "c1"), page(task("t1"))):
        with pytest.raises(StoreError):
            here.answers(answered)
    assert here.asks(send()) == ""
