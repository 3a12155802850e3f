"""Which requests a route is for, and which opaque ones it lets through."""

from __future__ import annotations

from typing import Any

import pytest

from ext_proc.engine.pipeline import Pipeline
from ext_proc.engine.route import OpaqueRule, Route, RouteMatch, Rulebook
from ext_proc.headers import Headers
from ext_proc.messages import RequestHead


def head(
    path: str = "/mcp", authority: str = "tools.example:8080", method: str = "POST", **headers: str
) -> RequestHead:
    return RequestHead(method, path, authority, Headers.of(**headers))


@pytest.mark.parametrize(
    ("match", "fits", "misses"),
    [
        ({"path": "/mcp"}, ["/mcp", "/mcp/", "/mcp/x"], ["/mcpx", "/", "/x/mcp", "/MCP", ""]),
        ({"path": "/mcp/"}, ["/mcp", "/mcp/x"], ["/mcpx"]),
        ({"path": "/"}, ["/", "/anything"], []),
        ({"exact": "/mcp"}, ["/mcp"], ["/mcp/", "/mcp/x"]),
        ({}, ["/", "/anything"], []),
    ],
)
def test_a_path_fits_at_segment_boundaries(match: dict[str, Any], fits: list[str], misses: list[str]) -> None:
    assert [path for path in fits + misses if RouteMatch(**match).accepts(head(path))] == fits


def test_hosts_are_compared_without_port_and_case_and_may_be_globs() -> None:
    match = RouteMatch(hosts=("tools.example", "*.acme.test"))
    for authority in ("tools.example", "TOOLS.example:8080", "tools.example.", "a.acme.test", "a.b.acme.test:1"):
        assert match.accepts(head(authority=authority)), authority
    for authority in ("acme.test", "tools.example.evil", "xtools.example", "", "[::1]:80"):
        assert not match.accepts(head(authority=authority)), authority


def test_every_header_that_is_given_must_have_its_value() -> None:
    match = RouteMatch(headers={"x-team": "search", "x-env": "prod"})
    assert match.accepts(head(x_team="search", x_env="prod"))
    assert not match.accepts(head(x_team="search"))
    assert not match.accepts(head(x_team="Search", x_env="prod"))


def test_the_first_route_that_matches_wins() -> None:
    routes = tuple(
        Route(name, RouteMatch(path=path), "mcp", (), Pipeline((), lambda: 0.0))
        for name, path in (("narrow", "/mcp/x"), ("wide", "/mcp"), ("never", "/mcp"))
    )
    book = Rulebook("b", "1", routes)
    found = [book.route_for(head(path)) for path in ("/mcp/x", "/mcp/y", "/z")]
    assert [route and route.name for route in found] == ["narrow", "wide", None]


def test_an_opaque_rule_fits_only_if_every_part_of_it_does() -> None:
    rule = OpaqueRule(method="GET", path="/mcp/health*", content_type="text/*")
    plain = Headers.of(content_type="text/plain; charset=utf-8")
    assert rule.accepts(head("/mcp/healthz", method="GET"), plain)
    assert not rule.accepts(head("/mcp/healthz", method="POST"), plain)
    assert not rule.accepts(head("/mcp/other", method="GET"), plain)
    assert not rule.accepts(head("/mcp/healthz", method="GET"), Headers())
    assert OpaqueRule().accepts(head(), Headers())
