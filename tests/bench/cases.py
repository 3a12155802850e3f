"""What is sent and what is answered: the cases, each as the client's bytes and the upstream's.

Rules:
- A request says which answer it wants (`x-bench`), so that the upstream reads nothing else of it.
- Sizes are those of the bodies, both ways. JSON answers have a content-length; event streams are chunked.
- Each event carries the moment of its writing, so that its delay can be read where it arrives.

Not here: who answers (upstream.py) and who asks (load.py).
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from dataclasses import dataclass

SMALL = 300
LARGE = 32 * 1024
EVENT_EVERY = 0.002  # seconds, on each stream
STAMP = re.compile(rb'"stamp":"(\d{19})"')
STAMP_LENGTH = 29  # bytes of what STAMP finds
ALLOWED_TOOLS = tuple(f"docs.page_{number}" for number in range(8))
DENIED_TOOLS = ("delete_page", "delete_all")

_PROGRESS = (
    b'event: message\ndata: {"jsonrpc":"2.0","method":"notifications/progress","params":{"progressToken":1,'
    b'"progress":1,"message":"the next part of a long answer","_meta":{"stamp":"%019d"}}}\n\n'
)


@dataclass(frozen=True, slots=True)
class Case:
    """One kind of traffic.

    Attributes:
        name: as in the results.
        asks: what is asked of Envoy by Gatehouse under the default bundle, in words.
        request: the request with its headers, as it goes over the connection.
        answer: which answer the upstream gives.
        streams: how many streams are open at once; 0 for a case of requests and whole answers.
    """

    name: str
    asks: str
    request: bytes
    answer: str
    streams: int = 0


def event(stamp: int) -> bytes:
    """One server-sent event, 189 bytes: a progress notification that carries `stamp` (monotonic nanoseconds)."""
    return _PROGRESS % stamp


def answers() -> dict[str, bytes]:
    """The body of each JSON answer, by the name that a request asks for it with."""
    tools = [
        {"name": name, "description": f"What {name} does.", "inputSchema": {"type": "object", "properties": {}}}
        for name in (*ALLOWED_TOOLS, *DENIED_TOOLS)
    ]
    return {
        "chat-small": _sized(_completion, SMALL),
        "chat-large": _sized(_completion, LARGE),
        "call-small": _sized(_result, SMALL),
        "call-large": _sized(_result, LARGE),
        "list": _dump({"jsonrpc": "2.0", "id": 1, "result": {"tools": tools}}),
    }


def post(path: str, body: bytes, answer: str) -> bytes:
    """A whole POST of JSON."""
    return (
        _head("POST", path, answer) + b"content-type: application/json\r\ncontent-length: %d\r\n\r\n" % len(body) + body
    )


def call(tool: str, size: int = SMALL) -> bytes:
    """The body of a tools/call, exactly `size` bytes."""
    return _sized(lambda text: _call(tool, text), size)


def cases() -> tuple[Case, ...]:
    """All of them, in the order of the table."""
    listing = _dump({"jsonrpc": "2.0", "id": 1, "method": "tools/list"})
    streamed = post("/mcp", call("search"), "stream")
    listening = _head("GET", "/mcp", "stream") + b"\r\n"
    buffered = "both headers, both bodies BUFFERED"
    return (
        Case("unary 300 B", buffered, post("/v1/chat/completions", _sized(_chat, SMALL), "chat-small"), "chat-small"),
        Case("unary 32 KiB", buffered, post("/v1/chat/completions", _sized(_chat, LARGE), "chat-large"), "chat-large"),
        Case("tools/call 300 B", buffered, post("/mcp", call("search"), "call-small"), "call-small"),
        Case("tools/call 32 KiB", buffered, post("/mcp", call("search", LARGE), "call-large"), "call-large"),
        Case("tools/list", buffered + ", the answer changed", post("/mcp", listing, "list"), "list"),
        Case("10 SSE streams", "request BUFFERED, the answer STREAMED with empty replies", streamed, "stream", 10),
        Case("50 SSE streams", "request BUFFERED, the answer STREAMED with empty replies", streamed, "stream", 50),
        Case("50 GET streams", "the answer in full duplex", listening, "stream", 50),
    )


def idle_stream() -> bytes:
    """A GET of a stream that sends one event and is silent from then on."""
    return _head("GET", "/mcp", "idle") + b"\r\n"


def _head(method: str, path: str, answer: str) -> bytes:
    lines = (
        f"{method} {path} HTTP/1.1",
        "host: bench",
        f"x-bench: {answer}",
        "accept: application/json, text/event-stream",
        "mcp-protocol-version: 2025-11-25",
    )
    return ("\r\n".join(lines) + "\r\n").encode()


def _chat(text: str) -> dict[str, object]:
    return {"model": "small", "messages": [{"role": "user", "content": text}]}


def _completion(text: str) -> dict[str, object]:
    message = {"role": "assistant", "content": text}
    choice = {"index": 0, "message": message, "finish_reason": "stop"}
    return {"id": "chat-1", "object": "chat.completion", "created": 1, "model": "small", "choices": [choice]}


def _call(tool: str, text: str) -> dict[str, object]:
    params = {"name": tool, "arguments": {"query": text}, "_meta": {"progressToken": 1}}
    return {"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": params}


def _result(text: str) -> dict[str, object]:
    return {"jsonrpc": "2.0", "id": 1, "result": {"content": [{"type": "text", "text": text}], "isError": False}}


def _sized(make: Callable[[str], dict[str, object]], size: int) -> bytes:
    """`make` of as many words as give `size` bytes."""
    missing = size - len(_dump(make("")))
    words = "words of an ordinary size, "
    return _dump(make((words * (missing // len(words) + 1))[:missing]))


def _dump(value: object) -> bytes:
    return json.dumps(value, separators=(",", ":")).encode()
