"""framing/header_value.py: any text survives a header, and no text can break out of one."""

from __future__ import annotations

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from mcp.shared.inbound import decode_header_value as sdk_decode
from mcp.shared.inbound import encode_header_value as sdk_encode

from ext_proc.framing.header_value import decode_header_value, encode_header_value, read_header_value

TEXT = st.text(st.characters(exclude_categories=["Cs"]))


@pytest.mark.parametrize("text", ["", "get_weather", "a b", "tools/call", "=?base64", "=?base64?="])
def test_plain_text_travels_as_it_is(text: str) -> None:
    assert encode_header_value(text) == text


@pytest.mark.parametrize("text", [" a", "a ", "a\r\nx: y", "Zürich", "\x7f", "\t", "=?base64?YQ==?="])
def test_what_a_header_cannot_carry_is_wrapped(text: str) -> None:
    wrapped = encode_header_value(text)
    assert wrapped.startswith("=?base64?")
    assert decode_header_value(wrapped) == text


@pytest.mark.parametrize(
    "value", ["=?base64?!?=", "=?base64?YR==?=", "=?base64?YQ?=", "=?base64?/w==?=", "=?base64?é?="]
)
def test_a_broken_wrapping_stands_for_nothing(value: str) -> None:
    assert decode_header_value(value) is None


@given(TEXT)
@example("=?base64??=")
@example("=?base64?=")
def test_values_are_those_of_the_official_sdk(text: str) -> None:
    value = encode_header_value(text)
    assert value == sdk_encode(text)
    assert decode_header_value(value) == sdk_decode(value) == text


@given(st.text())
def test_a_value_never_holds_more_than_printable_ascii(text: str) -> None:
    value = encode_header_value(text)
    assert value.isascii()
    assert value == "" or value.isprintable()


@pytest.mark.parametrize(
    ("line", "text"),
    [
        (b"echo", "echo"),
        (b"", ""),
        (b"=?base64?w6Q=?=", "\u00e4"),
        (b"=?base64?w6Q?=", None),
        (b"\xc3\xa4", None),
        (b"a\tb", None),
    ],
)
def test_a_line_is_read_where_it_is_printable_ascii(line: bytes, text: str | None) -> None:
    assert read_header_value(line) == text
