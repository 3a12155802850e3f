"""Anthropic messages: what an answer has said so far, and what its next document or event says.

Rules:
- A block is a choice of its own: its stop ends its texts, so that what was held of one block does not hold up the next.
- `message_stop` ends a stream. Without it the answer was cut off. After an error nothing more is awaited.
- An event is what its data's `type` says. Official clients skip events without a name, and take what is named `error`
  for one; whoever goes by the data must find nothing there that was not read.
- Events of types that are not known are let through if no text of a known kind is in them.
- The text of an error is read where a message has it: some clients show what they know, whatever stands beside it.
- A block's signature comes behind its text, and leaves empty where that was changed.

Not here: classes of messages (anthropic_messages.py), where texts stand (anthropic_texts.py), frames (llm_frames.py),
what all readers know of an answer (llm_reader.py).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from typing import Any

from ext_proc.codecs.anthropic_denials import STOPPED, error_object
from ext_proc.codecs.anthropic_messages import (
    COUNTED,
    EVENT,
    Counted,
    MessageAnswer,
    MessageError,
    MessageEvent,
    check_answer,
    read_usage,
)
from ext_proc.codecs.anthropic_stored import handed_out_by
from ext_proc.codecs.anthropic_texts import (
    DELTAS,
    MAX_INDEX,
    changes_for,
    check_block,
    of_block,
    of_citation,
    plain_delta,
)
from ext_proc.codecs.llm_fields import check_keys, objects, text_of
from ext_proc.codecs.llm_found import channel_of, placed
from ext_proc.codecs.llm_frames import Part
from ext_proc.codecs.llm_reader import Reader
from ext_proc.codecs.llm_texts import Malformed, Place, Spot, Texts
from ext_proc.framing.json_splice import Path
from ext_proc.framing.json_surrogates import encode_tolerant
from ext_proc.framing.sse import encode_event
from ext_proc.limits import Limits
from ext_proc.messages import Channel, ChannelKind, Message, ModelListing, Role, TokenCount, Usage
from ext_proc.policy import Deny
from ext_proc.trail import Outcome

OTHER_INPUT = 1024  # the channel, within its block, of pieces of input that clients do not take for such
_ENDINGS = {
    "max_tokens": Outcome.TRUNCATED,
    "model_context_window_exceeded": Outcome.TRUNCATED,
    "refusal": Outcome.REFUSED,
}
_DELTA = "content_block_delta"
_KINDS = frozenset(
    {"message_start", "content_block_start", _DELTA, "content_block_stop", "message_delta", "message_stop", "ping"}
)
_DELTA_OF: Mapping[ChannelKind, tuple[str, str]] = {
    ChannelKind.CONTENT: ("text_delta", "text"),
    ChannelKind.REASONING: ("thinking_delta", "thinking"),
    ChannelKind.TOOL_ARGUMENTS: ("input_json_delta", "partial_json"),
}
_INPUT_DELTA, _INPUT = _DELTA_OF[ChannelKind.TOOL_ARGUMENTS]


class MessageReader(Reader):
    """Reads one answer; see `llm_frames.AnswerReader`.

    Args:
        requests: what it answers.
        failed: whether the HTTP status is no success: then it need not be Anthropic's at all.
    """

    provider = "Anthropic"
    format = "anthropic"

    def __init__(self, requests: Sequence[Message], limits: Limits, *, failed: bool) -> None:
        super().__init__(requests, limits, failed=failed)
        self._counts = any(isinstance(request, TokenCount) for request in requests)
        self._lists = any(isinstance(request, ModelListing) for request in requests)
        self._started = False
        self._counts_told: dict[str, Any] = {}  # of usage, what the last event that counted it said
        self._rewritten: set[int] = set()  # the blocks of which a changed text has left

    def _document(self, value: Any, data: bytes) -> Part:
        value = check_answer(value)
        erred = "error" in value
        if (self._lists or self._counts) and not erred:
            self._produced = True
            self._channels.finish()
            return Part(Counted(value, data) if self._counts else None)
        blocks = objects(value.get("content"), "content")
        spots = self._channels.spots(
            place
            for index, block in enumerate(blocks)
            for place in placed(of_block(block, Role.ASSISTANT, ("content", index)), index, data)
        )
        if erred:
            return self._error(value, data, spots, self._channels.finish())
        self._produced = bool(blocks)
        self._worse(_ENDINGS.get(value.get("stop_reason") or "", Outcome.OK))
        for index in range(len(blocks)):
            self._channels.begin(index)
        closes = self._channels.finish()
        return Part(MessageAnswer(value, data, spots), spots, closes, changes=changes_for)

    def _event(self, value: Any, data: bytes) -> Part:
        plain = None if self.done else plain_delta(value)
        if plain is not None:
            index = plain.channel.choice
            self._channels.begin(index)
            spots = self._channels.spots((plain,))
            return Part(MessageEvent(value, data, spots), spots, changes=partial(self._changes, index))
        if not isinstance(value, dict):
            raise Malformed("an event must be an object")
        check_keys(value, EVENT)
        kind = text_of(value, "type")
        closes, spots = self._read(kind, value, data)
        if kind not in _KINDS and (kind == "error" or "error" in value):
            return self._error(value, data)
        index = value.get("index", -1)
        return Part(
            MessageEvent(value, data, spots, self._usage(kind, value)),
            spots,
            closes,
            kind == "message_stop",
            changes=partial(self._changes, index),
            late=partial(self._unsigned, index) if kind == _DELTA and value["delta"].get("signature") else None,
        )

    def text_event(self, channel: Channel, text: str) -> bytes:
        """See `codec.Decoder`; nothing for a text that no delta carries."""
        if channel.index or channel.kind not in _DELTA_OF:
            return b""
        kind, name = _DELTA_OF[channel.kind]
        return _event(_DELTA, index=channel.choice, delta={"type": kind, name: text})

    def ending(self, deny: Deny, trail_id: str, unsent: Sequence[Part]) -> bytes:
        """See `AnswerReader`: every block that is open to the client, then the message, with `refusal`."""
        values = [part.message.value for part in unsent if isinstance(part.message, MessageEvent)]
        began = {value.get("index") for value in values if value.get("type") == "content_block_start"}
        opened = self._started and not any(value.get("type") == "message_start" for value in values)
        events = b"" if opened else _event("message_start", message=self._blank())
        stopped = {choice for part in unsent for choice in part.closes}
        for index in sorted({*self._channels.open, *stopped} - began):
            events += _event("content_block_stop", index=index)
        why, told = {"trail": trail_id, "reason": deny.reason}, read_usage(self._counts_told)
        events += _event(
            "message_delta",
            delta={"stop_reason": STOPPED, "stop_sequence": None},
            usage={"output_tokens": told.output_tokens if told else 0},
            gatehouse=why,
        )
        return events + _event("message_stop")

    def _read(self, kind: str, value: Mapping[str, Any], data: bytes) -> tuple[Sequence[int], tuple[Spot, ...]]:
        """The choices that end with an event of a stream, and the texts in it."""
        if self.done and kind in _KINDS - {"ping"}:
            raise Malformed("an event follows the end of the message")
        if kind == "message_start":
            self._started = True
            started = _object(value, "message")
            handed_out_by(started)
            if started.get("content"):
                raise Malformed("a message must start without content")
        elif kind == "content_block_start":
            index, block = _index(value), _object(value, "content_block")
            self._channels.begin(index)
            self._produced = True
            return (), self._channels.spots(placed(of_block(block, Role.ASSISTANT, ("content_block",)), index, data))
        elif kind == _DELTA:
            index = _index(value)
            self._channels.begin(index)
            return (), self._channels.spots(_of_delta(_object(value, "delta"), index))
        elif kind == "content_block_stop":
            return self._channels.end((_index(value),)), ()
        elif kind == "message_delta":
            delta = _object(value, "delta")
            handed_out_by(delta)
            self._worse(_ENDINGS.get(text_of(delta, "stop_reason"), Outcome.OK))
        elif kind == "message_stop":
            return self._channels.finish(), ()
        elif "content_block" in value or "delta" in value:
            raise Malformed("an event of an unknown type carries text")
        return (), ()

    def _is_error(self, value: Mapping[str, Any]) -> bool:
        return "error" in value

    def _error_object(self, deny: Deny, trail_id: str, status: int) -> Mapping[str, Any]:
        return error_object(deny, trail_id, status)

    def _error(
        self, value: Mapping[str, Any], data: bytes, spots: tuple[Spot, ...] = (), closes: Sequence[int] = ()
    ) -> Part:
        """An error of the server's: official clients read no further."""
        self._has_erred()
        return Part(MessageError(value, data), spots, closes, changes=changes_for)

    def _usage(self, kind: str, value: Mapping[str, Any]) -> Usage | None:
        """What was counted so far; None where an event tells nothing of it."""
        if kind != "message_start" and kind != "message_delta":
            return None
        holder = value if kind == "message_delta" else value.get("message")
        usage = holder.get("usage") if isinstance(holder, dict) else None
        if not isinstance(usage, dict):
            return None
        self._counts_told |= {name: usage[name] for name in COUNTED if usage.get(name) is not None}
        return read_usage(self._counts_told)

    def _changes(
        self, index: int, value: Mapping[str, Any], spots: Sequence[Spot], texts: Texts
    ) -> dict[Path, bytes | None]:
        self._rewritten.add(index)
        return changes_for(value, spots, texts)

    def _unsigned(self, index: int) -> Mapping[Path, bytes | None]:
        """What becomes of a block's signature once its text has left changed."""
        return {("delta", "signature"): b'""'} if index in self._rewritten else {}

    def _blank(self) -> dict[str, Any]:
        """A message before its first block, where the stream's own did not leave."""
        model = next((request.target for request in self._requests), "")
        usage = {"input_tokens": 0, "output_tokens": 0}
        return {
            "id": "",
            "type": "message",
            "role": "assistant",
            "model": model,
            "content": [],
            "stop_reason": None,
            "stop_sequence": None,
            "usage": usage,
        }


