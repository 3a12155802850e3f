"""OpenAI chat, and the older completions, whose answers have its shape: what a document or an event of one says.

Rules:
- `[DONE]` ends a stream. One that the stream's end cut off holds nothing to decide; any other such event is malformed.
- On an error status a body need not be OpenAI's at all: an error page of anybody's claims nothing.

Not here: classes of messages (openai_chat_messages.py), choices and outcome (openai_chat_answer.py), frames
(llm_frames.py).
"""

from __future__ import annotations

from collections.abc import Sequence

from ext_proc.codecs.llm_frames import Part
from ext_proc.codecs.llm_texts import Malformed, unreadable
from ext_proc.codecs.opaques import NO_JSON, malformed, unterminated
from ext_proc.codecs.openai_chat_answer import Answer
from ext_proc.codecs.openai_chat_denials import DONE, error_object
from ext_proc.codecs.openai_chat_events import ordinary
from ext_proc.codecs.openai_chat_messages import (
    ChatChunk,
    ChatCompletion,
    ChatError,
    check_answer,
    choices_of,
    says_error,
)
from ext_proc.codecs.openai_chat_texts import changes_for, places
from ext_proc.codecs.openai_completions_messages import CompletionsError, TextChunk, TextCompletion
from ext_proc.framing.json_surrogates import parse_tolerant
from ext_proc.framing.json_view import JsonError
from ext_proc.framing.sse import ServerSentEvent, Span, encode_event
from ext_proc.limits import Limits
from ext_proc.messages import Channel, Message, Opaque, encode_json
from ext_proc.policy import Deny
from ext_proc.trail import Outcome


class ChatReader:
    """Reads one answer; see `llm_frames.AnswerReader`."""

    def __init__(self, answer: Answer, limits: Limits) -> None:
        self._answer = answer
        self._limits = limits
        # Whether an event may be an ordinary one of a chat.
        self._is_chat = not (answer.failed or answer.listing or answer.legacy)

    @property
    def outcome(self) -> Outcome:
        return self._answer.outcome

    @property
    def unanswered(self) -> Sequence[Message]:
        return self._answer.unanswered

    @property
    def done(self) -> bool:
        return self._answer.done

    def document(self, data: bytes) -> Part:
        """See `AnswerReader`."""
        part = self._read(data, "message", whole=True)
        self._answer.finish()
        return part

    def event(self, event: ServerSentEvent) -> Part:
        """See `AnswerReader`."""
        data = event.data or b""
        if data.strip() == DONE:
            return Part(closes=self._answer.finish(), ends=True)
        if event.span is Span.UNTERMINATED:
            return self._unread(unterminated(data))
        return self._read(data, "delta", whole=False)

    def unread(self, message: Opaque) -> None:
        """See `AnswerReader`."""
        self._answer.see_opaque(message)

    def end(self, *, empty: bool, streamed: bool) -> None:
        """See `AnswerReader`."""
        self._answer.end(empty=empty, streamed=streamed)

    def error(self, deny: Deny, trail_id: str) -> bytes:
        """See `AnswerReader`."""
        return encode_json(error_object(deny, trail_id, deny.status or 403))

    def text_event(self, channel: Channel, text: str) -> bytes:
        """See `codec.Decoder`."""
        return encode_event(self._answer.event_with(channel, text))

    def ending(self, deny: Deny, trail_id: str, unsent: Sequence[Part]) -> bytes:
        """See `AnswerReader`: every choice that is open to the client is finished, then `[DONE]`."""
        choices = {choice for part in unsent for choice in part.closes}
        return b"".join(map(encode_event, [*self._answer.ending(deny, trail_id, choices), DONE]))

    def _read(self, data: bytes, holder: str, *, whole: bool) -> Part:
        """What a document says.

        Args:
            holder: "message" of a whole answer, "delta" of a streamed one.
        """
        answer = self._answer
        try:
            value = parse_tolerant(data, self._limits.json_depth, self._limits.json_values)
            event = ordinary(value) if self._is_chat and not whole else None
            if event is not None:
                spots = answer.spots(event.places)
                answer.see_ordinary(value, event)
                return Part(ChatChunk(value, data, spots), spots, changes=changes_for)
            if answer.failed and not says_error(value):
                return self._unread(_not_openai(data))
            value = check_answer(value, holder, listing=answer.listing)
            spots = answer.spots(places(choices_of(value), holder, legacy=answer.legacy))
        except JsonError as error:
            own_page = answer.failed and error.reason in NO_JSON
            return self._unread(_not_openai(data) if own_page else malformed(error.reason, error.detail, data))
        except Malformed as unfit:
            return self._unread(unreadable("openai", unfit, data))
        closes = answer.see(value, holder, whole=whole)
        message: Message | None
        if says_error(value):
            answer.see_error()
            message = (CompletionsError if answer.legacy else ChatError)(value, data)
        elif answer.listing:
            message = None
        elif answer.legacy:
            message = (TextCompletion if whole else TextChunk)(value, data, spots)
        else:
            message = (ChatCompletion if whole else ChatChunk)(value, data, spots)
        return Part(message, spots, closes, changes=changes_for)

    def _unread(self, message: Opaque) -> Part:
        self._answer.see_opaque(message)
        return Part(message)


def _not_openai(raw: bytes) -> Opaque:
    return Opaque("not-openai", "the server's own error is no message of OpenAI's", raw=raw)
