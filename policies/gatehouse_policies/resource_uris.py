"""Resource URIs and the globs over them: one form for what all servers take for the same, none for what some might not.

Rules:
- What RFC 3986 and the URL Standard call equal is equal here: case of the scheme and, where the scheme has hosts, of
  the host; needless percent-encoding; a default port; `file:/x` and `file://localhost/x` for `file:///x`.
- What one reader could take for another resource than the next has no normal form, and nothing is allowed by it: dot
  segments, empty segments, backslashes, encoded slashes, an encoded percent sign, controls, a user name before the
  host, a fragment, a host that is a number in disguise.
- In a glob only `*` is special: any text, slashes too, but never across the host's end or the query's beginning.
- A template stands for the URI that it makes of variables that are all `x`.

Not here: who may read what (tool_access.py).
"""

from __future__ import annotations

import ipaddress
import re
import string

from ext_proc.schemas.uri import UriParts, split_uri

MAX_LENGTH = 8192  # characters of a URI that is looked at

_SCHEME = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*", re.ASCII)
# Not part of any URI (RFC 3986, appendix A), and read in more than one way where they stand all the same.
_FORBIDDEN = re.compile(r"[\x00-\x20\x7f\"<>\\^`{|}]")
_PERCENT = re.compile(r"%(.{0,2})", re.DOTALL)
_UNRESERVED = frozenset(string.ascii_letters + string.digits + "-._~")
# Encoded, they are themselves to one reader and text to the next: controls, "/", "\", and the percent sign.
_NEVER_ENCODED = frozenset([*range(0x20), 0x25, 0x2F, 0x5C, 0x7F])
# Those whose hosts are hosts (URL Standard: special schemes).
_PORTS = {"http": "80", "https": "443", "ws": "80", "wss": "443", "ftp": "21"}
_EXPRESSION = re.compile(r"\{([+#./;?&]?)\w[^{}]*\}", re.ASCII)
_PREFIXES = {"": "x", "+": "x", "#": "", ".": ".x", "/": "/x", ";": ";x", "?": "?x", "&": "&x"}


def normal_form(uri: str) -> str | None:
    """The form in which equal URIs are the same text; None for what has none."""
    parts = _normal(uri)
    return None if parts is None else str(parts)


def sample_of(template: str) -> str:
    """A URI that an RFC 6570 template makes; what is no template stays as it is."""
    return _EXPRESSION.sub(lambda found: _PREFIXES[found[1]], template)


class UriGlob:
    """A glob over URIs, such as `file:///srv/*`; `*` alone fits every URI.

    Raises:
        ValueError: it is not in normal form, or would fit more than its author sees.
    """

    __slots__ = ("_parts",)

    def __init__(self, text: str) -> None:
        self._parts: UriParts | None = None
        if text == "*":
            return
        if text.count("*") > 16:
            raise ValueError("expected at most 16 times *")
        parts = split_uri(text)
        if parts.scheme is None or not _SCHEME.fullmatch(parts.scheme):
            raise ValueError("expected a URI with its scheme, such as file:///srv/*, or * for all")
        authority = parts.authority or ""
        if parts.scheme in _PORTS and "*" in authority and not re.fullmatch(r"\*|\*\.[^*]+", authority):
            # https://example.com* would fit https://example.com.attacker.example too.
            raise ValueError(
                "expected the host to end before *, such as https://example.com/* or https://*.example.com/*"
            )
        if not parts.path and authority.endswith("*"):
            path = "/*" if parts.scheme in _PORTS else "*"
            text, parts = f"{text}/*", parts._replace(path=path)
        plain = text.replace("*", "x")
        form = normal_form(plain)
        if form is None:
            raise ValueError("expected a URI that can be read in one way only")
        if form != plain:
            raise ValueError("expected it in normal form: scheme and host in lower case, no needless percent-encoding")
        self._parts = parts

    def fits(self, found: UriParts) -> bool:
        """Whether a URI in normal form fits."""
        wanted = self._parts
        return wanted is None or (
            wanted.scheme == found.scheme
            and _fits(found.authority, wanted.authority)
            and _fits(found.path, wanted.path)
            and _fits(found.query, wanted.query)
        )


