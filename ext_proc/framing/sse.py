"""Server-sent events, split and written to the letter (WHATWG HTML, section 9.2).

Rules:
- The raws of the events partition the input. Comments, blank lines and the byte order mark belong to the event that the
  next blank line ends, which may be one without data.
- The events do not depend on how the bytes were cut. So a CR LF is never split: a CR at the end of the input waits for
  the next byte (a stream that ends its lines with CR alone is one byte late).
- Lines end with LF, CR or CR LF, and with nothing else; only a blank line ends an event.
- A byte order mark counts at the start of any event. The standard has it at the start of the stream only, and there the
  client finds it where the events before were taken out: what is read here must be all that may be read there.
- An event past the limit is handed out in spans, never held; the next event is read again.
- Time is linear in the input, for one-byte chunks too.

Not here: what an event's data means (codecs/).
"""

from __future__ import annotations

import enum
import re
from collections.abc import Iterator
from dataclasses import dataclass, field

from ext_proc.framing.body import SPAN

BOM = b"\xef\xbb\xbf"
_LINE_END = re.compile(rb"\r\n|\n|\r")
# A line's end and an empty line after it. A CR LF never counts as two ends. It is written without atomic groups and
# possessive quantifiers, which early versions of Python 3.11 get wrong.
_EVENT_END = re.compile(rb"(?:\r\n|\n|\r(?!\n))(?:\r\n|\n|\r)")
_LOOKBACK = 3  # bytes of an unfinished _EVENT_END: CR LF CR
_MAX_DIGITS = 18
_CR_LF = b"\r\n"


class Span(enum.Enum):
    """What a span of the stream is."""

    EVENT = "event"  # ended by a blank line
    UNTERMINATED = "unterminated"  # the stream ended first: a client does not dispatch it
    TOO_LARGE = "too_large"  # the first bytes of an event past the limit
    REST = "rest"  # further bytes of such an event


@dataclass(slots=True)  # made for every event: frozen ones take three times as long
class ServerSentEvent:
    """One event, or a span of one that is too large; never changed.

    Attributes:
        raw: its bytes with everything that belongs to it.
        data: the data lines joined by LF; None if there is none, then a client dispatches nothing.
        event: its type; "" means "message".
        id: the last `id` in it; None if there is none.
        retry: milliseconds; None if absent or no plain number.
        marked: whether it begins with a byte order mark.
    """

    raw: bytes = field(repr=False)
    data: bytes | None = field(default=None, repr=False)
    event: str = field(default="", repr=False)
    id: str | None = field(default=None, repr=False)
    retry: int | None = None
    span: Span = Span.EVENT
    marked: bool = False


class EventSplitter:
    """Cuts a stream into events.

    Args:
        limit: the most bytes of one event. A longer one comes as spans: `limit` bytes, then `SPAN` bytes each.
    """

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._held = bytearray()
        self._searched = 0  # no event ends before the one that is found from here on
        self._room = limit  # the most bytes of the next span
        self._oversize = False  # whether bytes of the current event have been handed out already

    def feed(self, data: bytes) -> list[ServerSentEvent]:
        """The events that `data` completes."""
        ending = _CR_LF if b"\r" in data else b"\n"
        if self._held or self._oversize or (ending is _CR_LF and not _has_cr_lf_alone(data)):
            self._held += data
            return self._take(final=False)
        # Nothing waits, and all lines end alike.
        found: list[ServerSentEvent] = []
        start = 0
        while start < len(data):
            event = _usual(data, start, ending) or _whole(data, start, ending)
            if event is None or len(event.raw) > self._limit:
                self._held += data[start:]
                found += self._take(final=False)
                break
            found.append(event)
            start += len(event.raw)
        return found

    def close(self) -> list[ServerSentEvent]:
        """The events that the end of the stream completes; the last may be unterminated."""
        return self._take(final=True)

    def _take(self, *, final: bool) -> list[ServerSentEvent]:
        held = self._held
        found: list[ServerSentEvent] = []
        start = 0
        while start < len(held):
            end = self._event_end(start, final=final)
            # Up to here the event surely goes on.
            reach = end if end is not None else len(held) - (0 if final else _LOOKBACK)
            while reach - start > self._room:
                found.append(
                    ServerSentEvent(
                        bytes(held[start : start + self._room]), span=Span.REST if self._oversize else Span.TOO_LARGE
                    )
                )
                start += self._room
                self._room, self._oversize = SPAN, True
            if end is None and not final:
                break
            ended = len(held) if end is None else end
            found.append(self._finish(bytes(held[start:ended]), terminated=end is not None))
            start = ended
        del held[:start]
        self._searched = max(self._searched - start, 0)
        return found

    def _event_end(self, start: int, *, final: bool) -> int | None:
        """Where the event that begins at `start` ends; None if that cannot be said yet."""
        held = self._held
        first = start + len(BOM) if not self._oversize and held.startswith(BOM, start) else start
        end = None if self._oversize else _LINE_END.match(held, first)  # a blank line at once
        if end is None:
            end = _EVENT_END.search(held, max(first, self._searched))
        if end is None:
            self._searched = max(first, len(held) - _LOOKBACK)
            return None
        if end.end() == len(held) and held.endswith(b"\r") and not final:
            self._searched = end.start()
            return None
        return end.end()

    def _finish(self, raw: bytes, *, terminated: bool) -> ServerSentEvent:
        """The event, or the last span of one that is too large; the next bytes begin another."""
        oversize, marked = self._oversize, raw.startswith(BOM)
        self._room, self._oversize = self._limit, False
        if oversize:
            return ServerSentEvent(raw, span=Span.REST)
        return _read(raw, Span.EVENT if terminated else Span.UNTERMINATED, marked=marked)


