"""The protocols that a route can name: each a family of codecs.

Rules:
- A new format is one entry in PROTOCOLS and one file in codecs/.
- A family's codecs are tried in their order; the first that matches a request reads it.

Not here: any format.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from ext_proc.codecs.codec import Codec
from ext_proc.codecs.mcp import McpCodec
from ext_proc.messages import McpMessage, McpTransport, Message


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
    "mcp": Protocol(codecs=lambda: (McpCodec(),), requests=(McpMessage, McpTransport)),
}
