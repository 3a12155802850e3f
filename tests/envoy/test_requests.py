"""Bad requests through a real Envoy: each is denied or refused, and nothing of it reaches the upstream.

Rules:
- Such a request calls a tool that is denied, or could be read as if it did: what reaches the upstream is a hole.
- A path that Envoy routes to the upstream is governed, however it is spelled.
"""

from __future__ import annotations

import gzip
import json
import subprocess
import zlib
from contextlib import ExitStack
from typing import Any

import pytest

from tests.envoy.exchanges import CHUNKED, EVENT_STREAM, answer_to, call, event, in_event
from tests.envoy.harness import Running, Stacks, wait_for
from tests.envoy.keepalive import Exchanges, bare, written
from tests.envoy.observed import log_lines, mark, metric
from tests.envoy.raw import JSON_LINES, chunked, head, in_chunks, raw_client, sized
from tests.envoy.upstream import json_body, keeping
from tests.exchange.test_requests import MALFORMED

MIB = 1024 * 1024
BUNDLE = """
apiVersion: gatehouse/v1
kind: Bundle
metadata: {name: requests, revision: "1"}
unmatched: UNMATCHED
routes:
  - name: open
    match: {path: /mcp/open}
    protocol: mcp
    policies: [access]
    allow_opaque: [{method: GET, path: /mcp/*/healthz}, {content_type: "text/*"}]
  - {name: tools, match: {path: /mcp}, protocol: mcp, policies: [access]}
policies:
  - name: access
    type: tool-access
    parameters:
      rules:
        - {tools: ["secret*"], allow: false}
        - {methods: ["*"], allow: true}
"""
SECRET = json.dumps(call("secret-plans")).encode()
GOOD = json.dumps(call("search", text="grüße 🦊")).encode()
DONE = json.dumps(answer_to(call())).encode()


@pytest.fixture
def running(gatehouse_stack: Stacks) -> Running:
    return gatehouse_stack(BUNDLE.replace("UNMATCHED", "pass"))


@pytest.fixture
def exchanges(running: Running) -> Exchanges:
    return Exchanges(running)


@pytest.mark.parametrize("is_sized", [True, False], ids=["sized", "chunked"])
@pytest.mark.parametrize("body", MALFORMED.values(), ids=MALFORMED.keys())
def test_a_malformed_body_gets_a_json_rpc_error_wherever_it_is_sent(
    exchanges: Exchanges, body: bytes, is_sized: bool
) -> None:
    request = sized("/mcp/open", body) if is_sized else chunked("/mcp/open", [body[:5], body[5:]])
    answer = exchanges.refused(request, 400)
    assert answer.header("content-type") == "application/json"
    assert answer.json["error"]["code"] in (-32700, -32600, -32602)
    assert len(answer.json["error"]["data"]["trail"]) > 10


