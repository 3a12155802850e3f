"""MCP over HTTP: what the headers say and repeat.

Rules:
- The era is decided by the header alone: 2026-07-28 and no other revision is modern, absent or unknown means legacy.

Not here: whether headers and body agree, which is for a policy to judge.
"""

from __future__ import annotations

from collections.abc import Mapping

from ext_proc.codecs.content_types import EVENT_STREAM
from ext_proc.codecs.mcp_messages import request_class
from ext_proc.framing.header_value import encode_header_value, read_header_value
from ext_proc.headers import Headers
from ext_proc.messages import HeadersOnly, McpCall, Message, RequestHead, ToolCall, ToolHeaders
from ext_proc.messages.mcp_headers import MODERN, NAMED_BY

_VERSION = "mcp-protocol-version"
_BATCHES = "2025-03-26"
_VERSION_IN_META = "io.modelcontextprotocol/protocolVersion"


def is_modern(head: RequestHead) -> bool:
    """Whether the request speaks a stateless revision."""
    return head.headers.get(_VERSION) in MODERN


def header_message(head: RequestHead) -> HeadersOnly | None:
    """What the headers of a POST of revision 2026-07-28 say that its body is.

    Returns:
        None for another revision, and where a header that is needed is missing, stands twice or cannot be read.
    """
    method = _told(head, "mcp-method")
    # A method that is encoded without need is none that a route of Envoy's would have compared.
    if (
        _told(head, _VERSION) not in MODERN
        or not method
        or head.headers.get("mcp-method") != encode_header_value(method)
    ):
        return None
    kind = request_class(method)
    if method not in NAMED_BY:
        return HeadersOnly(kind, method, "")
    name = _told(head, "mcp-name")
    if name is None:
        return None
    return ToolHeaders(kind, method, name) if kind is ToolCall else HeadersOnly(kind, method, name)


def _told(head: RequestHead, header: str) -> str | None:
    """The text that a header stands for, if it stands there once and can be read."""
    lines = head.headers.get_all(header)
    return read_header_value(lines[0]) if len(lines) == 1 else None


def is_modern_call(message: Message) -> bool:
    """The same, read from a call's own `_meta`, where no headers are at hand."""
    if not isinstance(message, McpCall):
        return False
    meta = message.params.get("_meta")
    version = meta.get(_VERSION_IN_META) if isinstance(meta, Mapping) else None
    return isinstance(version, str) and version in MODERN


def may_batch(head: RequestHead) -> bool:
    """Whether a body may be an array: in revision 2025-03-26 only, which is also what no header means."""
    return set(head.headers.get_all(_VERSION)) <= {_BATCHES.encode()}


def accepts_events(headers: Headers) -> bool:
    """Whether the client names an event stream, as MCP wants it; a wildcard is what any other client sends."""
    return any(
        part.partition(";")[0].strip().lower() == EVENT_STREAM
        for value in headers.get_all("accept")
        for part in value.decode("utf-8", "replace").split(",")
    )


def mirrored(message: Message) -> Mapping[str, str]:
    """The headers of revision 2026-07-28 that repeat a call: Mcp-Method, and Mcp-Name where it is aimed at a name."""
    if not isinstance(message, McpCall):
        return {}
    lines = {"mcp-method": encode_header_value(message.method)}
    key = "taskId" if message.method.startswith("tasks/") else NAMED_BY.get(message.method)
    name = message.params.get(key) if key else None
    if isinstance(name, str):
        lines["mcp-name"] = encode_header_value(name)
    return lines
