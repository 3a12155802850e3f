"""URI references, resolved by RFC 3986 section 5: for any scheme, where the standard library knows some.

Not here: fetching anything; which URIs two servers would take for the same (policies).
"""

from __future__ import annotations

import re
from typing import NamedTuple

# RFC 3986, appendix B; it matches every text.
_PARTS = re.compile(r"(?:([^:/?#]+):)?(?://([^/?#]*))?([^?#]*)(?:\?([^#]*))?(?:#(.*))?", re.DOTALL)


class UriParts(NamedTuple):
    """The five components; None for one that is not there, which is not the same as an empty one."""

    scheme: str | None
    authority: str | None
    path: str
    query: str | None
    fragment: str | None

    def __str__(self) -> str:
        text = "" if self.scheme is None else self.scheme + ":"
        text += "" if self.authority is None else "//" + self.authority
        text += self.path
        text += "" if self.query is None else "?" + self.query
        return text if self.fragment is None else f"{text}#{self.fragment}"


def split_uri(text: str) -> UriParts:
    """The components of a URI reference."""
    found = _PARTS.fullmatch(text)
    assert found is not None
    scheme, authority, path, query, fragment = found.groups()
    return UriParts(scheme, authority, path or "", query, fragment)


def resolve(base: str, reference: str) -> tuple[str, str]:
    """What `reference` names, seen from `base`: the URI without its fragment, and the fragment ("" for none)."""
    start, found = split_uri(base), split_uri(reference)
    fragment = found.fragment or ""
    if found.scheme is not None:
        target = found._replace(path=without_dots(found.path))
    elif found.authority is not None:
        target = found._replace(scheme=start.scheme, path=without_dots(found.path))
    elif found.path:
        path = found.path if found.path.startswith("/") else _merged(start, found.path)
        target = UriParts(start.scheme, start.authority, without_dots(path), found.query, None)
    else:
        target = start._replace(query=start.query if found.query is None else found.query)
    return str(target._replace(fragment=None)), fragment


def without_dots(path: str) -> str:
    """The path with its segments `.` and `..` worked off (RFC 3986, section 5.2.4)."""
    if "." not in path:
        return path
    out: list[str] = []
    segments = path.split("/")
    for position, segment in enumerate(segments):
        last = position == len(segments) - 1
        if segment == "..":
            if len(out) > 1 or (out and out[0]):
                out.pop()
        elif segment != ".":
            out.append(segment)
            continue
        if last:
            out.append("")
    return "/".join(out)


def _merged(base: UriParts, path: str) -> str:
    """A relative path behind the base's last slash (RFC 3986, section 5.2.3)."""
    if base.authority is not None and not base.path:
        return "/" + path
    return base.path[: base.path.rfind("/") + 1] + path