def _of_delta(delta: Mapping[str, Any], index: int) -> Iterator[Place]:
    """The texts of a delta: its block's own, and what a citation quotes."""
    check_block(delta)
    text_of(delta, "signature")
    for name, kind in DELTAS.items():
        text = text_of(delta, name)
        if text:
            # Official clients put pieces of a call's input together by the delta's type, and pass over all others.
            apart = name == _INPUT and delta.get("type") != _INPUT_DELTA
            yield Place(channel_of(kind, index, OTHER_INPUT if apart else 0), ("delta", name), text)
    citation = delta.get("citation")
    for number, found in enumerate(of_citation(citation, ("delta", "citation")) if citation is not None else (), 1):
        yield Place(Channel(found.kind, index, number, role=found.role), found.path, found.text or "")


def _index(value: Mapping[str, Any]) -> int:
    index = value.get("index")
    if type(index) is not int or not 0 <= index < MAX_INDEX:
        raise Malformed("an index is out of range")
    return index


def _object(value: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    found = value.get(name)
    if not isinstance(found, dict):
        raise Malformed(f"{name} must be an object")
    check_block(found)
    return found


def _event(kind: str, **members: Any) -> bytes:
    """An event of ours, named as Anthropic names its own."""
    return b"event: " + kind.encode() + b"\n" + encode_event(encode_tolerant({"type": kind, **members}))
