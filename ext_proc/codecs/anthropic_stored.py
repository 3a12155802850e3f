"""Anthropic: what requests refer to and answers name: threads, and the containers that code runs in.

Rules:
- A request with a `thread` has the conversation kept under its answer's id; one that continues names the answer before.
- A request names a container alone or in an object, which may also load skills; an object without an id is no
  reference. An answer names it in the message, a stream in its last `message_delta`.
- What has another type than its field's is malformed; so is a key of another case.

Source: Anthropic, Messages API (container, code execution, threads); its official client.

Not here: files, which are made on paths of their own; `diagnostics`, which name a message and are told no text of it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ext_proc.codecs.llm_fields import as_object, as_text, check_keys, text_of
from ext_proc.messages import StoredKind, StoredObject

_HOLDER = frozenset({"container", "thread", "id"})
_CONTAINER = frozenset({"id"})
_THREAD = frozenset({"type", "previous_message_id"})


def references_of(request: Mapping[str, Any]) -> Sequence[StoredObject]:
    """What a request refers to.

    Raises:
        Malformed: something that refers has another type than its field's.
    """
    thread = as_object(request.get("thread"), "thread")
    check_keys(thread, _THREAD)
    text_of(thread, "type")
    return (*_thing(StoredKind.THREAD, text_of(thread, "previous_message_id")), *_container_in(request))


def handed_out_by(holder: Mapping[str, Any]) -> Sequence[StoredObject]:
    """What a message names, or the part of one that an event has.

    Raises:
        Malformed: it names something in another type than its field's.
    """
    return (*_thing(StoredKind.THREAD, text_of(holder, "id")), *_container_in(holder))


def _container_in(holder: Mapping[str, Any]) -> Sequence[StoredObject]:
    check_keys(holder, _HOLDER)
    named = holder.get("container")
    if not isinstance(named, dict):
        return _thing(StoredKind.CONTAINER, as_text(named, "container"))
    check_keys(named, _CONTAINER)
    return _thing(StoredKind.CONTAINER, text_of(named, "id"))


def _thing(kind: StoredKind, id: str) -> Sequence[StoredObject]:
    return (StoredObject(kind, id),) if id else ()
