"""What a client may try by hand, through a real Envoy with all policies on: none of it reaches the upstream.

Rules:
- The attacker has a token of its own that holds, speaks HTTP byte by byte, and knows the server's tools.
- The upstream is a script that would answer anything. What it never sees was stopped.
- What stops an attack says so in the caller's protocol, or it is Envoy that does: never a 5xx.

Not here: what servers ask (test_server_requests.py); poisoned tools (test_poisoned_tools.py); a rug pull that the
official client sees, and approving (test_pinning.py); injection in results, secrets in arguments, toxic flows: what
they need is not built yet.
"""

from __future__ import annotations

import gzip
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.envoy.attacked import (
    BATCHES,
    LEGACY,
    LISTED,
    MODERN,
    Lines,
    attacked,
    lines,
    modern,
    published,
    sent,
    told,
)
from tests.envoy.callers import minted
from tests.envoy.exchanges import LIST, answer_to, call
from tests.envoy.harness import Running, Stacks
from tests.envoy.raw import RawAnswer
from tests.envoy.upstream import json_body

SECRET = "sk-live-4242"


@pytest.fixture(scope="module")
def keys(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return published(tmp_path_factory.mktemp("attacked"))


@pytest.fixture
def running(gatehouse_stack: Stacks, keys: Path) -> Running:
    return attacked(gatehouse_stack, keys)


def stopped(running: Running, answer: RawAnswer, *reasons: str) -> None:
    """Asserts that nothing went on and that the caller is told clearly."""
    assert running.upstream.requests == []
    assert answer.status < 500
    said = answer.json if isinstance(answer.json, dict) else answer.json[0]
    if "error" in said:
        assert answer.header("content-type") == "application/json"
        assert said["jsonrpc"] == "2.0"
        assert said["error"]["data"]["reason"] in reasons
    else:
        assert said["result"]["isError"] is True
    assert SECRET.encode() not in answer.body


def test_what_is_allowed_passes_without_the_clients_token(running: Running) -> None:
    """What the tests below would see if everything were refused."""
    assert sent(running, told(call(query="x")), modern("ann")).json == answer_to(call())
    assert sent(running, call(query="x"), lines()).json == answer_to(call())
    assert sent(running, told(call("delete_file", path="/x")), modern(mcp_name="delete_file")).status == 200
    assert [request.header("authorization") for request in running.upstream.requests] == [None] * 3


# --- header/body mismatch


DELETES = told(call("delete_file", path="/x"))
TEXT = json.dumps(DELETES)
TWICE = TEXT.replace('"name": "delete_file"', '"name": "search", "name": "delete_file"')
LYING: dict[str, tuple[object, Lines, tuple[str, ...]]] = {
    "another name": (DELETES, modern(), ("header-mismatch",)),
    "another method": (told(call(query="x")), modern(mcp_method="tools/list"), ("header-mismatch",)),
    "another case": (DELETES, modern(mcp_name="Delete_File"), ("header-mismatch",)),
    "two names in one header": (DELETES, modern(mcp_name="search, delete_file"), ("header-mismatch",)),
    "two headers": (DELETES, [*modern(), ("mcp-name", "delete_file")], ("header-duplicated",)),
    "another name, encoded": (DELETES, modern(mcp_name="=?base64?c2VhcmNo?="), ("header-mismatch",)),
    "an encoding that is broken": (DELETES, modern(mcp_name="=?base64?!?="), ("header-malformed",)),
    "an encoded method": (DELETES, modern(mcp_method="=?base64?dG9vbHMvY2FsbA==?="), ("header-malformed",)),
    "no version in the header": (
        DELETES,
        [line for line in modern(mcp_name="delete_file") if line[0] != "mcp-protocol-version"],
        ("header-mismatch",),
    ),
    "an earlier version in the header": (DELETES, lines("root", mcp_name="search"), ("header-mismatch",)),
    "an earlier version on both": (told(DELETES, LEGACY), lines("root", mcp_name="search"), ("header-mismatch",)),
    "an argument's header": (
        told(call("query", region="eu")),
        modern(mcp_name="query", mcp_param_region="us"),
        ("header-mismatch",),
    ),
    "two names in the body": (TWICE.encode(), modern(), ("json-duplicate-key",)),
    "two names, one escaped": (
        TWICE.replace('"name": "search"', '"na\\u006de": "search"').encode(),
        modern(),
        ("json-duplicate-key",),
    ),
    "two names that differ in case": (
        TEXT.replace('"name":', '"Name": "search", "name":').encode(),
        modern(mcp_name="delete_file"),
        ("ambiguous-key",),
    ),
    "compressed": (gzip.compress(TEXT.encode()), [*modern(), ("content-encoding", "gzip")], ("header-mismatch",)),
}


@pytest.mark.parametrize(("message", "headers", "reasons"), LYING.values(), ids=LYING.keys())
def test_what_headers_and_body_say_differently_reaches_nobody(
    running: Running, message: object, headers: Lines, reasons: tuple[str, ...]
) -> None:
    stopped(running, sent(running, message, headers), *reasons)


UNREAD: dict[str, tuple[bytes, str]] = {
    "plain text": (TEXT.encode(), "text/plain"),
    "no type": (TEXT.encode(), ""),
    "a form": (TEXT.encode(), "application/x-www-form-urlencoded"),
    "UTF-16": (TEXT.encode("utf-16"), "application/json; charset=utf-16"),
    "UTF-16 that says nothing": (TEXT.encode("utf-16"), "application/json"),
    "a second message behind it": (json.dumps(told(call(query="x"))).encode() + TEXT.encode(), "application/json"),
    "a line each": (json.dumps(told(call(query="x"))).encode() + b"\n" + TEXT.encode(), "application/json"),
    "no JSON": (b"{'jsonrpc': '2.0'}", "application/json"),
    "a lone surrogate": (TEXT.replace("delete_file", "\\ud800").encode(), "application/json"),
    "deep": (b'{"a":' * 10_000 + b"1" + b"}" * 10_000, "application/json"),
    "nothing": (b"", "application/json"),
}


@pytest.mark.parametrize(("body", "kind"), UNREAD.values(), ids=UNREAD.keys())
def test_what_another_reader_might_take_for_a_call_reaches_nobody(running: Running, body: bytes, kind: str) -> None:
    answer = sent(running, body, lines("ann", content_type=kind))
    assert running.upstream.requests == []
    assert 200 <= answer.status < 500
    assert answer.json["error"]["data"]["reason"]


# --- unknown tools, confused deputies


UNKNOWN = ("delete_file", "Delete_File", " search", "search ", "\uff53earch", "search\0", "sea\u200brch", "*", "")
BEHIND: dict[str, tuple[object, tuple[str, ...]]] = {
    **{repr(name): (call(name, path="/x"), ("tool-not-allowed",)) for name in UNKNOWN},
    "a call without an id": ({**call(query="x"), "id": None}, ("jsonrpc-invalid",)),
    "a call as a notification": (
        {key: value for key, value in call("delete_file").items() if key != "id"},
        ("jsonrpc-invalid",),
    ),
    "a method by another case": ({**call("delete_file"), "method": "Tools/Call"}, ("method-unknown",)),
    "a method of nobody's": ({**call("delete_file"), "method": "tools/execute"}, ("method-unknown",)),
    "a method with a blank": ({**call("delete_file"), "method": "tools/call "}, ("method-unknown",)),
    "no JSON-RPC": ({"method": "tools/call", "params": {"name": "delete_file"}}, ("jsonrpc-invalid",)),
    "a name that is a list": ({**call(), "params": {"name": ["search", "delete_file"]}}, ("mcp-params-invalid",)),
    "params in order": ({**call(), "params": ["delete_file", {}]}, ("mcp-params-invalid",)),
    "behind dots": (
        {"jsonrpc": "2.0", "id": 1, "method": "resources/read", "params": {"uri": "file:///srv/public/../private/b"}},
        ("resource-ambiguous",),
    ),
    "behind an encoded slash": (
        {"jsonrpc": "2.0", "id": 1, "method": "resources/read", "params": {"uri": "file:///srv/public%2f..%2fb"}},
        ("resource-ambiguous", "resource-not-allowed"),
    ),
    "a prompt": (
        {"jsonrpc": "2.0", "id": 1, "method": "prompts/get", "params": {"name": "x"}},
        ("prompt-not-allowed",),
    ),
}


@pytest.mark.parametrize(("message", "reasons"), BEHIND.values(), ids=BEHIND.keys())
def test_what_its_caller_may_not_do_reaches_nobody(running: Running, message: object, reasons: tuple[str, ...]) -> None:
    stopped(running, sent(running, message, lines("ann")), *reasons)


def test_of_a_batch_only_what_is_allowed_reaches_the_upstream(running: Running) -> None:
    batch = [call("delete_file", id=1, path="/x"), call(id=2, query="x"), call("search", id=3, query=SECRET * 9)]
    running.upstream.answer_with(json_body([{**answer_to(call()), "id": 2}]))
    answer = sent(running, batch, lines("ann", BATCHES))
    (request,) = running.upstream.requests
    assert json.loads(request.body) == [batch[1]]
    assert {one["id"]: "error" in one or one["result"].get("isError", False) for one in answer.json} == {
        1: True,
        2: False,
        3: True,
    }


def test_of_a_batch_what_the_headers_contradict_does_not_reach_the_upstream(running: Running) -> None:
    batch = [call(query="x"), call("delete_file", id=2, path="/x")]
    answer = sent(running, batch, lines("root", BATCHES, mcp_name="search", mcp_method="tools/call"))
    (request,) = running.upstream.requests
    assert json.loads(request.body) == batch[:1]
    (refused,) = (one["error"]["data"]["reason"] for one in answer.json if "error" in one)
    assert refused == "header-mismatch"


PATHS = ("/mcp/", "/mcp/x", "//mcp", "/mcp//", "/x/../mcp", "/%6dcp", "/mcp?path=/v1", "/mcp/%2e%2e/mcp", "/mcp\\x")
ELSEWHERE = ("/MCP", "/mcp;x", "/mcpx", "/v1/mcp", "/mcp%2f", "/mcp#x", "/")


@pytest.mark.parametrize("path", PATHS)
def test_however_the_path_is_written_the_same_rules_hold(running: Running, path: str) -> None:
    stopped(running, sent(running, call("delete_file", path="/x"), lines("ann"), path=path), "tool-not-allowed")


@pytest.mark.parametrize("path", ELSEWHERE)
def test_a_path_without_rules_leads_nowhere(running: Running, path: str) -> None:
    answer = sent(running, call("delete_file", path="/x"), lines("ann"), path=path)
    assert running.upstream.requests == []
    assert answer.status in (400, 404)


@pytest.mark.parametrize("method", ["PUT", "PATCH", "OPTIONS", "GET", "DELETE", "HEAD", "TRACE", "QUERY"])
def test_no_method_of_http_carries_a_call_past_the_rules(running: Running, method: str) -> None:
    override = {"x_http_method_override": "POST"}
    answer = sent(running, call("search", query="x"), lines("root", **override), method)
    assert running.upstream.requests == []
    assert answer.status == 403


# --- exfiltration by arguments: what the schema does not ask for


SMUGGLED: dict[str, object] = {
    "in an argument that is not asked for": {"query": "x", "note": SECRET},
    "in a name": {"query": "x", f"note: {SECRET}": 1},
    "in the wrong type": {"query": {"text": SECRET}},
    "in what is too long": {"query": SECRET * 4},
    "in a list": {"query": [SECRET]},
    "without what is needed": {},
}


@pytest.mark.parametrize("wire", [LEGACY, MODERN])
@pytest.mark.parametrize("arguments", SMUGGLED.values(), ids=SMUGGLED.keys())
def test_arguments_that_the_schema_does_not_ask_for_reach_nobody(
    running: Running, arguments: dict[str, Any], wire: str
) -> None:
    message = call(**arguments)
    if wire == MODERN:
        stopped(running, sent(running, told(message), modern("ann")))
    else:
        stopped(running, sent(running, message, lines("ann")))


def test_a_second_copy_of_an_argument_reaches_nobody(running: Running) -> None:
    body = json.dumps(call(query="x")).replace('"query": "x"', f'"query": "x", "query": "{SECRET}"').encode()
    stopped(running, sent(running, body, lines("ann")), "json-duplicate-key")


# --- sessions and states


def initialized(running: Running, caller: str, session: str, headers: Lines | None = None) -> RawAnswer:
    opened = {"protocolVersion": LEGACY, "capabilities": {}, "serverInfo": {"name": "s", "version": "1"}}
    running.upstream.answer_with(
        json_body({"jsonrpc": "2.0", "id": 1, "result": opened}, 200, ("mcp-session-id", session))
    )
    message = {"jsonrpc": "2.0", "id": 1, "method": "initialize", "params": {"protocolVersion": LEGACY}}
    return sent(running, message, headers or lines(caller))


IDS: dict[str, Callable[[str], Lines]] = {
    "as it is": lambda id: [("mcp-session-id", id)],
    "in another case of the header": lambda id: [("MCP-SESSION-ID", id)],
    "twice": lambda id: [("mcp-session-id", id)] * 2,
    "behind another": lambda id: [("mcp-session-id", f"x, {id}")],
    "in quotes": lambda id: [("mcp-session-id", f'"{id}"')],
    "in upper case": lambda id: [("mcp-session-id", id.upper())],
    "cut short": lambda id: [("mcp-session-id", id[:-1])],
    "empty": lambda id: [("mcp-session-id", "")],
}


@pytest.mark.parametrize("write", IDS.values(), ids=IDS.keys())
@pytest.mark.parametrize("method", ["POST", "GET", "DELETE"])
def test_a_session_of_anothers_reaches_nobody_however_it_is_written(
    running: Running, write: Callable[[str], Lines], method: str
) -> None:
    assert initialized(running, "root", "abc-session").header("mcp-session-id") == "abc-session"
    running.upstream.answer_with(json_body(answer_to(call())))
    message: object = call(query="x") if method == "POST" else b""
    stopped(
        running,
        sent(running, message, [*lines("ann"), *write("abc-session")], method),
        "session-unknown",
        "session-invalid",
    )


def test_nobody_chooses_the_session_that_another_will_have(running: Running) -> None:
    fixed = initialized(running, "ann", "fixed", [*lines("ann"), ("mcp-session-id", "fixed")])
    stopped(running, fixed, "session-unknown")
    assert initialized(running, "root", "roots-own").status == 200
    taken = initialized(running, "ann", "roots-own")
    assert (taken.status, taken.json["error"]["data"]["reason"]) == (502, "session-taken")
    assert taken.header("mcp-session-id") is None


STATE = "v1.opaque-state"
STATES: dict[str, tuple[str, dict[str, Any]]] = {
    "by another": ("ann", call(query="x")),
    "for another tool": ("root", call("query", region="eu")),
    "for a prompt": ("root", {"jsonrpc": "2.0", "id": 9, "method": "prompts/get", "params": {"name": "search"}}),
    "changed by a byte": ("root", {**call(query="x"), "state": STATE + "."}),
    "in a list": ("root", {**call(query="x"), "state": [STATE]}),
}


@pytest.mark.parametrize("wire", [LEGACY, MODERN, BATCHES])
@pytest.mark.parametrize(("caller", "message"), STATES.values(), ids=STATES.keys())
def test_a_request_state_is_of_no_use_to_others_nor_elsewhere(
    running: Running, wire: str, caller: str, message: dict[str, Any]
) -> None:
    asked = {"resultType": "input_required", "inputRequests": {}, "requestState": STATE}
    running.upstream.answer_with(json_body({"jsonrpc": "2.0", "id": 1, "result": asked}))
    assert sent(running, told(call(query="x")), modern("root")).json["result"] == asked
    running.upstream.answer_with(json_body(answer_to(call())))
    message = dict(message)
    state = message.pop("state", STATE)
    message["params"] = {**message["params"], "requestState": state, "inputResponses": {}}
    if wire == MODERN:
        names = {"mcp_method": message["method"], "mcp_name": message["params"]["name"], "mcp_param_region": "eu"}
        headers = modern(caller, **{k: v for k, v in names.items() if k != "mcp_param_region" or v in str(message)})
        answer = sent(running, told(message), headers)
    else:
        answer = sent(running, [message] if wire == BATCHES else message, lines(caller, wire))
    stopped(running, answer, "state-unknown")


# --- tokens


TOKENS: dict[str, Callable[[], Lines]] = {
    "none": lambda: [],
    "for another server": lambda: [("authorization", f"Bearer {minted(scope='mcp', aud='other')}")],
    "without the scope": lambda: [("authorization", f"Bearer {minted(scope='mcp.read')}")],
    "in the query": lambda: [],
    "two": lambda: [("authorization", f"Bearer {minted(scope='mcp')}")] * 2,
    "by another scheme": lambda: [("authorization", f"Basic {minted(scope='mcp')}")],
}


@pytest.mark.parametrize("kind", TOKENS)
def test_a_token_that_is_not_for_this_server_reaches_nobody(running: Running, kind: str) -> None:
    headers = [line for line in lines() if line[0] != "authorization"]
    path = f"/mcp?access_token={minted(scope='mcp')}" if kind == "in the query" else "/mcp"
    answer = sent(running, call(query="x"), [*headers, *TOKENS[kind]()], path=path)
    assert answer.status == {"without the scope": 403, "in the query": 400}.get(kind, 401)
    assert (answer.header("www-authenticate") or "").startswith("Bearer")
    reasons = ("token-needed", "audience-mismatch", "scope-missing", "invalid-credential", "token-in-query")
    stopped(running, answer, *reasons)


# --- cache leaks


@pytest.mark.parametrize("caller", ["ann", "root"])
def test_no_cache_may_share_a_list_that_depends_on_its_caller(running: Running, caller: str) -> None:
    running.upstream.answer_with(json_body(LISTED))
    message = {**told(LIST), "id": 1}
    answer = sent(running, message, lines(caller, MODERN, mcp_method="tools/list"))
    assert answer.json["result"]["cacheScope"] == "private"
    assert ("delete_file" in str(answer.json)) is (caller == "root"), "even the list that lacks nothing"
