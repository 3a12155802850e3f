"""The text of one streamed answer on its way through the policies: frames in, bytes that may leave out.

Rules:
- Policies are asked once per frame and text; what they say goes into the channels, which say what may leave.
- Too much held back is the `on_error` of the policy that holds longest: deny, or wait for it no more.
- Once denied, nothing of the upstream's leaves: what waits is dropped.

Not here: watermarks and edits (channels.py), the end that a denial makes of the answer (response_body.py), messages
whose texts are there at once (whole_texts.py).
"""

from __future__ import annotations

from collections.abc import Generator, Iterator, Sequence

from ext_proc.codecs.codec import Decoder, Frame
from ext_proc.engine.channels import Changes, Channels
from ext_proc.engine.checkpoint import Checkpoint, Decision
from ext_proc.engine.questions import Questions
from ext_proc.engine.scope import Scope
from ext_proc.engine.track import Shown
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
        denied_on: the channel that it was denied on, if a closing text may stand there.
    """

    def __init__(self, scope: Scope, decoder: Decoder) -> None:
        self._scope = scope
        self._decoder = decoder
        self._questions = Questions(scope, Stage.RESPONSE_TEXT)
        self._channels = Channels(self._questions.listeners, self._questions.counting, scope.rulebook.limits)
        self.dropped: list[Frame] = []
        self.denial: TextDeny | None = None
        self.denied_on: Channel | None = None

    def take(self, frame: Frame, changes: Changes, joins: Sequence[Message]) -> Bytes:
        """Takes a frame; the bytes that may leave now."""
        touched = self._channels.admit(frame, changes)
        if touched is None:
            self.dropped = [frame]
            self._scope.engine_denial(Stage.RESPONSE_TEXT, _CLOSED.reason)
            self._deny(_CLOSED)
            return b""
        yield from self._ask(touched)
        return self._released(joins)

    def close(self) -> Bytes:
        """The end of the answer; all that may still leave."""
        yield from self._ask(self._channels.close())
        tails = (self._decoder.text_event(channel, text) for channel, text in self._channels.tails())
        return self._released(()) + b"".join(tails)

    def drop(self) -> None:
        """What waits never leaves."""
        self.dropped = [*self._channels.drop(), *self.dropped]

    def _ask(self, asked: Iterator[Shown]) -> Generator[Checkpoint, Decision, None]:
        denial = yield from self._questions.ask(asked)
        if denial is not None:
            self._deny(denial, self._questions.denied_on)
            return
        for unasked in asked:
            unasked.view.skip(*unasked.view.marks)
        while (slowest := self._channels.overdue()) is not None:
            denial = self._questions.fault(slowest, _HELD)
            if denial is not None:
                self._deny(denial)
                return
            self._questions.counting.discard(slowest)

    def _deny(self, denial: TextDeny, on: Shown | None = None) -> None:
        self.drop()
        self.denial = denial
        # Into JSON source that is cut off nothing can be put that a reader would take for text.
        self.denied_on = on.track.channel if on is not None and not on.track.is_json else None

    def _released(self, joins: Sequence[Message]) -> bytes:
        parts: list[bytes] = []
        for released in self._channels.release():
            parts += (self._decoder.text_event(channel, text) for channel, text in released.before)
            # Unchanged frames too: what left before one may change what vouches for it there.
            parts.append(released.frame.encode(released.changes, joins, released.texts))
            joins = ()
        return b"".join(parts)
