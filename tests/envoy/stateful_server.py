"""An MCP server on the official SDK that keeps what it hands out to itself: sessions, and the keys of its states.

    python -m tests.envoy.stateful_server --port 18081 --name one

Rules:
- It does not know who calls: whoever brings back a session or a state may use it.
- What another such process handed out is unknown to it.

Not here: who starts it (test_sessions.py).
"""

from __future__ import annotations

import argparse
from typing import Annotated

import uvicorn
from mcp.server import MCPServer
from mcp.server.mcpserver import Elicit, Resolve
from pydantic import BaseModel

server = MCPServer("stateful")
NAME = ["?"]
DELETED: list[str] = []


class Approval(BaseModel):
    """What a person fills in."""

    approved: bool


async def ask(amount: int) -> Elicit[Approval]:
    """Asks whether to pay."""
    return Elicit(f"pay {amount}?", Approval)


@server.tool()
def where() -> str:
    """Which process answers."""
    return NAME[0]


@server.tool()
def search(query: str) -> str:
    """Finds nothing."""
    return f"nothing about {query}"


@server.tool()
def pay(amount: int, approval: Annotated[Approval, Resolve(ask)]) -> str:
    """Pays once a person has approved."""
    return f"paid {amount}" if approval.approved else "not paid"


@server.tool()
def delete_file(path: str) -> str:
    """Deletes nothing, and keeps in mind that it was asked to."""
    DELETED.append(path)
    return f"deleted {path}"


@server.tool()
def deleted() -> list[str]:
    """What it was asked to delete."""
    return DELETED


def main() -> None:
    """Serves /mcp on the loopback until it is ended."""
    parser = argparse.ArgumentParser(description="An MCP server that keeps state.")
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--name", required=True)
    arguments = parser.parse_args()
    NAME[0] = arguments.name
    uvicorn.run(server.streamable_http_app(), host="127.0.0.1", port=arguments.port, log_level="warning")


if __name__ == "__main__":
    main()
