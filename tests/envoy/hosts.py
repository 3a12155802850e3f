"""Several Gatehouses that share a store, each behind an Envoy of its own, in front of one MCP server.

Rules:
- They serve one bundle file. Callers have tokens that each Gatehouse verifies itself, so that one token holds at all.
- Time-outs are long enough for a busy machine: what a test sees is what was decided, not what came too late.

Not here: what is asked of them (test_hosts.py), which store they share.
"""

from __future__ import annotations

import itertools
import json
import os
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any
from unittest.mock import patch

import httpx2
import mcp_types as types
import yaml
from mcp import Client
from mcp.client.streamable_http import streamable_http_client

from ext_proc.demo.stack import Stack, Upstreams
from tests.envoy.bootstraps import patient
from tests.envoy.callers import FIRST, bearer, minted, without_jwt_authn
from tests.envoy.harness import Running
from tests.envoy.upstream import Upstream
from tests.unit.credentials.minting import AUDIENCE, ISSUER, jwks

YES = types.ElicitResult(action="accept", content={"approved": True})
IDENTITY = {"jwt": {"issuer": ISSUER, "audiences": [AUDIENCE], "jwks": {"file": "jwks.json"}, "leeway": "5m"}}
# Read by Python when it starts: all that asks what time it is gets this answer.
_SKEWED = "import time\n_true = time.time\ntime.time = lambda: _true() + {seconds}\n"


def with_worker(socket: Path) -> Callable[[str], str]:
    """Edits a bootstrap: Envoy asks Gatehouse at this socket, too, in turn."""

    def edit(bootstrap: str) -> str:
        config = yaml.safe_load(bootstrap)
        (cluster,) = (found for found in config["static_resources"]["clusters"] if found["name"] == "gatehouse")
        (group,) = cluster["load_assignment"]["endpoints"]
        group["lb_endpoints"].append({"endpoint": {"address": {"pipe": {"path": str(socket)}}}})
        return str(yaml.safe_dump(config, sort_keys=False))

    return edit


@contextmanager
def hosts(
    folder: Path,
    bundle: Mapping[str, Any],
    server: str | None = None,
    *,
    skews: Sequence[float] = (0.0, 0.0),
    workers: bool = False,
) -> Iterator[list[Running]]:
    """Runs a Gatehouse with an Envoy for each of `skews`.

    Args:
        folder: for the bundle and what it names by relative paths.
        server: the MCP server, "HOST:PORT"; None for the scripted upstream, which they have in common.
        skews: how many seconds the clock of each is ahead.
        workers: the last one's Envoy asks the Gatehouses before it, too.
    """
    (folder / "jwks.json").write_bytes(jwks(FIRST))
    file = folder / "bundle.yaml"
    file.write_text(json.dumps(bundle), encoding="utf-8")  # which is YAML, too
    with ExitStack() as running:
        upstream = running.enter_context(Upstream())
        found: list[Running] = []
        for number, seconds in enumerate(skews):
            home = folder / f"host-{number}"
            home.mkdir()
            (home / "sitecustomize.py").write_text(_SKEWED.format(seconds=seconds), encoding="utf-8")
            edits = [
                patient,
                without_jwt_authn,
                *(with_worker(one.stack.logs / "gatehouse.sock") for one in found if workers),
            ]

            def edit(bootstrap: str, edits: Sequence[Callable[[str], str]] = tuple(edits)) -> str:
                for each in edits:
                    bootstrap = each(bootstrap)
                return bootstrap

            stack = Stack(
                file, upstreams=Upstreams(*[server or upstream.address] * 3), edit_bootstrap=edit, directory=home
            )
            with patch.dict(os.environ, {"PYTHONPATH": str(home)} if seconds else {}):
                running.enter_context(stack)
            found.append(Running(stack, upstream))
        yield found


class InTurn(httpx2.AsyncBaseTransport):
    """What stands in front of several hosts: each request goes to the next of them.

    It has no streams for the server's own messages (405), which a client opens when it likes: requests can be counted.

    Attributes:
        sessions: the ids that answers handed out.
    """

    def __init__(self, among: Sequence[Running]) -> None:
        self.sessions: list[str] = []
        self._inner = httpx2.AsyncHTTPTransport()
        self.only(*among)

    def only(self, *among: Running) -> None:
        """From now on requests go to these."""
        self._ports = itertools.cycle([running.stack.port for running in among])

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        if request.method == "GET":
            return httpx2.Response(405, request=request)
        request.url = request.url.copy_with(port=next(self._ports))
        response = await self._inner.handle_async_request(request)
        if "mcp-session-id" in response.headers:
            self.sessions.append(response.headers["mcp-session-id"])
        return response

    async def aclose(self) -> None:
        await self._inner.aclose()


def authorized(caller: str, **claims: Any) -> dict[str, str]:
    """The header of a caller's token, which does not expire here."""
    return bearer(minted(sub=caller, **{"exp": 2**31, **claims}))


@asynccontextmanager
async def client(turn: InTurn, wire: str, caller: str, **headers: str) -> AsyncIterator[Client]:
    """MCP's client as a caller, whose user says yes to whatever a server asks."""

    async def approve(context: Any, params: types.ElicitRequestParams) -> types.ElicitResult | types.ErrorData:
        return YES

    lines = {name.replace("_", "-"): value for name, value in headers.items()} | authorized(caller)
    async with (
        httpx2.AsyncClient(headers=lines, timeout=30.0, trust_env=False, transport=turn) as http,
        Client(
            streamable_http_client("http://127.0.0.1:1/mcp", http_client=http), mode=wire, elicitation_callback=approve
        ) as connection,
    ):
        yield connection


async def said(connection: Client, tool: str, **arguments: object) -> tuple[bool, str]:
    """Whether a call failed as a tool does, and the text that the model reads."""
    result = await connection.call_tool(tool, arguments)
    return result.is_error, " ".join(getattr(block, "text", "") for block in result.content)
