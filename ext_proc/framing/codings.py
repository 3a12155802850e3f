"""One reader and one writer for each content coding, over zlib, brotli and zstd.

Rules:
- A reader makes at most STEP bytes before it hands them out; asked for no more, it makes no more.
- gzip and zstd bodies may have several members (RFC 1952, section 2.2; RFC 8878, section 3), up to MAX_MEMBERS; after
  the last nothing may follow. deflate and br are one member.
- deflate is a zlib stream (RFC 9110, section 8.4.1.2); a bare one, as some servers send, is told by its first bytes.
- A zstd window is at most 8 MiB (RFC 9659, section 3), whatever the frame's size.
- Writers trade some density for speed and memory: they work in an event loop, and a stream keeps one for long.

Not here: limits on the whole, several codings on one body (content_encoding.py).
"""

from __future__ import annotations

import sys
import zlib
from collections.abc import Callable, Iterator, Mapping
from typing import Protocol

import brotli  # type: ignore[import-untyped]

from ext_proc.errors import GatehouseError

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

STEP = 64 * 1024
MAX_MEMBERS = 10_000  # a member of no output costs 20 bytes or fewer to send, and microseconds to open

# brotli honours its limit in whole blocks only: 32 752 bytes, then twice that more. Within the first it is exact.
_BROTLI_STEP = 32_000
_ZLIB_METHOD = 8
_GZIP_WRAPPER = 16 + zlib.MAX_WBITS
_ZSTD_WINDOW_LOG = 23
_ZSTD_OPTIONS: Mapping[int, int] = {zstd.DecompressionParameter.window_log_max: _ZSTD_WINDOW_LOG}
_GZIP_OPENS = b"\x1f"
_ZSTD_OPENS = b"\x28" + bytes(range(0x50, 0x60))  # a frame, or a skippable one

_DEFLATE_LEVEL = 4
_BROTLI_QUALITY = 4
_ZSTD_LEVEL = 3
_WINDOW_LOG = 18  # of what we write: 256 KiB


class EncodingError(GatehouseError):
    """An encoded body that is not read.

    Attributes:
        reason: a slug: encoding-malformed (also where something follows the end: brotli does not tell the two apart),
            encoding-truncated, encoding-too-large, encoding-ratio, encoding-too-many-members.
        detail: the same in words, without a byte of the payload.
    """

    def __init__(self, reason: str, detail: str) -> None:
        super().__init__(detail)
        self.reason = reason
        self.detail = detail


class Reader(Protocol):
    """Undoes one coding."""

    def pieces(self, data: bytes) -> Iterator[bytes]:
        """All that `data` adds to the output, in pieces of at most STEP bytes.

        Raises:
            EncodingError: this is not of the coding.
        """
        ...

    @property
    def complete(self) -> bool:
        """Whether the input may end here."""
        ...


class Writer(Protocol):
    """Applies one coding."""

    def feed(self, data: bytes) -> bytes: ...

    def flush(self) -> bytes:
        """What makes all that was fed readable."""
        ...

    def close(self) -> bytes: ...


class _Member(Protocol):
    """A reader of one member. Its `pieces` raises its library's own error."""

    def pieces(self, data: bytes) -> Iterator[bytes]: ...

    @property
    def ended(self) -> bool: ...

    @property
    def unused(self) -> bytes:
        """What stood behind its end in the data that held the end."""
        ...


class _Members:
    """The reader of a coding.

    Args:
        coding: its name.
        new: makes the reader of a member.
        opens: the bytes that a further member may begin with; b"" if there is no further one.
    """

    def __init__(self, coding: str, new: Callable[[], _Member], opens: bytes = b"") -> None:
        self._coding = coding
        self._new = new
        self._opens = opens
        self._member: _Member | None = None
        self._begun = 0

    @property
    def complete(self) -> bool:
        return self._member is None or self._member.ended

    def pieces(self, data: bytes) -> Iterator[bytes]:
        while data:
            member = self._member
            if member is None or member.ended:
                self._member = member = self._begin(data[0])
            try:
                yield from member.pieces(data)
            except (zlib.error, zstd.ZstdError, brotli.error):
                raise self._malformed("the body is not {}, or asks for too much memory") from None
            data = member.unused if member.ended else b""

    def _begin(self, first: int) -> _Member:
        if self._begun and first not in self._opens:
            raise self._malformed("something follows the end of the {} body")
        if self._begun == MAX_MEMBERS:
            raise EncodingError("encoding-too-many-members", f"the body has more than {MAX_MEMBERS} members")
        self._begun += 1
        return self._new()

    def _malformed(self, detail: str) -> EncodingError:
        return EncodingError("encoding-malformed", detail.format(self._coding))


