"""framing/content_encoding.py and codings.py: the same bytes however they are cut, and an error for anything else."""

from __future__ import annotations

import gzip
import random
import struct
import sys
import tracemalloc
import zlib
from collections.abc import Callable
from itertools import pairwise

import brotli  # type: ignore[import-untyped]
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from ext_proc.framing.codings import MAX_MEMBERS, STEP
from ext_proc.framing.content_encoding import (
    RATIO_FLOOR,
    Compressor,
    Decompressor,
    EncodingError,
    decoder_for,
    encoder_for,
)

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

MIB = 1024 * 1024
CODINGS = ("gzip", "deflate", "br", "zstd")
HEADERS = ("identity", *CODINGS, "gzip, br", "zstd, deflate", "gzip, gzip")


def bare_deflate(data: bytes) -> bytes:
    return zlib.compress(data, wbits=-15)


def zstd_with_window(log: int, data: bytes) -> bytes:
    encoder = zstd.ZstdCompressor(options={zstd.CompressionParameter.window_log: log})
    return encoder.compress(data) + encoder.flush()  # without its size in the frame, so that the window stands


def skippable_frame(size: int) -> bytes:
    return struct.pack("<II", 0x184D2A50, size) + bytes(size)


# What others write: by name, the header and the writer.
OTHERS: dict[str, tuple[str, Callable[[bytes], bytes]]] = {
    "gzip": ("gzip", gzip.compress),
    "gzip of several members": ("gzip", lambda data: gzip.compress(data[:5]) + gzip.compress(data[5:])),
    "zlib": ("deflate", zlib.compress),
    "zlib, stored": ("deflate", lambda data: zlib.compress(data, 0)),
    "bare deflate": ("deflate", bare_deflate),
    "brotli": ("br", brotli.compress),
    "brotli, fast": ("br", lambda data: bytes(brotli.compress(data, quality=1))),
    "brotli, 16 MiB window": ("br", lambda data: bytes(brotli.compress(data, lgwin=24))),
    "zstd": ("zstd", zstd.compress),
    "zstd, 8 MiB window": ("zstd", lambda data: zstd_with_window(23, data)),
    "zstd of several frames": (
        "zstd",
        lambda data: zstd.compress(data[:5]) + skippable_frame(3) + zstd.compress(data[5:]),
    ),
    "br over gzip": ("gzip, br", lambda data: bytes(brotli.compress(gzip.compress(data)))),
}
READERS: dict[str, Callable[[bytes], bytes]] = {
    "gzip": gzip.decompress,
    "deflate": zlib.decompress,
    "br": brotli.decompress,
    "zstd": zstd.decompress,
    "gzip, br": lambda data: gzip.decompress(brotli.decompress(data)),
}


def decoder(header: str, *, max_size: int = 64 * MIB, max_ratio: int = 1_000_000) -> Decompressor:
    found = decoder_for(header, max_size=max_size, max_ratio=max_ratio)
    assert found is not None
    return found


def encoder(header: str) -> Compressor:
    found = encoder_for(header)
    assert found is not None
    return found


def pieces_of(raw: bytes, cuts: list[int]) -> list[bytes]:
    bounds = [0, *sorted(min(cut, len(raw)) for cut in cuts), len(raw)]
    return [raw[a:b] for a, b in pairwise(bounds)]


def verdict(found: Decompressor, chunks: list[bytes]) -> bytes | str:
    """What comes out, or the reason why nothing is to be taken from it."""
    try:
        return b"".join([*[found.feed(chunk) for chunk in chunks], found.close()])
    except EncodingError as error:
        return error.reason


def encode(header: str, chunks: list[bytes]) -> bytes:
    found = encoder(header)
    return b"".join([*[found.feed(chunk) for chunk in chunks], found.close()])


