"""codecs/auto: which codec reads a request where several formats share a route."""

from __future__ import annotations

import pytest

from ext_proc.bundle.protocols import PROTOCOLS
from ext_proc.codecs.auto import McpByBody, by_body, candidates
from ext_proc.codecs.codec import Match
from ext_proc.codecs.mcp import McpCodec
from ext_proc.headers import Headers
from ext_proc.messages import RequestHead

CODECS = PROTOCOLS["auto"].codecs()
OPENAI, MCP = CODECS


def head(method: str, path: str, **headers: str) -> RequestHead:
    return RequestHead(method, path, "example.test", Headers.of(**headers))


CHAT = head("POST", "/v1/chat/completions", content_type="application/json")
OTHER = head("POST", "/any", content_type="application/json")
CALL = b'{"jsonrpc":"2.0","id":1,"method":"tools/list"}'


def test_a_path_that_tells_needs_no_body() -> None:
    assert candidates(CODECS, CHAT) == (OPENAI,)
    assert candidates(CODECS, head("GET", "/v1/models", accept="*/*")) == (OPENAI,)
    assert by_body((OPENAI,), CHAT, CALL) is OPENAI


def test_what_only_mcp_has_by_its_headers_is_mcps() -> None:
    assert candidates(CODECS, head("GET", "/any", accept="text/event-stream")) == (MCP,)
    assert candidates(CODECS, head("DELETE", "/any")) == (MCP,)


def test_any_other_json_waits_for_its_body() -> None:
    assert MCP.matches(OTHER) is Match.MAYBE
    assert candidates(CODECS, OTHER) == (MCP,)


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
    assert by_body((MCP,), OTHER, body) is MCP


@pytest.mark.parametrize(
    "body", [b"{}", b"[]", b"1", b'"jsonrpc"', b'{"model":"m","messages":[]}', b'{"a":{"jsonrpc":"2.0"}}']
)
def test_json_of_another_format_is_nobodys(body: bytes) -> None:
    assert by_body((MCP,), OTHER, body) is None


def test_mcps_own_routes_need_no_second_look() -> None:
    assert PROTOCOLS["mcp"].codecs()[0].matches(OTHER) is Match.YES
    assert isinstance(MCP, McpByBody)
