"""What a server hands out belongs to whom it was handed to, through a real Envoy, with official clients and servers.

Rules:
- The servers behind know no caller: they would give anybody any session or state that they know.
- A thief has all that its victim has, but for the token.
"""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from typing import Any

import httpx2
import mcp_types as types
import pytest
import yaml
from mcp import Client, MCPError
from mcp.client.streamable_http import streamable_http_client

from ext_proc.demo.processes import LOOPBACK, Processes, accepts, free_ports
from tests.envoy.exchanges import HEADERS, call
from tests.envoy.harness import Running, Stacks, wait_for
from tests.envoy.observed import decisions, log_lines, mark
from tests.envoy.upstream import json_body

BUNDLE = """
apiVersion: gatehouse/v1
kind: Bundle
metadata: {name: sessions, revision: "1"}
store: {hosts: one, embedded: {path: sessions.db}}
routes:
  - {name: mcp, match: {path: /mcp}, protocol: mcp, policies: [sessions]}
policies:
  - {name: sessions, type: session-binding, parameters: {affinity: AFFINITY}}
"""
WIRES = ["legacy", "2026-07-28"]
YES = types.ElicitResult(action="accept", content={"approved": True})
PING = {"jsonrpc": "2.0", "id": 7, "method": "ping"}


@pytest.fixture(scope="module")
def servers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[int]]:
    """The ports of two servers that know nothing of each other."""
    ports = free_ports(2)
    with Processes(tmp_path_factory.mktemp("servers")) as processes:
        for name, port in zip(("one", "two"), ports, strict=True):
            command = [sys.executable, "-m", "tests.envoy.stateful_server", "--port", str(port), "--name", name]
            processes.start(name, command, accepts(LOOPBACK, port))
        processes.wait_until_ready()
        yield ports


@pytest.fixture(scope="module")
def both(servers: list[int]) -> Any:
    """Edits the bootstrap: the cluster is the two servers, chosen by a hash of what Gatehouse says."""

    def edit(bootstrap: str) -> str:
        config = yaml.safe_load(bootstrap)
        (cluster,) = (found for found in config["static_resources"]["clusters"] if found["name"] == "mcp")
        cluster["lb_policy"] = "RING_HASH"
        addresses = [{"socket_address": {"address": LOOPBACK, "port_value": port}} for port in servers]
        endpoints = [{"endpoint": {"address": address}} for address in addresses]
        cluster["load_assignment"]["endpoints"] = [{"lb_endpoints": endpoints}]
        (manager,) = config["static_resources"]["listeners"][0]["filter_chains"][0]["filters"]
        routes = manager["typed_config"]["route_config"]["virtual_hosts"][0]["routes"]
        (route,) = (found for found in routes if found["name"] == "mcp")
        route["route"]["hash_policy"] = [{"header": {"header_name": "x-gatehouse-affinity"}}]
        return str(yaml.safe_dump(config, sort_keys=False))

    return edit


@pytest.fixture
def running(gatehouse_stack: Stacks, both: Any) -> Running:
    return gatehouse_stack(BUNDLE.replace("AFFINITY", "session"), edit_bootstrap=both)


@pytest.fixture
def scattered(gatehouse_stack: Stacks, both: Any) -> Running:
    """The same without affinity: any request goes to either server."""
    return gatehouse_stack(BUNDLE.replace("AFFINITY", "'off'"), edit_bootstrap=both)


@pytest.fixture
def scripted(gatehouse_stack: Stacks) -> Running:
    return gatehouse_stack(BUNDLE.replace("AFFINITY", "session"))


def authorized(running: Running, caller: str) -> dict[str, str]:
    """The header of a caller's token; none for "anonymous"."""
    return {} if caller == "anonymous" else {"authorization": f"Bearer {running.stack.token(caller)}"}


