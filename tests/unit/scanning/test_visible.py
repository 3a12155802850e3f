"""scanning/visible.py: everything in a text is seen, and nothing of it does anything."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ext_proc.scanning.hidden import CANDIDATE, find
from ext_proc.scanning.visible import visible

TEXT = st.text(st.characters()) | st.text(
    st.sampled_from('ab"\u27e8\u27e9\n\r\t\x1b[\x9b\u200b\u200d\U000e0041\U000e0001 \u00a0')
)


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("Adds two numbers.", "Adds two numbers."),
        ("Grüße, 日本, 👍", "Grüße, 日本, 👍"),
        ("a\u200bb", "a⟨U+200B ZERO WIDTH SPACE⟩b"),
        ("a\u202eb", "a⟨U+202E RIGHT-TO-LEFT OVERRIDE⟩b"),
        ("\x1b[31mred", "⟨ESC⟩[31mred"),
        ("\x9b31mred", "⟨CSI⟩31mred"),
        ("a\rb\tc\x08", "a⟨CR⟩b⟨TAB⟩c⟨BS⟩"),
        ("a\nb", "a⟨LF⟩b"),
        ("a\u00a0b", "a⟨U+00A0 NO-BREAK SPACE⟩b"),
        ("\ud800", "⟨U+D800 SURROGATE⟩"),
        ("\ue000", "⟨U+E000 PRIVATE USE⟩"),
        ("\u0378", "⟨U+0378 UNASSIGNED⟩"),
        ("⟨ESC⟩", "⟨U+27E8 MATHEMATICAL LEFT ANGLE BRACKET⟩ESC⟨U+27E9 MATHEMATICAL RIGHT ANGLE BRACKET⟩"),
        ("\U000e0068\U000e0069\U000e0022", '⟨TAGS "hi""⟩'),
        ("\U000e0001\U000e0068\U000e007f", '⟨U+E0001 LANGUAGE TAG⟩⟨TAGS "h"⟩⟨U+E007F CANCEL TAG⟩'),
        ("👩\u200d💻", "👩⟨U+200D ZERO WIDTH JOINER⟩💻"),
    ],
)
def test_what_is_not_seen_is_written_out(text: str, shown: str) -> None:
    assert visible(text) == shown


def test_lines_stay_lines_when_they_are_asked_for() -> None:
    assert visible("a\nb\r\n", lines=True) == "a\nb⟨CR⟩\n"


@given(TEXT)
def test_what_leaves_hides_nothing_and_holds_no_control(text: str) -> None:
    shown = visible(text)
    assert find(shown) == []
    assert CANDIDATE.search(shown) is None
    assert shown.isprintable()
    assert visible(text, lines=True).replace("\n", "").isprintable()
    shown.encode()


@given(TEXT)
def test_the_text_can_be_read_back_from_it(text: str) -> None:
    controls = {visible(chr(code)): chr(code) for code in [*range(0x20), *range(0x7F, 0xA0)]}

    def read(match: re.Match[str]) -> str:
        if match["tags"] is not None:
            return "".join(chr(0xE0000 + ord(letter)) for letter in match["tags"])
        return chr(int(match["code"], 16)) if match["code"] else controls[match.group()]

    pattern = r'⟨(?:TAGS "(?P<tags>[ -~]*)"|U\+(?P<code>[0-9A-F]+) [^⟩]+|[A-Z0-9]+)⟩'
    assert re.sub(pattern, read, visible(text)) == text
