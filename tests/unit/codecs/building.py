"""Requests, answers and decoders for the tests of MCP's codec."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from ext_proc.codecs.codec import Decoder, Frame
from ext_proc.codecs.mcp import McpCodec
from ext_proc.headers import Headers
from ext_proc.limits import DEFAULTS, Limits
from ext_proc.messages import Message, Opaque, RequestHead, ResponseHead

CODEC = McpCodec()
MODERN = "2026-07-28"


def head(method: str = "POST", version: str | None = None, **headers: str) -> RequestHead:
    lines = {"content_type": "application/json"} if method == "POST" else {}
    if version:
        lines["mcp_protocol_version"] = version
    return RequestHead(method, "/mcp", "example.test", Headers.of(**{**lines, **headers}))


def answer_head(status: int = 200, content_type: str = "application/json", **headers: str) -> ResponseHead:
    return ResponseHead(status, Headers.of(content_type=content_type, **headers))


STREAM = answer_head(content_type="text/event-stream")


def call(method: str, id: Any = 1, **params: Any) -> dict[str, Any]:
    value = {"jsonrpc": "2.0", "id": id, "method": method}
    return {**value, "params": params} if params else value


def notification(method: str = "notifications/initialized", **params: Any) -> dict[str, Any]:
    value = {"jsonrpc": "2.0", "method": method}
    return {**value, "params": params} if params else value


def result(id: Any = 1, **values: Any) -> dict[str, Any]:
    return {"jsonrpc": "2.0", "id": id, "result": values}


def error(id: Any = 1, code: Any = -32603, message: Any = "broken") -> dict[str, Any]:
    return {"jsonrpc": "2.0", "id": id, "error": {"code": code, "message": message}}


TOOLS = {"tools": [{"name": "a", "inputSchema": {}}, {"name": "b", "inputSchema": {}}]}
TEXT = {"content": [{"type": "text", "text": "hello"}]}


def event(value: Any) -> bytes:
    return b"data: " + encoded(value) + b"\n\n"


def encoded(value: Any) -> bytes:
    return value if isinstance(value, bytes) else json.dumps(value).encode()


def drain(decoder: Decoder, *chunks: bytes) -> list[Frame]:
    frames = [frame for chunk in chunks for frame in decoder.feed(chunk)]
    return [*frames, *decoder.close()]


def read_request(value: Any, version: str | None = None, limits: Limits = DEFAULTS) -> list[Message]:
    """The messages of a POST."""
    frames = drain(CODEC.request_decoder(head(version=version), limits), encoded(value))
    return [message for frame in frames for message in frame.messages]


def asked(*values: Any) -> list[Message]:
    """The requests themselves, as the exchange would keep them."""
    return [message for value in values for message in read_request(value)]


def answered(
    requests: Sequence[Message], body: Any, response: ResponseHead | None = None, limits: Limits = DEFAULTS
) -> tuple[list[Message], Decoder]:
    """The messages of an answer, and its decoder after the end."""
    decoder = CODEC.response_decoder(requests, head(), response or answer_head(), limits)
    frames = drain(decoder, encoded(body))
    return [message for frame in frames for message in frame.messages], decoder


def opaque(messages: Sequence[Message]) -> Opaque:
    """The one message, which must be opaque."""
    (message,) = messages
    assert isinstance(message, Opaque)
    return message
