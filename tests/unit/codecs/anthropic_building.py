"""Values of Anthropic's format for the tests of its codec."""

from __future__ import annotations

import json
from typing import Any

from ext_proc.codecs.anthropic import AnthropicCodec
from ext_proc.codecs.codec import Frame
from ext_proc.messages import Message
from tests.unit.codecs.llm_building import Format
from tests.unit.codecs.openai_building import encoded

USER = {"role": "user", "content": "hello"}


def asking(**fields: Any) -> dict[str, Any]:
    return {"model": "m", "max_tokens": 100, "messages": [USER], **fields}


ANTHROPIC = Format(AnthropicCodec(), "/v1/messages", asking(), frozenset({"messages", "count_tokens"}))
COUNT = "/v1/messages/count_tokens"
USAGE = {"input_tokens": 3, "output_tokens": 5}


def text(said: str, **fields: Any) -> dict[str, Any]:
    return {"type": "text", "text": said, **fields}


def whole(*blocks: Any, stop: str = "end_turn", **fields: Any) -> dict[str, Any]:
    """An answer with these blocks."""
    message = {"id": "msg_1", "type": "message", "role": "assistant", "model": "m", "content": list(blocks)}
    return {**message, "stop_reason": stop, "stop_sequence": None, "usage": USAGE, **fields}


def event(value: Any, name: str | None = None) -> bytes:
    """An event, named by its type as Anthropic names them."""
    kind = value.get("type", "") if isinstance(value, dict) else ""
    return b"event: " + (name or str(kind)).encode() + b"\ndata: " + encoded(value) + b"\n\n"


def start(**fields: Any) -> dict[str, Any]:
    return {"type": "message_start", "message": {**whole(), "stop_reason": None, **fields}}


def begin(block: Any, index: int = 0) -> dict[str, Any]:
    return {"type": "content_block_start", "index": index, "content_block": block}


def delta(index: int = 0, **fields: Any) -> dict[str, Any]:
    return {"type": "content_block_delta", "index": index, "delta": fields}


def says(said: str, index: int = 0) -> dict[str, Any]:
    return delta(index, type="text_delta", text=said)


def ends(index: int = 0) -> dict[str, Any]:
    return {"type": "content_block_stop", "index": index}


def closes(stop: str = "end_turn", **usage: Any) -> dict[str, Any]:
    return {
        "type": "message_delta",
        "delta": {"stop_reason": stop, "stop_sequence": None},
        "usage": {"output_tokens": 5, **usage},
    }


STOP = {"type": "message_stop"}
PING = {"type": "ping"}
OVERLOADED = {"type": "error", "error": {"type": "overloaded_error", "message": "it is too much"}}


def stream(*events: Any) -> bytes:
    """The events of these values."""
    return b"".join(map(event, events))


def story(*inner: Any, stop: str = "end_turn") -> bytes:
    """A whole stream with these events in it."""
    return stream(start(), *inner, closes(stop), STOP)


def shown(raw: bytes) -> Any:
    """What an event's data says."""
    (line,) = [line[5:] for line in raw.splitlines() if line.startswith(b"data:")]
    return json.loads(line)


def kinds(frames: list[Frame]) -> list[type[Message]]:
    return [type(message) for frame in frames for message in frame.messages]
