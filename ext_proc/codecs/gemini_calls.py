"""Gemini: the calls that an answer proposes, and how they are taken out of it.

Rules:
- A part with `functionCall` is a call for the client; `toolCall` is the provider's own.
- A call stands whole in its part, unless it says that it goes on (`willContinue`, `partialArgs`): then parts without a
  name follow, which are the last named call's of their candidate.
- Calls are counted within their object, for parts have no index. A part that is taken out is one of text in its place.

Source: Google, Gemini API and Vertex AI (FunctionCall).

Not here: texts in calls (gemini_texts.py), messages (gemini_messages.py).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Self

from ext_proc.codecs.llm_calls import NOTE, Changeable, name_in
from ext_proc.codecs.llm_fields import reject
from ext_proc.framing.json_splice import Path
from ext_proc.messages import Proposals, ProposedCall, encode_json

_GOING_ON = ("willContinue", "will_continue", "partialArgs", "partial_args")
_PART = encode_json({"text": NOTE})


class GeminiCalls(Changeable):
    """What a whole answer and a piece of a streamed one have in common."""

    __slots__ = ()

    @property
    def proposals(self) -> Sequence[ProposedCall]:
        """The calls whose name stands in it."""
        return [
            ProposedCall(choice, index, name, name_in(call, "id"), _arguments(call))
            for choice, index, _, call in _calls(self.value)
            if (name := name_in(call))
        ]

    def without_calls(self, decided: Proposals) -> Self:
        """The same message without the calls that were taken out; itself where it has none of them."""
        changes: dict[Path, bytes | None] = {}
        for choice, index, path, call in _calls(self.value):
            if name_in(call):
                decided.unfinished[choice] = decided.has_kept(choice, index)
            if not decided.unfinished.get(choice, False):
                changes[path] = _PART
        return self.with_changes(changes)


def check_calls(value: Mapping[str, Any]) -> None:
    """Looks at the calls in an object whose texts were read.

    Raises:
        Malformed: one has arguments and no name: some reader may take them for those of the call before it.
    """
    for _, _, _, call in _calls(value):
        if call.get("args") and not name_in(call):
            reject("a call has no name")


def _calls(value: Mapping[str, Any]) -> Iterator[tuple[int, int, Path, Mapping[str, Any]]]:
    """The calls in an object: the candidate, the call's number in the object, where its part stands, the call."""
    candidates, number = value.get("candidates") or (), 0
    unnumbered = all(candidate.get("index") is None for candidate in candidates)
    for position, candidate in enumerate(candidates):
        index = candidate.get("index")
        choice = index if isinstance(index, int) else position if unnumbered else 0
        content = candidate.get("content")
        parts = content.get("parts") if isinstance(content, dict) else None
        at: Path = ("candidates", position, "content", "parts")
        for path, part in [(at, parts)] if isinstance(parts, dict) else _numbered(at, parts):
            # What spells a member in both ways was read as malformed before.
            call = part.get("functionCall", part.get("function_call"))
            if isinstance(call, dict):
                yield choice, number, path, call
                number += 1


def _numbered(at: Path, parts: Any) -> list[tuple[Path, Mapping[str, Any]]]:
    return [((*at, position), part) for position, part in enumerate(parts or ())]


def _arguments(call: Mapping[str, Any]) -> Mapping[str, Any] | None:
    if any(call.get(name) for name in _GOING_ON):
        return None
    arguments = call.get("args")
    return {} if arguments is None else arguments if isinstance(arguments, dict) else None
