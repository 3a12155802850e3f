"""What Anthropic's own client makes of an answer: the measure of what our codec reads and writes."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import Any

import anthropic
import httpx2

ASKED: Any = {"model": "m", "max_tokens": 5000, "messages": [{"role": "user", "content": "hello"}]}


def client(status: int, content_type: str, body: bytes) -> anthropic.Anthropic:
    """The official client, whose server answers everything with this."""

    def answer(request: httpx2.Request) -> httpx2.Response:
        return httpx2.Response(status, headers={"content-type": content_type}, content=body)

    transport = httpx2.Client(transport=httpx2.MockTransport(answer))
    return anthropic.Anthropic(base_url="http://server.test", api_key="none", http_client=transport, max_retries=0)


@dataclass
class Seen:
    """What the client showed of an answer.

    Attributes:
        message: the whole one, or the one that it put together.
        events: what came one by one.
    """

    message: Any = None
    events: list[Any] = field(default_factory=list)
    error: anthropic.APIError | None = None


def ask(status: int, content_type: str, body: bytes, *, stream: bool, beta: bool = False) -> Seen:
    """Asks the client, and reads its answer to the end; a stream twice, raw and put together."""
    seen = Seen()
    with client(status, content_type, body) as asked:
        messages: Any = asked.beta.messages if beta else asked.messages
        try:
            if not stream:
                seen.message = messages.create(**ASKED)
                return seen
            seen.events = list(messages.create(**ASKED, stream=True))
            with messages.stream(**ASKED) as running:
                seen.message = running.get_final_message()
        except anthropic.APIError as error:
            seen.error = error
    return seen


def texts_of(message: Any) -> dict[tuple[int, str], str]:
    """The texts of the blocks that the model wrote, by position and kind; a tool's input as sorted JSON."""
    found: dict[tuple[int, str], str] = {}
    for position, block in enumerate(message.content):
        for name in ("text", "thinking"):
            if getattr(block, name, None):
                found[position, name] = getattr(block, name)
        if getattr(block, "input", None):
            found[position, "input"] = json.dumps(block.input, sort_keys=True)
    return found
