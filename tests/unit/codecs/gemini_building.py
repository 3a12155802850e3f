"""Values of Gemini's format for the tests of its codec."""

from __future__ import annotations

from typing import Any

from ext_proc.codecs.gemini import GeminiCodec
from tests.unit.codecs.llm_building import Format
from tests.unit.codecs.openai_building import encoded

BELOW = "/v1beta/models/m:"
WHOLE = BELOW + "generateContent"
STREAMED = BELOW + "streamGenerateContent"
COUNT = BELOW + "countTokens"
EMBED = BELOW + "embedContent"
BATCH = BELOW + "batchEmbedContents"


def content(*parts: Any, role: str = "user") -> dict[str, Any]:
    return {"role": role, "parts": list(parts)}


def asking(**fields: Any) -> dict[str, Any]:
    return {"contents": [content({"text": "hello"})], **fields}


APIS = frozenset({"generateContent", "streamGenerateContent", "google_batchEmbedContents"})
GEMINI = Format(GeminiCodec(), WHOLE, asking(), APIS)


def candidate(*parts: Any, finish: str | None = None, **fields: Any) -> dict[str, Any]:
    ended = {} if finish is None else {"finishReason": finish}
    return {"content": content(*parts, role="model"), **ended, **fields}


def answer(*candidates: Any, **fields: Any) -> dict[str, Any]:
    return {"candidates": list(candidates), "modelVersion": "m-001", "responseId": "r1", **fields}


def says(text: str, finish: str | None = None, **fields: Any) -> dict[str, Any]:
    """A piece of a stream with one part of text."""
    return answer(candidate({"text": text}, finish=finish, **fields))


def stream(*values: Any) -> bytes:
    """The events of these values, with the line ends that Google writes."""
    return b"".join(b"data: " + encoded(value) + b"\r\n\r\n" for value in values)


def array(*values: Any) -> bytes:
    """A streamed answer without `alt=sse`."""
    return b"[" + b"\n,\r\n".join(map(encoded, values)) + b"\n]"
