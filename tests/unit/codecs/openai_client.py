"""What OpenAI's own client makes of an answer: the measure of what our codec reads and writes."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import httpx2
import openai

from ext_proc.messages import Channel, ChannelKind, Usage


def client(status: int, content_type: str, body: bytes) -> openai.OpenAI:
    """The official client, whose server answers everything with this."""

    def answer(request: httpx2.Request) -> httpx2.Response:
        return httpx2.Response(status, headers={"content-type": content_type}, content=body)

    transport = httpx2.Client(transport=httpx2.MockTransport(answer))
    return openai.OpenAI(base_url="http://server.test/v1", api_key="none", http_client=transport, max_retries=0)


@dataclass
class Seen:
    """What the client showed of an answer."""

    texts: dict[Channel, str] = field(default_factory=dict)
    usage: Usage | None = None
    finished: dict[int, str] = field(default_factory=dict)
    error: openai.APIError | None = None

    def add(self, kind: ChannelKind, choice: int, index: int, text: str | None) -> None:
        if text:
            channel = Channel(kind, choice, index)
            self.texts[channel] = self.texts.get(channel, "") + text


def ask(status: int, content_type: str, body: bytes, *, stream: bool) -> Seen:
    """Asks the client, and reads its answer to the end."""
    seen = Seen()
    with client(status, content_type, body) as asked:
        try:
            answer: Any = asked.chat.completions.create(
                model="m", messages=[{"role": "user", "content": "hello"}], stream=stream
            )
            for part in answer if stream else [answer]:
                _look(part, "delta" if stream else "message", seen)
        except openai.APIError as error:
            seen.error = error
        except UnicodeDecodeError:
            pass  # the client itself fails where a stream ends inside a character
    return seen


def _look(part: Any, holder: str, seen: Seen) -> None:
    for choice in part.choices:
        held = getattr(choice, holder)
        _texts(held, choice.index, seen)
        seen.add(ChannelKind.CONTENT, choice.index, 1, (choice.model_extra or {}).get("text"))
        if choice.finish_reason:
            seen.finished[choice.index] = choice.finish_reason
    own = (part.model_extra or {}).get("x_groq") or {}
    usage = part.usage.model_dump() if part.usage else own.get("usage")
    if usage:
        seen.usage = _usage(usage)


def _texts(held: Any, choice: int, seen: Seen) -> None:
    extra = held.model_extra or {}
    seen.add(ChannelKind.CONTENT, choice, 0, held.content)
    seen.add(ChannelKind.REFUSAL, choice, 0, held.refusal)
    seen.add(ChannelKind.REASONING, choice, 0, extra.get("reasoning_content"))
    seen.add(ChannelKind.REASONING, choice, 1, extra.get("reasoning"))
    for detail in extra.get("reasoning_details") or ():
        seen.add(ChannelKind.REASONING, choice, 2, detail.get("text"))
    for position, call in enumerate(held.tool_calls or ()):
        index = getattr(call, "index", position)
        seen.add(ChannelKind.TOOL_ARGUMENTS, choice, index, call.function.arguments)


def _usage(usage: dict[str, Any]) -> Usage:
    prompt = usage.get("prompt_tokens_details") or {}
    completion = usage.get("completion_tokens_details") or {}
    return Usage(
        input_tokens=usage["prompt_tokens"],
        output_tokens=usage["completion_tokens"],
        cached_tokens=prompt.get("cached_tokens") or usage.get("num_cached_tokens") or 0,
        cache_write_tokens=prompt.get("cache_write_tokens") or 0,
        reasoning_tokens=completion.get("reasoning_tokens") or 0,
    )
