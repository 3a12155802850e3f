"""What the tour asks of an agent, with the official A2A client.

Not here: what must come of it (steps.py).
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import httpx
from a2a.client.card_resolver import A2ACardResolver
from a2a.client.client import Client, ClientConfig
from a2a.client.client_factory import ClientFactory
from a2a.helpers.proto_helpers import new_text_message
from a2a.types import GetTaskRequest, Role, SendMessageRequest, TaskPushNotificationConfig
from a2a.utils.errors import A2AError

from ext_proc.demo.asks import SECONDS, Ask, Seen, authorized, trail_in
from ext_proc.demo.stack import Stack

_METADATA = "https://169.254.169.254/latest/meta-data/"  # where clouds keep a machine's credentials


@asynccontextmanager
async def _agent(stack: Stack, caller: str) -> AsyncIterator[Client]:
    """The client, as `caller`, for the agent's card as it comes through Envoy."""
    lines = authorized(stack, caller)
    async with httpx.AsyncClient(headers=lines, timeout=SECONDS, trust_env=False) as http:
        card = await A2ACardResolver(http, stack.agent_url).get_agent_card()
        yield ClientFactory(ClientConfig(httpx_client=http, streaming=False)).create(card)


async def _given(stack: Stack, caller: str) -> str:
    """The id of a task that `caller` gives the agent."""
    message = new_text_message("a journey to Rome", role=Role.ROLE_USER)
    async with _agent(stack, caller) as agent:
        answers = [answer async for answer in agent.send_message(SendMessageRequest(message=message))]
    return answers[-1].task.id


def gives(caller: str) -> Ask:
    """Gives the agent a task, and looks how it stands."""

    async def ask(stack: Stack) -> Seen:
        task = await _given(stack, caller)
        async with _agent(stack, caller) as agent:
            found = await agent.get_task(GetTaskRequest(id=task))
        return Seen("the agent asks back" if found.id == task else "another task")

    return ask


def spies(caller: str, victim: str) -> Ask:
    """Looks at a task that somebody else gave."""

    async def ask(stack: Stack) -> Seen:
        task = await _given(stack, victim)
        async with _agent(stack, caller) as agent:
            try:
                found = await agent.get_task(GetTaskRequest(id=task))
            except A2AError as error:
                return _refused(error)
        return Seen(f"task {found.id}")

    return ask


def diverts(caller: str) -> Ask:
    """Asks the agent to notify an address that is inside of its own network."""

    async def ask(stack: Stack) -> Seen:
        task = await _given(stack, caller)
        config = TaskPushNotificationConfig(task_id=task, id="c", url=_METADATA)
        async with _agent(stack, caller) as agent:
            try:
                await agent.create_task_push_notification_config(config)
            except A2AError as error:
                return _refused(error)
        return Seen("the agent will call there")

    return ask


def _refused(error: A2AError) -> Seen:
    return Seen(f"{type(error).__name__}: {error}", trail_in(getattr(error, "data", None)))
