"""Addresses that a person may be sent to: the hosts of a list, and of a URL that all readers read alike.

Rules:
- A URL is `https`, or `http` to a loopback host where the list says so; it has a host, and no user name before it.
- `login.example.com` is that host, `*.example.com` every host below it and not `example.com` itself. Ports are exact:
  none is the scheme's own, and `:*` is any.
- A host with other letters than ASCII's is compared in its ASCII form (RFC 3490, with what RFC 5891 reads alike). A
  label that the two read in different ways has none.
- What one reader could take for another address than the next fits nothing: blanks and controls, invisible and
  direction-changing characters, backslashes, percent-encoding or a user name in the authority, a dot at the end of the
  host, numbers that only some readers take for an address.
- An address of digits fits only where it is listed itself.

Not here: what the address shows, and where it leads on to; URIs of resources (resource_uris.py).
"""

from __future__ import annotations

import encodings.idna
import ipaddress
import re
import unicodedata
from collections.abc import Sequence
from typing import NamedTuple

from ext_proc.schemas.uri import split_uri

MAX_LENGTH = 8192  # characters of a URL that is looked at

_PORTS = {"http": "80", "https": "443"}
# Not part of any URI (RFC 3986, appendix A), and read in more than one way where they stand all the same.
_FORBIDDEN = re.compile(r"[\x00-\x20\x7f\"<>\\^`{|}]")
_LABEL = re.compile(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?", re.ASCII)
_NUMBER = re.compile(r"0x[0-9a-f]*|[0-9]+", re.ASCII)
# Read in one way by IDNA 2003 and in another by IDNA 2008 (UTS 46, deviations), or as a dot (RFC 3490, section 3.1).
_DEVIATIONS = frozenset("\u00df\u1e9e\u03c2\u200c\u200d\u3002\uff0e\uff61")
_INVISIBLE = frozenset({"Cc", "Cf", "Cs", "Co", "Cn", "Zs", "Zl", "Zp"})


class Address(NamedTuple):
    """Where a URL leads.

    Attributes:
        host: in ASCII and lower case; an address of digits in its shortest form, IPv6 in brackets.
        port: as digits, the scheme's own where there is none.
        literal: whether the host is an address of digits.
    """

    scheme: str
    host: str
    port: str
    literal: bool


class UrlDomains:
    """A list of hosts: `host`, `*.suffix`, each perhaps with a port, and perhaps with `http://` for a loopback host.

    Raises:
        ValueError: an entry is none of these.
    """

    __slots__ = ("_entries",)

    def __init__(self, entries: Sequence[str]) -> None:
        self._entries = [_entry(text) for text in entries]

    def fault(self, url: str) -> str:
        """Why nobody may be sent there: "url-ambiguous" or "url-not-listed"; "" where it may be."""
        address = address_of(url)
        if address is None:
            return "url-ambiguous"
        return "" if any(entry.fits(address) for entry in self._entries) else "url-not-listed"


def address_of(url: str) -> Address | None:
    """Where a URL leads; None for one that leads nowhere, or not to the same place for every reader."""
    if len(url) > MAX_LENGTH or _FORBIDDEN.search(url):
        return None
    if not url.isascii() and any(unicodedata.category(character) in _INVISIBLE for character in url):
        return None
    parts = split_uri(url)
    scheme = (parts.scheme or "").lower()
    if scheme not in _PORTS or not parts.authority:
        return None
    return _address(scheme, parts.authority)


class _Entry(NamedTuple):
    address: Address
    below: bool  # whether it is about the hosts below
    any_port: bool

    def fits(self, found: Address) -> bool:
        wanted = self.address
        if wanted.scheme != found.scheme or not (self.any_port or wanted.port == found.port):
            return False
        if self.below:
            return not found.literal and found.host.endswith("." + wanted.host)
        return wanted.host == found.host


def _entry(text: str) -> _Entry:
    scheme, separator, rest = text.partition("://")
    if not separator:
        scheme, rest = "https", text
    below, any_port = rest.startswith("*."), rest.endswith(":*")
    rest = rest.removeprefix("*.").removesuffix(":*")
    address = _address(scheme, rest) if scheme in _PORTS and rest and not _FORBIDDEN.search(rest) else None
    if address is None or "/" in rest:
        raise ValueError("expected a host such as login.example.com or *.example.com, perhaps with a port")
    if below and (address.literal or "." not in address.host):
        raise ValueError("expected a domain of at least two labels behind *., such as *.example.com")
    if scheme == "http" and (below or not _is_loopback(address)):
        raise ValueError("expected http:// only before a host of this machine, such as http://localhost:8080")
    return _Entry(address, below, any_port)


def _address(scheme: str, authority: str) -> Address | None:
    host, colon, port = authority.rpartition(":")
    if not colon or authority.endswith("]"):
        host, port = authority, _PORTS[scheme]
    if not (port.isascii() and port.isdigit() and len(port) <= 5 and not port.startswith("0") and int(port) <= 65535):
        return None
    if host.startswith("[") and host.endswith("]"):
        try:
            found = ipaddress.IPv6Address(host[1:-1])
        except ValueError:
            return None
        # A scope is a matter of the machine's (RFC 6874): readers differ about it.
        return None if found.scope_id else Address(scheme, f"[{found.compressed}]", port, True)
    labels = [_ascii_label(label) for label in host.split(".")]
    plain = [label for label in labels if label is not None]
    if len(plain) != len(labels) or len(host) > 253:
        return None
    name = ".".join(plain)
    if not _NUMBER.fullmatch(plain[-1]):
        return Address(scheme, name, port, False)
    try:
        return Address(scheme, str(ipaddress.IPv4Address(name)), port, True)
    except ValueError:
        return None  # 127.1, 0x7f000001 and the like: an address to some readers


def _ascii_label(label: str) -> str | None:
    """A label of a host's name in ASCII; None for what is none, or not the same for every reader."""
    if not label.isascii():
        lowered = label.lower()
        if _DEVIATIONS & set(label) or unicodedata.normalize("NFKC", lowered) != lowered:
            return None
        try:
            label = encodings.idna.ToASCII(lowered).decode("ascii")
        except UnicodeError:
            return None
    label = label.lower()
    return label if _LABEL.fullmatch(label) else None


def _is_loopback(address: Address) -> bool:
    if address.literal:
        return ipaddress.ip_address(address.host.strip("[]")).is_loopback
    return address.host == "localhost" or address.host.endswith(".localhost")
