"""A2A: the shapes that both directions have: messages, parts, tasks, events, and agents' cards.

Rules:
- A member is written as the specification has it (1.0, section 5.5: camelCase). Readers of protobuf's JSON take
  `task_id` for `taskId`, and others ignore case: what is one of the protocol's members but for case and underscores is
  refused.
- Where a reader of the other version would find another task or text in the same object, it is refused: `id` and
  `taskId`, a part with two contents.
- null is absent (protobuf's JSON), but in a part's `data`, where it is a value.

Not here: which of them a method has (a2a_messages.py), the texts in them (a2a_texts.py).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from functools import cache
from typing import Any

_MESSAGE = frozenset(
    {"kind", "messageId", "contextId", "taskId", "role", "parts", "metadata", "extensions", "referenceTaskIds"}
)
_PART = frozenset({"kind", "text", "file", "data", "raw", "url", "metadata", "filename", "mediaType"})
_FILE = frozenset({"name", "mimeType", "bytes", "uri"})
_STATUS = frozenset({"state", "message", "timestamp"})
_ARTIFACT = frozenset({"artifactId", "name", "description", "parts", "metadata", "extensions"})
_TASK = frozenset({"kind", "id", "contextId", "status", "artifacts", "history", "metadata"})
# Of a task, a message and the events about one: in 0.3 each may be the result itself.
PAYLOAD = _TASK | _MESSAGE | {"artifact", "append", "lastChunk", "final"}
_CONTENTS = ("text", "file", "data", "raw", "url")
# What 0.3 calls a part by what it holds.
_KINDS = {"text": "text", "file": "file", "data": "data"}

# What an agent's card may hold, in either version, and what its lists hold.
_CARD = frozenset(
    {
        *("name", "description", "url", "version", "provider", "iconUrl", "documentationUrl", "capabilities", "skills"),
        *("protocolVersion", "preferredTransport", "additionalInterfaces", "supportedInterfaces", "signatures"),
        *("defaultInputModes", "defaultOutputModes", "supportsAuthenticatedExtendedCard"),
        *("securitySchemes", "security", "securityRequirements"),
    }
)
_IN_CARD: Mapping[str, frozenset[str]] = {
    "supportedInterfaces": frozenset({"url", "protocolBinding", "protocolVersion", "tenant"}),
    "additionalInterfaces": frozenset({"url", "transport"}),
    "skills": frozenset({"id", "name", "description", "tags", "examples", "inputModes", "outputModes"}),
    "signatures": frozenset({"protected", "signature", "header"}),
}


class Malformed(Exception):
    """Why a value is no message: a slug, and words without payload."""

    def __init__(self, reason: str, detail: str) -> None:
        super().__init__(detail)
        self.reason = reason
        self.detail = detail


def check_keys(mapping: Mapping[str, Any], names: frozenset[str]) -> None:
    """Refuses a key that some reader takes for one of `names`.

    Raises:
        Malformed: it differs from one in case or underscores only (protobuf's JSON has `task_id` for `taskId`).
    """
    known = _folded(names)
    for key in mapping:
        if key not in names and key.casefold().replace("_", "") in known:
            raise Malformed("ambiguous-key", "a key equals one of the protocol's but for case or underscores")


def objects_of(value: Mapping[str, Any], name: str) -> Sequence[Mapping[str, Any]]:
    """A member that is a list of objects; () where it is absent.

    Raises:
        Malformed: it is something else.
    """
    found = value.get(name)
    if found is None:
        return ()
    if not isinstance(found, list) or not all(isinstance(item, dict) for item in found):
        raise Malformed("a2a-shape-invalid", f"{name} must be a list of objects")
    return found


def object_of(value: Mapping[str, Any], name: str) -> Mapping[str, Any] | None:
    """A member that is an object; None where it is absent.

    Raises:
        Malformed: it is something else.
    """
    found = value.get(name)
    if not isinstance(found, dict | None):
        raise Malformed("a2a-shape-invalid", f"{name} must be an object")
    return found


def check_texts(value: Mapping[str, Any], *names: str) -> None:
    """Refuses members that are neither strings nor absent.

    Raises:
        Malformed: one is something else.
    """
    for name in names:
        if not isinstance(value.get(name), str | None):
            raise Malformed("a2a-shape-invalid", f"{name} must be a string")


def check_payload(payload: Mapping[str, Any]) -> None:
    """Checks a task, a message or an event about a task.

    Raises:
        Malformed: it has not its shape.
    """
    check_keys(payload, PAYLOAD)
    check_texts(payload, "id", "taskId", "contextId", "kind")
    refuse_two(payload, "id", "taskId")
    for _ in messages_of(payload):
        pass


def messages_of(payload: Mapping[str, Any]) -> Iterator[tuple[tuple[str | int, ...], Mapping[str, Any]]]:
    """All that has parts in a task, a message or an event, checked, each with its path.

    Raises:
        Malformed: something has not its shape.
    """
    status = object_of(payload, "status") or {}
    check_keys(status, _STATUS)
    if not isinstance(status.get("state"), str | int | None):
        raise Malformed("a2a-shape-invalid", "state must be a string or a number")
    said = object_of(status, "message")
    if said is not None:
        check_message(said)
        yield ("status", "message"), said
    artifact = object_of(payload, "artifact")
    artifacts = [] if artifact is None else [(("artifact",), artifact)]
    for path, found in [*artifacts, *_numbered(payload, "artifacts")]:
        check_keys(found, _ARTIFACT)
        check_texts(found, "name", "description")
        _check_parts(found)
        yield path, found
    for path, found in _numbered(payload, "history"):
        check_message(found)
        yield path, found
    if "parts" in payload:
        _check_parts(payload)
        yield (), payload


def check_message(message: Mapping[str, Any]) -> None:
    """Checks a message, of either side.

    Raises:
        Malformed: it has not its shape.
    """
    check_keys(message, _MESSAGE)
    check_texts(message, "taskId", "contextId", "messageId")
    object_of(message, "metadata")
    referred = message.get("referenceTaskIds")
    if not isinstance(referred, list | None) or not all(isinstance(id, str) for id in referred or ()):
        raise Malformed("a2a-shape-invalid", "referenceTaskIds must be a list of strings")
    _check_parts(message)


def refuse_two(value: Mapping[str, Any], first: str, second: str) -> None:
    """Refuses two members of which two readers might take one each.

    Raises:
        Malformed: both are there.
    """
    if value.get(first) is not None and value.get(second) is not None:
        raise Malformed("ambiguous-key", f"{first} and {second} stand beside each other")


def check_card(card: Mapping[str, Any]) -> None:
    """Checks an agent's card: what clients read of it is there once.

    Raises:
        Malformed: it is not, or has not its shape.
    """
    check_keys(card, _CARD)
    check_texts(card, "url")
    for name, keys in _IN_CARD.items():
        for found in objects_of(card, name):
            check_keys(found, keys)


@cache
def _folded(names: frozenset[str]) -> frozenset[str]:
    return frozenset(name.casefold().replace("_", "") for name in names)


def _numbered(value: Mapping[str, Any], name: str) -> Sequence[tuple[tuple[str | int, ...], Mapping[str, Any]]]:
    return [((name, position), found) for position, found in enumerate(objects_of(value, name))]


def _check_parts(value: Mapping[str, Any]) -> None:
    for part in objects_of(value, "parts"):
        check_keys(part, _PART)
        held = [name for name in _CONTENTS if part.get(name) is not None or (name == "data" and name in part)]
        kind = part.get("kind")
        # The kind is 0.3's; a reader of 1.0 looks at the members alone.
        if len(held) > 1 or (held and _KINDS.get(kind if isinstance(kind, str) else "", held[0]) != held[0]):
            raise Malformed("a2a-part-ambiguous", "a part has several contents at once")
        check_texts(part, "text", "raw", "url")
        check_keys(object_of(part, "file") or {}, _FILE)
