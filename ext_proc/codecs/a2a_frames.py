"""A2A: which messages the JSON values of a body are, and what they say of the exchange.

Rules:
- There are no batches: an array is malformed.
- On a stream an answer settles its request only where the client need not wait for more: an error, a message, an event
  with `final`, a task that rests (`A2aAnswer.is_last`). A stream that ends before is truncated.
- What was taken from a stream is not answered: its end tells the client of it, though the agent had said its last.
- An error status claims nothing about A2A: a body behind it need not be any. What a client could take for an answer is
  one all the same.

Not here: frames (jsonrpc_frames.py), the classes of messages (a2a_messages.py).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ext_proc.codecs import a2a_denials
from ext_proc.codecs.a2a_messages import card_from_agent, from_agent, from_client, longest_name
from ext_proc.codecs.codec import Frame
from ext_proc.codecs.jsonrpc_claims import begins_like_json, is_marked
from ext_proc.codecs.opaques import NO_JSON, malformed
from ext_proc.framing.json_view import JsonError
from ext_proc.limits import Limits
from ext_proc.messages import A2aAnswer, A2aRequest, AgentCard, CardFetch, Message, Opaque
from ext_proc.policy import Deny
from ext_proc.trail import Outcome


class ClientReader:
    """Reads what a client sends."""

    def __init__(self, limits: Limits) -> None:
        self._limits = limits

    def message(self, value: Any, raw: bytes) -> Message:
        return from_client(value, raw)

    def batch(self, values: Sequence[Any], raws: Sequence[bytes]) -> Sequence[Message]:
        raise AssertionError("`batch_fault` lets no batch through")

    def batch_fault(self, values: Sequence[Any], raw: bytes) -> Opaque | None:
        return malformed("batch-not-allowed", "A2A knows no batches", raw)

    def unreadable(self, error: JsonError, raw: bytes) -> Opaque:
        return malformed(error.reason, error.detail, raw)

    def well_named(self, message: Message) -> Message:
        """See `jsonrpc_frames.Reader`."""
        if longest_name(message) <= self._limits.name:
            return message
        request = message.id if isinstance(message, A2aRequest) else None
        detail = f"a name has at most {self._limits.name} characters"
        return malformed("name-too-long", detail, message.raw, id=request)

    def refusal(self, message: Message, deny: Deny, trail_id: str) -> Message | None:
        """What tells the client of one message that it does not get, on a stream too."""
        return a2a_denials.instead(message, deny, trail_id)


class AgentReader(ClientReader):
    """Reads what an agent answers.

    Args:
        asked: what it answers; None where that is not known.
        failed: whether the HTTP status is no success: then a body need not be A2A at all.
    """

    def __init__(self, asked: Message | None, *, failed: bool, limits: Limits) -> None:
        super().__init__(limits)
        self._asked = asked
        self._failed = failed

    def message(self, value: Any, raw: bytes) -> Message:
        if isinstance(self._asked, CardFetch):
            return _not_a2a(raw) if self._failed else card_from_agent(value, raw)
        if self._failed and not is_marked(value):
            return _not_a2a(raw)
        return from_agent(value, raw, self._asked if isinstance(self._asked, A2aRequest) else None)

    def unreadable(self, error: JsonError, raw: bytes) -> Opaque:
        if self._failed and error.reason in NO_JSON and not begins_like_json(raw):
            return _not_a2a(raw)
        return super().unreadable(error, raw)

    def batch_fault(self, values: Sequence[Any], raw: bytes) -> Opaque | None:
        return _not_a2a(raw) if self._failed and not any(map(is_marked, values)) else super().batch_fault(values, raw)


class Tally:
    """What the messages so far say of how the exchange ended.

    Args:
        asked: what waits for an answer.
        status: of the HTTP response; None on the request's side.
        streamed: whether answers come one by one.
    """

    def __init__(self, asked: Message | None = None, status: int | None = None, *, streamed: bool = False) -> None:
        self._asked = asked
        self._waits = asked is not None
        self._streamed = streamed
        self._elsewhere = status is not None and not 200 <= status < 300
        self.outcome = Outcome.PROTOCOL_ERROR if status is not None and status >= 400 else Outcome.OK

    @property
    def unanswered(self) -> Sequence[Message]:
        """The request, while more is to come."""
        return (self._asked,) if self._waits and self._asked is not None else ()

    def bereft(self, dropped: Sequence[Frame]) -> Sequence[Message]:
        """See `jsonrpc_frames.Tally`."""
        lost = any(isinstance(message, A2aAnswer) for frame in dropped for message in frame.messages)
        return (self._asked,) if lost and self._asked is not None else self.unanswered

    def see(self, messages: Sequence[Message]) -> None:
        """Counts the messages of a frame."""
        for message in messages:
            if isinstance(message, A2aAnswer):
                self.outcome = self.outcome.worse(message.outcome)
                # A task may go on after it rested: its caller has told it more, on another connection.
                self._waits = self._asked is not None and self._streamed and not message.is_last
            elif isinstance(message, AgentCard):
                self._waits = False
            elif isinstance(message, Opaque) and (message.malformed or message.too_large):
                self.outcome = self.outcome.worse(message.outcome)

    def end(self, missing: Outcome) -> None:
        """The body is over; `missing` is what an answer that never came means (another status than 2xx answers all)."""
        if self._waits and not self._elsewhere:
            self.outcome = self.outcome.worse(missing)


def _not_a2a(raw: bytes) -> Opaque:
    return Opaque("not-a2a", "the agent's own error is no A2A message", raw=raw)
