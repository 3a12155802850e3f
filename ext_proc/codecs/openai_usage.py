"""OpenAI's streams tell usage only where the request asks for it (`stream_options: {include_usage: true}`): asking, and
taking out again what that adds.

Rules:
- What asking adds is a last event with `choices: []` and the usage, and `usage: null` in all others (OpenAI, chat
  completions and legacy completions). Usage beside choices is what its server says unasked: it stays.
- An event without choices that says more than usage (Azure's filter results, an error) loses its usage alone.
- All other bytes stay.

Not here: what the usage says (openai_chat_messages.py), who asks (the `usage` policy).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from ext_proc.framing.json_splice import splice

_OPTIONS: Final = "stream_options"
_INCLUDE: Final = "include_usage"
# What an event with usage alone has beside it.
_ENVELOPE = frozenset(
    {"id", "object", "created", "model", "system_fingerprint", "service_tier", "choices", "usage", "obfuscation"}
    | {"provider"}  # OpenRouter
)

Document = tuple[Mapping[str, Any], bytes]


def asks_for_usage(request: Mapping[str, Any]) -> bool:
    """Whether the client itself wants the usage of its stream."""
    options = request.get(_OPTIONS)
    return isinstance(options, dict) and options.get(_INCLUDE) is True


def asking_for_usage(request: Mapping[str, Any], raw: bytes) -> Document | None:
    """The request, asking; None where it does already, streams nothing, or says it in no way that is known."""
    options = request.get(_OPTIONS)
    if request.get("stream") is not True or asks_for_usage(request) or not isinstance(options, dict | None):
        return None
    value = {**request, _OPTIONS: {**(options or {}), _INCLUDE: True}}
    if options is None:
        return value, splice(raw, {(_OPTIONS,): b'{"include_usage":true}'})
    return value, splice(raw, {(_OPTIONS, _INCLUDE): b"true"})


def without_usage(event: Mapping[str, Any], raw: bytes) -> Document | None:
    """An event without what asking added; itself where that is nothing, None where nothing is left of it."""
    if "usage" not in event:
        return event, raw
    usage, choices = event["usage"], event.get("choices")
    if usage is not None and choices != []:
        return event, raw
    if usage is not None and event.keys() <= _ENVELOPE:
        return None
    return {name: held for name, held in event.items() if name != "usage"}, splice(raw, {("usage",): None})
