"""OpenAI responses: what a request refers to that OpenAI keeps, and what an answer names that can be referred to.

Rules:
- A request refers to a response, a conversation, containers, and items: an item that is only referred to, and one that
  has an id but not what it was, for OpenAI puts in what it keeps. Without a type it is a reference, too.
- A call of the code interpreter in the input brings its container along: "auto" takes that one up again.
- What stands in `extra_body` counts too: proxies unpack it.
- A request in which any of this has another type than its field's is malformed; so is a key of another case.
- An answer names itself, its conversation, its items and their containers; a stream does so several times.

Source: OpenAI, Responses API (conversation state, code interpreter, shell, image generation, prompt caching).

Not here: files, vector stores and stored prompts, which are made elsewhere; ids that mean something within one answer
only (`call_id`, `approval_request_id`); whose anything is (a policy's).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from ext_proc.codecs.llm_fields import as_object, as_text, check_flag, check_keys, reject, text_of
from ext_proc.codecs.openai_responses_calls import items_in
from ext_proc.messages import HostedTool, StoredKind, StoredObject

_REQUEST = frozenset({"previous_response_id", "conversation", "input", "store", "prompt_cache_options", "extra_body"})
_CONVERSATION = frozenset({"id"})
_TOOL = frozenset({"container", "environment"})
_CACHE = frozenset({"comparison_response_id"})
_PLACE = frozenset({"container_id"})
# What an item holds where it need not be looked up: of these types in one member, of all others in any.
_HELD_IN: Mapping[str, str] = {
    "reasoning": "encrypted_content",
    "compaction": "encrypted_content",
    "code_interpreter_call": "code",
    "file_search_call": "results",
    "image_generation_call": "result",
}
_WHOLE = (
    *("content", "arguments", "input", "output", "action", "actions", "operation", "code", "result", "tools"),
    *("approve", "encrypted_content"),
)
_ITEM = frozenset({"id", "type", "container_id", "environment", *_HELD_IN.values(), *_WHOLE})


def references_of(request: Mapping[str, Any], tools: Sequence[HostedTool]) -> Sequence[StoredObject]:
    """What a request refers to, each thing once.

    Args:
        tools: that the provider would run for it.

    Raises:
        Malformed: something that refers has another type than its field's.
    """
    found = [StoredObject(kind, id) for body in _bodies(request) for kind, id in _of_body(body) if id]
    found += [StoredObject(StoredKind.CONTAINER, id) for tool in tools if (id := _container_of(tool))]
    return tuple(dict.fromkeys(found))


def is_kept(request: Mapping[str, Any]) -> bool:
    """Whether OpenAI keeps the answer, as it does unless `store` says no.

    Raises:
        Malformed: `store` is no truth value.
    """
    said = [body["store"] for body in _bodies(request) if body.get("store") is not None]
    for flag in said:
        check_flag(flag, "store")
    return not said or any(said)


def handed_out_by(value: Mapping[str, Any], snapshot: Mapping[str, Any]) -> Sequence[StoredObject]:
    """What an answer names, or an event of one; what is no text names nothing.

    Args:
        snapshot: the answer's object; {} for an event without it.
    """
    named: list[tuple[StoredKind, Any]] = []
    if snapshot:
        named.append((StoredKind.RESPONSE, snapshot.get("id")))
        conversation = snapshot.get("conversation")
        if conversation is not None:
            named.append((StoredKind.CONVERSATION, conversation_in(conversation)))
    for _, _, item in items_in(value):
        named.append((StoredKind.ITEM, item.get("id")))
        place = item.get("environment")
        for holder in (item, place if isinstance(place, dict) else {}):
            named.append((StoredKind.CONTAINER, holder.get("container_id")))
    return tuple(dict.fromkeys(StoredObject(kind, id) for kind, id in named if isinstance(id, str) and id))


def conversation_in(value: Any) -> str:
    """The id of a conversation, which stands alone or in an object; "" for none.

    Raises:
        Malformed: it is something else.
    """
    if not isinstance(value, dict):
        return as_text(value, "conversation")
    check_keys(value, _CONVERSATION)
    return text_of(value, "id") or reject("a conversation must have an id")


def _bodies(request: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    """A request, and what proxies unpack into it."""
    body = request
    while body:
        check_keys(body, _REQUEST)
        yield body
        body = as_object(body.get("extra_body"), "extra_body")


def _of_body(body: Mapping[str, Any]) -> Iterator[tuple[StoredKind, str]]:
    yield StoredKind.RESPONSE, text_of(body, "previous_response_id")
    yield StoredKind.CONVERSATION, conversation_in(body.get("conversation"))
    cached = as_object(body.get("prompt_cache_options"), "prompt_cache_options")
    check_keys(cached, _CACHE)
    yield StoredKind.RESPONSE, text_of(cached, "comparison_response_id")
    said = body.get("input")
    for item in said if isinstance(said, list) else ():
        yield from references_in(as_object(item, "input"))


def references_in(item: Mapping[str, Any]) -> Iterator[tuple[StoredKind, str]]:
    """What an item of a request refers to; "" for nothing.

    Raises:
        Malformed: something that refers has another type than its field's.
    """
    check_keys(item, _ITEM)
    kind, id = text_of(item, "type"), text_of(item, "id")
    if kind == "item_reference":
        yield StoredKind.ITEM, id or reject("a reference must have an id")
    elif id and not _holds_all(item, kind):
        yield StoredKind.ITEM, id
    yield StoredKind.CONTAINER, text_of(item, "container_id")
    yield StoredKind.CONTAINER, _place_of(item)


def _holds_all(item: Mapping[str, Any], kind: str) -> bool:
    """Whether an item says what it was."""
    if kind in _HELD_IN:
        return bool(item.get(_HELD_IN[kind]))
    return any(item.get(name) not in (None, "") for name in _WHOLE)


def _container_of(tool: HostedTool) -> str:
    """The container that a tool is to run in; "" where it gets one of its own."""
    check_keys(tool.parameters, _TOOL)
    container = tool.parameters.get("container")
    named = "" if isinstance(container, dict) else as_text(container, "container")
    return named or _place_of(tool.parameters)


def _place_of(holder: Mapping[str, Any]) -> str:
    place = holder.get("environment")
    if not isinstance(place, dict):
        return ""
    check_keys(place, _PLACE)
    return text_of(place, "container_id")
