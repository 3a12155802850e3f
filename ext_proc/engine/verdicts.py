"""Whether what a policy answered is a verdict, all the way down.

Rules:
- A verdict goes into headers, JSON, protobuf and logs: what could not be written there is the policy's fault here,
  under its `on_error`, and not ours later.

Not here: what a verdict does (pipeline.py).
"""

from __future__ import annotations

import math
from typing import Any, TypeGuard

from ext_proc.headers import HeaderMutation, is_token
from ext_proc.messages import Message, encode_json
from ext_proc.policy import Deny, Edit, Mutation, Respond, Text, TextDeny, TextVerdict, Verdict

_STATUSES = range(200, 600)
_MAX_DEPTH = 16
_BREAKS = frozenset("\r\n\0")  # no header's value can hold them (RFC 9110 section 5.5)
_PLAIN = (str, int, float, bool, type(None))


def is_verdict(value: object, *, text: bool) -> TypeGuard[Verdict | TextVerdict]:
    """Whether a hook may answer with this.

    Args:
        text: whether the hook was `on_text`.
    """
    if value is None:
        return True
    if text:
        return _is_text(value) if isinstance(value, Text) else isinstance(value, TextDeny) and _is_text_deny(value)
    if isinstance(value, Mutation):
        return _is_mutation(value)
    if isinstance(value, Deny):
        return _is_deny(value)
    return isinstance(value, Respond) and _is_respond(value)


def _is_mutation(value: Mutation) -> bool:
    return (
        _are_header_changes(value.headers)
        and (value.message is None or isinstance(value.message, Message))
        and isinstance(value.drop, bool)
        and isinstance(value.metadata, dict)
        and _is_plain(value.metadata)
        and _are_facts(value.facts)
    )


def _are_facts(value: object) -> bool:
    return isinstance(value, dict) and all(
        isinstance(name, str) and is_token(name) and isinstance(text, str) for name, text in value.items()
    )


def _is_deny(value: Deny) -> bool:
    return (
        bool(value.reason)
        and _is_encodable(value.reason)
        and _is_encodable(value.message)
        and (value.status is None or _is_status(value.status))
        and (value.code is None or (isinstance(value.code, int) and not isinstance(value.code, bool)))
        and (
            value.data is None or (isinstance(value.data, dict) and _is_plain(value.data) and _is_writable(value.data))
        )
        and _are_headers(value.headers)
        and isinstance(value.as_result, bool)
    )


def _is_respond(value: Respond) -> bool:
    return (
        _is_status(value.status)
        and isinstance(value.body, bytes)
        and _is_encodable(value.reason)
        and _are_headers(value.headers)
    )


def _is_text(value: Text) -> bool:
    return (
        isinstance(value.watermark, int | float)
        and not math.isnan(value.watermark)
        and isinstance(value.edits, tuple | list)
        and all(
            isinstance(edit, Edit)
            and isinstance(edit.start, int)
            and isinstance(edit.end, int)
            and _is_encodable(edit.replacement)
            for edit in value.edits
        )
    )


def _is_text_deny(value: TextDeny) -> bool:
    return all(_is_encodable(text) for text in (value.reason, value.message, value.closing_text))


def _is_encodable(text: object) -> bool:
    """Whether it is a text that UTF-8 can carry: one without surrogates."""
    if not isinstance(text, str):
        return False
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _is_writable(data: dict[str, Any]) -> bool:
    """Whether JSON can be written of what is plain: all of its texts are encodable."""
    try:
        encode_json(data)
    except UnicodeEncodeError:
        return False
    return True


def _is_status(value: object) -> bool:
    return isinstance(value, int) and value in _STATUSES


def _are_headers(lines: object) -> bool:
    return isinstance(lines, tuple | list) and all(
        isinstance(line, tuple)
        and len(line) == 2
        and isinstance(line[0], str)
        and is_token(line[0].lower())
        and _is_encodable(line[1])
        and not _BREAKS.intersection(line[1])
        for line in lines
    )


def _are_header_changes(value: object) -> bool:
    return (
        isinstance(value, HeaderMutation)
        and all(_is_name(name) and isinstance(text, bytes) for name, text in value.set)
        and all(_is_name(name) for name in value.remove)
    )


def _is_name(name: object) -> bool:
    return isinstance(name, str) and is_token(name.removeprefix(":"))


def _is_plain(value: Any, depth: int = 0) -> bool:
    """Whether it is JSON, not nested deeply."""
    if isinstance(value, _PLAIN):
        return True
    if depth >= _MAX_DEPTH:
        return False
    if isinstance(value, dict):
        return all(isinstance(key, str) and _is_plain(item, depth + 1) for key, item in value.items())
    return isinstance(value, list | tuple) and all(_is_plain(item, depth + 1) for item in value)
