"""Where a request's headers say what it is a part of: a header, a member of `baggage`, the trace in `traceparent`.

Rules:
- What stands there is what a client wrote: it proves nothing.
- `baggage` is W3C Baggage, which OpenTelemetry passes on; its values are percent-encoded, its properties passed over.
- A `traceparent` that cannot be read is ignored (W3C Trace Context, section 3.2).

Not here: what an id is good for (loop_guard.py, usage_ledger.py).
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Literal
from urllib.parse import unquote

from ext_proc.headers import Headers

# Version 00 and those to come: the trace's id is the second field.
_TRACEPARENT = re.compile(r"[0-9a-f]{2}-(?!0{32})([0-9a-f]{32})-[0-9a-f]{16}-[0-9a-f]{2}(?:-.*)?", re.ASCII)


def ids_in(headers: Headers, by: Literal["header", "baggage", "traceparent"], name: str = "") -> Sequence[str]:
    """What headers say; more than one where they say several things.

    Args:
        name: the header (lower case), or the member of `baggage`; not used for `traceparent`.
    """
    lines = [
        line.decode("utf-8", "surrogateescape").strip() for line in headers.get_all(name if by == "header" else by)
    ]
    if by == "header":
        return lines
    if by == "traceparent":
        return [found[1] for found in map(_TRACEPARENT.fullmatch, lines) if found]
    members = (member.partition(";")[0].partition("=") for line in lines for member in line.split(","))
    return [unquote(value.strip()) for key, _, value in members if key.strip() == name]