def _fits(text: str | None, glob: str | None) -> bool:
    """Whether a component fits; in time that grows with their lengths alone."""
    if text is None or glob is None:
        return text is glob
    first, *others = glob.split("*")
    if not others:
        return text == glob
    last = others.pop()
    if len(text) < len(first) + len(last) or not text.startswith(first) or not text.endswith(last):
        return False
    at, end = len(first), len(text) - len(last)
    for piece in others:
        found = text.find(piece, at, end)
        if found < 0:
            return False
        at = found + len(piece)
    return True


def _normal(uri: str) -> UriParts | None:
    if len(uri) > MAX_LENGTH or _FORBIDDEN.search(uri):
        return None
    decoded = uri if "%" not in uri and uri.isascii() else _decoded(uri)
    parts = None if decoded is None else split_uri(decoded)
    if parts is None or parts.scheme is None or not _SCHEME.fullmatch(parts.scheme) or parts.fragment is not None:
        return None
    parts = parts._replace(scheme=parts.scheme.lower())
    if parts.scheme == "file":
        host = (parts.authority or "").lower()
        parts = parts._replace(authority="" if host == "localhost" else host)
        if not parts.path.startswith("/"):
            return None
    if parts.authority is not None and "@" in parts.authority:
        return None
    if parts.scheme in _PORTS:
        authority = _authority(parts.authority or "", _PORTS[parts.scheme])
        if authority is None:
            return None
        parts = parts._replace(authority=authority, path=parts.path or "/")
    segments = parts.path.split("/")
    # The first is what stands before the first slash, the last what stands behind the last one: they may be empty.
    if "" in segments[1:-1] or any(segment.partition(";")[0] in (".", "..") for segment in segments):
        return None
    return parts


def _decoded(uri: str) -> str | None:
    """The URI with percent-encoding only where it must be; None where that is broken or hides something."""
    try:
        ascii = "".join(c if c < "\x80" else "".join(f"%{byte:02X}" for byte in c.encode()) for c in uri)
    except UnicodeEncodeError:
        return None
    out, end = [], 0
    for found in _PERCENT.finditer(ascii):
        digits = found[1]
        if len(digits) < 2 or not set(digits) <= set(string.hexdigits):
            return None
        byte = int(digits, 16)
        if byte in _NEVER_ENCODED:
            return None
        out += [ascii[end : found.start()], chr(byte) if chr(byte) in _UNRESERVED else f"%{digits.upper()}"]
        end = found.end()
    return "".join([*out, ascii[end:]])


def _authority(authority: str, default_port: str) -> str | None:
    """A host with its port, unless that is the default; None for what is no plain host."""
    host, colon, port = authority.lower().rpartition(":")
    if not colon or authority.endswith("]"):
        host, port = authority.lower(), ""
    if port and not (port.isascii() and port.isdigit()):
        return None
    if host.startswith("["):
        try:
            host = f"[{ipaddress.IPv6Address(host[1:-1]).compressed}]" if host.endswith("]") else ""
        except ValueError:
            return None
    elif re.fullmatch(r"0x[0-9a-f]*|\d+", host.rpartition(".")[2], re.ASCII):
        try:
            host = str(ipaddress.IPv4Address(host))
        except ValueError:
            return None  # 127.1, 0x7f000001 and the like: an address to some readers
    if not re.fullmatch(r"\[[0-9a-f:.]+\]|[a-z0-9_.-]+", host) or host.endswith(".") or ".." in host:
        return None
    port = port.lstrip("0") if port.strip("0") else port[:1]
    return host if port in ("", default_port) else f"{host}:{port}"
