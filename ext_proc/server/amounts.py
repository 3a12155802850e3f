"""Numbers as people and programs write them into a table: with a currency, with separators, with either decimal mark.

Rules:
- What could be two numbers is none: `1,234` is refused where it may be a little more than one. Which mark stands before
  decimals is said, or nothing hangs on it.
- A number of tokens is whole.
- Nothing is made a number before its length and its exponent are known to be small: 1e999999 would take minutes.

Not here: which cells are read (invoice.py).
"""

from __future__ import annotations

import enum
import re
from decimal import Decimal
from typing import Final

LONGEST: Final = 64  # characters of a number
MAX_EXPONENT: Final = 30  # powers of ten, up or down

_CURRENCY = r"[A-Za-z]{0,3}[^\w\s.,+\-'()%]?"
_WRITTEN = re.compile(
    rf"(?P<before>[+-]?)\s*(?:{_CURRENCY})\s*(?P<sign>[+-]?)"
    r"(?P<number>[0-9.,](?:[0-9.,'\u2019\s]*[0-9.,])?)(?:[eE](?P<exponent>[+-]?[0-9]{1,4}))?"
    rf"\s*(?:{_CURRENCY})"
)


class Mark(enum.StrEnum):
    """What stands before decimals."""

    POINT = "point"
    COMMA = "comma"


def _plain(mark: str, separator: str) -> re.Pattern[str]:
    group = rf"(?P<between>[{separator}'\u2019\s])[0-9]{{3}}(?:(?P=between)[0-9]{{3}})*"
    return re.compile(rf"(?P<whole>[0-9]{{1,3}}{group}|[0-9]*)(?:[{mark}](?P<decimals>[0-9]*))?")


_PLAIN = {Mark.POINT: _plain(".", ","), Mark.COMMA: _plain(",", ".")}


def read_amount(text: str, mark: Mark | None) -> Decimal:
    """The number that a cell says; 0 where it says nothing.

    Args:
        mark: what stands before decimals; None where nobody said, then it is a point, and a comma only separates what
            it could not be the mark of.

    Raises:
        ValueError: it is no number, might be two, or is out of bounds; the text says what was expected.
    """
    return _read(text, mark, "a number", any_comma=False)


def read_count(text: str, mark: Mark | None) -> int:
    """The whole number that a cell says; see `read_amount`. Its comma separates, unless `mark` is that."""
    found = _read(text, mark, "a whole number", any_comma=True)
    if re.search(r"[0-9],[0-9]{3}\D*$" if mark is Mark.COMMA else r"[0-9]\.[0-9]{3}\D*$", text):
        raise ValueError(_twice(text))  # three noughts, or a thousand
    if found != found.to_integral_value():
        raise ValueError(f"expected a whole number, not {text.strip()!r}")
    return int(found)


def _read(text: str, mark: Mark | None, expected: str, *, any_comma: bool) -> Decimal:
    text = text.strip()
    if not text:
        return Decimal()
    if len(text) > LONGEST:
        raise ValueError(f"expected {expected}, not {len(text)} characters")
    written = _WRITTEN.fullmatch(text)
    plain = _PLAIN[mark or Mark.POINT].fullmatch(written["number"]) if written is not None else None
    if written is None or plain is None or not (plain["whole"] or plain["decimals"]):
        hint = "; say --decimal comma where that is the mark" if mark is None and "," in text else ""
        raise ValueError(f"expected {expected}, not {text!r}{hint}")
    exponent = int(written["exponent"] or 0)
    if abs(exponent) > MAX_EXPONENT:
        raise ValueError(f"expected {expected} within 1e{MAX_EXPONENT}, not {text!r}")
    if mark is None and not any_comma and written["number"].count(",") == 1 and plain["decimals"] is None:
        raise ValueError(_twice(text))
    if written["before"] and written["sign"]:
        raise ValueError(f"expected {expected}, not {text!r}")
    digits = re.sub(r"\D", "", plain["whole"])
    sign = written["before"] or written["sign"]
    return Decimal(f"{sign}{digits or 0}.{plain['decimals'] or 0}").scaleb(exponent)


def _twice(text: str) -> str:
    return f"{text.strip()!r} may be two numbers: say --decimal point or --decimal comma"
