"""codecs/jsonrpc_codes.py: the code of a denial's error."""

from __future__ import annotations

import pytest

from ext_proc.codecs.jsonrpc_codes import (
    DENIED,
    INVALID_PARAMS,
    INVALID_REQUEST,
    PARSE_ERROR,
    TOO_LARGE,
    code_of,
)
from ext_proc.messages import Message, ModelListing, Opaque
from ext_proc.policy import Deny


@pytest.mark.parametrize(
    ("message", "code"),
    [
        (ModelListing(b""), DENIED),
        (Opaque("not-mcp", "no"), DENIED),
        (Opaque("too-large", "no", too_large=True), TOO_LARGE),
        (Opaque("json-empty", "no", malformed=True), PARSE_ERROR),
        (Opaque("x-params", "no", malformed=True), INVALID_PARAMS),
        (Opaque("jsonrpc-invalid", "no", malformed=True), INVALID_REQUEST),
    ],
)
def test_what_could_not_be_read_is_told_by_its_code_unless_the_verdict_says_one(message: Message, code: int) -> None:
    assert code_of(message, Deny("a", "b"), params="x-") == code
    assert code_of(message, Deny("a", "b", code=-31900), params="x-") == -31900
