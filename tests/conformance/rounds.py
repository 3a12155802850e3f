"""Tools and a prompt that answer in several rounds: on the 2026-07-28 wire a server asks in its result (SEP-2322).

Rules:
- A round's state is what the client brings back; the SDK seals it on the way out and refuses a changed one.
- An answer that is missing or of another kind is asked for again; answers nobody asked for are ignored.

Not here: questions on the legacy wire, which are requests of the server's own (tools.py).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import mcp_types as types

from tests.conformance.offers import Answer, Offers, Request, text

OFFERS = Offers()
offer = OFFERS.offer

_STATE = "asked"


def form(message: str, name: str, kind: str = "string") -> types.ElicitRequest:
    """Asks the user for one value."""
    schema = {"type": "object", "properties": {name: {"type": kind}}, "required": [name]}
    return types.ElicitRequest(params=types.ElicitRequestFormParams(message=message, requested_schema=schema))


def completion(question: str, max_tokens: int) -> types.CreateMessageRequest:
    """Asks the client's model."""
    asked = types.SamplingMessage(role="user", content=types.TextContent(text=question))
    return types.CreateMessageRequest(params=types.CreateMessageRequestParams(messages=[asked], max_tokens=max_tokens))


def roots() -> types.ListRootsRequest:
    """Asks for the client's roots."""
    return types.ListRootsRequest(params=types.RequestParams())


def accepted(responses: types.InputResponses | None, key: str) -> Mapping[str, Any] | None:
    """What the user filled in under `key`; None where nothing of the kind came."""
    said = (responses or {}).get(key)
    return said.content if isinstance(said, types.ElicitResult) and said.action == "accept" else None


@offer("Ask the user's name, then greet.")
async def test_input_required_result_elicitation(ctx: Request, params: types.CallToolRequestParams) -> Answer:
    said = accepted(params.input_responses, "user_name")
    if said is None:
        return types.InputRequiredResult(input_requests={"user_name": form("What is your name?", "name")})
    return text(f"Hello, {said.get('name')}!")


@offer("Ask the client's model, then repeat it.")
async def test_input_required_result_sampling(ctx: Request, params: types.CallToolRequestParams) -> Answer:
    said = (params.input_responses or {}).get("capital_question")
    if not isinstance(said, types.CreateMessageResult) or not isinstance(said.content, types.TextContent):
        return types.InputRequiredResult(
            input_requests={"capital_question": completion("What is the capital of France?", 100)}
        )
    return text(said.content.text)


@offer("Ask for the client's roots, then name them.")
async def test_input_required_result_list_roots(ctx: Request, params: types.CallToolRequestParams) -> Answer:
    said = (params.input_responses or {}).get("client_roots")
    if not isinstance(said, types.ListRootsResult):
        return types.InputRequiredResult(input_requests={"client_roots": roots()})
    return text(", ".join(str(root.uri) for root in said.roots))


@offer("Give a state away and look at what comes back.")
async def test_input_required_result_request_state(ctx: Request, params: types.CallToolRequestParams) -> Answer:
    if accepted(params.input_responses, "confirm") is None or params.request_state != _STATE:
        return types.InputRequiredResult(
            input_requests={"confirm": form("Please confirm", "ok", "boolean")}, request_state=_STATE
        )
    return text("state-ok")


@offer("Give a sealed state away; a changed one is refused before this is asked.")
async def test_input_required_result_tampered_state(ctx: Request, params: types.CallToolRequestParams) -> Answer:
    return await test_input_required_result_request_state(ctx, params)


@offer("Ask the user, the client's model and for its roots at once.")
async def test_input_required_result_multiple_inputs(ctx: Request, params: types.CallToolRequestParams) -> Answer:
    questions: types.InputRequests = {
        "user_name": form("What is your name?", "name"),
        "greeting": completion("Generate a greeting", 50),
        "client_roots": roots(),
    }
    if set(questions) - set(params.input_responses or {}):
        return types.InputRequiredResult(input_requests=questions, request_state=_STATE)
    return text("all three were answered")


@offer("Ask twice, one question after the other.")
async def test_input_required_result_multi_round(ctx: Request, params: types.CallToolRequestParams) -> Answer:
    if params.request_state is None:
        first: types.InputRequests = {"step1": form("Step 1: What is your name?", "name")}
        return types.InputRequiredResult(input_requests=first, request_state="step1")
    if params.request_state == "step1":
        second: types.InputRequests = {"step2": form("Step 2: What is your favorite color?", "color")}
        return types.InputRequiredResult(input_requests=second, request_state="step2")
    return text("both steps are done")


@offer("Ask only what the client said it can answer.")
async def test_input_required_result_capabilities(ctx: Request, params: types.CallToolRequestParams) -> Answer:
    can = ctx.session.client_capabilities or types.ClientCapabilities()
    questions: types.InputRequests = {}
    if can.elicitation is not None:
        questions["user_name"] = form("What is your name?", "name")
    if can.sampling is not None:
        questions["greeting"] = completion("Generate a greeting", 50)
    if not questions or params.input_responses:
        return text("nothing more to ask")
    return types.InputRequiredResult(input_requests=questions)


@offer("Report progress, then ask the user: two frames of one stream, and neither is a request of the server's.")
async def test_streaming_elicitation(ctx: Request, params: types.CallToolRequestParams) -> Answer:
    if accepted(params.input_responses, "user_name") is not None:
        return text("answered")
    await ctx.session.report_progress(0, 1)
    return types.InputRequiredResult(input_requests={"user_name": form("What is your name?", "name")})


async def context_prompt(
    params: types.GetPromptRequestParams,
) -> types.GetPromptResult | types.InputRequiredResult:
    """The prompt `test_input_required_result_prompt`: it asks for a context before there are messages."""
    said = accepted(params.input_responses, "user_context")
    if said is None:
        asked = form("What context should the prompt use?", "context")
        return types.InputRequiredResult(input_requests={"user_context": asked})
    words = types.TextContent(text=f"Use this context: {said.get('context')}")
    return types.GetPromptResult(messages=[types.PromptMessage(role="user", content=words)])
