"""What speaks against a definition, as it stands: hidden characters, words to the model, a name that is not plain.

Rules:
- Every text of a definition is looked at, the keys of its schemas too; only `_meta` is not, which is not pinned either.
- A picture in an icon's `src` (`data:image/...`) is no text that a model reads: only what it hides is looked for.
- The same definition says the same each time: what depends on other tools is looked at elsewhere (tool_names.py).
- A hidden character in a tool's name cannot be taken out, for then it would be another name; nor one in a key beside
  which the same key stands without it. There `strip` is as strict as `deny`.
- Words to the model that are sometimes honest (severity LOW) are told, and never held against a definition.
- A definition past its limit is not looked into: it is held back as it is.

Not here: what has been approved, and what is held back (tool_pinning.py); what is hidden or like an instruction
(ext_proc/scanning).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Literal

from ext_proc.pins.canonical import canonical, definition_of, digest_of
from ext_proc.scanning import hidden, instructions, names
from ext_proc.scanning.rules import Severity

HIDDEN = "hidden-characters"
INSTRUCTIONS = "instruction-like"
NOT_PLAIN = "name-not-plain"
TOO_LARGE = "definition-too-large"

_SHORT = 64  # characters: the words of schemas, which stand in every one of them
_REMEMBERED = 8192  # short texts of which it is known what is in them
_LONGEST_NAME = 256  # characters of a tool's name; MCP asks for at most 128


@dataclass(frozen=True, slots=True)
class Examined:
    """What was found in a definition.

    Attributes:
        digest: of its canonical form.
        size: bytes of the form; 0 where it is too large to be kept.
        found: what speaks against it, as slugs.
        noted: what is only told.
        strips: whether it leaves without what it hides.
    """

    digest: str
    size: int
    found: tuple[str, ...] = ()
    noted: tuple[str, ...] = ()
    strips: bool = False


@dataclass(frozen=True, slots=True)
class Checks:
    """What is looked for.

    Attributes:
        hidden: what becomes of hidden characters.
        instructions: what becomes of words to the model.
        plain: whether a name has to be plain.
        largest: bytes of a definition.
    """

    hidden: Literal["deny", "strip", "allow"]
    instructions: Literal["quarantine", "note"]
    plain: bool
    largest: int

    def of_tool(self, tool: Mapping[str, Any]) -> Examined:
        """What there is to say of an entry of tools/list."""
        definition = definition_of(tool)
        name = tool["name"]
        odd = (NOT_PLAIN,) if len(name) > _LONGEST_NAME or (self.plain and not names.is_plain(name)) else ()
        return self._examined(definition, odd, unstrippable=name)

    def of_instructions(self, told: object) -> Examined:
        """What there is to say of a server's instructions; None for a server that has none."""
        return self._examined(told, (), unstrippable="")

    def _examined(self, definition: Any, odd: tuple[str, ...], unstrippable: str) -> Examined:
        form = canonical(definition)
        digest = digest_of(form)
        if len(form) > self.largest:
            return Examined(digest, 0, (*odd, TOO_LARGE))
        found: list[str] = list(odd)
        noted: list[str] = []
        strips = False
        pictures = set(_pictures_of(definition))
        seen: list[tuple[bool, Severity | None]] = [(bool(hidden.find(picture, 1)), None) for picture in pictures]
        for text in set(texts_of(definition)) - pictures:
            seen.append(_look_at(text) if len(text) <= _SHORT else _looked_at(text))
        if self.hidden != "allow" and any(hides for hides, _ in seen):
            strips = self.hidden == "strip" and not hidden.find(unstrippable, 1) and _is_strippable(definition)
            if not strips:
                found.append(HIDDEN)
        severities = {severity for _, severity in seen if severity is not None}
        if severities:
            held = self.instructions == "quarantine" and Severity.HIGH in severities
            (found if held else noted).append(INSTRUCTIONS)
        return Examined(digest, len(form), tuple(found), tuple(noted), strips)


def _looked_at(text: str) -> tuple[bool, Severity | None]:
    """Whether a text hides something, and how severe what it tells a model is."""
    flags = instructions.flag(text)
    severity = None
    if flags:
        severity = Severity.HIGH if any(flag.severity is Severity.HIGH for flag in flags) else Severity.LOW
    return bool(hidden.find(text, 1)), severity


_look_at = lru_cache(_REMEMBERED)(_looked_at)


def _pictures_of(definition: Any) -> Iterator[str]:
    """The pictures that stand in a tool's icons themselves."""
    icons = definition.get("icons") if isinstance(definition, Mapping) else None
    for icon in icons if isinstance(icons, list) else ():
        source = icon.get("src") if isinstance(icon, Mapping) else None
        if isinstance(source, str) and source.startswith("data:image/"):
            yield source


def texts_of(value: Any) -> Iterator[str]:
    """Every text in a JSON value, keys too."""
    waiting = [value]
    while waiting:
        at = waiting.pop()
        if isinstance(at, str):
            yield at
        elif isinstance(at, Mapping):
            waiting += at.values()
            yield from at
        elif isinstance(at, list):
            waiting += at


def stripped(value: Any) -> Any:
    """The value without what its texts hide.

    Raises:
        ValueError: two keys of one object would become one.
    """
    if isinstance(value, str):
        return hidden.strip(value)
    if isinstance(value, list):
        return [stripped(item) for item in value]
    if not isinstance(value, Mapping):
        return value
    found = {hidden.strip(key): stripped(inner) for key, inner in value.items()}
    if len(found) < len(value):
        raise ValueError("two keys would become one")
    return found


def _is_strippable(value: Any) -> bool:
    try:
        stripped(value)
    except ValueError:
        return False
    return True
