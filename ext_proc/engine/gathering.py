"""Calls that a model proposes, gathered: a streamed answer waits at a call's name until its arguments are whole.

Rules:
- It waits only where a policy of the route asks for whole calls (`Policy.wants_whole_calls`).
- From a call's name on nothing leaves until the choice that its arguments are a text of has ended. Then every frame is
  decided in its turn, and the call is known whole where it begins, and there alone: what tells it again says by itself
  what that is.
- Its arguments are what its pieces say; where none came, what stands where it begins, or where it is told again.
- What cannot be put together stays without arguments, and no condition over them allows it: what is cut off, no object,
  begun twice, told in pieces before its name or beside what it began with, or past `limits.call`.

Not here: where a format has names and pieces (codecs/), who decides (the policies).
"""

from __future__ import annotations

from collections import deque
from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import NamedTuple

from ext_proc.codecs.codec import NO_TEXTS, Decoder, Frame
from ext_proc.codecs.llm_calls import arguments_in
from ext_proc.messages import Channel, ChannelKind, CompletionChunk, LlmError, Message, Piece, ProposedCall
from ext_proc.messages.proposals import MAX_CALLS, Arguments, CallKey
from ext_proc.policy import Deny
from ext_proc.trail import Outcome

_KINDS = (ChannelKind.TOOL_ARGUMENTS, ChannelKind.TOOL_INPUT)
_PER_FRAME = 128  # bytes that a frame counts for beside its own: it takes memory, however short


class _Call:
    """A call whose arguments are to come.

    Attributes:
        pieces: the channel of its pieces.
        whole: what it is where no piece comes.
        lost: whether it is too late to say what it is.
    """

    __slots__ = ("_begun", "_texts", "lost", "pieces", "whole")

    def __init__(self, call: ProposedCall, pieces: Channel, *, lost: bool) -> None:
        self.pieces = pieces
        self.whole = self._begun = call.begun
        self.lost = lost
        self._texts: list[str] = []

    def add(self, text: str) -> None:
        self._texts.append(text)

    def arguments(self) -> Arguments | None:
        """What they are together; None where that cannot be said."""
        if self.lost:
            return None
        if not self._texts:
            return self.whole
        text = "".join(self._texts)
        together = {"input": text} if self.pieces.kind is ChannelKind.TOOL_INPUT else arguments_in(text)
        return together if self._begun in ({}, together) else None


class _Waiting(NamedTuple):
    """A frame that was read and not handed on, with the calls that begin in it."""

    frame: Frame
    calls: Mapping[CallKey, _Call]


class _KnowingFrame:
    """A frame in which a call begins, with the arguments that came behind it."""

    batch = False

    def __init__(self, frame: Frame, message: Message) -> None:
        self.frame = frame
        self.messages: Sequence[Message] = (message,)

    @property
    def raw(self) -> bytes:
        return self.frame.raw

    @property
    def pieces(self) -> Sequence[Piece]:
        return self.frame.pieces

    @property
    def closes(self) -> Sequence[int]:
        return self.frame.closes

    def encode(
        self,
        changes: Mapping[int, Message | None],
        joined: Sequence[Message] = (),
        texts: Mapping[int, str] = NO_TEXTS,
    ) -> bytes:
        """See `codec.Frame`."""
        return self.frame.encode(changes, joined, texts)


