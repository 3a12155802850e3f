"""Where an agent of A2A may be told to send push notifications: https, to hosts that the bundle lists, and no other.

Rules:
- What counts as listed, and what two readers could take for two hosts, is as for other addresses (url_domains.py).
- A host is a name. An address is none in any notation: dotted, one number, octal, hexadecimal, IPv6, mapped to IPv4;
  the bundle cannot list one either. Names of the inside (`localhost`, `db`, `x.internal`) are listed, or refused.
- It is a program that reads these URLs, and which one nobody knows: they are ASCII (an internationalized name is
  written with `xn--`), their path begins before a query does, their percent-encoding is whole, and they have no
  fragment, for no request would carry it.

Not here: what a name resolves to. The agent looks it up, later and more than once, so a name that is listed may lead
inside all the same (DNS rebinding): only a rule for what leaves the agent's network holds that.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from ext_proc.schemas.uri import split_uri
from gatehouse_policies.url_domains import UrlDomains, address_of

MAX_LENGTH = 2048  # characters of a URL

# RFC 3986 section 2: what a URL is made of, without the fragment; percent signs stand before two digits only.
_URL = re.compile(r"(?:[A-Za-z0-9._~:/?@!$&'()*+,;=\[\]-]|%[0-9A-Fa-f]{2})+", re.ASCII)


class PushDestinations:
    """The hosts that notifications may go to: `host`, `*.suffix`, each perhaps with a port.

    Raises:
        ValueError: an entry is none of these.
    """

    def __init__(self, hosts: Sequence[str]) -> None:
        self._listed = UrlDomains(hosts)
        for host in hosts:
            address = address_of(f"https://{host.removeprefix('*.').removesuffix(':*')}")
            if not host.isascii() or address is None or address.literal:
                raise ValueError("expected hosts by their names in ASCII, such as hooks.example.com: no address")

    def fault(self, url: str) -> str:
        """Why notifications may not go there, as a short slug for the trail: "push-url-ambiguous",
        "push-url-not-https", "push-url-address" or "push-url-not-listed"; "" if they may."""
        address = address_of(url) if len(url) <= MAX_LENGTH and _URL.fullmatch(url) else None
        parts = split_uri(url)
        # Without a path, `https://a.example?@b.example` has been read as b.example.
        if address is None or (parts.query is not None and not parts.path):
            return "push-url-ambiguous"
        if address.scheme != "https":
            return "push-url-not-https"
        if address.literal:
            return "push-url-address"
        return "push-url-not-listed" if self._listed.fault(url) else ""
