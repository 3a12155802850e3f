"""Language models' texts: where one stands in a JSON document, and what is not readable as a document of a format's.

Rules:
- A text is known by its channel, which tells policies what it is, and by its path, which tells where it is written.

Not here: which fields of which format are texts (each format's own file).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ext_proc.codecs.opaques import malformed
from ext_proc.framing.json_splice import Path
from ext_proc.framing.json_surrogates import Joined, encode_tolerant
from ext_proc.messages import Channel, ChannelKind, Form, Opaque, Piece


class Malformed(Exception):
    """Why a value is no message: words without payload."""


class Ambiguous(Malformed):
    """A key that two readers would read in two ways."""


def unreadable(format: str, fault: Malformed, raw: bytes) -> Opaque:
    """The message in the place of what is none.

    Args:
        format: as reasons name it, e.g. "openai".
    """
    return malformed("ambiguous-key" if isinstance(fault, Ambiguous) else f"{format}-invalid", str(fault), raw)


@dataclass(slots=True)  # made for every event: frozen ones take three times as long
class Place:
    """A text that is not empty, and where it stands; never changed.

    Attributes:
        json: whether a JSON value stands there, whose source the text is; else a string does.
    """

    channel: Channel
    path: Path
    text: str
    json: bool = False

    @property
    def piece(self) -> Piece:
        """The text of a request as policies see it."""
        return Piece(self.channel, self.text, _form(self))


@dataclass(slots=True)
class Spot:
    """A text as policies see it, and where it stands; never changed."""

    channel: Channel
    path: Path
    joined: Joined
    json: bool = False

    def encoded(self, text: str) -> bytes:
        """What is written there when its text becomes `text`."""
        return text.encode() if self.json else encode_tolerant(self.joined.written(text))


def _form(text: Place | Spot) -> Form:
    if text.json:
        return Form.VALID_JSON
    return Form.WRITTEN_JSON if text.channel.kind is ChannelKind.TOOL_ARGUMENTS else Form.PLAIN


def pieces_of(spots: Sequence[Spot]) -> tuple[Piece, ...]:
    """The texts of spots, in their order."""
    return tuple([Piece(spot.channel, spot.joined.text, _form(spot)) for spot in spots])


def at_path(value: Any, path: Path) -> Any:
    """What stands at a path; None where nothing does."""
    for step in path:
        if isinstance(value, dict):
            value = value.get(step)
        elif isinstance(value, list) and isinstance(step, int) and step < len(value):
            value = value[step]
        else:
            return None
    return value


Texts = Mapping[int, str]
