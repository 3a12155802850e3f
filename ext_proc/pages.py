"""Pages of policies for people: what a visit brings, and what a policy makes of it.

Rules:
- A visitor is known by the same sources of identity as callers are. Nobody without a verified credential gets here, and
  the policy decides who may do what: a page is no place where an agent says yes.
- Pages are HTML that needs no script: the server sends them under a policy that runs none, loads nothing from anywhere
  and shows them in nobody's frame. So `style` attributes and `<style>` have no effect in them either.
- A form posts to the page's own origin, and a POST from elsewhere does not get here. It carries a token of the policy's
  own too, bound to the visitor and to what is decided.
- All that was not written here is escaped by whoever makes the page (`html.escape`).
- What a page starts with and how it looks is the house's: its title is the only `<h1>`. Styled are the elements of
  HTML, and the classes `note` (an aside), `warning` (what must not be missed), `choices` (buttons in a row) and, on a
  button, `yes` (the one that lets something happen).

Not here: the listener (server/pages.py), the frame of a page (server/page_layout.py), any page.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from ext_proc.identity import Identity
from ext_proc.limits import KIB
from ext_proc.stores.keyspace import Keyspace


@dataclass(frozen=True, slots=True)
class PublicPages:
    """Where people find the pages of a bundle, and what a visit may take.

    Attributes:
        origin: as browsers write it in `origin` (RFC 6454 section 6.2), e.g. "https://gate.example.com".
        prefix: the path that all pages are below, without a slash at its end; "" for none.
        form: the largest form, in bytes.
        timeout: seconds that a policy may take for a page.
    """

    origin: str
    prefix: str = ""
    form: int = 16 * KIB
    timeout: float = 2.0

    @property
    def url(self) -> str:
        """What all URLs of pages start with."""
        return self.origin + self.prefix


@dataclass(frozen=True, slots=True)
class Visit:
    """A person's request for a page.

    Attributes:
        method: "GET" (HEAD too) or "POST".
        path: below the policy's own, e.g. "/r/4f1c"; "/" for the first page.
        base: the path of the policy's first page, e.g. "/gatehouse/ask": links, `action` and `Page.see` start with it.
        query: the parameters of the URL; the last of a name counts.
        form: the fields of a POST; {} for a GET. The last of a name counts.
        identity: who visits, verified.
        store: what the policy keeps, as `ctx.store`.
        time: seconds since the Unix epoch.
        id: of the visit, for the log.
    """

    method: str
    path: str
    base: str
    identity: Identity
    store: Keyspace
    time: float
    id: str
    query: Mapping[str, str] = field(default_factory=dict)
    form: Mapping[str, str] = field(default_factory=dict, repr=False)


@dataclass(frozen=True, slots=True)
class Page:
    """A page, or where to go.

    Attributes:
        status: of HTTP, 200 to 599.
        title: plain text.
        body: HTML, the content of `<main>`; what comes from outside is escaped in it.
        see: where to go instead (303), the visit's `base` or a path below it; "" for nowhere.
        reason: a slug for the log of what was decided, e.g. "confirmed"; "" where nothing was.
    """

    status: int = 200
    title: str = ""
    body: str = field(default="", repr=False)
    see: str = ""
    reason: str = ""