GZIPPED = gzip.compress(SECRET)
ODD: dict[str, tuple[bytes, int]] = {
    "no content type": (sized("/mcp", SECRET, ("accept", "*/*")), 403),
    "text": (sized("/mcp", SECRET, ("content-type", "text/plain")), 403),
    "a form": (sized("/mcp", SECRET, ("content-type", "application/x-www-form-urlencoded")), 403),
    "JSON of another kind": (sized("/mcp", SECRET, ("content-type", "application/json-seq")), 403),
    "UTF-16": (sized("/mcp", SECRET, ("content-type", "application/json; charset=utf-16")), 403),
    "two charsets": (sized("/mcp", SECRET, ("content-type", "application/json; charset=utf-8; charset=utf-7")), 403),
    "two content types": (
        sized("/mcp", SECRET, ("content-type", "application/json"), ("content-type", "text/plain")),
        403,
    ),
    "unknown coding": (sized("/mcp", SECRET, *JSON_LINES, ("content-encoding", "compress")), 403),
    "coded, and not what it says": (sized("/mcp", SECRET, *JSON_LINES, ("content-encoding", "gzip")), 400),
    "coded, and cut off": (sized("/mcp", GZIPPED[:-9], *JSON_LINES, ("content-encoding", "gzip")), 400),
    "coded, with more behind it": (sized("/mcp", GZIPPED + b"{}", *JSON_LINES, ("content-encoding", "gzip")), 400),
    "a bomb": (
        sized("/mcp", gzip.compress(b" " * 16 * MIB + SECRET), *JSON_LINES, ("content-encoding", "gzip")),
        400,
    ),
    "coded call": (sized("/mcp", GZIPPED, *JSON_LINES, ("content-encoding", "gzip")), 200),
    "coded twice": (
        sized("/mcp", gzip.compress(zlib.compress(SECRET)), *JSON_LINES, ("content-encoding", "deflate, gzip")),
        200,
    ),
    "type in capitals": (sized("/mcp", SECRET, ("content-type", "Application/JSON")), 200),
    "PUT": (sized("/mcp", SECRET, method="PUT"), 403),
    "GET with a body": (sized("/mcp", SECRET, method="GET"), 403),
    "DELETE with a body": (sized("/mcp", SECRET, method="DELETE"), 403),
    "no body at all": (head("/mcp", *JSON_LINES, ("content-length", "0")), 400),
    "no length at all": (head("/mcp", *JSON_LINES), 400),
    "chunks without data": (head("/mcp", *JSON_LINES, ("transfer-encoding", "chunked")) + in_chunks([]), 400),
    "very large": (sized("/mcp", SECRET.ljust(20 * MIB)), 200),
    "very deep": (sized("/mcp", b"[" * MIB), 400),
    "many values": (sized("/mcp", SECRET[:-2] + b',"x":[' + b"{}," * 200_000 + b"{}]}}"), 200),
    "too many values": (sized("/mcp", SECRET[:-2] + b',"x":[' + b"{}," * MIB + b"{}]}}"), 400),
}


@pytest.mark.parametrize(("request_", "status"), ODD.values(), ids=ODD.keys())
def test_an_odd_request_is_denied(exchanges: Exchanges, request_: bytes, status: int) -> None:
    reason = exchanges.refused(request_, status).json["error"]["data"]["reason"]
    assert (reason == "tool-not-allowed") == (status == 200)


def test_a_compressed_call_that_is_allowed_arrives_as_it_was_sent(exchanges: Exchanges) -> None:
    body = gzip.compress(GOOD)
    with raw_client(exchanges.running) as client:
        request = sized("/mcp", body, *JSON_LINES, ("content-encoding", "gzip"))
        assert exchanges.one(client, written([DONE], sized=True), request).body == DONE
    (got, _) = exchanges.running.upstream.requests
    assert (got.body, got.header("content-encoding"), got.header("x-gatehouse-tool")) == (body, "gzip", "search")


BROKEN = {
    "two lengths": head("/mcp", *JSON_LINES, ("content-length", "2"), ("content-length", str(len(SECRET)))) + SECRET,
    "a list of lengths": head("/mcp", *JSON_LINES, ("content-length", f"2, {len(SECRET)}")) + SECRET,
    "a negative length": head("/mcp", *JSON_LINES, ("content-length", "-5")) + SECRET,
    "a length and chunks": head("/mcp", *JSON_LINES, ("content-length", "2"), ("transfer-encoding", "chunked"))
    + in_chunks([SECRET]),
    "an unknown transfer coding": head("/mcp", *JSON_LINES, ("transfer-encoding", "gzip")) + SECRET,
    "a bad chunk": head("/mcp", *JSON_LINES, ("transfer-encoding", "chunked")) + b"xyz\r\n" + SECRET,
    "a blank before a colon": head("/mcp", ("content-type", "application/json"), ("content-length ", "2")) + SECRET,
    "no protocol": b"POST /mcp\r\n\r\n" + SECRET,
    "an unknown method": sized("/mcp", SECRET, method="post"),
    "no path": sized("mcp", SECRET),
}  # fmt: skip


