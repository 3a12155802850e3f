"""Requests and answers for the tests of OpenAI's older completions, and of its embeddings."""

from __future__ import annotations

from typing import Any

from ext_proc.codecs.openai_completions import OpenAiCompletionsCodec
from ext_proc.codecs.openai_embeddings import OpenAiEmbeddingsCodec
from tests.unit.codecs.llm_building import Format

COMPLETIONS = Format(
    OpenAiCompletionsCodec(), "/v1/completions", {"model": "m", "prompt": "hello"}, frozenset({"completions_legacy"})
)
EMBEDDINGS = Format(
    OpenAiEmbeddingsCodec(), "/v1/embeddings", {"model": "m", "input": "hello"}, frozenset({"embeddings"})
)


def whole(*texts: str, finish: str = "stop", **fields: Any) -> dict[str, Any]:
    """An answer with a choice for each text."""
    choices = [
        {"index": index, "text": text, "logprobs": None, "finish_reason": finish} for index, text in enumerate(texts)
    ]
    return {"id": "c1", "object": "text_completion", "created": 7, "model": "m", "choices": choices, **fields}


def says(text: str, *, index: int = 0, finish: str | None = None, **fields: Any) -> dict[str, Any]:
    """An event's value with one choice."""
    choices = [{"index": index, "text": text, "logprobs": None, "finish_reason": finish}]
    return {"id": "c1", "object": "text_completion", "created": 7, "model": "m", "choices": choices, **fields}


def vectors(*each: list[float] | str, **fields: Any) -> dict[str, Any]:
    """Vectors, as numbers or in base64."""
    data = [{"object": "embedding", "index": index, "embedding": vector} for index, vector in enumerate(each)]
    usage = {"prompt_tokens": 5, "total_tokens": 5}
    return {"object": "list", "data": data, "model": "m", "usage": usage, **fields}
