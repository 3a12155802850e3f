"""What somebody who is asked reads: plain text in which nothing is hidden and nothing of the call speaks for the gate.

Rules:
- Names and arguments are written as JSON. What a reader would not see is written out (scanning/visible.py); in names so
  is all that is not ASCII, as JSON's escapes, for letters of two alphabets look alike.
- What a client shows has no `<`, `>`, `&` or backtick of the call's, and every line of the arguments is indented by
  four spaces: it stays plain in a client that reads Markdown or HTML (CommonMark 0.31, section 4.4).
- Nothing is cut: what does not fit is not asked for.

Not here: the page (confirm_page.py), whether it fits (confirm.py).
"""

from __future__ import annotations

import json

from ext_proc.scanning.visible import visible
from ext_proc.units import format_duration

_MOST = 256 * 1024  # characters of arguments as they are shown
_LINES = json.JSONEncoder(indent=2, ensure_ascii=False)
_MARKUP = str.maketrans({char: f"\\u{ord(char):04x}" for char in "<>&`"})


class TooLong(Exception):
    """Arguments that nobody could read as they would have to be shown."""


def name(text: str) -> str:
    """A name, in quotes, in ASCII."""
    return json.dumps(text).translate(_MARKUP)


def pretty(canonical: str) -> str:
    """Arguments over several lines, from their canonical form.

    Raises:
        TooLong: see there.
    """
    pieces: list[str] = []
    length = 0
    # Piece by piece: what is nested deeply is mostly blanks, and many times as long as what came.
    for piece in _LINES.iterencode(json.loads(canonical)):
        pieces.append(piece)
        length += len(piece)
        if length > _MOST:
            raise TooLong
    shown = visible("".join(pieces), lines=True)
    if len(shown) > _MOST:
        raise TooLong
    return shown


def question(tool: str, server: str, caller: str, actor: str, shown: str, uses: int, expires: float) -> str:
    """The question that a client shows to its person.

    Args:
        shown: the arguments, as `pretty` makes them.
        caller, actor: names; "" for one that nobody vouches for, and for none.
        expires: seconds for which a yes holds.
    """
    asking = f"It is asked for by {name(caller)}" if caller else "Nobody vouches for who asks for it"
    acting = f", through the agent {name(actor)}" if actor else ""
    # In JSON these stand in texts alone, where an escape says the same.
    lines = "".join(f"\n    {line}" for line in shown.translate(_MARKUP).split("\n"))
    return (
        f"Allow the tool {name(tool)} of the server {name(server)} to be called {allowed(uses, expires)}?\n"
        f"{asking}{acting}, with exactly these arguments:\n{lines}\n"
    )


def invitation(tool: str, server: str) -> str:
    """What a client shows beside the address of the page."""
    return f"Calling the tool {name(tool)} of the server {name(server)} needs a person's yes, at this page:"


def allowed(uses: int, expires: float) -> str:
    """How often, and for how long."""
    return f"{'once' if uses == 1 else f'up to {uses} times'}, within {format_duration(expires)}"