class _Inflate:
    """A deflate stream in the wrapper that `wbits` stands for (zlib's own parameter)."""

    def __init__(self, wbits: int) -> None:
        self._inflate = zlib.decompressobj(wbits)

    @property
    def ended(self) -> bool:
        return self._inflate.eof

    @property
    def unused(self) -> bytes:
        return self._inflate.unused_data

    def pieces(self, data: bytes) -> Iterator[bytes]:
        while True:
            piece = self._inflate.decompress(data, STEP)
            if piece:
                yield piece
            data = self._inflate.unconsumed_tail
            # A full piece may be all of the input and yet not all of the output.
            if self._inflate.eof or (not data and len(piece) < STEP):
                return


class _Deflate:
    """A zlib stream, or a bare deflate stream."""

    def __init__(self) -> None:
        self._head = b""
        self._stream: _Inflate | None = None

    @property
    def ended(self) -> bool:
        return self._stream is not None and self._stream.ended

    @property
    def unused(self) -> bytes:
        return b"" if self._stream is None else self._stream.unused

    def pieces(self, data: bytes) -> Iterator[bytes]:
        if self._stream is None:
            data = self._head = self._head + data
            if len(data) < 2:
                return
            self._stream = _Inflate(zlib.MAX_WBITS if _is_zlib(data) else -zlib.MAX_WBITS)
        yield from self._stream.pieces(data)


def _is_zlib(head: bytes) -> bool:
    """Whether a zlib header begins `head` (RFC 1950, section 2.2).

    No bare stream of a known compressor does: it would begin with a stored block whose padding is not zero.
    """
    return head[0] & 0x0F == _ZLIB_METHOD and int.from_bytes(head[:2], "big") % 31 == 0


class _Brotli:
    def __init__(self) -> None:
        self._decoder = brotli.Decompressor()

    @property
    def ended(self) -> bool:
        return bool(self._decoder.is_finished())

    unused = b""

    def pieces(self, data: bytes) -> Iterator[bytes]:
        while True:
            piece: bytes = self._decoder.process(data, output_buffer_limit=_BROTLI_STEP)
            if piece:
                yield piece
            data = b""
            # With all input taken, output may still wait: only a short piece is the last one.
            if self._decoder.is_finished() or (self._decoder.can_accept_more_data() and len(piece) < _BROTLI_STEP):
                return


class _Zstd:
    """A frame; a skippable one has no output."""

    def __init__(self) -> None:
        self._decoder = zstd.ZstdDecompressor(options=_ZSTD_OPTIONS)
        self._begun = False

    @property
    def ended(self) -> bool:
        return self._decoder.eof

    @property
    def unused(self) -> bytes:
        return self._decoder.unused_data

    def pieces(self, data: bytes) -> Iterator[bytes]:
        if not self._begun:
            # Given a whole small frame at once, the library takes a short way that does not look at the window's size.
            # It does not find that way when the first byte came before.
            self._begun = True
            self._decoder.decompress(data[:1])
            data = data[1:]
        while True:
            piece = self._decoder.decompress(data, STEP)
            if piece:
                yield piece
            if self._decoder.eof or self._decoder.needs_input:
                return
            data = b""


class _DeflateWriter:
    def __init__(self, wbits: int) -> None:
        self._encoder = zlib.compressobj(_DEFLATE_LEVEL, wbits=wbits)

    def feed(self, data: bytes) -> bytes:
        return self._encoder.compress(data)

    def flush(self) -> bytes:
        return self._encoder.flush(zlib.Z_SYNC_FLUSH)

    def close(self) -> bytes:
        return self._encoder.flush(zlib.Z_FINISH)


class _BrotliWriter:
    def __init__(self) -> None:
        self._encoder = brotli.Compressor(quality=_BROTLI_QUALITY, lgwin=_WINDOW_LOG)

    def feed(self, data: bytes) -> bytes:
        return bytes(self._encoder.process(data))

    def flush(self) -> bytes:
        return bytes(self._encoder.flush())

    def close(self) -> bytes:
        return bytes(self._encoder.finish())


class _ZstdWriter:
    def __init__(self) -> None:
        parameters = zstd.CompressionParameter
        self._encoder = zstd.ZstdCompressor(
            options={parameters.compression_level: _ZSTD_LEVEL, parameters.window_log: _WINDOW_LOG}
        )

    def feed(self, data: bytes) -> bytes:
        return self._encoder.compress(data)

    def flush(self) -> bytes:
        return self._encoder.flush(self._encoder.FLUSH_BLOCK)

    def close(self) -> bytes:
        return self._encoder.flush(self._encoder.FLUSH_FRAME)


READERS: Mapping[str, Callable[[], Reader]] = {
    "gzip": lambda: _Members("gzip", lambda: _Inflate(_GZIP_WRAPPER), _GZIP_OPENS),
    "deflate": lambda: _Members("deflate", _Deflate),
    "br": lambda: _Members("br", _Brotli),
    "zstd": lambda: _Members("zstd", _Zstd, _ZSTD_OPENS),
}

WRITERS: Mapping[str, Callable[[], Writer]] = {
    "gzip": lambda: _DeflateWriter(_GZIP_WRAPPER),
    "deflate": lambda: _DeflateWriter(zlib.MAX_WBITS),
    "br": _BrotliWriter,
    "zstd": _ZstdWriter,
}
