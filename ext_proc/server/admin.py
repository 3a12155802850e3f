"""What the admin endpoint shows: /healthz, /readyz, /metrics, /bundle, /decisions.

Rules:
- Read only, and no payload, parameter or expression of a policy: those may hold what is secret.
- A long answer gives way to exchanges while it is put together.

Not here: HTTP (http.py), what a trail holds (trail.py).
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any

from ext_proc.engine.pipeline import Binding
from ext_proc.engine.route import Route, Rulebook
from ext_proc.server.http import TEXT, HttpRequest, HttpResponse
from ext_proc.telemetry.encoding import to_json
from ext_proc.telemetry.history import SIZE, History, Remembered
from ext_proc.telemetry.metrics import Metrics
from ext_proc.trail import Outcome

JSON = "application/json"
DEFAULT_LIMIT = 100
_FILTERS = ("id", "outcome", "policy", "limit")
_AT_ONCE = 50  # trails looked at before exchanges get their turn


class Admin:
    """Answers requests to the admin endpoint.

    Args:
        rulebook: gives the bundle in force.
        ready: whether new exchanges are welcome.
    """

    def __init__(
        self,
        *,
        rulebook: Callable[[], Rulebook],
        ready: Callable[[], bool],
        metrics: Metrics,
        history: History,
        region: str = "",
    ) -> None:
        self._rulebook = rulebook
        self._ready = ready
        self._metrics = metrics
        self._history = history
        self._region = region

    async def handle(self, request: HttpRequest) -> HttpResponse:
        """The answer to one request."""
        match request.path:
            case "/healthz":
                return HttpResponse(b"ok\n")
            case "/readyz":
                return HttpResponse(b"ready\n") if self._ready() else HttpResponse(b"draining\n", status=503)
            case "/metrics":
                body, content_type = self._metrics.exposition(request.headers.get("accept") or "")
                return HttpResponse(body, content_type)
            case "/bundle":
                return HttpResponse(to_json(_bundle(self._rulebook())), JSON)
            case "/decisions":
                return await self._decisions(request.query)
        return HttpResponse(b"not found; there are /healthz, /readyz, /metrics, /bundle and /decisions\n", TEXT, 404)

    async def _decisions(self, query: Mapping[str, str]) -> HttpResponse:
        unknown = sorted(set(query) - set(_FILTERS))
        if unknown:
            return _bad(f"unknown filter {unknown[0]!r}; there are {', '.join(_FILTERS)}")
        outcomes = [str(outcome) for outcome in Outcome]
        if query.get("outcome", Outcome.OK) not in outcomes:
            return _bad(f"unknown outcome; there are {', '.join(outcomes)}")
        limit = query.get("limit", str(DEFAULT_LIMIT))
        if not limit.isascii() or not limit.isdigit() or not 1 <= int(limit[:9]) <= SIZE:
            return _bad(f"limit is a number from 1 to {SIZE}")
        found: list[bytes] = []
        for seen, remembered in enumerate(self._candidates(query.get("id"))):
            if seen % _AT_ONCE == _AT_ONCE - 1:
                await asyncio.sleep(0)
            if _fits(remembered, query):
                found.append(to_json(self._decision(remembered)))
                if len(found) == int(limit):
                    break
        return HttpResponse(b'{"decisions":[' + b",".join(found) + b"]}", JSON)

    def _candidates(self, trail_id: str | None) -> list[Remembered]:
        if trail_id is None:
            return list(self._history.newest_first())
        remembered = self._history.find(trail_id)
        return [] if remembered is None else [remembered]

    def _decision(self, remembered: Remembered) -> dict[str, Any]:
        recorded = datetime.fromtimestamp(remembered.recorded, UTC).isoformat(timespec="milliseconds")
        return {"recorded": recorded, "region": self._region, **remembered.trail.as_dict()}


def _fits(remembered: Remembered, query: Mapping[str, str]) -> bool:
    trail = remembered.trail
    if "outcome" in query and trail.outcome != query["outcome"]:
        return False
    return "policy" not in query or any(entry.policy == query["policy"] for entry in trail.entries)


def _bad(sentence: str) -> HttpResponse:
    return HttpResponse(to_json({"error": sentence}), JSON, 400)


def _bundle(rulebook: Rulebook) -> dict[str, Any]:
    policies = {binding.policy.name: binding for route in rulebook.routes for binding in route.pipeline.bindings}
    return {
        "name": rulebook.name,
        "revision": rulebook.revision,
        "unmatched": "deny" if rulebook.deny_unmatched else "pass",
        "routes": [_route(route) for route in rulebook.routes],
        "policies": [_policy(binding) for binding in policies.values()],
    }


def _route(route: Route) -> dict[str, Any]:
    return {
        "name": route.name,
        "protocol": route.protocol,
        "match": {
            "path": route.match.path,
            "exact": route.match.exact,
            "hosts": list(route.match.hosts),
            "headers": list(route.match.headers),  # names: a value may be a credential
        },
        "policies": [binding.policy.name for binding in route.pipeline.bindings],
    }


def _policy(binding: Binding) -> dict[str, Any]:
    kind = type(binding.policy)
    return {
        "name": binding.policy.name,
        "class": f"{kind.__module__}:{kind.__qualname__}",
        "mode": "enforce" if binding.enforce else "shadow",
        "on_error": "deny" if binding.deny_on_error else "allow",
        "conditional": binding.when is not None,
        "stages": [str(stage) for stage in binding.hooks],
    }
