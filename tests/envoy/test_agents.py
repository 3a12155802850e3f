"""What belongs to one principal at an agent, through a real Envoy, with the official A2A client and server.

Rules:
- The agent knows no caller: it would give anybody any task that they can name.
- Bob has all that Alice has, but for her token.
"""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Iterator
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import Any

import httpx
import httpx2
import jwt
import pytest
from a2a.client.card_resolver import A2ACardResolver
from a2a.client.client import Client
from a2a.client.errors import A2AClientError
from a2a.types import a2a_pb2 as a2a
from a2a.utils.errors import (
    InvalidAgentResponseError,
    InvalidParamsError,
    PushNotificationNotSupportedError,
    TaskNotFoundError,
)
from a2a.utils.signing import InvalidSignaturesError, create_signature_verifier
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from tests.envoy.a2a_agent import KEY_ID
from tests.envoy.a2a_clients import VERSIONS, agent_url, client_of, message, running_agent, way_to_agent
from tests.envoy.harness import Running, Stacks
from tests.envoy.observed import decisions, envoy_stat, mark

IMDS = "https://169.254.169.254/latest/meta-data/iam/security-credentials/"
BUNDLE = """
apiVersion: gatehouse/v1
kind: Bundle
metadata: {name: agents, revision: "1"}
store: {hosts: one, embedded: {path: agents.db}}
routes:
  - {name: agent, match: {path: /agent}, protocol: a2a, policies: [agents]}
policies:
  - name: agents
    type: agent-access
    timeout: 5s
    parameters:
      rules:
        - {skills: [payroll], allow: "identity.subject == 'alice'"}
        - {methods: ["*"], allow: true}
      push_notifications: {hosts: [hooks.example.com]}
      cards: {verify: required, keys: [KEYS]}
"""


class Signer:
    """The key that the agent's card is signed with, and its public half."""

    def __init__(self, folder: Path) -> None:
        key = ec.generate_private_key(ec.SECP256R1())
        self.public = key.public_key()
        self.private_file = folder / "key.pem"
        self.private_file.write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
        entry = jwt.get_algorithm_by_name("ES256").to_jwk(self.public, as_dict=True)
        self.keys_file = folder / "jwks.json"
        self.keys_file.write_text(json.dumps({"keys": [{**entry, "kid": KEY_ID}]}))


@pytest.fixture(scope="module")
def signer(tmp_path_factory: pytest.TempPathFactory) -> Signer:
    return Signer(tmp_path_factory.mktemp("signer"))


@pytest.fixture(scope="module")
def strange(tmp_path_factory: pytest.TempPathFactory) -> Signer:
    """A key by the same name that the bundle does not know."""
    return Signer(tmp_path_factory.mktemp("strange"))


@pytest.fixture(scope="module")
def agent(tmp_path_factory: pytest.TempPathFactory, signer: Signer) -> Iterator[Any]:
    """Edits the bootstrap: the way to an agent with a signed card; `port` is the agent's own."""
    with running_agent(tmp_path_factory.mktemp("agent"), "--key", str(signer.private_file)) as port:
        edit: Any = way_to_agent(port)
        edit.port = port
        yield edit


@pytest.fixture
def running(gatehouse_stack: Stacks, agent: Any, signer: Signer) -> Running:
    return gatehouse_stack(BUNDLE.replace("KEYS", str(signer.keys_file)), edit_bootstrap=agent)


def without_verification(signer: Signer) -> str:
    """The bundle with nothing listed, and cards as they come."""
    bundle = BUNDLE.replace("KEYS", str(signer.keys_file)).replace("hosts: [hooks.example.com]", "")
    return bundle.replace("verify: required", "verify: 'off'")


def of(running: Running, caller: str, version: str, *, streaming: bool = True) -> AbstractAsyncContextManager[Client]:
    """The official client as a caller."""
    headers = {"authorization": f"Bearer {running.stack.token(caller)}"}
    return client_of(running, version, streaming=streaming, headers=headers)


def sending(text: str, task: str | None = None, context: str | None = None, **metadata: str) -> a2a.SendMessageRequest:
    """A message to the agent."""
    asked = a2a.SendMessageRequest(message=message(text, task, context))
    if metadata:
        asked.message.metadata.update(metadata)
    return asked


async def everything(answers: AsyncIterator[a2a.StreamResponse]) -> list[a2a.StreamResponse]:
    return [answer async for answer in answers]


async def begun(client: Client, text: str = "ask me", context: str | None = None) -> a2a.Task:
    """A task of a caller's, that waits for it."""
    answers = await everything(client.send_message(sending(text, context=context)))
    (first,) = [answer.task for answer in answers if answer.HasField("task")][:1]
    assert first.id
    assert first.context_id
    return first


