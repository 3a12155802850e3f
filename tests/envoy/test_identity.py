"""Who calls, through a real Envoy, with MCP's official client: tokens and keys, and those that lie.

Rules:
- A credential that does not hold gets 401 and reaches nobody; the upstream is asked, and so are decisions.

Not here: workloads' certificates (test_workloads.py).
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx2
import pytest
from mcp import MCPError

from ext_proc.credentials.api_keys import new_key
from ext_proc.demo.files import shipped
from tests.envoy.callers import FIRST, bearer, bundle, client, minted, post, refused, tools, without_jwt_authn
from tests.envoy.exchanges import answer_to, call
from tests.envoy.harness import Running, Stacks, wait_for
from tests.envoy.observed import decisions, log_lines, logged, mark, metric
from tests.envoy.upstream import json_body
from tests.unit.credentials.minting import AUDIENCE, ISSUER, Minter, hmac_signed, jwks, unsigned, usual
from tests.unit.server.publishers import document, publishing

ROLES = shipped("policies/bundles/roles.yaml").read_text(encoding="utf-8")
READS = {"search", "docs.read"}
SECOND, RSA = Minter("EdDSA", "second"), Minter("RS256", "rsa")
KEY, SHA256 = new_key()


# --- what Envoy's jwt_authn verified


PORTAL, ASSISTANT = {"client_id": "web-portal"}, {"client_id": "assistant-1"}
CALLERS: dict[str, tuple[dict[str, Any], set[str], str]] = {
    "researcher": (
        {**PORTAL, "groups": ["research"]},
        {*READS, "docs.statistics", "docs.report"},
        "human",
    ),
    "researcher through an assistant": ({**ASSISTANT, "groups": ["research"]}, READS, "delegated_agent"),
    "researcher through a delegate": (
        {**PORTAL, "groups": ["research"], "act": {"sub": "helper"}},
        READS,
        "delegated_agent",
    ),
    "platform engineer": ({**PORTAL, "groups": ["platform"]}, {*READS, "delete_file"}, "human"),
    "product owner": (
        {**PORTAL, "roles": ["product-owner"], "tenant": "acme"},
        {*READS, "docs.statistics", "docs.report", "export_salaries"},
        "human",
    ),
    "read-only bot": ({"client_id": "read-only bot", "scope": "tools:read"}, READS, "autonomous_agent"),
}


@pytest.mark.parametrize("caller", CALLERS)
async def test_each_role_sees_and_may_call_its_tools_alone(gatehouse_stack: Stacks, caller: str) -> None:
    running = gatehouse_stack(ROLES, demo_upstreams=True)
    claims, allowed, kind = CALLERS[caller]
    since = mark(running)
    headers = bearer(running.stack.token(caller, claims))
    async with client(running, headers) as connection:
        assert {tool.name for tool in (await connection.list_tools()).tools} == allowed
        for tool, arguments in (("search", {"query": "queue"}), ("delete_file", {"path": "/tmp/x"})):
            if tool in allowed:
                assert not (await connection.call_tool(tool, arguments)).is_error
                continue
            with pytest.raises(MCPError) as denied:
                await connection.call_tool(tool, arguments)
            assert denied.value.error.data["reason"] == "tool-not-allowed"
    last = wait_for(lambda: decisions_of(running, since, caller)[-1:] or None, "a decision")[0]
    assert (last["kind"], last["subject"]) == (kind, caller)
    assert last["actor"] == {"delegated_agent": "assistant-1" if "assistant" in caller else "helper"}.get(kind, "")


def decisions_of(running: Running, since: int, subject: str) -> list[dict[str, Any]]:
    return [line for line in log_lines(running, since) if line.get("subject") == subject]


# --- tokens that Gatehouse verifies itself


@dataclass(frozen=True, slots=True)
class Own:
    """A stack whose Gatehouse verifies tokens with the keys of a file, in front of the scripted upstream."""

    running: Running
    keys: Path

    def publish(self, *minters: Minter) -> None:
        """Puts another file in the place of the keys'."""
        beside = self.keys.with_suffix(".new")
        beside.write_bytes(jwks(*minters))
        os.replace(beside, self.keys)


