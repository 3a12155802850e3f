"""Processes that share a store agree, each behind a real Envoy: two on one host over a file, two hosts over one Redis.

Rules:
- The official client stands behind what sends each request to the next host: nothing sticks to one.
- The server behind knows no caller: it would give anybody any session or state that it knows.
"""

from __future__ import annotations

import asyncio
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx2
import mcp_types as types
import pytest
from mcp import MCPError

from ext_proc.demo.processes import LOOPBACK, Processes, accepts, free_ports
from tests.envoy.exchanges import HEADERS, LIST, call
from tests.envoy.harness import Running, wait_for
from tests.envoy.hosts import IDENTITY, YES, InTurn, authorized, client, hosts, said
from tests.envoy.observed import envoy_stat, kill_gatehouse, metric, restart_gatehouse
from tests.redis_server import RedisServer, redis_server

CAP = 10
PING = {"jsonrpc": "2.0", "id": 7, "method": "ping"}
WIRES = ["legacy", "2026-07-28"]
HOUR = 3600.0
FILE = {"hosts": "one", "embedded": {"path": "shared.db", "timeout": "8s"}}
REDIS = {"redis": {"url": "where", "timeout": "1s", "connect_timeout": "1s", "failures": 3, "pause": "100ms"}}


def bundle(store: dict[str, Any]) -> dict[str, Any]:
    """Sessions, arguments and loops, fail-closed; with the header `x-way: open` only loops, and fail-open."""

    def route(name: str, server: str, *policies: str, **match: Any) -> dict[str, Any]:
        return {
            "name": name,
            "match": {"path": "/mcp", **match},
            "protocol": "mcp",
            "server": server,
            "policies": list(policies),
        }

    loops = {"calls_per_session": CAP}
    return {
        "apiVersion": "gatehouse/v1",
        "kind": "Bundle",
        "metadata": {"name": "hosts"},
        "limits": {"decision": "9s"},
        "secrets": {"where": {"file": "url"}},
        "store": store,
        "identity": [IDENTITY],
        "routes": [
            route("open", "open", "tried", headers={"x-way": "open"}),
            route("fresh", "fresh", "sessions", "shapes", headers={"x-way": "fresh"}),
            route("mcp", "stateful", "sessions", "shapes", "loops"),
        ],
        "policies": [
            {"name": "sessions", "type": "session-binding", "timeout": "9s"},
            {"name": "shapes", "type": "tool-arguments", "timeout": "9s"},
            {"name": "loops", "type": "loop-guard", "timeout": "9s", "parameters": loops},
            {"name": "tried", "type": "loop-guard", "timeout": "9s", "on_error": "allow", "parameters": loops},
        ],
    }


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """An MCP server that keeps its sessions, and the key of its states, to itself."""
    (port,) = free_ports(1)
    with Processes(tmp_path_factory.mktemp("server")) as processes:
        command = [sys.executable, "-m", "tests.envoy.stateful_server", "--port", str(port), "--name", "one"]
        processes.start("server", command, accepts(LOOPBACK, port))
        processes.wait_until_ready()
        yield f"{LOOPBACK}:{port}"


@pytest.fixture(scope="module")
def redis() -> Iterator[RedisServer]:
    with redis_server() as found:
        yield found


@dataclass(frozen=True, slots=True)
class Pair:
    """Two Gatehouses that share a store."""

    one: Running
    other: Running

    def in_turn(self) -> InTurn:
        return InTurn((self.one, self.other))


def started(
    starting: ExitStack, folder: Path, server: str, url: str = "", skews: tuple[float, float] = (0.0, 0.0)
) -> Pair:
    """Two hosts: on the file of this folder, or on the Redis that has this URL."""
    (folder / "url").write_text(url or "redis://nobody.example", encoding="utf-8")
    return Pair(*starting.enter_context(hosts(folder, bundle(REDIS if url else FILE), server, skews=skews)))


