"""The laws of framing/: server-sent events, JSON, content codings.

Rules:
- A target takes bytes and returns nothing; a broken law is an exception. Laws are asserts: this is test code.
- What is read is compared with a reader of another make: Python's for JSON, a line by line one here for events.
- Input that a part refuses in its own words (JsonError, EncodingError) breaks no law.

Not here: messages (codec_laws.py).
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any, NoReturn

from ext_proc.framing import json_splice, json_surrogates, json_view
from ext_proc.framing.content_encoding import EncodingError, decoder_for, encoder_for
from ext_proc.framing.sse import BOM, EventSplitter, ServerSentEvent, Span, with_data, without_data
from tests.fuzz.inputs import chance_of, cuttings

CODINGS = ("gzip", "deflate", "br", "zstd", "br, gzip")
DEPTH = 64
LOOKBACK = 3  # bytes that may wait beside an event: CR LF CR, which may be its end
_LONE = re.compile(rb"\\u[dD][89a-fA-F]")
_PIECE = 64 * 1024  # bytes that come out of a coding at once


def sse(data: bytes) -> None:
    """EventSplitter: its events are a browser's, partition the input, and depend on no cutting; it holds little."""

    def split(chunks: list[bytes], limit: int) -> list[ServerSentEvent]:
        splitter = EventSplitter(limit)
        events: list[ServerSentEvent] = []
        waiting = 0
        for chunk in chunks:
            found = splitter.feed(chunk)
            events += found
            waiting += len(chunk) - sum(len(event.raw) for event in found)
            assert waiting <= max(limit, _PIECE if events and events[-1].span is not Span.EVENT else 0) + LOOKBACK, (
                "more is held than an event may have"
            )
        return events + splitter.close()

    for limit in (1 << 20, 16):
        events = split([data], limit)
        assert b"".join(event.raw for event in events) == data, "the raws do not partition the input"
        assert all(len(event.raw) <= limit for event in events if event.span is not Span.REST), (
            "an event past the limit"
        )
        for chunks in cuttings(data):
            assert split(chunks, limit) == events, "the events depend on the cutting"
        for event in events:
            if event.span is Span.EVENT:
                _rewrite(event)
        if all(event.span in (Span.EVENT, Span.UNTERMINATED) for event in events):
            read = [(e.data, e.event) for e in events if e.span is Span.EVENT and e.data is not None]
            assert read == list(_dispatched(data)), "a browser reads other events"


def _rewrite(event: ServerSentEvent) -> None:
    """An event with other data, or with none."""
    (again,) = events_of(with_data(event, b"a\nb"))
    assert (again.data, again.event, again.id, again.retry) == (b"a\nb", event.event, event.id, event.retry), (
        "new data reads otherwise"
    )
    left = events_of(without_data(event))
    assert all(rest.data is None for rest in left), "data is left where it was taken out"
    assert [rest.id for rest in left] in ([event.id], [] if event.id is None else [event.id]), "the id got lost"


def events_of(raw: bytes) -> list[ServerSentEvent]:
    """The events of a stream, the last perhaps unterminated."""
    splitter = EventSplitter(1 << 20)
    return splitter.feed(raw) + splitter.close()


def _dispatched(data: bytes) -> Iterator[tuple[bytes, str]]:
    """What a browser dispatches: data and type of each event (WHATWG HTML, section 9.2.6).

    One difference: a byte order mark is passed over at the start of any event (framing/sse.py says why).
    """
    found: list[bytes] = []
    kind, begins = b"", True
    for line in re.split(rb"\r\n|\n|\r", data)[:-1]:  # the last is not ended
        line = line.removeprefix(BOM) if begins else line
        begins = not line
        name, _, value = line.partition(b":")
        value = value.removeprefix(b" ")
        if name == b"data":
            found.append(value)
        elif name == b"event":
            kind = value
        elif not line:
            if found:
                yield b"\n".join(found), kind.decode("utf-8", "replace")
            found, kind = [], b""


def json_documents(data: bytes) -> None:
    """json_view takes what Python's reader takes and reads the same; json_splice changes one place and no other."""
    try:
        value = json_view.parse(data, DEPTH)
    except json_view.JsonError as error:
        if error.reason == "json-malformed":
            assert _LONE.search(data) or not _is_json(data), "JSON that is called malformed"
        _tolerant(data)
        return
    assert repr(value) == repr(json.loads(data.decode())), "two readers differ"
    assert repr(json_surrogates.parse_tolerant(data, DEPTH)) == repr(value), "the tolerant reader reads otherwise"
    assert json_splice.splice(data, {}) == data
    path = _a_path(value, data)
    if path:
        _splice(data, path)


