"""The laws of scanning/: what is found of a text's hidden characters, flags and names, for any text.

Rules:
- A target takes bytes and returns nothing; a broken law is an exception. Laws are asserts: this is test code.
- Bytes that are not UTF-8 become lone surrogates: a text may hold these too.

Not here: what must be found (tests/unit/scanning).
"""

from __future__ import annotations

from ext_proc.scanning.hidden import find, strip
from ext_proc.scanning.instructions import ALL_RULES, MOST, flag
from ext_proc.scanning.names import references, skeleton
from ext_proc.scanning.visible import visible


def texts(data: bytes) -> None:
    """Places lie in the text and in order; what is stripped hides nothing; what is shown is printable."""
    text = data.decode("utf-8", "surrogateescape")
    end = 0
    for hidden in find(text):
        assert end <= hidden.start < hidden.end <= len(text), "a finding out of place"
        end = hidden.end
    bare = strip(text)
    assert not find(bare), "something hidden is left"
    assert visible(text).isprintable(), "what is shown is not printable"
    flags = flag(text)
    assert all(0 <= each.start < each.end <= len(text) for each in flags), "a flag out of place"
    assert len(flags) <= MOST * len(ALL_RULES), "more flags than there may be"
    once = skeleton(text)
    assert skeleton(once) == once, "a skeleton has another skeleton"
    names = text.split("\n")[:8]
    assert references(text, names) <= set(names), "a name that was not asked for"
