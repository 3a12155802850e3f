"""Language models' requests: how often an agent has gone round, by the shapes that all formats share.

Rules:
- A round is what a model proposed to call, however many calls at once, and what they gave. Counted are those behind the
  caller's last words.
- What a provider runs itself is none: that is within one answer.
- A turn with results of calls is no word of the caller's, whatever stands beside them: clients put reminders there.
- It is read for counting, never to decide: what has another type than its field's is passed over.

Sources: OpenAI, function calling (both APIs); Anthropic, tool use; Google, function calling.

Not here: rounds that only the provider knows, where it keeps the conversation (each format's messages).
"""

from __future__ import annotations

import enum
from collections.abc import Mapping, Sequence
from typing import Any

_TURNS = ("messages", "input", "contents")
_PARTS = ("content", "parts")
_CALLED = ("tool_calls", "function_call", "functionCall")  # members of a turn, or of a part of one
_GAVE = ("functionResponse", "function_response")
_CALLS = frozenset(
    {"function_call", "custom_tool_call", "local_shell_call", "shell_call", "computer_call", "apply_patch_call"}
    | {"tool_use"}
)
_RESULTS = frozenset({"tool_result", *(f"{kind}_output" for kind in _CALLS)})


class _Turn(enum.Enum):
    """What a turn is for counting."""

    CALL = "call"
    RESULT = "result"
    WORDS = "words"  # the caller's
    OTHER = "other"


def rounds_of(request: Mapping[str, Any]) -> int:
    """The rounds behind the caller's last words. Never raises for what the request is."""
    rounds, called = 0, False
    for turn in next((held for name in _TURNS if isinstance(held := request.get(name), list)), ()):
        kind = _kind(turn)
        if kind is _Turn.WORDS:
            rounds, called = 0, False
        elif kind is _Turn.CALL:
            called = True
        elif kind is _Turn.RESULT:
            rounds, called = rounds + called, False
    return rounds


def _kind(turn: Any) -> _Turn:
    if not isinstance(turn, dict):
        return _Turn.OTHER
    role = turn.get("role")
    holders = [turn, *_parts(turn)]
    if role in ("tool", "function") or any(_is(holder, _RESULTS, _GAVE) for holder in holders):
        return _Turn.RESULT
    if any(_is(holder, _CALLS, _CALLED) for holder in holders):
        return _Turn.CALL
    # An item of Responses without a role is none of the caller's words, and Gemini's contents may have none.
    return _Turn.WORDS if role == "user" or (role is None and "parts" in turn) else _Turn.OTHER


def _is(holder: Mapping[str, Any], kinds: frozenset[str], members: Sequence[str]) -> bool:
    kind = holder.get("type")
    return (isinstance(kind, str) and kind in kinds) or any(holder.get(name) for name in members)


def _parts(turn: Mapping[str, Any]) -> Sequence[Mapping[str, Any]]:
    held = next((held for name in _PARTS if (held := turn.get(name)) is not None), ())
    return [part for part in (held if isinstance(held, list) else [held]) if isinstance(part, dict)]
