"""tool_view: exact text, line by line, and nothing in it that a terminal obeys or that nobody sees."""

from __future__ import annotations

import io
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from ext_proc.pins.canonical import canonical, digest_of
from ext_proc.pins.records import PINNED, QUARANTINED, Pin, Version
from ext_proc.server.tool_view import INSTRUCTIONS, Row, as_json, lines_of, show_diff, show_table

OLD = canonical({"name": "read", "description": "Reads.\nSlowly.", "max": 2**63 - 1, "tags": ["a", "b"]})
NEW = canonical({"name": "read", "description": "Reads.\nQuickly.\u200b", "max": 2**63 - 1, "tags": ["a", "b"]})


def version(form: bytes, **more: Any) -> Version:
    return Version(digest_of(form), len(form), 0.0, **more)


CHANGED = Pin(QUARANTINED, 86_400.0, ("changed",), (version(OLD, by="ann\x1b[2J", at=1.0),), (version(NEW),))


def printed(row: Row, forms: dict[str, bytes | None], *, terminal: bool = False) -> str:
    out = Console(file=io.StringIO(), width=200, force_terminal=terminal, color_system="standard" if terminal else None)
    show_diff(row, row.shown, forms, out)
    return out.file.getvalue()  # type: ignore[attr-defined,no-any-return]  # a StringIO


def test_a_definition_is_shown_one_member_to_a_line_and_exactly() -> None:
    assert lines_of(OLD) == [
        "{",
        '  "description": "Reads.\\n',
        '    Slowly.",',
        '  "max": 9223372036854775807.0,',
        '  "name": "read",',
        '  "tags": [',
        '    "a",',
        '    "b"',
        "  ]",
        "}",
    ]


@given(
    st.recursive(
        st.none()
        | st.booleans()
        | st.integers()
        | st.floats(allow_nan=False, allow_infinity=False)
        | st.text(st.characters(exclude_categories=["Cs"])),
        lambda inner: (
            st.lists(inner, max_size=3)
            | st.dictionaries(st.text(st.characters(exclude_categories=["Cs"]), max_size=3), inner, max_size=3)
        ),
        max_leaves=6,
    )
)
def test_whatever_a_server_wrote_each_line_is_printable(value: Any) -> None:
    lines = lines_of(canonical(value))
    assert all(line.isprintable() for line in lines)
    assert "".join(lines).strip() != ""


def test_a_changed_sentence_is_a_changed_line_and_what_is_hidden_is_written_out() -> None:
    shown = printed(Row("docs", "read", CHANGED), {digest_of(OLD): OLD, digest_of(NEW): NEW})
    assert "docs read: quarantined since 1970-01-02T00:00:00Z" in shown
    assert "why: changed" in shown
    assert f"--- sha256:{digest_of(OLD)}, approved 1970-01-01T00:00:01Z by ann⟨ESC⟩[2J" in shown
    assert '-    Slowly.",\n+    Quickly.⟨U+200B ZERO WIDTH SPACE⟩",' in shown
    assert "\x1b" not in shown


def test_colours_are_for_terminals() -> None:
    forms: dict[str, bytes | None] = {digest_of(OLD): OLD, digest_of(NEW): NEW}
    assert "\x1b[32m" in printed(Row("docs", "read", CHANGED), forms, terminal=True)


def test_what_is_too_long_to_be_compared_is_shown_whole() -> None:
    lines = [str(number) for number in range(5000)]
    old, new = canonical({"enum": lines}), canonical({"enum": lines[::2] + lines[1::2]})
    pin = Pin(QUARANTINED, 0.0, ("changed",), (version(old),), (version(new),))
    shown = printed(Row("docs", "read", pin), {digest_of(old): old, digest_of(new): new})
    assert "too long to be compared" in shown
    assert sum(line.startswith("+ ") for line in shown.splitlines()) == 5002


def test_what_is_new_is_shown_whole() -> None:
    new = Pin(QUARANTINED, 0.0, ("new",), (), (version(NEW),))
    shown = printed(Row("docs", "read", new), {digest_of(NEW): NEW})
    assert "---" not in shown
    assert all(f"+{line}" in shown for line in lines_of(NEW))


def test_a_text_that_is_not_kept_is_told() -> None:
    assert "its text is not kept" in printed(Row("docs", "read", CHANGED), {digest_of(OLD): OLD, digest_of(NEW): None})
    assert "that was approved is not kept" in printed(
        Row("docs", "read", CHANGED), {digest_of(OLD): None, digest_of(NEW): NEW}
    )


@pytest.mark.parametrize(
    ("tool", "name"), [(None, INSTRUCTIONS), (INSTRUCTIONS, '"(instructions)"'), ("a\x1b\nb", "a⟨ESC⟩⟨LF⟩b")]
)
def test_no_tool_is_taken_for_the_instructions_or_reaches_the_terminal(tool: str | None, name: str) -> None:
    row = Row("docs", tool, CHANGED)
    assert row.name == name
    out = Console(file=io.StringIO(), width=200)
    show_table([row], out)
    (line,) = out.file.getvalue().splitlines()[1:]  # type: ignore[attr-defined]  # a StringIO
    assert line.split() == [
        "docs",
        *name.split(),
        "quarantined",
        "changed",
        digest_of(NEW)[:12],
        "1970-01-02T00:00:00Z",
    ]


def test_for_programs_it_is_json_in_ascii() -> None:
    pinned = Pin(PINNED, 0.0, approved=(version(OLD, by="first-use", at=0.0),))
    text = as_json([Row("docs", "r\u0435ad\x1b\x7f", CHANGED), Row("docs", None, pinned)])
    assert all(line.isascii() and line.isprintable() for line in text.splitlines())
    one, other = json.loads(text)
    assert (one["tool"], one["state"], one["why"]) == ("r\u0435ad\x1b\x7f", "quarantined", ["changed"])
    assert one["pending"] == [{"digest": f"sha256:{digest_of(NEW)}", "since": "1970-01-01T00:00:00Z", "kept": True}]
    assert (other["tool"], other["approved"][0]["by"], other["pending"]) == (None, "first-use", [])
