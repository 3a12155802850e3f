"""Names of tools that a model's provider runs itself, and the globs over them.

Rules:
- A tool is named by its kind (`web_search`), one with a server by its kind and the server: `mcp:` and the URL in normal
  form, the id of a connector, or, where there is neither, the label by which the provider knows it.
- One with a URL and a connector has two names, both of which must be allowed: which of them counts is the provider's.
- What could be taken for another has no name, and nothing is allowed by it: a URL without a normal form, a kind that
  reads like a server's, or that some reader takes for another's (`MCP`, a blank before it).
- In a glob over URLs only `*` is special, and never across the host's end; any other glob is compared with what stands
  before a URL, so that `mcp:*` is every server and no other glob of words is.

Not here: what a normal form is (resource_uris.py), which rule decides (access_rules.py).
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from ext_proc.messages import HostedTool
from ext_proc.schemas.uri import split_uri
from gatehouse_policies.name_globs import any_of
from gatehouse_policies.resource_uris import UriGlob, normal_form

_SERVERS = "mcp:"
# Kinds are in lower case, and in Gemini's words in camelCase; what follows a colon is a name of its own.
_KIND = re.compile(r"([a-z0-9_.$/-]+|[a-z0-9]+([A-Z][a-z0-9]*)+)(:[!-~]*)?", re.ASCII)
# Ids, labels, and what proxies take in the place of a URL ("litellm_proxy/mcp/github"): no segment is a dot's.
_WORDS = re.compile(r"[\w-][\w.-]*(/[\w-][\w.-]*)*", re.ASCII)


def names_of(tool: HostedTool) -> Sequence[str] | None:
    """The names of a tool, all of which must be allowed; None where what it is could be read in several ways."""
    kind = tool.kind
    if kind.startswith(_SERVERS) or "://" in kind or not _KIND.fullmatch(kind):
        return None
    addresses = [address for address in (tool.server_url, tool.connector_id) if address]
    if not addresses and kind == _SERVERS[:-1]:
        addresses = [tool.server_label]
    if not addresses:
        return [kind]
    names = []
    for address in addresses:
        if address and not _WORDS.fullmatch(address):
            form = normal_form(address)
            if form is None or "://" not in form:
                return None
            address = form
        names.append(f"{kind}:{address}")
    return names


class HostedToolGlob:
    """A glob over names of hosted tools, such as `web_search*` or `mcp:https://docs.example.com/*`.

    Raises:
        ValueError: it would fit nothing, or more than its author sees.
    """

    __slots__ = ("_fits_words", "_kind", "_url")

    def __init__(self, text: str) -> None:
        self._kind, url = _split(text)
        self._url = UriGlob(url) if url else None
        if url and not self._kind:
            raise ValueError("expected the kind before the URL, such as mcp:https://docs.example.com/*")
        if text == _SERVERS[:-1]:
            raise ValueError("expected mcp:* for all servers, or mcp: and a server's URL or a connector's id")
        if not url and text.startswith(_SERVERS) and "." in text:
            raise ValueError("expected a URL with its scheme behind mcp:, such as mcp:https://docs.example.com/*")
        self._fits_words = any_of([text])

    def fits(self, name: str) -> bool:
        """Whether a name fits, as `names_of` makes them."""
        kind, url = _split(name)
        if self._url is not None:
            return bool(url) and kind == self._kind and self._url.fits(split_uri(url))
        return self._fits_words(kind if url else name)


def _split(name: str) -> tuple[str, str]:
    """What stands before a URL, its colon too, and the URL; "" where there is none."""
    end = name.find("://")
    if end < 0:
        return name, ""
    start = name.rfind(":", 0, end) + 1
    return name[:start], name[start:]
