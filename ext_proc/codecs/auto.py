"""Several formats on one route (`protocol: auto`): which codec reads a request.

Rules:
- Codecs are asked in their order. The first that says YES by the headers reads the request, unless others say MAYBE:
  they wait for the body, and the first that finds itself in it reads it. A path is a caller's choice, and many servers
  take whatever stands behind their own: JSON-RPC is JSON-RPC's on the paths of models, too. So is a GET that asks for a
  stream of events, or names a session. What a provider keeps is its own by its path, unless a session is named.
- In doubt a codec takes a body: what is broken, or could be read as its own by somebody, is then malformed and denied,
  where one that nobody takes might be let through unread.

Not here: any format's own rules.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol, runtime_checkable

from ext_proc.codecs.a2a import A2aCodec
from ext_proc.codecs.a2a_names import is_a2a_call
from ext_proc.codecs.codec import Codec, Match
from ext_proc.codecs.jsonrpc_claims import is_marked
from ext_proc.codecs.mcp import McpCodec
from ext_proc.codecs.openai_stored import OpenAiStoredCodec
from ext_proc.framing.json_view import JsonError, parse
from ext_proc.limits import DEFAULTS
from ext_proc.messages import HeadersOnly, RequestHead

SESSION = "mcp-session-id"


@runtime_checkable
class BodyMatching(Protocol):
    """What a codec also has that answers MAYBE."""

    def sniff(self, head: RequestHead, values: Sequence[Any] | None) -> bool:
        """Whether a whole request body is of its format, or could be taken for it. Never raises.

        Args:
            values: the elements of the array that it is, or the one other value; None where it is no JSON.
        """
        ...


def candidates(codecs: Sequence[Codec], head: RequestHead) -> Sequence[Codec]:
    """The codecs that may read a request, by its headers; () if none. Of several the body tells, and only the first may
    be sure of it."""
    found = [(codec, codec.matches(head)) for codec in codecs]
    sure = [codec for codec, match in found if match is Match.YES]
    if len(sure) > 1:
        kept = OpenAiStoredCodec if SESSION not in head.headers else McpByBody
        sure = [next((codec for kind in (kept, McpByBody) for codec in sure if isinstance(codec, kind)), sure[0])]
    return (*sure, *(codec for codec, match in found if match is Match.MAYBE))


def by_body(codecs: Sequence[Codec], head: RequestHead, body: bytes) -> Codec | None:
    """Which of the `candidates` reads a whole body; None if none does."""
    sure = codecs[0] if codecs[0].matches(head) is Match.YES else None
    if sure is not None and len(codecs) == 1:
        return sure
    try:
        value = parse(body, DEFAULTS.json_depth)
    except JsonError:
        if sure is not None:
            return sure  # where it is malformed in the words of its path
        values = None
    else:
        values = value if isinstance(value, list) else [value]
    return next((codec for codec in codecs if isinstance(codec, BodyMatching) and codec.sniff(head, values)), sure)


class A2aByBody(A2aCodec):
    """A2A beside other formats: its body tells it from them, and it is to be asked before MCP, which takes the rest."""

    def matches(self, head: RequestHead) -> Match:
        """MAYBE for a POST of JSON; YES for a card."""
        found = super().matches(head)
        return Match.MAYBE if found is Match.YES and head.method == "POST" else found

    def sniff(self, head: RequestHead, values: Sequence[Any] | None) -> bool:
        """Whether any of it is a call of A2A's (a2a_names.py); what is broken is MCP's."""
        return any(is_a2a_call(head, value) for value in values or ())


class McpByBody(McpCodec):
    """MCP beside other formats: the headers of a POST do not tell it from them, its body does."""

    def matches(self, head: RequestHead) -> Match:
        """MAYBE for a POST of JSON; GET and DELETE as MCP has them, and a GET that names a session."""
        found = super().matches(head)
        if head.method == "GET" and SESSION in head.headers:
            return Match.YES
        return Match.MAYBE if found is Match.YES and head.method == "POST" else found

    def header_message(self, head: RequestHead) -> HeadersOnly | None:
        """None: what headers say of a call of MCP's says nothing about a body that may be something else."""
        return None

    def sniff(self, head: RequestHead, values: Sequence[Any] | None) -> bool:
        """Whether it is JSON-RPC (an object with `jsonrpc` in any case, or an array with one), or no JSON at all."""
        return values is None or any(map(is_marked, values))
