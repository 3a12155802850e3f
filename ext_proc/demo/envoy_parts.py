"""What the demo adds to envoy/bootstrap.yaml: the way to the pages for people, an issuer's keys, an agent.

Rules:
- The way to the pages is envoy/pages.yaml as it stands.
- A part takes a whole configuration and gives a whole one: YAML, whose comments are gone.

Not here: the rest of the configuration (envoy_config.py).
"""

from __future__ import annotations

import json
from string import Template
from typing import Any

import yaml

from ext_proc.demo.envoy_config import address
from ext_proc.demo.files import shipped


def with_pages(config: str, where: str) -> str:
    """A configuration with envoy/pages.yaml in it.

    Args:
        where: "HOST:PORT" or "unix:PATH" of the listener for pages.
    """
    text = shipped("envoy/pages.yaml").read_text(encoding="utf-8")
    parts = yaml.safe_load(Template(text).substitute(PAGES_ADDRESS=address(where)))
    return _added(config, parts["route"], parts["cluster"])


def with_keys(config: str, path: str, jwks: str) -> str:
    """A configuration whose Envoy itself answers a path with a JSON Web Key Set, as an issuer does."""
    answer = {"status": 200, "body": {"inline_string": jwks}}
    return _added(config, {"name": "keys", "match": {"path": path}, "direct_response": answer})


def with_agent(config: str, prefix: str, where: str) -> str:
    """A configuration that leads what begins with a path to "HOST:PORT"."""
    endpoint = {"endpoint": {"address": json.loads(address(where))}}
    assigned = {"cluster_name": "agent", "endpoints": [{"lb_endpoints": [endpoint]}]}
    route = {"cluster": "agent", "timeout": "0s", "idle_timeout": "300s"}
    cluster = {
        "name": "agent",
        "type": "STATIC",
        "connect_timeout": "1s",
        "per_connection_buffer_limit_bytes": 1048576,  # as on the listener, for answers
        "load_assignment": assigned,
    }
    return _added(config, {"name": "agent", "match": {"path_separated_prefix": prefix}, "route": route}, cluster)


def _added(config: str, route: Any, cluster: Any = None) -> str:
    """A configuration with a route before all others, and a cluster."""
    loaded: Any = yaml.safe_load(config)
    manager = loaded["static_resources"]["listeners"][0]["filter_chains"][0]["filters"][0]["typed_config"]
    manager["route_config"]["virtual_hosts"][0]["routes"].insert(0, route)
    loaded["static_resources"]["clusters"] += [] if cluster is None else [cluster]
    return str(yaml.safe_dump(loaded, sort_keys=False))
