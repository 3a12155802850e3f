"""The protocols that a route can name: each a family of codecs.

Rules:
- A new format is one entry in PROTOCOLS and one file in codecs/.
- A family's codecs are tried in their order; the first that matches a request reads it.

Not here: any format.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from ext_proc.codecs.a2a import A2aCodec
from ext_proc.codecs.anthropic import AnthropicCodec
from ext_proc.codecs.auto import A2aByBody, McpByBody
from ext_proc.codecs.codec import Codec
from ext_proc.codecs.gemini import GeminiCodec
from ext_proc.codecs.mcp import McpCodec
from ext_proc.codecs.openai_chat import OpenAiChatCodec
from ext_proc.codecs.openai_completions import OpenAiCompletionsCodec
from ext_proc.codecs.openai_conversations import OpenAiConversationsCodec
from ext_proc.codecs.openai_embeddings import OpenAiEmbeddingsCodec
from ext_proc.codecs.openai_responses import OpenAiResponsesCodec
from ext_proc.codecs.openai_stored import OpenAiStoredCodec
from ext_proc.messages import (
    A2aMessage,
    CardFetch,
    ConversationStart,
    Embedding,
    Generation,
    McpMessage,
    McpTransport,
    Message,
    ModelListing,
    StoredRequest,
    TokenCount,
)


@dataclass(frozen=True, slots=True)
class Protocol:
    """A family of codecs.

    Attributes:
        codecs: makes them, in the order they are tried.
        requests: the classes of message that a request can hold (what an answer can hold the codecs say themselves).
    """

    codecs: Callable[[], tuple[Codec, ...]]
    requests: tuple[type[Message], ...]


def _openai() -> tuple[Codec, ...]:
    return (
        OpenAiChatCodec(),
        OpenAiResponsesCodec(),
        OpenAiStoredCodec(),
        OpenAiConversationsCodec(),
        OpenAiCompletionsCodec(),
        OpenAiEmbeddingsCodec(),
    )


PROTOCOLS = {
    "a2a": Protocol(codecs=lambda: (A2aCodec(),), requests=(A2aMessage, CardFetch)),
    "anthropic": Protocol(codecs=lambda: (AnthropicCodec(),), requests=(Generation, TokenCount, ModelListing)),
    "auto": Protocol(
        # Models' formats are told by their paths. A2A and MCP are not, and look into the body; MCP takes what is left.
        codecs=lambda: (
            *_openai(),
            AnthropicCodec(),
            GeminiCodec(),
            A2aByBody(),
            McpByBody(),
        ),
        requests=(
            *(Generation, TokenCount, Embedding, ConversationStart, StoredRequest, ModelListing),
            *(A2aMessage, CardFetch, McpMessage, McpTransport),
        ),
    ),
    "gemini": Protocol(codecs=lambda: (GeminiCodec(),), requests=(Generation, TokenCount, Embedding)),
    "mcp": Protocol(codecs=lambda: (McpCodec(),), requests=(McpMessage, McpTransport)),
    "openai": Protocol(
        codecs=_openai, requests=(Generation, Embedding, ConversationStart, StoredRequest, ModelListing)
    ),
}