@pytest.fixture(scope="module", params=["one file", "one Redis"])
def pair(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, server: str) -> Iterator[Pair]:
    """Two Gatehouses; one that a test ends, it starts anew."""
    url = f"unix://{request.getfixturevalue('redis').socket}" if request.param == "one Redis" else ""
    with ExitStack() as starting:
        yield started(starting, tmp_path_factory.mktemp("hosts"), server, url)


async def raw(running: Running, method: str, caller: str, session: str) -> httpx2.Response:
    """One request of MCP's transport with a session id, without waiting for the end of a stream."""
    headers = {**HEADERS, **authorized(caller), "mcp-session-id": session}
    async with (
        httpx2.AsyncClient(timeout=10.0, trust_env=False) as http,
        http.stream(
            method, running.stack.mcp_url, headers=headers, json=PING if method == "POST" else None
        ) as response,
    ):
        if response.status_code >= 400:
            await response.aread()
        return response


def reached(*at: Running) -> int:
    """How many requests have gone on to the server."""
    return sum(envoy_stat(running, "cluster.mcp.upstream_rq_total") for running in at)


def reason(answer: httpx2.Response) -> tuple[int, str]:
    return answer.status_code, answer.json()["error"]["data"]["reason"]


async def test_a_session_bound_through_one_is_known_through_the_other_and_stolen_at_neither(pair: Pair) -> None:
    turn = pair.in_turn()
    async with client(turn, "legacy", "ann") as ann:
        await ann.list_tools()
        for _ in range(4):
            assert await said(ann, "where") == (False, "one")
        (session,) = {*turn.sessions}
        for running in (pair.one, pair.other):
            for method in ("POST", "GET", "DELETE"):
                before = reached(running)
                assert reason(await raw(running, method, "bob", session)) == (404, "session-unknown")
                assert reached(running) == before
            assert (await raw(running, "POST", "ann", session)).status_code == 200
        assert (await raw(pair.other, "DELETE", "ann", session)).status_code == 200
        for running in (pair.one, pair.other):
            assert reason(await raw(running, "POST", "ann", session)) == (404, "session-unknown")


async def test_a_request_state_given_through_one_is_taken_back_by_the_other_from_its_principal_alone(
    pair: Pair,
) -> None:
    turn, thief = InTurn([pair.one]), InTurn([pair.other])
    async with client(turn, "2026-07-28", "ann") as ann, client(thief, "2026-07-28", "bob") as bob:
        await ann.list_tools()
        asked = await ann.session.call_tool("pay", {"amount": 900}, allow_input_required=True)
        assert isinstance(asked, types.InputRequiredResult)
        assert asked.input_requests is not None
        answers: types.InputResponses = dict.fromkeys(asked.input_requests, YES)
        back: Any = {"input_responses": answers, "request_state": asked.request_state}
        for running in (pair.one, pair.other):
            thief.only(running)
            before = reached(running)
            with pytest.raises(MCPError) as refused:
                await bob.session.call_tool("pay", {"amount": 900}, **back)
            assert (refused.value.error.code, refused.value.error.data["reason"]) == (-32602, "state-unknown")
            assert reached(running) == before
        turn.only(pair.other)
        paid = await ann.session.call_tool("pay", {"amount": 900}, **back)
        assert "paid 900" in str(paid.content)


@pytest.mark.parametrize("wire", WIRES)
async def test_of_calls_at_the_same_time_over_both_no_more_go_on_than_the_cap_says(pair: Pair, wire: str) -> None:
    async with client(pair.in_turn(), wire, f"at-once-{wire}") as connection:
        await connection.list_tools()
        before = reached(pair.one, pair.other)
        made = await asyncio.gather(*(said(connection, "search", query=f"{number}") for number in range(30)))
        assert [failed for failed, _ in made].count(False) == CAP
        assert reached(pair.one, pair.other) - before == CAP
        texts = {text for failed, text in made if failed}
        assert len(texts) == 1
        assert f"{CAP} times" in texts.pop()


