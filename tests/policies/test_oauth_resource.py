"""oauth-resource: who may come in, with which token and scopes; what a client is told; what the upstream never sees."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

import httpx2
import pytest
from hypothesis import given
from hypothesis import strategies as st
from mcp.client.auth.utils import (
    build_protected_resource_metadata_discovery_urls,
    extract_resource_metadata_from_www_auth,
    extract_scope_from_www_auth,
)
from mcp.shared.auth import ProtectedResourceMetadata
from pydantic import ValidationError

from ext_proc.engine.exchange import Exchange
from ext_proc.engine.pipeline import Binding
from ext_proc.engine.route import OpaqueRule, Route, RouteMatch, Rulebook
from ext_proc.events import BodyMode, Direction, EnvoyFacts, HeadersReceived
from ext_proc.expressions import Expression
from ext_proc.headers import Headers
from ext_proc.identity import Evidence, Identity
from ext_proc.messages import RequestHead
from ext_proc.policy import Context, Deny, Exchanged
from ext_proc.replies import ImmediateReply
from ext_proc.testing import (
    HttpRequest,
    HttpResponse,
    Played,
    call,
    decide,
    pass_through,
    request,
    response,
    rulebook_of,
)
from ext_proc.trail import Trail
from gatehouse_policies.oauth_resource import OAuthResource, Parameters
from tests.policies.town import MODERN, Town, reason, went_on

RESOURCE = "https://tools.example/mcp"
METADATA = "https://tools.example/.well-known/oauth-protected-resource/mcp"
BASE = {"resource": RESOURCE, "authorization_servers": ["https://id.example"]}
SCOPES = [
    {"methods": ["tools/*"], "require": ["tools:read"]},
    {"tools": ["delete_*"], "require": ["tools:read", "tools:write"]},
]
LIST = {"jsonrpc": "2.0", "id": 1, "method": "tools/list"}
ANN = {"iss": "https://id.example", "sub": "ann", "aud": RESOURCE}


def policy(**parameters: Any) -> OAuthResource:
    return OAuthResource("resource", Parameters.model_validate({**BASE, **parameters}))


def scoped(scope: str) -> dict[str, Any]:
    return {**ANN, "scope": scope}


def challenge(played: Played) -> tuple[int, dict[str, str]]:
    """The status and the challenge's parameters (RFC 9110 section 11.6.1)."""
    assert played.client is not None
    value = played.client.headers["www-authenticate"]
    assert re.fullmatch(r'Bearer (\w+="[^"]*")(, \w+="[^"]*")*', value)
    return played.client.status, dict(re.findall(r'(\w+)="([^"]*)"', value))


def get(path: str, method: str = "GET", claims: Mapping[str, Any] | None = None, **parameters: Any) -> Played:
    """One request of a route for any path that the policy stands on."""
    book = rulebook_of(policy(**parameters))
    (only,) = book.routes
    route = Route("metadata", RouteMatch(path="/"), "mcp", only.codecs, only.pipeline)
    sent = HttpRequest(method=method, path=path, headers={"accept": "*/*"}, claims=claims)
    return pass_through(Rulebook("test", "r1", (route,)), sent, HttpResponse(b"upstream's"))


@pytest.mark.parametrize("path", ["/.well-known/oauth-protected-resource", "/.well-known/oauth-protected-resource/mcp"])
def test_the_metadata_is_served_without_a_token_and_without_the_upstream(path: str) -> None:
    played = get(path, scopes=SCOPES, require=["mcp"], name="Tools", documentation="https://tools.example/docs")
    assert not went_on(played)
    assert played.client is not None
    assert (played.client.status, played.client.headers["content-type"]) == (200, "application/json")
    assert played.client.json == {
        "resource": RESOURCE,
        "authorization_servers": ["https://id.example"],
        "scopes_supported": ["mcp", "tools:read", "tools:write"],
        "bearer_methods_supported": ["header"],
        "resource_name": "Tools",
        "resource_documentation": "https://tools.example/docs",
    }
    official = ProtectedResourceMetadata.model_validate_json(played.client.body)
    assert str(official.resource) == RESOURCE


