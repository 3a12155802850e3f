"""Gemini: what an answer has said so far, and what its next document or event says.

Rules:
- Each piece of a streamed answer is a whole object. A `finishReason` ends its candidate; the stream ends with its
  bytes: there is no event for it. Cut off is a stream whose candidates said no reason.
- A blocked prompt (`promptFeedback.blockReason`) is an answer, and a refusal.
- Without `alt=sse` a streamed answer is a JSON array of such objects. It is read when it is whole.
- The text of an error is read where an answer has it: clients show what they know, whatever stands beside it.
- A line that is no field of an event is malformed, but for an error: official clients take JSON without `data:` too.

Not here: classes of messages (gemini_messages.py), where texts stand (gemini_texts.py), frames (llm_frames.py,
gemini_streams.py, gemini_arrays.py), events read at a glance (gemini_events.py), what all readers know of an answer
(llm_reader.py).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

from ext_proc.codecs.gemini_calls import check_calls
from ext_proc.codecs.gemini_denials import STOPPED, error_object
from ext_proc.codecs.gemini_events import MAX_CANDIDATES, ordinary
from ext_proc.codecs.gemini_messages import (
    CANDIDATE,
    GeminiAnswer,
    GeminiChunk,
    GeminiCounted,
    GeminiEmbedded,
    GeminiError,
    check_answer,
)
from ext_proc.codecs.gemini_texts import (
    changes_for,
    check_keys,
    member,
    of_content,
    of_grounding,
    text_of,
)
from ext_proc.codecs.llm_fields import objects
from ext_proc.codecs.llm_found import placed
from ext_proc.codecs.llm_frames import Part
from ext_proc.codecs.llm_reader import Reader
from ext_proc.codecs.llm_texts import Malformed, Place
from ext_proc.codecs.opaques import malformed
from ext_proc.framing.json_splice import Path
from ext_proc.framing.json_surrogates import encode_tolerant
from ext_proc.framing.sse import encode_event
from ext_proc.limits import Limits
from ext_proc.messages import (
    Channel,
    ChannelKind,
    Embedding,
    Message,
    Role,
    TokenCount,
)
from ext_proc.policy import Deny
from ext_proc.trail import Outcome

MAX_WORD = 256  # characters of what our own events repeat of the stream's
# All others are ends like any other; those that are not known yet too.
_ENDINGS = {
    "MAX_TOKENS": Outcome.TRUNCATED,
    "CONTINUATION": Outcome.TRUNCATED,
    "TOO_MANY_TOOL_CALLS": Outcome.TRUNCATED,
    **dict.fromkeys(
        (*("MALFORMED_FUNCTION_CALL", "MALFORMED_RESPONSE", "MISSING_THOUGHT_SIGNATURE", "UNEXPECTED_TOOL_CALL"),),
        Outcome.INVALID,
    ),
    **dict.fromkeys(
        (
            *("BLOCKLIST", "ESCALATION", "LANGUAGE", "MODEL_ARMOR", "PROHIBITED_CONTENT", "PUP_LIMITED_DISABLED"),
            *("RECITATION", "SAFETY", "SPII", "IMAGE_PROHIBITED_CONTENT", "IMAGE_RECITATION", "IMAGE_SAFETY"),
        ),
        Outcome.REFUSED,
    ),
}


class GeminiReader(Reader):
    """Reads one answer; see `llm_frames.AnswerReader`.

    Args:
        requests: what it answers.
        failed: whether the HTTP status is no success: then it need not be Google's at all.
    """

    provider = "Google"
    format = "gemini"

    def __init__(self, requests: Sequence[Message], limits: Limits, *, failed: bool) -> None:
        super().__init__(requests, limits, failed=failed)
        self._counts = any(isinstance(request, TokenCount) for request in requests)
        self._embeds = any(isinstance(request, Embedding) for request in requests)
        self._blocked = False
        self._envelope: dict[str, Any] = {}

    @property
    def done(self) -> bool:
        """Never before the bytes end: nothing in the stream says that it is over."""
        return False

    def document(self, data: bytes) -> Part:
        """See `AnswerReader`."""
        part = super().document(data)
        return replace(part, closes=(*part.closes, *self._channels.finish()))

    def element(self, data: bytes) -> Part:
        """What an element of an array says."""
        return self._guarded(data, self._event)

    def stray(self, lines: bytes, *, alone: bool) -> Part:
        """What lines of an event that are none of its fields say.

        Args:
            alone: whether the event has no data beside them.
        """
        part = self.element(lines) if alone else Part()
        if isinstance(part.message, GeminiError) and not part.spots:
            return Part(part.message)
        return self._unread(malformed("gemini-invalid", "a line of the stream is no field of an event", lines))

    def end(self, *, empty: bool, streamed: bool) -> None:
        """See `AnswerReader`."""
        if self._failed or self._erred:
            return
        if empty or (streamed and not self._channels.ended and not self._channels.open and not self._blocked):
            self._worse(Outcome.EMPTY)
        elif streamed and self._channels.open:
            self._worse(Outcome.TRUNCATED)
        elif not self._produced and not self._blocked:
            self._worse(Outcome.EMPTY)

    def text_event(self, channel: Channel, text: str) -> bytes:
        """See `codec.Decoder`; nothing for a text that goes on in no other piece."""
        return b"" if channel.index else encode_event(self.piece_with(channel, text))

    def piece_with(self, channel: Channel, text: str) -> bytes:
        """A piece of a stream that carries `text`."""
        part = {"text": text, **({"thought": True} if channel.kind is ChannelKind.REASONING else {})}
        content = {"parts": [part], "role": "model"}
        return encode_tolerant({"candidates": [{"content": content, "index": channel.choice}], **self._envelope})

    def ending(self, deny: Deny, trail_id: str, unsent: Sequence[Part]) -> bytes:
        """See `AnswerReader`: every candidate that is open to the client is finished."""
        return encode_event(self.last_piece(deny, trail_id, unsent))

    def last_piece(self, deny: Deny, trail_id: str, unsent: Sequence[Part]) -> bytes:
        """The piece of a stream that ends every candidate that is open to the client."""
        closed = {choice for part in unsent for choice in part.closes}
        open_ = {*self._channels.open, *closed} or ({0} - self._channels.ended)
        candidates = [{"finishReason": STOPPED, "index": choice} for choice in sorted(open_)]
        why = {"trail": trail_id, "reason": deny.reason}
        return encode_tolerant({"candidates": candidates, **self._envelope, "gatehouse": why})

    def _document(self, value: Any, data: bytes) -> Part:
        return self._read(value, data, GeminiAnswer)

    def _event(self, value: Any, data: bytes) -> Part:
        event = None if self._counts or self._embeds else ordinary(value)
        if event is None:
            return self._read(value, data, GeminiChunk)
        self._see_envelope(value)
        self._channels.begin(event.index)
        self._produced = True
        spots = self._channels.spots(event.places)
        return Part(GeminiChunk(value, data, spots), spots, changes=changes_for)

    def _read(self, value: Any, data: bytes, kind: type[GeminiAnswer] | type[GeminiChunk]) -> Part:
        """What an object says, whole or in pieces."""
        value = check_answer(value)
        erred = self._is_error(value)
        if erred:
            self._has_erred()
        elif self._counts or self._embeds:
            self._produced = True
            return Part((GeminiCounted if self._counts else GeminiEmbedded)(value, data))
        candidates = objects(value.get("candidates"), "candidates")
        ended = self._look(value, candidates)
        spots = self._channels.spots(_places(candidates, data))
        check_calls(value)
        closes = self._channels.end(ended)
        message = GeminiError(value, data) if erred else kind(value, data, spots)
        return Part(message, spots, closes, changes=changes_for)

    def _error_object(self, deny: Deny, trail_id: str, status: int) -> Mapping[str, Any]:
        return error_object(deny, trail_id, status)

    def _look(self, value: Mapping[str, Any], candidates: Sequence[Mapping[str, Any]]) -> list[int]:
        """What an object says of the answer; the candidates that end with it."""
        self._see_envelope(value)
        feedback = member(value, "promptFeedback")
        if isinstance(feedback, dict) and text_of(feedback, "blockReason"):
            self._blocked = True
            self._worse(Outcome.REFUSED)
        ended: list[int] = []
        for position, candidate in enumerate(candidates):
            check_keys(candidate, CANDIDATE)
            index, reason = _index(candidates, position), text_of(candidate, "finishReason")
            self._channels.begin(index)
            content = candidate.get("content")
            self._produced = self._produced or bool(isinstance(content, dict) and content.get("parts"))
            if reason:
                self._worse(_ENDINGS.get(reason, Outcome.OK))
                ended.append(index)
        return ended

    def _see_envelope(self, value: Mapping[str, Any]) -> None:
        """Keeps what our own pieces repeat of the stream's."""
        model = text_of(value, "modelVersion")  # which policies read of every piece
        if not self._envelope:
            said = {"modelVersion": model, "responseId": text_of(value, "responseId")}
            self._envelope = {name: word for name, word in said.items() if 0 < len(word) <= MAX_WORD}


def _places(candidates: Sequence[Mapping[str, Any]], data: bytes) -> Iterator[Place]:
    """The texts of an object's candidates; a candidate's own words are channel 0 of their kind, others are counted."""
    for position, candidate in enumerate(candidates):
        at: Path = ("candidates", position)
        said = of_content(candidate.get("content"), Role.ASSISTANT, (*at, "content"))
        yield from placed((*said, *of_grounding(candidate, at)), _index(candidates, position), data)


def _index(candidates: Sequence[Mapping[str, Any]], position: int) -> int:
    """A candidate's index: ProtoJSON leaves 0 out, and some servers leave all of them out."""
    index = candidates[position].get("index")
    if index is None:
        index = position if all(candidate.get("index") is None for candidate in candidates) else 0
    if type(index) is not int or not 0 <= index < MAX_CANDIDATES:
        raise Malformed("an index is out of range")
    return index
