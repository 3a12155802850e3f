"""The tools that the conformance suite asks for by name: results, notifications, and questions on the legacy wire.

Rules:
- What a tool has to do is said by the suite's own scenarios, cited at each group.
- Nothing is kept between calls.

Not here: tools that answer in several rounds (rounds.py), and how a tool is served (server.py).
"""

from __future__ import annotations

from typing import Any

import anyio
import mcp_types as types
from mcp.server.subscriptions import InMemorySubscriptionBus, PromptsListChanged, ToolsListChanged
from mcp.shared.exceptions import MCPError

from tests.conformance.offers import Answer, Offers, Request, one_text, text

# One red pixel, and a WAV file without a sample.
PIXEL_PNG = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAIAAACQd1PeAAAADElEQVR42mP4z8AAAAMBAQD3A0FDAAAAAElFTkSuQmCC"
EMPTY_WAV = "UklGRiQAAABXQVZFZm10IBAAAAABAAEAQB8AAEAfAAABAAgAZGF0YQAAAAA="

# Between two notifications of one call, so that they can be seen to arrive apart (seconds).
_PAUSE = 0.05

OFFERS = Offers()
offer = OFFERS.offer

# Offered, and called by nobody: for rules that do not name it.
HIDDEN = "nobody_calls_this"

# Who listens on the 2026-07-28 wire (subscriptions/listen) for changes of lists.
BUS = InMemorySubscriptionBus()


# Plain results (scenarios tools-call-*).


@offer("Answer with one text.")
async def test_simple_text(ctx: Request, params: types.CallToolRequestParams) -> Answer:
    return text("This is a simple text response for testing.")


@offer("Answer with an image.")
async def test_image_content(ctx: Request, params: types.CallToolRequestParams) -> Answer:
    return types.CallToolResult(content=[types.ImageContent(data=PIXEL_PNG, mime_type="image/png")])


@offer("Answer with a sound.")
async def test_audio_content(ctx: Request, params: types.CallToolRequestParams) -> Answer:
    return types.CallToolResult(content=[types.AudioContent(data=EMPTY_WAV, mime_type="audio/wav")])


@offer("Answer with a resource inside the result.")
async def test_embedded_resource(ctx: Request, params: types.CallToolRequestParams) -> Answer:
    found = types.TextResourceContents(
        uri="test://embedded-resource", mime_type="text/plain", text="This is an embedded resource content."
    )
    return types.CallToolResult(content=[types.EmbeddedResource(resource=found)])


@offer("Answer with a text, an image and a resource.")
async def test_multiple_content_types(ctx: Request, params: types.CallToolRequestParams) -> Answer:
    found = types.TextResourceContents(
        uri="test://mixed-content-resource", mime_type="application/json", text='{"test":"data","value":123}'
    )
    return types.CallToolResult(
        content=[
            types.TextContent(text="Multiple content types test:"),
            types.ImageContent(data=PIXEL_PNG, mime_type="image/png"),
            types.EmbeddedResource(resource=found),
        ]
    )


@offer("Greet (the tools of the tasks extension that need no tasks).", one_text("name"))
async def greet(ctx: Request, params: types.CallToolRequestParams) -> Answer:
    return text(f"Hello, {(params.arguments or {}).get('name')}!")


@offer("Called by nobody.")
async def nobody_calls_this(ctx: Request, params: types.CallToolRequestParams) -> Answer:
    return text("somebody called")


@offer("Fail, as a tool fails.")
async def test_error_handling(ctx: Request, params: types.CallToolRequestParams) -> Answer:
    words = types.TextContent(text="This tool intentionally returns an error for testing")
    return types.CallToolResult(content=[words], is_error=True)


@offer(
    "A schema with the keywords of JSON Schema 2020-12 (scenario json-schema-2020-12).",
    {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "type": "object",
        "$defs": {
            "address": {
                "$anchor": "addressDef",
                "type": "object",
                "properties": {"street": {"type": "string"}, "city": {"type": "string"}},
            }
        },
        "properties": {
            "name": {"type": "string"},
            "address": {"$ref": "#/$defs/address"},
            "contactMethod": {"type": "string", "enum": ["phone", "email"]},
            "phone": {"type": "string"},
            "email": {"type": "string"},
        },
        "allOf": [{"anyOf": [{"required": ["phone"]}, {"required": ["email"]}]}],
        "if": {"properties": {"contactMethod": {"const": "phone"}}, "required": ["contactMethod"]},
        "then": {"required": ["phone"]},
        "else": {"required": ["email"]},
        "additionalProperties": False,
    },
)
async def json_schema_2020_12_tool(ctx: Request, params: types.CallToolRequestParams) -> Answer:
    return text("the arguments fit")


@offer(
    "An argument that is mirrored into the header Mcp-Param-Region (scenario http-custom-header-server-validation).",
    {
        "type": "object",
        "properties": {"region": {"type": "string", "x-mcp-header": "Region"}},
        "required": ["region"],
    },
)
async def test_header_mirrored(ctx: Request, params: types.CallToolRequestParams) -> Answer:
    return text((params.arguments or {})["region"])


# Notifications on the way to the result.


