"""An MCP server that offers what the official conformance suite asks for, on the official SDK and on both its wires.

    python -m tests.conformance.server --port 18090

Rules:
- It speaks every wire the SDK speaks: nothing here chooses one.
- Only for tests: it answers on the loopback, and its events are kept for as long as it runs.

Not here: the tools (tools.py, rounds.py). It knows nothing of Gatehouse.
"""

from __future__ import annotations

import argparse
import json
import warnings
from collections.abc import Mapping
from typing import Any

import mcp_types as types
import uvicorn
from mcp.server.lowlevel import Server
from mcp.server.request_state import RequestStateBoundary, RequestStateSecurity
from mcp.server.streamable_http import EventCallback, EventId, EventMessage, EventStore, StreamId
from mcp.server.subscriptions import ListenHandler
from mcp.shared.exceptions import MCPDeprecationWarning, MCPError

from tests.conformance import rounds, tools
from tests.conformance.offers import Answer, Request
from tests.conformance.tools import BUS, PIXEL_PNG

NAME = "gatehouse-conformance"
TOOLS = {**tools.OFFERS.by_name, **rounds.OFFERS.by_name}

# How long a client waits before it comes back to a stream that was closed (milliseconds).
_RETRY = 100

_RESOURCES: dict[str, types.TextResourceContents | types.BlobResourceContents] = {
    "test://static-text": types.TextResourceContents(
        uri="test://static-text",
        mime_type="text/plain",
        text="This is the content of the static text resource.",
    ),
    "test://static-binary": types.BlobResourceContents(
        uri="test://static-binary", mime_type="image/png", blob=PIXEL_PNG
    ),
    "test://watched-resource": types.TextResourceContents(
        uri="test://watched-resource", mime_type="text/plain", text="Nothing changes here."
    ),
}
_TEMPLATE = "test://template/{id}/data"

_PROMPTS = [
    types.Prompt(name="test_simple_prompt", description="One message."),
    types.Prompt(
        name="test_prompt_with_arguments",
        description="A message of two arguments.",
        arguments=[
            types.PromptArgument(name="arg1", description="the first", required=True),
            types.PromptArgument(name="arg2", description="the second", required=True),
        ],
    ),
    types.Prompt(
        name="test_prompt_with_embedded_resource",
        description="A resource and a message.",
        arguments=[types.PromptArgument(name="resourceUri", description="the resource's URI", required=True)],
    ),
    types.Prompt(name="test_prompt_with_image", description="An image and a message."),
    types.Prompt(name="test_input_required_result_prompt", description="Asks for a context first."),
]


class Events(EventStore):
    """Every event of every stream in order: what a client that comes back has missed."""

    def __init__(self) -> None:
        self._events: list[tuple[StreamId, types.JSONRPCMessage | None]] = []

    async def store_event(self, stream_id: StreamId, message: types.JSONRPCMessage | None) -> EventId:
        self._events.append((stream_id, message))
        return str(len(self._events))

    async def replay_events_after(self, last_event_id: EventId, send_callback: EventCallback) -> StreamId | None:
        last = int(last_event_id)
        stream_id = self._events[last - 1][0]
        for number, (stream, message) in enumerate(self._events[last:], last + 1):
            if stream == stream_id and message is not None:
                await send_callback(EventMessage(message, str(number)))
        return stream_id


async def list_tools(ctx: Request, params: types.PaginatedRequestParams | None) -> types.ListToolsResult:
    return types.ListToolsResult(tools=[offer.tool for offer in TOOLS.values()])


async def call_tool(ctx: Request, params: types.CallToolRequestParams) -> Answer:
    if params.name not in TOOLS:
        raise MCPError(code=types.INVALID_PARAMS, message=f"Unknown tool: {params.name}")
    return await TOOLS[params.name].run(ctx, params)


def input_schema(name: str) -> Mapping[str, Any] | None:
    return TOOLS[name].tool.input_schema if name in TOOLS else None


async def list_resources(ctx: Request, params: types.PaginatedRequestParams | None) -> types.ListResourcesResult:
    return types.ListResourcesResult(
        resources=[
            types.Resource(uri=uri, name=uri, description="A resource to read.", mime_type=found.mime_type)
            for uri, found in _RESOURCES.items()
        ]
    )


