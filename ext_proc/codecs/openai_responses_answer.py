"""OpenAI responses: what an answer has said so far, and what its next document or event says.

Rules:
- An item is a choice of its own: when it is done its texts end, so that what was held of one item does not hold up the
  next. What repeats a text ends with its event.
- `response.completed`, `response.incomplete` and `response.failed` end a stream; `[DONE]` behind it, as some servers
  write it, says nothing. Without any of them the answer was cut off. After an error nothing more is awaited.
- An event is what its data's `type` says, as official clients take it.
- Whatever holds an `error` that says something is an error, beside text too: official clients raise there.
- An answer in the background that has not begun (queued, in_progress) is whole as it is.

Not here: classes of messages (openai_responses_messages.py), where texts stand (openai_responses_events.py,
openai_responses_texts.py), frames (llm_frames.py), what all readers know of an answer (llm_reader.py).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

from ext_proc.codecs.llm_channels import Channels
from ext_proc.codecs.llm_fields import check_keys, text_of
from ext_proc.codecs.llm_found import Found
from ext_proc.codecs.llm_frames import NOTHING, Part
from ext_proc.codecs.llm_reader import Reader
from ext_proc.codecs.llm_texts import Malformed, Place, Spot
from ext_proc.codecs.openai_chat_denials import DONE, closing, error_object
from ext_proc.codecs.openai_responses_calls import name_of
from ext_proc.codecs.openai_responses_events import (
    delta_on,
    index_of,
    object_of,
    of_delta,
    of_event,
    output_text_of,
    plain_delta,
)
from ext_proc.codecs.openai_responses_messages import (
    EVENT,
    ResponsesAnswer,
    ResponsesError,
    ResponsesEvent,
    check_answer,
    output_of,
)
from ext_proc.codecs.openai_responses_texts import (
    COPIES,
    MAX_ITEMS,
    changes_for,
    of_item,
    placed,
)
from ext_proc.framing.json_splice import Path
from ext_proc.framing.json_surrogates import encode_tolerant
from ext_proc.framing.sse import ServerSentEvent, encode_event
from ext_proc.limits import Limits
from ext_proc.messages import Channel, ChannelKind, Message
from ext_proc.policy import Deny
from ext_proc.trail import Outcome

MAX_CHANNELS = 4096  # five for each text of an item
MAX_WORD = 1024  # characters of what our own events repeat of the stream's: proxies make long ids
_TERMINAL = {
    "response.completed": Outcome.OK,
    "response.done": Outcome.OK,  # OpenRouter, at first
    "response.incomplete": Outcome.TRUNCATED,
    "response.cancelled": Outcome.TRUNCATED,
    "response.failed": Outcome.PROTOCOL_ERROR,
}
_STATUSES = {"incomplete": Outcome.TRUNCATED, "failed": Outcome.PROTOCOL_ERROR, "cancelled": Outcome.TRUNCATED}
_NOT_BEGUN = ("queued", "in_progress")
_ENVELOPE = ("id", "object", "created_at", "model")
_Known = tuple[int, ChannelKind, Path | int]


class ResponsesReader(Reader):
    """Reads one answer; see `llm_frames.AnswerReader`.

    Args:
        requests: what it answers.
        failed: whether the HTTP status is no success: then it need not be OpenAI's at all.
    """

    provider = "OpenAI"
    format = "openai"

    def __init__(self, requests: Sequence[Message], limits: Limits, *, failed: bool) -> None:
        super().__init__(requests, limits, failed=failed, channels=Channels(MAX_CHANNELS))
        self._items: dict[int, tuple[str, str]] = {}  # id and type by position
        self._called: dict[int, str] = {}  # the name of the tool that one is a call of
        self._copies = 0
        self._said: set[_Known] = set()
        self._heard: set[_Known] = set()  # in the event at hand
        self._envelope: dict[str, Any] = {}
        self._number = -1  # of the last event

    def event(self, event: ServerSentEvent) -> Part:
        """See `AnswerReader`."""
        return NOTHING if (event.data or b"").strip() == DONE else super().event(event)

    def _document(self, value: Any, data: bytes) -> Part:
        value = check_answer(value)
        erred = self._is_error(value)
        if "output" not in value and not erred:
            raise Malformed("an answer has no output")
        items = output_of(value)
        spots = self._spots(
            [
                *(
                    place
                    for position, item in enumerate(items)
                    for place in placed(of_item(item, ("output", position)), position, data)
                ),
                *self._copy(output_text_of(value, ()), 0, 0, data),
            ]
        )
        self._look(value)
        self._produced = self._produced or value.get("status") in _NOT_BEGUN
        for choice in (*range(len(items)), *range(COPIES, COPIES + self._copies)):
            self._channels.begin(choice)
        closes = self._channels.finish()
        if erred and "output" not in value:
            return self._error(value, data)
        return Part(ResponsesAnswer(value, data, spots), spots, closes, changes=changes_for)

    def _event(self, value: Any, data: bytes) -> Part:
        plain = plain_delta(value)
        if plain is not None:
            return self._plain(value, data, *plain)
        before = self._copies
        if not isinstance(value, dict):
            raise Malformed("an event must be an object")
        check_keys(value, EVENT)
        kind, choice = text_of(value, "type"), index_of(value, "output_index", MAX_ITEMS)
        item = object_of(value, "item")
        spots = self._spots(list(self._places(kind, value, data)))
        self._see_number(value)
        if item or value.get("part") or kind.endswith(".delta"):
            self._channels.begin(choice)
        if item:
            self._items[choice] = text_of(item, "id")[:MAX_WORD], text_of(item, "type")
            self._called[choice] = name_of(item)
            self._produced = self._produced or item.get("type") != "reasoning"
        closes = self._channels.end(range(COPIES + before, COPIES + self._copies))
        if kind in _TERMINAL:
            self._worse(_TERMINAL[kind])
            closes += self._channels.finish()
        elif kind == "response.output_item.done":
            closes += self._channels.end((choice,))
        if kind == "error" or value.get("error"):
            return self._error(value, data, spots, closes)
        message = ResponsesEvent(value, data, spots, self._called.get(choice, ""))
        return Part(message, spots, closes, kind in _TERMINAL, changes_for)

    def _plain(self, value: Mapping[str, Any], data: bytes, choice: int, text: Found) -> Part:
        """What a delta of an item says, as `_event` would."""
        self._heard.add(_known(text, choice, 1))
        spots = self._spots(list(placed((text,), choice, data)))
        self._see_number(value)
        self._channels.begin(choice)
        return Part(ResponsesEvent(value, data, spots, self._called.get(choice, "")), spots, changes=changes_for)

    def text_event(self, channel: Channel, text: str) -> bytes:
        """See `codec.Decoder`; nothing for a copy, or for a text that no delta carries."""
        item_id, item = self._items.get(channel.choice, ("", ""))
        found = delta_on(channel, item) if channel.choice < COPIES else None
        if found is None:
            return b""
        kind, where = found
        return self._own_event(kind, item_id=item_id, output_index=channel.choice, **where, delta=text)

    def ending(self, deny: Deny, trail_id: str, unsent: Sequence[Part]) -> bytes:
        """See `AnswerReader`: the answer is incomplete, for its content was filtered."""
        values = [part.message.value for part in unsent if isinstance(part.message, ResponsesEvent)]
        events = b""
        if not self._envelope or any(value.get("type") == "response.created" for value in values):
            events += self._own_event("response.created", response=self._snapshot("in_progress"))
        ended = self._snapshot("incomplete", incomplete_details={"reason": "content_filter"})
        return events + self._own_event("response.incomplete", response=ended, **closing(deny, trail_id))

    def _places(self, kind: str, value: Mapping[str, Any], data: bytes) -> Iterator[Place]:
        """The texts in an event of a stream: those of the item's channels, then each copy."""
        stem, _, last = kind.rpartition(".")
        choice, response = index_of(value, "output_index", MAX_ITEMS), object_of(value, "response")
        told, begins = list(of_event(kind, value)), last == "added"
        own = [*of_delta(stem, value), *(told if begins else ())]
        self._heard.update(_known(text, choice, 1) for text in own)
        yield from placed(own, choice, data)
        if not begins:
            yield from self._copy(told, choice, 1, data)
        if response is not None:
            self._look(check_answer(response))
            for position, entry in enumerate(output_of(response)):
                yield from self._copy(of_item(entry, ("response", "output", position)), position, 3, data)
            yield from self._copy(output_text_of(response, ("response",)), 0, 0, data)

    def _copy(self, found: Iterable[Found], position: int, above: int, data: bytes) -> list[Place]:
        """Texts that are whole here, as a choice of their own; copies, where the answer has said them before.

        Args:
            position: of the item that they are of.
            above: how many steps lead to it.
        """
        known = [(text, _known(text, position, above)) for text in found]
        told = [replace(text, copy=who in self._said or not above) for text, who in known]
        self._heard.update(who for _, who in known)
        places = list(placed(told, COPIES + self._copies, data))
        self._copies += bool(places)
        return places

    def _spots(self, places: Sequence[Place]) -> tuple[Spot, ...]:
        """The texts as policies see them."""
        heard, self._heard = self._heard, set()
        spots = self._channels.spots(places)
        self._said |= heard  # no more than there are channels
        kinds = {spot.channel.kind for spot in spots}
        self._produced = self._produced or bool(kinds - {ChannelKind.REASONING})
        if ChannelKind.REFUSAL in kinds:
            self._worse(Outcome.REFUSED)
        return spots

    def _see_number(self, value: Mapping[str, Any]) -> None:
        """Goes on counting from an event's own number."""
        number = value.get("sequence_number")
        self._number = max(self._number, number) if type(number) is int else self._number

    def _look(self, answer: Mapping[str, Any]) -> None:
        """What an answer's object says of it."""
        if not self._envelope:
            self._envelope = {name: answer[name] for name in _ENVELOPE if _is_short(answer.get(name))}
        details = answer.get("incomplete_details")
        if isinstance(details, dict) and details.get("reason") == "content_filter":
            self._worse(Outcome.REFUSED)
        self._worse(_STATUSES.get(text_of(answer, "status"), Outcome.OK))
        self._produced = self._produced or any(item.get("type") != "reasoning" for item in output_of(answer))

    def _snapshot(self, status: str, **members: Any) -> dict[str, Any]:
        """The answer's object, as far as clients need it."""
        asked = next((request.target for request in self._requests), "")[:MAX_WORD]
        blank = {"id": "", "object": "response", "created_at": 0, "model": asked, **self._envelope, "status": status}
        blank |= {"error": None, "incomplete_details": None, "instructions": None, "metadata": {}, "output": []}
        return blank | {"parallel_tool_calls": True, "tool_choice": "auto", "tools": [], "usage": None, **members}

    def _own_event(self, kind: str, **members: Any) -> bytes:
        """An event of ours, named and numbered as OpenAI does its own."""
        self._number += 1
        value = {"type": kind, **members, "sequence_number": self._number}
        return b"event: " + kind.encode() + b"\n" + encode_event(encode_tolerant(value))

    def _error_object(self, deny: Deny, trail_id: str, status: int) -> Mapping[str, Any]:
        return error_object(deny, trail_id, status)

    def _error(
        self, value: Mapping[str, Any], data: bytes, spots: Sequence[Spot] = (), closes: Sequence[int] = ()
    ) -> Part:
        """An error of the server's: official clients read no further."""
        self._has_erred()
        return Part(ResponsesError(value, data), spots, closes, changes=changes_for)


def _known(text: Found, position: int, above: int) -> _Known:
    """By what a text is known again where it is repeated: its channel, or where in the item it stands."""
    return position, text.kind, text.path[above:] if text.index is None else text.index


def _is_short(value: Any) -> bool:
    return isinstance(value, int) or (isinstance(value, str) and len(value) <= MAX_WORD)
