"""Broken bundles and what is said of them; every problem at once; no secret anywhere."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import pytest
import yaml

from ext_proc.bundle.load import examine, load, parse
from ext_proc.errors import BundleError
from tests.unit.bundle.broken import BROKEN
from tests.unit.bundle.building import PLUGINS, TYPES, changed, examined, good

SHIPPED = sorted((Path(__file__).parents[3] / "policies" / "bundles").glob("*.yaml"))


@pytest.mark.parametrize(("path", "value", "where", "message", "found"), BROKEN)
def test_a_broken_bundle_is_told_with_its_place_what_was_expected_and_what_was_found(
    path: str, value: Any, where: str, message: str, found: str
) -> None:
    result = examined(changed(path, value))
    if path == "policies.0.name":  # the route's reference breaks with it
        assert result.problems[0].path == "routes[0].policies[0]"
        result_problems = result.problems[1:]
    else:
        result_problems = result.problems
    assert [(problem.path, problem.message, problem.value) for problem in result_problems] == [(where, message, found)]
    assert result.rulebook is None


def test_a_good_bundle_has_no_problem_and_no_warning() -> None:
    result = examined(good())
    assert result.problems == ()
    assert result.warnings == ()
    assert result.rulebook is not None


@pytest.mark.parametrize("hook", ["Misspelt.on_requests is no hook", "Unannotated.on_request needs"])
def test_a_hook_that_cannot_be_read_is_a_problem_of_the_type(hook: str) -> None:
    cls = hook.partition(".")[0]
    bundle = changed("policies.0", {"name": "only", "type": f"{PLUGINS}:{cls}"})
    (problem,) = examined(bundle).problems
    assert problem.path == "policies[0].type"
    assert hook in problem.message


def test_names_that_stand_twice_are_told_with_the_first() -> None:
    bundle = good()
    bundle["routes"].append({**bundle["routes"][0], "match": {"path": "/other"}})
    bundle["policies"].append(bundle["policies"][0])
    assert [(problem.path, problem.message) for problem in examined(bundle).problems] == [
        ("routes[1].name", "expected a name of its own; routes[0] has it too"),
        ("policies[1].name", "expected a name of its own; policies[0] has it too"),
    ]


def test_every_problem_is_told_at_once_in_the_order_of_the_file() -> None:
    text = """
apiVersion: gatehouse/v2
limits: {batch: none, event: 8MiB, response_body: 4MiB}
secrets: {key: {env: UNSET}}
routes:
  - {name: Tools, match: {path: mcp}, protocol: grpc, policies: [missing]}
policies:
  - name: first
    type: unions
    mode: sometimes
    mode: off
    when: "1 +"
    parameters: {allow: 5, levl: 1}
  - name: second
    type: nothing-like-it
  - 7