def text_of(size: int) -> bytes:
    """Text as a model writes it: packs neither very well nor badly."""
    words = [b"the", b"gateway", b"reads", b'"delta":', b"\n\n", b"data: ", b"{", b"}", b"tool", b"1729"]
    chosen = random.Random(size)
    return b" ".join(chosen.choices(words, k=size // 3 + 1))[:size]


def bodies() -> st.SearchStrategy[bytes]:
    """Short ones of any bytes, and long ones past every step, some of which pack to nearly nothing."""
    return st.one_of(
        st.binary(max_size=200),
        st.integers(0, 3 * STEP).map(text_of),
        st.builds(lambda unit, size: (unit * size)[:size], st.binary(min_size=1, max_size=3), st.integers(1, 5 * STEP)),
    )


def cuts() -> st.SearchStrategy[list[int]]:
    return st.lists(st.integers(0, 4 * STEP) | st.integers(0, 60), max_size=8)


@given(st.sampled_from(HEADERS), bodies(), cuts(), cuts())
def test_what_was_encoded_decodes_to_itself(header: str, body: bytes, before: list[int], after: list[int]) -> None:
    assert verdict(decoder(header), pieces_of(encode(header, pieces_of(body, before)), after)) == body


@given(st.sampled_from(sorted(READERS)), bodies(), cuts())
def test_others_read_what_we_write(header: str, body: bytes, at: list[int]) -> None:
    assert READERS[header](encode(header, pieces_of(body, at))) == body


@given(st.sampled_from(sorted(OTHERS)), bodies(), cuts())
@example("brotli", b"x" * (STEP + 1), [])  # the input is used up before the output
def test_what_others_write_is_read_however_it_is_cut(name: str, body: bytes, at: list[int]) -> None:
    header, write = OTHERS[name]
    assert verdict(decoder(header), pieces_of(write(body), at)) == body


@pytest.mark.parametrize("name", sorted(OTHERS))
def test_a_body_may_come_byte_by_byte(name: str) -> None:
    header, write = OTHERS[name]
    raw = write(text_of(5000) + b"x" * 200_000)
    assert verdict(decoder(header), [raw[i : i + 1] for i in range(len(raw))]) == text_of(5000) + b"x" * 200_000


@pytest.mark.parametrize("name", ["gzip", "zlib", "bare deflate", "brotli, fast", "zstd"])
def test_a_body_may_end_anywhere_near_a_step(name: str) -> None:
    header, write = OTHERS[name]
    for size in range(STEP - 2, STEP + 260):  # a match of deflate is at most 258 bytes
        raw = write(b"x" * size)
        assert len(verdict(decoder(header), [raw])) == size


@given(st.sampled_from(HEADERS), st.binary(max_size=80), cuts())
def test_any_bytes_are_read_or_refused_however_they_are_cut(header: str, raw: bytes, at: list[int]) -> None:
    assert verdict(decoder(header), pieces_of(raw, at)) == verdict(decoder(header), [raw])


@given(st.sampled_from(sorted(OTHERS)), bodies(), st.integers(0), st.binary(min_size=1, max_size=3), cuts())
def test_a_damaged_body_is_read_or_refused_however_it_is_cut(
    name: str, body: bytes, where: int, damage: bytes, at: list[int]
) -> None:
    header, write = OTHERS[name]
    raw = bytearray(write(body))
    where %= len(raw)
    raw[where : where + len(damage)] = damage
    assert verdict(decoder(header), pieces_of(bytes(raw), at)) == verdict(decoder(header), [bytes(raw)])


@given(st.sampled_from(["gzip", "deflate"]), st.integers(0), st.integers(1, 255))
def test_where_a_checksum_stands_a_changed_byte_is_never_a_changed_body(coding: str, where: int, change: int) -> None:
    body = text_of(300)
    raw = bytearray(encode(coding, [body]))
    raw[where % len(raw)] ^= change
    found = verdict(decoder(coding), [bytes(raw)])
    assert found == body or isinstance(found, str)


@pytest.mark.parametrize("name", sorted(set(OTHERS) - {"gzip of several members", "zstd of several frames"}))
def test_a_body_cut_off_anywhere_is_an_error(name: str) -> None:
    header, write = OTHERS[name]
    raw = write(text_of(200))
    assert {verdict(decoder(header), [raw[:end]]) for end in range(1, len(raw))} == {"encoding-truncated"}


@pytest.mark.parametrize("header", HEADERS)
def test_no_bytes_stand_for_no_bytes(header: str) -> None:
    assert verdict(decoder(header), []) == b""
    assert verdict(decoder(header), [b""]) == b""


@pytest.mark.parametrize("name", sorted(OTHERS))
@pytest.mark.parametrize("tail", [b"\0", b"x", b'{"more": true}'])
def test_nothing_may_follow_the_end(name: str, tail: bytes) -> None:
    header, write = OTHERS[name]
    raw = write(text_of(200))
    assert verdict(decoder(header), [raw + tail]) == "encoding-malformed"
    assert verdict(decoder(header), [raw, tail]) == "encoding-malformed"


@pytest.mark.parametrize(("coding", "member"), [("gzip", gzip.compress(b"", mtime=0)), ("zstd", skippable_frame(0))])
def test_members_are_counted(coding: str, member: bytes) -> None:
    assert verdict(decoder(coding), [member * MAX_MEMBERS]) == b""
    assert verdict(decoder(coding), [member * (MAX_MEMBERS + 1)]) == "encoding-too-many-members"


def test_a_zstd_window_is_at_most_8_mib() -> None:
    assert verdict(decoder("zstd"), [zstd_with_window(23, b"hello")]) == b"hello"
    assert verdict(decoder("zstd"), [zstd_with_window(24, b"hello")]) == "encoding-malformed"


@pytest.mark.parametrize("cut", [0, 1, 6])
def test_a_small_zstd_frame_with_a_large_window_is_refused_also_when_it_comes_at_once(cut: int) -> None:
    window, size, last_raw_block = (27 - 10) << 3, 5, (5 << 3) | 1
    raw = b"\x28\xb5\x2f\xfd\x80" + bytes([window]) + struct.pack("<I", size)
    raw += struct.pack("<I", last_raw_block)[:3] + b"hello"
    assert zstd.decompress(raw) == b"hello"
    assert verdict(decoder("zstd"), [raw[:cut], raw[cut:]]) == "encoding-malformed"


def test_a_zlib_stream_that_wants_a_dictionary_is_refused() -> None:
    writer = zlib.compressobj(zdict=b"hello")
    assert verdict(decoder("deflate"), [writer.compress(b"hello") + writer.flush()]) == "encoding-malformed"


@pytest.mark.parametrize("header", HEADERS)
def test_a_body_of_exactly_the_size_passes_and_one_byte_more_does_not(header: str) -> None:
    body = text_of(100_000)
    raw = encode(header, [body])
    assert verdict(decoder(header, max_size=100_000), [raw]) == body
    assert verdict(decoder(header, max_size=99_999), [raw]) == "encoding-too-large"


@pytest.fixture(scope="module")
def zeros() -> bytes:
    return bytes(64 * MIB)


@pytest.mark.parametrize("coding", CODINGS)
def test_a_bomb_takes_no_more_memory_than_the_limit_and_its_copy(coding: str, zeros: bytes) -> None:
    raw = encode(coding, [zeros])
    found = decoder(coding, max_size=MIB)
    tracemalloc.start()
    try:
        assert verdict(found, [raw]) == "encoding-too-large"
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 2 * MIB


@pytest.mark.parametrize("coding", CODINGS)
def test_a_bomb_is_stopped_by_its_ratio_while_it_opens(coding: str, zeros: bytes) -> None:
    raw = encode(coding, [zeros])
    made = 0
    reason = ""
    try:
        for piece in decoder(coding, max_ratio=20).pieces(raw):
            made += len(piece)
    except EncodingError as error:
        reason = error.reason
    assert reason == "encoding-ratio"
    assert made <= 20 * len(raw) + RATIO_FLOOR + 20 * 4096


def test_output_is_made_piece_by_piece_as_it_is_asked_for(zeros: bytes) -> None:
    for coding in CODINGS:
        found = decoder(coding, max_size=2 * STEP).pieces(encode(coding, [zeros]))
        assert 0 < len(next(found)) <= STEP


@pytest.mark.parametrize("coding", CODINGS)
def test_the_ratio_of_a_short_body_is_not_judged(coding: str) -> None:
    body = b"x" * RATIO_FLOOR
    assert verdict(decoder(coding, max_ratio=20), [encode(coding, [body])]) == body
    assert verdict(decoder(coding, max_ratio=20), [encode(coding, [body + b"x"])]) == "encoding-ratio"


@pytest.mark.parametrize("coding", CODINGS)
@pytest.mark.parametrize(
    ("before", "plain", "passes"),
    [(0, 70_000, True), (3000, 90_000, False)],
    ids=["plain for a moment", "too plain at a point of the grid"],
)
def test_the_ratio_is_judged_at_the_same_points_of_the_body_whatever_the_cuts(
    coding: str, before: int, plain: int, passes: bool
) -> None:
    dense = random.Random(1).randbytes
    parts = [dense(before), b"x" * plain, dense(10_000)]  # the whole of it is never past the ratio
    writer = encoder(coding)
    raw = b"".join([*[writer.feed(part) + writer.flush() for part in parts], writer.close()])
    expected = b"".join(parts) if passes else "encoding-ratio"
    for at in ([], [1], [150], [2000], [4095], [4096, 4097], [5000, 5001], list(range(0, len(raw), 7))):
        assert verdict(decoder(coding, max_ratio=20), pieces_of(raw, at)) == expected


@given(st.sampled_from([*CODINGS, "gzip, br"]), st.lists(bodies(), max_size=4), st.integers(1, 60), cuts())
def test_the_verdict_on_the_ratio_does_not_depend_on_the_cuts(
    header: str, parts: list[bytes], max_ratio: int, at: list[int]
) -> None:
    raw = encode(header, parts)
    whole = verdict(decoder(header, max_ratio=max_ratio), [raw])
    assert verdict(decoder(header, max_ratio=max_ratio), pieces_of(raw, at)) == whole


def test_what_one_coding_hands_to_the_next_is_limited_too() -> None:
    hidden = zstd.compress(b"hello") + skippable_frame(2 * MIB)  # 2 MiB that come to nothing
    raw = gzip.compress(hidden)
    assert verdict(decoder("zstd, gzip"), [raw]) == b"hello"
    assert verdict(decoder("zstd, gzip", max_size=MIB), [raw]) == "encoding-too-large"
    assert verdict(decoder("zstd, gzip", max_ratio=20), [raw]) == "encoding-ratio"


@pytest.mark.parametrize("header", HEADERS)
def test_an_event_is_readable_as_soon_as_it_was_flushed(header: str) -> None:
    writer, reader = encoder(header), decoder(header)
    for number in range(50):
        event = b'data: {"n": %d}\n\n' % number
        assert reader.feed(writer.feed(event) + writer.flush()) == event
    assert reader.feed(writer.close()) + reader.close() == b""


@pytest.mark.parametrize("header", HEADERS)
def test_flushing_without_need_changes_nothing(header: str) -> None:
    writer = encoder(header)
    raw = writer.flush() + writer.flush() + writer.feed(b"once") + writer.flush() + writer.flush() + writer.close()
    assert verdict(decoder(header), [raw]) == b"once"


@pytest.mark.parametrize("coding", CODINGS)
def test_after_an_error_a_decoder_stays_in_error(coding: str) -> None:
    found = decoder(coding)
    with pytest.raises(EncodingError):
        found.feed(b"\xff" * 40)
    assert verdict(found, [encode(coding, [b"fine"])]) == "encoding-malformed"
    assert verdict(found, []) == "encoding-malformed"


@pytest.mark.parametrize("header", ["", " ", "identity", "Identity", ", ,"])
def test_no_coding_passes_the_body_through(header: str) -> None:
    assert verdict(decoder(header, max_ratio=1), [b"as", b"it is"]) == b"asit is"
    assert encode(header, [b"as", b"it is"]) == b"asit is"


@pytest.mark.parametrize("header", ["GZIP", "x-gzip", " gzip\t", "identity, gzip", "gzip,,"])
def test_a_coding_is_known_by_each_of_its_spellings(header: str) -> None:
    assert verdict(decoder(header), [gzip.compress(b"hello")]) == b"hello"
    assert gzip.decompress(encode(header, [b"hello"])) == b"hello"


@pytest.mark.parametrize("header", ["compress", "gzip;q=1", "gzip br", "dcb", "\u017fst", "gzip, what", "br, br, br"])
def test_an_unknown_coding_or_too_many_are_not_read(header: str) -> None:
    assert decoder_for(header, max_size=1, max_ratio=1) is None
    assert encoder_for(header) is None


def test_an_error_tells_nothing_of_the_payload() -> None:
    for header in CODINGS:
        found = decoder(header)
        with pytest.raises(EncodingError) as caught:
            found.feed(b"\x1fsecret" * 20)
        assert "secret" not in str(caught.value) + repr(caught.value)
