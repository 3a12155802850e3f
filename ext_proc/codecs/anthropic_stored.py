"""Anthropic: the container that code runs in, which requests refer to and answers name.

Rules:
- A request names it alone or in an object, which may also load skills into it; an object without an id is no reference.
- An answer names it in the message, a stream in its last `message_delta`.
- What has another type than its field's is malformed.

Source: Anthropic, Messages API (container, code execution).

Not here: files, which are made on paths of their own; `diagnostics`, which name a message and are told no text of it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ext_proc.codecs.llm_fields import as_text, check_keys, text_of
from ext_proc.messages import StoredKind, StoredObject

_HOLDER = frozenset({"container"})
_CONTAINER = frozenset({"id"})


def container_in(holder: Mapping[str, Any]) -> Sequence[StoredObject]:
    """The container that a request or an answer names; () for none.

    Raises:
        Malformed: it has another type than its field's.
    """
    check_keys(holder, _HOLDER)
    named = holder.get("container")
    if isinstance(named, dict):
        check_keys(named, _CONTAINER)
        id = text_of(named, "id")
    else:
        id = as_text(named, "container")
    return (StoredObject(StoredKind.CONTAINER, id),) if id else ()
