"""A2A through a real Envoy: the official client and server, in both versions, with texts edited and denied.

Rules:
- The agent is the SDK's own server with its layer for 0.3; the clients are made from the card that came through Envoy.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
from a2a.client.errors import A2AClientError
from a2a.types import (
    CancelTaskRequest,
    DeleteTaskPushNotificationConfigRequest,
    GetExtendedAgentCardRequest,
    GetTaskPushNotificationConfigRequest,
    GetTaskRequest,
    ListTaskPushNotificationConfigsRequest,
    ListTasksRequest,
    SubscribeToTaskRequest,
    TaskPushNotificationConfig,
    TaskState,
)
from a2a.utils.errors import A2AError

from tests.envoy.a2a_clients import VERSIONS, agent_url, client_of, running_agent, said, way_to_agent
from tests.envoy.harness import Running, Stacks
from tests.envoy.observed import decisions, mark

BUNDLE = """
apiVersion: gatehouse/v1
kind: Bundle
metadata: {name: agents, revision: "1"}
routes:
  - {name: agent, match: {path: /agent}, protocol: PROTOCOL, policies: [redacts, forbids, guard]}
policies:
  - name: redacts
    type: "tests.envoy.text_policies:Redacts"
    parameters: {word: hunter2, by: 'a "secret"'}
  - name: forbids
    type: "tests.envoy.text_policies:Forbids"
    parameters: {word: forbidden}
  - {name: guard, type: "tests.envoy.policies:Guard"}
