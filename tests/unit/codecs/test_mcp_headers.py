"""codecs/mcp_headers.py: headers that repeat the body follow it, as the official SDK reads them."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from mcp.shared.inbound import InboundModernRoute, classify_inbound_request

from ext_proc.headers import Headers
from ext_proc.messages import (
    CompleteRequest,
    McpNotification,
    McpRequest,
    Message,
    PromptGet,
    RequestHead,
    ResourceRead,
    ToolCall,
)
from tests.unit.codecs.building import CODEC, MODERN, asked, call, head, notification, result

META = {
    "io.modelcontextprotocol/protocolVersion": MODERN,
    "io.modelcontextprotocol/clientInfo": {"name": "c", "version": "1"},
    "io.modelcontextprotocol/clientCapabilities": {},
}


def mirrored(message: Message) -> dict[str, str]:
    return dict(CODEC.mirrored_headers(message, head(version=MODERN)))


@pytest.mark.parametrize(
    ("value", "lines"),
    [
        (call("tools/call", name="add"), {"mcp-method": "tools/call", "mcp-name": "add"}),
        (call("prompts/get", name="p"), {"mcp-method": "prompts/get", "mcp-name": "p"}),
        (call("resources/read", uri="file:///x"), {"mcp-method": "resources/read", "mcp-name": "file:///x"}),
        (call("tasks/get", taskId="t"), {"mcp-method": "tasks/get", "mcp-name": "t"}),
        (call("tasks/get", taskId=5), {"mcp-method": "tasks/get"}),
        (call("tools/list"), {"mcp-method": "tools/list"}),
        (notification(), {"mcp-method": "notifications/initialized"}),
        (call("tools/call", name="a\r\nx: y"), {"mcp-method": "tools/call", "mcp-name": "=?base64?YQ0KeDogeQ==?="}),
        (result(), {}),
    ],
)
def test_the_modern_headers_repeat_method_and_name(value: dict[str, Any], lines: dict[str, str]) -> None:
    assert mirrored(asked(value)[0]) == lines


@pytest.mark.parametrize("version", [None, "2024-11-05", "2025-11-25", "zzz"])
def test_the_legacy_wire_repeats_nothing(version: str | None) -> None:
    assert CODEC.mirrored_headers(asked(call("tools/call", name="a"))[0], head(version=version)) == {}


@given(st.text(st.characters(exclude_categories=["Cs"])), st.sampled_from(["tools/call", "prompts/get"]))
def test_the_official_server_accepts_the_headers_of_any_name(name: str, method: str) -> None:
    value = call(method, name=name, _meta=META)
    headers = {"mcp-protocol-version": MODERN, **mirrored(asked(value)[0])}
    assert isinstance(classify_inbound_request(value, headers=headers), InboundModernRoute)


@pytest.mark.parametrize(
    ("method", "name", "kind"),
    [
        ("tools/call", "add", ToolCall),
        ("prompts/get", "=?base64?w7w=?=", PromptGet),
        ("resources/read", "file:///x", ResourceRead),
        ("tasks/get", "t", McpRequest),
        ("tools/list", None, McpRequest),
        ("completion/complete", None, CompleteRequest),
        ("notifications/cancelled", None, McpNotification),
    ],
)
def test_headers_in_order_say_what_the_body_is(method: str, name: str | None, kind: type[Message]) -> None:
    lines = {"mcp-protocol-version": MODERN, "mcp-method": method, **({} if name is None else {"mcp-name": name})}
    said = CODEC.header_message(with_lines(*lines.items()))
    assert said is not None
    assert (said.stands_for, said.method) == (kind, method)
    assert said.target == {"=?base64?w7w=?=": "\u00fc", None: ""}.get(name, name)
    assert said.names == ("tool" if kind is ToolCall else "")


@pytest.mark.parametrize(
    "lines",
    [
        [("mcp-protocol-version", MODERN)],
        [("mcp-protocol-version", MODERN), ("mcp-method", "")],
        [("mcp-protocol-version", MODERN), ("mcp-method", "tools/call")],
        [("mcp-protocol-version", MODERN), ("mcp-method", "tools/list"), ("mcp-method", "tools/list")],
        [("mcp-protocol-version", MODERN), ("mcp-protocol-version", MODERN), ("mcp-method", "tools/list")],
        [("mcp-protocol-version", f"{MODERN}, {MODERN}"), ("mcp-method", "tools/list")],
        [("mcp-protocol-version", MODERN), ("mcp-method", "=?base64?dG9vbHMvbGlzdA==?=")],
        [("mcp-protocol-version", MODERN), ("mcp-method", "tools/call"), ("mcp-name", "=?base64?#?=")],
        [("mcp-protocol-version", MODERN), ("mcp-method", "tools/call"), ("mcp-name", "\u00fc")],
        [("mcp-protocol-version", "2025-11-25"), ("mcp-method", "tools/list")],
        [("mcp-method", "tools/list")],
    ],
)
def test_headers_that_are_not_in_order_say_nothing(lines: list[tuple[str, str]]) -> None:
    assert CODEC.header_message(with_lines(*lines)) is None


def with_lines(*lines: tuple[str, str]) -> RequestHead:
    headers = Headers((name, value.encode("latin-1")) for name, value in lines)
    return RequestHead("POST", "/mcp", "tools.example", headers)
