"""codecs/auto: which codec reads a request where several formats share a route."""

from __future__ import annotations

import json

import pytest

from ext_proc.bundle.protocols import PROTOCOLS
from ext_proc.codecs.auto import A2aByBody, McpByBody, by_body, candidates
from ext_proc.codecs.codec import Match
from ext_proc.codecs.mcp import McpCodec
from ext_proc.headers import Headers
from ext_proc.limits import Limits
from ext_proc.messages import Opaque, RequestHead
from ext_proc.messages.a2a import OPERATIONS, OPERATIONS_03

CODECS = PROTOCOLS["auto"].codecs()
OPENAI, *_, A2A, MCP = CODECS


def head(method: str, path: str, **headers: str) -> RequestHead:
    return RequestHead(method, path, "example.test", Headers.of(**headers))


CHAT = head("POST", "/v1/chat/completions", content_type="application/json")
OTHER = head("POST", "/any", content_type="application/json")
CALL = b'{"jsonrpc":"2.0","id":1,"method":"tools/list"}'


def test_a_path_that_tells_needs_no_body() -> None:
    assert PROTOCOLS["openai"].codecs()[0].matches(CHAT) is Match.YES
    assert candidates(CODECS, head("GET", "/v1/models", accept="*/*")) == (OPENAI,)
    assert by_body((OPENAI,), CHAT, CALL) is OPENAI


@pytest.mark.parametrize("path", ["/mcp/v1/chat/completions", "/messages", "/mcp/v1/messages", "/mcp/v1/responses"])
def test_behind_a_path_of_models_json_rpc_is_json_rpcs(path: str) -> None:
    """Servers that take whatever stands behind their path would run it unseen."""
    posted = head("POST", path, content_type="application/json")
    found = candidates(CODECS, posted)
    model, *others = found
    assert others == [A2A, MCP]
    hidden = {"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": {"name": "x"}, "model": "m", "messages": []}
    assert by_body(found, posted, json.dumps(hidden).encode()) is MCP
    assert by_body(found, posted, json.dumps([hidden]).encode()) is MCP
    assert by_body(found, posted, json.dumps({**hidden, "method": "SendMessage"}).encode()) is A2A
    for body in (b'{"model":"m","messages":[]}', b"{", b"", b"1", b'{"model":"m","model":"n"}'):
        assert by_body(found, posted, body) is model


@pytest.mark.parametrize("path", ["/mcp/models", "/mcp/.well-known/agent-card.json"])
@pytest.mark.parametrize("lines", [{"accept": "text/event-stream"}, {"accept": "*/*", "mcp_session_id": "s"}])
def test_so_is_a_get_that_asks_for_events_or_names_a_session(path: str, lines: dict[str, str]) -> None:
    assert candidates(CODECS, head("GET", path, **lines)) == (MCP,)


def test_what_only_mcp_has_by_its_headers_is_mcps() -> None:
    assert candidates(CODECS, head("GET", "/any", accept="text/event-stream")) == (MCP,)
    assert candidates(CODECS, head("DELETE", "/any")) == (MCP,)


def test_any_other_json_waits_for_its_body() -> None:
    assert MCP.matches(OTHER) is Match.MAYBE
    assert candidates(CODECS, OTHER) == (A2A, MCP)


def test_headers_of_mcps_say_nothing_of_a_body_that_may_be_something_else() -> None:
    lines = {"mcp_protocol_version": "2026-07-28", "mcp_method": "tools/list"}
    claimed = head("POST", "/any", content_type="application/json", **lines)
    assert McpCodec().header_message(claimed) is not None
    assert MCP.header_message(claimed) is None
    assert OPENAI.header_message(claimed) is None


def test_what_nobody_reads_has_no_candidate() -> None:
    assert candidates(CODECS, head("POST", "/any", content_type="text/plain")) == ()
    assert candidates(CODECS, head("PUT", "/any")) == ()


