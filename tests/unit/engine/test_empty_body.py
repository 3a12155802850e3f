"""A body that should hold nothing: its end is the request, its first byte is opaque."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from ext_proc.codecs.codec import Frame
from ext_proc.engine.empty_body import EmptyBody
from ext_proc.messages import Opaque, StreamOpen

OPEN = StreamOpen(b"")


def frames_of(pieces: list[bytes]) -> list[Frame]:
    decoder = EmptyBody(OPEN, "GET")
    return [*(frame for piece in pieces for frame in decoder.feed(piece)), *decoder.close()]


@given(st.integers(0, 5))
def test_the_end_of_nothing_is_the_request(empty: int) -> None:
    (frame,) = frames_of([b""] * empty)
    assert (frame.raw, frame.messages) == (b"", (OPEN,))


@given(st.lists(st.binary(max_size=5)).filter(any))
def test_of_any_cutting_the_first_byte_is_opaque_and_all_bytes_stay(pieces: list[bytes]) -> None:
    found = frames_of(pieces)
    messages = [message for frame in found for message in frame.messages]
    assert [type(message) for message in messages] == [Opaque]
    assert isinstance(messages[0], Opaque)
    assert (messages[0].reason, messages[0].malformed) == ("unexpected-body", False)
    assert found[0].messages
    assert b"".join(frame.raw for frame in found) == b"".join(frame.encode({}) for frame in found) == b"".join(pieces)
