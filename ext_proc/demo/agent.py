"""A small agent on the official A2A SDK: it works on what it is told until somebody cancels it.

    python -m ext_proc.demo.agent --port 18084 --url http://127.0.0.1:10000/agent

Rules:
- It does not know who calls: whoever names a task gets it.
- It does nothing to this machine, and never sends a notification.

Not here: policies, identity. An upstream knows nothing of Gatehouse.
"""

from __future__ import annotations

import argparse

import uvicorn
from a2a.helpers.proto_helpers import new_task_from_user_message
from a2a.server.agent_execution import AgentExecutor, RequestContext
from a2a.server.events import EventQueue
from a2a.server.request_handlers import DefaultRequestHandlerV2
from a2a.server.routes.agent_card_routes import create_agent_card_routes
from a2a.server.routes.jsonrpc_routes import create_jsonrpc_routes
from a2a.server.tasks.inmemory_push_notification_config_store import InMemoryPushNotificationConfigStore
from a2a.server.tasks.inmemory_task_store import InMemoryTaskStore
from a2a.server.tasks.task_updater import TaskUpdater
from a2a.types import AgentCapabilities, AgentCard, AgentInterface, AgentSkill
from starlette.applications import Starlette

PATH = "/agent"


class Planner(AgentExecutor):
    """Plans a journey, for as long as it takes."""

    async def execute(self, context: RequestContext, event_queue: EventQueue) -> None:
        """Takes a message as a task, and asks back."""
        message, task, conversation = context.message, context.task_id, context.context_id
        assert message is not None
        assert task is not None
        assert conversation is not None
        if context.current_task is None:
            await event_queue.enqueue_event(new_task_from_user_message(message))
        await TaskUpdater(event_queue, task, conversation).requires_input()

    async def cancel(self, context: RequestContext, event_queue: EventQueue) -> None:
        """Stops planning."""
        assert context.task_id is not None
        assert context.context_id is not None
        await TaskUpdater(event_queue, context.task_id, context.context_id).cancel()


def application(url: str) -> Starlette:
    """The agent's routes, below PATH."""
    card = AgentCard(
        name="Planner",
        description="Plans journeys, and asks back.",
        version="1.0.0",
        supported_interfaces=[
            AgentInterface(url=url, protocol_binding="JSONRPC", protocol_version=version) for version in ("1.0", "0.3")
        ],
        capabilities=AgentCapabilities(streaming=True, push_notifications=True),
        default_input_modes=["text/plain"],
        default_output_modes=["text/plain"],
        skills=[AgentSkill(id="plan", name="plan", description="Plans a journey.", tags=["travel"])],
    )
    handler = DefaultRequestHandlerV2(
        Planner(), InMemoryTaskStore(), card, push_config_store=InMemoryPushNotificationConfigStore()
    )
    return Starlette(
        routes=[
            *create_jsonrpc_routes(handler, PATH, enable_v0_3_compat=True),
            *create_agent_card_routes(card, card_url=f"{PATH}/.well-known/agent-card.json"),
        ]
    )


def main() -> None:
    """Serves the agent on the loopback until it is ended."""
    parser = argparse.ArgumentParser(description="The demo's agent.")
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--url", required=True, help="where clients find it")
    arguments = parser.parse_args()
    uvicorn.run(application(arguments.url), host=arguments.host, port=arguments.port, log_level="warning")


if __name__ == "__main__":
    main()