async def test_a_schema_that_one_learned_is_enforced_by_the_other(pair: Pair) -> None:
    turn = InTurn([pair.other])
    async with client(turn, "2026-07-28", "learns", x_way="fresh") as connection:
        failed, text = await said(connection, "search", query="x")
        assert (failed, "list the tools" in text) == (True, True)
        turn.only(pair.one)
        await connection.list_tools()
        turn.only(pair.other)
        before = reached(pair.other)
        failed, text = await said(connection, "search", query=["exfiltrated"])
        assert (failed, "query: expected text" in text, "exfiltrated" in text) == (True, True, False)
        failed, text = await said(connection, "search")
        assert (failed, "query" in text) == (True, True)
        assert reached(pair.other) == before
        assert await said(connection, "search", query="x") == (False, "nothing about x")


async def test_one_that_is_killed_leaves_the_state_right_at_the_other(pair: Pair) -> None:
    turn = pair.in_turn()
    async with client(turn, "legacy", "survives") as connection:
        await connection.list_tools()
        for number in range(4):
            assert not (await said(connection, "search", query=f"before-{number}"))[0]
        session = turn.sessions[0]
        kill_gatehouse(pair.one)
        before = reached(pair.one)
        assert (await raw(pair.one, "POST", "survives", session)).status_code >= 500
        assert reached(pair.one) == before
        turn.only(pair.other)
        made = [(await said(connection, "search", query=f"after-{number}"))[0] for number in range(8)]
        assert made == [False] * (CAP - 4) + [True] * 2
        assert reason(await raw(pair.other, "POST", "bob", session)) == (404, "session-unknown")
        restart_gatehouse(pair.one)
        turn.only(pair.one)
        assert (await said(connection, "search", query="again"))[0]
        assert reason(await raw(pair.one, "POST", "bob", session)) == (404, "session-unknown")


async def test_one_that_is_killed_while_it_counts_gives_no_call_away(pair: Pair) -> None:
    turn = pair.in_turn()
    async with client(turn, "2026-07-28", "counts") as connection:
        await connection.list_tools()
        before = reached(pair.one, pair.other)
        calls = [asyncio.create_task(said(connection, "search", query=f"{number}")) for number in range(40)]
        await asyncio.wait(calls, return_when=asyncio.FIRST_COMPLETED)
        kill_gatehouse(pair.one)
        made = await asyncio.gather(*calls, return_exceptions=True)
        assert {type(one) for one in made} <= {tuple, MCPError}
        turn.only(pair.other)
        while not (await said(connection, "search", query="the rest"))[0]:
            pass
        # What was counted when it died may not have gone on: no more than that is lost.
        assert 0 < reached(pair.one, pair.other) - before <= CAP
        restart_gatehouse(pair.one)
        turn.only(pair.one)
        assert (await said(connection, "search", query="again"))[0]


async def test_two_workers_behind_one_envoy_agree_and_one_goes_on_alone(tmp_path: Path, server: str) -> None:
    (tmp_path / "url").write_text("redis://nobody.example", encoding="utf-8")
    with hosts(tmp_path, bundle(FILE), server, workers=True) as (worker, front):
        turn = InTurn([front])
        async with client(turn, "legacy", "ann") as ann:
            await ann.list_tools()
            made = await asyncio.gather(*(said(ann, "search", query=f"{number}") for number in range(25)))
            assert [failed for failed, _ in made].count(False) == CAP
            assert reached(front) >= CAP
            for running in (worker, front):
                assert metric(running, "gatehouse_exchanges_total") > 0, "Envoy asks both"
            kill_gatehouse(front)
            statuses = [(await raw(front, "POST", "bob", turn.sessions[0])).status_code for _ in range(6)]
            assert set(statuses) <= {404, 500, 503, 504}
            assert 404 in statuses


GONE = ("ended", "held")