async def list_templates(
    ctx: Request, params: types.PaginatedRequestParams | None
) -> types.ListResourceTemplatesResult:
    template = types.ResourceTemplate(
        uri_template=_TEMPLATE, name="data", description="Data by id.", mime_type="application/json"
    )
    return types.ListResourceTemplatesResult(resource_templates=[template])


async def read_resource(ctx: Request, params: types.ReadResourceRequestParams) -> types.ReadResourceResult:
    uri = str(params.uri)
    if uri in _RESOURCES:
        return types.ReadResourceResult(contents=[_RESOURCES[uri]])
    before, after = _TEMPLATE.split("{id}")
    if uri.startswith(before) and uri.endswith(after) and len(uri) > len(before + after):
        key = uri.removeprefix(before).removesuffix(after)
        data = json.dumps({"id": key, "templateTest": True, "data": f"Data for ID: {key}"})
        contents = types.TextResourceContents(uri=uri, mime_type="application/json", text=data)
        return types.ReadResourceResult(contents=[contents])
    raise MCPError(code=types.INVALID_PARAMS, message="Resource not found", data={"uri": uri})


async def list_prompts(ctx: Request, params: types.PaginatedRequestParams | None) -> types.ListPromptsResult:
    return types.ListPromptsResult(prompts=_PROMPTS)


async def get_prompt(
    ctx: Request, params: types.GetPromptRequestParams
) -> types.GetPromptResult | types.InputRequiredResult:
    given = params.arguments or {}
    contents: list[types.ContentBlock]
    match params.name:
        case "test_simple_prompt":
            contents = [types.TextContent(text="This is a simple prompt for testing.")]
        case "test_prompt_with_arguments":
            words = f"Prompt with arguments: arg1='{given['arg1']}', arg2='{given['arg2']}'"
            contents = [types.TextContent(text=words)]
        case "test_prompt_with_embedded_resource":
            found = types.TextResourceContents(
                uri=given["resourceUri"], mime_type="text/plain", text="Embedded resource content for testing."
            )
            contents = [
                types.EmbeddedResource(resource=found),
                types.TextContent(text="Please process the embedded resource above."),
            ]
        case "test_prompt_with_image":
            contents = [
                types.ImageContent(data=PIXEL_PNG, mime_type="image/png"),
                types.TextContent(text="Please analyze the image above."),
            ]
        case "test_input_required_result_prompt":
            return await rounds.context_prompt(params)
        case _:
            raise MCPError(code=types.INVALID_PARAMS, message=f"Unknown prompt: {params.name}")
    return types.GetPromptResult(messages=[types.PromptMessage(role="user", content=one) for one in contents])


async def complete(ctx: Request, params: types.CompleteRequestParams) -> types.CompleteResult:
    words = [word for word in ("paris", "park", "party") if word.startswith(params.argument.value)]
    return types.CompleteResult(completion=types.Completion(values=words, total=len(words), has_more=False))


async def accept(ctx: Request, params: types.RequestParams) -> types.EmptyResult:
    """For what the suite only wants accepted: a log level, a subscription to a resource that never changes."""
    return types.EmptyResult()


def build() -> Server[dict[str, Any]]:
    """The server, without a transport."""
    with warnings.catch_warnings():
        # A log level is set on the legacy wire only; the SDK says so of every server that still offers it.
        warnings.simplefilter("ignore", MCPDeprecationWarning)
        server = Server(
            NAME,
            version="1",
            get_tool_input_schema=input_schema,
            on_list_tools=list_tools,
            on_call_tool=call_tool,
            on_list_resources=list_resources,
            on_list_resource_templates=list_templates,
            on_read_resource=read_resource,
            on_subscribe_resource=accept,
            on_unsubscribe_resource=accept,
            on_subscriptions_listen=ListenHandler(BUS),
            on_list_prompts=list_prompts,
            on_get_prompt=get_prompt,
            on_completion=complete,
            on_set_logging_level=accept,
        )
    server.middleware.append(RequestStateBoundary(RequestStateSecurity.ephemeral(), default_audience=NAME))
    return server


def main() -> None:
    """Serves /mcp on the loopback until it is ended."""
    parser = argparse.ArgumentParser(description="The conformance tests' MCP server.")
    parser.add_argument("--port", type=int, required=True)
    arguments = parser.parse_args()
    app = build().streamable_http_app(event_store=Events(), retry_interval=_RETRY)
    uvicorn.run(app, host="127.0.0.1", port=arguments.port, log_level="warning")


if __name__ == "__main__":
    main()
