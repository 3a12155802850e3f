"""OpenAI chat: what a request refers to that a provider keeps, and what an answer names that can be referred to.

Rules:
- A turn of the assistant's may stand for what was spoken in an answer, by its id alone.
- Gemini behind OpenAI's format takes a cache in `extra_body.google`.
- A request in which any of this has another type than its field's is malformed.

Sources: OpenAI, chat completions (audio); Google, OpenAI compatibility.

Not here: completions that are kept (`store`), which requests on paths of their own alone refer to.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from ext_proc.codecs.llm_fields import as_object, check_keys, text_of
from ext_proc.messages import StoredKind, StoredObject

_AUDIO = frozenset({"id"})
_UNPACKED = frozenset({"google", "messages", "extra_body"})
_GOOGLE = frozenset({"cached_content"})


def references_of(request: Mapping[str, Any]) -> Sequence[StoredObject]:
    """What a request refers to, each thing once.

    Raises:
        Malformed: something that refers has another type than its field's.
    """
    return tuple(dict.fromkeys(StoredObject(kind, id) for kind, id in _of_request(request) if id))


def handed_out_by(choices: Sequence[Mapping[str, Any]]) -> Sequence[StoredObject]:
    """What an answer's choices name, or those of an event."""
    held = [choice.get(holder) for choice in choices for holder in ("message", "delta")]
    spoken = [each["audio"] for each in held if isinstance(each, dict) and isinstance(each.get("audio"), dict)]
    named = [audio["id"] for audio in spoken if isinstance(audio.get("id"), str) and audio["id"]]
    return tuple(StoredObject(StoredKind.AUDIO, id) for id in dict.fromkeys(named))


def _of_request(request: Mapping[str, Any]) -> Iterator[tuple[StoredKind, str]]:
    body = request
    while body:
        turns = body.get("messages")
        for turn in turns if isinstance(turns, list) else ():
            if isinstance(turn, dict) and turn.get("audio") is not None:
                yield StoredKind.AUDIO, _id_in(as_object(turn["audio"], "audio"))
        google = as_object(body.get("google"), "google")
        check_keys(google, _GOOGLE)
        yield StoredKind.CACHE, text_of(google, "cached_content")
        body = as_object(body.get("extra_body"), "extra_body")
        check_keys(body, _UNPACKED)


def _id_in(audio: Mapping[str, Any]) -> str:
    check_keys(audio, _AUDIO)
    return text_of(audio, "id")
