"""Both ends of an MCP exchange in a few words: what a client asks, and what the scripted upstream answers.

Rules:
- Texts hold characters of several bytes, so that a cut in one of them is seen.

Not here: what happens in between (harness.py, observed.py), how the upstream does it (upstream.py).
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import httpx

from tests.envoy.harness import Running
from tests.envoy.upstream import Connection, Request, Script

HEADERS = {"accept": "application/json, text/event-stream"}
EVENT_STREAM = ("content-type", "text/event-stream")
CHUNKED = ("transfer-encoding", "chunked")
LIST: dict[str, Any] = {"jsonrpc": "2.0", "id": 1, "method": "tools/list"}


def call(tool: str = "search", id: int = 1, **arguments: object) -> dict[str, Any]:
    """A `tools/call`."""
    return {"jsonrpc": "2.0", "id": id, "method": "tools/call", "params": {"name": tool, "arguments": arguments}}


def answer_to(request: dict[str, Any], *tools: str, text: str = "grüße 🦊") -> dict[str, Any]:
    """The upstream's answer: a list of `tools` described by `text`, or a result that holds it."""
    if request["method"] == "tools/list":
        listed = [{"name": tool, "description": text, "inputSchema": {"type": "object"}} for tool in tools]
        return {"jsonrpc": "2.0", "id": request["id"], "result": {"tools": listed}}
    return {"jsonrpc": "2.0", "id": request["id"], "result": {"content": [{"type": "text", "text": text}]}}


def event(value: object, end: str = "\n") -> bytes:
    """A server-sent event with `value` as its data."""
    return f"event: message{end}data: {json.dumps(value, ensure_ascii=False)}{end}{end}".encode()


def in_event(data: bytes) -> Any:
    """The value in the first event that has data."""
    return json.loads(data.partition(b"data: ")[2].partition(b"\n")[0])


def step_by_step(parts: Sequence[bytes]) -> tuple[Script, list[str]]:
    """A script that sends each part of a stream when its gate was opened, and the names of the gates."""
    gates = [f"part {number}" for number in range(len(parts))]

    async def script(request: Request, connection: Connection) -> None:
        await connection.head(200, EVENT_STREAM, CHUNKED)
        for gate, part in zip(gates, parts, strict=True):
            await connection.gate(gate)
            await connection.chunk(part)
        await connection.end()

    return script, gates


def posted(running: Running, message: object, path: str = "", **options: Any) -> httpx.Response:
    """The whole answer to a POST of `message`; `path` is what follows /mcp."""
    return httpx.post(running.stack.mcp_url + path, json=message, headers=HEADERS, **options)


@contextmanager
def asked(running: Running, message: object, path: str = "") -> Iterator[httpx.Response]:
    """The answer to a POST, its headers here and its body still to be read."""
    with httpx.stream("POST", running.stack.mcp_url + path, json=message, headers=HEADERS) as response:
        yield response


def broken_off(running: Running, message: object, then: Callable[[], object], path: str = "") -> bytes:
    """What arrives of a stream that is cut off, where `then` is done once its headers are there.

    Raises:
        AssertionError: it ended cleanly.
    """
    arrived = bytearray()
    try:
        with asked(running, message, path) as response:
            assert response.status_code == 200
            then()
            for data in response.iter_raw():
                arrived += data
    except httpx.RemoteProtocolError:
        return bytes(arrived)
    raise AssertionError(f"it ended cleanly: {bytes(arrived)!r}")
