"""Requests, answers, decoders and recordings for the tests of OpenAI's codec."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ext_proc.codecs.codec import Decoder, Frame
from ext_proc.codecs.openai_chat import OpenAiChatCodec
from ext_proc.headers import Headers
from ext_proc.limits import DEFAULTS, Limits
from ext_proc.messages import Channel, Message, Opaque, RequestHead, ResponseHead

CODEC = OpenAiChatCodec()
DATA = Path(__file__).parents[2] / "data" / "streams"


def head(method: str = "POST", path: str = "/v1/chat/completions", **headers: str) -> RequestHead:
    lines = {"content_type": "application/json"} if method == "POST" else {}
    return RequestHead(method, path, "example.test", Headers.of(**{**lines, **headers}))


def answer_head(status: int = 200, content_type: str = "application/json") -> ResponseHead:
    return ResponseHead(status, Headers.of(content_type=content_type))


STREAM = answer_head(content_type="text/event-stream; charset=utf-8")
USER = {"role": "user", "content": "hello"}


def asking(**fields: Any) -> dict[str, Any]:
    return {"model": "m", "messages": [USER], **fields}


def whole(*messages: Any, finish: str = "stop", **fields: Any) -> dict[str, Any]:
    """An answer with a choice for each message."""
    choices = [
        {"index": index, "message": message, "logprobs": None, "finish_reason": finish}
        for index, message in enumerate(messages)
    ]
    return {"id": "c1", "object": "chat.completion", "created": 1, "model": "m", "choices": choices, **fields}


def chunk(delta: Any = None, *, index: int = 0, finish: str | None = None, **fields: Any) -> dict[str, Any]:
    """An event's value with one choice."""
    choices = [{"index": index, "delta": delta or {}, "finish_reason": finish}]
    envelope = {"id": "c1", "object": "chat.completion.chunk", "created": 7, "model": "m", "system_fingerprint": "fp"}
    return {**envelope, "choices": choices, **fields}


def says(text: str, **fields: Any) -> dict[str, Any]:
    return chunk({"content": text}, **fields)


def encoded(value: Any) -> bytes:
    return value if isinstance(value, bytes) else json.dumps(value).encode()


def event(value: Any) -> bytes:
    return b"data: " + encoded(value) + b"\n\n"


DONE = event(b"[DONE]")


def stream(*values: Any) -> bytes:
    """The events of these values, and `[DONE]`."""
    return b"".join(map(event, values)) + DONE


def drain(decoder: Decoder, *chunks: bytes) -> list[Frame]:
    frames = [frame for chunk in chunks for frame in decoder.feed(chunk)]
    return [*frames, *decoder.close()]


def read_request(value: Any, limits: Limits = DEFAULTS) -> Message:
    """The message of a POST."""
    (frame,) = drain(CODEC.request_decoder(head(), limits), encoded(value))
    (message,) = frame.messages
    return message


ASKED = read_request(asking())


def decoded(
    body: Any, response: ResponseHead = STREAM, requests: Sequence[Message] = (ASKED,), limits: Limits = DEFAULTS
) -> tuple[list[Frame], Decoder]:
    """The frames of an answer, and its decoder after the end."""
    decoder = CODEC.response_decoder(requests, head(), response, limits)
    return drain(decoder, encoded(body)), decoder


def messages_of(frames: Iterable[Frame]) -> list[Message]:
    return [message for frame in frames for message in frame.messages]


def texts_of(frames: Iterable[Frame]) -> dict[Channel, str]:
    """Every channel's whole text."""
    found: dict[Channel, str] = {}
    for frame in frames:
        for piece in frame.pieces:
            found[piece.channel] = found.get(piece.channel, "") + piece.text
    return found


def opaque(messages: Iterable[Message]) -> Opaque:
    """The one message, which must be opaque."""
    (message,) = messages
    assert isinstance(message, Opaque)
    return message


@dataclass(frozen=True)
class Recorded:
    """An exchange that was recorded with a real server."""

    name: str
    request: bytes
    head: RequestHead
    response: ResponseHead
    body: bytes

    @property
    def streams(self) -> bool:
        return CODEC.streams(self.response)

    def decoder(self) -> Decoder:
        requests = drain(CODEC.request_decoder(self.head, DEFAULTS), self.request)
        return CODEC.response_decoder(messages_of(requests), self.head, self.response, DEFAULTS)


def _recorded(path: Path) -> Recorded:
    stored = json.loads(path.read_text())
    return Recorded(
        name=path.stem,
        request=stored["request_body"].encode(),
        head=head(stored["method"], stored["path"].partition("?")[0]),
        response=answer_head(stored["status"], stored["response_headers"]["content-type"]),
        body=base64.b64decode(stored["response_body_base64"]),
    )


RECORDED = {path.stem: _recorded(path) for path in sorted(DATA.glob("*.json"))}
