"""The way to an agent through Envoy, and official clients of both versions that take it.

Rules:
- Clients are made from the card that came through Envoy, for one of its versions.

Not here: the agent (a2a_agent.py), who starts it.
"""

from __future__ import annotations

import sys
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any

import httpx
from a2a.client.card_resolver import A2ACardResolver
from a2a.client.client import Client, ClientConfig
from a2a.client.client_factory import ClientFactory
from a2a.helpers.proto_helpers import new_text_message
from a2a.types import AgentCard, Message, Role, SendMessageConfiguration, SendMessageRequest, StreamResponse

from ext_proc.demo.envoy_parts import with_agent
from ext_proc.demo.processes import LOOPBACK, Processes, accepts, free_ports
from tests.envoy.a2a_agent import PATH
from tests.envoy.harness import Running

VERSIONS = ["0.3", "1.0"]


@contextmanager
def running_agent(logs: Path, *arguments: str) -> Iterator[int]:
    """The port of an agent that runs until the block ends; its card names an address that clients here do not use."""
    (port,) = free_ports(1)
    command = [sys.executable, "-m", "tests.envoy.a2a_agent", "--port", str(port)]
    with Processes(logs) as processes:
        processes.start(
            "agent", [*command, "--url", f"http://agent.example.test{PATH}", *arguments], accepts(LOOPBACK, port)
        )
        processes.wait_until_ready()
        yield port


def way_to_agent(port: int) -> Callable[[str], str]:
    """Edits Envoy's bootstrap: what begins with PATH goes to the agent."""

    return lambda bootstrap: with_agent(bootstrap, PATH, f"{LOOPBACK}:{port}")


def agent_url(running: Running) -> str:
    """The agent's address through Envoy."""
    return f"{running.stack.url}{PATH}"


@asynccontextmanager
async def client_of(
    running: Running, version: str, *, streaming: bool = True, headers: Mapping[str, str] | None = None
) -> AsyncIterator[Client]:
    """The official client of one version of the protocol, with these headers on every request."""
    async with httpx.AsyncClient(headers=dict(headers or {}), timeout=10.0, trust_env=False) as http:
        card = await A2ACardResolver(http, agent_url(running)).get_agent_card()
        config = ClientConfig(httpx_client=http, streaming=streaming)
        yield ClientFactory(config).create(_reached_through(running, card, version))


def _reached_through(running: Running, card: AgentCard, version: str) -> AgentCard:
    """The card with one version, at its address through Envoy, which no agent behind it would know."""
    mine = AgentCard()
    mine.CopyFrom(card)
    del mine.supported_interfaces[:]
    mine.supported_interfaces.add(url=agent_url(running), protocol_binding="JSONRPC", protocol_version=version)
    return mine


def message(text: str, task_id: str | None = None, context_id: str | None = None) -> Message:
    """What a user says, perhaps on a task."""
    return new_text_message(text, context_id=context_id, task_id=task_id, role=Role.ROLE_USER)


async def said(client: Client, text: str, task_id: str | None = None, **configuration: Any) -> list[StreamResponse]:
    """All that comes back for a message."""
    request = SendMessageRequest(
        message=message(text, task_id), configuration=SendMessageConfiguration(**configuration)
    )
    return [answer async for answer in client.send_message(request)]