def encode_event(data: bytes) -> bytes:
    """A new event of the default type that carries `data`."""
    return _data_lines(data, b"\n") + b"\n"


def with_data(event: ServerSentEvent, data: bytes) -> bytes:
    """The event's bytes with other data: every line but the data lines stays as it is.

    A line end in `data` becomes a further data line (CR and CR LF arrive as LF: the format has no other way). What was
    not a whole event becomes a new one.
    """
    if event.span is not Span.EVENT:
        return encode_event(data)
    out = [BOM] if event.marked else []
    written = False
    for name, line in _lines(event.raw, marked=event.marked):
        if written and name == b"data":
            continue
        if not written and (name == b"data" or _is_blank(line)):
            ending = _LINE_END.search(line)
            out.append(_data_lines(data, ending.group() if ending else b"\n"))
            written = True
            if name == b"data":
                continue
        out.append(line)
    return b"".join(out)


def without_data(event: ServerSentEvent) -> bytes:
    """What is left of an event whose data is taken out: its `id`, `retry` and comments; b"" where it has none of them.

    Such an event dispatches nothing, and a reader that keeps a last event id takes the `id` all the same (section 9.2.6
    sets it before it looks for data), so resuming goes on behind what was dropped.
    """
    if event.span is not Span.EVENT:
        return b""
    kept = [line for name, line in _lines(event.raw, marked=event.marked) if name in (b"id", b"retry", b"")]
    if all(_is_blank(line) for line in kept):
        return b""
    return b"".join([BOM if event.marked else b"", *kept])


def _has_cr_lf_alone(data: bytes) -> bool:
    """Whether all lines in `data` end with CR LF."""
    return data.count(b"\r") == data.count(b"\n") == data.count(_CR_LF)


def _usual(data: bytes, start: int, ending: bytes) -> ServerSentEvent | None:
    """The event that begins at `start`, as most are: a line of data, and perhaps its type before; else None."""
    begin, name = start, ""
    if not data.startswith(b"data: ", start):
        first = data.find(ending, start)
        begin = first + len(ending)
        if first < 0 or not data.startswith(b"event: ", start) or not data.startswith(b"data: ", begin):
            return None
        name = data[start + 7 : first].decode("utf-8", "replace")
    line = data.find(ending, begin)
    blank = line + len(ending)
    if line < 0 or not data.startswith(ending, blank):
        return None
    return ServerSentEvent(data[start : blank + len(ending)], data[begin + 6 : line], name)


def _whole(data: bytes, start: int, ending: bytes) -> ServerSentEvent | None:
    """The event that begins at `start`, whatever lines it has; None where it does not end in `data`, or is marked."""
    # An event ends at two line ends, or at one where it begins.
    last = start if data.startswith(ending, start) else data.find(ending * 2, start)
    if last < 0 or data.startswith(BOM, start):
        return None
    end = last + len(ending) * (1 if last == start else 2)
    return _read(data[start:end], Span.EVENT, marked=False)


def _read(raw: bytes, span: Span, *, marked: bool) -> ServerSentEvent:
    data: list[bytes] = []
    event, identifier, retry = "", None, None
    for name, line in _lines(raw, marked=marked):
        if not name:
            continue
        value = line.rstrip(b"\r\n").partition(b":")[2]
        value = value[1:] if value.startswith(b" ") else value
        if name == b"data":
            data.append(value)
        elif name == b"event":
            event = value.decode("utf-8", "replace")
        elif name == b"id" and b"\0" not in value:
            identifier = value.decode("utf-8", "replace")
        elif name == b"retry" and value.isdigit() and len(value) <= _MAX_DIGITS:
            retry = int(value)
    return ServerSentEvent(raw, b"\n".join(data) if data else None, event, identifier, retry, span, marked)


def _lines(raw: bytes, *, marked: bool) -> Iterator[tuple[bytes, bytes]]:
    """The lines with their ends, each after its field's name: b"" for a comment or a blank line."""
    # bytes.splitlines knows LF, CR and CR LF only (str.splitlines would know eight more).
    for line in (raw[len(BOM) :] if marked else raw).splitlines(keepends=True):
        yield line.rstrip(b"\r\n").partition(b":")[0], line


def _data_lines(data: bytes, ending: bytes) -> bytes:
    return b"".join(b"data: " + part + ending for part in _LINE_END.split(data))


def _is_blank(line: bytes) -> bool:
    return not line.strip(b"\r\n")
