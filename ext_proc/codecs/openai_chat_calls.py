"""OpenAI chat: the calls that an answer proposes, and how they are taken out of it.

Rules:
- Official clients put the pieces of a name behind one another, so a name that goes on is told once more (`appended`).
- Clients count calls by their index without gaps: those that stay are counted anew. In a whole answer the list closes.
- A piece of a call that has had no name is of no call that was kept.
- A choice of which all calls were taken out stopped: its `finish_reason` says so.

Source: OpenAI, chat completions (tool_calls, function_call, finish_reason).

Not here: texts in calls (openai_chat_texts.py), messages (openai_chat_messages.py).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any, Self

from ext_proc.codecs.llm_calls import Changeable, arguments_in, name_in
from ext_proc.codecs.llm_texts import Spot
from ext_proc.codecs.openai_chat_texts import Tool, index_of
from ext_proc.framing.json_splice import Path
from ext_proc.messages import Channel, ChannelKind, Proposals, ProposedCall, encode_json

_CALLED = ("tool_calls", "function_call")  # how a choice ends that proposes calls


class ChatCalls(Changeable):
    """What a whole answer and an event of one have in common."""

    __slots__ = ()

    @property
    def proposals(self) -> Sequence[ProposedCall]:
        """The calls whose name stands in it."""
        return self.with_gathered(
            [call for choice, _, field, held in _holders(self.value) for call in _calls(choice, held, field)]
        )

    def without_calls(self, decided: Proposals) -> Self:
        """The same message without the calls that were taken out; itself where it has none of them."""
        changes: dict[Path, bytes | None] = {}
        closed: dict[Path, int | None] = {}  # where a call stands now that its list closed; None for one that went
        for choice, position, field, held in _holders(self.value):
            at: Path = ("choices", position, field)
            calls = held.get("tool_calls") or ()
            places = [decided.place(choice, index_of(call, number)) for number, call in enumerate(calls)]
            if calls and not any(place is not None for place in places):
                changes[*at, "tool_calls"] = None
            stay = 0
            for number, (call, place) in enumerate(zip(calls, places, strict=True)):
                where = (*at, "tool_calls", number)
                closed[where] = stay if place is not None else None
                stay += place is not None
                if place is None and (*at, "tool_calls") not in changes:
                    changes[where] = None
                elif place is not None and call.get("index", place) != place:
                    changes[*where, "index"] = encode_json(place)
            if held.get("function_call") and not decided.has_kept(choice, Tool.FUNCTION_CALL):
                changes[*at, "function_call"] = None
                closed[*at, "function_call"] = None
        for position, entry in enumerate(self.value.get("choices") or ()):
            if entry.get("finish_reason") in _CALLED and decided.took_all(index_of(entry, position)):
                changes["choices", position, "finish_reason"] = b'"stop"'
        if not changes:
            return self
        made = self.with_changes(changes, [_moved(spot, closed) for spot in self.spots])
        if not self.gathered:
            return made
        moved = {key: decided.place(*key) for key in self.gathered}
        return made.knowing({(key[0], at): self.gathered[key] for key, at in moved.items() if at is not None})


def _holders(value: Mapping[str, Any]) -> Iterator[tuple[int, int, str, Mapping[str, Any]]]:
    """What holds calls: the choice, its position, and the member of it with that member's value."""
    for position, entry in enumerate(value.get("choices") or ()):
        for field in ("delta", "message"):
            held = entry.get(field)
            if isinstance(held, dict) and (held.get("tool_calls") or held.get("function_call")):
                yield index_of(entry, position), position, field, held


def _calls(choice: int, held: Mapping[str, Any], field: str) -> Iterator[ProposedCall]:
    streams = field == "delta"
    for position, entry in enumerate(held.get("tool_calls") or ()):
        for kind in ("function", "custom"):
            called = entry.get(kind)
            if name := name_in(called):
                place = index_of(entry, position)
                yield _call(choice, place, name, name_in(entry, "id"), called, plain=kind == "custom", streams=streams)
    called = held.get("function_call")
    if name := name_in(called):
        yield _call(choice, Tool.FUNCTION_CALL, name, "", called, plain=False, streams=streams)


def _call(choice: int, index: int, name: str, id: str, called: Any, *, plain: bool, streams: bool) -> ProposedCall:
    if streams:
        kind = ChannelKind.TOOL_INPUT if plain else ChannelKind.TOOL_ARGUMENTS
        return ProposedCall(choice, index, name, id, pieces=Channel(kind, choice, index), appended=True)
    written = {"input": called.get("input")} if plain else arguments_in(called.get("arguments"))
    return ProposedCall(choice, index, name, id, written)


def _moved(spot: Spot, closed: Mapping[Path, int | None]) -> Spot:
    """A text where it stands once lists of calls have closed; at no path where it went."""
    for depth in (4, 5):
        if (at := spot.path[:depth]) in closed and len(spot.path) > depth:
            place = closed[at]
            return replace(spot, path=() if place is None else (*at[:-1], place, *spot.path[depth:]))
    return spot
