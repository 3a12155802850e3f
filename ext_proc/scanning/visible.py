"""Any text, safe to print on a terminal or to put in a page, with nothing in it that is not seen.

Rules:
- What people do not see is written as its code point and name, `⟨U+200B ZERO WIDTH SPACE⟩`; a control as what it is
  called, `⟨ESC⟩`; tag characters also as the ASCII that they spell, `⟨TAGS "hello"⟩`.
- Also those that hidden.py keeps where they belong (a joiner in an emoji): this is for reading what exactly is there.
- Also spaces other than U+0020, tab and carriage return (which would let a line be written over), characters that this
  Python knows no name for, and the brackets ⟨ and ⟩ themselves: whoever reads the result knows the text.
- What leaves holds no control but a line feed, and that only when asked for: it cannot move a terminal's cursor.

Not here: HTML's own escapes (whoever writes a page); colours; letters that are written from right to left, which are
seen, and which a terminal may still put in another order.
"""

from __future__ import annotations

import re

from ext_proc.scanning.hidden import CANDIDATE, name_of

_TAGS = re.compile("[\U000e0020-\U000e007e]++")
_TAG_BASE = 0xE0000
# All that hides has a character here or is not printable for Python, which counts other spaces as not printable.
_SHOWN = re.compile(rf"{_TAGS.pattern}|[\u27e8\u27e9]|{CANDIDATE.pattern}|[^\x20-\x7e]")


def visible(text: str, *, lines: bool = False) -> str:
    """The text with everything unseen written out.

    Args:
        text: any text, with lone surrogates too.
        lines: whether a line feed stays one; otherwise it is `⟨LF⟩`, and the result is one line.
    """

    def written(match: re.Match[str]) -> str:
        shown = match.group()
        if _TAGS.match(shown):
            return f'⟨TAGS "{"".join(chr(ord(tag) - _TAG_BASE) for tag in shown)}"⟩'
        if shown == "\n" and lines:
            return shown
        if shown.isprintable() and shown not in "⟨⟩" and not CANDIDATE.match(shown):
            return shown
        name = name_of(shown)
        return f"⟨{name}⟩" if ord(shown) <= 0x9F else f"⟨U+{ord(shown):04X} {name}⟩"

    return _SHOWN.sub(written, text)
