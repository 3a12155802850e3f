"""Language models' texts: where one stands in a JSON document, and what is not readable as a document of a format's.

Rules:
- A text is known by its channel, which tells policies what it is, and by its path, which tells where it is written.

Not here: which fields of which format are texts (each format's own file).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ext_proc.framing.json_splice import Path
from ext_proc.framing.json_surrogates import Joined, encode_tolerant
from ext_proc.messages import Channel, ChannelKind, Form, Piece


class Malformed(Exception):
    """Why a value is no message: words without payload."""


class Ambiguous(Malformed):
    """A key that two readers would read in two ways."""


@dataclass(frozen=True, slots=True)
class Place:
    """A text that is not empty, and where it stands.

    Attributes:
        json: whether a JSON value stands there, whose source the text is; else a string does.
    """

    channel: Channel
    path: Path
    text: str
    json: bool = False


@dataclass(frozen=True, slots=True)
class Spot:
    """A text as policies see it, and where it stands."""

    channel: Channel
    path: Path
    joined: Joined
    json: bool = False

    @property
    def piece(self) -> Piece:
        form = Form.VALID_JSON if self.json else form_of(self.channel.kind)
        return Piece(self.channel, self.joined.text, form)

    def encoded(self, text: str) -> bytes:
        """What is written there when its text becomes `text`."""
        return text.encode() if self.json else encode_tolerant(self.joined.written(text))


def form_of(kind: ChannelKind) -> Form:
    """What a text of this kind is."""
    return Form.WRITTEN_JSON if kind is ChannelKind.TOOL_ARGUMENTS else Form.PLAIN


def pieces_of(spots: Sequence[Spot]) -> tuple[Piece, ...]:
    """The texts of spots, in their order."""
    return tuple(spot.piece for spot in spots)


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
