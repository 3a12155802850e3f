"""Lines to paste into a terminal while the demo runs; a test runs each of them as it stands.

Rules:
- A line needs nothing but a POSIX shell, curl and the running demo; it is one line, and works in an interactive bash.
- MCP is asked on 2026-07-28, the one revision that needs no handshake.
- Where the environment names a proxy, curl is told not to ask it: everything is on this machine.

Not here: the tour.
"""

from __future__ import annotations

import json
import shlex
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from urllib.request import getproxies

from ext_proc.demo.stack import Stack

_VERSION = "2026-07-28"
_WEEK = 7 * 24 * 3600.0  # the line must work for as long as the demo stays up; its key ends with it


@dataclass(frozen=True, slots=True)
class Line:
    """A command, what it shows, and a text that its output must hold."""

    says: str
    command: str
    shows: str


def curls(stack: Stack) -> list[Line]:
    """The lines for a running stack."""
    denied = _mcp(stack, "tools/call", {"name": "delete_file", "arguments": {"path": "/tmp/x"}})
    gatehouse = shlex.join([sys.executable, "-m", "ext_proc.cli"])
    admin = stack.admin_url.removeprefix("http://")
    bundle = shlex.quote(str(stack.bundle))
    pinned = _mcp(stack, "tools/list", {}, more={"x-demo": "pinned"})
    trail = "$(" + denied + ' | sed \'s/.*"trail":"\\([^"]*\\)".*/\\1/\')'
    return [
        Line("the tools that a stranger sees", _mcp(stack, "tools/list", {}), '"docs.read"'),
        Line(
            "a tool that everybody may call",
            _mcp(stack, "tools/call", {"name": "search", "arguments": {"query": "queue"}}),
            "runbook",
        ),
        Line("a tool that a stranger may not call", denied, "deleting needs the admin group"),
        Line(
            "the same with an admin's token",
            _mcp(
                stack,
                "tools/call",
                {"name": "delete_file", "arguments": {"path": "/tmp/x"}},
                stack.token("ann", {"groups": ["admin"]}, _WEEK),
            ),
            "deleted /tmp/x",
        ),
        Line("why a call was denied", f"{gatehouse} explain --admin {admin} {trail}", "tool-not-allowed"),
        Line(
            "two names in one call: read by one program as harmless, by another as not",
            f"{_curl()} {stack.mcp_url} -H 'content-type: application/json'"
            ' -d \'{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"search","name":"delete_file"}}\'',
            "-32700",
        ),
        Line(
            "a model by its alias",
            f"{_curl()} {stack.models_url}/chat/completions -H 'content-type: application/json'"
            ' -d \'{"model":"small","messages":[{"role":"user","content":"hello"}]}\'',
            "This is model-b",
        ),
        Line(
            "a tool that says something else of itself than when it was first listed, and what that is",
            f"{pinned} >/dev/null; {_curl()} -X POST {stack.mcp_server_url}/redeploy; {pinned} >/dev/null; "
            f"STATE_DIRECTORY={shlex.quote(str(stack.logs))} {gatehouse} tools diff --bundle {bundle} pinned docs.echo",
            "Before any other tool is used",
        ),
        Line("the latest decisions", f"{_curl()} '{stack.admin_url}/decisions?limit=2'", '"decisions"'),
        Line("the metrics", f"{_curl()} {stack.admin_url}/metrics", "gatehouse_exchanges_total"),
    ]


def _curl() -> str:
    return "curl -s --noproxy '*'" if getproxies() else "curl -s"


def _mcp(
    stack: Stack, method: str, params: dict[str, object], token: str = "", more: Mapping[str, str] | None = None
) -> str:
    meta = {
        "io.modelcontextprotocol/protocolVersion": _VERSION,
        "io.modelcontextprotocol/clientInfo": {"name": "curl", "version": "8"},
        "io.modelcontextprotocol/clientCapabilities": {},
    }
    body = {"jsonrpc": "2.0", "id": 1, "method": method, "params": {**params, "_meta": meta}}
    headers = {
        "content-type": "application/json",
        "accept": "application/json, text/event-stream",
        "mcp-protocol-version": _VERSION,
        "mcp-method": method,
        **(more or {}),
    }
    if "name" in params:
        headers["mcp-name"] = str(params["name"])
    if token:
        headers["authorization"] = f"Bearer {token}"
    given = " ".join(f"-H {shlex.quote(f'{name}: {value}')}" for name, value in headers.items())
    return f"{_curl()} {stack.mcp_url} {given} -d {shlex.quote(json.dumps(body, separators=(',', ':')))}"
