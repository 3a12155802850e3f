"""How MCP asks a person, on each of its wires, and what it answers with.

Rules:
- 2026-07-28: a result `input_required` with one elicitation, in the mode that the client declared in `_meta`
  (MCP 2026-07-28, elicitation: capabilities; `{}` means forms). What is asked for has one key of this gate's own.
- 2025-11-25: the error -32042 with an elicitation of mode `url`. A client that knows it not reads the page's address in
  the error's message, and so does one of an older revision, for which it is an error like any other.
- A yes is the action `accept` with the boolean true, and nothing else. A client that answers otherwise says no.

Not here: who is asked about what (confirm.py), the words (confirm_words.py).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

from ext_proc.messages import ToolCall, encode_json
from ext_proc.policy import Context, Deny, Respond
from gatehouse_policies.mcp_headers import VERSION, speaks_modern, value_of

ASKED = "confirmation-required"
OWN_KEY = "gatehouse-confirm"
_FIELD = "confirmed"
_CAPABILITIES = "io.modelcontextprotocol/clientCapabilities"
_MISSING_CAPABILITY = -32021
_URL_REQUIRED = -32042  # MCP 2025-11-25, elicitation: URL mode; retired in 2026-07-28
_WITH_URLS = "2025-11-25"
_NEITHER = "this call needs a person's yes, and there is no way to ask for it here"

Answer = Literal["yes", "no", "none"]


def elicits(message: ToolCall, ctx: Context[Any]) -> frozenset[str]:
    """The modes of elicitation that the client of a call of 2026-07-28 has: of "form" and "url"."""
    if not speaks_modern(ctx.request):
        return frozenset()
    meta = message.params.get("_meta")
    capabilities = meta.get(_CAPABILITIES) if isinstance(meta, Mapping) else None
    declared = capabilities.get("elicitation") if isinstance(capabilities, Mapping) else None
    if not isinstance(declared, Mapping):
        return frozenset()
    return frozenset({"form", "url"} & declared.keys()) or frozenset({"form"})


def answer_of(message: ToolCall) -> tuple[Answer, Any]:
    """What the client says to our elicitation, by a form's rules; and its action, or None."""
    responses = message.params.get("inputResponses")
    if not isinstance(responses, Mapping) or OWN_KEY not in responses:
        return "none", None
    given = responses[OWN_KEY]
    if not isinstance(given, Mapping):
        return "no", None
    content = given.get("content")
    accepted = given.get("action") == "accept" and isinstance(content, Mapping) and content.get(_FIELD) is True
    return "yes" if accepted else "no", given.get("action")


def without_answers(message: ToolCall) -> ToolCall:
    """The call as it was before anybody was asked anything; itself where it brings nothing back."""
    params = {name: value for name, value in message.params.items() if name not in ("requestState", "inputResponses")}
    return message if len(params) == len(message.params) else message.with_params(params)


def form(message: ToolCall, words: str, state: str, ctx: Context[Any], reason: str = ASKED) -> Respond:
    """Asks the client's person."""
    schema = {
        "type": "object",
        "properties": {_FIELD: {"type": "boolean", "title": "Allow this call", "default": False}},
        "required": [_FIELD],
    }
    params = {"mode": "form", "message": words, "requestedSchema": schema}
    return _input_required(message, params, state, ctx, reason)


def visit(message: ToolCall, words: str, url: str, state: str, ctx: Context[Any], reason: str = ASKED) -> Respond:
    """Sends the client's person to the page."""
    return _input_required(message, {"mode": "url", "message": words, "url": url}, state, ctx, reason)


def wait(message: ToolCall, state: str, ctx: Context[Any]) -> Respond:
    """Tells the client to come back: nobody has decided yet."""
    return _input_required(message, None, state, ctx, "confirmation-pending")


def _input_required(
    message: ToolCall, params: Mapping[str, Any] | None, state: str, ctx: Context[Any], reason: str
) -> Respond:
    result: dict[str, Any] = {"resultType": "input_required"}
    if params is not None:
        result["inputRequests"] = {OWN_KEY: {"method": "elicitation/create", "params": params}}
    result |= {"requestState": state, "_meta": {"gatehouse/trail": ctx.trail_id}}
    body = encode_json({"jsonrpc": "2.0", "id": message.id, "result": result})
    return Respond(200, (("content-type", "application/json"),), body, reason)


def error(words: str, url: str, id: str, mode: str, ctx: Context[Any], reason: str = ASKED) -> Deny:
    """Names the page in an error, for a client that can be asked in no better way.

    Args:
        mode: of elicitation, that a client of 2026-07-28 would better have.
    """
    said = f"{words} {url}"
    if speaks_modern(ctx.request):
        return Deny(reason, said, code=_MISSING_CAPABILITY, data={**_required(mode), "url": url})
    if value_of(ctx.request, VERSION) == _WITH_URLS:
        elicitation = {"mode": "url", "elicitationId": id, "url": url, "message": words}
        return Deny(reason, said, code=_URL_REQUIRED, data={"elicitations": [elicitation]})
    return Deny(reason, said, data={"url": url})


def impossible(mode: str, ctx: Context[Any]) -> Deny:
    """Says that nobody can be asked; to a client of 2026-07-28 by the capability that it lacks.

    Args:
        mode: the one that would do; "" where none would.
    """
    if mode and speaks_modern(ctx.request):
        return Deny("confirmation-impossible", _NEITHER, code=_MISSING_CAPABILITY, data=_required(mode))
    return Deny("confirmation-impossible", _NEITHER)


def _required(mode: str) -> Mapping[str, Any]:
    return {"requiredCapabilities": {"elicitation": {mode: {}}}}
