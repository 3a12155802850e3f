"""codecs/jsonrpc_claims.py: what some reader could take for a message."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from mcp_types import JSONRPCError, jsonrpc_message_adapter

from ext_proc.codecs.jsonrpc_claims import begins_like_json, is_marked

NOT_A_NUMBER = b'{"jsonrpc":"2.0","id":1,"error":{"code":-32042,"message":"m","data":NaN}}'
values = st.recursive(
    st.none() | st.text(max_size=3), lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner)
)


@pytest.mark.parametrize("value", [{"jsonrpc": "2.0"}, {"JsonRPC": None}, {"x": 1, "jsonrpc": []}])
def test_an_object_with_the_mark_could_be_a_message(value: Any) -> None:
    assert is_marked(value)


@pytest.mark.parametrize("value", [None, "jsonrpc", [{"jsonrpc": "2.0"}], {}, {"a": {"jsonrpc": "2.0"}}])
def test_anything_else_is_none(value: Any) -> None:
    assert not is_marked(value)


@given(st.lists(values) | st.dictionaries(st.text(), values), st.sampled_from(["", " ", "\r\n\t"]))
def test_json_begins_like_json_in_every_encoding(value: Any, before: str) -> None:
    for encoding in ("utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "utf-32", "utf-32-be"):
        assert begins_like_json((json.dumps(value)).encode(encoding))
    assert begins_like_json((before + json.dumps(value)).encode())


@pytest.mark.parametrize("page", [b"", b" \n", b"<html>", b"Not found", b'"{"', b"404 {}", b"\xff", b"\xc9galit\xe9"])
def test_an_error_page_does_not(page: bytes) -> None:
    assert not begins_like_json(page)


def test_the_official_client_reads_what_is_no_json() -> None:
    """Why what begins like JSON is no error page."""
    assert isinstance(jsonrpc_message_adapter.validate_json(NOT_A_NUMBER), JSONRPCError)
    assert begins_like_json(NOT_A_NUMBER)
