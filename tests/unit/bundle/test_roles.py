"""policies/bundles/roles.yaml does what it says: each caller, in person and through an assistant, tool by tool."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from ext_proc.bundle.load import examine
from ext_proc.testing import call, pass_through, request, response

BUNDLE = Path(__file__).parents[3] / "policies" / "bundles" / "roles.yaml"
TOOLS = ("search", "docs.read", "docs.statistics", "docs.report", "docs.echo", "delete_file", "export_salaries")
READING = {"search", "docs.read"}
REPORTS = {"docs.statistics", "docs.report"}
RESEARCHER = {"iss": "idp", "sub": "ann", "groups": ["research"], "client_id": "web-portal"}
ENGINEER = {"iss": "idp", "sub": "pat", "groups": ["platform"], "client_id": "web-portal"}
OWNER = {"iss": "idp", "sub": "olu", "roles": ["product-owner"], "tenant": "acme", "client_id": "web-portal"}
BOT = {"iss": "idp", "sub": "nightly", "client_id": "nightly", "scope": "tools:read"}

CALLERS: dict[str, tuple[dict[str, Any] | None, set[str]]] = {
    "a researcher": (RESEARCHER, READING | REPORTS),
    "a researcher's assistant, by act": ({**RESEARCHER, "act": {"sub": "helper"}}, READING),
    "a researcher's assistant, by the registry": ({**RESEARCHER, "client_id": "assistant-7"}, READING),
    "a researcher in an unknown client": ({**RESEARCHER, "client_id": "script"}, READING),
    "a platform engineer": (ENGINEER, READING | {"delete_file"}),
    "a platform engineer's assistant": ({**ENGINEER, "act": {"sub": "helper"}}, READING),
    "a product owner": (OWNER, READING | REPORTS | {"export_salaries"}),
    "a product owner's assistant": ({**OWNER, "client_id": "assistant-7"}, READING),
    "a product owner of another company": ({**OWNER, "tenant": "other"}, READING | REPORTS),
    "the read-only bot": (BOT, READING),
    "a bot that may not read": ({**BOT, "scope": "tools:write"}, set()),
    "somebody who claims the bot's scope": ({**RESEARCHER, "groups": [], "scope": "tools:read"}, set()),
    "nobody known": (None, set()),
}


@pytest.mark.parametrize(("claims", "allowed"), CALLERS.values(), ids=CALLERS.keys())
def test_each_caller_may_call_its_tools_and_sees_them_alone(claims: dict[str, Any] | None, allowed: set[str]) -> None:
    found = examine(BUNDLE)
    assert (found.problems, found.warnings) == ((), ())
    assert found.rulebook is not None
    done = response({"jsonrpc": "2.0", "id": 1, "result": {"content": []}})
    called = {
        tool
        for tool in TOOLS
        if pass_through(found.rulebook, request(call(tool), claims=claims), done).upstream is not None
    }
    assert called == allowed
    listed = {"tools": [{"name": tool, "inputSchema": {"type": "object"}} for tool in TOOLS]}
    played = pass_through(
        found.rulebook,
        request({"jsonrpc": "2.0", "id": 2, "method": "tools/list"}, claims=claims),
        response({"jsonrpc": "2.0", "id": 2, "result": listed}),
    )
    assert played.client is not None
    if claims is None:
        assert played.client.json["error"]["message"] == "sign in first"
    else:
        assert {tool["name"] for tool in played.client.json["result"]["tools"]} == allowed
