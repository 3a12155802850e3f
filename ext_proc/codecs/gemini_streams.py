"""Gemini: a streamed answer as server-sent events, as Google's own clients read them.

Rules:
- Google's clients take a line that is no field of an event for JSON of its own: errors in mid-stream come so. Such
  lines are read as an error, or malformed: what they said otherwise would pass the policies unread.

Source: google-genai's reader of streams.

Not here: what an event says (gemini_answer.py); a streamed answer that is an array (gemini_arrays.py).
"""

from __future__ import annotations

from ext_proc.codecs.gemini_answer import GeminiReader
from ext_proc.codecs.llm_frames import LlmFrame, StreamDecoder
from ext_proc.framing.sse import BOM, ServerSentEvent, Span
from ext_proc.limits import Limits

_FIELDS = (b"data", b"event", b"id", b"retry")
_BEGINNINGS = (b":", *(name + b":" for name in _FIELDS))


class EventDecoder(StreamDecoder):
    """A streamed answer: each event is a frame as soon as it is whole."""

    def __init__(self, reader: GeminiReader, limits: Limits) -> None:
        super().__init__(reader, limits)
        self._gemini = reader

    def _frame(self, event: ServerSentEvent) -> LlmFrame:
        read = event.span is Span.EVENT or event.span is Span.UNTERMINATED
        lines = _strays(event) if read and not _is_one_line(event) else b""
        if not lines:
            return super()._frame(event)
        return LlmFrame(event.raw, self._gemini.stray(lines, alone=not event.data), event)


def _is_one_line(event: ServerSentEvent) -> bool:
    """Whether an event is one line of data and nothing else, as nearly all are."""
    return event.data is not None and event.raw.rstrip(b"\r\n") == b"data: " + event.data


def _strays(event: ServerSentEvent) -> bytes:
    """The lines that are no fields, joined."""
    raw = event.raw.removeprefix(BOM) if event.marked else event.raw
    lines = raw.splitlines()
    return b"".join(line for line in lines if line and not line.startswith(_BEGINNINGS) and line not in _FIELDS)
