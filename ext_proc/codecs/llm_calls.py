"""Language models' proposed calls, the same for every format: how a message is made without some of them, and how an
event knows arguments that came behind it.

Rules:
- What is taken out of a list that clients count by is replaced where it stands, so that all else keeps its place and
  its index: clients, texts on their way, and the events that end a stopped stream go by them.
- What stands in its place is a text that says so: some providers refuse an answer without any in the next request.

Not here: where calls stand (each format's own file), which of them are taken out (policies).
"""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, Self

from ext_proc.codecs.llm_texts import Spot
from ext_proc.framing.json_splice import Path, splice
from ext_proc.framing.json_surrogates import parse_tolerant
from ext_proc.framing.json_view import JsonError, parse
from ext_proc.limits import DEFAULTS
from ext_proc.messages import LlmError, ProposedCall
from ext_proc.messages.proposals import Arguments, CallKey

NOTE = "(A tool call that is not allowed here was taken out.)"
_DEPTH = 1024  # the document was read before


class Changeable:
    """A message that can be made anew from changes to its bytes.

    Attributes:
        spots: the texts in it, and where they stand.
        gathered: arguments of calls whose name stands in it, and which came behind it. An error has none.
    """

    __slots__ = ()
    value: Mapping[str, Any]
    raw: bytes
    spots: Sequence[Spot]
    gathered: Mapping[CallKey, Arguments]

    def knowing(self, arguments: Mapping[CallKey, Arguments]) -> Self:
        """See `CompletionChunk.knowing`."""
        changed: Any = copy.copy(self)
        changed.gathered = arguments
        known: Self = changed
        return known

    def with_gathered(self, calls: Sequence[ProposedCall]) -> Sequence[ProposedCall]:
        """The calls in it; those that begin in it with the arguments that came behind it."""
        known = {} if isinstance(self, LlmError) else self.gathered
        if not known:
            return calls
        return [
            replace(call, arguments=known[call.key]) if call.pieces is not None and call.key in known else call
            for call in calls
        ]

    def with_changes(self, changes: Mapping[Path, bytes | None], spots: Sequence[Spot] | None = None) -> Self:
        """The same message with changes at some paths; itself where there are none.

        Args:
            spots: the same texts, each where it stands then, where that is another place.
        """
        if not changes:
            return self
        changed: Any = copy.copy(self)
        changed.raw = splice(self.raw, changes)
        changed.value = parse_tolerant(changed.raw, _DEPTH, len(changed.raw))
        if spots is not None:
            changed.spots = spots
        made: Self = changed
        return made


def arguments_in(text: Any) -> Mapping[str, Any] | None:
    """Arguments that are written as a text of JSON; None where that is no object; for nothing `{}`."""
    if not isinstance(text, str):
        return None
    try:
        value = parse(text.encode("utf-8", "surrogatepass"), DEFAULTS.json_depth) if text.strip() else {}
    except JsonError:
        return None
    return value if isinstance(value, dict) else None


def name_in(holder: Any, name: str = "name") -> str:
    """A name; "" where there is none."""
    found = holder.get(name) if isinstance(holder, dict) else None
    return found if isinstance(found, str) else ""
