"""An agent on the official A2A SDK, in both versions: its tasks do what the first word of a message says.

    python -m tests.envoy.a2a_agent --port 18081 --url http://127.0.0.1:18080/agent

- `echo ...`: answers with a message, without a task.
- `work ...`: a task that gives an artifact with a text and data, and completes.
- `ask ...`: a task that waits for its caller; the next message on it completes it.
- `wait ...`: a task that works until it is canceled.
- `fail ...`, `reject ...`: a task that ends so.

Rules:
- It does not know who calls: whoever names a task gets it. It never sends a push notification.
- Its card names both versions at `--url`, and is signed where `--key` has a key (PEM, ES256, named `agent`).

Not here: who starts it, and clients (a2a_clients.py).
"""

from __future__ import annotations

import argparse
import asyncio
from pathlib import Path

import uvicorn
from a2a.helpers.proto_helpers import (
    new_data_part,
    new_task_from_user_message,
    new_text_message,
    new_text_part,
)
from a2a.server.agent_execution import AgentExecutor, RequestContext
from a2a.server.events import EventQueue
from a2a.server.request_handlers import DefaultRequestHandlerV2
from a2a.server.routes.agent_card_routes import create_agent_card_routes
from a2a.server.routes.jsonrpc_routes import create_jsonrpc_routes
from a2a.server.tasks.inmemory_push_notification_config_store import InMemoryPushNotificationConfigStore
from a2a.server.tasks.inmemory_task_store import InMemoryTaskStore
from a2a.server.tasks.task_updater import TaskUpdater
from a2a.types import AgentCapabilities, AgentCard, AgentInterface, AgentSkill
from a2a.utils.signing import create_agent_card_signer
from starlette.applications import Starlette

PATH = "/agent"
KEY_ID = "agent"


class Agent(AgentExecutor):
    """Does what the first word of a message says."""

    async def execute(self, context: RequestContext, event_queue: EventQueue) -> None:
        """Answers one message."""
        said = context.get_user_input("")
        word = said.partition(" ")[0]
        message = context.message
        assert message is not None
        assert context.task_id is not None
        assert context.context_id is not None
        if word == "echo":
            await event_queue.enqueue_event(new_text_message(f"you said {said}", context_id=context.context_id))
            return
        task = context.current_task
        if task is None:
            task = new_task_from_user_message(message)
            await event_queue.enqueue_event(task)
        updater = TaskUpdater(event_queue, task.id, task.context_id)
        await updater.start_work(updater.new_agent_message([new_text_part("at work")]))
        if word == "ask":
            await updater.requires_input(updater.new_agent_message([new_text_part("which one?")]))
        elif word == "wait":
            await asyncio.Event().wait()
        elif word == "fail":
            await updater.failed(updater.new_agent_message([new_text_part("it broke")]))
        elif word == "reject":
            await updater.reject()
        else:
            parts = [new_text_part(f"the result of {said}"), new_data_part({"said": said, "count": 1})]
            await updater.add_artifact(parts, name="result")
            await updater.complete()

    async def cancel(self, context: RequestContext, event_queue: EventQueue) -> None:
        """Cancels the task."""
        assert context.task_id is not None
        assert context.context_id is not None
        await TaskUpdater(event_queue, context.task_id, context.context_id).cancel()


def card(url: str, name: str = "Agent") -> AgentCard:
    """The agent's card."""
    return AgentCard(
        name=name,
        description="An agent that does as it is told, déjà vu.",
        version="1.0.0",
        supported_interfaces=[
            AgentInterface(url=url, protocol_binding="JSONRPC", protocol_version=version) for version in ("1.0", "0.3")
        ],
        capabilities=AgentCapabilities(streaming=True, push_notifications=True, extended_agent_card=True),
        default_input_modes=["text/plain"],
        default_output_modes=["text/plain", "application/json"],
        skills=[
            AgentSkill(id=word, name=word, description=f"Messages that begin with {word}", tags=["test"])
            for word in ("echo", "work", "ask", "wait", "fail", "reject")
        ],
    )


def application(url: str, key: bytes | None = None) -> Starlette:
    """The agent's routes, below PATH."""
    shown, extended = card(url), card(url, "Agent, for those who are known")
    if key is not None:
        sign = create_agent_card_signer(key, {"kid": KEY_ID, "alg": "ES256", "jku": None, "typ": "JOSE"})
        shown, extended = sign(shown), sign(extended)
    handler = DefaultRequestHandlerV2(
        Agent(),
        InMemoryTaskStore(),
        shown,
        push_config_store=InMemoryPushNotificationConfigStore(),
        extended_agent_card=extended,
    )
    return Starlette(
        routes=[
            *create_jsonrpc_routes(handler, PATH, enable_v0_3_compat=True),
            *create_agent_card_routes(shown, card_url=f"{PATH}/.well-known/agent-card.json"),
        ]
    )


def main() -> None:
    """Serves the agent on the loopback until it is ended."""
    parser = argparse.ArgumentParser(description="An agent on A2A, 0.3 and 1.0.")
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--url", required=True, help="where clients find it")
    parser.add_argument("--key", type=Path, help="what its card is signed with")
    arguments = parser.parse_args()
    key = arguments.key.read_bytes() if arguments.key else None
    app = application(arguments.url, key)
    uvicorn.run(app, host="127.0.0.1", port=arguments.port, log_level="warning")


if __name__ == "__main__":
    main()
