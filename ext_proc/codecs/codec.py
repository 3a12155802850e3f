"""What a codec is: bytes to messages and back, for one wire format.

Rules:
- Frames partition the input: b"".join(frame.raw) == input, whatever the chunks; comments, ids and blanks included.
- A decoder never raises on bytes: what it cannot read is a frame with an `Opaque` message.
- A codec keeps nothing between exchanges and decides nothing.

Not here: any format (one file each beside this one), any policy.
"""

from __future__ import annotations

import enum
from collections.abc import Iterator, Mapping, Sequence
from typing import Protocol

from ext_proc.limits import Limits
from ext_proc.messages import Channel, HeadersOnly, Message, Opaque, Piece, RequestHead, ResponseHead
from ext_proc.policy import Deny
from ext_proc.replies import ImmediateReply
from ext_proc.trail import Outcome

NO_TEXTS: Mapping[int, str] = {}


class Match(enum.Enum):
    """Whether a request is of a codec's format, by its headers."""

    YES = "yes"
    NO = "no"
    MAYBE = "maybe"  # only the body can tell


class Frame(Protocol):
    """A span of the input that leaves at once, with the messages in it (none for a comment, many for a batch)."""

    @property
    def raw(self) -> bytes: ...

    @property
    def messages(self) -> Sequence[Message]: ...

    @property
    def batch(self) -> bool:
        """Whether the messages stand in an array, which an answer to them must be too."""
        ...

    @property
    def pieces(self) -> Sequence[Piece]:
        """The texts of channels in it, in the order in which they stand; () where they are whole (`Codec.texts`)."""
        ...

    @property
    def closes(self) -> Sequence[int]:
        """The choices that end with it: no text of theirs may follow."""
        ...

    def encode(
        self,
        changes: Mapping[int, Message | None],
        joined: Sequence[Message] = (),
        texts: Mapping[int, str] = NO_TEXTS,
    ) -> bytes:
        """The frame's bytes with messages replaced by index (None drops one) and `joined` ones added at the end.

        Args:
            texts: new texts for `pieces`, by index. What repeats or indexes a changed text (logprobs, annotations) is
                removed or changed alike; every other byte stays.

        With nothing to change this is `raw`, unless a text that left before it changed, and this vouches for that.
        """
        ...


class Decoder(Protocol):
    """Turns one direction's body into frames."""

    def feed(self, data: bytes) -> Iterator[Frame]:
        """The frames that `data` completes. The iterator is to be exhausted before the next call."""
        ...

    def close(self) -> Iterator[Frame]:
        """The frames that the end of the body completes."""
        ...

    @property
    def outcome(self) -> Outcome:
        """What the body says so far of how the exchange ended; final after `close`."""
        ...

    @property
    def unanswered(self) -> Sequence[Message]:
        """The requests whose answers have not been seen; () for a request's decoder."""
        ...

    def text_event(self, channel: Channel, text: str) -> bytes:
        """A new event that carries `text` on `channel`, with the stream's own id, model and shape."""
        ...

    def stream_end(self, deny: Deny, trail_id: str, dropped: Sequence[Frame] = ()) -> bytes:
        """What ends the answer here, in the protocol's own way, so that official clients end cleanly.

        Of an answer cut off after its headers: an error for each request that waits, or the end of every open choice.

        Args:
            dropped: the frames that did not leave, so that what ended in them is open to the client.
        """
        ...


class Codec(Protocol):
    """One wire format."""

    name: str

    def matches(self, head: RequestHead) -> Match: ...

    def transport_message(self, head: RequestHead) -> Message | None:
        """The message that the headers alone are (MCP's GET and DELETE); None where the body holds it."""
        ...

    def header_message(self, head: RequestHead) -> HeadersOnly | None:
        """What the headers alone say that the body is; None where they say nothing that could be relied on."""
        ...

    def request_decoder(self, head: RequestHead, limits: Limits) -> Decoder: ...

    def response_decoder(
        self, requests: Sequence[Message], request: RequestHead, response: ResponseHead, limits: Limits
    ) -> Decoder:
        """A decoder for what answers `requests`: none for a local reply, many for a batch."""
        ...

    def streams(self, response: ResponseHead) -> bool:
        """Whether the answer is a stream whose messages leave one by one."""
        ...

    def readable(self, response: ResponseHead) -> bool:
        """Whether the answer's body is of this format at all, by its content type; its coding is the engine's."""
        ...

    def answers(self, requests: Sequence[Message]) -> Sequence[type[Message]]:
        """The classes of message that an answer to `requests` can hold."""
        ...

    def denial(
        self, denials: Sequence[tuple[Message, Deny]], head: RequestHead, trail_id: str, *, batch: bool = False
    ) -> ImmediateReply:
        """The answer, in the protocol's own error shape, to requests that are all denied."""
        ...

    def refusal(self, message: Message, deny: Deny, trail_id: str) -> Message | None:
        """What stands in the place of one denied message: an error with its id, or nothing (None) where none is due."""
        ...

    def texts(self, message: Message, limits: Limits) -> Sequence[Piece] | Opaque:
        """The texts of a message that has them whole, in the order in which they stand.

        () for an answer whose frames have them as `pieces`. `Opaque`, malformed or too large, where something that
        should be text cannot be read as such.
        """
        ...

    def with_texts(self, message: Message, texts: Mapping[int, str]) -> Message:
        """The message with new ones of its `texts`, by index; every byte that is not of them stays."""
        ...

    def mirrored_headers(self, message: Message, head: RequestHead) -> Mapping[str, str]:
        """Request headers that repeat the body and must follow its change (MCP: Mcp-Name)."""
        ...
