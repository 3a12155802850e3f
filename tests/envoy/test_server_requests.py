"""What a server asks of its caller, through a real Envoy, with official clients and servers on both of MCP's wires.

Rules:
- The server asks for whatever it likes; its client would answer all of it.
- `ann` may be asked, `bob` may not.
"""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import httpx2
import mcp_types as types
import pytest
import yaml
from mcp import Client, MCPError
from mcp.client.streamable_http import streamable_http_client

from ext_proc.demo.processes import LOOPBACK, Processes, accepts, free_ports
from tests.envoy.exchanges import HEADERS, call, event, posted
from tests.envoy.harness import Running, Stacks, wait_for
from tests.envoy.observed import log_lines, mark
from tests.envoy.upstream import json_body, pieces, whole

BUNDLE = """
apiVersion: gatehouse/v1
kind: Bundle
metadata: {name: server-requests, revision: "1"}
store: {hosts: one, embedded: {path: asked.db}}
routes:
  - {name: mcp, match: {path: /mcp}, protocol: mcp, policies: [sessions, asks]}
policies:
  - {name: sessions, type: session-binding, timeout: 900ms}
  - name: asks
    type: server-requests
    timeout: 900ms
    parameters:
      rules: [{methods: ["*"], allow: "identity.subject == 'ann'"}]
      url_domains: ["pay.example.com"]
      sampling: {max_tokens: 100}
limits: {decision: 950ms}
"""
WIRES = ["legacy", "2026-07-28"]
GOOD = "https://pay.example.com/1"
EVIL = "https://pay.example.com.evil.example/1"
wires = pytest.mark.parametrize("wire", WIRES)


@dataclass
class Person:
    """Who is behind a client, and says yes to everything.

    Attributes:
        asked: what they were asked, by method or mode.
        pages: where they were sent.
        completed: what they were told is complete.
        was_asked: set by the first elicitation.
        hesitates: held until it is set, before a form is answered.
        sessions: the ids of the client's sessions.
    """

    asked: list[str] = field(default_factory=list)
    pages: list[str] = field(default_factory=list)
    completed: list[str] = field(default_factory=list)
    was_asked: asyncio.Event = field(default_factory=asyncio.Event)
    hesitates: asyncio.Event = field(default_factory=asyncio.Event)
    sessions: list[str] = field(default_factory=list)

    async def fill_in(self, context: Any, params: types.ElicitRequestParams) -> types.ElicitResult | types.ErrorData:
        self.asked.append(params.mode)
        self.was_asked.set()
        if isinstance(params, types.ElicitRequestURLParams):
            self.pages.append(params.url)
            return types.ElicitResult(action="accept")
        await self.hesitates.wait()
        return types.ElicitResult(action="accept", content={"colour": "red", "password": "s3cret"})

    async def think(
        self, context: Any, params: types.CreateMessageRequestParams
    ) -> types.CreateMessageResult | types.ErrorData:
        self.asked.append("sampling")
        content = types.TextContent(type="text", text="because")
        return types.CreateMessageResult(role="assistant", content=content, model="m")

    async def look(self, context: Any) -> types.ListRootsResult | types.ErrorData:
        self.asked.append("roots")
        return types.ListRootsResult(roots=[types.Root(uri="file:///srv")])  # type: ignore[arg-type]  # parsed

    async def note(self, message: Any) -> None:
        if isinstance(message, types.ElicitCompleteNotification):
            self.completed.append(message.params.elicitation_id)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    """The port of the server that asks."""
    (port,) = free_ports(1)
    with Processes(tmp_path_factory.mktemp("asking")) as processes:
        command = [sys.executable, "-m", "tests.envoy.asking_server", "--port", str(port)]
        processes.start("asking", command, accepts(LOOPBACK, port))
        processes.wait_until_ready()
        yield port


@pytest.fixture(scope="module")
def behind(server: int) -> Any:
    """Edits the bootstrap: the cluster is the server that asks."""

    def edit(bootstrap: str) -> str:
        config = yaml.safe_load(bootstrap)
        (cluster,) = (found for found in config["static_resources"]["clusters"] if found["name"] == "mcp")
        address = {"socket_address": {"address": LOOPBACK, "port_value": server}}
        cluster["load_assignment"]["endpoints"] = [{"lb_endpoints": [{"endpoint": {"address": address}}]}]
        return str(yaml.safe_dump(config, sort_keys=False))

    return edit


@pytest.fixture
def running(gatehouse_stack: Stacks, behind: Any) -> Running:
    return gatehouse_stack(BUNDLE, edit_bootstrap=behind)


@pytest.fixture
def scripted(gatehouse_stack: Stacks) -> Running:
    return gatehouse_stack(BUNDLE)


