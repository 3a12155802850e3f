"""The engine that applies EnvoyFilters in tests: as Istio's, and loud where Istio's is silent."""

from __future__ import annotations

import copy
from typing import Any

import pytest

from tests.envoy.istio import MANAGER, apply, http_filters, merge
from tests.envoy.istio_proxies import SIDECAR, demo_bootstrap

ROUTER = {"name": MANAGER, "subFilter": {"name": "envoy.filters.http.router"}}


def proxy() -> dict[str, Any]:
    """A listener that binds a port and one that does not, each with one chain for port 8080."""
    manager = {
        "name": MANAGER,
        "typed_config": {"http_filters": [{"name": "first"}, {"name": "envoy.filters.http.router"}]},
    }
    chain = {"name": "web", "filter_chain_match": {"destination_port": 8080}, "filters": [manager]}
    return {
        "static_resources": {
            "listeners": [
                {"name": "virtualInbound", "filter_chains": [copy.deepcopy(chain)]},
                {"name": "main_internal", "filter_chains": [copy.deepcopy(chain)]},
            ],
            "clusters": [],
        }
    }


def envoy_filter(*patches: dict[str, Any], name: str = "test", **spec: Any) -> dict[str, Any]:
    return {"metadata": {"name": name}, "spec": {**spec, "configPatches": list(patches)}}


def insertion(inserted: str, operation: str = "INSERT_BEFORE", **listener: Any) -> dict[str, Any]:
    return {
        "applyTo": "HTTP_FILTER",
        "match": {"context": "SIDECAR_INBOUND", "listener": listener},
        "patch": {"operation": operation, "value": {"name": inserted}},
    }


def names_after(*envoy_filters: dict[str, Any], listener: int = 0) -> list[str]:
    patched = apply(proxy(), envoy_filters, context="SIDECAR_INBOUND", labels={"app": "web"})
    return [found["name"] for found in http_filters(patched.config["static_resources"]["listeners"][listener], "web")]


def test_a_filter_is_inserted_before_the_one_that_is_matched() -> None:
    found = names_after(envoy_filter(insertion("ours", filterChain={"filter": ROUTER})))
    assert found == ["first", "ours", "envoy.filters.http.router"]


@pytest.mark.parametrize("operation", ["INSERT_BEFORE", "INSERT_FIRST"])
def test_a_filter_is_inserted_first_where_none_is_matched(operation: str) -> None:
    found = names_after(envoy_filter(insertion("ours", operation, filterChain={"filter": {"name": MANAGER}})))
    assert found == ["ours", "first", "envoy.filters.http.router"]


def test_the_highest_priority_stands_next_to_the_router() -> None:
    here: dict[str, Any] = {"filterChain": {"filter": ROUTER}}
    found = names_after(
        envoy_filter(insertion("late", **here), priority=10), envoy_filter(insertion("early", **here), name="other")
    )
    assert found == ["first", "early", "late", "envoy.filters.http.router"]


def test_a_destination_port_is_found_in_every_listener() -> None:
    ours = envoy_filter(insertion("ours", filterChain={"destinationPort": 8080, "filter": ROUTER}))
    assert "ours" in names_after(ours, listener=0)
    assert "ours" in names_after(ours, listener=1)


def test_a_port_number_misses_what_comes_through_a_tunnel() -> None:
    ours = envoy_filter(insertion("ours", portNumber=8080, filterChain={"filter": ROUTER}))
    assert "ours" in names_after(ours, listener=0)
    assert "ours" not in names_after(ours, listener=1)


@pytest.mark.parametrize(
    "listener",
    [
        {"name": "other"},
        {"portNumber": 80},
        {"filterChain": {"name": "other"}},
        {"filterChain": {"destinationPort": 80}},
        {"filterChain": {"filter": {"name": "other"}}},
        {"filterChain": {"filter": {"name": MANAGER, "subFilter": {"name": "other"}}}},
    ],
    ids=str,
)
def test_a_patch_that_finds_no_place_is_told(listener: dict[str, Any]) -> None:
    patched = apply(
        proxy(), [envoy_filter(insertion("ours", **listener))], context="SIDECAR_INBOUND", labels={"app": "web"}
    )
    assert patched.unused == ("test[0] HTTP_FILTER INSERT_BEFORE",)
    assert patched.config == proxy()


def test_another_workload_and_another_context_are_left_alone() -> None:
    ours = insertion("ours", filterChain={"filter": ROUTER})
    elsewhere = envoy_filter(ours, workloadSelector={"labels": {"app": "other"}})
    assert "ours" not in names_after(elsewhere)
    assert "ours" not in names_after(envoy_filter(ours | {"match": {"context": "GATEWAY"}}))


def test_what_is_aliased_in_yaml_is_patched_once() -> None:
    """The chain of port 8080 stands in two listeners of the file by one anchor."""
    listeners = SIDECAR.patched(demo_bootstrap()).config["static_resources"]["listeners"]
    for listener in (listeners[0], listeners[2]):
        names = [found["name"] for found in http_filters(listener, "0.0.0.0_8080")]
        assert names.count("envoy.filters.http.ext_proc") == 1


def test_a_merge_replaces_values_appends_lists_and_keeps_the_rest() -> None:
    target = {"kept": 1, "value": "old", "list": [1], "message": {"kept": 1, "wait": "5s"}}
    merge(target, {"value": "new", "list": [2], "message": {"wait": "7s"}, "more": {"deep": True}})
    assert target == {
        "kept": 1,
        "value": "new",
        "list": [1, 2],
        "message": {"kept": 1, "wait": "7s"},
        "more": {"deep": True},
    }


@pytest.mark.parametrize(
    "value",
    [
        {"flag": False},
        {"number": 0},
        {"text": ""},
        {"mergeSlashes": True},
        {"typed_per_filter_config": {"a": {"b": 1}}},
        {"@type": "type.googleapis.com/other"},
    ],
    ids=str,
)
def test_a_merge_that_would_surprise_is_refused(value: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"default value|snake_case|map|merge"):
        merge({"@type": "type.googleapis.com/this"}, value)


@pytest.mark.parametrize(
    "patch",
    [
        {"applyTo": "HTTP_FILTER", "patch": {"operation": "REPLACE", "value": {}}},
        {"applyTo": "VIRTUAL_HOST", "patch": {"operation": "MERGE", "value": {}}},
        {"applyTo": "CLUSTER", "match": {"cluster": {"name": "x"}}, "patch": {"operation": "ADD", "value": {}}},
        {"applyTo": "CLUSTER", "patch": {"operation": "ADD", "value": {}, "filterClass": "AUTHZ"}},
        insertion("ours", filterChain={"sni": "example.com"}),
    ],
    ids=["operation", "place", "cluster match", "filter class", "server name"],
)
def test_what_the_engine_does_not_know_is_refused(patch: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="not implemented here"):
        apply(proxy(), [envoy_filter(patch)], context="SIDECAR_INBOUND", labels={})