@pytest.fixture(scope="module")
def keys(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("keys") / "jwks.json"
    path.write_bytes(jwks(FIRST, RSA))
    return path


@pytest.fixture
def own(gatehouse_stack: Stacks, keys: Path) -> Own:
    part = {"issuer": ISSUER, "audiences": [AUDIENCE], "jwks": {"file": str(keys)}, "act_depth": 2}
    text = bundle(
        {"jwt": part},
        {"api_keys": {"keys": [{"sha256": SHA256, "subject": "ci", "kind": "agent"}]}},
        {"spiffe": {"from": "xfcc", "trust_domains": ["prod.example"]}},
        clients=({"id": "portal", "kind": "interactive"},),
    )
    found = Own(gatehouse_stack(text, edit_bootstrap=without_jwt_authn), keys)
    found.running.upstream.answer_with(json_body(answer_to(call())))
    return found


def soon(**claims: Any) -> dict[str, Any]:
    return usual((), {"exp": int(time.time()) + 600, **claims})


HOSTILE: dict[str, tuple[Callable[[], str], str]] = {
    "forged": (lambda: minted(Minter("ES256", "first")), "token-signature"),
    "alg none": (lambda: unsigned({"alg": "none"}, soon(), b"x"), "token-algorithm"),
    "a public key as a secret": (
        lambda: hmac_signed(b"-" + RSA.public_pem(), {"alg": "HS256", "kid": "rsa"}, soon()),
        "token-algorithm",
    ),
    "its own key and where to find it": (
        lambda: minted(SECOND, {"jwk": SECOND.jwk(), "jku": "http://127.0.0.1:1/", "x5u": "http://127.0.0.1:1/"}),
        "token-key-unknown",
    ),
    "a key id that is a path": (lambda: minted(header={"kid": "../../../dev/null"}), "token-key-unknown"),
    "expired": (lambda: minted(exp=int(time.time()) - 60), "token-expired"),
    "not valid yet": (lambda: minted(nbf=int(time.time()) + 60), "token-not-yet"),
    "another audience": (lambda: minted(aud="https://other.example"), "token-audience"),
    "another issuer": (lambda: minted(iss="https://other.example"), "token-issuer"),
    "huge": (lambda: minted(filler="x" * 20_000), "token-too-long"),
    "nested": (lambda: minted(header={"cty": "JWT"}), "token-nested"),
    "nested deeply": (
        lambda: FIRST.sign(b'{"alg":"ES256","kid":"first"}', b'{"a":' * 1000 + b"1" + b"}" * 1000),
        "token-malformed",
    ),
    "encrypted": (lambda: "e30.AA.AA.AA.AA", "token-encrypted"),
    "too many actors": (
        lambda: minted(act={"sub": "1", "act": {"sub": "2", "act": {"sub": "3"}}}),
        "claims-act-depth",
    ),
    "no token": (lambda: "sk-live-0123456789", "credential-unknown"),
}


@pytest.mark.parametrize(("make", "reason"), HOSTILE.values(), ids=HOSTILE.keys())
async def test_a_token_that_does_not_hold_gets_401_and_reaches_nobody(
    own: Own, make: Callable[[], str], reason: str
) -> None:
    token = make()
    before = len(own.running.upstream.requests)
    assert await refused(own.running, bearer(token)) == reason
    answer = post(own.running, bearer(token))
    assert answer.status_code == 401
    assert answer.headers["www-authenticate"] == 'Bearer error="invalid_token"'
    assert answer.json()["error"]["data"]["reason"] == "invalid-credential"
    assert reason not in answer.text
    assert len(own.running.upstream.requests) == before
    assert token not in (own.running.stack.logs / "gatehouse.log").read_text(encoding="utf-8")


async def test_two_authorization_headers_get_401(own: Own) -> None:
    lines = [("authorization", f"Bearer {minted()}")] * 2
    before = len(own.running.upstream.requests)
    answer = httpx2.post(own.running.stack.mcp_url, json=call(), headers=lines, trust_env=False)
    assert answer.status_code == 401
    assert len(own.running.upstream.requests) == before


async def test_a_token_that_holds_names_its_caller_and_passes_on(own: Own) -> None:
    since, token = mark(own.running), minted(RSA, act={"sub": "helper"})
    assert post(own.running, bearer(token)).status_code == 200
    assert own.running.upstream.requests[-1].header("authorization") == f"Bearer {token}"
    (decision,) = decisions(own.running, since)
    assert (decision["kind"], decision["subject"], decision["actor"]) == ("delegated_agent", "ann", "helper")


async def test_a_client_cannot_say_of_itself_which_workload_it_is(own: Own) -> None:
    # The listener has no TLS: Envoy takes the header away (SANITIZE is its default).
    since = mark(own.running)
    answer = post(own.running, {"x-forwarded-client-cert": "Hash=1;URI=spiffe://prod.example/web"})
    assert answer.json()["error"]["data"]["reason"] == "tool-not-allowed"
    (decision,) = decisions(own.running, since)
    assert (decision["kind"], decision["subject"]) == ("unknown", "")


async def test_keys_of_a_file_are_rotated_while_it_runs(own: Own) -> None:
    try:
        assert post(own.running, bearer(minted())).status_code == 200
        own.publish(FIRST, SECOND)
        wait_for(lambda: post(own.running, bearer(minted(SECOND))).status_code == 200 or None, "the new key")
        assert post(own.running, bearer(minted())).status_code == 200
        own.publish(SECOND)
        remembered = minted()
        wait_for(lambda: post(own.running, bearer(remembered)).status_code == 401 or None, "the end of the old key")
        assert post(own.running, bearer(minted(SECOND))).status_code == 200
        own.keys.write_bytes(b"not a key set")
        logged(own.running, "keys cannot be had; those before stay")
        assert post(own.running, bearer(minted(SECOND))).status_code == 200
    finally:
        own.publish(FIRST, RSA)
        wait_for(lambda: post(own.running, bearer(minted())).status_code == 200 or None, "the first keys")


async def test_an_api_key_names_its_holder_and_another_gets_401(own: Own) -> None:
    since = mark(own.running)
    assert post(own.running, {"x-api-key": KEY}).status_code == 200
    (decision,) = decisions(own.running, since)
    assert (decision["kind"], decision["subject"]) == ("autonomous_agent", "ci")
    before = len(own.running.upstream.requests)
    assert await refused(own.running, {"x-api-key": KEY[:-1] + "!"}) == "api-key-unknown"
    assert len(own.running.upstream.requests) == before
    assert KEY not in (own.running.stack.logs / "gatehouse.log").read_text(encoding="utf-8")


async def test_keys_of_a_url_are_rotated_and_an_issuer_that_is_down_is_no_forgery(gatehouse_stack: Stacks) -> None:
    with publishing(document(jwks(FIRST))) as issuer:
        # Short times, so that the test need not wait: a key is asked for when a token names it.
        times = {"refresh": "300ms", "cooldown": "10ms", "timeout": "2s"}
        part = {"issuer": ISSUER, "audiences": [AUDIENCE], "jwks": {"url": issuer.url, **times}}
        running = gatehouse_stack(bundle({"jwt": part}), edit_bootstrap=without_jwt_authn, demo_upstreams=True)
        assert "search" in await tools(running, bearer(minted()))
        assert await refused(running, bearer(minted(SECOND))) == "token-key-unknown"
        issuer.answer = document(jwks(SECOND))
        assert "search" in await tools(running, bearer(minted(SECOND)))
        assert await refused(running, bearer(minted())) == "token-key-unknown"
        issuer.answer = document(b"down", 503)
        logged(running, "keys cannot be had; those before stay")
        assert "search" in await tools(running, bearer(minted(SECOND)))
        assert metric(running, "gatehouse_key_refreshes_total", result="failed") > 0
        assert issuer.paths.count("/jwks.json") > 3


async def test_the_challenge_of_a_refused_token_leads_to_the_resources_metadata(
    gatehouse_stack: Stacks, keys: Path
) -> None:
    resource = {"resource": AUDIENCE, "authorization_servers": [ISSUER], "require": ["tools"]}
    running = gatehouse_stack(
        bundle(
            {"jwt": {"issuer": ISSUER, "audiences": [AUDIENCE], "jwks": {"file": str(keys)}}},
            policies=[{"name": "who", "type": "oauth-resource", "parameters": resource}],
        ),
        edit_bootstrap=without_jwt_authn,
    )
    metadata = 'resource_metadata="https://tools.example/.well-known/oauth-protected-resource/mcp"'
    for headers, error in ((bearer(minted(exp=1)), True), ({}, False)):
        answer = post(running, headers)
        assert answer.status_code == 401
        assert metadata in answer.headers["www-authenticate"]
        assert 'scope="tools"' in answer.headers["www-authenticate"]
        assert ('error="invalid_token"' in answer.headers["www-authenticate"]) is error
    assert running.upstream.requests == []


async def test_without_any_keys_the_answer_is_503_and_not_that_the_token_is_invalid(gatehouse_stack: Stacks) -> None:
    with publishing(document(b"down", 503)) as issuer:
        part = {"issuer": ISSUER, "audiences": [AUDIENCE], "jwks": {"url": issuer.url, "cooldown": "10ms"}}
        running = gatehouse_stack(bundle({"jwt": part}), edit_bootstrap=without_jwt_authn)
        answer = post(running, bearer(minted()))
        assert (answer.status_code, answer.headers["retry-after"]) == (503, "1")
        assert answer.json()["error"]["data"]["reason"] == "identity-unavailable"
        assert running.upstream.requests == []