@pytest.mark.parametrize(
    "body",
    [
        CALL,
        b"[" + CALL + b"]",
        b'[{"x":1},' + CALL + b"]",
        b'{"json\\u0072pc":"2.0"}',
        b'{"JsonRPC":"2.0"}',
        b'{"jsonrpc":null}',
        b"",
        b"{",
        b'{"jsonrpc":"2.0","jsonrpc":"1"}',
        b"\xef\xbb\xbf" + CALL,
        b'{"x":NaN}',
        b"[" * 100 + b"]" * 100,
        b"\xff",
    ],
)
def test_in_doubt_a_body_is_mcps_for_there_it_is_denied(body: bytes) -> None:
    assert by_body((A2A, MCP), OTHER, body) is MCP


@pytest.mark.parametrize(
    "body", [b"{}", b"[]", b"1", b'"jsonrpc"', b'{"model":"m","messages":[]}', b'{"a":{"jsonrpc":"2.0"}}']
)
def test_json_of_another_format_is_nobodys(body: bytes) -> None:
    assert by_body((A2A, MCP), OTHER, body) is None


def calling(method: str, **params: object) -> bytes:
    return json.dumps({"jsonrpc": "2.0", "id": 1, "method": method, "params": params}).encode()


def test_an_agents_card_is_a2as_by_its_path() -> None:
    fetch = head("GET", "/any/.well-known/agent-card.json", accept="*/*")
    assert candidates(CODECS, fetch) == (A2A,)
    assert by_body((A2A,), fetch, b"") is A2A


@pytest.mark.parametrize(
    "body",
    [
        *(calling(method) for method in sorted(OPERATIONS)),
        *(calling(method, id="t") for method in OPERATIONS_03),
        calling("SetTaskPushNotificationConfig"),  # of a draft
        calling("message/send\n"),
        b"[" + calling("SendMessage") + b"]",
        b"[" + CALL + b"," + calling("tasks/get", id="t") + b"]",
        b'{"m\\u0065thod":"SendMessage"}',
        b'{"method":"SendMessage"}',
        calling("tasks/get"),
        calling("tasks/cancel", id="t", taskId="u"),
        calling("tasks/cancel", ID="t", taskId="u"),
        calling("tasks/get", taskId=None),
        b'{"jsonrpc":"2.0","id":1,"method":"tasks/get","params":["t"]}',
    ],
)
def test_a2as_methods_are_a2as_and_so_is_what_could_be_either_for_there_it_is_denied(body: bytes) -> None:
    assert by_body((A2A, MCP), OTHER, body) is A2A


@pytest.mark.parametrize(
    "body",
    [
        *(calling(method, taskId="t") for method in ("tasks/get", "tasks/cancel", "tasks/result", "tasks/list")),
        *(calling(method) for method in ("initialize", "ping", "tools/call", "notifications/message", "x/SendMessage")),
        b'{"jsonrpc":"2.0","id":1,"method":"x","params":{"method":"SendMessage"}}',
        b'{"jsonrpc":"2.0","id":1,"Method":"SendMessage"}',
        b'{"jsonrpc":"2.0","id":1,"method":["SendMessage"]}',
    ],
)
def test_mcps_methods_are_mcps(body: bytes) -> None:
    assert by_body((A2A, MCP), OTHER, body) is MCP


@pytest.mark.parametrize("method", ["tools/call", "initialize", "vendor/x"])
def test_a_header_that_says_a2a_takes_no_call_away_from_the_policies_for_mcp(method: str) -> None:
    claimed = head("POST", "/any", content_type="application/json", a2a_version="1.0")
    assert by_body((A2A, MCP), claimed, calling(method)) is MCP


def test_what_its_params_say_is_mcps_and_its_header_a2as_is_denied() -> None:
    claimed = head("POST", "/any", content_type="application/json", a2a_version="1.0")
    body = calling("tasks/get", taskId="t")
    assert by_body((A2A, MCP), claimed, body) is A2A
    decoder = A2A.request_decoder(claimed, Limits())
    (frame,) = [*decoder.feed(body), *decoder.close()]
    assert isinstance(frame.messages[0], Opaque)
    assert frame.messages[0].malformed


def test_own_routes_need_no_second_look() -> None:
    assert PROTOCOLS["mcp"].codecs()[0].matches(OTHER) is Match.YES
    assert isinstance(MCP, McpByBody)
    assert PROTOCOLS["a2a"].codecs()[0].matches(OTHER) is Match.YES
    assert isinstance(A2A, A2aByBody)
