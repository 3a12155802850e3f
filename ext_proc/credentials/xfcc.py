"""The header `x-forwarded-client-cert` (XFCC), by its grammar and no more.

Rules (Envoy, HTTP header manipulation: x-forwarded-client-cert):
- Elements are separated by commas, pairs in an element by semicolons, key and value by the first equals sign; keys are
  case-insensitive. Each proxy adds its element at the end, so the last one is of the Envoy that asks us.
- A value in double quotes may hold any of these signs; in it a backslash belongs to the character after it (RFC 2253
  section 2.4, by which Envoy writes subjects). The value is what stands between the quotes.
- Anything else is malformed as a whole: what one reader takes for a value, another takes for an element.

Not here: whether the header can be believed (peer.py).
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from ext_proc.credentials.source import CredentialError

_KEY = re.compile(r"[A-Za-z][A-Za-z0-9_-]*")
_QUOTED = re.compile(r'"((?:[^"\\]|\\.)*)"', re.DOTALL)
_PLAIN = re.compile(r'[^",;]*')
_MANY = frozenset({"by", "uri", "dns"})  # a certificate may have several of these


@dataclass(frozen=True, slots=True)
class Element:
    """What one proxy says of its peer's certificate: the values of each key (lower case), in order."""

    values: Mapping[str, Sequence[str]]

    def all(self, key: str) -> Sequence[str]:
        return self.values.get(key, ())

    def first(self, key: str) -> str:
        """The first value of a key; "" if there is none."""
        return next(iter(self.all(key)), "")


def read_xfcc(value: bytes) -> list[Element]:
    """The elements, in order; at least one.

    Raises:
        CredentialError: it is not of the grammar.
    """
    try:
        text = value.decode("utf-8")
    except UnicodeDecodeError:
        raise CredentialError("peer-malformed") from None
    elements: list[Element] = []
    position = -1
    while position < len(text):
        # Blanks may follow a comma where a list of lines was folded into one (RFC 9110 section 5.3).
        start = len(text) - len(text[position + 1 :].lstrip(" \t"))
        element, position = _element(text, start)
        elements.append(element)
    return elements


def _element(text: str, position: int) -> tuple[Element, int]:
    """The element that begins at `position`, and where it ends: at a comma, or at the end."""
    values: dict[str, list[str]] = {}
    while True:
        key = _KEY.match(text, position)
        if key is None or text[key.end() : key.end() + 1] != "=":
            raise CredentialError("peer-malformed")
        position = key.end() + 1
        found = _QUOTED.match(text, position)
        value = found[1] if found is not None else ""
        if found is None:
            found = _PLAIN.match(text, position)
            assert found is not None  # it fits nothing at all, too
            value = found[0]
        position = found.end()
        name = key[0].lower()
        if name in values and name not in _MANY:
            raise CredentialError("peer-malformed")
        values.setdefault(name, []).append(value)
        end = text[position : position + 1]
        if end in ("", ","):
            return Element(values), position
        if end != ";":
            raise CredentialError("peer-malformed")
        position += 1
