"""From a bundle without problems to the rulebook that exchanges run under.

Rules:
- A policy that is off is not bound: it costs nothing.
- A policy that several routes name is one policy: what it keeps, it keeps for all of them.

Not here: finding what is wrong (load.py).
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

from ext_proc.bundle.models import Bundle, RoutePart
from ext_proc.bundle.protocols import PROTOCOLS
from ext_proc.credentials.chain import Chain
from ext_proc.engine.identification import Identification
from ext_proc.engine.pipeline import Binding, Pipeline
from ext_proc.engine.route import OpaqueRule, Route, RouteMatch, Rulebook
from ext_proc.policy import Policy
from ext_proc.stores.settings import StoreSettings


def compile_bundle(
    bundle: Bundle,
    policies: Mapping[str, Policy[Any, Any]],
    fingerprint: str,
    chain: Chain,
    store: StoreSettings | None = None,
) -> Rulebook:
    """The rulebook.

    Args:
        bundle: without problems.
        policies: every policy of the bundle, set up, by name.
        fingerprint: the revision of a bundle that names none.
        chain: how callers are known.
        store: which store to open; None where no policy keeps state.
    """
    bindings = {
        part.name: Binding(
            policies[part.name],
            enforce=part.mode == "enforce",
            deny_on_error=part.on_error == "deny",
            timeout=part.timeout,
            when=part.when,
        )
        for part in bundle.policies
        if part.mode != "off"
    }
    return Rulebook(
        name=bundle.metadata.name,
        revision=bundle.metadata.revision or fingerprint,
        routes=tuple(_route(part, bindings) for part in bundle.routes),
        deny_unmatched=bundle.unmatched == "deny",
        limits=bundle.limits.resolved(),
        header_prefix=bundle.headers.prefix,
        identity=Identification(chain, time.monotonic),
        store=store,
        pages=bundle.pages.public() if bundle.pages is not None else None,
    )


def _route(part: RoutePart, bindings: Mapping[str, Binding]) -> Route:
    match = part.match
    return Route(
        name=part.name,
        match=RouteMatch(match.path or "", match.exact or "", match.hosts, match.headers),
        protocol=part.protocol,
        codecs=PROTOCOLS[part.protocol].codecs(),
        pipeline=Pipeline([bindings[name] for name in part.policies if name in bindings], time.monotonic),
        allow_opaque=tuple(
            OpaqueRule(rule.method or "", rule.path or "", rule.content_type or "") for rule in part.allow_opaque
        ),
        read_answers=part.outcome == "body",
        server=part.server or "",
        trusts_headers=part.headers == "trusted",
    )