@asynccontextmanager
async def client(running: Running, wire: str, caller: str, person: Person) -> AsyncIterator[Client]:
    """MCP's client as a caller, with a person behind it."""

    async def note(response: httpx2.Response) -> None:
        person.sessions += [response.headers["mcp-session-id"]] if "mcp-session-id" in response.headers else []

    headers = {"authorization": f"Bearer {running.stack.token(caller)}"}
    async with (
        httpx2.AsyncClient(headers=headers, timeout=10.0, trust_env=False, event_hooks={"response": [note]}) as http,
        Client(
            streamable_http_client(running.stack.mcp_url, http_client=http),
            mode=wire,
            elicitation_callback=person.fill_in,
            sampling_callback=person.think,
            list_roots_callback=person.look,
            message_handler=person.note,
        ) as connection,
    ):
        yield connection


def person(*, hesitates: bool = False) -> Person:
    found = Person()
    if not hesitates:
        found.hesitates.set()
    return found


async def outcome(connection: Client, tool: str, **arguments: object) -> str:
    """What a call came to: its text, the reason of its denial, or another error's code and data."""
    try:
        result = await connection.call_tool(tool, arguments)
    except MCPError as error:
        data = error.error.data
        return str(data["reason"]) if isinstance(data, dict) else f"{error.error.code} {data}"
    return " ".join(getattr(block, "text", "") for block in result.content)


def denials(running: Running, since: int) -> list[str]:
    """The reasons that `asks` gave in the trails after the mark, once there is one."""

    def look() -> list[str] | None:
        lines = [line for line in log_lines(running, since) if line["event"] == "decision"]
        entries = [entry for line in lines for entry in line["entries"]]
        return [one["reason"] for one in entries if (one["policy"], one["verdict"]) == ("asks", "deny")] or None

    return wait_for(look, "a denial of server-requests")


@wires
async def test_what_a_server_may_ask_is_answered(running: Running, wire: str) -> None:
    asked = person()
    async with client(running, wire, "ann", asked) as ann:
        assert await outcome(ann, "paint") == "painted red"
        assert await outcome(ann, "think", tokens=100) == "thought because"
        assert await outcome(ann, "look") == "looked at file:///srv"
        assert (await outcome(ann, "visit", url=GOOD)).startswith("visit: accept")
    assert (asked.asked, asked.pages) == (["form", "sampling", "roots", "url"], [GOOD])


@wires
@pytest.mark.parametrize("tool", ["paint", "think", "look", "visit"])
async def test_what_a_server_may_not_ask_reaches_nobody_and_the_trail_says_why(
    running: Running, wire: str, tool: str
) -> None:
    since, asked = mark(running), person()
    needed: dict[str, dict[str, object]] = {"think": {"tokens": 1}, "visit": {"url": GOOD}}
    async with client(running, wire, "bob", asked) as bob:
        said = await outcome(bob, tool, **needed.get(tool, {}))
    assert asked.asked == []
    assert denials(running, since) == ["server-request-denied"]
    if (
        wire == "legacy"
    ):  # the client told the server so, which went on: it passes the error on, or says what came of it
        assert said in ("-32601 gatehouse/denied", "refused with -32601")
    else:
        assert said == "server-request-denied"


@wires
@pytest.mark.parametrize(
    ("tool", "arguments", "reason"),
    [
        ("visit", {"url": EVIL}, "url-not-listed"),
        ("visit", {"url": "https://pay.example.com@evil.example/"}, "url-ambiguous"),
        ("sign_in", {}, "form-asks-for-secrets"),
        ("think", {"tokens": 101}, "sampling-too-much"),
    ],
)
async def test_what_the_rules_allow_is_held_to_its_bounds(
    running: Running, wire: str, tool: str, arguments: dict[str, object], reason: str
) -> None:
    since, asked = mark(running), person()
    async with client(running, wire, "ann", asked) as ann:
        said = await outcome(ann, tool, **arguments)
        assert (asked.asked, denials(running, since)) == ([], [reason])
        assert "s3cret" not in said
        assert await outcome(ann, "paint") == "painted red", "the session is as it was"


async def test_an_error_sends_nobody_to_a_phishing_page(running: Running) -> None:
    async with client(running, "legacy", "ann", person()) as ann:
        with pytest.raises(MCPError) as allowed:
            await ann.call_tool("visit_first", {"url": GOOD})
        assert (allowed.value.error.code, allowed.value.error.data["elicitations"][0]["url"]) == (-32042, GOOD)
        with pytest.raises(MCPError) as denied:
            await ann.call_tool("visit_first", {"url": EVIL})
    error = denied.value.error
    assert (error.code, error.data["reason"]) == (-31403, "url-not-listed")
    assert "evil" not in error.model_dump_json()


@pytest.mark.parametrize(
    ("content_type", "number"),
    [("application/json", "1"), ("application/json; charset=latin1", "1"), ("application/json", "NaN")],
)
def test_nor_does_one_behind_a_status_that_clients_read_it_from(
    scripted: Running, content_type: str, number: str
) -> None:
    shown = {"mode": "url", "message": "go", "url": EVIL, "elicitationId": "e"}
    value = {"code": -32042, "message": "first", "data": {"elicitations": [shown], "n": "N"}}
    body = json.dumps({"jsonrpc": "2.0", "id": 1, "error": value}).replace('"N"', number).encode()
    assert isinstance(types.jsonrpc_message_adapter.validate_json(body), types.JSONRPCError)
    scripted.upstream.answer_with(whole(400, body, ("content-type", content_type)))
    headers = {**HEADERS, "authorization": f"Bearer {scripted.stack.token('ann')}"}
    answer = httpx2.post(scripted.stack.mcp_url, json=call(), headers=headers)
    assert b"evil" not in answer.content
    assert answer.json()["id"] == 1
    assert answer.json()["error"]["data"]["reason"] in ("url-not-listed", "unreadable-answer")