def test_requests_whose_end_or_target_is_in_doubt_are_refused_and_their_connections_closed(running: Running) -> None:
    """By Envoy, which says nothing and closes a second later: so all of them at once."""
    running.upstream.answer_with(json_body({}))
    with ExitStack() as stack:
        clients = {name: stack.enter_context(raw_client(running)) for name in BROKEN}
        for name, client in clients.items():
            client.send(BROKEN[name])
        assert [name for name, client in clients.items() if not client.is_closed()] == []
    assert running.upstream.requests == []


def test_a_body_longer_than_its_length_is_two_requests_each_governed(exchanges: Exchanges) -> None:
    fetch = json.dumps(call("fetch")).encode()
    with raw_client(exchanges.running) as client:
        first = exchanges.running.upstream
        first.answer_with(keeping(written([DONE], sized=True)))
        client.send(sized("/mcp", fetch) + sized("/mcp", SECRET))
        assert client.answer().body == DONE
        assert client.answer().json["error"]["data"]["reason"] == "tool-not-allowed"
        assert [request.body for request in first.requests] == [fetch]
    exchanges.refused(head("/mcp", *JSON_LINES, ("content-length", "10")) + SECRET[:10] + sized("/mcp", SECRET), 400)
    exchanges.refused(head("/mcp", *JSON_LINES, ("content-length", "10")) + SECRET, 400)


@pytest.mark.parametrize("is_sized", [True, False], ids=["sized", "chunked"])
def test_a_body_shorter_than_its_length_never_goes_on(exchanges: Exchanges, is_sized: bool) -> None:
    running = exchanges.running
    running.upstream.answer_with(json_body({}))
    since = mark(running)
    cut = sized("/mcp/open", GOOD)[:-1] if is_sized else chunked("/mcp/open", [GOOD])[:-5]
    with raw_client(running) as client:
        told, answered = exchanges.counts()
        client.send(cut)
        # Chunks are asked for by a reply that Envoy does not count.
        at_gatehouse = (told + 1, answered + 1) if is_sized else (told + 2, answered)
        wait_for(lambda: exchanges.counts() == at_gatehouse or None, "what came so far, at Gatehouse")
    decision = wait_for(lambda: open_decision(running, since), "its decision in Gatehouse's log")
    assert (decision["outcome"], decision["cause"]) == ("truncated", "cancelled")
    assert running.upstream.requests == []


def open_decision(running: Running, since: int) -> dict[str, Any] | None:
    """The first decision on the route `open` after the mark: others may still come from tests before."""
    lines = log_lines(running, since)
    return next((line for line in lines if line["event"] == "decision" and line["route"] == "open"), None)


def test_pipelined_requests_are_answered_in_their_order_each_governed(running: Running) -> None:
    running.upstream.answer_with(keeping(written([DONE], sized=True)))
    with raw_client(running) as client:
        client.send(sized("/mcp", GOOD) + sized("/mcp", SECRET) + chunked("/mcp", [GOOD]))
        answers = [client.answer() for _ in range(3)]
    assert [answer.body == DONE for answer in answers] == [True, False, True]
    assert [request.body for request in running.upstream.requests] == [GOOD, GOOD]


PATHS = {
    "/mcp": True,
    "/mcp/": True,
    "/mcp?x=/v1": True,
    "/mcp/a/b": True,
    "//mcp": True,
    "///mcp//": True,
    "/./mcp": True,
    "/mcp/.": True,
    "/mcp/../mcp": True,
    "/v1/../mcp": True,
    "/mcp/%2e%2e/mcp": True,
    "/%6dcp": True,
    "/%6D%63%70": True,
    "http://tools.example/mcp": True,
    "/mcp%2f": False,
    "/mcp%5c": False,
    "/mcp\\x": True,
    "/mcp%00": False,
    "/mcp;x=1": False,
    "/mcp%3fx": False,
    "/MCP": False,
    "/Mcp": False,
    "/mcpx": False,
    "/mcp%20": False,
}


