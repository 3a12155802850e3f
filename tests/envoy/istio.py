"""Does to an Envoy configuration what Istio does with an EnvoyFilter, as far as our own files need it.

Rules, each as in Istio (pilot/pkg/networking/core/envoyfilter, pkg/proto/merge):
- EnvoyFilters are applied by priority; within all of them, listeners first, then network filters, then HTTP filters.
- A patch that matches nothing does nothing. Istio says no word of it; here it is in `Patched.unused`.
- MERGE is protobuf's: a message field by field, a list by appending, anything else by replacing. To protobuf a default
  value (false, 0, "") is no value at all, and a patch that sets one is refused here.
- What this engine does not know (another match, operation or place) is a ValueError, never a patch passed over.

Not here: the proxies that are patched (istio_proxies.py), and maps: MERGE refuses them.
"""

from __future__ import annotations

import copy
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

Json = dict[str, Any]

MANAGER = "envoy.filters.network.http_connection_manager"
# Only these two listeners get an exception for listener.portNumber: it is looked up in their filter chains.
_VIRTUAL = ("virtualInbound", "virtualOutbound")
_MAPS = frozenset(
    {"typed_extension_protocol_options", "typed_per_filter_config", "filter_metadata", "typed_filter_metadata"}
)
_OPERATIONS = {
    "CLUSTER": ("ADD",),
    "LISTENER": ("MERGE",),
    "NETWORK_FILTER": ("MERGE",),
    "HTTP_FILTER": ("INSERT_BEFORE", "INSERT_FIRST"),
}


@dataclass(frozen=True, slots=True)
class Patched:
    """A configuration after its patches, and which of them found no place ("NAME[index] APPLY_TO OPERATION")."""

    config: Json
    unused: tuple[str, ...]


class _Patch:
    """One entry of `configPatches`, taken apart and checked."""

    def __init__(self, label: str, raw: Mapping[str, Any]) -> None:
        patch = _only(raw["patch"], "operation", "value")
        match = _only(raw.get("match", {}), "context", "listener")
        listener = _only(match.get("listener", {}), "name", "portNumber", "filterChain")
        chain = _only(listener.get("filterChain", {}), "name", "destinationPort", "filter")
        network_filter = _only(chain.get("filter", {}), "name", "subFilter")
        self.apply_to: str = raw["applyTo"]
        self.operation: str = patch["operation"]
        self.value: Json = patch["value"]
        self.context: str = match.get("context", "ANY")
        self.listener: str | None = listener.get("name")
        self.port: int | None = listener.get("portNumber")
        self.chain: str | None = chain.get("name")
        self.destination_port: int | None = chain.get("destinationPort")
        self.network_filter: str | None = network_filter.get("name")
        self.http_filter: str | None = _only(network_filter.get("subFilter", {}), "name").get("name")
        self.label = f"{label} {self.apply_to} {self.operation}"
        self.used = False
        if self.operation not in _OPERATIONS.get(self.apply_to, ()):
            raise ValueError(f"{self.label}: not implemented here")

    def fits_listener(self, listener: Mapping[str, Any]) -> bool:
        if self.listener not in (None, listener["name"]):
            return False
        if self.port is None or (self.apply_to != "LISTENER" and listener["name"] in _VIRTUAL):
            return True
        return bool(listener.get("address", {}).get("socket_address", {}).get("port_value") == self.port)

    def fits_chain(self, listener: Mapping[str, Any], chain: Mapping[str, Any]) -> bool:
        port = chain.get("filter_chain_match", {}).get("destination_port")
        if listener["name"] in _VIRTUAL and self.port not in (None, port):
            return False
        return self.chain in (None, chain.get("name")) and self.destination_port in (None, port)

    def fits_filter(self, network_filter: Mapping[str, Any]) -> bool:
        return self.network_filter in (None, network_filter["name"])


