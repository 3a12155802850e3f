"""codecs/mcp_headers.py: headers that repeat the body follow it, as the official SDK reads them."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from mcp.shared.inbound import InboundModernRoute, classify_inbound_request

from ext_proc.messages import Message
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
