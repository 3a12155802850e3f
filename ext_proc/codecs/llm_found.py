"""Language models' texts as a format finds them: the channels that they are put on, and what is written in their place.

Rules:
- In an answer a text that goes on in other pieces keeps the index that its format gives it; all others are counted.
- In a request nothing goes on: the texts of a message are counted by kind and speaker.
- With a changed text goes what stands beside it and repeats it, indexes it or vouches for it, as its format says.

Not here: where texts stand (each format's own file), which channels are open (llm_channels.py).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import msgspec

from ext_proc.codecs.llm_texts import Place, Spot, Texts, at_path
from ext_proc.events import Direction
from ext_proc.framing.json_splice import Path, source, splice
from ext_proc.messages import Channel, ChannelKind, Role, encode_json

Changes = dict[Path, bytes | None]
# What goes with a changed text: from a document and the text's path in it.
Beside = Callable[[Any, Path], Mapping[Path, bytes | None]]


@dataclass(frozen=True, slots=True)
class Found:
    """A text that is not empty.

    Attributes:
        text: None for a JSON value.
        index: of its channel in an answer; None for one that goes on in no other piece, which is counted.
        copy: whether the answer has said it before.
    """

    kind: ChannelKind
    role: Role
    path: Path
    text: str | None
    index: int | None = None
    copy: bool = False


def placed(found: Iterable[Found], choice: int, raw: bytes, others: int = 1) -> Iterator[Place]:
    """The texts of an answer's choice, each on its channel.

    Args:
        raw: the document that they stand in.
        others: the first index of those that are counted.
    """
    for text in found:
        index = text.index
        if index is None:
            index, others = others, others + 1
        channel = channel_of(text.kind, choice, index, text.role, text.copy)
        yield Place(channel, text.path, _read(text, raw), text.text is None)


@lru_cache(maxsize=256)
def channel_of(
    kind: ChannelKind,
    choice: int,
    index: int = 0,
    role: Role = Role.ASSISTANT,
    copy: bool = False,
) -> Channel:
    """The channel of an answer's text; most events of a stream have the same."""
    return Channel(kind, choice, index, role=role, copy=copy)


def numbered(found: Iterable[Found], position: int, raw: bytes) -> Iterator[Place]:
    """The texts of a request's message, each on a channel of its own.

    Args:
        position: of the message.
        raw: the document that they stand in.
    """
    counted: Counter[tuple[ChannelKind, Role]] = Counter()
    for text in found:
        index = counted[text.kind, text.role]
        counted[text.kind, text.role] += 1
        channel = Channel(text.kind, position, index, Direction.REQUEST, text.role)
        yield Place(channel, text.path, _read(text, raw), text.text is None)


def spliced_spots(beside: Beside, value: Mapping[str, Any], spots: Sequence[Spot], texts: Texts) -> Changes:
    """What is to be spliced into an answer for new texts of some spots; what is no text in `value` any more is left."""
    changes: Changes = {}
    for number, text in texts.items():
        spot = spots[number]
        if at_path(value, spot.path) is not None:
            changes[spot.path] = spot.encoded(text)
            changes.update(beside(value, spot.path))
    return changes


def nothing_beside(value: Any, path: Path) -> Mapping[Path, bytes | None]:
    """For texts that stand alone."""
    return {}


def with_texts(
    value: Mapping[str, Any], raw: bytes, places: Iterable[Place], texts: Texts, beside: Beside = nothing_beside
) -> tuple[Mapping[str, Any], bytes]:
    """A request's value and bytes with new ones of its texts, by index."""
    changes: Changes = {}
    for number, place in enumerate(places):
        if number in texts:
            changes[place.path] = texts[number].encode() if place.json else encode_json(texts[number])
            changes.update(beside(value, place.path))
    raw = splice(raw, changes)
    return msgspec.json.decode(raw), raw


def _read(found: Found, raw: bytes) -> str:
    """The text; of a JSON value its source in `raw`."""
    return source(raw, found.path).decode() if found.text is None else found.text