@pytest.mark.parametrize("version", VERSIONS)
async def test_bob_cannot_get_cancel_or_follow_alices_task_nor_write_into_it(running: Running, version: str) -> None:
    async with of(running, "alice", version) as alice, of(running, "bob", version) as bob:
        task = await begun(alice)
        since, asked = mark(running), envoy_stat(running, "cluster.agent.upstream_rq_total")
        for stolen in (task.id, "0" * 36):
            for attempt in (
                bob.get_task(a2a.GetTaskRequest(id=stolen)),
                bob.cancel_task(a2a.CancelTaskRequest(id=stolen)),
                everything(bob.subscribe(a2a.SubscribeToTaskRequest(id=stolen))),
                everything(bob.send_message(sending("the second", stolen))),
                everything(bob.send_message(sending("the second", stolen, task.context_id))),
                bob.list_task_push_notification_configs(a2a.ListTaskPushNotificationConfigsRequest(task_id=stolen)),
            ):
                with pytest.raises(TaskNotFoundError):
                    await attempt
        with pytest.raises(TaskNotFoundError):
            await everything(bob.send_message(sending("ask me", context=task.context_id)))
        found = decisions(running, since, 13)
        assert [entry["reason"] for decision in found for entry in decision["entries"]] == ["task-unknown"] * 13
        assert envoy_stat(running, "cluster.agent.upstream_rq_total") == asked, "the agent has not heard of it"

        # Nothing of it has touched the task, and Alice goes on with it.
        assert (await alice.get_task(a2a.GetTaskRequest(id=task.id))).status.state == a2a.TASK_STATE_INPUT_REQUIRED
        await everything(alice.send_message(sending("the second", task.id, task.context_id)))
        assert (await alice.get_task(a2a.GetTaskRequest(id=task.id))).status.state == a2a.TASK_STATE_COMPLETED


@pytest.mark.parametrize("version", VERSIONS)
async def test_alice_cancels_and_follows_a_task_of_hers_in_either_version(running: Running, version: str) -> None:
    other = next(name for name in VERSIONS if name != version)
    async with of(running, "alice", version, streaming=False) as alice, of(running, "alice", other) as again:
        task = await begun(alice)
        assert (await again.get_task(a2a.GetTaskRequest(id=task.id))).id == task.id
        canceled = await again.cancel_task(a2a.CancelTaskRequest(id=task.id))
        assert canceled.status.state == a2a.TASK_STATE_CANCELED


@pytest.mark.parametrize("version", VERSIONS)
async def test_a_context_of_alices_own_making_is_hers(running: Running, version: str) -> None:
    made_up = f"alices-{version}-{mark(running)}"
    async with of(running, "alice", version) as alice, of(running, "bob", version) as bob:
        assert (await begun(alice, context=made_up)).context_id == made_up
        with pytest.raises(TaskNotFoundError):
            await begun(bob, context=made_up)
        assert (await begun(alice, context=made_up)).context_id == made_up


async def test_a_list_of_tasks_holds_the_callers_own(running: Running) -> None:
    async with of(running, "alice", "1.0") as alice, of(running, "bob", "1.0") as bob:
        hers, his = await begun(alice), await begun(bob)
        for client, own, others in ((alice, hers, his), (bob, his, hers)):
            listed = [task.id for task in (await client.list_tasks(a2a.ListTasksRequest())).tasks]
            assert own.id in listed
            assert others.id not in listed
            narrowed = await client.list_tasks(a2a.ListTasksRequest(context_id=own.context_id))
            assert [task.id for task in narrowed.tasks] == [own.id]
            with pytest.raises(TaskNotFoundError):
                await client.list_tasks(a2a.ListTasksRequest(context_id=others.context_id))


@pytest.mark.parametrize("version", VERSIONS)
async def test_an_agent_is_not_told_to_notify_what_is_not_listed(running: Running, version: str) -> None:
    async with of(running, "alice", version, streaming=False) as alice:
        task = await begun(alice)
        for url in (IMDS, "https://2852039166/", "http://hooks.example.com/a", "https://evil.example/a"):
            config = a2a.TaskPushNotificationConfig(task_id=task.id, id="c", url=url)
            with pytest.raises(InvalidParamsError):
                await alice.create_task_push_notification_config(config)
            asked = sending("echo hello")
            asked.configuration.task_push_notification_config.url = url
            with pytest.raises(InvalidParamsError):
                await everything(alice.send_message(asked))
        kept = a2a.ListTaskPushNotificationConfigsRequest(task_id=task.id)
        assert not (await alice.list_task_push_notification_configs(kept)).configs, "the agent has heard of none"
        listed = a2a.TaskPushNotificationConfig(task_id=task.id, id="c", url="https://hooks.example.com/a")
        assert (await alice.create_task_push_notification_config(listed)).url == listed.url
        assert [found.url for found in (await alice.list_task_push_notification_configs(kept)).configs] == [listed.url]