@offer("Say three log messages on the way.")
async def test_tool_with_logging(ctx: Request, params: types.CallToolRequestParams) -> Answer:
    await say(ctx, "Tool execution started")
    for words in ("Tool processing data", "Tool execution completed"):
        await anyio.sleep(_PAUSE)
        await say(ctx, words)
    return text("three messages were logged")


@offer("Say a log message; on the 2026-07-28 wire only a caller that asked for them gets it.")
async def test_logging_tool(ctx: Request, params: types.CallToolRequestParams) -> Answer:
    await say(ctx, "one message")
    return text("one message was logged")


@offer("Report progress: 0, 50 and 100 of 100.")
async def test_tool_with_progress(ctx: Request, params: types.CallToolRequestParams) -> Answer:
    for done in (0, 50, 100):
        await ctx.session.report_progress(done, 100)
        await anyio.sleep(_PAUSE)
    return text("100 of 100")


@offer("Close the stream before the result; who comes back with Last-Event-ID gets it (scenario server-sse-polling).")
async def test_reconnection(ctx: Request, params: types.CallToolRequestParams) -> Answer:
    if ctx.close_sse_stream is not None:
        await ctx.close_sse_stream()
        await anyio.sleep(_PAUSE)
    return text("you came back")


@offer("Tell who listens that the list of tools changed.")
async def test_trigger_tool_change(ctx: Request, params: types.CallToolRequestParams) -> Answer:
    await BUS.publish(ToolsListChanged())
    return text("told")


@offer("Tell who listens that the list of prompts changed.")
async def test_trigger_prompt_change(ctx: Request, params: types.CallToolRequestParams) -> Answer:
    await BUS.publish(PromptsListChanged())
    return text("told")


async def say(ctx: Request, words: str) -> None:
    """A log message at level info on the stream of this request."""
    await ctx.session.send_log_message("info", words, related_request_id=ctx.request_id)


# Questions to the client while the call is open: requests from the server, legacy wire only.


@offer("Ask the client's model.", one_text("prompt"))
async def test_sampling(ctx: Request, params: types.CallToolRequestParams) -> Answer:
    asked = types.SamplingMessage(role="user", content=types.TextContent(text=(params.arguments or {})["prompt"]))
    said = await ctx.session.create_message([asked], max_tokens=100, related_request_id=ctx.request_id)
    return text(f"LLM response: {said.content.text if isinstance(said.content, types.TextContent) else 'no text'}")


@offer("Ask the user for a name and an address.", one_text("message"))
async def test_elicitation(ctx: Request, params: types.CallToolRequestParams) -> Answer:
    wanted = {
        "type": "object",
        "properties": {
            "username": {"type": "string", "description": "User's response"},
            "email": {"type": "string", "description": "User's email address"},
        },
        "required": ["username", "email"],
    }
    return await _elicited(ctx, (params.arguments or {})["message"], wanted)


@offer("Ask the user, with a default for every primitive type (SEP-1034).")
async def test_elicitation_sep1034_defaults(ctx: Request, params: types.CallToolRequestParams) -> Answer:
    wanted = {
        "type": "object",
        "properties": {
            "name": {"type": "string", "default": "John Doe"},
            "age": {"type": "integer", "default": 30},
            "score": {"type": "number", "default": 95.5},
            "status": {"type": "string", "enum": ["active", "inactive", "pending"], "default": "active"},
            "verified": {"type": "boolean", "default": True},
        },
        "required": [],
    }
    return await _elicited(ctx, "Is this right?", wanted)


@offer("Ask the user to choose, in all five ways of writing a choice (SEP-1330).")
async def test_elicitation_sep1330_enums(ctx: Request, params: types.CallToolRequestParams) -> Answer:
    options = ["option1", "option2", "option3"]
    titled = [
        {"const": f"value{n}", "title": f"{word} Option"} for n, word in enumerate(("First", "Second", "Third"), 1)
    ]
    wanted = {
        "type": "object",
        "properties": {
            "untitledSingle": {"type": "string", "enum": options},
            "titledSingle": {"type": "string", "oneOf": titled},
            "legacyEnum": {
                "type": "string",
                "enum": ["opt1", "opt2", "opt3"],
                "enumNames": ["Option One", "Option Two", "Option Three"],
            },
            "untitledMulti": {"type": "array", "items": {"type": "string", "enum": options}},
            "titledMulti": {"type": "array", "items": {"anyOf": titled}},
        },
        "required": [],
    }
    return await _elicited(ctx, "Which?", wanted)


async def _elicited(ctx: Request, message: str, wanted: dict[str, Any]) -> types.CallToolResult:
    said = await ctx.session.elicit_form(message, wanted, related_request_id=ctx.request_id)
    return text(f"Elicitation completed: action={said.action}, content={said.content}")


# What the caller must be able to do.


@offer("Needs a client that offers its model (scenario server-stateless).")
async def test_missing_capability(ctx: Request, params: types.CallToolRequestParams) -> Answer:
    needed = types.ClientCapabilities(sampling=types.SamplingCapability())
    if not ctx.session.check_client_capability(needed):
        data = types.MissingRequiredClientCapabilityErrorData(required_capabilities=needed)
        raise MCPError(
            code=types.MISSING_REQUIRED_CLIENT_CAPABILITY,
            message="this tool needs the client's model",
            data=data.model_dump(by_alias=True, mode="json", exclude_none=True),
        )
    return text("the client offers its model")
