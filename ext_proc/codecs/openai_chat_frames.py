"""OpenAI chat: frames of a body, as one JSON document or as server-sent events.

Rules:
- What nobody changed leaves as its own bytes. A changed text is spliced into its document; all else of it stays.
- Every event is read whatever its type: official clients read them all, errors and `[DONE]` included.
- An event without data is nobody's (a comment, as OpenRouter sends them while it waits).
- An event that the stream's end cut off is malformed, for some clients read it; but a `[DONE]` holds nothing to decide.
- Every span of what is too large is an `Opaque` of its own: where the first is dropped no rest may pass.

Not here: classes of messages (openai_chat_messages.py), choices and outcome (openai_chat_answer.py).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from ext_proc.codecs.codec import NO_TEXTS, Frame
from ext_proc.codecs.openai_chat_answer import Answer
from ext_proc.codecs.openai_chat_denials import DONE, error_object
from ext_proc.codecs.openai_chat_messages import (
    ChatChunk,
    ChatCompletion,
    ChatError,
    check_answer,
    choices_of,
    from_client,
    malformed,
    unreadable,
)
from ext_proc.codecs.openai_chat_texts import Malformed, Spot, changes_for, places
from ext_proc.framing.body import WholeBody
from ext_proc.framing.json_splice import splice
from ext_proc.framing.json_surrogates import parse_tolerant
from ext_proc.framing.json_view import JsonError, parse
from ext_proc.framing.sse import EventSplitter, ServerSentEvent, Span, encode_event, with_data, without_data
from ext_proc.limits import Limits
from ext_proc.messages import Channel, LlmMessage, Message, Opaque, Piece, encode_json
from ext_proc.policy import Deny
from ext_proc.trail import Outcome

# What any error page is; on an error status it claims nothing about OpenAI.
_NO_JSON = frozenset({"json-empty", "json-malformed", "json-not-utf8"})


@dataclass(frozen=True, slots=True)
class ChatFrame:
    """A body, an event, or a span of one that is too large.

    Attributes:
        message: what is in it; None for what is nobody's.
        spots: the texts in it, and where they stand.
        closes: the choices that end with it.
        event: None for a body.
        ends: whether it is `[DONE]`.
    """

    raw: bytes = field(repr=False)
    message: Message | None = None
    spots: Sequence[Spot] = field(default=(), repr=False)
    closes: Sequence[int] = ()
    event: ServerSentEvent | None = None
    ends: bool = False

    @property
    def messages(self) -> Sequence[Message]:
        return () if self.message is None else (self.message,)

    @property
    def batch(self) -> bool:
        return False  # there are none in this protocol

    @property
    def pieces(self) -> Sequence[Piece]:
        return tuple(spot.piece for spot in self.spots)

    def encode(
        self,
        changes: Mapping[int, Message | None],
        joined: Sequence[Message] = (),
        texts: Mapping[int, str] = NO_TEXTS,
    ) -> bytes:
        """See `codec.Frame`. Texts go into a replaced message too, where it still has them."""
        own, others = self._own(changes, texts), b"".join(encode_event(message.raw) for message in joined)
        return own + others if self.event is None or self.event.span is Span.EVENT else others + own

    def _own(self, changes: Mapping[int, Message | None], texts: Mapping[int, str]) -> bytes:
        message = changes.get(0, self.message)
        if message is None:
            dropped = self.message is not None
            return (b"" if self.event is None else without_data(self.event)) if dropped else self.raw
        texts = {number: text for number, text in texts.items() if text != self.spots[number].joined.text}
        if message is self.message and not texts:
            return self.raw
        data = message.raw
        if texts and isinstance(message, LlmMessage):
            data = splice(data, changes_for(message.value, self.spots, texts))
        return data if self.event is None else with_data(self.event, data)


class RequestDecoder:
    """A request's body: one frame, at its end."""

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._body = WholeBody(limits.request_body)
        self.outcome = Outcome.OK

    @property
    def unanswered(self) -> Sequence[Message]:
        return ()

    def text_event(self, channel: Channel, text: str) -> bytes:
        """Nothing: a request is no stream."""
        return b""

    def stream_end(self, deny: Deny, trail_id: str, dropped: Sequence[Frame] = ()) -> bytes:
        """Nothing: a request is no stream."""
        return b""

    def feed(self, data: bytes) -> Iterator[Frame]:
        """See `codec.Decoder`."""
        return iter([self._frame(span, _too_large(span)) for span in self._body.feed(data)])

    def close(self) -> Iterator[Frame]:
        """See `codec.Decoder`."""
        raw = self._body.close()
        return iter([self._frame(raw, _too_large(raw) if self._body.too_large else self._read(raw))])

    def _read(self, raw: bytes) -> Message:
        try:
            message = from_client(parse(raw, self._limits.json_depth, self._limits.json_values), raw)
        except JsonError as error:
            return malformed(error.reason, error.detail, raw)
        if len(message.target) > self._limits.name:
            return malformed("name-too-long", f"a name has at most {self._limits.name} characters", raw)
        return message

    def _frame(self, raw: bytes, message: Message) -> ChatFrame:
        self.outcome = self.outcome.worse(message.outcome)
        return ChatFrame(raw, message)