class GatheringDecoder:
    """A decoder of a streamed answer whose frames wait while a call's arguments come.

    Args:
        most: bytes of the answer that may wait.
    """

    def __init__(self, decoder: Decoder, most: int) -> None:
        self._decoder = decoder
        self._most = most
        self._waiting: deque[_Waiting] = deque()
        self._held = 0
        self._open: dict[CallKey, _Call] = {}
        self._by_channel: dict[Channel, _Call] = {}  # those that are open
        self._begun: set[CallKey] = set()  # all that ever were
        self._early: set[Channel] = set()  # of pieces that no call had begun for

    @property
    def outcome(self) -> Outcome:
        return self._decoder.outcome

    @property
    def unanswered(self) -> Sequence[Message]:
        return self._decoder.unanswered

    def feed(self, data: bytes) -> Iterator[Frame]:
        """See `codec.Decoder`."""
        return self._through(self._decoder.feed(data))

    def close(self) -> Iterator[Frame]:
        """See `codec.Decoder`: all that waits, too."""
        yield from self._through(self._decoder.close())
        self._give_up()
        yield from self._released()

    def text_event(self, channel: Channel, text: str) -> bytes:
        """See `codec.Decoder`."""
        return self._decoder.text_event(channel, text)

    def stream_end(self, deny: Deny, trail_id: str, dropped: Sequence[Frame] = ()) -> bytes:
        """See `codec.Decoder`: what was read and waits does not leave either."""
        own = [frame.frame if isinstance(frame, _KnowingFrame) else frame for frame in dropped]
        return self._decoder.stream_end(deny, trail_id, [*own, *(waiting.frame for waiting in self._waiting)])

    def _through(self, frames: Iterator[Frame]) -> Iterator[Frame]:
        for frame in frames:
            calls = self._read(frame)
            if not self._open and not self._waiting and not calls:
                yield frame
                continue
            self._waiting.append(_Waiting(frame, calls))
            self._held += len(frame.raw) + _PER_FRAME
            if self._held > self._most:
                self._give_up()
            if not self._open:
                yield from self._released()

    def _released(self) -> Iterator[Frame]:
        while self._waiting:
            frame, calls = self._waiting.popleft()
            self._held -= len(frame.raw) + _PER_FRAME
            yield _knowing(frame, calls) if calls else frame

    def _read(self, frame: Frame) -> Mapping[CallKey, _Call]:
        """Reads what a frame says of calls; those that begin in it."""
        begin: dict[CallKey, _Call] = {}
        for message in frame.messages:
            if isinstance(message, CompletionChunk):
                for call in message.proposals:
                    self._tell(call, begin)
            elif isinstance(message, LlmError):
                self._give_up()  # nothing more is awaited
        for piece in frame.pieces:
            if piece.channel.kind in _KINDS:
                self._add(piece)
        if frame.closes:
            self._close(frame.closes)
        return begin

    def _tell(self, call: ProposedCall, begin: dict[CallKey, _Call]) -> None:
        """A call begins, or is told again."""
        opened = self._open.get(call.key)
        if call.pieces is None:
            if opened is not None and call.arguments is not None:
                opened.whole = call.arguments
        elif opened is not None:
            opened.lost = True  # a second beginning: clients may put two calls together, or take either
        elif call.key not in self._begun and len(self._begun) < MAX_CALLS:
            made = _Call(call, call.pieces, lost=call.pieces in self._early or call.pieces in self._by_channel)
            self._begun.add(call.key)
            self._open[call.key] = self._by_channel[call.pieces] = begin[call.key] = made

    def _add(self, piece: Piece) -> None:
        call = self._by_channel.get(piece.channel)
        if call is not None:
            call.add(piece.text)
        elif len(self._early) < MAX_CALLS:
            self._early.add(piece.channel)

    def _close(self, choices: Collection[int]) -> None:
        """These choices ended."""
        for key in [key for key, call in self._open.items() if call.pieces.choice in choices]:
            del self._by_channel[self._open.pop(key).pieces]

    def _give_up(self) -> None:
        """What is not whole now stays without arguments."""
        for call in self._open.values():
            call.lost = True
        self._open.clear()
        self._by_channel.clear()


def _knowing(frame: Frame, calls: Mapping[CallKey, _Call]) -> Frame:
    known = {key: arguments for key, call in calls.items() if (arguments := call.arguments()) is not None}
    (message,) = frame.messages
    assert isinstance(message, CompletionChunk), "nothing else proposes calls"
    return _KnowingFrame(frame, message.knowing(known)) if known else frame
