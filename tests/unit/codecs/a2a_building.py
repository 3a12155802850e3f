"""Requests, answers and decoders for the tests of A2A's codec, in both versions."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from ext_proc.codecs.a2a import A2aCodec
from ext_proc.codecs.codec import Decoder
from ext_proc.headers import Headers
from ext_proc.limits import DEFAULTS, Limits
from ext_proc.messages import A2aRequest, Message, RequestHead, ResponseHead
from tests.unit.codecs.building import answer_head, call, drain, encoded, event, opaque

__all__ = ["answer_head", "call", "drain", "encoded", "event", "opaque"]

CODEC = A2aCodec()
STREAM = answer_head(content_type="text/event-stream")
VERSIONS = ["0.3", "1.0"]
TASK_10 = {"id": "t", "contextId": "c", "status": {"state": "TASK_STATE_WORKING"}}
TASK_03 = {"kind": "task", "id": "t", "contextId": "c", "status": {"state": "working"}}


def head(method: str = "POST", path: str = "/agent", **headers: str) -> RequestHead:
    lines = {"content_type": "application/json"} if method == "POST" else {}
    return RequestHead(method, path, "example.test", Headers.of(**{**lines, **headers}))


def send(version: str = "1.0", *parts: Any, stream: bool = False, configuration: Any = None, **message: Any) -> Any:
    """A message to the agent, as either version writes it."""
    modern = version == "1.0"
    names = ("SendMessage", "SendStreamingMessage") if modern else ("message/send", "message/stream")
    hello = {"text": "hello"} if modern else {"kind": "text", "text": "hello"}
    whole = {"messageId": "m", "role": "ROLE_USER" if modern else "user", "parts": list(parts) or [hello], **message}
    params = {"message": whole, **({} if configuration is None else {"configuration": configuration})}
    return call(names[stream], **params)


def result(value: Any, id: Any = 1) -> dict[str, Any]:
    return {"jsonrpc": "2.0", "id": id, "result": value}


def read(value: Any, limits: Limits = DEFAULTS) -> Message:
    """The message of a POST."""
    (frame,) = drain(CODEC.request_decoder(head(), limits), encoded(value))
    (message,) = frame.messages
    return message


def request(value: Any) -> A2aRequest:
    """The request that a POST is; it must be one."""
    message = read(value)
    assert isinstance(message, A2aRequest), message
    return message


def answered(
    asked: Message | None, body: Any, response: ResponseHead | None = None, limits: Limits = DEFAULTS
) -> tuple[Sequence[Message], Decoder]:
    """The messages of an answer, and its decoder after the end."""
    requests = [] if asked is None else [asked]
    decoder = CODEC.response_decoder(requests, head(), response or answer_head(), limits)
    frames = drain(decoder, body if isinstance(body, bytes) else json.dumps(body).encode())
    return [message for frame in frames for message in frame.messages], decoder