kind: Bundle
metadata: {name: test}
"""
    result = examined(text)
    assert [problem.path for problem in result.problems] == [
        "apiVersion",
        "limits.batch",
        "limits.event",
        "secrets.key.env",
        "routes[0].name",
        "routes[0].match.path",
        "routes[0].protocol",
        "routes[0].policies[0]",
        "policies[0].mode",
        "policies[0].mode",
        "policies[0].when",
        "policies[0].parameters.allow",
        "policies[0].parameters.levl",
        "policies[1].type",
        "policies[2]",
    ]


@pytest.mark.parametrize("match", [{"hosts": ["a.test"]}, {"headers": {"x-a": "b"}}])
def test_a_route_that_a_client_can_step_around_is_a_warning(match: dict[str, Any]) -> None:
    bundle = good()
    bundle["routes"][0]["match"] = {"path": "/mcp", **match}
    (warning,) = examined(bundle).warnings
    assert (warning.path, warning.message[:42]) == ("routes[0].match", "a request with another host or header is n")
    assert examined({**bundle, "unmatched": "deny"}).warnings == ()
    caught = [*bundle["routes"], {**bundle["routes"][0], "name": "rest", "match": {"path": "/mcp"}}]
    assert examined({**bundle, "routes": caught}).warnings == ()


@pytest.mark.parametrize("section", ["routes", "policies", "limits", "secrets", "headers", "identity"])
@pytest.mark.parametrize("value", [None, 7, "x", True, [], [7], [[]], {}, {"a": 7}, {"a": {}}])
def test_a_section_of_any_shape_is_told_and_never_raises(section: str, value: Any) -> None:
    result = examined(changed(section, value))
    assert result.rulebook is not None or result.problems


@pytest.mark.parametrize(
    "prefix", ["", "x-", "gatehouse-", "X-Gate-", "x-gate", "x-envoy-", "x-envoy-a-", "x-forwarded-"]
)
def test_a_prefix_that_would_remove_headers_of_others_is_refused(prefix: str) -> None:
    (problem,) = examined(changed("headers.prefix", prefix)).problems
    assert problem.path == "headers.prefix"
    assert problem.message.startswith("expected a prefix such as x-gatehouse-")


@pytest.mark.parametrize(
    ("changes", "path", "words"),
    [
        ({"limits": {"decision": "200ms"}}, "limits.decision", "Envoy gives up after its message_timeout, 200 ms"),
        ({"routes": []}, "policies[0].name", "no route names this policy"),
        ({"limits": {"decision": "10ms"}, "timeout": "20ms"}, "policies[0].timeout", "longer than limits.decision"),
        (
            {"type": f"{PLUGINS}:Deaf"},
            "routes[0].policies[0]",
            "its request hook waits for Opaque, which mcp has none of",
        ),
        (
            {"type": f"{PLUGINS}:Headers", "when": "args.x == 1"},
            "policies[0].when",
            "args cannot be known at request_headers",
        ),
    ],
)
def test_what_is_probably_not_meant_is_a_warning(changes: dict[str, Any], path: str, words: str) -> None:
    bundle = good()
    bundle.update({key: value for key, value in changes.items() if key in ("limits", "routes")})
    bundle["policies"][0].update({key: value for key, value in changes.items() if key in ("timeout", "type", "when")})
    if "type" in changes:
        del bundle["policies"][0]["parameters"]
    result = examined(bundle)
    assert result.problems == ()
    assert result.rulebook is not None
    (warning,) = result.warnings
    assert warning.path == path
    assert words in warning.message


def test_a_policy_that_sees_answers_after_others_changed_them_is_a_warning() -> None:
    bundle = good()
    bundle["store"] = {"hosts": "one"}
    bundle["policies"][0].update(type="tool-access", parameters={"rules": [{"tools": ["a"], "allow": False}]})
    bundle["policies"].append({"name": "pins", "type": "gatehouse_policies.tool_pinning:ToolPinning"})
    first = bundle["policies"][0]["name"]
    found = {}
    for order in ((first, "pins"), ("pins", first)):
        bundle["routes"][0]["policies"] = list(order)
        result = examined(bundle)
        assert result.problems == ()
        found[order[0]] = [(warning.path, warning.message) for warning in result.warnings]
    message = f"{first} may change answers before it sees them: put it behind"
    assert found == {first: [], "pins": [("routes[0].policies[0]", message)]}


@pytest.mark.parametrize("protocol", ["mcp", "openai", "auto"])
def test_a_policy_for_several_protocols_is_heard_on_a_route_of_each(protocol: str) -> None:
    bundle = good()
    bundle["routes"][0]["protocol"] = protocol
    bundle["policies"][0].update(type="tool-access", parameters={"rules": [{"hosted": ["mcp:*"], "allow": False}]})
    result = examined(bundle)
    assert (result.problems, result.warnings) == ((), ())


def test_a_policy_for_mcp_is_never_heard_on_a_route_of_agents() -> None:
    bundle = good()
    bundle["routes"][0]["protocol"] = "a2a"
    result = examined(bundle)
    assert result.rulebook is not None
    (warning,) = result.warnings
    assert (result.problems, warning.path) == ((), "routes[0].policies[0]")


@pytest.mark.parametrize(
    ("earlier", "later", "reached"),
    [
        ({"path": "/"}, {"path": "/mcp"}, False),
        ({"path": "/mcp"}, {"path": "/mcp"}, False),
        ({"path": "/mcp"}, {"path": "/mcp/"}, False),
        ({"path": "/mcp"}, {"exact": "/mcp/x", "hosts": ["a"]}, False),
        ({"exact": "/mcp"}, {"exact": "/mcp", "headers": {"x-a": "1"}}, False),
        ({"hosts": ["a"]}, {"hosts": ["a"]}, False),
        ({"path": "/mcp"}, {"path": "/mcpx"}, True),
        ({"path": "/mcp/x"}, {"path": "/mcp"}, True),
        ({"path": "/mcp", "hosts": ["a"]}, {"path": "/mcp"}, True),
        ({"exact": "/mcp"}, {"path": "/mcp"}, True),
        ({"path": "/mcp"}, {"hosts": ["a"]}, True),
    ],
)
def test_a_route_that_is_never_reached_is_a_warning(earlier: Any, later: Any, reached: bool) -> None:
    bundle = good()
    route = bundle["routes"][0]
    bundle["routes"] = [{**route, "name": "a", "match": earlier}, {**route, "name": "b", "match": later}]
    bundle["unmatched"] = "deny"  # or else a route for one host is a weakness of its own
    result = examined(bundle)
    assert result.problems == ()
    assert [warning.path for warning in result.warnings] == ([] if reached else ["routes[1].match"])


def test_a_default_limit_gives_way_to_a_smaller_written_one() -> None:
    result = examined(changed("limits", {"response_body": "32KiB", "request_body": "8KiB"}))
    assert result.rulebook is not None
    limits = result.rulebook.limits
    assert (limits.event, limits.hold_back, limits.envoy_buffer) == (32768, 32768, 8192)


def test_the_revision_is_the_texts_digest_unless_it_is_written() -> None:
    text = yaml.safe_dump(good())
    result = examined(text)
    assert result.rulebook is not None
    assert result.rulebook.revision == hashlib.sha256(text.encode()).hexdigest()[:12]
    written = examined(changed("metadata.revision", "2026-11-20.1")).rulebook
    assert written is not None
    assert written.revision == "2026-11-20.1"


def test_load_gives_the_rulebook_or_raises_every_problem(tmp_path: Path) -> None:
    path = tmp_path / "bundle.yaml"
    bundle = changed("policies.0.type", f"{PLUGINS}:ToolAllowlist")
    path.write_text(yaml.safe_dump(bundle))
    assert load(path).name == "test"
    path.write_text(yaml.safe_dump({**bundle, "kind": "x", "unmatched": "y"}))
    with pytest.raises(BundleError) as caught:
        load(path)
    assert [problem.path for problem in caught.value.problems] == ["kind", "unmatched"]
    with pytest.raises(BundleError, match="No such file"):
        load(tmp_path / "other.yaml")
    path.write_text("[")
    with pytest.raises(BundleError, match="expected YAML"):
        load(path)


def test_parse_gives_the_bundle_or_raises_every_problem() -> None:
    assert parse(yaml.safe_dump(good()), types=TYPES).policies[0].name == "only"
    with pytest.raises(BundleError, match="unknown policy type"):
        parse(yaml.safe_dump(changed("policies.0.type", "x")), types=TYPES)
    with pytest.raises(BundleError, match="expected YAML"):
        parse("[", types=TYPES)


@pytest.mark.parametrize("path", SHIPPED, ids=[path.stem for path in SHIPPED])
def test_a_bundle_that_is_shipped_has_no_problem_and_no_warning(path: Path) -> None:
    result = examine(path)
    assert (result.problems, result.warnings) == ((), ())


def test_all_shipped_bundles_are_found() -> None:
    assert {"annotated", "default", "models"} <= {path.stem for path in SHIPPED}