@pytest.mark.parametrize(
    ("resource", "url"),
    [
        (RESOURCE, METADATA),
        ("https://tools.example", "https://tools.example/.well-known/oauth-protected-resource"),
        ("https://tools.example/", "https://tools.example/.well-known/oauth-protected-resource"),
        ("http://127.0.0.1:8080/a/b", "http://127.0.0.1:8080/.well-known/oauth-protected-resource/a/b"),
    ],
)
def test_a_challenge_leads_to_where_the_metadata_is(resource: str, url: str) -> None:
    status, parts = challenge(Town(policy(resource=resource)).play(LIST))
    assert (status, parts) == (401, {"resource_metadata": url})
    assert url == build_protected_resource_metadata_discovery_urls(None, resource)[0]
    served = get("/" + url.split("/", 3)[3], resource=resource)
    assert served.client is not None
    assert served.client.json["resource"] == resource


def test_other_paths_beside_it_and_other_methods_are_not_the_upstreams_either() -> None:
    for path, method, status in (
        ("/.well-known/oauth-protected-resource/other", "GET", 404),
        ("/.well-known/oauth-protected-resource/mcp", "POST", 405),
        ("/.well-known/oauth-protected-resource/mcp", "OPTIONS", 204),
    ):
        played = get(path, method)
        assert played.client is not None
        assert (went_on(played), played.client.status) == (False, status)


def test_scopes_that_the_metadata_lists_can_be_chosen() -> None:
    played = get("/.well-known/oauth-protected-resource", scopes=SCOPES, scopes_supported=["tools:read"])
    assert played.client is not None
    assert played.client.json["scopes_supported"] == ["tools:read"]


@pytest.mark.parametrize("method", ["POST", "GET", "DELETE"])
@pytest.mark.parametrize("version", ["", MODERN])
def test_a_caller_without_a_token_is_told_where_to_get_one(version: str, method: str) -> None:
    headers = {"mcp-method": "tools/list"} if version else {}
    played = Town(policy(require=["mcp"])).play(LIST, method=method, version=version, headers=headers)
    status, parts = challenge(played)
    assert (status, parts) == (401, {"resource_metadata": METADATA, "scope": "mcp"})
    assert (reason(played), went_on(played)) == ("token-needed", False)
    assert played.client is not None
    assert played.client.headers["content-type"] == "application/json"
    assert played.client.json["jsonrpc"] == "2.0"
    assert "error" in played.client.json


def test_a_token_that_nobody_verified_is_called_invalid() -> None:
    played = Town(policy()).play(LIST, headers={"authorization": "Bearer made-up"})
    status, parts = challenge(played)
    assert (status, parts["error"]) == (401, "invalid_token")


@pytest.mark.parametrize("audience", [None, [], "https://other.example/mcp", ["https://tools.example"], RESOURCE + "/"])
def test_a_token_for_another_server_is_refused(audience: Any) -> None:
    played = Town(policy()).play(LIST, claims={**ANN, "aud": audience})
    status, parts = challenge(played)
    assert (status, parts["error"], parts["resource_metadata"]) == (401, "invalid_token", METADATA)
    assert (reason(played), went_on(played)) == ("audience-mismatch", False)


def test_an_api_key_has_no_audience_and_passes_only_where_a_condition_leaves_it_out() -> None:
    key = Identity(subject="ci", issuer="keys", evidence=Evidence.API_KEY)
    exchanged = Exchanged(key, "tools", "mcp", RequestHead("POST", "/mcp", "t", Headers()), Trail("t"))
    verdict = policy().on_request_headers(Context(exchanged, None))
    assert isinstance(verdict, Deny)
    assert (verdict.status, verdict.reason) == (401, "audience-mismatch")
    assert Expression("identity.evidence != 'api_key'").holds({"identity": key.as_variables()}) is False


def test_a_token_for_this_server_among_others_is_taken() -> None:
    assert went_on(Town(policy()).play(LIST, claims={**ANN, "aud": ["https://other.example", RESOURCE]}))
    other = Town(policy(audience=["gatehouse"]))
    assert went_on(other.play(LIST, claims={**ANN, "aud": "gatehouse"}))
    assert reason(other.play(LIST, claims=ANN)) == "audience-mismatch"


