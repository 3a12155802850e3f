"""What stands in the place of bytes that are no message, the same for every protocol.

Rules:
- Its words tell the caller why, without a byte of the payload.

Not here: what makes a value no message of one protocol (its own file); what an error page is taken for.
"""

from __future__ import annotations

from ext_proc.messages import Opaque

# The reasons of `JsonError` that any error page gives: behind an error status it claims nothing about a protocol.
NO_JSON = frozenset({"json-empty", "json-malformed", "json-not-utf8"})


def malformed(reason: str, detail: str, raw: bytes, *, id: str | int | None = None) -> Opaque:
    """What claims to be of the protocol and is not; `id` as in `Opaque`."""
    return Opaque(reason, detail, raw=raw, malformed=True, id=id)


def unterminated(data: bytes) -> Opaque:
    """An event that the stream's end cut off: some clients read it, so it must not pass undecided."""
    return malformed("sse-unterminated", "the stream ended inside an event", data)


def too_large(raw: bytes) -> Opaque:
    """A span of what is past its limit."""
    return Opaque("too-large", "this is larger than the gateway reads", raw=raw, too_large=True)
