"""codecs/opaques.py: what stands in the place of bytes that are no message."""

from __future__ import annotations

import pytest

from ext_proc.codecs.opaques import NO_JSON, malformed, too_large, unterminated
from ext_proc.framing.json_view import JsonError, parse


def test_what_is_malformed_keeps_its_bytes_and_the_id_of_the_request_it_was_meant_to_be() -> None:
    opaque = malformed("a-reason", "some words", b"{", id=7)
    assert (opaque.reason, opaque.detail, opaque.raw, opaque.id) == ("a-reason", "some words", b"{", 7)
    assert opaque.malformed
    assert not opaque.too_large
    assert malformed("a-reason", "some words", b"{").id is None


def test_an_event_that_the_stream_s_end_cut_off_is_malformed() -> None:
    opaque = unterminated(b'{"a":')
    assert (opaque.reason, opaque.raw, opaque.malformed) == ("sse-unterminated", b'{"a":', True)


def test_what_is_past_a_limit_is_too_large_and_says_nothing_of_its_form() -> None:
    opaque = too_large(b"xxxx")
    assert (opaque.reason, opaque.raw, opaque.too_large, opaque.malformed) == ("too-large", b"xxxx", True, False)


@pytest.mark.parametrize("page", [b"", b"<h1>Bad Gateway</h1>", b"\xff\xfe"], ids=["empty", "html", "no UTF-8"])
def test_an_error_page_is_no_json(page: bytes) -> None:
    with pytest.raises(JsonError) as caught:
        parse(page, 8)
    assert caught.value.reason in NO_JSON


@pytest.mark.parametrize("document", [b'{"a":1,"a":2}', b"[[[]]]"], ids=["key twice", "too deep"])
def test_a_document_that_is_json_but_unacceptable_is_no_error_page(document: bytes) -> None:
    with pytest.raises(JsonError) as caught:
        parse(document, 2)
    assert caught.value.reason not in NO_JSON
