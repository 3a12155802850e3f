"""Callers of a stack: bundles that tell them apart, tokens, MCP's official client, and what becomes of a refused one.

Not here: what is presented (test_identity.py, test_workloads.py).
"""

from __future__ import annotations

import ssl
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any

import httpx2
import pytest
import yaml
from mcp import Client, MCPError
from mcp.client.streamable_http import streamable_http_client

from tests.envoy.exchanges import call
from tests.envoy.harness import Running
from tests.envoy.observed import decisions, mark
from tests.unit.credentials.minting import Minter

FIRST = Minter("ES256", "first")


def bundle(*identity: Mapping[str, Any], clients: tuple[Mapping[str, Any], ...] = (), **rest: Any) -> str:
    """A bundle whose only rule is that whoever calls is known, and is told apart by kind."""
    return str(
        yaml.safe_dump(
            {
                "apiVersion": "gatehouse/v1",
                "kind": "Bundle",
                "metadata": {"name": "identity"},
                "identity": list(identity),
                "clients": list(clients),
                "routes": [{"name": "mcp", "match": {"path": "/mcp"}, "protocol": "mcp", "policies": ["who"]}],
                "policies": [
                    {
                        "name": "who",
                        "type": "tool-access",
                        "parameters": {
                            "rules": [
                                {"tools": ["delete_*"], "allow": "identity.kind == 'human'"},
                                {"tools": ["export_*"], "allow": "identity.kind == 'autonomous_agent'"},
                                {"methods": ["*"], "allow": "identity.verified"},
                            ]
                        },
                    }
                ],
                **rest,
            }
        )
    )


def without_jwt_authn(bootstrap: str) -> str:
    """Envoy passes tokens on as they are."""
    config = yaml.safe_load(bootstrap)
    manager = config["static_resources"]["listeners"][0]["filter_chains"][0]["filters"][0]["typed_config"]
    manager["http_filters"] = [one for one in manager["http_filters"] if not one["name"].endswith("jwt_authn")]
    return str(yaml.safe_dump(config, sort_keys=False))


def minted(minter: Minter = FIRST, header: Mapping[str, Any] | None = None, **claims: Any) -> str:
    """A token that holds now."""
    return minter.mint(header, **{"exp": int(time.time()) + 600, "client_id": "portal", **claims})


@asynccontextmanager
async def client(
    running: Running,
    headers: Mapping[str, str] | None = None,
    *,
    url: str = "",
    verify: ssl.SSLContext | bool = False,
    mode: str = "2026-07-28",
) -> AsyncIterator[Client]:
    """MCP's client with these headers, over TLS if the URL says so."""
    async with (
        httpx2.AsyncClient(headers=dict(headers or {}), timeout=10.0, trust_env=False, verify=verify) as http,
        Client(streamable_http_client(url or running.stack.mcp_url, http_client=http), mode=mode) as connection,
    ):
        yield connection


def bearer(token: str) -> dict[str, str]:
    return {"authorization": f"Bearer {token}"}


async def tools(running: Running, headers: Mapping[str, str] | None = None, **options: Any) -> set[str]:
    """The tools that a caller sees."""
    async with client(running, headers, **options) as connection:
        return {tool.name for tool in (await connection.list_tools()).tools}


async def refused(running: Running, headers: Mapping[str, str], status: int = 401, **options: Any) -> str:
    """That the official client is turned away and nothing reaches the upstream; the reason in the decision."""
    since = mark(running)
    with pytest.RaisesGroup(MCPError, flatten_subgroups=True, allow_unwrapped=True):
        await tools(running, headers, **options)
    found = decisions(running, since)
    assert {decision["status"] for decision in found} == {status}
    assert {decision["subject"] for decision in found} == {""}
    (reason,) = {entry["reason"] for decision in found for entry in decision["entries"]}
    return str(reason)


def post(running: Running, headers: Mapping[str, str], path: str = "/mcp") -> httpx2.Response:
    """A tool call with exactly these headers."""
    lines = {"accept": "application/json, text/event-stream", **headers}
    return httpx2.post(running.stack.url + path, json=call(), headers=lines, timeout=10.0, trust_env=False)
