"""What pages for people need of the rest of a bundle: an address, and sources of identity that can see a visitor.

Rules:
- A visit is a plain HTTP request: of what Envoy knows it brings headers alone, neither metadata nor attributes.
- Where attributes tell an agent's workload from a person, a visit cannot; then the bundle is not used, for an agent
  with a person's token would pass for the person.

Not here: the format (page_models.py), whether a listener serves pages (server/pages.py).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from ext_proc.bundle.models import Bundle
from ext_proc.bundle.problems import Describer
from ext_proc.errors import Problem
from ext_proc.policy import Policy


def problems(bundle: Bundle, describer: Describer) -> Iterator[Problem]:
    """What must not stand beside `pages`."""
    if bundle.pages is None or not any(client.spiffe is not None for client in bundle.clients):
        return
    for index, part in enumerate(bundle.identity):
        if part.spiffe is not None and part.spiffe.origin == "attributes":
            message = (
                "expected xfcc or xfcc-last beside pages: a visit has no attributes, so an agent's workload with a "
                "person's token would pass for the person"
            )
            yield describer.problem(("identity", index, "spiffe", "from"), message, "attributes")


def warnings(bundle: Bundle, policies: Mapping[str, Policy[Any, Any]], describer: Describer) -> Iterator[Problem]:
    """What loads, and leaves pages out of anybody's reach."""
    used = {name for route in bundle.routes for name in route.policies}
    with_pages = [
        (index, part.name)
        for index, part in enumerate(bundle.policies)
        if part.mode == "enforce" and part.name in used and policies[part.name].has_pages
    ]
    if bundle.pages is None:
        for index, name in with_pages:
            message = "has pages for people, and nothing says where they find them: set pages.url"
            yield describer.problem(("policies", index, "name"), message, name)
    elif not with_pages:
        yield describer.problem(("pages", "url"), "no route has an enforcing policy with pages for people")
    elif not any(_sees_visitors(part) for part in bundle.identity):
        message = (
            "no source knows a visitor, so nobody gets to the pages: a visit brings headers alone, which jwt, "
            "api_keys, and certificates from xfcc are read from"
        )
        yield describer.problem(("identity",), message)


def _sees_visitors(part: Any) -> bool:
    peer = part.spiffe or part.mtls
    return part.jwt is not None or part.api_keys is not None or (peer is not None and peer.origin != "attributes")