async def test_without_listed_hosts_push_notifications_are_not_supported(
    gatehouse_stack: Stacks, agent: Any, signer: Signer
) -> None:
    running = gatehouse_stack(without_verification(signer), edit_bootstrap=agent)
    async with of(running, "alice", "1.0", streaming=False) as alice:
        task = await begun(alice)
        config = a2a.TaskPushNotificationConfig(task_id=task.id, id="c", url="https://hooks.example.com/a")
        with pytest.raises(PushNotificationNotSupportedError):
            await alice.create_task_push_notification_config(config)


@pytest.mark.parametrize("version", VERSIONS)
async def test_a_skill_is_asked_for_by_who_may(running: Running, version: str) -> None:
    wish = sending("echo hello", skillId="payroll")
    async with of(running, "alice", version) as alice, of(running, "bob", version) as bob:
        assert await everything(alice.send_message(wish))
        with pytest.raises(A2AClientError, match="this skill is not allowed here"):
            await everything(bob.send_message(wish))


async def test_a_signed_card_arrives_byte_for_byte_and_holds_for_the_officials_own_verifier(
    running: Running, agent: Any, signer: Signer, strange: Signer
) -> None:
    path = "/.well-known/agent-card.json"
    through = httpx2.get(agent_url(running) + path, trust_env=False)
    direct = httpx2.get(f"http://127.0.0.1:{agent.port}/agent{path}", trust_env=False)
    assert (through.status_code, through.content) == (200, direct.content)
    verify = create_signature_verifier(lambda kid, jku: signer.public, ["ES256"])  # type: ignore[arg-type, return-value]
    doubt = create_signature_verifier(lambda kid, jku: strange.public, ["ES256"])  # type: ignore[arg-type, return-value]
    async with httpx.AsyncClient(trust_env=False) as http:
        resolver = A2ACardResolver(http, agent_url(running))
        assert (await resolver.get_agent_card(signature_verifier=verify)).signatures
        with pytest.raises(InvalidSignaturesError):
            await resolver.get_agent_card(signature_verifier=doubt)


async def test_an_extended_card_is_verified_on_its_way_too(running: Running, signer: Signer) -> None:
    verify = create_signature_verifier(lambda kid, jku: signer.public, ["ES256"])  # type: ignore[arg-type, return-value]
    async with of(running, "alice", "1.0") as alice:
        card = await alice.get_extended_agent_card(a2a.GetExtendedAgentCardRequest(), signature_verifier=verify)
        assert card.name.endswith("for those who are known")


async def test_a_signed_card_that_its_server_translates_for_0_3_holds_for_nobody(
    running: Running, agent: Any, signer: Signer, gatehouse_stack: Stacks
) -> None:
    # The official server leaves the signature in a card that it no longer is over: its own verifier says the same.
    verify = create_signature_verifier(lambda kid, jku: signer.public, ["ES256"])  # type: ignore[arg-type, return-value]
    asked = a2a.GetExtendedAgentCardRequest()
    async with of(running, "alice", "0.3") as alice:
        with pytest.raises(InvalidAgentResponseError):
            await alice.get_extended_agent_card(asked)
    unverified = gatehouse_stack(without_verification(signer), edit_bootstrap=agent)
    async with of(unverified, "alice", "0.3") as alice:
        with pytest.raises(InvalidSignaturesError):
            await alice.get_extended_agent_card(asked, signature_verifier=verify)


async def test_a_card_that_nobody_vouches_for_is_withheld(gatehouse_stack: Stacks, agent: Any, strange: Signer) -> None:
    running = gatehouse_stack(BUNDLE.replace("KEYS", str(strange.keys_file)), edit_bootstrap=agent)
    since = mark(running)
    answer = httpx2.get(f"{agent_url(running)}/.well-known/agent-card.json", trust_env=False)
    assert answer.status_code == 502
    assert b"agent.example" not in answer.content
    asked = {"jsonrpc": "2.0", "id": 7, "method": "GetExtendedAgentCard", "params": {}}
    told = httpx2.post(agent_url(running), json=asked, headers={"a2a-version": "1.0"}, trust_env=False)
    assert (told.status_code, told.json()["id"], told.json()["error"]["code"]) == (200, 7, -32006)
    reasons = [entry["reason"] for decision in decisions(running, since, 2) for entry in decision["entries"]]
    assert reasons.count("card-unverified") == 2
