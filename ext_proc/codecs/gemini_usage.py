"""Gemini: usage in its words.

Rules:
- Thoughts are output too, and not among the candidates' tokens; what tools gave back is input, and not in the prompt's.
- What comes from a cache is in the prompt's tokens.

Source: Google, Gemini API (UsageMetadata): the total is that of prompt, tools, candidates and thoughts.

Not here: counting where the provider says nothing (tokens/).
"""

from __future__ import annotations

from typing import Any

from ext_proc.codecs.gemini_texts import member
from ext_proc.messages import Usage

_COUNTS = (
    *("promptTokenCount", "toolUsePromptTokenCount", "candidatesTokenCount", "thoughtsTokenCount"),
    "cachedContentTokenCount",
)


def read_usage(usage: Any) -> Usage | None:
    """Usage in Gemini's words; None where it says nothing, or what is counted is no number."""
    if not isinstance(usage, dict):
        return None
    counts = [member(usage, name) or 0 for name in _COUNTS]
    for count in counts:
        if type(count) is not int or count < 0:
            return None
    prompt, tools, candidates, thoughts, cached = counts
    return Usage(
        input_tokens=prompt + tools,
        output_tokens=candidates + thoughts,
        cached_tokens=cached,
        reasoning_tokens=thoughts,
        input_audio_tokens=_sound(member(usage, "promptTokensDetails")),
        output_audio_tokens=_sound(member(usage, "candidatesTokensDetails")),
    )


def _sound(details: Any) -> int:
    """The tokens of sound among those of each modality."""
    found = 0
    for entry in details if isinstance(details, list) else ():
        if isinstance(entry, dict) and entry.get("modality") == "AUDIO":
            count = member(entry, "tokenCount")
            found += count if type(count) is int and count > 0 else 0
    return found