class AnswerDecoder:
    """A whole answer: one JSON document, of which nothing can be said before it is whole."""

    def __init__(self, answer: Answer, limits: Limits) -> None:
        self._answer = answer
        self._limits = limits
        self._body = WholeBody(limits.response_body)

    @property
    def outcome(self) -> Outcome:
        return self._answer.outcome

    @property
    def unanswered(self) -> Sequence[Message]:
        return self._answer.unanswered

    def text_event(self, channel: Channel, text: str) -> bytes:
        """Nothing: a document has no events."""
        return b""

    def stream_end(self, deny: Deny, trail_id: str, dropped: Sequence[Frame] = ()) -> bytes:
        """See `codec.Decoder`: an error object in place of the document."""
        return encode_json(error_object(deny, trail_id, deny.status or 403))

    def feed(self, data: bytes) -> Iterator[Frame]:
        """See `codec.Decoder`."""
        return iter([_unread(self._answer, span, _too_large(span)) for span in self._body.feed(data)])

    def close(self) -> Iterator[Frame]:
        """See `codec.Decoder`."""
        raw = self._body.close()
        frames: list[Frame] = []
        if self._body.too_large:
            frames.append(_unread(self._answer, raw, _too_large(raw)))
        elif raw:
            frames.append(_read(self._answer, raw, raw, "message", self._limits))
            self._answer.finish()
        self._answer.end(empty=not raw, streamed=False)
        return iter(frames)


class StreamDecoder:
    """A streamed answer: each event is a frame as soon as it is whole."""

    def __init__(self, answer: Answer, limits: Limits) -> None:
        self._answer = answer
        self._limits = limits
        self._splitter = EventSplitter(limits.event)
        self._empty = True

    @property
    def outcome(self) -> Outcome:
        return self._answer.outcome

    @property
    def unanswered(self) -> Sequence[Message]:
        return self._answer.unanswered

    def text_event(self, channel: Channel, text: str) -> bytes:
        """See `codec.Decoder`."""
        return encode_event(self._answer.event_with(channel, text))

    def stream_end(self, deny: Deny, trail_id: str, dropped: Sequence[Frame] = ()) -> bytes:
        """See `codec.Decoder`: every choice that is open to the client is finished, then `[DONE]`."""
        if self._answer.done and not any(isinstance(frame, ChatFrame) and frame.ends for frame in dropped):
            return b""  # `[DONE]` has left
        unsent = {choice for frame in dropped for choice in frame.closes}
        return b"".join(map(encode_event, [*self._answer.ending(deny, trail_id, unsent), DONE]))

    def feed(self, data: bytes) -> Iterator[Frame]:
        """See `codec.Decoder`. One by one: what is open at a frame must not depend on what shares its chunk."""
        self._empty = self._empty and not data
        for event in self._splitter.feed(data):
            yield self._frame(event)

    def close(self) -> Iterator[Frame]:
        """See `codec.Decoder`."""
        for event in self._splitter.close():
            yield self._frame(event)
        self._answer.end(empty=self._empty, streamed=True)

    def _frame(self, event: ServerSentEvent) -> ChatFrame:
        if event.span in (Span.TOO_LARGE, Span.REST):
            return _unread(self._answer, event.raw, _too_large(event.raw), event)
        if not event.data:
            return ChatFrame(event.raw, event=event)
        if event.data.strip() == DONE:
            return ChatFrame(event.raw, closes=self._answer.finish(), event=event, ends=True)
        if event.span is Span.UNTERMINATED:
            fault = malformed("sse-unterminated", "the stream ended inside an event", event.data)
            return _unread(self._answer, event.raw, fault, event)
        return _read(self._answer, event.raw, event.data, "delta", self._limits, event)


def _read(
    answer: Answer, raw: bytes, data: bytes, holder: str, limits: Limits, event: ServerSentEvent | None = None
) -> ChatFrame:
    """The frame of a document that is `data`.

    Args:
        holder: "message" of a whole answer, "delta" of a streamed one.
    """
    try:
        value = parse_tolerant(data, limits.json_depth, limits.json_values)
        if answer.failed and not (isinstance(value, dict) and value.get("error")):
            return _unread(answer, raw, _not_openai(data), event)
        value = check_answer(value, holder, listing=answer.listing)
        spots = answer.spots(places(choices_of(value), holder))
    except JsonError as error:
        own_page = answer.failed and error.reason in _NO_JSON
        fault = _not_openai(data) if own_page else malformed(error.reason, error.detail, data)
        return _unread(answer, raw, fault, event)
    except Malformed as unfit:
        return _unread(answer, raw, unreadable(unfit, data), event)
    closes = answer.see(value, holder, whole=event is None)
    message: Message | None
    if value.get("error"):
        answer.see_error()
        message = ChatError(value, data)
    elif answer.listing:
        message = None
    else:
        message = ChatCompletion(value, data, spots) if event is None else ChatChunk(value, data, spots)
    return ChatFrame(raw, message, spots, closes, event)


def _unread(answer: Answer, raw: bytes, message: Opaque, event: ServerSentEvent | None = None) -> ChatFrame:
    answer.see_opaque(message)
    return ChatFrame(raw, message, event=event)


def _too_large(raw: bytes) -> Opaque:
    return Opaque("too-large", "this is larger than the gateway reads", raw=raw, too_large=True)


def _not_openai(raw: bytes) -> Opaque:
    return Opaque("not-openai", "the server's own error is no message of OpenAI's", raw=raw)
