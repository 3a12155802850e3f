"""The demo's Envoy as an Istio proxy: a sidecar or a gateway from tests/data/istio, patched by our EnvoyFilters.

Rules:
- The EnvoyFilters are applied as they stand in envoy/istio. What Kubernetes would do, `runnable` does afterwards, and
  no more: Gatehouse's name becomes an address, and a connection to the listener's port counts as one to port 8080.
- The demo's bootstrap gives addresses, the access log and the issuer's key; nothing else of it is used.

Not here: what a patch does (istio.py), starting anything (harness.py).
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from string import Template
from typing import Any

import yaml

from ext_proc.demo.envoy_config import Addresses, bootstrap
from ext_proc.demo.files import shipped
from ext_proc.demo.tokens import TokenSigner
from tests.envoy.istio import Json, Patched, apply

DATA = Path(__file__).parents[1] / "data" / "istio"
APPLICATION_PORT = 8080


@dataclass(frozen=True, slots=True)
class Proxy:
    """One of Istio's proxies and the EnvoyFilter that is for it.

    Attributes:
        name: for the test's id.
        skeleton: a file of tests/data/istio.
        envoy_filter: a file of envoy/istio; None leaves the proxy as Istio makes it.
        context: of its listeners.
        labels: of its pod.
    """

    name: str
    skeleton: str
    envoy_filter: str | None
    context: str
    labels: tuple[tuple[str, str], ...]

    def patched(self, demo: str) -> Patched:
        """The proxy with the addresses of a demo's bootstrap, as Istio would send it: Gatehouse is still a name."""
        envoy_filters = [resource(self.envoy_filter)] if self.envoy_filter else []
        return apply(self.bare(demo), envoy_filters, context=self.context, labels=dict(self.labels))

    def bare(self, demo: str) -> Json:
        """The proxy before any patch."""
        parsed = yaml.safe_load(demo)
        listener = parsed["static_resources"]["listeners"][0]
        manager = listener["filter_chains"][0]["filters"][0]["typed_config"]
        (jwt,) = (found for found in manager["http_filters"] if found["name"] == "envoy.filters.http.jwt_authn")
        values = {
            "ADMIN_ADDRESS": parsed["admin"]["address"],
            "LISTEN_ADDRESS": listener["address"],
            "TUNNEL_ADDRESS": {"pipe": {"path": tunnel_path(demo)}},
            "APPLICATION_ADDRESS": _address(_cluster(parsed, "mcp")),
            "ACCESS_LOG": manager["access_log"],
        }
        jwks = jwt["typed_config"]["providers"]["demo"]["local_jwks"]["inline_string"]
        text = Template((DATA / self.skeleton).read_text(encoding="utf-8")).substitute(
            {name: json.dumps(value) for name, value in values.items()}, JWKS=jwks
        )
        config: Json = yaml.safe_load(text)
        return config

    def runnable(self, demo: str) -> str:
        """For `Stack(edit_bootstrap=...)`: the patched proxy outside a cluster."""
        config = self.patched(demo).config
        parsed = yaml.safe_load(demo)
        if self.envoy_filter:
            endpoint = _endpoint(_cluster(config, "gatehouse"))
            endpoint["address"] = _address(_cluster(parsed, "gatehouse"))
        listener = config["static_resources"]["listeners"][0]
        for chain in listener["filter_chains"]:
            match = chain.get("filter_chain_match", {})
            if match.get("destination_port") == APPLICATION_PORT:
                match["destination_port"] = listener["address"]["socket_address"]["port_value"]
        return str(yaml.safe_dump(config, sort_keys=False))


_SIDECAR = ("SIDECAR_INBOUND", (("app", "mcp-server"),))
SIDECAR = Proxy("sidecar", "sidecar.yaml", "sidecar-inbound.yaml", *_SIDECAR)
SIDECAR_SOCKET = Proxy("sidecar-socket", "sidecar.yaml", "sidecar-inbound-socket.yaml", *_SIDECAR)
GATEWAY = Proxy("gateway", "gateway.yaml", "gateway.yaml", "GATEWAY", (("istio", "ingressgateway"),))
# What Istio makes when nobody asks for Gatehouse: the same call passes.
UNPATCHED = Proxy("unpatched", "sidecar.yaml", None, *_SIDECAR)
PROXIES = (SIDECAR, SIDECAR_SOCKET, GATEWAY)


def resource(name: str) -> Json:
    """The only resource in a file of envoy/istio."""
    found: Json = yaml.safe_load(shipped(f"envoy/istio/{name}").read_text(encoding="utf-8"))
    return found


def demo_bootstrap() -> str:
    """A demo's bootstrap of which nothing is started."""
    names = ("listen", "admin", "gatehouse", "mcp", "model_a", "model_b")
    addresses = Addresses(**{name: f"127.0.0.1:{port}" for port, name in enumerate(names, 10_000)})
    return bootstrap(addresses, TokenSigner().jwks())


def tunnel_path(demo: str) -> str:
    """The Unix socket where the sidecar of this bootstrap ends HBONE tunnels: beside its access log."""
    manager = yaml.safe_load(demo)["static_resources"]["listeners"][0]["filter_chains"][0]["filters"][0]
    access_log = Path(manager["typed_config"]["access_log"][0]["typed_config"]["path"])
    return str(access_log.with_name("tunnel.sock"))


def _cluster(config: Mapping[str, Any], name: str) -> Json:
    (found,) = (cluster for cluster in config["static_resources"]["clusters"] if cluster["name"] == name)
    return dict(found)


def _endpoint(cluster: Mapping[str, Any]) -> Json:
    endpoint: Json = cluster["load_assignment"]["endpoints"][0]["lb_endpoints"][0]["endpoint"]
    return endpoint


def _address(cluster: Mapping[str, Any]) -> Json:
    address: Json = _endpoint(cluster)["address"]
    return address