@pytest.mark.parametrize("version", ["", MODERN])
@pytest.mark.parametrize(
    ("scope", "sent", "needed"),
    [
        ("", LIST, "mcp tools:read"),
        ("mcp", LIST, "mcp tools:read"),
        ("mcp tools:read", LIST, ""),
        ("mcp tools:read", call("search"), ""),
        ("mcp tools:read", call("delete_file"), "mcp tools:read tools:write"),
        ("mcp tools:write", call("delete_file"), "mcp tools:read tools:write"),
        ("tools:write tools:read", call("delete_file"), "mcp tools:read tools:write"),
        ("mcp tools:write tools:read other", call("delete_file"), ""),
    ],
)
def test_a_missing_scope_is_answered_with_all_that_the_request_needs(
    scope: str, sent: dict[str, Any], needed: str, version: str
) -> None:
    headers = {"mcp-method": sent["method"], "mcp-name": "delete_file"} if version else {}
    if sent.get("params", {}).get("name") == "search":
        headers["mcp-name"] = "search"
    here = Town(policy(require=["mcp"], scopes=SCOPES))
    played = here.play(sent, claims=scoped(scope), version=version, headers=headers)
    assert went_on(played) is not bool(needed)
    if (needed and "mcp" in scope.split()) or not needed:
        assert reason(played) == ("scope-missing" if needed else "")
    if needed:
        status, parts = challenge(played)
        assert (status, parts["error"], parts["resource_metadata"]) == (403, "insufficient_scope", METADATA)
        # Of an earlier revision only what all requests need is known before the body.
        early = "mcp" not in scope.split() and not version
        assert parts["scope"] == ("mcp" if early else needed)


def test_the_official_client_reads_the_challenge() -> None:
    played = Town(policy(scopes=SCOPES)).play(call("delete_file"), claims=scoped("tools:read"))
    assert played.client is not None
    answer = httpx2.Response(played.client.status, headers=played.client.headers)
    assert extract_scope_from_www_auth(answer) == "tools:read tools:write"
    assert extract_resource_metadata_from_www_auth(answer) == METADATA


def test_the_refusal_of_a_read_body_carries_the_requests_id() -> None:
    played = Town(policy(scopes=SCOPES)).play(call("delete_file", id="c-1"), claims=scoped("tools:read"))
    assert played.client is not None
    assert (played.client.status, played.client.json["id"]) == (403, "c-1")


@pytest.mark.parametrize(("tool", "status"), [("delete_file", 403), ("search", None)])
def test_what_the_headers_say_is_decided_before_the_body_is_asked_for(tool: str, status: int | None) -> None:
    claims = {"envoy.filters.http.jwt_authn": {"payload": scoped("tools:read")}}
    lines = [(":method", "POST"), (":path", "/mcp"), ("content-type", "application/json"), ("content-length", "100")]
    lines += [("mcp-protocol-version", MODERN), ("mcp-method", "tools/call"), ("mcp-name", tool)]
    exchange = Exchange(rulebook_of(policy(scopes=SCOPES)), "trail-1")
    facts = EnvoyFacts(claims, request_body_mode=BodyMode.NONE, response_body_mode=BodyMode.NONE)
    headers = Headers((name, value.encode()) for name, value in lines)
    exchange.receive(HeadersReceived(Direction.REQUEST, headers, False, facts))
    decide(exchange)
    (reply,) = exchange.replies()
    assert (reply.status if isinstance(reply, ImmediateReply) else None) == status


def test_headers_that_say_less_than_the_body_win_nothing() -> None:
    lies = {"mcp-method": "tools/call", "mcp-name": "search"}
    played = Town(policy(scopes=SCOPES)).play(
        call("delete_file"), claims=scoped("tools:read"), version=MODERN, headers=lies
    )
    assert (reason(played), went_on(played)) == ("scope-missing", False)


@pytest.mark.parametrize(
    ("token", "kept", "credential"),
    [("strip", False, None), ("keep", True, None), ({"inject": "github"}, False, "github")],
)
def test_the_clients_token_does_not_reach_the_upstream_unless_it_is_kept(
    token: Any, kept: bool, credential: str | None
) -> None:
    sent = {"authorization": "Bearer t0ken", "x-gatehouse-credential": "forged"}
    for method in ("POST", "GET", "DELETE"):
        played = Town(policy(token=token)).play(LIST, claims=ANN, method=method, headers=sent)
        assert played.upstream is not None
        assert ("authorization" in played.upstream.headers) is kept
        assert played.upstream.headers.get("x-gatehouse-credential") == credential


CREDENTIALS = {"authorization": "Bearer t0ken", "proxy-authorization": "Basic YTpi", "x-api-key": "k-1"}
CREDENTIALS |= {"x-access-token": "t0ken", "x-internal-key": "k-2"}


