"""A model that is none: OpenAI's chat completions, whole and streamed, with answers that can be foretold.

    python -m ext_proc.demo.model_stub --port 18082 --name model-a

Rules:
- The shapes are those of OpenAI's API reference (chat completions, models), read by the official client.
- The answer names the stub and repeats the last message: a reader sees which model was asked and what reached it.
- A token is a word: usage can be counted by hand.
- Whoever offers functions has a call of each proposed, with one argument, a `path`.

Not here: any model.
"""

from __future__ import annotations

import argparse
import itertools
import json
from collections.abc import AsyncIterator, Sequence
from typing import Any

import anyio
import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route

# The instant all answers claim to be from: 2026-01-01, in seconds since 1970.
_CREATED = 1_767_225_600
_PAUSE = 0.01


def application(name: str) -> Starlette:
    """The stub as an ASGI application; `name` is the model it claims to be."""
    numbers = itertools.count(1)

    async def complete(request: Request) -> Response:
        try:
            asked = json.loads(await request.body())
            words = _answer(name, asked["messages"])
            calls = [_call(number, tool) for number, tool in enumerate(asked.get("tools") or ())]
        except (ValueError, KeyError, TypeError, IndexError, AttributeError):
            return _error("the body is no chat completion request")
        head = {"id": f"chatcmpl-{name}-{next(numbers)}", "created": _CREATED, "model": name}
        usage = _usage(asked["messages"], words)
        if asked.get("stream") is True:
            wants_usage = (asked.get("stream_options") or {}).get("include_usage") is True
            return StreamingResponse(
                _stream(head, words, calls, usage if wants_usage else None), media_type="text/event-stream"
            )
        message: dict[str, Any] = {"role": "assistant", "content": "".join(words), "refusal": None}
        if calls:
            message["tool_calls"] = calls
        choice = {"index": 0, "message": message, "finish_reason": _finish(calls), "logprobs": None}
        return JSONResponse(head | {"object": "chat.completion", "choices": [choice], "usage": usage})

    async def models(request: Request) -> Response:
        model = {"id": name, "object": "model", "created": _CREATED, "owned_by": "gatehouse-demo"}
        return JSONResponse({"object": "list", "data": [model]})

    return Starlette(
        routes=[
            Route("/v1/chat/completions", complete, methods=["POST"]),
            Route("/v1/models", models, methods=["GET"]),
        ]
    )


def _answer(name: str, messages: Sequence[dict[str, Any]]) -> list[str]:
    # Each word keeps the blank before it: joined, the pieces are the text.
    first, *others = f"This is {name}. You said: {_text(messages[-1])}".split(" ")
    return [first, *(f" {word}" for word in others)]


def _call(number: int, tool: dict[str, Any]) -> dict[str, Any]:
    called = {"name": tool["function"]["name"], "arguments": '{"path": "/srv/a"}'}
    return {"index": number, "id": f"call_{number}", "type": "function", "function": called}


def _finish(calls: Sequence[Any]) -> str:
    return "tool_calls" if calls else "stop"


def _text(message: dict[str, Any]) -> str:
    content = message.get("content") or ""
    if isinstance(content, str):
        return content
    return " ".join(part["text"] for part in content if part.get("type") == "text")


def _usage(messages: Sequence[dict[str, Any]], words: Sequence[str]) -> dict[str, int]:
    prompt = sum(len(_text(message).split()) for message in messages)
    return {"prompt_tokens": prompt, "completion_tokens": len(words), "total_tokens": prompt + len(words)}


async def _stream(
    head: dict[str, Any], words: Sequence[str], calls: Sequence[dict[str, Any]], usage: dict[str, int] | None
) -> AsyncIterator[bytes]:
    def event(delta: dict[str, Any], finish_reason: str | None = None) -> bytes:
        choice = {"index": 0, "delta": delta, "finish_reason": finish_reason, "logprobs": None}
        return _event(head | {"object": "chat.completion.chunk", "choices": [choice]})

    yield event({"role": "assistant", "content": ""})
    for word in words:
        await anyio.sleep(_PAUSE)
        yield event({"content": word})
    for call in calls:
        called = call["function"]
        yield event({"tool_calls": [{**call, "function": {**called, "arguments": ""}}]})
        more = {"index": call["index"], "function": {"arguments": called["arguments"]}}
        yield event({"tool_calls": [more]})
    yield event({}, _finish(calls))
    if usage is not None:
        yield _event(head | {"object": "chat.completion.chunk", "choices": [], "usage": usage})
    yield b"data: [DONE]\n\n"


def _event(chunk: dict[str, Any]) -> bytes:
    return b"data: " + json.dumps(chunk, separators=(",", ":")).encode() + b"\n\n"


def _error(message: str) -> Response:
    error = {"message": message, "type": "invalid_request_error", "param": None, "code": None}
    return JSONResponse({"error": error}, status_code=400)


def main() -> None:
    """Serves /v1 on the loopback until it is ended."""
    parser = argparse.ArgumentParser(description="The demo's model stub.")
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--name", default="model-a")
    arguments = parser.parse_args()
    uvicorn.run(application(arguments.name), host=arguments.host, port=arguments.port, log_level="warning")


if __name__ == "__main__":
    main()
