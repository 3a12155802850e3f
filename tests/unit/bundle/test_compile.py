"""From a bundle to the rulebook: every key arrives where the engine reads it."""

from __future__ import annotations

from dataclasses import fields
from typing import Any

from ext_proc.bundle.models import LimitsPart
from ext_proc.credentials.metadata import JWT_NAMESPACE, VerifiedByEnvoy
from ext_proc.engine.route import Route, RouteMatch, Rulebook
from ext_proc.headers import Headers
from ext_proc.limits import DEFAULTS, Limits
from ext_proc.messages import RequestHead
from tests.unit.bundle.building import PLUGINS, changed, examined, good
from tests.unit.bundle.plugins import Signed


def rulebook_of(bundle: dict[str, Any], environ: dict[str, str] | None = None) -> Rulebook:
    result = examined(bundle, environ=environ)
    assert result.problems == ()
    assert result.rulebook is not None
    return result.rulebook


def route_of(bundle: dict[str, Any]) -> Route:
    return rulebook_of(bundle).routes[0]


def test_a_bundle_without_more_has_the_engines_own_defaults() -> None:
    rulebook = rulebook_of(good())
    assert rulebook.limits == DEFAULTS
    assert rulebook.deny_unmatched is False
    assert rulebook.header_prefix == "x-gatehouse-"
    assert metadata_of(rulebook) == [(JWT_NAMESPACE, None)]
    (route,) = rulebook.routes
    assert (route.name, route.protocol, route.read_answers, route.server) == ("tools", "mcp", True, "")
    assert route.trusts_headers is False
    assert [codec.name for codec in route.codecs] == ["mcp"]
    assert route.match == RouteMatch(path="/mcp")


def test_every_limit_can_be_written_and_has_the_same_default() -> None:
    assert set(LimitsPart.model_fields) == {field.name for field in fields(Limits)}
    assert LimitsPart().resolved() == DEFAULTS


def test_every_limit_arrives() -> None:
    written = {
        "request_body": "7MiB",
        "response_body": "6MiB",
        "event": "3MiB",
        "envoy_buffer": "2MiB",
        "hold_back": 1000,
        "call": 2000,
        "decision": "100ms",
        "hold": "2s",
        "json_depth": 9,
        "json_values": 5000,
        "name": 100,
        "batch": 8,
        "expansion": 10,
    }
    mib = 1 << 20
    expected = Limits(7 * mib, 6 * mib, 3 * mib, 2 * mib, 1000, 2000, 0.1, 2.0, 9, 5000, 100, 8, 10)
    assert rulebook_of(changed("limits", written)).limits == expected


def test_a_route_arrives_with_its_match_and_what_may_pass_unread() -> None:
    match = {"path": "/mcp", "hosts": ["*.example.com"], "headers": {"x-team": "a"}}
    bundle = changed("routes.0.match", match)
    bundle["routes"][0]["allow_opaque"] = [{"method": "GET", "path": "/mcp/h*"}, {"content_type": "image/*"}]
    bundle["routes"][0]["outcome"] = "policies"
    bundle["routes"][0]["headers"] = "trusted"
    bundle["routes"][0]["server"] = "files"
    route = route_of(bundle)
    assert route.server == "files"
    head = RequestHead("GET", "/mcp/health", "a.example.com", Headers.of(x_team="a"))
    assert route.match.accepts(head)
    assert not route.match.accepts(RequestHead("GET", "/mcp", "example.org", Headers.of(x_team="a")))
    assert not route.match.accepts(RequestHead("GET", "/mcp", "a.example.com", Headers.of(x_team="b")))
    assert [rule.accepts(head, Headers()) for rule in route.allow_opaque] == [True, False]
    image = Headers.of(content_type="image/png")
    assert [rule.accepts(RequestHead("POST", "/", "", image), image) for rule in route.allow_opaque] == [False, True]
    assert route.read_answers is False
    assert route.trusts_headers is True


