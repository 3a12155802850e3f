"""session-binding: what the other formats' providers keep: conversations, speech, threads, containers, caches."""

from __future__ import annotations

from typing import Any

import pytest

from ext_proc.codecs.anthropic import AnthropicCodec
from ext_proc.codecs.codec import Codec
from ext_proc.codecs.gemini import GeminiCodec
from ext_proc.codecs.openai_chat import OpenAiChatCodec
from ext_proc.codecs.openai_conversations import OpenAiConversationsCodec
from ext_proc.codecs.openai_responses import OpenAiResponsesCodec
from tests.policies.stored import Provider, answered, policy, told
from tests.policies.town import ANN, BOB, reason, went_on
from tests.unit.codecs import anthropic_building as messages
from tests.unit.codecs import gemini_building as gemini
from tests.unit.codecs import openai_building as chats

OPENAI: list[Codec] = [OpenAiResponsesCodec(), OpenAiConversationsCodec(), OpenAiChatCodec()]


def test_a_conversation_is_gone_on_with_by_the_principal_that_began_it() -> None:
    here = Provider(policy(), codecs=OPENAI)
    begun = here.ask(ANN, {"id": "conv_1", "object": "conversation"}, path="/v1/conversations", sent={"items": []})
    assert not reason(begun)
    assert not reason(here.ask(ANN, conversation="conv_1"))
    assert told(here.ask(BOB, conversation="conv_1"))[0] == 404


def test_a_conversation_begins_with_what_is_its_principals() -> None:
    here = Provider(policy(), codecs=OPENAI)
    assert not reason(here.ask(ANN, answered()))
    asked = {"items": [{"type": "item_reference", "id": "msg_1"}]}
    for claims, expected in ((ANN, ""), (BOB, "item-unknown")):
        played = here.ask(claims, {"id": "conv_9"}, path="/v1/conversations", sent=asked)
        assert reason(played) == expected


def test_callers_that_nobody_vouches_for_begin_no_conversation_where_the_bundle_says_so() -> None:
    here = Provider(policy(anonymous="deny"), codecs=OPENAI)
    played = here.ask(None, {"id": "conv_1"}, path="/v1/conversations", sent={})
    assert (reason(played), went_on(played)) == ("caller-unknown", False)


SPEECH = {"role": "assistant", "content": None, "audio": {"id": "audio_1", "data": "AA", "transcript": "x"}}


def test_what_was_spoken_is_referred_to_by_whom_it_was_said_to() -> None:
    here = Provider(policy(), codecs=OPENAI)
    assert not reason(here.ask(ANN, chats.whole(SPEECH), path="/v1/chat/completions", sent=chats.asking()))
    asked = chats.asking(messages=[chats.USER, {"role": "assistant", "audio": {"id": "audio_1"}}])
    for claims, expected in ((ANN, ""), (BOB, "audio-unknown")):
        played = here.ask(claims, chats.whole(SPEECH), path="/v1/chat/completions", sent=asked)
        assert reason(played) == expected


@pytest.mark.parametrize("streamed", [False, True], ids=["whole", "streamed"])
def test_a_container_of_anthropics_is_its_principals(streamed: bool) -> None:
    here = Provider(policy(), codecs=[AnthropicCodec()])
    used: Any = messages.whole(messages.text("x"), container={"id": "c1", "expires_at": "z"})
    if streamed:
        ended = {"type": "message_delta", "delta": {"container": {"id": "c1"}}, "usage": {"output_tokens": 1}}
        used = b"".join(map(messages.event, [messages.start(), ended, {"type": "message_stop"}]))
    assert not reason(here.ask(ANN, used, path="/v1/messages", sent=messages.asking(stream=streamed)))
    asked = messages.asking(container="c1")
    own = here.ask(ANN, messages.whole(messages.text("x")), path="/v1/messages", sent=asked)
    stolen = here.ask(BOB, path="/v1/messages", sent=asked)
    assert (reason(own), reason(stolen), went_on(stolen)) == ("", "container-unknown", False)
    assert stolen.client is not None
    assert (stolen.client.status, stolen.client.json["error"]["type"]) == (404, "not_found_error")


@pytest.mark.parametrize("streamed", [False, True], ids=["whole", "streamed"])
def test_a_thread_of_anthropics_is_its_principals(streamed: bool) -> None:
    here = Provider(policy(), codecs=[AnthropicCodec()])
    spoken: Any = messages.whole(messages.text("x"))
    if streamed:
        spoken = b"".join(map(messages.event, [messages.start(), {"type": "message_stop"}]))
    begun = messages.asking(thread={"type": "create"}, stream=streamed)
    asked = messages.asking(thread={"type": "continue", "previous_message_id": "msg_1"})
    plain = here.ask(ANN, spoken, path="/v1/messages", sent=messages.asking(stream=streamed))
    assert not reason(plain)
    assert reason(here.ask(ANN, path="/v1/messages", sent=asked)) == "thread-unknown", "nothing was kept"
    assert not reason(here.ask(ANN, spoken, path="/v1/messages", sent=begun))
    assert not reason(here.ask(ANN, messages.whole(messages.text("x")), path="/v1/messages", sent=asked))
    stolen = here.ask(BOB, path="/v1/messages", sent=asked)
    assert (reason(stolen), went_on(stolen)) == ("thread-unknown", False)
    assert stolen.client is not None
    assert stolen.client.json["error"]["details"] == {"error_code": "thread_not_found"}, "as official clients expect"


def test_a_cache_is_made_elsewhere_and_is_as_the_bundle_says() -> None:
    path, asked = "/v1beta/models/m:generateContent", gemini.asking(cachedContent="cachedContents/c")
    for unknown, expected in (("deny", ["cache-unknown"] * 2), ("adopt", ["", "cache-unknown"]), ("allow", ["", ""])):
        here = Provider(policy(stored={"unknown": unknown}), codecs=[GeminiCodec()])
        answer = gemini.answer(gemini.candidate({"text": "x"}, finish="STOP"))
        played = [here.ask(claims, answer, path=path, sent=asked) for claims in (ANN, BOB)]
        assert [reason(each) for each in played] == expected
