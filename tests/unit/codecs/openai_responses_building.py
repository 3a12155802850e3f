"""Requests, answers, events and items for the tests of OpenAI's responses."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from typing import Any

from ext_proc.codecs.codec import Frame
from ext_proc.codecs.openai_responses import OpenAiResponsesCodec
from ext_proc.messages import ChannelKind, Generation
from tests.unit.codecs.llm_building import Format

CODEC = OpenAiResponsesCodec()
RESPONSES = Format(CODEC, "/v1/responses", {"model": "m", "input": "hello"}, frozenset({"responses"}))
ASKED = RESPONSES.read(RESPONSES.asked)


def asking(**fields: Any) -> dict[str, Any]:
    return {"model": "m", "input": "hello", **fields}


def generation(**fields: Any) -> Generation:
    message = RESPONSES.read(asking(**fields))
    assert isinstance(message, Generation)
    return message


def part(text: str, **fields: Any) -> dict[str, Any]:
    return {"type": "output_text", "text": text, "annotations": [], **fields}


def says(*texts: str, **fields: Any) -> dict[str, Any]:
    """A message of the model's with a part for each text."""
    parts = [part(text) for text in texts]
    return {"id": "msg_1", "type": "message", "role": "assistant", "status": "completed", "content": parts, **fields}


def answer(*items: Any, status: str = "completed", **fields: Any) -> dict[str, Any]:
    """The answer's object."""
    envelope = {"id": "resp_1", "object": "response", "created_at": 7, "model": "m", "status": status, "error": None}
    return {**envelope, "output": list(items), "usage": None, **fields}


def event(kind: str, **members: Any) -> dict[str, Any]:
    return {"type": kind, **members}


def delta(text: str, *, item: int = 0, at: int = 0, **members: Any) -> dict[str, Any]:
    where = {"item_id": "msg_1", "output_index": item, "content_index": at}
    return event("response.output_text.delta", **where, delta=text, **members)


def begins(item: Any = None, index: int = 0) -> list[dict[str, Any]]:
    """An item begins; the whole answer too, where it is the first."""
    created = [event("response.created", response=answer(status="in_progress"))] if index == 0 else []
    said = says(status="in_progress") if item is None else item
    return [*created, event("response.output_item.added", output_index=index, item=said)]


def talk(*deltas: str) -> list[dict[str, Any]]:
    """A stream of one message, with every copy of its text that OpenAI sends."""
    text, where = "".join(deltas), {"item_id": "msg_1", "output_index": 0, "content_index": 0}
    values = [
        *begins(),
        event("response.content_part.added", **where, part=part("")),
        *(delta(each) for each in deltas),
        event("response.output_text.done", **where, text=text, logprobs=[]),
        event("response.content_part.done", **where, part=part(text)),
        event("response.output_item.done", output_index=0, item=says(text)),
        event("response.completed", response=answer(says(text))),
    ]
    return [{**value, "sequence_number": number} for number, value in enumerate(values)]


def encoded_event(value: Any) -> bytes:
    data = value if isinstance(value, bytes) else json.dumps(value).encode()
    kind = value.get("type", "") if isinstance(value, dict) else ""
    return b"event: " + str(kind).encode() + b"\ndata: " + data + b"\n\n"


def stream(*values: Any) -> bytes:
    return b"".join(map(encoded_event, values))


Told = tuple[ChannelKind, str]


def told(frames: Iterable[Frame]) -> list[Told]:
    """Every text, in order."""
    return [(piece.channel.kind, piece.text) for frame in frames for piece in frame.pieces]


def uncopied(frames: Sequence[Frame]) -> str:
    """What is said, each thing once."""
    return "".join(piece.text for frame in frames for piece in frame.pieces if not piece.channel.copy)
