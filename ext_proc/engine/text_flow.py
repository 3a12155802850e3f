"""The text of one answer on its way through the policies: frames in, bytes that may leave out.

Rules:
- Policies are asked once per frame and channel; what they say goes into the channels, which say what may leave.
- A fault in what a policy says of text, or too much held back, is its `on_error`: deny, or wait for it no more.
- Once denied, nothing of the upstream's leaves: what waits is dropped.

Not here: watermarks and edits (channels.py), the end that a denial makes of the answer (response_body.py).
"""

from __future__ import annotations

from collections.abc import Generator, Sequence

from ext_proc.codecs.codec import Decoder, Frame
from ext_proc.engine.channels import Changes, Channels
from ext_proc.engine.checkpoint import Checkpoint, Decision
from ext_proc.engine.scope import Scope
from ext_proc.errors import PolicyError
from ext_proc.messages import Channel, Message
from ext_proc.policy import TextDeny
from ext_proc.trail import Stage

Bytes = Generator[Checkpoint, Decision, bytes]

_CLOSED = TextDeny("text-after-end", "the upstream's answer went on after its end")
_HELD = "held-too-much"


class TextFlow:
    """One answer's text.

    Attributes:
        dropped: the frames that waited when it was ended, and never left.
        denial: what ended it; None while it goes on.
        denied_on: the channel that it was denied on; None for a fault of the upstream's.
    """

    def __init__(self, scope: Scope, decoder: Decoder) -> None:
        assert scope.route is not None
        self._scope = scope
        self._pipeline = scope.route.pipeline
        self._decoder = decoder
        self._channels = Channels(self._pipeline.listeners, self._pipeline.editors, scope.rulebook.limits.hold_back)
        self.dropped: list[Frame] = []
        self.denial: TextDeny | None = None
        self.denied_on: Channel | None = None

    def take(self, frame: Frame, changes: Changes, joins: Sequence[Message]) -> Bytes:
        """Takes a frame; the bytes that may leave now."""
        touched = self._channels.admit(frame, changes)
        if touched is None:
            self.dropped = [frame]
            self._scope.engine_denial(Stage.TEXT, _CLOSED.reason)
            self._deny(_CLOSED, None)
            return b""
        yield from self._ask(touched)
        return self._released(joins)

    def close(self) -> Bytes:
        """The end of the answer; all that may still leave."""
        yield from self._ask(self._channels.close())
        tails = (self._decoder.text_event(channel, text) for channel, text in self._channels.tails())
        return self._released(()) + b"".join(tails)

    def _ask(self, touched: Sequence[Channel]) -> Generator[Checkpoint, Decision, None]:
        for channel in touched:
            checkpoint = self._checkpoint(channel)
            decision = yield checkpoint
            if decision.text_denial is not None:
                self._deny(decision.text_denial, channel)
                return
            for policy, text in decision.texts.items():
                try:
                    self._channels.take(channel, policy, text)
                except PolicyError as error:
                    if self._fault(policy, str(error), checkpoint):
                        return
        while (slowest := self._channels.overdue()) is not None:
            if self._fault(slowest, _HELD, self._checkpoint(None)):
                return

    def _checkpoint(self, channel: Channel | None) -> Checkpoint:
        windows = {} if channel is None else self._channels.windows(channel)
        scope = self._scope
        return Checkpoint(Stage.TEXT, scope.exchanged, scope.contexts, scope.budget, windows=windows)

    def _fault(self, policy: int, reason: str, checkpoint: Checkpoint) -> bool:
        """Records it; whether the answer ends."""
        if self._pipeline.fault(policy, reason, checkpoint) and policy in self._pipeline.editors:
            self._deny(TextDeny("policy-failed", "this could not be decided"), None)
            return True
        self._channels.give_up_on(policy)
        return False

    def drop(self) -> None:
        """What waits never leaves."""
        self.dropped = [*self._channels.drop(), *self.dropped]

    def _deny(self, denial: TextDeny, channel: Channel | None) -> None:
        self.drop()
        self.denial, self.denied_on = denial, channel

    def _released(self, joins: Sequence[Message]) -> bytes:
        parts: list[bytes] = []
        for released in self._channels.release():
            parts += (self._decoder.text_event(channel, text) for channel, text in released.before)
            frame, changed = released.frame, bool(released.changes or released.texts or joins)
            parts.append(frame.encode(released.changes, joins, released.texts) if changed else frame.raw)
            joins = ()
        return b"".join(parts)
