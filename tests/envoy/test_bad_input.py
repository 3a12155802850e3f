"""Bad input and stores that fail, through a real Envoy with the policies of calls on: clear errors, and nothing passes.

Rules:
- Nothing here is measured in seconds: what takes too long fails by the test's own patience, and memory is looked at
  after as many rounds as it takes to settle.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx2
import pytest
from hypothesis import HealthCheck, example, given, settings

from tests.envoy.attacked import LEGACY, attacked, every_policy, lines, published, sent, unverified
from tests.envoy.exchanges import CHUNKED, HEADERS, LIST, answer_to, call
from tests.envoy.harness import Running, Stacks, wait_for
from tests.envoy.hosts import IDENTITY, authorized, hosts
from tests.envoy.observed import nothing_left, text_of_log
from tests.envoy.slow_link import SlowLink
from tests.envoy.upstream import Connection, Request, json_body, pieces
from tests.exchange import hostile
from tests.redis_server import redis_server

MANY = 10_000
LONG = 1 << 20


@pytest.fixture(scope="module")
def keys(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return published(tmp_path_factory.mktemp("bad-input"))


@pytest.fixture
def running(gatehouse_stack: Stacks, keys: Path) -> Running:
    return attacked(gatehouse_stack, keys)


def gatehouse_pid(running: Running) -> int:
    process = running.stack.processes["gatehouse"].process
    assert process.poll() is None
    return process.pid


def resident(running: Running) -> int:
    """The memory of Gatehouse's process, in bytes."""
    status = Path(f"/proc/{gatehouse_pid(running)}/status").read_text(encoding="ascii")
    (line,) = (line for line in status.splitlines() if line.startswith("VmRSS:"))
    return int(line.split()[1]) * 1024


def works(running: Running) -> None:
    """Asserts that what went before was one exchange: the process lives, and what is allowed passes."""
    gatehouse_pid(running)
    running.upstream.answer_with(json_body(answer_to(call())))
    assert sent(running, call(query="x"), lines()).json == answer_to(call())
    nothing_left(running)


# --- fuzzed JSON-RPC


def test_whatever_a_client_sends_it_gets_an_answer_that_it_can_read_and_only_what_is_allowed_goes_on(
    running: Running,
) -> None:
    pid = gatehouse_pid(running)

    @settings(max_examples=60, suppress_health_check=[HealthCheck.too_slow])
    @given(hostile.bodies(), hostile.headers())
    def fuzzed(body: bytes, told: dict[str, str]) -> None:
        running.upstream.answer_with(json_body(answer_to(call())))
        answer = sent(running, body, [*dict(lines() + list(told.items())).items()])
        if running.upstream.requests:
            assert all(hostile.may_go_on(request.body) for request in running.upstream.requests)
            return
        assert 200 <= answer.status < 500
        assert answer.body == b"" if answer.status == 202 else hostile.is_json_rpc(answer.body)

    fuzzed()
    works(running)
    assert gatehouse_pid(running) == pid
    assert "Traceback" not in text_of_log(running)


def test_whatever_a_server_answers_a_request_its_client_can_read_it(running: Running) -> None:
    @settings(max_examples=40, suppress_health_check=[HealthCheck.too_slow])
    @given(hostile.bodies(batches=False))
    # A document that asks, and is no answer to what its client asked.
    @example(b'{"jsonrpc": "2.0", "method": "tasks/get", "params": {"taskId": "t"}}')
    @example(b'{"jsonrpc": "2.0", "id": 7, "method": "tasks/get", "params": {"taskId": "t"}}')
    def fuzzed(body: bytes) -> None:
        running.upstream.answer_with(pieces([body], "application/json"))
        answer = sent(running, LIST, lines())
        assert answer.body == body or hostile.is_json_rpc(answer.body)
        # What could not be read is the upstream's fault, and says so.
        assert answer.status == 200 or (answer.status == 502 and "error" in answer.json)

    fuzzed()
    works(running)


# --- long lists


def tool(number: int, description: str = "", title: str = "") -> dict[str, Any]:
    schema = {"type": "object", "title": title, "properties": {"query": {"type": "string"}}, "required": ["query"]}
    return {"name": f"search.{number}", "description": description, "inputSchema": schema}


