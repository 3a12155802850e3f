"""The targets: each part that reads bytes from outside, with the laws that hold for any bytes at all.

Rules:
- A target takes bytes and returns nothing; a broken law is an exception.
- The same bytes give the same verdict.

Not here: the laws themselves (*_laws.py); where inputs come from (seeds.py, mutations.py, libFuzzer through one.py).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from tests.fuzz.codec_laws import (
    a2a_answer,
    a2a_request,
    anthropic_answer,
    anthropic_request,
    auto,
    completions_answer,
    completions_request,
    embeddings_answer,
    embeddings_request,
    gemini_answer,
    gemini_request,
    mcp_answer,
    mcp_request,
    openai_answer,
    openai_request,
    responses_answer,
    responses_request,
)
from tests.fuzz.event_laws import events
from tests.fuzz.exchange_laws import (
    a2a_exchange,
    anthropic_exchange,
    gemini_exchange,
    mcp_exchange,
    openai_exchange,
    responses_exchange,
)
from tests.fuzz.framing_laws import content_encoding, json_documents, sse
from tests.fuzz.scanning_laws import texts
from tests.fuzz.wire_laws import wire

Target = Callable[[bytes], None]

TARGETS: Mapping[str, Target] = {
    "sse": sse,
    "json": json_documents,
    "content_encoding": content_encoding,
    "texts": texts,
    "wire": wire,
    "mcp_request": mcp_request,
    "mcp_answer": mcp_answer,
    "a2a_request": a2a_request,
    "a2a_answer": a2a_answer,
    "openai_request": openai_request,
    "openai_answer": openai_answer,
    "responses_request": responses_request,
    "responses_answer": responses_answer,
    "completions_request": completions_request,
    "completions_answer": completions_answer,
    "embeddings_request": embeddings_request,
    "embeddings_answer": embeddings_answer,
    "anthropic_request": anthropic_request,
    "anthropic_answer": anthropic_answer,
    "gemini_request": gemini_request,
    "gemini_answer": gemini_answer,
    "auto": auto,
    "mcp_exchange": mcp_exchange,
    "a2a_exchange": a2a_exchange,
    "openai_exchange": openai_exchange,
    "responses_exchange": responses_exchange,
    "anthropic_exchange": anthropic_exchange,
    "gemini_exchange": gemini_exchange,
    "events": events,
}
