"""Bodies with a content coding, read through: a codec's decoder behind a decompressor.

Rules:
- Frames partition the decoded body; a body that cannot be decoded ends in one frame with an `Opaque`, and its rest is
  dropped: no reader behind us may see what we could not.
- What expands past its limits is `Opaque` too, before memory is taken for it (limits.expansion; the codec's own).

Not here: any coding (framing/content_encoding.py), any protocol.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from ext_proc.codecs.auto import by_body
from ext_proc.codecs.codec import NO_TEXTS, Codec, Decoder, Frame
from ext_proc.codecs.opaques import too_large
from ext_proc.framing.body import WholeBody
from ext_proc.framing.content_encoding import Decompressor, EncodingError, decoder_for
from ext_proc.headers import HeaderMutation, Headers
from ext_proc.limits import Limits
from ext_proc.messages import Channel, Message, Opaque, Piece, RequestHead
from ext_proc.policy import Deny
from ext_proc.trail import Outcome

IN_THE_CLEAR = HeaderMutation(remove=("content-encoding",))
# The size of a decoded stream is bounded event by event, by its codec.
_ENDLESS = 1 << 62


def coding_of(headers: Headers) -> str:
    """The content codings, in the order in which they were applied; "" for none."""
    lines = headers.get_all("content-encoding")
    codings = b",".join(lines).decode("latin-1").strip().lower()
    return "" if codings == "identity" else codings


def can_decode(headers: Headers) -> bool:
    """Whether the body is in the clear or in codings that we know."""
    coding = coding_of(headers)
    return not coding or decoder_for(coding, max_size=0, max_ratio=1) is not None


def read_through(decoder: Decoder, headers: Headers, limits: Limits) -> Decoder:
    """`decoder`, behind a decompressor where the body has a content coding that `can_decode` knows."""
    coding = coding_of(headers)
    if not coding:
        return decoder
    decompressor = decoder_for(coding, max_size=_ENDLESS, max_ratio=limits.expansion)
    assert decompressor is not None
    return CodedDecoder(decoder, decompressor)


@dataclass(frozen=True, slots=True)
class _OpaqueFrame:
    """A frame of what cannot be read."""

    message: Opaque
    raw: bytes = b""
    batch: bool = False
    pieces: Sequence[Piece] = ()
    closes: Sequence[int] = ()

    @property
    def messages(self) -> Sequence[Message]:
        return (self.message,)

    def encode(
        self,
        changes: Mapping[int, Message | None],
        joined: Sequence[Message] = (),
        texts: Mapping[int, str] = NO_TEXTS,
    ) -> bytes:
        """See `codec.Frame`."""
        message = changes.get(0, self.message)
        own = self.raw if message is self.message else b"" if message is None else message.raw
        return own + b"".join(message.raw for message in joined)


class SniffingDecoder:
    """A request's decoder for a route of several formats, where only the body tells which one it is.

    Args:
        codecs: the candidates, in their order.
        chosen: told the codec that reads the body, before its first frame.
    """

    outcome = Outcome.OK
    unanswered: Sequence[Message] = ()

    def __init__(
        self, codecs: Sequence[Codec], head: RequestHead, limits: Limits, chosen: Callable[[Codec], None]
    ) -> None:
        self._codecs = codecs
        self._head = head
        self._limits = limits
        self._chosen = chosen
        self._body = WholeBody(limits.request_body)

    def feed(self, data: bytes) -> Iterator[Frame]:
        """See `codec.Decoder`: nothing but what is too large can be said before the body is whole."""
        for span in self._body.feed(data):
            yield _OpaqueFrame(too_large(span), span)

    def close(self) -> Iterator[Frame]:
        """See `codec.Decoder`."""
        body = self._body.close()
        if self._body.too_large:
            yield _OpaqueFrame(too_large(body), body)
            return
        codec = by_body(self._codecs, self._head, body)
        if codec is None:
            yield _OpaqueFrame(Opaque("not-this-protocol", "this is nothing that this route speaks", raw=body), body)
            return
        self._chosen(codec)
        decoder = codec.request_decoder(self._head, self._limits)
        yield from decoder.feed(body)
        yield from decoder.close()

    def text_event(self, channel: Channel, text: str) -> bytes:
        """Nothing: a request streams no text."""
        return b""

    def stream_end(self, deny: Deny, trail_id: str, dropped: Sequence[Frame] = ()) -> bytes:
        """Nothing: a request is answered, not ended."""
        return b""


class CodedDecoder:
    """A decoder of coded bytes."""

    def __init__(self, decoder: Decoder, decompressor: Decompressor) -> None:
        self._decoder = decoder
        self._decompressor = decompressor
        self._broken = False

    def feed(self, data: bytes) -> Iterator[Frame]:
        """See `codec.Decoder`; a piece is decompressed when the one before it was decided."""
        if self._broken:
            return
        try:
            for piece in self._decompressor.pieces(data):
                yield from self._decoder.feed(piece)
        except EncodingError as error:
            yield self._bad(error)

    def close(self) -> Iterator[Frame]:
        """See `codec.Decoder`."""
        if not self._broken:
            try:
                rest = self._decompressor.close()
            except EncodingError as error:
                yield self._bad(error)
            else:
                yield from self._decoder.feed(rest)
        for frame in self._decoder.close():
            if not self._broken:
                yield frame

    @property
    def outcome(self) -> Outcome:
        return self._decoder.outcome.worse(Outcome.INVALID) if self._broken else self._decoder.outcome

    @property
    def unanswered(self) -> Sequence[Message]:
        return self._decoder.unanswered

    def text_event(self, channel: Channel, text: str) -> bytes:
        """See `codec.Decoder`."""
        return self._decoder.text_event(channel, text)

    def stream_end(self, deny: Deny, trail_id: str, dropped: Sequence[Frame] = ()) -> bytes:
        """See `codec.Decoder`."""
        return self._decoder.stream_end(deny, trail_id, dropped)

    def _bad(self, error: EncodingError) -> Frame:
        self._broken = True
        return _OpaqueFrame(Opaque(error.reason, error.detail, malformed=True))
