"""policies/bundles/agents.yaml does what it says of what servers ask (of sessions and loops: their policies' tests)."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from ext_proc.bundle.load import examine
from ext_proc.testing import HttpResponse, call, pass_through, request

BUNDLE = Path(__file__).parents[3] / "policies" / "bundles" / "agents.yaml"
PERSON = {"iss": "idp", "sub": "ann", "sub_profile": "user"}
AGENT = {**PERSON, "act": {"sub": "helper"}}
SAMPLE = {"messages": [], "maxTokens": 1000}


def url(address: str) -> dict[str, Any]:
    return {"mode": "url", "message": "go", "url": address, "elicitationId": "e"}


def form(field: str) -> dict[str, Any]:
    return {"message": "which?", "requestedSchema": {"type": "object", "properties": {field: {"type": "string"}}}}


@pytest.mark.parametrize(
    ("claims", "method", "params", "reason"),
    [
        (AGENT, "elicitation/create", form("colour"), ""),
        (AGENT, "elicitation/create", form("password"), "form-asks-for-secrets"),
        (AGENT, "elicitation/create", url("https://login.example.com/"), ""),
        (AGENT, "elicitation/create", url("https://eu.pay.example.com/"), ""),
        (AGENT, "elicitation/create", url("https://pay.example.com/"), "url-not-listed"),
        (PERSON, "sampling/createMessage", SAMPLE, ""),
        (PERSON, "sampling/createMessage", {**SAMPLE, "maxTokens": 1001}, "sampling-too-much"),
        (PERSON, "sampling/createMessage", {**SAMPLE, "includeContext": "thisServer"}, "sampling-with-context"),
        (AGENT, "sampling/createMessage", SAMPLE, "server-request-denied"),
        (PERSON, "roots/list", {}, "server-request-denied"),
    ],
)
def test_what_a_server_asks_is_ruled_as_the_bundle_says(
    claims: Any, method: str, params: dict[str, Any], reason: str
) -> None:
    found = examine(BUNDLE)
    assert (found.problems, found.warnings) == ((), ())
    assert found.rulebook is not None
    asked = {"jsonrpc": "2.0", "id": 5, "method": method, "params": params}
    done = {"jsonrpc": "2.0", "id": 1, "result": {"content": [{"type": "text", "text": "done"}]}}
    events = "".join(f"data: {json.dumps(value)}\n\n" for value in (asked, done))
    answer = HttpResponse(events.encode(), headers={"content-type": "text/event-stream"})
    played = pass_through(found.rulebook, request(call("search"), claims=claims), answer)
    assert played.client is not None
    assert ("" if played.trail.denied is None else played.trail.denied.reason) == reason
    assert (b"gatehouse/denied" in played.client.body) is bool(reason)
    assert played.client.body.endswith(f"data: {json.dumps(done)}\n\n".encode())
