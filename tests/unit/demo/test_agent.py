"""The demo's agent, asked by the official client in both versions, without a network."""

from __future__ import annotations

import httpx
import pytest
from a2a.client.card_resolver import A2ACardResolver
from a2a.client.client import ClientConfig
from a2a.client.client_factory import ClientFactory
from a2a.helpers.proto_helpers import new_text_message
from a2a.types import (
    AgentCard,
    CancelTaskRequest,
    GetTaskRequest,
    Role,
    SendMessageRequest,
    TaskState,
)

from ext_proc.demo.agent import PATH, application

URL = f"http://agent.test{PATH}"


def speaking(card: AgentCard, version: str) -> AgentCard:
    """The card with one of its versions."""
    one = AgentCard()
    one.CopyFrom(card)
    kept = [interface for interface in one.supported_interfaces if interface.protocol_version == version]
    del one.supported_interfaces[:]
    one.supported_interfaces.extend(kept)
    return one


@pytest.mark.parametrize("version", ["0.3", "1.0"])
async def test_it_takes_a_message_as_a_task_asks_back_and_stops_when_it_is_canceled(version: str) -> None:
    async with httpx.AsyncClient(transport=httpx.ASGITransport(application(URL))) as http:
        card = await A2ACardResolver(http, URL).get_agent_card()
        agent = ClientFactory(ClientConfig(httpx_client=http, streaming=False)).create(speaking(card, version))
        message = new_text_message("a journey to Rome", role=Role.ROLE_USER)
        answers = [answer async for answer in agent.send_message(SendMessageRequest(message=message))]
        task = answers[-1].task.id
        assert (await agent.get_task(GetTaskRequest(id=task))).status.state == TaskState.TASK_STATE_INPUT_REQUIRED
        assert (await agent.cancel_task(CancelTaskRequest(id=task))).status.state == TaskState.TASK_STATE_CANCELED