@pytest.mark.parametrize("token", ["strip", {"inject": "github"}])
def test_no_credential_of_the_clients_reaches_the_upstream_in_any_header(token: Any) -> None:
    def seen(**parameters: Any) -> set[str]:
        played = Town(policy(**parameters)).play(LIST, claims=ANN, headers=CREDENTIALS)
        assert played.upstream is not None
        return set(CREDENTIALS) & set(played.upstream.headers)

    assert seen(token=token) == {"x-internal-key"}
    assert seen(token=token, headers=["x-internal-key"]) == {"x-api-key", "x-access-token"}
    assert seen(token="keep") == set(CREDENTIALS)


@pytest.mark.parametrize("token", ["strip", "keep"])
@pytest.mark.parametrize(
    "query", ["access_token=t0ken", "a=1&access_token=t0ken", "a=1;access_token=x", "access%5Ftoken=x", "Access_Token"]
)
def test_a_token_in_the_query_is_refused(query: str, token: str) -> None:
    book = rulebook_of(policy(token=token))
    for claims in (ANN, None):
        sent = request(LIST, path=f"/mcp?{query}", headers={"content-type": "application/json"}, claims=claims)
        played = pass_through(book, sent, response({}))
        status, parts = challenge(played)
        assert (status, parts["error"], parts["resource_metadata"]) == (400, "invalid_request", METADATA)
        assert (reason(played), went_on(played)) == ("token-in-query", False)


@pytest.mark.parametrize("query", ["", "token=1", "q=access_token", "my_access_token=1"])
def test_any_other_query_passes(query: str) -> None:
    sent = request(LIST, path=f"/mcp?{query}", headers={"content-type": "application/json"}, claims=ANN)
    assert went_on(pass_through(rulebook_of(policy()), sent, response({})))


def test_what_passes_unread_loses_its_token_too() -> None:
    book = rulebook_of(policy(), allow_opaque=(OpaqueRule(content_type="text/plain"),))
    lines = {"content-type": "text/plain", "authorization": "Bearer t0ken"}
    played = pass_through(book, request(b"x", headers=lines, claims=ANN), response({}))
    assert played.upstream is not None
    assert "authorization" not in played.upstream.headers


def test_in_shadow_it_records_and_nothing_else() -> None:
    played = Town(Binding(policy(), enforce=False)).play(LIST, headers={"authorization": "Bearer t0ken"})
    assert played.upstream is not None
    assert played.upstream.headers["authorization"] == "Bearer t0ken"
    assert [entry.reason for entry in played.trail.entries if entry.reason] == ["token-needed"]


def test_nothing_of_the_token_or_the_caller_is_in_an_answer() -> None:
    sent = {"authorization": "Bearer s3cret"}
    for claims in (None, {**ANN, "sub": "s3cret", "aud": "s3cret"}, {**ANN, "sub": "s3cret", "scope": "s3cret"}):
        played = Town(policy(require=["mcp"])).play(LIST, claims=claims, headers=sent)
        assert played.client is not None
        assert played.client.status in (401, 403)
        assert "s3cret" not in f"{played.client.headers}{played.client.body!r}"


@pytest.mark.parametrize(
    "wrong",
    [
        {"resource": "tools.example/mcp"},
        {"resource": "https:///mcp"},
        {"resource": "https://tools.example/mcp#x"},
        {"resource": "https://tools.example/mcp?x"},
        {"resource": 'https://tools.example/"'},
        {"resource": "ftp://tools.example"},
        {"authorization_servers": []},
        {"authorization_servers": ["id.example"]},
        {"require": ["two words"]},
        {"require": ['a"b']},
        {"scopes": [{"require": ["a"]}]},
        {"scopes": [{"methods": ["*"], "require": []}]},
        {"token": "drop"},
        {"token": {"inject": "a b"}},
        {"token": {"inject": "a\n"}},
        {"headers": ["X-Api-Key"]},
        {"headers": ["a b"]},
    ],
)
def test_what_could_not_be_a_challenge_or_metadata_is_an_error_in_the_bundle(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        policy(**wrong)


@given(cuts=st.lists(st.integers(1, 40), max_size=6), scope=st.sampled_from(["tools:read", "tools:read tools:write"]))
def test_however_the_body_is_cut_the_same_is_decided(cuts: list[int], scope: str) -> None:
    def cut(body: bytes) -> Sequence[bytes]:
        pieces, rest = [], body
        for size in cuts:
            pieces.append(rest[:size])
            rest = rest[size:]
        return [*pieces, rest]

    sent = request(call("delete_file"), claims=scoped(scope), sized=False)
    played = pass_through(rulebook_of(policy(scopes=SCOPES)), sent, response({}), cut)
    assert went_on(played) is ("tools:write" in scope)
