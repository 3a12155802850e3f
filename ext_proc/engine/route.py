"""What a bundle became: routes with their pipelines, ready for exchanges.

Rules:
- Immutable: a new bundle is a new rulebook, and an exchange ends under the one it began with.
- The first route that matches wins.

Not here: how it is written or loaded (bundle/).
"""

from __future__ import annotations

import fnmatch
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from ext_proc.codecs.codec import Codec
from ext_proc.credentials.chain import envoy_only
from ext_proc.engine.identification import Identification
from ext_proc.engine.pipeline import Pipeline
from ext_proc.headers import Headers, media_type
from ext_proc.limits import DEFAULTS, Limits
from ext_proc.messages import RequestHead
from ext_proc.pages import PublicPages
from ext_proc.policy import Policy
from ext_proc.stores.settings import StoreSettings


@dataclass(frozen=True, slots=True)
class RouteMatch:
    """Which requests a route is for; every part that is given must fit.

    Attributes:
        path: a prefix that ends at a segment boundary: "/mcp" fits "/mcp" and "/mcp/x", not "/mcpx".
        exact: the whole path.
        hosts: authorities without the port, lower case; "*.example.com" fits any label before the dot.
        headers: by lower-case name, the exact value.
    """

    path: str = ""
    exact: str = ""
    hosts: tuple[str, ...] = ()
    headers: Mapping[str, str] = field(default_factory=dict)

    def accepts(self, head: RequestHead) -> bool:
        if self.exact and head.path != self.exact:
            return False
        if self.path and self.path != "/":
            prefix = self.path.rstrip("/")
            if head.path != prefix and not head.path.startswith(prefix + "/"):
                return False
        if self.hosts:
            host = _host(head.authority)
            if not any(fnmatch.fnmatchcase(host, pattern) for pattern in self.hosts):
                return False
        return all(head.headers.get(name) == value for name, value in self.headers.items())


@dataclass(frozen=True, slots=True)
class OpaqueRule:
    """Opaque traffic that a route lets through unread; every part that is given must fit.

    Attributes:
        method: the HTTP method, "" for any.
        path: a glob over the path, "" for any.
        content_type: a glob over the media type, "" for any; a body without one has the media type "".
    """

    method: str = ""
    path: str = ""
    content_type: str = ""

    def accepts(self, head: RequestHead, headers: Headers) -> bool:
        """Whether the side with these `headers` (the request's or the response's) may pass unread."""
        return (
            (not self.method or self.method == head.method)
            and (not self.path or fnmatch.fnmatchcase(head.path, self.path))
            and (not self.content_type or fnmatch.fnmatchcase(media_type(headers), self.content_type))
        )


@dataclass(frozen=True, slots=True)
class Route:
    """One governed route.

    Attributes:
        protocol: the family's name, as the trail and `x-gatehouse-protocol` carry it.
        server: the upstream's name: what is known of it is shared by the routes that lead there. "" means `name`.
        codecs: tried in order.
        allow_opaque: what may pass unread although policies enforce here.
        trusts_headers: whether a request that its headers alone decide goes on without its body having been asked for.
        read_answers: whether the outcome is read from every answer's body; without it, only where a policy asks for
            one.
    """

    name: str
    match: RouteMatch
    protocol: str
    codecs: tuple[Codec, ...]
    pipeline: Pipeline
    allow_opaque: tuple[OpaqueRule, ...] = ()
    read_answers: bool = True
    server: str = ""
    trusts_headers: bool = False


def _envoy_only() -> Identification:
    return Identification(envoy_only(), lambda: 0.0)


@dataclass(frozen=True, slots=True)
class Rulebook:
    """A bundle in force.

    Attributes:
        name, revision: the bundle's own.
        deny_unmatched: whether a request that no route matches is refused (404), or passes untouched.
        header_prefix: of the request headers for routing; a client's copies of them are always removed.
        identity: how callers are known; unless given, by the only payload that Envoy verified.
        store: which store to open for the policies; None where none of them keeps state.
        pages: where people find policies' pages; None where the bundle does not say.
    """

    name: str
    revision: str
    routes: tuple[Route, ...] = ()
    deny_unmatched: bool = False
    limits: Limits = DEFAULTS
    header_prefix: str = "x-gatehouse-"
    identity: Identification = field(default_factory=_envoy_only)
    store: StoreSettings | None = None
    pages: PublicPages | None = None

    def route_for(self, head: RequestHead) -> Route | None:
        """The first route that matches."""
        for route in self.routes:
            if route.match.accepts(head):
                return route
        return None

    @property
    def policies(self) -> tuple[Policy[Any, Any], ...]:
        """Those that are on some route, each once, in the order of the routes."""
        found = [binding.policy for route in self.routes for binding in route.pipeline.bindings]
        return tuple({id(policy): policy for policy in found}.values())

    def with_pages(self, name: str) -> Policy[Any, Any] | None:
        """The policy of this name, if it has pages, enforces, and some route names it."""
        for route in self.routes:
            for binding in route.pipeline.bindings:
                if binding.policy.name == name and binding.enforce and binding.policy.has_pages:
                    return binding.policy
        return None

    def names_with_pages(self) -> list[str]:
        """The policies that `with_pages` finds, in the order of the routes."""
        bindings = [binding for route in self.routes for binding in route.pipeline.bindings]
        names = [b.policy.name for b in bindings if b.enforce and b.policy.has_pages]
        return list(dict.fromkeys(names))


def _host(authority: str) -> str:
    """The host of an authority in lower case, without a port: "[::1]:80" gives "[::1]"."""
    host, colon, port = authority.rpartition(":")
    return (host if colon and port.isdigit() else authority).lower().rstrip(".")
