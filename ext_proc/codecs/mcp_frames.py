"""MCP: which messages the JSON values of a body are, alone and in batches, and what they say of the exchange.

Rules:
- A request of a batch that shares its id with another is malformed, as both are.
- An error status claims nothing about MCP: a body behind it need not be any. What a client could take for a message is
  one all the same: clients read the error out of it.

Not here: frames (jsonrpc_frames.py), the classes of messages (mcp_messages.py).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ext_proc.codecs import mcp_denials
from ext_proc.codecs.codec import Frame
from ext_proc.codecs.jsonrpc_claims import begins_like_json, is_marked
from ext_proc.codecs.mcp_messages import Asked, from_client, from_server, longest_name
from ext_proc.codecs.opaques import NO_JSON, malformed
from ext_proc.framing.json_view import JsonError
from ext_proc.limits import Limits
from ext_proc.messages import McpAnswer, McpRequest, Message, Opaque
from ext_proc.policy import Deny
from ext_proc.trail import Outcome


class _Reader:
    """What both directions have in common."""

    def __init__(self, limits: Limits) -> None:
        self._limits = limits

    def well_named(self, message: Message) -> Message:
        """See `jsonrpc_frames.Reader`."""
        if longest_name(message) <= self._limits.name:
            return message
        request = message.id if isinstance(message, McpRequest) else None
        detail = f"a name has at most {self._limits.name} characters"
        return malformed("name-too-long", detail, message.raw, id=request)

    def refusal(self, message: Message, deny: Deny, trail_id: str) -> Message | None:
        """See `codec.Codec.refusal`."""
        return mcp_denials.refusal(message, deny, trail_id)


class ClientReader(_Reader):
    """Reads what a client sends.

    Args:
        arrays: whether the revision knows batches.
    """

    def __init__(self, *, arrays: bool, limits: Limits) -> None:
        super().__init__(limits)
        self._arrays = arrays

    def message(self, value: Any, raw: bytes) -> Message:
        return from_client(value, raw)

    def batch(self, values: Sequence[Any], raws: Sequence[bytes]) -> Sequence[Message]:
        """The elements; requests that share an id are malformed, all of them, for no answer could tell them apart."""
        messages = [from_client(value, raw) for value, raw in zip(values, raws, strict=True)]
        seen: set[str | int] = set()
        repeated: set[str | int] = set()
        for message in messages:
            if isinstance(message, McpRequest):
                (repeated if message.id in seen else seen).add(message.id)
        return [
            malformed("jsonrpc-invalid", "two requests of a batch share an id", message.raw, id=message.id)
            if isinstance(message, McpRequest) and message.id in repeated
            else message
            for message in messages
        ]

    def batch_fault(self, values: Sequence[Any], raw: bytes) -> Opaque | None:
        if not self._arrays:
            return malformed("batch-not-allowed", "this revision of MCP knows no batches", raw)
        if any(isinstance(value, dict) and value.get("method") == "initialize" for value in values):
            return malformed("batch-not-allowed", "initialize must not be part of a batch", raw)
        return _size_fault(values, raw, self._limits)

    def unreadable(self, error: JsonError, raw: bytes) -> Opaque:
        return malformed(error.reason, error.detail, raw)


class ServerReader(_Reader):
    """Reads what a server sends.

    Args:
        failed: whether the HTTP status is no success: then a body need not be MCP at all.
    """

    def __init__(self, asked: Asked, *, failed: bool, limits: Limits) -> None:
        super().__init__(limits)
        self._asked = asked
        self._failed = failed

    def message(self, value: Any, raw: bytes) -> Message:
        if self._failed and not is_marked(value):
            return _not_mcp(raw)
        return from_server(value, raw, self._asked)

    def batch(self, values: Sequence[Any], raws: Sequence[bytes]) -> Sequence[Message]:
        return [self.message(value, raw) for value, raw in zip(values, raws, strict=True)]

    def batch_fault(self, values: Sequence[Any], raw: bytes) -> Opaque | None:
        return _size_fault(values, raw, self._limits)

    def unreadable(self, error: JsonError, raw: bytes) -> Opaque:
        if self._failed and error.reason in NO_JSON and not begins_like_json(raw):
            return _not_mcp(raw)
        return malformed(error.reason, error.detail, raw)


class Tally:
    """What the messages so far say of how the exchange ended.

    Args:
        asked: the requests that wait for answers.
        status: of the HTTP response; None on the request's side.
    """

    def __init__(self, asked: Asked, status: int | None = None) -> None:
        self._asked = asked
        self._failed = status is not None and not 200 <= status < 300
        self.outcome = Outcome.PROTOCOL_ERROR if self._failed else Outcome.OK

    @property
    def unanswered(self) -> Sequence[Message]:
        """The requests whose answers have not come."""
        return self._asked.waiting

    def bereft(self, dropped: Sequence[Frame]) -> Sequence[Message]:
        """See `jsonrpc_frames.Tally`: every denied answer of MCP's has its error in its own place."""
        return self.unanswered

    def see(self, messages: Sequence[Message]) -> None:
        """Counts the messages of a frame."""
        for message in messages:
            if isinstance(message, McpAnswer):
                self.outcome = self.outcome.worse(message.outcome)
                self._asked.settle(message)
            elif isinstance(message, Opaque) and (message.malformed or message.too_large):
                self.outcome = self.outcome.worse(message.outcome)

    def end(self, missing: Outcome) -> None:
        """The body is over; `missing` is what an answer that never came means (an error status answers all)."""
        if self._asked.waiting and not self._failed:
            self.outcome = self.outcome.worse(missing)


def _size_fault(values: Sequence[Any], raw: bytes, limits: Limits) -> Opaque | None:
    if not values:
        return malformed("jsonrpc-invalid", "a batch must not be empty", raw)
    if len(values) > limits.batch:
        return Opaque("batch-too-large", f"a batch holds at most {limits.batch} messages", raw=raw, too_large=True)
    return None


def _not_mcp(raw: bytes) -> Opaque:
    return Opaque("not-mcp", "the server's own error is no MCP message", raw=raw)
