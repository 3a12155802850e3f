"""Language models' messages that are changed in their members: another model's name, other settings.

Rules:
- A changed message keeps every byte that was not changed (framing/json_splice.py).
- A setting is written wherever it stands, so that no reader finds another; where what it stands in is not there, that
  is made.

Not here: where a format keeps its settings (each format's messages), changed texts (llm_found.py).
"""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from typing import Any, Self

from ext_proc.codecs.llm_texts import Spot, at_path, pieces_of
from ext_proc.framing.json_splice import Path, splice
from ext_proc.framing.json_surrogates import encode_tolerant
from ext_proc.messages import Generation, LlmMessage, Piece, Setting, encode_json
from ext_proc.messages.proposals import Arguments, CallKey

_NOT_GATHERED: Mapping[CallKey, Arguments] = {}


class Named(LlmMessage):
    """A message that names its model, and can be made again from a value and bytes.

    Attributes:
        named_at: where the name stands.
    """

    __slots__ = ()

    @property
    def named_at(self) -> Path:
        return ("model",)

    def with_model(self, name: str) -> Self:
        """The same message with another model's name."""
        value, path = with_member(self.value, self.named_at, name), self.named_at
        return self.remade(value, splice(self.raw, {path: encode_tolerant(name)}))

    def remade(self, value: Mapping[str, Any], raw: bytes) -> Self:
        """A message like this one."""
        return type(self)(value, raw)


class Told(Named):
    """An answer, or an event of one, with the texts in it.

    Attributes:
        spots: the texts, and where they stand.
        gathered: arguments of calls whose name stands in it, and which came behind it.
    """

    __slots__ = ("gathered", "spots")

    def __init__(self, value: Mapping[str, Any], raw: bytes, spots: Sequence[Spot] = ()) -> None:
        # Made for every event: as the classes above would set them.
        self.raw = raw
        self.value = value
        self.spots = spots
        self.gathered = _NOT_GATHERED

    @property
    def pieces(self) -> Sequence[Piece]:
        """The texts in it, without surrogates."""
        return pieces_of(self.spots)

    def remade(self, value: Mapping[str, Any], raw: bytes) -> Self:
        """See `Named`: with all else that is known of it."""
        made = copy.copy(self)
        made.value, made.raw = value, raw
        return made


class Settable(Named, Generation):
    """A request to generate whose settings stand at paths."""

    __slots__ = ()

    def setting_at(self, setting: Setting) -> Sequence[Path]:
        """Where a setting stands, or would stand; () where the format has none."""
        raise NotImplementedError

    def of_several(self, found: Sequence[Any]) -> Any:
        """Which of a setting's values counts."""
        return found[0]

    def setting(self, setting: Setting) -> Any:
        """A setting as the caller gave it; None where it did not, or the format has none."""
        at = self.setting_at(setting)
        found = [value for path in at if (value := at_path(self.value, path)) is not None]
        return self.of_several(found) if found else None

    def with_settings(self, settings: Mapping[Setting, Any]) -> Self:
        """The same request with settings replaced; None removes one.

        Raises:
            ValueError: the format has no such setting.
        """
        wanted: dict[Path, Any] = {}
        for setting, given in settings.items():
            at = self.setting_at(setting)
            if not at:
                raise ValueError(f"{type(self).__name__} has no {setting}")
            wanted |= dict.fromkeys(at, given)
        return self.remade(*with_members(self.value, self.raw, wanted))


def with_members(value: Mapping[str, Any], raw: bytes, wanted: Mapping[Path, Any]) -> tuple[Mapping[str, Any], bytes]:
    """A value and its bytes with other members, by path; None removes one."""
    changes: dict[Path, bytes | None] = {}
    made: dict[Path, dict[str, Any]] = {}  # what settings stand in, where it is not there
    changed = value
    for path, member in wanted.items():
        if len(path) == 2 and not isinstance(value.get(str(path[0])), Mapping):
            if member is None:
                continue
            made.setdefault(path[:1], {})[str(path[1])] = member
        else:
            changes[path] = None if member is None else encode_json(member)
        changed = with_member(changed, path, member)
    changes.update((path, encode_json(members)) for path, members in made.items())
    return changed, splice(raw, changes)


def with_member(value: Any, path: Path, member: Any) -> Any:
    """A copy of a value with another member at a path; None removes it."""
    if not path:
        return member
    step, rest = path[0], path[1:]
    if isinstance(value, list):
        return [with_member(each, rest, member) if n == step else each for n, each in enumerate(value)]
    held = dict(value) if isinstance(value, Mapping) else {}
    if not rest and member is None:
        held.pop(step, None)
    else:
        held[step] = with_member(held.get(step), rest, member)
    return held
