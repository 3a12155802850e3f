"""Several formats on one route (`protocol: auto`): which codec reads a request.

Rules:
- Codecs are asked in their order. The first that says YES by the headers reads the request; where none does, those that
  say MAYBE wait for the body, and the first that finds itself in it reads it.
- In doubt a codec takes a body: what is broken, or could be read as its own by somebody, is then malformed and denied,
  where one that nobody takes might be let through unread.

Not here: any format's own rules.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol, runtime_checkable

from ext_proc.codecs.codec import Codec, Match
from ext_proc.codecs.mcp import McpCodec
from ext_proc.framing.json_view import JsonError, colliding_key, parse
from ext_proc.limits import DEFAULTS
from ext_proc.messages import HeadersOnly, RequestHead

_MARK = "jsonrpc"


@runtime_checkable
class BodyMatching(Protocol):
    """What a codec also has that answers MAYBE."""

    def sniff(self, body: bytes) -> bool:
        """Whether a whole request body is of its format, or could be taken for it. Never raises."""
        ...


def candidates(codecs: Sequence[Codec], head: RequestHead) -> Sequence[Codec]:
    """The codecs that may read a request, by its headers: the one that does, or all that need the body; () if none."""
    found = [(codec, codec.matches(head)) for codec in codecs]
    for codec, match in found:
        if match is Match.YES:
            return (codec,)
    return tuple(codec for codec, match in found if match is Match.MAYBE)


def by_body(codecs: Sequence[Codec], head: RequestHead, body: bytes) -> Codec | None:
    """Which of the `candidates` reads a whole body; None if none does."""
    for codec in codecs:
        if codec.matches(head) is Match.YES or (isinstance(codec, BodyMatching) and codec.sniff(body)):
            return codec
    return None


class McpByBody(McpCodec):
    """MCP beside other formats: the headers of a POST do not tell it from them, its body does."""

    def matches(self, head: RequestHead) -> Match:
        """MAYBE for a POST of JSON; GET and DELETE as MCP has them."""
        found = super().matches(head)
        return Match.MAYBE if found is Match.YES and head.method == "POST" else found

    def header_message(self, head: RequestHead) -> HeadersOnly | None:
        """None: what headers say of a call of MCP's says nothing about a body that may be something else."""
        return None

    def sniff(self, body: bytes) -> bool:
        """Whether it is JSON-RPC (an object with `jsonrpc` in any case, or an array with one), or no JSON at all."""
        try:
            value = parse(body, DEFAULTS.json_depth)
        except JsonError:
            return True
        return any(map(_is_marked, value if isinstance(value, list) else [value]))


def _is_marked(value: object) -> bool:
    return isinstance(value, dict) and (_MARK in value or colliding_key(value, frozenset({_MARK})) is not None)
