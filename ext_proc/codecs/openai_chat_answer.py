"""OpenAI chat: what an answer has said so far: which choices are open, how it ended, what its stream looks like.

Rules:
- A `finish_reason` ends its choice, `[DONE]` all that are open. Text of a choice that ended is malformed.
- Cut off is a stream without `[DONE]`, and a choice that said `finish_reason: null` and never a reason. A server that
  never writes the key ends its choices with `[DONE]` (Snowflake). After an error nothing more is awaited.

Not here: how texts are found (openai_chat_texts.py), channels (llm_channels.py).
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any

from ext_proc.codecs.llm_channels import Channels
from ext_proc.codecs.llm_texts import Place, Spot
from ext_proc.codecs.openai_chat_denials import closing, end_of_choice
from ext_proc.codecs.openai_chat_events import Ordinary
from ext_proc.codecs.openai_chat_messages import choices_of
from ext_proc.codecs.openai_chat_texts import PRODUCTS, delta_with, index_of
from ext_proc.framing.json_surrogates import encode_tolerant
from ext_proc.messages import Channel, ChannelKind, Generation, Message, Opaque
from ext_proc.policy import Deny
from ext_proc.trail import Outcome

MAX_WORD = 256  # characters of what our own events repeat of the stream's: there may be one for every choice

_ENDINGS = {
    "length": Outcome.TRUNCATED,
    "model_length": Outcome.TRUNCATED,  # Mistral
    "insufficient_system_resource": Outcome.TRUNCATED,  # DeepSeek
    "content_filter": Outcome.REFUSED,
    "error": Outcome.PROTOCOL_ERROR,  # OpenRouter
}
_ENVELOPE = ("id", "object", "created", "model", "system_fingerprint")


class Answer:
    """One answer to a chat request.

    Args:
        requests: what it answers.
        failed: whether the HTTP status is no success: then it need not be OpenAI's at all.
        legacy: whether it is one of the older completions, whose choices hold their text themselves.
    """

    def __init__(self, requests: Sequence[Message], *, failed: bool, legacy: bool = False) -> None:
        self._requests = tuple(requests)
        self.failed = failed
        self.legacy = legacy
        # The list of models holds nothing to decide, and no text.
        self.listing = bool(requests) and not any(isinstance(request, Generation) for request in requests)
        self._channels = Channels()
        self._unfinished: set[int] = set()  # said `finish_reason: null` and no reason
        self._produced = False
        self._erred = False
        self._envelope: dict[str, Any] = {}
        self.outcome = Outcome.PROTOCOL_ERROR if failed else Outcome.OK

    @property
    def done(self) -> bool:
        """Whether `[DONE]`, or the end of a whole answer, has come."""
        return self._channels.done

    @property
    def unanswered(self) -> Sequence[Message]:
        """What was asked, as long as the answer goes on."""
        return () if self._channels.done or self._erred else self._requests

    def spots(self, found: Iterable[Place]) -> tuple[Spot, ...]:
        """The texts as policies see them.

        Raises:
            Malformed: text after its choice's end, or past the bound of channels.
        """
        joined = self._channels.spots(found)
        for spot in joined:
            kind = spot.channel.kind
            if kind is not ChannelKind.REASONING:
                self._produced = True
            if kind is ChannelKind.REFUSAL:
                self._worse(Outcome.REFUSED)
        return joined

    def see(self, value: Mapping[str, Any], holder: str, *, whole: bool) -> tuple[int, ...]:
        """Counts a readable answer, or event of one; the choices that end with it.

        Args:
            whole: whether it is all of the answer.
        """
        if value.get("choices") and not self._envelope:  # Azure's first event has none, and an envelope without words
            self._see_envelope(value)
        closes: list[int] = []
        for position, choice in enumerate(choices_of(value)):
            index, reason, held = index_of(choice, position), choice.get("finish_reason"), choice.get(holder) or {}
            self._produced = self._produced or any(held.get(name) for name in PRODUCTS)
            self._channels.begin(index)
            if reason:
                self._worse(_ENDINGS.get(reason, Outcome.OK))
                self._unfinished.discard(index)
            elif "finish_reason" in choice and not self._channels.has_ended(index):
                self._unfinished.add(index)
            if reason or whole:
                closes.append(index)
        return self._channels.end(closes)

    def see_ordinary(self, value: Mapping[str, Any], event: Ordinary) -> None:
        """Counts an ordinary event, as `see` would."""
        if event.produces:
            self._produced = True
        if event.index in self._unfinished and self._envelope:
            return  # nothing of it is new
        if not self._envelope:
            self._see_envelope(value)
        if not self._channels.has_ended(event.index):
            self._channels.begin(event.index)
            if event.awaits:
                self._unfinished.add(event.index)

    def see_error(self) -> None:
        """An error of the server's: official clients read no further."""
        self._erred = True
        self._worse(Outcome.PROTOCOL_ERROR)

    def see_opaque(self, message: Opaque) -> None:
        """What could not be read."""
        if message.malformed or message.too_large:
            self._worse(Outcome.INVALID)

    def finish(self) -> tuple[int, ...]:
        """`[DONE]`, or the end of a whole answer; the choices that end with it."""
        return self._channels.finish()

    def end(self, *, empty: bool, streamed: bool) -> None:
        """The body is over."""
        if self.failed or self._erred:
            return
        if empty:
            self._worse(Outcome.EMPTY)
        elif streamed and (not self.done or self._unfinished):
            self._worse(Outcome.TRUNCATED)
        elif not self._produced and not self.listing:
            self._worse(Outcome.EMPTY)

    def event_with(self, channel: Channel, text: str) -> bytes:
        """The data of a new event that carries `text`."""
        return encode_tolerant({**self._own_envelope(), "choices": [self._choice_with(channel, text)]})

    def ending(self, deny: Deny, trail_id: str, unsent: Collection[int]) -> list[bytes]:
        """The data of the events that end every choice that is open to the client.

        Args:
            unsent: choices whose end did not reach the client.
        """
        # A stream cut off before its first choice still has one to end, for clients wait for it.
        choices = {*self._channels.open, *unsent} or ({0} - self._channels.ended)
        envelope = {**self._own_envelope(), **closing(deny, trail_id)}
        ends = [end_of_choice(index, legacy=self.legacy) for index in sorted(choices)]
        return [encode_tolerant({**envelope, "choices": [end]}) for end in ends]

    def _choice_with(self, channel: Channel, text: str) -> dict[str, Any]:
        if self.legacy:
            return {"index": channel.choice, "text": text, "logprobs": None, "finish_reason": None}
        return delta_with(channel, text)

    def _own_envelope(self) -> dict[str, Any]:
        asked = next((request.target for request in self._requests), "")[:MAX_WORD]
        kind = "text_completion" if self.legacy else "chat.completion.chunk"
        return {"id": "", "object": kind, "created": 0, "model": asked, **self._envelope}

    def _see_envelope(self, value: Mapping[str, Any]) -> None:
        self._envelope = {name: value[name] for name in _ENVELOPE if name in value and _is_short(value[name])}

    def _worse(self, outcome: Outcome) -> None:
        self.outcome = self.outcome.worse(outcome)


def _is_short(value: Any) -> bool:
    return value is None or isinstance(value, int) or (isinstance(value, str) and len(value) <= MAX_WORD)
