"""Other configurations of Envoy, each an edit of the example bootstrap: `edit_bootstrap=` of `Stacks`.

Rules:
- An edit is a function of the text alone and always the same function, so that stacks are used again.

Not here: edits that one test file needs only for itself.
"""

from __future__ import annotations

from typing import Any

import yaml

_PROTOCOLS = "envoy.extensions.upstreams.http.v3.HttpProtocolOptions"
_PER_ROUTE = "type.googleapis.com/envoy.extensions.filters.http.ext_proc.v3.ExtProcPerRoute"
# A request with this header never gets to Gatehouse; the upstream does not see it.
DIRECT = ("x-way", "direct")


def with_trailers(bootstrap: str) -> str:
    """Envoy passes HTTP/1.1's trailers on, which it drops otherwise."""
    config = yaml.safe_load(bootstrap)
    _pass_trailers_on(config)
    return _written(config)


def transparent(bootstrap: str) -> str:
    """Envoy passes on all that HTTP has: trailers, and upgrades over both versions.

    A request with the header `DIRECT` takes the same way without Gatehouse.
    """
    config = yaml.safe_load(bootstrap)
    _pass_trailers_on(config)
    manager = _manager_of(config)
    manager["upgrade_configs"] = [{"upgrade_type": "websocket"}]
    manager["http2_protocol_options"] = {"allow_connect": True}
    routes = manager["route_config"]["virtual_hosts"][0]["routes"]
    (route,) = (route for route in routes if route["name"] == "mcp")
    name, value = DIRECT
    direct = {
        "name": "direct",
        "match": {**route["match"], "headers": [{"name": name, "string_match": {"exact": value}}]},
        "route": route["route"],
        "typed_per_filter_config": {"envoy.filters.http.ext_proc": {"@type": _PER_ROUTE, "disabled": True}},
        "request_headers_to_remove": [name],
    }
    routes.insert(0, direct)
    return _written(config)


def impatient(bootstrap: str) -> str:
    """The same, and Envoy waits only half a second for a reply."""
    return replaced(transparent(bootstrap), "message_timeout: 1s", "message_timeout: 0.5s")


def patient(bootstrap: str) -> str:
    """Envoy waits longer for a reply than policies may take, or a machine that is busy."""
    return replaced(bootstrap, "message_timeout: 1s", "message_timeout: 20s")


def replaced(bootstrap: str, old: str, new: str) -> str:
    """With `new` for `old`, which must stand there once."""
    assert bootstrap.count(old) == 1
    return bootstrap.replace(old, new)


def _manager_of(config: dict[str, Any]) -> dict[str, Any]:
    (manager,) = config["static_resources"]["listeners"][0]["filter_chains"][0]["filters"]
    found: dict[str, Any] = manager["typed_config"]
    return found


def _pass_trailers_on(config: dict[str, Any]) -> None:
    _manager_of(config)["http_protocol_options"] = {"enable_trailers": True}
    options = {"explicit_http_config": {"http_protocol_options": {"enable_trailers": True}}}
    for cluster in config["static_resources"]["clusters"]:
        if cluster["name"] == "mcp":
            kind = f"type.googleapis.com/{_PROTOCOLS}"
            cluster["typed_extension_protocol_options"] = {_PROTOCOLS: {"@type": kind, **options}}


def _written(config: dict[str, Any]) -> str:
    return str(yaml.safe_dump(config, sort_keys=False))
