"""The protocols that a route can name: each a family of codecs.

Rules:
- A new format is one entry in PROTOCOLS and one file in codecs/.
- A family's codecs are tried in their order; the first that matches a request reads it.

Not here: any format.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from ext_proc.codecs.auto import McpByBody
from ext_proc.codecs.codec import Codec
from ext_proc.codecs.mcp import McpCodec
from ext_proc.codecs.openai_chat import OpenAiChatCodec
from ext_proc.messages import Generation, McpMessage, McpTransport, Message, ModelListing


@dataclass(frozen=True, slots=True)
class Protocol:
    """A family of codecs.

    Attributes:
        codecs: makes them, in the order they are tried.
        requests: the classes of message that a request can hold (what an answer can hold the codecs say themselves).
    """

    codecs: Callable[[], tuple[Codec, ...]]
    requests: tuple[type[Message], ...]


PROTOCOLS = {
    "auto": Protocol(
        # OpenAI's is told by its path. MCP is not, so it comes last and looks into the body.
        codecs=lambda: (OpenAiChatCodec(), McpByBody()),
        requests=(Generation, ModelListing, McpMessage, McpTransport),
    ),
    "mcp": Protocol(codecs=lambda: (McpCodec(),), requests=(McpMessage, McpTransport)),
    "openai": Protocol(codecs=lambda: (OpenAiChatCodec(),), requests=(Generation, ModelListing)),
}
