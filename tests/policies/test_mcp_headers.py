"""mcp_headers.py: what the headers of revision 2026-07-28 say, or the first fault in them."""

from __future__ import annotations

import pytest

from ext_proc.headers import Headers
from ext_proc.messages import RequestHead
from gatehouse_policies.mcp_headers import HeaderFault, Told, speaks_modern, told

MODERN = ("mcp-protocol-version", "2026-07-28")


def head(*lines: tuple[str, str], method: str = "POST") -> RequestHead:
    return RequestHead(
        method, "/mcp", "tools.example", Headers((name, value.encode("latin-1")) for name, value in lines)
    )


@pytest.mark.parametrize(
    ("method", "name", "expected"),
    [
        ("tools/call", "echo", Told("tools/call", "echo")),
        ("tools/call", "=?base64?ZWNobw==?=", Told("tools/call", "echo")),
        ("tools/call", "=?base64?w7xi?=", Told("tools/call", "\u00fcb")),
        ("tools/call", "", Told("tools/call", "")),
        ("resources/read", "file:///a b", Told("resources/read", "file:///a b")),
        ("tasks/get", "t-1", Told("tasks/get", "t-1")),
        ("tools/list", "of no meaning", Told("tools/list", "")),
        ("=?base64?w7xi?=", None, Told("\u00fcb", "")),
        ("tools/list", None, Told("tools/list", "")),
        (None, None, HeaderFault("header-missing", "Mcp-Method")),
        ("", None, Told("", "")),
        ("=?base64?dG9vbHMvY2FsbA==?=", "echo", HeaderFault("header-malformed", "Mcp-Method")),
        ("tools/call", None, HeaderFault("header-missing", "Mcp-Name")),
        ("tasks/cancel", None, HeaderFault("header-missing", "Mcp-Name")),
        ("tools/call", "=?base64?ZWNobw?=", HeaderFault("header-malformed", "Mcp-Name")),
        ("tools/call", "=?base64?/w==?=", HeaderFault("header-malformed", "Mcp-Name")),
        ("tools/call", "\u00fc", HeaderFault("header-malformed", "Mcp-Name")),
        ("tools/call", "a\tb", HeaderFault("header-malformed", "Mcp-Name")),
    ],
)
def test_what_the_headers_say(method: str | None, name: str | None, expected: object) -> None:
    lines = [MODERN]
    lines += [] if method is None else [("mcp-method", method)]
    lines += [] if name is None else [("mcp-name", name)]
    assert told(head(*lines)) == expected


@pytest.mark.parametrize("header", ["MCP-Protocol-Version", "Mcp-Method", "Mcp-Name"])
def test_a_header_that_stands_twice_is_a_fault_even_if_both_say_the_same(header: str) -> None:
    lines = [MODERN, ("mcp-method", "tools/call"), ("mcp-name", "echo")]
    again = [line for line in lines if line[0] == header.lower()]
    assert told(head(*lines, *again)) == HeaderFault("header-duplicated", header)


@pytest.mark.parametrize("value", ["2026-07-28, 2026-07-28", "2025-11-25,2026-07-28", "2026-07-28,"])
def test_versions_in_one_line_speak_the_revision_and_are_a_fault(value: str) -> None:
    request = head(("mcp-protocol-version", value), ("mcp-method", "tools/list"))
    assert told(request) == HeaderFault("header-malformed", "MCP-Protocol-Version")


def test_a_second_version_header_does_not_make_a_request_a_legacy_one() -> None:
    for lines in ([MODERN, ("mcp-protocol-version", "2025-11-25")], [("mcp-protocol-version", "2025-11-25"), MODERN]):
        assert speaks_modern(head(*lines))


@pytest.mark.parametrize("version", [None, "", "2025-11-25", "2027-01-01", "2026-07-28x"])
def test_other_revisions_say_nothing_by_their_headers(version: str | None) -> None:
    lines = [] if version is None else [("mcp-protocol-version", version)]
    assert told(head(*lines, ("mcp-method", "tools/call"))) is None


def test_gets_and_deletes_say_nothing() -> None:
    assert told(head(MODERN, method="GET")) is None
    assert told(head(MODERN, method="DELETE")) is None


def test_a_fault_has_words_for_the_caller() -> None:
    assert HeaderFault("header-missing", "Mcp-Name").message == "the header Mcp-Name is missing"
    assert HeaderFault("header-duplicated", "Mcp-Name").message == "the header Mcp-Name stands more than once"
    assert HeaderFault("header-malformed", "Mcp-Name").message == "the header Mcp-Name cannot be read"