def apply(
    config: Mapping[str, Any], envoy_filters: Sequence[Mapping[str, Any]], *, context: str, labels: Mapping[str, str]
) -> Patched:
    """The configuration of one proxy after all EnvoyFilters that select it.

    Args:
        config: a bootstrap whose static resources are what Istio would send by LDS and CDS; left as it is.
        envoy_filters: the resources, in the order in which they were created.
        context: what the proxy's listeners are, SIDECAR_INBOUND or GATEWAY.
        labels: those of the proxy's pod.

    Raises:
        ValueError: an EnvoyFilter asks for something that is not implemented here.
    """
    # By way of JSON: an alias in YAML is one object in two places, and a patch of one must not be one of the other.
    patched: Json = json.loads(json.dumps(config))
    patches = [patch for patch in _patches(envoy_filters, labels) if patch.context in (context, "ANY")]
    resources = patched["static_resources"]
    for listener in resources["listeners"]:
        _patch_listener(listener, patches)
    for patch in _of(patches, "CLUSTER"):
        resources["clusters"].append(copy.deepcopy(patch.value))
        patch.used = True
    return Patched(patched, tuple(patch.label for patch in patches if not patch.used))


def merge(target: Json, source: Mapping[str, Any]) -> None:
    """Merges `source` into `target` in place, as protobuf does.

    Raises:
        ValueError: protobuf would do something else with it than a reader expects: a default value, a map, another type
            of Any, a name not in snake_case.
    """
    for name, value in source.items():
        if name == "@type":
            if target.setdefault(name, value) != value:
                raise ValueError(f"cannot merge {value} into {target[name]}")
        elif name in _MAPS:
            raise ValueError(f"{name} is a map: not implemented here")
        elif name != name.lower():
            raise ValueError(f"{name}: write it as the configuration does, in snake_case")
        elif value is None or value is False or value in (0, ""):
            raise ValueError(f"{name}: a MERGE cannot set a field to its default value")
        elif isinstance(value, Mapping):
            merge(target.setdefault(name, {}), value)
        elif isinstance(value, list):
            target[name] = [*target.get(name, []), *copy.deepcopy(value)]
        else:
            target[name] = value


def http_filters(listener: Mapping[str, Any], chain: str) -> list[Json]:
    """The HTTP filters of a filter chain by its name.

    Raises:
        ValueError: there is no such chain, or it has no HTTP connection manager.
    """
    for found in listener["filter_chains"]:
        for network_filter in found["filters"]:
            if found.get("name") == chain and network_filter["name"] == MANAGER:
                filters: list[Json] = network_filter["typed_config"]["http_filters"]
                return filters
    raise ValueError(f"{listener['name']} has no HTTP filter chain {chain!r}")


def _patches(envoy_filters: Sequence[Mapping[str, Any]], labels: Mapping[str, str]) -> Iterator[_Patch]:
    for resource in sorted(envoy_filters, key=lambda resource: resource["spec"].get("priority", 0)):
        spec = _only(resource["spec"], "workloadSelector", "priority", "configPatches")
        selector = _only(spec.get("workloadSelector", {}), "labels").get("labels", {})
        if selector.items() <= labels.items():
            for index, raw in enumerate(spec["configPatches"]):
                yield _Patch(f"{resource['metadata']['name']}[{index}]", raw)


def _patch_listener(listener: Json, patches: Sequence[_Patch]) -> None:
    for patch in _of(patches, "LISTENER"):
        if patch.fits_listener(listener):
            merge(listener, patch.value)
            patch.used = True
    for chain in listener["filter_chains"]:
        here = [patch for patch in patches if patch.fits_listener(listener) and patch.fits_chain(listener, chain)]
        for network_filter in chain["filters"]:
            _patch_filter(network_filter, [patch for patch in here if patch.fits_filter(network_filter)])


def _patch_filter(network_filter: Json, patches: Sequence[_Patch]) -> None:
    for patch in _of(patches, "NETWORK_FILTER"):
        merge(network_filter, patch.value)
        patch.used = True
    if network_filter["name"] != MANAGER:
        return
    filters = network_filter["typed_config"]["http_filters"]
    for patch in _of(patches, "HTTP_FILTER"):
        names = [http_filter["name"] for http_filter in filters]
        if patch.operation == "INSERT_FIRST" or patch.http_filter is None:
            place = 0
        elif patch.http_filter in names:
            place = names.index(patch.http_filter)
        else:
            continue
        filters.insert(place, copy.deepcopy(patch.value))
        patch.used = True


def _of(patches: Sequence[_Patch], apply_to: str) -> Iterator[_Patch]:
    return (patch for patch in patches if patch.apply_to == apply_to)


def _only(found: Mapping[str, Any], *known: str) -> Mapping[str, Any]:
    if unknown := sorted(found.keys() - set(known)):
        raise ValueError(f"{', '.join(unknown)}: not implemented here")
    return found