def client(
    running: Running, wire: str, caller: str, sessions: list[str] | None = None
) -> AbstractAsyncContextManager[Client]:
    """MCP's client as a caller; the session ids that it is given go into `sessions`."""

    async def approve(context: Any, params: types.ElicitRequestParams) -> types.ElicitResult | types.ErrorData:
        return YES

    async def note(response: httpx2.Response) -> None:
        if sessions is not None and "mcp-session-id" in response.headers:
            sessions.append(response.headers["mcp-session-id"])

    @asynccontextmanager
    async def connected() -> AsyncIterator[Client]:
        async with (
            httpx2.AsyncClient(
                headers=authorized(running, caller), timeout=10.0, trust_env=False, event_hooks={"response": [note]}
            ) as http,
            Client(
                streamable_http_client(running.stack.mcp_url, http_client=http),
                mode=wire,
                elicitation_callback=approve,
            ) as connection,
        ):
            yield connection

    return connected()


def text_of(result: types.CallToolResult) -> str:
    return " ".join(getattr(block, "text", "") for block in result.content)


async def raw(running: Running, method: str, caller: str, session: str) -> httpx2.Response:
    """One request of MCP's transport with a session id, without waiting for the end of a stream."""
    headers = {**HEADERS, **authorized(running, caller), "mcp-session-id": session}
    sent = PING if method == "POST" else None
    async with (
        httpx2.AsyncClient(timeout=10.0, trust_env=False) as http,
        http.stream(method, running.stack.mcp_url, headers=headers, json=sent) as response,
    ):
        if response.status_code >= 400:
            await response.aread()
        return response


@pytest.mark.parametrize("method", ["POST", "GET", "DELETE"])
@pytest.mark.parametrize("thief", ["bob", "anonymous"])
async def test_a_stolen_session_is_of_no_use(running: Running, thief: str, method: str) -> None:
    sessions: list[str] = []
    async with client(running, "legacy", "ann", sessions) as ann:
        stolen = await raw(running, method, thief, sessions[0])
        made_up = await raw(running, method, thief, "0" * len(sessions[0]))
        for refused in (stolen, made_up):
            assert (refused.status_code, refused.headers["content-type"]) == (404, "application/json")
            error = refused.json()["error"]
            assert (error["code"], error["message"], error["data"]["reason"]) == (
                -32600,
                "session not found",
                "session-unknown",
            )
        # Envoy closes the connection where it answers before it has read the body.
        assert {*stolen.headers} ^ {*made_up.headers} <= {"connection"}
        assert text_of(await ann.call_tool("pay", {"amount": 5})) == "paid 5"
        ours = await raw(running, "POST", "ann", sessions[0])
        assert ours.status_code == 200, "it is the token that counts, not the client"


async def test_envoy_answers_a_thief_by_itself_and_the_record_tells_of_the_theft(running: Running) -> None:
    sessions: list[str] = []
    async with client(running, "legacy", "ann", sessions):
        since = mark(running)
        await raw(running, "POST", "bob", sessions[0])
        theft = await asyncio.to_thread(decision_about, running, since, "bob")
    assert (theft["outcome"], theft["facts"]["session_of_another"]) == ("refused", True)
    (line,) = (line for line in running.stack.access_log() if line["trail"] == theft["id"])
    assert (line["status"], line["details"]) == (404, "gatehouse_session-unknown")


def decision_about(running: Running, since: int, subject: str) -> dict[str, Any]:
    """The first decision about a caller after the mark, once Gatehouse and Envoy have written it."""

    def look() -> dict[str, Any] | None:
        told = {line["trail"] for line in running.stack.access_log()}
        found = (line for line in log_lines(running, since) if line.get("subject") == subject)
        return next((line for line in found if line["id"] in told), None)

    return wait_for(look, f"a decision about {subject}")


async def test_a_client_whose_session_is_refused_begins_anew(running: Running) -> None:
    sessions: list[str] = []
    async with client(running, "legacy", "ann", sessions) as ann:
        assert (await raw(running, "DELETE", "ann", sessions[0])).status_code == 200
        with pytest.raises(MCPError, match="session not found"):
            await ann.call_tool("search", {"query": "x"})
    async with client(running, "legacy", "ann", sessions) as again:
        assert text_of(await again.call_tool("search", {"query": "x"})) == "nothing about x"
    assert len(set(sessions)) == 2


