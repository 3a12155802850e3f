"""Policies that change nothing a client could see, each in another way: what stands in the path while the suite runs.

Rules:
- No verdict of theirs says no, and what they write says what was there.

Not here: the rules that do decide (bundles.py).
"""

from __future__ import annotations

from ext_proc.messages import McpAnswer, McpMessage, Message
from ext_proc.policy import Context, Mutation, NoParameters, Policy, Verdict


class Reads(Policy[NoParameters, None]):
    """Looks at every message in both directions: answers are read as they pass."""

    def on_request(self, message: Message, ctx: Context[None]) -> None:
        return None

    def on_response(self, message: Message, ctx: Context[None]) -> None:
        return None

    def on_complete(self, ctx: Context[None]) -> None:
        return None


class Holds(Policy[NoParameters, None]):
    """Has a say in everything and says nothing: every message is held until it was asked, and leaves as it came."""

    def on_request_headers(self, ctx: Context[None]) -> Verdict:
        return None

    def on_request(self, message: Message, ctx: Context[None]) -> Verdict:
        return None

    def on_response_headers(self, ctx: Context[None]) -> Verdict:
        return None

    def on_response(self, message: Message, ctx: Context[None]) -> Verdict:
        return None


class Rewrites(Policy[NoParameters, None]):
    """Writes every JSON-RPC message anew with the same content: no byte of a body is the sender's own."""

    def on_request(self, message: McpMessage, ctx: Context[None]) -> Verdict:
        return Mutation(message=_anew(message))

    def on_response(self, message: McpMessage, ctx: Context[None]) -> Verdict:
        return Mutation(message=_anew(message))


def _anew(message: McpMessage) -> McpMessage:
    if isinstance(message, McpAnswer):
        return type(message)(message.value, request=message.request)
    return type(message)(message.value)
