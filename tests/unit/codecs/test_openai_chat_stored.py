"""codecs/openai_chat_stored: speech and caches that a chat refers to, speech that an answer hands out."""

from __future__ import annotations

from typing import Any

import pytest

from ext_proc.messages import Completion, Generation, Opaque, StoredKind, StoredObject
from tests.unit.codecs.llm_building import Format
from tests.unit.codecs.openai_building import CODEC, USER, answer_head, asking, chunk, event, messages_of, whole

CHAT = Format(CODEC, "/v1/chat/completions", asking(), frozenset())
SPOKE = {"role": "assistant", "audio": {"id": "audio_1"}}
AUDIO, CACHE = StoredObject(StoredKind.AUDIO, "audio_1"), StoredObject(StoredKind.CACHE, "cachedContents/c")
GOOGLE = {"google": {"cached_content": "cachedContents/c"}}


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({}, ()),
        ({"messages": [USER, SPOKE, SPOKE]}, (AUDIO,)),
        ({"messages": [USER, {"role": "assistant", "content": "x", "audio": None}]}, ()),
        ({"extra_body": GOOGLE}, (CACHE,)),
        ({"extra_body": {"extra_body": GOOGLE}}, (CACHE,)),
        (GOOGLE, (CACHE,)),
        ({"extra_body": {"messages": [SPOKE]}}, (AUDIO,)),
    ],
)
def test_a_request_tells_what_it_refers_to(fields: dict[str, Any], expected: tuple[StoredObject, ...]) -> None:
    message = CHAT.read(asking(**fields))
    assert isinstance(message, Generation)
    assert message.references == expected
    assert not message.keeps_answer


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ({"messages": [{"role": "assistant", "audio": "audio_1"}]}, "openai-invalid"),
        ({"messages": [{"role": "assistant", "audio": {"id": 1}}]}, "openai-invalid"),
        ({"messages": [{"role": "assistant", "audio": {"ID": "audio_1"}}]}, "ambiguous-key"),
        ({"extra_body": {"google": []}}, "openai-invalid"),
        ({"extra_body": {"google": {"cached_content": 1}}}, "openai-invalid"),
        ({"extra_body": {"Google": {}}}, "ambiguous-key"),
        ({"extra_body": {"google": {"Cached_Content": "c"}}}, "ambiguous-key"),
    ],
)
def test_what_refers_in_another_shape_is_malformed(fields: dict[str, Any], reason: str) -> None:
    message = CHAT.read(asking(**fields))
    assert isinstance(message, Opaque)
    assert (message.reason, message.malformed) == (reason, True)


@pytest.mark.parametrize(
    "audio", [{"id": "audio_1", "data": "AAAA", "transcript": "x"}, {"id": ""}, {"data": "AA"}, None]
)
def test_an_answer_tells_what_was_spoken(audio: Any) -> None:
    expected = (AUDIO,) if audio and audio.get("id") else ()
    spoken = {"role": "assistant", "content": None, "audio": audio}
    for value, head in ((whole(spoken), answer_head()), (event(chunk(spoken)), None)):
        (message,) = messages_of(CHAT.decoded(value, *(() if head is None else (head,)))[0])
        assert isinstance(message, Completion)
        assert message.handed_out == expected