@pytest.mark.parametrize("bundle", ["pass", "deny"])
@pytest.mark.parametrize(("path", "governed"), PATHS.items())
def test_no_spelling_of_a_path_evades_its_route(
    gatehouse_stack: Stacks, path: str, governed: bool, bundle: str
) -> None:
    running = gatehouse_stack(BUNDLE.replace("UNMATCHED", bundle))
    running.upstream.answer_with(json_body({}))
    with raw_client(running) as client:
        answer = client.ask(sized(path, SECRET))
    assert running.upstream.requests == []
    if governed:
        assert answer.json["error"]["data"]["reason"] == "tool-not-allowed"
    else:
        assert answer.status in (301, 307, 400, 404)


def test_what_no_route_matches_passes_or_is_denied_as_the_bundle_says(gatehouse_stack: Stacks) -> None:
    body = b"\x00\xff no JSON"
    for unmatched, status in (("pass", 200), ("deny", 404)):
        running = gatehouse_stack(BUNDLE.replace("UNMATCHED", unmatched))
        running.upstream.answer_with(json_body({}))
        with raw_client(running) as client:
            answer = client.ask(sized("/v1/other", body, ("content-type", "x/y"), ("x-gatehouse-upstream", "model-b")))
        assert answer.status == status
        if status == 404:
            assert b"trail" in answer.body
            assert running.upstream.requests == []
        else:
            (got,) = running.upstream.requests
            assert got.body == body
            assert got.header("x-gatehouse-upstream") is None


def test_what_a_route_lists_passes_unread_and_byte_for_byte(exchanges: Exchanges) -> None:
    page = b"<p>\xff fine"
    script = bare(200, ("content-type", "text/html"), ("content-length", str(len(page))), body=page)
    body = b"\x00\xff no JSON"
    with raw_client(exchanges.running) as client:
        health = exchanges.one(client, script, head("/mcp/open/healthz", method="GET"))
        assert (health.status, health.body) == (200, page)
        text = exchanges.one(client, script, sized("/mcp/open", body, ("content-type", "text/csv")))
        assert text.body == page
        assert exchanges.running.upstream.requests[0].body == body
        other = exchanges.one(client, script, sized("/mcp/open", body, ("content-type", "image/png")))
        assert other.json["error"]["data"]["reason"] == "not-this-protocol"
        there = exchanges.one(client, script, head("/mcp/healthz", method="GET"))
        assert there.status == 403


def result(id: int) -> dict[str, Any]:
    return answer_to({"id": id, "method": "tools/call"})


NOTE: dict[str, Any] = {"jsonrpc": "2.0", "method": "notifications/cancelled", "params": {"requestId": 9}}
BATCH = [call("search", 1), call("secret-plans", 2), NOTE, call("fetch", 3)]


@pytest.mark.parametrize("version", [None, "2025-03-26"])
@pytest.mark.parametrize("form", ["sized", "chunked", "stream"])
def test_of_a_batch_each_element_has_its_own_verdict(exchanges: Exchanges, form: str, version: str | None) -> None:
    lines = (*JSON_LINES, ("mcp-protocol-version", version)) if version else JSON_LINES
    body = json.dumps(BATCH).encode()
    if form == "stream":
        stream = b"".join(event(result(id)) for id in (3, 1))
        script = bare(200, EVENT_STREAM, CHUNKED, body=in_chunks([stream[:20], stream[20:]]))
    else:
        script = written([json.dumps([result(3), result(1)]).encode()], sized=form == "sized")
    with raw_client(exchanges.running) as client:
        answer = exchanges.one(client, script, sized("/mcp", body, *lines))
    (got, _) = exchanges.running.upstream.requests
    assert json.loads(got.body) == [BATCH[0], BATCH[2], BATCH[3]]
    assert got.header("content-length") == str(len(got.body))
    told = [in_event(part + b"\n\n") for part in answer.body.split(b"\n\n")[:-1]] if form == "stream" else answer.json
    found = {value["id"]: value for value in told}
    assert len(told) == len(found) == 3
    assert (found[1], found[3]) == (result(1), result(3))
    assert found[2]["error"]["data"]["reason"] == "tool-not-allowed"


