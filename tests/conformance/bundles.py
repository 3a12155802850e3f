"""The bundles that Gatehouse serves while the suite runs: every method and tool it uses, allowed by name.

Rules:
- The rules enforce and their default is deny: what is not written here does not pass, so what passes was decided.
- The tool HIDDEN is left out on purpose: every list of tools is filtered and written anew.

- `guarded` has every built-in policy for MCP in the path beside the rules, as an operator would set them up; but for
  `oauth-resource`, which wants tokens that the suite has none of.

Not here: the policies that only look on, hold or rewrite (witnesses.py).
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from tests.conformance.server import TOOLS
from tests.conformance.tools import HIDDEN

# All that the scenarios of both revisions send, methods that were removed and one that never was included: refusing
# those is the server's part, and the suite looks at how it does.
METHODS = (
    "initialize",
    "ping",
    "server/discover",
    "logging/setLevel",
    "completion/complete",
    "tools/list",
    "resources/list",
    "resources/templates/list",
    "resources/read",
    "resources/subscribe",
    "resources/unsubscribe",
    "prompts/list",
    "prompts/get",
    "subscriptions/listen",
    "tasks/get",
    "tasks/update",
    "tasks/cancel",
    "tasks/result",
    "tasks/list",
    "notifications/initialized",
    "notifications/cancelled",
    "unknown/method",
)

# Tools of the tasks extension (SEP-2663), which the suite calls and our server does not offer.
TASK_TOOLS = (
    "confirm_delete",
    "failing_job",
    "multi_input",
    "protocol_error_job",
    "slow_compute",
    "test_tool_with_task",
)

# The tools of npm's server-everything.
EVERYTHING_TOOLS = (
    "echo",
    "get-annotated-message",
    "get-env",
    "get-resource-links",
    "get-resource-reference",
    "get-roots-list",
    "get-structured-content",
    "get-sum",
    "get-tiny-image",
    "gzip-file-as-resource",
    "simulate-research-query",
    "toggle-simulated-logging",
    "toggle-subscriber-updates",
    "trigger-elicitation-request",
    "trigger-elicitation-request-async",
    "trigger-long-running-operation",
    "trigger-sampling-request",
    "trigger-sampling-request-async",
    "trigger-url-elicitation",
)

OFFERED_TOOLS = tuple(name for name in TOOLS if name != HIDDEN)


ALL_TOOLS = (*OFFERED_TOOLS, *TASK_TOOLS, *EVERYTHING_TOOLS)


def bundle(witness: str, tools: Sequence[str] = ALL_TOOLS) -> str:
    """A bundle's text (JSON, which is YAML) with one of the witnesses, by class name, before the rules."""
    return _text({"name": "witness", "type": f"tests.conformance.witnesses:{witness}"}, _rules(tools))


def guarded(state: str) -> str:
    """A bundle's text with all policies for MCP.

    Args:
        state: the path of the file that they keep their state in.
    """
    return _text(
        {"name": "headers", "type": "header-integrity"},
        # It looks at every call and every answer to one, and asks about none: whom would the suite ask?
        {"name": "yes", "type": "confirm", "parameters": {"tools": ["irreversible_*"]}},
        {"name": "sessions", "type": "session-binding"},
        {"name": "asks", "type": "server-requests", "parameters": {"default": "allow"}},
        # It notes what nobody has approved: the suite calls tools that it was never shown, and some whose words change.
        {"name": "pins", "type": "tool-pinning", "parameters": {"on_change": "note"}},
        _rules(ALL_TOOLS),
        # The suite calls tools that it was never shown.
        {"name": "shapes", "type": "tool-arguments", "parameters": {"unknown_schema": "allow"}},
        {"name": "loops", "type": "loop-guard", "parameters": {"calls_per_session": 1000, "identical_calls": 200}},
        store={"embedded": {"path": state}},
    )


def _rules(tools: Sequence[str]) -> dict[str, Any]:
    rules = [{"methods": list(METHODS), "allow": True}, {"tools": list(tools), "allow": True}]
    return {"name": "rules", "type": "tool-access", "parameters": {"default": "deny", "rules": rules}}


def _text(*policies: dict[str, Any], **parts: Any) -> str:
    names = [policy["name"] for policy in policies]
    return json.dumps(
        {
            "apiVersion": "gatehouse/v1",
            "kind": "Bundle",
            "metadata": {"name": "conformance", "revision": "1"},
            "routes": [{"name": "mcp", "match": {"path": "/mcp"}, "protocol": "mcp", "policies": names}],
            "policies": list(policies),
            **parts,
        }
    )
