"""A stack that stands for any in production, with all policies on, and what an attacker sends to it byte by byte.

Rules:
- There are two callers: `ann` may read, `root` may do all. Both have tokens that hold.
- The upstream is a script that would answer anything.

Not here: the attacks (test_attacks.py), bad input and faults (test_bad_input.py).
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from tests.envoy.bootstraps import patient
from tests.envoy.callers import FIRST, minted, without_jwt_authn
from tests.envoy.exchanges import LIST, answer_to, call
from tests.envoy.harness import Running, Stacks
from tests.envoy.raw import RawAnswer, raw_client, sized
from tests.envoy.upstream import json_body
from tests.unit.credentials.minting import AUDIENCE, ISSUER, jwks

MODERN, LEGACY, BATCHES = "2026-07-28", "2025-11-25", "2025-03-26"
Lines = list[tuple[str, str]]

READS = {"type": "object", "properties": {"query": {"type": "string", "maxLength": 20}}, "required": ["query"]}
TOOLS = [
    {"name": "search", "inputSchema": {**READS, "additionalProperties": False}},
    {"name": "delete_file", "inputSchema": {"type": "object", "properties": {"path": {"type": "string"}}}},
    {
        "name": "query",
        "inputSchema": {"type": "object", "properties": {"region": {"type": "string", "x-mcp-header": "Region"}}},
    },
]
LISTED = {"jsonrpc": "2.0", "id": 1, "result": {"tools": TOOLS, "cacheScope": "public", "ttlMs": 60_000}}


def every_policy(keys: Path) -> dict[str, Any]:
    """A bundle in which `ann` may read and `root` may do all."""
    admin = "'admin' in identity.groups"
    order = ["resource", "headers", "sessions", "asks", "callers", "shapes", "loops"]
    return {
        "apiVersion": "gatehouse/v1",
        "kind": "Bundle",
        "metadata": {"name": "attacked"},
        "limits": {"decision": "9s"},
        "store": {"hosts": "one", "embedded": {"timeout": "8s"}},
        "identity": [{"jwt": {"issuer": ISSUER, "audiences": [AUDIENCE, "other"], "jwks": {"file": str(keys)}}}],
        "routes": [{"name": "mcp", "match": {"path": "/mcp"}, "protocol": "mcp", "policies": order}],
        "unmatched": "deny",
        "policies": [
            {
                "name": "resource",
                "type": "oauth-resource",
                "parameters": {"resource": AUDIENCE, "authorization_servers": [ISSUER], "require": ["mcp"]},
            },
            {"name": "headers", "type": "header-integrity", "timeout": "9s"},
            {"name": "sessions", "type": "session-binding", "timeout": "9s"},
            {"name": "asks", "type": "server-requests", "timeout": "9s"},
            {
                "name": "callers",
                "type": "tool-access",
                "parameters": {
                    "rules": [
                        {"methods": ["initialize", "ping", "*/list", "notifications/*", "tasks/*"], "allow": True},
                        {"tools": ["search", "query"], "allow": True},
                        {"resources": ["file:///srv/public/*"], "allow": True},
                        {"methods": ["*"], "tools": ["*"], "allow": admin},
                        {"resources": ["*"], "allow": admin},
                        {"prompts": ["*"], "allow": admin},
                    ]
                },
            },
            {"name": "shapes", "type": "tool-arguments", "timeout": "9s"},
            {"name": "loops", "type": "loop-guard", "timeout": "9s", "parameters": {"identical_calls": 1000}},
        ],
    }


def attacked(gatehouse_stack: Stacks, keys: Path) -> Running:
    """The stack, its tools listed and nothing sent on since; `keys` is what `published` wrote."""
    found = gatehouse_stack(json.dumps(every_policy(keys)), edit_bootstrap=unverified)
    found.upstream.answer_with(json_body(LISTED))
    assert sent(found, LIST, lines("root")).json["result"]["tools"] == TOOLS
    found.upstream.answer_with(json_body(answer_to(call())))
    return found


def published(folder: Path) -> Path:
    """A file in the folder with the keys that tokens are verified with."""
    path = folder / "jwks.json"
    path.write_bytes(jwks(FIRST))
    return path


def unverified(bootstrap: str) -> str:
    """Envoy verifies no token, and waits longer than policies may take."""
    return without_jwt_authn(patient(bootstrap))


def lines(caller: str = "ann", version: str = LEGACY, **others: str) -> Lines:
    """The headers of a request; `mcp_name="x"` is the header mcp-name."""
    groups = ["admin"] if caller == "root" else []
    found = {
        "authorization": f"Bearer {minted(sub=caller, scope='mcp', groups=groups, exp=2**31)}",
        "content-type": "application/json",
        "accept": "application/json, text/event-stream",
        "mcp-protocol-version": version,
    }
    return list((found | {name.replace("_", "-"): value for name, value in others.items()}).items())


def modern(caller: str = "root", **others: str) -> Lines:
    """The same of revision 2026-07-28."""
    return lines(caller, MODERN, **{"mcp_method": "tools/call", "mcp_name": "search", **others})


def sent(running: Running, message: object, headers: Lines, method: str = "POST", path: str = "/mcp") -> RawAnswer:
    """The answer to a message, or to bytes."""
    body = message if isinstance(message, bytes) else json.dumps(message).encode()
    with raw_client(running) as client:
        return client.ask(sized(path, body, *headers, method=method), method)


def told(message: dict[str, Any], version: str = MODERN) -> dict[str, Any]:
    """A message with its revision in `_meta`."""
    meta = {"io.modelcontextprotocol/protocolVersion": version, "io.modelcontextprotocol/clientCapabilities": {}}
    return {**message, "params": {**message.get("params", {}), "_meta": meta}}