def _is_json(data: bytes) -> bool:
    def constant(name: str) -> NoReturn:
        raise ValueError(name)

    try:
        json.loads(data.decode(), parse_constant=constant)
    except (ValueError, RecursionError):
        return False
    return True


def _tolerant(data: bytes) -> None:
    """What only the tolerant reader takes comes back when it is written."""
    try:
        value = json_surrogates.parse_tolerant(data, DEPTH)
    except json_view.JsonError:
        return
    assert json_surrogates.parse_tolerant(json_surrogates.encode_tolerant(value), DEPTH) == value


def _a_path(value: Any, data: bytes) -> json_splice.Path:
    """A path to some value below `value`; () if there is none."""
    chance = chance_of(data)
    path: list[json_splice.Step] = []
    while isinstance(value, dict | list) and value and (not path or chance.random() < 0.8):
        step: Any = chance.choice(list(value)) if isinstance(value, dict) else chance.randrange(len(value))
        path.append(step)
        value = value[step]
    return tuple(path)


def _splice(data: bytes, path: json_splice.Path) -> None:
    """A value replaced, removed, and a key added beside it."""
    for change in (b'"changed"', None):
        changed = json_splice.splice(data, {path: change})
        holder = expected = json.loads(data)
        for step in path[:-1]:
            holder = holder[step]
        if change is None:
            del holder[path[-1]]
        else:
            holder[path[-1]] = json.loads(change)
        assert repr(json_view.parse(changed, DEPTH)) == repr(expected), "a splice changed something else"
        _is_one_edit(data, changed, change or b"")
    if isinstance(path[-1], str):
        added = json_splice.splice(data, {(*path[:-1], path[-1] + "+"): b"[0]"})
        assert json_splice.splice(added, {(*path[:-1], path[-1] + "+"): None}) == data, "an added key left a trace"


def _is_one_edit(before: bytes, after: bytes, new: bytes) -> None:
    """Every byte but those of one span stays, and `new` alone takes its place."""
    head, tail = alike(before, after), alike(before[::-1], after[::-1])
    assert head + tail + len(new) >= len(after), "bytes changed that no change touches"


def alike(one: bytes, other: bytes) -> int:
    """How many bytes two inputs have in common from their start on."""
    return next((at for at, (a, b) in enumerate(zip(one, other, strict=False)) if a != b), min(len(one), len(other)))


def coded(body: bytes, coding: str) -> bytes:
    """The body in one of the CODINGS."""
    encoder = encoder_for(coding)
    assert encoder is not None, f"{coding} is a coding of ours"
    return encoder.feed(body) + encoder.close()


def content_encoding(data: bytes) -> None:
    """Codings: no cutting changes what comes out, or that it is refused; what was encoded decodes; limits hold."""
    most = 1 << 20

    def verdict(coding: str, chunks: list[bytes]) -> bytes | None:
        """What comes out; None where it is refused."""
        decoder = decoder_for(coding, max_size=most, max_ratio=200)
        assert decoder is not None, f"{coding} is a coding of ours"
        out = b""
        try:
            for chunk in chunks:
                for piece in decoder.pieces(chunk):
                    assert len(piece) <= _PIECE, "a piece larger than promised"
                    out += piece
            return out + decoder.close()
        except EncodingError:
            return None

    for coding in CODINGS:
        whole = verdict(coding, [data])
        assert whole is None or len(whole) <= most, "more came out than the limit"
        for chunks in cuttings(data):
            assert verdict(coding, chunks) == whole, "the verdict depends on the cutting"
        encoder = encoder_for(coding)
        assert encoder is not None, f"{coding} is a coding of ours"
        encoded = encoder.feed(data[:64]) + encoder.flush()
        decoder = decoder_for(coding, max_size=most, max_ratio=200)
        assert decoder is not None, f"{coding} is a coding of ours"
        assert decoder.feed(encoded) == data[:64], "what was flushed cannot be read"
        encoded += encoder.feed(data[64:]) + encoder.close()
        assert verdict(coding, [encoded]) == data, "what was encoded does not decode to itself"
