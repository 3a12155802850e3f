"""Content codings: gzip, deflate, br and zstd, undone and done again chunk by chunk (RFC 9110, section 8.4).

Rules:
- The output does not depend on how the input was cut, nor does whether there is an error; which one it is, and how much
  came out before it, may: the libraries keep to themselves what they made in the step that fails.
- A bomb is stopped while it opens: no more is made than the limit and one step, and work per byte is bounded too.
- What is cut off, corrupt, or followed by anything else is an error, for two readers could read it in two ways. The
  one exception is a body of no bytes: it stands for no bytes in every coding, as servers and clients have it.
- After an error a decoder stays in error. An error's text holds nothing of the payload.
- An encoder lets go all that it was fed when it is flushed, so that an event never waits for the next one.

Not here: each coding's own reader and writer (codings.py); whether a changed body is encoded again or sent as it is.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from ext_proc.framing.codings import READERS, WRITERS, EncodingError, Reader, Writer

__all__ = ["Compressor", "Decompressor", "EncodingError", "decoder_for", "encoder_for"]

MAX_CODINGS = 2  # one on top of another; more has no honest use
RATIO_FLOOR = 64 * 1024  # bytes of output up to which the ratio is not judged: short, plain text packs very well
_GRID = 4 * 1024  # bytes of input between two points at which the ratio is judged
_ALIASES = {"x-gzip": "gzip"}  # RFC 9110, section 8.4.1.3
_NO_CODING = ("", "identity")


def decoder_for(content_encoding: str, *, max_size: int, max_ratio: int) -> Decompressor | None:
    """What undoes `content-encoding`.

    Args:
        content_encoding: the header's value; several lines of it joined by commas. "" and "identity" pass through.
        max_size: the most bytes that come out, in bytes.
        max_ratio: the most bytes that come out for each byte that came, once RATIO_FLOOR of them did.

    Returns:
        None if it names a coding that is not known, or more than MAX_CODINGS of them.
    """
    names = _names(content_encoding)
    if names is None:
        return None
    # The header lists them in the order in which they were applied.
    return Decompressor([READERS[name]() for name in reversed(names)], max_size, max_ratio)


def encoder_for(content_encoding: str) -> Compressor | None:
    """What applies `content-encoding`; None where `decoder_for` would say None."""
    names = _names(content_encoding)
    return None if names is None else Compressor([WRITERS[name]() for name in names])


class Decompressor:
    """Undoes the codings of one body; made by `decoder_for`."""

    def __init__(self, readers: Sequence[Reader], max_size: int, max_ratio: int) -> None:
        self._readers = readers
        self._max_size = max_size
        self._max_ratio = max_ratio
        self._received = 0
        self._made = [0] * (len(readers) or 1)  # bytes, of each reader
        self._failure: EncodingError | None = None

    def feed(self, data: bytes) -> bytes:
        """All that can be read with `data`; at most `max_size` bytes.

        Raises:
            EncodingError: see its `reason`.
        """
        return b"".join(self.pieces(data))

    def pieces(self, data: bytes) -> Iterator[bytes]:
        """The same in pieces of at most 64 KiB (uncoded data: as it came), each made when it is asked for.

        So a reader with a limit of its own can stop early. The iterator is to be exhausted before the next call.

        Raises:
            EncodingError: as for `feed`.
        """
        self._refuse_after_failure()
        try:
            yield from self._decode(data)
        except EncodingError as error:
            self._failure = error
            raise

    def close(self) -> bytes:
        """The end of the body. Nothing is ever held back until then, so there are no bytes left.

        Raises:
            EncodingError: the input was cut off, or it was shorter than its output admits.
        """
        self._refuse_after_failure()
        try:
            if not all(reader.complete for reader in self._readers):
                raise EncodingError("encoding-truncated", "the encoded body ended too early")
            if self._readers:
                self._judge_ratio(self._received)
        except EncodingError as error:
            self._failure = error
            raise
        return b""

    def _decode(self, data: bytes) -> Iterator[bytes]:
        if not self._readers:
            self._received += len(data)
            self._count(0, len(data))
            yield data
            return
        start = 0
        while start < len(data):
            end = min(start + _GRID - self._received % _GRID, len(data))
            self._received += end - start
            yield from self._through(0, data[start:end])
            start = end

    def _through(self, index: int, data: bytes) -> Iterator[bytes]:
        if index == len(self._readers):
            yield data
            return
        for piece in self._readers[index].pieces(data):
            self._count(index, len(piece))
            yield from self._through(index + 1, piece)

    def _count(self, index: int, size: int) -> None:
        """Counts what one reader made. What goes from one to the next is limited like what comes out."""
        self._made[index] += size
        if self._made[index] > self._max_size:
            raise EncodingError("encoding-too-large", f"the decoded body is larger than {self._max_size} bytes")
        if self._readers:
            # As if all input up to the next point of the grid had come: bytes judged one by one, as they come, would
            # make the verdict depend on how they were cut.
            self._judge_ratio(-(-self._received // _GRID) * _GRID)

    def _judge_ratio(self, received: int) -> None:
        if max(self._made) > max(self._max_ratio * received, RATIO_FLOOR):
            raise EncodingError("encoding-ratio", f"the body expands to more than {self._max_ratio} times its size")

    def _refuse_after_failure(self) -> None:
        if self._failure is not None:
            raise EncodingError(self._failure.reason, self._failure.detail)


class Compressor:
    """Applies the codings of one body; made by `encoder_for`. What it returns is to be sent in that order."""

    def __init__(self, writers: Sequence[Writer]) -> None:
        self._writers = writers

    def feed(self, data: bytes) -> bytes:
        """Takes `data`; the bytes that are ready, which may be none."""
        for writer in self._writers:
            data = writer.feed(data)
        return data

    def flush(self) -> bytes:
        """The bytes with which a receiver can read all that was fed so far. Costs a few bytes each time."""
        data = b""
        for writer in self._writers:
            data = writer.feed(data) + writer.flush()
        return data

    def close(self) -> bytes:
        """The last bytes; nothing may be fed afterwards."""
        data = b""
        for writer in self._writers:
            data = writer.feed(data) + writer.close()
        return data


def _names(content_encoding: str) -> list[str] | None:
    """The codings in the order in which they were applied; empty list elements count for nothing (section 5.6.1.2)."""
    names = [name for part in content_encoding.split(",") if (name := part.strip(" \t").lower()) not in _NO_CODING]
    names = [_ALIASES.get(name, name) for name in names]
    return names if len(names) <= MAX_CODINGS and all(name in READERS for name in names) else None