@pytest.mark.parametrize("wire", WIRES)
async def test_what_a_server_asks_of_its_caller_is_answered(running: Running, wire: str) -> None:
    async with client(running, wire, "ann") as ann:
        for amount in range(6):
            assert text_of(await ann.call_tool("pay", {"amount": amount})) == f"paid {amount}"


async def test_a_stolen_request_state_is_of_no_use(running: Running) -> None:
    async with client(running, "2026-07-28", "ann") as ann, client(running, "2026-07-28", "bob") as bob:
        asked = await ann.session.call_tool("pay", {"amount": 900}, allow_input_required=True)
        assert isinstance(asked, types.InputRequiredResult)
        assert asked.request_state is not None
        assert asked.input_requests is not None
        answers: types.InputResponses = dict.fromkeys(asked.input_requests, YES)
        with pytest.raises(MCPError) as refused:
            await bob.session.call_tool(
                "pay", {"amount": 900}, input_responses=answers, request_state=asked.request_state
            )
        error = refused.value.error
        assert (error.code, error.data["reason"]) == (-32602, "state-unknown")
        with pytest.raises(MCPError) as never:
            await bob.session.call_tool("pay", {"amount": 900}, input_responses=answers, request_state="v1.never")
        assert (never.value.error.code, never.value.error.message) == (error.code, error.message)
        with pytest.raises(MCPError, match="requestState"):
            await ann.session.call_tool("search", {"query": "x"}, request_state=asked.request_state)
        done = await ann.session.call_tool(
            "pay", {"amount": 900}, input_responses=answers, request_state=asked.request_state
        )
        assert text_of(done) == "paid 900", "it reached the server as the server had written it"


def test_a_refused_state_has_the_status_that_its_wire_gives_the_error(scripted: Running) -> None:
    scripted.upstream.answer_with(json_body({}))
    meta = {"io.modelcontextprotocol/protocolVersion": "2026-07-28"}
    params = {"name": "pay", "arguments": {}, "requestState": "stolen", "_meta": meta}
    statuses = []
    for version in ("2026-07-28", "2025-11-25"):
        answer = httpx2.post(
            scripted.stack.mcp_url,
            json={**call("pay"), "params": params},
            headers={**HEADERS, "mcp-protocol-version": version, "mcp-method": "tools/call", "mcp-name": "pay"},
        )
        statuses.append((answer.status_code, answer.json()["error"]["code"]))
    assert statuses == [(400, -32602), (200, -32602)]
    assert scripted.upstream.requests == []


def test_a_stolen_task_is_of_no_use(scripted: Running) -> None:
    def asks(caller: str, method: str, answer: dict[str, Any], **params: Any) -> dict[str, Any]:
        scripted.upstream.answer_with(json_body({"jsonrpc": "2.0", "id": 1, "result": answer}))
        sent = {"jsonrpc": "2.0", "id": 1, "method": method, "params": params}
        headers = {**HEADERS, **authorized(scripted, caller), "mcp-protocol-version": "2025-11-25"}
        return dict(httpx2.post(scripted.stack.mcp_url, json=sent, headers=headers).json())

    def working(task: str) -> dict[str, Any]:
        return {"taskId": task, "status": "working", "createdAt": "x", "lastUpdatedAt": "x", "ttl": 60000}

    for caller in ("ann", "bob"):
        created = asks(caller, "tools/call", {"task": working(f"of-{caller}")}, name="pay", task={"ttl": 60000})
        assert created["result"]["task"]["taskId"] == f"of-{caller}"
    assert asks("ann", "tasks/get", working("of-ann"), taskId="of-ann")["result"]["status"] == "working"
    for method in ("tasks/get", "tasks/result", "tasks/cancel"):
        stolen = asks("bob", method, working("of-ann"), taskId="of-ann")
        assert (stolen["error"]["code"], stolen["error"]["message"]) == (-32602, "task not found")
        assert scripted.upstream.requests == []
    page = {"tasks": [working("of-ann"), working("of-bob"), working("of-nobody")]}
    listed = {caller: asks(caller, "tasks/list", page)["result"]["tasks"] for caller in ("ann", "bob", "carl")}
    assert listed == {"ann": [working("of-ann")], "bob": [working("of-bob")], "carl": []}


