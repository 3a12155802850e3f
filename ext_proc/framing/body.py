"""A body held whole up to a limit, and let go in spans past it.

Rules:
- Never more than the limit and one span is held (and the chunk just fed).
- Spans lie on a fixed grid from the body's start, so that they do not depend on how the bytes were cut.

Not here: what the body is.
"""

from __future__ import annotations

SPAN = 64 * 1024  # bytes of a piece of something that is too large to hold


class WholeBody:
    """Collects a body.

    Args:
        limit: bytes that are held; a longer body is handed out again in spans: `limit` bytes, then SPAN bytes each.
    """

    __slots__ = ("_chunks", "_held", "_room", "too_large")

    def __init__(self, limit: int) -> None:
        self._chunks: list[bytes] = []
        self._held = 0
        self._room = limit
        self.too_large = False

    def feed(self, data: bytes) -> list[bytes]:
        """Takes `data`; the spans that are ready: none while the body is within the limit."""
        if not data:
            return []
        self._chunks.append(data)
        self._held += len(data)
        if self._held <= self._room:
            return []
        held = b"".join(self._chunks)
        spans: list[bytes] = []
        start = 0
        while len(held) - start > self._room:
            spans.append(held[start : start + self._room])
            start += self._room
            self._room = SPAN
        self.too_large = True
        self._chunks = [held[start:]]
        self._held = len(held) - start
        return spans

    def close(self) -> bytes:
        """The end: the whole body, or the last span of one that is too large."""
        rest = b"".join(self._chunks)
        self._chunks.clear()
        self._held = 0
        return rest