"""
SECRET = 'a "secret"'
TWO_READINGS = ({"id": "t", "taskId": "u"}, {"taskId": "u"})


@pytest.fixture(scope="module")
def agent_port(tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    with running_agent(tmp_path_factory.mktemp("agent")) as port:
        yield port


@pytest.fixture(scope="module")
def way(agent_port: int) -> Any:
    # One function for all tests: a stack is used again where it is the same.
    return way_to_agent(agent_port)


@pytest.fixture
def running(gatehouse_stack: Stacks, way: Any) -> Running:
    return gatehouse_stack(BUNDLE.replace("PROTOCOL", "a2a"), edit_bootstrap=way)


@pytest.fixture
def automatic(gatehouse_stack: Stacks, way: Any) -> Running:
    return gatehouse_stack(BUNDLE.replace("PROTOCOL", "auto"), edit_bootstrap=way)


def post(running: Running, body: Any, **headers: str) -> httpx.Response:
    """One POST to the agent, as no official client would send it."""
    lines = {"content-type": "application/json", **headers}
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    return httpx.post(agent_url(running), content=content, headers=lines, timeout=10.0, trust_env=False)


def sending(text: str, **members: Any) -> dict[str, Any]:
    message = {"messageId": "m", "role": "ROLE_USER", "parts": [{"text": text}], **members}
    return {"jsonrpc": "2.0", "id": 7, "method": "SendMessage", "params": {"message": message}}


@pytest.mark.parametrize("version", VERSIONS)
async def test_a_message_is_answered_with_its_texts_edited_on_both_ways(running: Running, version: str) -> None:
    async with client_of(running, version, streaming=False) as client:
        (answer,) = await said(client, "echo hunter2")
    (part,) = answer.message.parts
    assert part.text == f"you said echo {SECRET}"


@pytest.mark.parametrize("version", VERSIONS)
async def test_a_task_streams_its_events_in_order_with_its_artifacts_edited(running: Running, version: str) -> None:
    since = mark(running)
    async with client_of(running, version) as client:
        answers = await said(client, "work on hunter2")
    kinds = [answer.WhichOneof("payload") for answer in answers]
    assert kinds == ["task", "status_update", "artifact_update", "status_update"]
    text, data = answers[2].artifact_update.artifact.parts
    assert text.text == f"the result of work on {SECRET}"
    assert data.data.struct_value["said"] == f"work on {SECRET}"
    assert answers[3].status_update.status.state == TaskState.TASK_STATE_COMPLETED
    (card, decision) = decisions(running, since, 2)
    method = {"0.3": "message/stream", "1.0": "SendStreamingMessage"}[version]
    assert (card["protocol"], card["method"], card["outcome"]) == ("a2a", "GET", "ok")
    assert (decision["protocol"], decision["method"], decision["outcome"]) == ("a2a", method, "ok")


@pytest.mark.parametrize("version", VERSIONS)
async def test_a_task_is_told_of_watched_and_canceled(running: Running, version: str) -> None:
    async with client_of(running, version, streaming=False) as client:
        (begun,) = await said(client, "wait", return_immediately=True)
    async with client_of(running, version) as client:
        since = mark(running)
        found = await client.get_task(GetTaskRequest(id=begun.task.id))
        (decision,) = decisions(running, since)
        watched = client.subscribe(SubscribeToTaskRequest(id=begun.task.id))
        first = await anext(aiter(watched))
        canceled = await client.cancel_task(CancelTaskRequest(id=begun.task.id))
        rest = [answer async for answer in watched]
    assert (found.id, found.context_id) == (begun.task.id, begun.task.context_id)
    assert decision["target"] == begun.task.id
    assert first.task.id == begun.task.id
    assert canceled.status.state == TaskState.TASK_STATE_CANCELED
    assert rest[-1].status_update.status.state == TaskState.TASK_STATE_CANCELED


@pytest.mark.parametrize("version", VERSIONS)
async def test_a_task_that_waits_for_its_caller_goes_on_when_it_is_told_more(running: Running, version: str) -> None:
    since = mark(running)
    async with client_of(running, version) as client:
        *_, asked = await said(client, "ask me")
        *_, done = await said(client, "work that one", task_id=asked.status_update.task_id)
    assert asked.status_update.status.state == TaskState.TASK_STATE_INPUT_REQUIRED
    assert done.status_update.status.state == TaskState.TASK_STATE_COMPLETED
    assert [line["outcome"] for line in decisions(running, since, 3)] == ["ok", "ok", "ok"]


@pytest.mark.parametrize("version", VERSIONS)
async def test_push_notification_configurations_are_kept_listed_and_deleted(running: Running, version: str) -> None:
    async with client_of(running, version, streaming=False) as client:
        (done,) = await said(client, "work")
        task = done.task.id
        made = await client.create_task_push_notification_config(
            TaskPushNotificationConfig(task_id=task, id="c", url="https://hooks.example/", token="t")
        )
        found = await client.get_task_push_notification_config(
            GetTaskPushNotificationConfigRequest(task_id=task, id="c")
        )
        listed = await client.list_task_push_notification_configs(ListTaskPushNotificationConfigsRequest(task_id=task))
        since = mark(running)
        await client.delete_task_push_notification_config(DeleteTaskPushNotificationConfigRequest(task_id=task, id="c"))
        (decision,) = decisions(running, since)
        after = await client.list_task_push_notification_configs(ListTaskPushNotificationConfigsRequest(task_id=task))
    assert (made.url, found.url) == ("https://hooks.example/", "https://hooks.example/")
    assert ([config.id for config in listed.configs], list(after.configs)) == (["c"], [])
    assert (decision["target"], decision["outcome"]) == (task, "ok")


async def test_tasks_are_listed_in_pages(running: Running) -> None:
    async with client_of(running, "1.0", streaming=False) as client:
        (done,) = await said(client, "work on hunter2")
        page = await client.list_tasks(ListTasksRequest(context_id=done.task.context_id, include_artifacts=True))
    (task,) = page.tasks
    assert (task.id, task.artifacts[0].parts[0].text) == (done.task.id, f"the result of work on {SECRET}")


@pytest.mark.parametrize("version", VERSIONS)
async def test_the_extended_card_is_for_those_who_are_known(running: Running, version: str) -> None:
    async with client_of(running, version) as client:
        card = await client.get_extended_agent_card(GetExtendedAgentCardRequest())
    assert card.name == "Agent, for those who are known"


def test_a_card_passes_byte_for_byte_and_so_does_its_absence_of_news(running: Running, agent_port: int) -> None:
    path = "/agent/.well-known/agent-card.json"
    direct = httpx.get(f"http://127.0.0.1:{agent_port}{path}", trust_env=False)
    through = httpx.get(f"{running.stack.url}{path}", trust_env=False)
    assert (through.status_code, through.content, through.headers["etag"]) == (
        200,
        direct.content,
        direct.headers["etag"],
    )
    since = mark(running)
    known = httpx.get(f"{running.stack.url}{path}", headers={"if-none-match": direct.headers["etag"]}, trust_env=False)
    (decision,) = decisions(running, since)
    assert (known.status_code, known.content, decision["outcome"]) == (304, b"", "ok")


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("streaming", [False, True])
async def test_a_denied_message_never_reaches_the_agent_and_its_client_is_told(
    running: Running, version: str, streaming: bool
) -> None:
    async with client_of(running, version, streaming=streaming) as client:
        with pytest.raises(A2AClientError, match="may not be sent"):
            await said(client, "work on what is forbidden")
        if version == "1.0":
            tasks = (await client.list_tasks(ListTasksRequest(page_size=100))).tasks
            assert not any("is forbidden" in str(task) for task in tasks)


@pytest.mark.parametrize("version", VERSIONS)
async def test_a_denied_event_ends_the_stream_with_an_error_and_nothing_follows(running: Running, version: str) -> None:
    # The agent says "forbidden" itself: the word is in two parts, which it joins.
    method, role = {"0.3": ("message/stream", "user"), "1.0": ("SendStreamingMessage", "ROLE_USER")}[version]
    parts = [{"text": "work on the forbid"}, {"text": "den"}]
    message = {"messageId": "m", "role": role, "parts": parts}
    body = {"jsonrpc": "2.0", "id": "x", "method": method, "params": {"message": message}}
    since = mark(running)
    found = post(running, body, **{"a2a-version": version})
    events = [json.loads(line[5:]) for line in found.text.splitlines() if line.startswith("data:")]
    *before, last = events
    assert all("result" in event for event in before)
    assert (last["id"], last["error"]["code"]) == ("x", -31403)
    assert "forbidden" not in json.dumps(before)
    (decision,) = decisions(running, since)
    assert decision["outcome"] == "refused"


@pytest.mark.parametrize(
    ("text", "streaming", "outcome"),
    [("fail", False, "tool_error"), ("fail", True, "tool_error"), ("reject", True, "tool_error")],
)
async def test_work_that_fails_or_is_rejected_is_no_success(
    running: Running, text: str, streaming: bool, outcome: str
) -> None:
    since = mark(running)
    async with client_of(running, "1.0", streaming=streaming) as client:
        await said(client, text)
    assert decisions(running, since, 2)[-1]["outcome"] == outcome


@pytest.mark.parametrize("version", VERSIONS)
async def test_the_agents_own_errors_pass_as_they_are(running: Running, version: str) -> None:
    since = mark(running)
    async with client_of(running, version) as client:
        with pytest.raises((A2AError, A2AClientError), match="not found"):
            await client.get_task(GetTaskRequest(id="nobody's"))
    assert decisions(running, since, 2)[-1]["outcome"] == "protocol_error"


@pytest.mark.parametrize(
    "members", [{"task_id": "t"}, {"taskId": "t", "TaskId": "u"}, {"parts": [{"text": "a", "data": {}}]}]
)
def test_what_two_readers_would_read_in_two_ways_is_refused_with_its_id(
    running: Running, members: dict[str, Any]
) -> None:
    found = post(running, sending("echo", **members), **{"a2a-version": "1.0"})
    assert (found.status_code, found.json()["id"]) == (400, 7)
    assert found.json()["error"]["data"][0]["metadata"]["trail"]


def test_the_rest_binding_is_read_by_nobody_and_so_denied(running: Running) -> None:
    for method, path, kind in (
        ("GET", "/v1/tasks/t", "application/json"),
        ("POST", "/v1/message:send", "application/a2a+json"),
    ):
        found = httpx.request(
            method, agent_url(running) + path, headers={"content-type": kind}, content=b"{}", trust_env=False
        )
        assert found.status_code == 403


async def test_where_formats_share_a_route_a2as_methods_tell_it(automatic: Running) -> None:
    since = mark(automatic)
    async with client_of(automatic, "1.0") as client:
        answers = await said(client, "work on hunter2")
    assert SECRET in str(answers[2].artifact_update.artifact.parts[0].text)
    both, mcps = ({"jsonrpc": "2.0", "id": 1, "method": "tasks/get", "params": params} for params in TWO_READINGS)
    refused = post(automatic, both)
    assert (refused.status_code, refused.json()["error"]["code"]) == (400, -32600)
    as_mcp = post(automatic, mcps)
    assert as_mcp.status_code == 200  # the agent's own error: it is no MCP server
    methods = [line["method"] for line in decisions(automatic, since, 4)]
    assert methods == ["GET", "SendStreamingMessage", "", "tasks/get"]