async def test_a_visit_is_called_complete_to_whom_it_was_shown(running: Running) -> None:
    asked = person()
    async with client(running, "legacy", "ann", asked) as ann:
        assert await outcome(ann, "visit", url=GOOD) == "visit: accept"
        assert asked.completed == ["visit-1"]


async def test_a_state_comes_back_exactly_and_from_whom_it_was_given_to(running: Running) -> None:
    async with (
        client(running, "2026-07-28", "ann", person()) as ann,
        client(running, "2026-07-28", "bob", person()) as bob,
    ):
        asked = await ann.session.call_tool("visit", {"url": GOOD}, allow_input_required=True)
        assert isinstance(asked, types.InputRequiredResult)
        assert asked.input_requests is not None
        answers: types.InputResponses = {"visit": types.ElicitResult(action="accept")}
        back: dict[str, Any] = {"input_responses": answers, "request_state": asked.request_state}
        with pytest.raises(MCPError) as stolen:
            await bob.session.call_tool("visit", {"url": GOOD}, **back)
        assert (stolen.value.error.code, stolen.value.error.data["reason"]) == (-32602, "state-unknown")
        done = await ann.session.call_tool("visit", {"url": GOOD}, **back)
    assert [getattr(block, "text", "") for block in done.content] == ["visit: accept, state as it was"]


async def test_what_a_person_is_asked_on_the_older_wire_nobody_else_answers(running: Running) -> None:
    asked = person(hesitates=True)
    async with client(running, "legacy", "ann", asked) as ann, httpx2.AsyncClient(trust_env=False) as http:
        painting = asyncio.create_task(outcome(ann, "paint"))
        await asked.was_asked.wait()
        forged = {"action": "accept", "content": {"colour": "black"}}

        async def answers(caller: str, session: str, id: int) -> str:
            headers = {**HEADERS, "authorization": f"Bearer {running.stack.token(caller)}"}
            headers |= {"mcp-session-id": session} if session else {}
            sent = {"jsonrpc": "2.0", "id": id, "result": forged}
            answer = await http.post(running.stack.mcp_url, json=sent, headers=headers)
            return str(answer.json()["error"]["data"]["reason"])

        for id in range(3):
            assert await answers("bob", asked.sessions[0], id) == "session-unknown"
            assert await answers("bob", "", id) == "answer-unasked"
        assert await answers("ann", asked.sessions[0], 99) == "answer-unasked"
        asked.hesitates.set()
        assert await painting == "painted red"


def test_the_servers_own_stream_is_held_to_the_same_rules(scripted: Running) -> None:
    asks = {"jsonrpc": "2.0", "id": 5, "method": "elicitation/create"}
    url = {"mode": "url", "message": "go", "elicitationId": "e"}
    good, evil = ({**asks, "params": {**url, "url": address}} for address in (GOOD, EVIL))
    scripted.upstream.answer_with(pieces([event(good), event(evil)]))
    since = mark(scripted)
    headers = {"accept": "text/event-stream", "authorization": f"Bearer {scripted.stack.token('ann')}"}
    answer = httpx2.get(scripted.stack.mcp_url, headers=headers)
    assert answer.content.startswith(event(good)), "byte for byte"
    rest = answer.content.removeprefix(event(good))
    assert b"gatehouse/denied" in rest
    assert b"evil" not in answer.content
    assert denials(scripted, since) == ["url-not-listed"]


def test_a_state_passes_byte_for_byte(scripted: Running) -> None:
    state = '"\\u00fc\\/\\ud83e\\udd8a v1.x~="'
    body = f'{{"jsonrpc": "2.0","id":1, "result":{{"resultType":"input_required","requestState": {state},'
    body += '"inputRequests":{"a":{"method":"roots/list"}}}}'
    scripted.upstream.answer_with(pieces([body.encode()], "application/json"))
    headers = {**HEADERS, "authorization": f"Bearer {scripted.stack.token('ann')}"}
    assert httpx2.post(scripted.stack.mcp_url, json=call(), headers=headers).text == body


def test_nothing_is_left_of_a_result_that_asks_for_too_much(scripted: Running) -> None:
    result = {"resultType": "input_required", "inputRequests": {"a": {"method": "roots/list"}}, "requestState": "s"}
    scripted.upstream.answer_with(json_body({"jsonrpc": "2.0", "id": 1, "result": result}))
    error = posted(scripted, call()).json()["error"]
    assert error["message"] == "the server asked for roots/list: this is not allowed here"
    assert set(error["data"]) == {"trail", "reason"}
