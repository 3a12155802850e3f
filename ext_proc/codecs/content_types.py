"""The content types that the codecs read.

Rules:
- A media type counts only with a charset that is UTF-8: a reader that obeys another charset would read other words in
  the same bytes. A header that is there twice says nothing.

Not here: content codings, which the engine undoes (engine/decoding.py).
"""

from __future__ import annotations

from ext_proc.headers import Headers, media_type

JSON = "application/json"
EVENT_STREAM = "text/event-stream"
_CLAIMS = (JSON.encode(), EVENT_STREAM.encode())

_UTF8 = frozenset({"utf-8", "utf8", "us-ascii"})


def plain_type(headers: Headers) -> str:
    """The media type of a body that can be read, its content coding aside; "" where it cannot."""
    if len(headers.get_all("content-type")) != 1:
        return ""
    return media_type(headers) if _charset(headers) in _UTF8 else ""


def claims_messages(headers: Headers) -> bool:
    """Whether some client takes a body for JSON or an event stream, of whatever charset: official ones look for the
    media type at the beginning of the header, or anywhere in it."""
    return any(claim in line.lower() for line in headers.get_all("content-type") for claim in _CLAIMS)


def _charset(headers: Headers) -> str:
    """The charset parameter, "utf-8" where there is none; the last of several cannot be chosen here, so "" then."""
    found = [
        value.strip().strip('"').lower()
        for name, _, value in (
            parameter.partition("=") for parameter in (headers.get("content-type") or "").split(";")[1:]
        )
        if name.strip().lower() == "charset"
    ]
    if not found:
        return "utf-8"
    return found[0] if len(found) == 1 else ""
