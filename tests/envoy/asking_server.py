"""An MCP server on the official SDK whose tools ask their caller first: a form, a model, the roots, a visit to a page.

    python -m tests.envoy.asking_server --port 18081

Rules:
- Each asks in its wire's own way: by requests before 2026-07-28, and by results since.
- It asks for whatever it is told to, and says what came of it.

Not here: who starts it (test_server_requests.py).
"""

from __future__ import annotations

import argparse
from typing import Annotated

import mcp_types as types
import uvicorn
from mcp import MCPError, UrlElicitationRequiredError
from mcp.server import MCPServer
from mcp.server.mcpserver import Context, Elicit, ListRoots, Resolve, Sample
from pydantic import BaseModel

server = MCPServer("asking")
STATE = 'state of "mine" \u00fc\U0001f98a=='


class Colour(BaseModel):
    """What a person fills in."""

    colour: str


class Login(BaseModel):
    """What no form may ask for."""

    password: str


async def colour() -> Elicit[Colour]:
    """Asks for a colour."""
    return Elicit("which colour?", Colour)


async def login() -> Elicit[Login]:
    """Asks for a password."""
    return Elicit("sign in", Login)


async def thought(tokens: int) -> Sample:
    """Asks the caller's model."""
    said = types.SamplingMessage(role="user", content=types.TextContent(type="text", text="why?"))
    return Sample([said], max_tokens=tokens)


async def roots() -> ListRoots:
    """Asks for the roots."""
    return ListRoots()


@server.tool()
def paint(answer: Annotated[Colour, Resolve(colour)]) -> str:
    """Asks by form."""
    return f"painted {answer.colour}"


@server.tool()
def sign_in(answer: Annotated[Login, Resolve(login)]) -> str:
    """Asks for a secret by form."""
    return f"got {answer.password}"


@server.tool()
def think(tokens: int, answer: Annotated[types.CreateMessageResult, Resolve(thought)]) -> str:
    """Asks a model."""
    assert isinstance(answer.content, types.TextContent)
    return f"thought {answer.content.text}"


@server.tool()
def look(answer: Annotated[types.ListRootsResult, Resolve(roots)]) -> str:
    """Asks for the roots."""
    return f"looked at {' '.join(str(root.uri) for root in answer.roots)}"


@server.tool()
async def visit(url: str, ctx: Context) -> str | types.InputRequiredResult:
    """Sends a person to a page, and says what came of that."""
    if ctx.protocol_version != "2026-07-28":
        try:
            found = await ctx.elicit_url("go there", url, "visit-1")
        except MCPError as error:
            return f"refused with {error.error.code}"
        await ctx.session.send_elicit_complete("visit-1", related_request_id=ctx.request_id)
        return f"visit: {found.action}"
    answers = ctx.input_responses or {}
    if "visit" not in answers:
        asked = types.ElicitRequest(params=types.ElicitRequestURLParams(message="go there", url=url))
        return types.InputRequiredResult(input_requests={"visit": asked}, request_state=STATE)
    answer = answers["visit"]
    assert isinstance(answer, types.ElicitResult)
    return f"visit: {answer.action}, state {'as it was' if ctx.request_state == STATE else 'other'}"


@server.tool()
async def visit_first(url: str) -> str:
    """Fails until a person has been at a page."""
    raise UrlElicitationRequiredError(
        [types.ElicitRequestURLParams(message="go there", url=url, elicitation_id="visit-2")]
    )


def main() -> None:
    """Serves /mcp on the loopback until it is ended."""
    parser = argparse.ArgumentParser(description="An MCP server that asks its caller.")
    parser.add_argument("--port", type=int, required=True)
    arguments = parser.parse_args()
    uvicorn.run(server.streamable_http_app(), host="127.0.0.1", port=arguments.port, log_level="warning")


if __name__ == "__main__":
    main()