def test_two_session_headers_are_refused(scripted: Running) -> None:
    scripted.upstream.answer_with(json_body({}))
    twice = [*HEADERS.items(), ("mcp-session-id", "a"), ("mcp-session-id", "b")]
    answer = httpx2.post(scripted.stack.mcp_url, json=PING, headers=twice)
    assert (answer.status_code, answer.json()["error"]["data"]["reason"]) == (400, "session-invalid")
    assert scripted.upstream.requests == []


async def test_a_session_stays_with_the_server_that_opened_it_and_sessions_are_spread(running: Running) -> None:
    used: set[str] = set()
    async with AsyncExitStack() as stack:
        clients: list[Client] = []
        while len(clients) < 6 or len(used) < 2:
            assert len(clients) < 40, "all of them are at one server"
            clients.append(await stack.enter_async_context(client(running, "legacy", "ann")))
            used.add(text_of(await clients[-1].call_tool("where")))
        homes = set()
        for _ in range(4):
            found = await asyncio.gather(*(one.call_tool("where") for one in clients))
            homes.add(tuple(map(text_of, found)))
        assert len(homes) == 1
    assert used == {"one", "two"}


async def test_a_state_goes_back_to_the_server_that_has_its_key(running: Running) -> None:
    """On 2026-07-28 there are no sessions: what is bound is the state."""
    asked: set[str] = set()
    async with client(running, "2026-07-28", "ann") as ann:
        for amount in range(40):
            asked.add(text_of(await ann.call_tool("where")))
            assert text_of(await ann.call_tool("pay", {"amount": amount})) == f"paid {amount}"
    assert asked == {"one", "two"}, "calls that bring nothing back go to either"


async def test_without_affinity_a_session_is_lost_at_the_other_server(scattered: Running) -> None:
    """What the tests above would see if the header did nothing."""
    with pytest.RaisesGroup(MCPError, flatten_subgroups=True, allow_unwrapped=True):
        async with client(scattered, "legacy", "ann") as ann:
            for _ in range(40):
                await ann.call_tool("where")


def test_a_client_does_not_choose_its_server(scripted: Running) -> None:
    scripted.upstream.answer_with(json_body({"jsonrpc": "2.0", "id": 7, "result": {}}))
    since = mark(scripted)
    for _ in range(2):
        httpx2.post(scripted.stack.mcp_url, json=PING, headers={**HEADERS, "x-gatehouse-affinity": "mine"})
    values = [request.header("x-gatehouse-affinity") for request in scripted.upstream.requests]
    assert "mine" not in values
    assert len({*values}) == 2
    assert [line["facts"]["affinity"] for line in decisions(scripted, since, 2)] == values


def test_a_binding_survives_a_new_process(gatehouse_stack: Stacks) -> None:
    bundle = BUNDLE.replace("AFFINITY", "session").replace('revision: "1"', 'revision: "restart"')
    opened = {"protocolVersion": "2025-11-25", "capabilities": {}, "serverInfo": {"name": "s", "version": "1"}}
    first = gatehouse_stack(bundle)
    first.upstream.answer_with(
        json_body({"jsonrpc": "2.0", "id": 1, "result": opened}, 200, ("mcp-session-id", "survives"))
    )
    initialize = {"jsonrpc": "2.0", "id": 1, "method": "initialize", "params": {}}
    answer = httpx2.post(
        first.stack.mcp_url, content=json.dumps(initialize), headers={**JSON, **authorized(first, "ann")}
    )
    assert answer.headers["mcp-session-id"] == "survives"
    second = gatehouse_stack(bundle, fresh=True)
    second.upstream.answer_with(json_body({"jsonrpc": "2.0", "id": 7, "result": {}}))

    def ping(caller: str) -> int:
        headers = {**HEADERS, **authorized(second, caller), "mcp-session-id": "survives"}
        return httpx2.post(second.stack.mcp_url, json=PING, headers=headers).status_code

    assert [ping("ann"), ping("bob")] == [200, 404]


JSON = {**HEADERS, "content-type": "application/json"}
