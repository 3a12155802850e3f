"""Calls that a model proposes, gathered: a streamed answer waits at a call's name until its arguments are whole.

Rules:
- It waits only where a policy of the route asks for whole calls (`Policy.wants_whole_calls`).
- From a call's name on nothing leaves until the choice that its arguments are a text of has ended. Then every frame is
  decided in its turn, and the call is known whole where its name stands.
- Its arguments are what its pieces say; where none came, what stands where it is told whole, or where it begins.
- What cannot be put together stays without arguments, and no condition over them allows it: what is cut off, no object,
  told in another way beside its pieces, or past `limits.call`.

Not here: where a format has names and pieces (codecs/), who decides (the policies).
"""

from __future__ import annotations

from collections import deque
from collections.abc import Collection, Iterator, Mapping, Sequence

from ext_proc.codecs.codec import NO_TEXTS, Decoder, Frame
from ext_proc.codecs.llm_calls import arguments_in
from ext_proc.messages import Channel, ChannelKind, CompletionChunk, LlmError, Message, Piece, ProposedCall
from ext_proc.messages.proposals import MAX_CALLS, Arguments, CallKey
from ext_proc.policy import Deny
from ext_proc.trail import Outcome

_KINDS = (ChannelKind.TOOL_ARGUMENTS, ChannelKind.TOOL_INPUT)
_Place = tuple[int, int]  # of a channel: its choice, its index there


class _Call:
    """A call whose arguments are to come.

    Attributes:
        place: the channel of its pieces.
        whole: what it is where no piece comes: as it is told whole, or else as it begins.
    """

    __slots__ = ("place", "whole")

    def __init__(self, place: _Place, begun: Arguments) -> None:
        self.place = place
        self.whole = begun


class _Pieces:
    """The pieces of one channel so far."""

    __slots__ = ("_found", "_lost")

    def __init__(self) -> None:
        self._found: list[Piece] = []
        self._lost = False

    def add(self, piece: Piece) -> int:
        """Keeps one more, unless they are lost; how many characters that takes."""
        if self._lost:
            return 0
        self._found.append(piece)
        return len(piece.text)

    def lose(self) -> int:
        """They are kept no more; how many characters they took."""
        found, self._found, self._lost = self._found, [], True
        return sum(len(piece.text) for piece in found)

    def arguments(self) -> Arguments | None:
        """What they are together; None where they were too long to be kept."""
        return None if self._lost else _arguments(self._found)


class _KnowingFrame:
    """A frame in which a call's name stands, with the arguments that came behind it."""

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
        most: bytes of the answer that may wait, and characters of pieces that are kept.
    """

    def __init__(self, decoder: Decoder, most: int) -> None:
        self._decoder = decoder
        self._most = most
        self._waiting: deque[Frame] = deque()
        self._held = 0
        self._open: dict[CallKey, _Call] = {}
        self._places: set[_Place] = set()  # of those
        self._pieces: dict[_Place, _Pieces] = {}
        self._kept = 0  # characters in them
        self._again: dict[int, list[Arguments | None]] = {}  # what was told whole beside them, by the channel's index
        self._ended: set[CallKey] = set()
        self._known: dict[CallKey, Arguments] = {}

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
        return self._decoder.stream_end(deny, trail_id, [*own, *self._waiting])

    def _through(self, frames: Iterator[Frame]) -> Iterator[Frame]:
        for frame in frames:
            self._read(frame)
            self._waiting.append(frame)
            self._held += len(frame.raw)
            if self._held > self._most:
                self._give_up()
            if not self._open:
                yield from self._released()

    def _released(self) -> Iterator[Frame]:
        while self._waiting:
            frame = self._waiting.popleft()
            self._held -= len(frame.raw)
            yield self._shown(frame)

    def _shown(self, frame: Frame) -> Frame:
        """The frame as policies see it: a call where its name stands, with the arguments that came behind it."""
        for message in frame.messages if self._known else ():
            if isinstance(message, CompletionChunk):
                known = {call.key: self._known[call.key] for call in message.proposals if call.key in self._known}
                return _KnowingFrame(frame, message.knowing(known)) if known else frame
        return frame

    def _read(self, frame: Frame) -> None:
        """What a frame says of calls."""
        for message in frame.messages:
            if isinstance(message, CompletionChunk):
                for call in message.proposals:
                    self._begin(call)
            elif isinstance(message, LlmError):
                self._give_up()  # nothing more is awaited
        closes = frame.closes
        for piece in frame.pieces:
            if piece.channel.kind in _KINDS:
                self._add(piece, whole=piece.channel.choice in closes)
        if closes:
            self._close(closes)

    def _begin(self, call: ProposedCall) -> None:
        opened = self._open.get(call.key)
        if opened is not None:
            opened.whole = opened.whole if call.arguments is None else call.arguments
        elif call.pieces is not None and call.key not in self._ended and len(self._ended) < MAX_CALLS:
            self._open[call.key] = _Call(call.pieces, call.begun)
            self._places.add(call.pieces)

    def _add(self, piece: Piece, *, whole: bool) -> None:
        place = piece.channel.choice, piece.channel.index
        if whole and place not in self._pieces and place not in self._places:
            if self._open:
                self._again.setdefault(place[1], []).append(_arguments([piece]))
            return
        pieces = self._pieces.setdefault(place, _Pieces())
        if self._kept + len(piece.text) > self._most:
            self._kept -= pieces.lose()
        else:
            self._kept += pieces.add(piece)

    def _close(self, choices: Collection[int]) -> None:
        """These choices ended."""
        for key, call in [(key, call) for key, call in self._open.items() if call.place[0] in choices]:
            arguments = self._together(call)
            if arguments is not None:
                self._known[key] = arguments
            del self._open[key]
            self._places.discard(call.place)
            self._ended.add(key)
        for place in [place for place in self._pieces if place[0] in choices]:
            self._kept -= self._pieces.pop(place).lose()

    def _together(self, call: _Call) -> Arguments | None:
        """A call's arguments; None where they cannot be said."""
        again, pieces = self._again.pop(call.place[1], ()), self._pieces.get(call.place)
        if pieces is None:
            return call.whole
        arguments = pieces.arguments()
        return arguments if all(told == arguments for told in again) else None

    def _give_up(self) -> None:
        """What is not whole now stays without arguments."""
        self._ended |= self._open.keys()
        self._open.clear()
        self._places.clear()
        self._again.clear()


def _arguments(pieces: Sequence[Piece]) -> Arguments | None:
    """What pieces of one channel are together: JSON, or the input of a tool that takes plain text."""
    text = "".join(piece.text for piece in pieces)
    plain = pieces[0].channel.kind is ChannelKind.TOOL_INPUT
    return {"input": text} if plain else arguments_in(text)
