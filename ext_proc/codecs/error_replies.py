"""Errors of ours as HTTP answers: the status of a denial, and the reply that carries an error's JSON.

Rules:
- The verdict's status counts; else what could not be read says its own: 413 too large, 400 malformed.
- An error is JSON, whatever a verdict's headers say of its type.

Not here: the error in a format's own words (each format's denials), who denies and why.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ext_proc.codecs.content_types import JSON
from ext_proc.messages import Message, Opaque, encode_json
from ext_proc.policy import Deny
from ext_proc.replies import ImmediateReply


def status_of(message: Message, deny: Deny, usual: int = 403) -> int:
    """The HTTP status of a denial.

    Args:
        usual: of what was read, where the verdict says none.
    """
    if deny.status is not None:
        return deny.status
    if isinstance(message, Opaque):
        return 413 if message.too_large else 400 if message.malformed else 403
    return usual


def reply(deny: Deny, status: int, error: Mapping[str, Any]) -> ImmediateReply:
    """The HTTP answer to a denied request.

    Args:
        error: what its body says.
    """
    lines = ((name.lower(), value.encode()) for name, value in deny.headers)
    return ImmediateReply(
        status=status,
        body=encode_json(error),
        headers=(("content-type", JSON.encode()), *(line for line in lines if line[0] != "content-type")),
        details=deny.reason,
    )