def listing(tools: list[dict[str, Any]], tail: str = "") -> bytes:
    return json.dumps({"jsonrpc": "2.0", "id": 1, "result": {"tools": tools, "nextCursor": tail}}).encode()


def unsized(body: bytes) -> Any:
    """Answers with a body of unknown length, in pieces of 64 KiB."""

    async def script(request: Request, connection: Connection) -> None:
        await connection.head(200, ("content-type", "application/json"), CHUNKED)
        for start in range(0, len(body), 1 << 16):
            await connection.chunk(body[start : start + (1 << 16)])
        await connection.end()

    return script


def as_event(body: bytes) -> Any:
    """Answers with a stream that has the body in an event."""
    return pieces([b"event: message\ndata: " + body + b"\n\n"])


@pytest.fixture
def listed(gatehouse_stack: Stacks, keys: Path) -> Running:
    """A stack on which `search.*` may be called, in a store that has room for all."""
    bundle = every_policy(keys)
    (callers,) = (policy for policy in bundle["policies"] if policy["name"] == "callers")
    callers["parameters"]["rules"].insert(0, {"tools": ["search.*"], "allow": True})
    bundle["metadata"]["name"] = "listed"
    return gatehouse_stack(json.dumps(bundle), edit_bootstrap=unverified)


def test_ten_thousand_tools_are_listed_filtered_and_learned_as_far_as_the_bundle_says(listed: Running) -> None:
    body = listing([*(tool(number) for number in range(MANY)), {"name": "delete_file", "inputSchema": {}}])
    for script in (unsized(body), as_event(body)):
        listed.upstream.answer_with(script)
        answer = sent(listed, LIST, lines())
        assert answer.status == 200
        shown = json.loads(answer.body.partition(b"data: ")[2] or answer.body)["result"]["tools"]
        assert [one["name"] for one in shown] == [f"search.{number}" for number in range(MANY)]
    listed.upstream.answer_with(json_body(answer_to(call())))
    assert sent(listed, call("search.1999", query="x"), lines()).json == answer_to(call())
    assert "query: expected text" in said_in(sent(listed, call("search.1999", query=1), lines()).json)
    assert "does not know this tool's schema" in said_in(sent(listed, call("search.2000", query="x"), lines()).json)
    assert len(listed.upstream.requests) == 1


