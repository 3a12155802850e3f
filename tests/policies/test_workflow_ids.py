"""What headers say a request is a part of."""

from __future__ import annotations

from typing import Any

import pytest

from ext_proc.headers import Headers
from gatehouse_policies.workflow_ids import ids_in

TRACE = "0af7651916cd43dd8448eb211c80319c"


@pytest.mark.parametrize(
    ("lines", "by", "name", "expected"),
    [
        ([("x-id", b" a "), ("x-id", b"b")], "header", "x-id", ["a", "b"]),
        ([], "header", "x-id", []),
        ([("baggage", b"id=a%20b;p=1, other=c"), ("baggage", b"id = d")], "baggage", "id", ["a b", "d"]),
        ([("baggage", b"other=c")], "baggage", "id", []),
        ([("traceparent", f"00-{TRACE}-b7ad6b7169203331-01".encode())], "traceparent", "", [TRACE]),
        ([("traceparent", f"01-{TRACE}-b7ad6b7169203331-01-more".encode())], "traceparent", "", [TRACE]),
        ([("traceparent", b"00-00000000000000000000000000000000-b7ad6b7169203331-01")], "traceparent", "", []),
        ([("traceparent", b"no trace")], "traceparent", "", []),
    ],
)
def test_what_headers_say(lines: list[tuple[str, bytes]], by: Any, name: str, expected: list[str]) -> None:
    assert list(ids_in(Headers(lines), by, name)) == expected