@pytest.mark.parametrize("how", GONE)
async def test_while_redis_is_gone_calls_are_denied_clearly_and_all_recover(
    tmp_path: Path, server: str, how: str
) -> None:
    with redis_server() as redis, ExitStack() as starting:
        pair = started(starting, tmp_path, server, f"unix://{redis.socket}")
        turn = pair.in_turn()
        async with client(turn, "2026-07-28", "ann") as ann, client(InTurn([pair.one]), "2026-07-28", "ann") as one:
            await ann.list_tools()
            assert not (await said(ann, "search", query="before"))[0]
            redis.end() if how == "ended" else redis.hold()
            for running in (pair.one, pair.other):
                turn.only(running)
                before = reached(running)
                with pytest.raises(MCPError) as denied:
                    await said(ann, "search", query="x")
                assert denied.value.error.data["reason"] == "policy-failed"
                answer = await raw_call(running, "ann", id=41)
                assert (answer.status_code, answer.json()["id"]) == (200, 41)
                assert reason(answer) == (200, "policy-failed")
                assert reached(running) == before
                opened = await raw_call(running, "ann", x_way="open")
                assert reached(running) == before + 1, "on_error: allow"
                assert "policy-failed" not in opened.text
            redis.start() if how == "ended" else redis.release()
            for running in (pair.one, pair.other):
                turn.only(running)
                await asyncio.to_thread(
                    wait_for,
                    lambda running=running: works(running) or None,
                    "a call that goes on again",
                )
            assert await one.list_tools()


def works(running: Running) -> bool:
    """Whether a call gets as far as what is known of tools: that is in the store."""
    answer = httpx2.post(
        running.stack.mcp_url, json=call("search", query="x"), headers={**HEADERS, **authorized("ann")}, timeout=20.0
    )
    return "policy-failed" not in answer.text


async def raw_call(running: Running, caller: str, id: int = 1, **headers: str) -> httpx2.Response:
    lines = {name.replace("_", "-"): value for name, value in headers.items()}
    async with httpx2.AsyncClient(timeout=20.0, trust_env=False) as http:
        return await http.post(
            running.stack.mcp_url,
            json=call("search", id=id, query="x"),
            headers={**HEADERS, **authorized(caller), **lines},
        )


@pytest.mark.parametrize("seconds", [HOUR, -HOUR], ids=["an hour ahead", "an hour behind"])
async def test_hosts_whose_clocks_differ_agree_on_sessions_and_caps(
    tmp_path: Path, redis: RedisServer, server: str, seconds: float
) -> None:
    """What expires, expires by the clock of Redis."""
    with ExitStack() as starting:
        pair = started(starting, tmp_path, server, f"unix://{redis.socket}", skews=(0.0, seconds))
        caller = f"skewed-{seconds}"
        turn = pair.in_turn()
        async with client(turn, "legacy", caller) as connection:
            await connection.list_tools()
            made = [(await said(connection, "search", query=f"{number}"))[0] for number in range(CAP + 4)]
            assert made == [False] * CAP + [True] * 4
            for running in (pair.one, pair.other):
                assert reason(await raw(running, "POST", "bob", turn.sessions[0])) == (404, "session-unknown")
                assert (await raw(running, "POST", caller, turn.sessions[0])).status_code == 200


async def test_a_token_holds_where_clocks_differ_by_less_than_the_leeway_and_is_refused_clearly_past_it(
    tmp_path: Path, server: str
) -> None:
    with ExitStack() as starting:
        pair = started(starting, tmp_path, server, skews=(0.0, 240.0))
        now = int(time.time())
        for claims, expected in (
            ({"nbf": now + 240}, (True, True)),
            ({"exp": now - 30}, (True, True)),
            ({"exp": now - 150}, (True, False)),
            ({"nbf": now + 400}, (False, True)),
        ):
            for running, holds in zip((pair.one, pair.other), expected, strict=True):
                before = reached(running)
                lines = {**HEADERS, **authorized("ann", **claims)}
                answer = httpx2.post(running.stack.mcp_url, json=LIST, headers=lines, timeout=20.0)
                assert (answer.status_code == 401) is not holds, claims
                assert reached(running) - before == holds
                if not holds:
                    assert answer.headers["www-authenticate"] == 'Bearer error="invalid_token"'
                    assert reason(answer) == (401, "invalid-credential")