def test_descriptions_of_a_mebibyte_pass_whole_and_none_of_them_is_kept(listed: Running) -> None:
    def kept() -> int:
        found = [file.stat().st_size for file in listed.stack.logs.glob("listed.db*")]
        assert found
        return sum(found)

    body = listing([tool(number, "\u00fc" * (LONG // 2)) for number in range(3)])
    listed.upstream.answer_with(unsized(body))
    before = kept()
    answer = sent(listed, LIST, lines())
    assert [len(one["description"]) for one in answer.json["result"]["tools"]] == [LONG // 2] * 3
    assert kept() - before < LONG
    listed.upstream.answer_with(json_body(answer_to(call())))
    assert sent(listed, call("search.1", query="x"), lines()).json == answer_to(call())


def test_a_list_past_the_limit_is_refused_clearly(listed: Running) -> None:
    body = listing([tool(number, "x" * LONG) for number in range(34)])
    for script in (unsized(body), as_event(body)):
        listed.upstream.answer_with(script)
        answer = sent(listed, LIST, lines())
        found = json.loads(answer.body.partition(b"data: ")[2] or answer.body)
        assert found["error"]["data"]["reason"]
        assert found["error"]["data"]["trail"]
        assert b"search.1" not in answer.body
    works_with(listed, call("search.1", query="x"))


def works_with(running: Running, message: dict[str, Any]) -> None:
    """Asserts that a call gets a clear answer."""
    running.upstream.answer_with(json_body(answer_to(call())))
    assert sent(running, message, lines()).status == 200
    nothing_left(running)


def test_memory_does_not_grow_with_rounds_of_large_lists(listed: Running) -> None:
    def rounds(count: int, first: int) -> None:
        for number in range(first, first + count):
            many = listing([tool(one, title=f"{number}") for one in range(2000)])
            long = listing([tool(one, f"{number}" + "x" * LONG, f"{number}") for one in range(4)])
            for script in (unsized(many), unsized(long)):
                listed.upstream.answer_with(script)
                assert sent(listed, LIST, lines()).status == 200

    rounds(4, 0)
    before = resident(listed)
    rounds(12, 4)
    assert resident(listed) - before < 24 << 20, "of about 50 MiB that came in the meantime"


def test_with_the_default_limits_a_long_list_passes_or_is_refused_clearly(gatehouse_stack: Stacks, keys: Path) -> None:
    bundle = every_policy(keys)
    del bundle["limits"]
    bundle["store"] = {"hosts": "one"}
    bundle["policies"] = [{key: value for key, value in one.items() if key != "timeout"} for one in bundle["policies"]]
    bundle["metadata"]["name"] = "defaults"
    running = gatehouse_stack(json.dumps(bundle), edit_bootstrap=unverified)
    running.upstream.answer_with(unsized(listing([tool(number) for number in range(MANY)])))
    answer = sent(running, LIST, lines("root"))
    assert answer.status == 200
    # How far it gets is the machine's; that all of it was decided, or nothing passes, is not.
    if "error" in answer.json:
        assert answer.json["error"]["data"]["reason"] == "policy-failed"
    else:
        assert len(answer.json["result"]["tools"]) == MANY
    works_with(running, call(query="x"))


# --- stores that fail


def stateful(store: dict[str, Any]) -> dict[str, Any]:
    """A bundle whose policies keep state; with the header `x-way: open` they are passed over where it fails."""
    kinds: dict[str, dict[str, Any]] = {
        "session-binding": {},
        "tool-arguments": {"unknown_schema": "allow"},
        "loop-guard": {"calls_per_session": 1000},
    }
    return {
        "apiVersion": "gatehouse/v1",
        "kind": "Bundle",
        "metadata": {"name": "failing"},
        "limits": {"decision": "9s"},
        "secrets": {"where": {"file": "url"}},
        "store": store,
        "identity": [IDENTITY],
        "routes": [
            {
                "name": way,
                "match": {"path": "/mcp", **match},
                "protocol": "mcp",
                "server": "failing",
                "policies": [f"{kind}-{way}" for kind in kinds],
            }
            for way, match in (("allow", {"headers": {"x-way": "open"}}), ("deny", {}))
        ],
        "policies": [
            {"name": f"{kind}-{way}", "type": kind, "on_error": way, "timeout": "9s", "parameters": parameters}
            for kind, parameters in kinds.items()
            for way in ("deny", "allow")
        ],
    }


@contextmanager
def failing(folder: Path, store: dict[str, Any], url: str = "redis://nobody.example") -> Iterator[Running]:
    (folder / "url").write_text(url, encoding="utf-8")
    with hosts(folder, stateful(store), skews=(0.0,)) as (running,):
        running.upstream.answer_with(json_body(answer_to(call())))
        yield running


def posted(running: Running, message: dict[str, Any], caller: str = "ann", **headers: str) -> httpx2.Response:
    told = {name.replace("_", "-"): value for name, value in headers.items()}
    told |= {**HEADERS, **authorized(caller), "mcp-protocol-version": LEGACY}
    return httpx2.post(running.stack.mcp_url, json=message, headers=told, timeout=30.0, trust_env=False)


def denied(running: Running, message: dict[str, Any], **headers: str) -> None:
    """Asserts that a message is denied by `on_error`, in JSON-RPC and with its own id, and goes no further."""
    before = len(running.upstream.requests)
    answer = posted(running, message, **headers)
    assert (answer.status_code, answer.headers["content-type"]) == (200, "application/json")
    assert answer.json()["id"] == message["id"]
    assert answer.json()["error"]["data"]["reason"] == "policy-failed"
    assert len(running.upstream.requests) == before


def passes(running: Running, message: dict[str, Any], **headers: str) -> None:
    before = len(running.upstream.requests)
    assert posted(running, message, **headers).json() == answer_to(call())
    assert len(running.upstream.requests) == before + 1


def test_while_another_process_has_the_file_locked_calls_are_denied_and_then_go_on(tmp_path: Path) -> None:
    with failing(tmp_path, {"hosts": "one", "embedded": {"path": "locked.db", "timeout": "200ms"}}) as running:
        passes(running, call(query="x"))
        other = sqlite3.connect(tmp_path / "locked.db", isolation_level=None)
        other.execute("BEGIN EXCLUSIVE")
        for number in range(3):
            denied(running, call(id=40 + number, query="x"))
        passes(running, call(query="x"), x_way="open")
        other.execute("ROLLBACK")
        other.close()
        passes(running, call(query="x"))


def test_a_full_file_denies_what_would_be_kept_and_what_is_there_still_counts(tmp_path: Path) -> None:
    store = {"hosts": "one", "embedded": {"path": "full.db", "max_size": "1MiB", "timeout": "8s"}}
    with failing(tmp_path, store) as running:
        passes(running, call(query="x"))

        def listed(number: int) -> dict[str, Any]:
            schema = {"type": "object", "required": ["path"], "description": f"{number}" * 100_000}
            return {"jsonrpc": "2.0", "id": 1, "result": {"tools": [{"name": f"t{number}", "inputSchema": schema}]}}

        answers: list[dict[str, Any]] = []
        while not answers or "error" not in answers[-1]:
            assert len(answers) < 30, "it is never full"
            running.upstream.answer_with(json_body(listed(10 + len(answers))))
            answers.append(posted(running, LIST).json())
        assert answers[-1]["error"]["data"]["reason"] == "policy-failed"
        assert len(answers) > 2
        assert (tmp_path / "full.db").stat().st_size <= 1 << 20
        assert posted(running, LIST, x_way="open").json() == listed(9 + len(answers))
        running.upstream.answer_with(json_body(answer_to(call())))
        assert "path" in said_in(posted(running, call("t10", id=5)).json())
        assert running.upstream.requests == []


def said_in(answer: dict[str, Any]) -> str:
    """The text of a result that is an error."""
    assert answer["result"]["isError"] is True
    return str(answer["result"]["content"][0]["text"])


def test_a_file_that_is_taken_away_is_begun_anew_and_what_it_knew_is_unknown(tmp_path: Path) -> None:
    with failing(tmp_path, {"hosts": "one", "embedded": {"path": "gone.db", "timeout": "8s"}}) as running:
        opened = {"jsonrpc": "2.0", "id": 1, "result": {"protocolVersion": LEGACY}}
        running.upstream.answer_with(json_body(opened, 200, ("mcp-session-id", "of-ann")))
        posted(running, {"jsonrpc": "2.0", "id": 1, "method": "initialize", "params": {}})
        running.upstream.answer_with(json_body(answer_to(call())))
        passes(running, call(query="x"), mcp_session_id="of-ann")
        for file in tmp_path.glob("gone.db*"):
            file.unlink()

        def unknown() -> bool | None:
            answer = posted(running, call(query="x"), mcp_session_id="of-ann")
            return True if answer.status_code == 404 else None

        wait_for(unknown, "the file begun anew")
        passes(running, call(query="x"))


def test_while_redis_answers_too_late_calls_are_denied_and_late_answers_are_nobodys(tmp_path: Path) -> None:
    settings = {"url": "where", "timeout": "800ms", "connect_timeout": "800ms", "failures": 1000}
    with redis_server(port=True) as redis, SlowLink(redis.port) as link:
        url = f"redis://127.0.0.1:{link.port}"
        with failing(tmp_path, {"redis": settings}, url) as running:
            opened = {"jsonrpc": "2.0", "id": 1, "result": {"protocolVersion": LEGACY}}
            running.upstream.answer_with(json_body(opened, 200, ("mcp-session-id", "of-ann")))
            posted(running, {"jsonrpc": "2.0", "id": 1, "method": "initialize", "params": {}})
            running.upstream.answer_with(json_body(answer_to(call())))
            passes(running, call(query="x"), mcp_session_id="of-ann")
            link.hold()
            for number in range(3):
                denied(running, call(id=60 + number, query="x"))
            assert posted(running, call(query="x"), mcp_session_id="of-ann").json()["error"]["data"]["reason"] == (
                "policy-failed"
            )
            passes(running, call(query="x"), x_way="open")
            link.release()
            wait_for(
                lambda: "error" not in posted(running, call(query="x"), mcp_session_id="of-ann").json() or None,
                "a call that goes on again",
            )
            for _ in range(5):
                passes(running, call(query="x"), mcp_session_id="of-ann")
                stolen = posted(running, call(query="x"), "bob", mcp_session_id="of-ann")
                assert stolen.json()["error"]["data"]["reason"] == "session-unknown"