def test_an_exact_path_arrives() -> None:
    assert route_of(changed("routes.0.match", {"exact": "/mcp"})).match == RouteMatch(exact="/mcp")


def metadata_of(rulebook: Rulebook) -> list[tuple[str, str | None]]:
    """Where each source looks, all of them at what Envoy verified."""
    sources = [source for source in rulebook.identity.chain.sources if isinstance(source, VerifiedByEnvoy)]
    assert len(sources) == len(rulebook.identity.chain.sources)
    return [(source.namespace, source.key) for source in sources]


def test_unmatched_prefix_and_identity_arrive() -> None:
    bundle = {
        **good(),
        "unmatched": "deny",
        "headers": {"prefix": "x-acme-"},
        "identity": [{"metadata": {"key": "claims"}}, {"metadata": {"namespace": "acme.auth"}}],
    }
    rulebook = rulebook_of(bundle)
    assert rulebook.deny_unmatched is True
    assert rulebook.header_prefix == "x-acme-"
    assert metadata_of(rulebook) == [(JWT_NAMESPACE, "claims"), ("acme.auth", None)]


def test_a_policys_mode_error_timeout_and_condition_arrive() -> None:
    bundle = good()
    bundle["policies"][0].update(mode="shadow", on_error="allow", timeout="20ms", when="route == 'tools'")
    (binding,) = route_of(bundle).pipeline.bindings
    assert binding.policy.name == "only"
    assert binding.policy.parameters.allow == {"search"}
    assert (binding.enforce, binding.deny_on_error, binding.timeout) == (False, False, 0.02)
    assert binding.when is not None
    assert binding.when.holds({"route": "tools"})


def test_a_policy_denies_on_error_and_enforces_unless_written_otherwise() -> None:
    (binding,) = route_of(good()).pipeline.bindings
    assert (binding.enforce, binding.deny_on_error, binding.when) == (True, True, None)


def test_a_policy_that_is_off_is_not_bound_and_yet_checked() -> None:
    assert route_of(changed("policies.0.mode", "off")).pipeline.bindings == ()
    bundle = changed("policies.0.mode", "off")
    bundle["policies"][0]["parameters"] = {}
    assert [problem.path for problem in examined(bundle).problems] == ["policies[0].parameters.allow"]


def test_policies_keep_the_routes_order_and_are_shared_between_routes() -> None:
    bundle = good()
    second = {"name": "second", "type": f"{PLUGINS}:Headers"}
    bundle["policies"].append(second)
    route = bundle["routes"][0]
    bundle["routes"] = [
        {**route, "name": "a", "match": {"exact": "/a"}, "policies": ["second", "only"]},
        {**route, "name": "b", "match": {"exact": "/b"}},
    ]
    first, last = rulebook_of(bundle).routes
    assert [binding.policy.name for binding in first.pipeline.bindings] == ["second", "only"]
    assert last.pipeline.bindings[0].policy is first.pipeline.bindings[1].policy


def test_the_first_route_that_matches_wins() -> None:
    bundle = good()
    route = bundle["routes"][0]
    bundle["routes"] = [{**route, "name": "a", "match": {"exact": "/mcp"}}, {**route, "name": "b"}]
    rulebook = rulebook_of(bundle)
    names = [rulebook.route_for(RequestHead("POST", path, "", Headers())) for path in ("/mcp", "/mcp/x", "/x")]
    assert [route and route.name for route in names] == ["a", "b", None]


def test_a_secret_arrives_resolved() -> None:
    bundle = {**good(), "secrets": {"key": {"env": "KEY"}}}
    bundle["policies"] = [{"name": "only", "type": "signed", "parameters": {"signing": "key"}}]
    rulebook = rulebook_of(bundle, {"KEY": "s3cret-value"})
    policy = rulebook.routes[0].pipeline.bindings[0].policy
    assert type(policy).__qualname__ == Signed.__qualname__
    assert policy.parameters.signing.reveal() == b"s3cret-value"
    assert "s3cret-value" not in repr(rulebook) + repr(policy.parameters)