BATCHES: dict[str, tuple[Any, tuple[tuple[str, str], ...], int, Any]] = {
    "all denied": ([call("secret-a", 1), call("secret-b", "x")], (), 200, [1, "x"]),  # type: ignore[arg-type]
    "one, denied": ([call("secret-a", 1)], (), 200, [1]),
    "in another revision": (BATCH, (("mcp-protocol-version", "2025-06-18"),), 400, None),
    "in two revisions": (
        BATCH,
        (("mcp-protocol-version", "2025-03-26"), ("mcp-protocol-version", "2025-11-25")),
        400,
        None,
    ),
    "with initialize": ([{"jsonrpc": "2.0", "id": 1, "method": "initialize"}, call("search", 2)], (), 400, None),
    "too many": ([call("secret", id) for id in range(65)], (), 413, None),
    "of batches": ([[call("secret", 1)]], (), 400, None),
}


@pytest.mark.parametrize(("value", "lines", "status", "ids"), BATCHES.values(), ids=BATCHES.keys())
def test_a_batch_of_which_nothing_may_go_on_is_answered_at_once(
    exchanges: Exchanges, value: Any, lines: tuple[tuple[str, str], ...], status: int, ids: Any
) -> None:
    told = exchanges.refused(sized("/mcp", json.dumps(value).encode(), *JSON_LINES, *lines), status).json
    assert ids is None or [element["id"] for element in told] == ids
    assert all("error" in element for element in (told if ids else [told]))


def test_where_only_a_notification_is_left_of_a_batch_its_202_becomes_the_denials(exchanges: Exchanges) -> None:
    body = json.dumps([call("secret-plans", 2), NOTE]).encode()
    with raw_client(exchanges.running) as client:
        answer = exchanges.one(client, bare(202, ("content-length", "0")), sized("/mcp", body))
    assert [element["id"] for element in answer.json] == [2]
    assert json.loads(exchanges.running.upstream.requests[0].body) == [NOTE]


def test_a_forged_fact_is_replaced_by_the_true_one(exchanges: Exchanges) -> None:
    forged = [("X-Gatehouse-Tool", "harmless"), ("x-gatehouse-tool", "b"), ("x-gatehouse-upstream", "model-b")]
    with raw_client(exchanges.running) as client:
        exchanges.one(client, written([DONE], sized=True), sized("/mcp", GOOD, *JSON_LINES, *forged))
    got = exchanges.running.upstream.requests[0]
    facts = [(name, value) for name, value in got.headers if name.startswith("x-gatehouse-")]
    assert sorted(facts) == [
        ("x-gatehouse-method", "tools/call"),
        ("x-gatehouse-protocol", "mcp"),
        ("x-gatehouse-tool", "search"),
    ]


def test_after_all_of_it_the_process_is_as_before(running: Running) -> None:
    running.upstream.answer_with(bare(200))
    small = [request for request, _ in ODD.values() if len(request) < MIB]
    requests = [*(sized("/mcp", body) for body in MALFORMED.values()), *small]

    def all_of_it() -> int:
        for request in [*requests, *(request for request, _ in ODD.values())]:
            with raw_client(running) as client:
                client.ask(request)
        for request in BROKEN.values():
            with raw_client(running) as client:
                client.send(request)
        wait_for(lambda: metric(running, "gatehouse_exchanges_active") == 0 or None, "no exchange under way")
        return resident(running)

    first = all_of_it()
    assert max(all_of_it() for _ in range(3)) < first + 64 * 1024
    assert running.upstream.requests == []
    running.upstream.answer_with(keeping(written([DONE], sized=True)))
    with raw_client(running) as client:
        assert client.ask(sized("/mcp", GOOD)).body == DONE


def resident(running: Running) -> int:
    """Gatehouse's memory, in KiB."""
    pid = running.stack.processes["gatehouse"].process.pid
    done = subprocess.run(["ps", "-o", "rss=", "-p", str(pid)], capture_output=True, text=True, check=True)
    return int(done.stdout)
