"""Workloads, by certificates that Envoy verified: as XFCC and as attributes of the connection, alone and beside tokens.

Rules:
- Certificates are verified by Envoy's own TLS; a client's copy of what Envoy says of them counts for nothing.

Not here: tokens and keys alone (test_identity.py).
"""

from __future__ import annotations

import signal
import ssl
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx2
import pytest
import yaml

from tests.certificates import Authority, Issued
from tests.envoy.callers import FIRST, bearer, bundle, minted, refused, tools, without_jwt_authn
from tests.envoy.exchanges import call
from tests.envoy.harness import Running, Stacks
from tests.envoy.observed import bundle_file, decisions, logged, mark, metric, signal_gatehouse
from tests.unit.credentials.minting import AUDIENCE, ISSUER, jwks

AGENT, WEB = "spiffe://prod.example/agents/runner", "spiffe://prod.example/web"
_TLS = "envoy.extensions.transport_sockets.tls.v3.DownstreamTlsContext"


@pytest.fixture(scope="module")
def keys(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("keys") / "jwks.json"
    path.write_bytes(jwks(FIRST))
    return path


@dataclass(frozen=True, slots=True)
class Mesh:
    """An authority, clients' certificates, and Envoy's configuration with mutual TLS."""

    authority: Authority
    agent: Issued
    web: Issued
    elsewhere: Issued
    plain: Issued
    smuggler: Issued
    forged: Issued
    edit: Callable[[str], str]

    def context(self, issued: Issued | None) -> ssl.SSLContext:
        """A client's TLS, with its certificate if it has one."""
        context = ssl.create_default_context(cafile=str(self.authority.certificate))
        if issued is not None:
            context.load_cert_chain(issued.certificate, issued.key)
        return context


@pytest.fixture(scope="module")
def mesh(tmp_path_factory: pytest.TempPathFactory) -> Mesh:
    folder = tmp_path_factory.mktemp("mesh")
    authority, other = Authority(folder), Authority(folder, "other")
    server = authority.issue("envoy", uris=["spiffe://prod.example/gateway"])

    def edit(bootstrap: str) -> str:
        """Mutual TLS, XFCC that Envoy writes, and attributes of the connection for Gatehouse."""
        config = yaml.safe_load(without_jwt_authn(bootstrap))
        (chain,) = config["static_resources"]["listeners"][0]["filter_chains"]
        chain["transport_socket"] = {
            "name": "envoy.transport_sockets.tls",
            "typed_config": {
                "@type": f"type.googleapis.com/{_TLS}",
                "require_client_certificate": True,
                "common_tls_context": {
                    "tls_certificates": [
                        {
                            "certificate_chain": {"filename": str(server.certificate)},
                            "private_key": {"filename": str(server.key)},
                        }
                    ],
                    "validation_context": {"trusted_ca": {"filename": str(authority.certificate)}},
                },
            },
        }
        manager = chain["filters"][0]["typed_config"]
        manager["forward_client_cert_details"] = "SANITIZE_SET"
        manager["set_current_client_cert_details"] = {"uri": True, "dns": True, "subject": True}
        for one in manager["http_filters"]:
            if one["name"] == "envoy.filters.http.ext_proc":
                one["typed_config"]["request_attributes"] = [
                    "connection.uri_san_peer_certificate",
                    "connection.dns_san_peer_certificate",
                    "connection.subject_peer_certificate",
                    "connection.sha256_peer_certificate_digest",
                ]
        return str(yaml.safe_dump(config, sort_keys=False))

    return Mesh(
        authority,
        agent=authority.issue("runner", uris=[AGENT]),
        web=authority.issue("web", uris=[WEB], dns=["web.prod.example", "www.prod.example"]),
        elsewhere=authority.issue("elsewhere", uris=["spiffe://other.example/x"]),
        plain=authority.issue("plain", dns=["build.acme.example"], common_name='odd "name", really'),
        smuggler=authority.issue("smuggler", uris=[f"{WEB},Hash={'0' * 64};URI={AGENT}"]),
        forged=other.issue("forger", uris=[AGENT]),
        edit=edit,
    )


@pytest.fixture(params=["xfcc", "attributes"])
def meshed(gatehouse_stack: Stacks, mesh: Mesh, keys: Path, request: pytest.FixtureRequest) -> Running:
    origin = str(request.param)
    text = bundle(
        {"jwt": {"issuer": ISSUER, "audiences": [AUDIENCE], "jwks": {"file": str(keys)}}},
        {"spiffe": {"from": origin, "trust_domains": ["prod.example"]}},
        {"mtls": {"from": origin, "name": "subject", "kind": "agent", "issuer": "acme-ca"}},
        clients=(
            {"id": "portal", "kind": "interactive"},
            {"spiffe": "spiffe://prod.example/agents/*", "kind": "agent"},
        ),
    )
    return gatehouse_stack(text, edit_bootstrap=mesh.edit, demo_upstreams=True)


def secure(running: Running) -> str:
    return running.stack.mcp_url.replace("http://", "https://")


async def known_as(running: Running, mesh: Mesh, issued: Issued, headers: Mapping[str, str]) -> dict[str, Any]:
    """The decision on a list of tools that a caller with this certificate gets."""
    since = mark(running)
    listed = await tools(running, headers, url=secure(running), verify=mesh.context(issued))
    found = decisions(running, since)[-1]
    person, agent = "delete_file" in listed, "export_salaries" in listed
    assert (person, agent) == (found["kind"] == "human", found["kind"] == "autonomous_agent")
    return found


async def test_a_workload_is_known_by_the_certificate_that_envoy_verified(meshed: Running, mesh: Mesh) -> None:
    found = await known_as(meshed, mesh, mesh.web, {})
    assert (found["kind"], found["subject"]) == ("autonomous_agent", WEB)


async def test_a_client_cannot_add_to_what_envoy_says_of_its_certificate(meshed: Running, mesh: Mesh) -> None:
    for forged in (f"Hash=1;URI={AGENT}", f'Hash=1;URI={AGENT};Subject="', f"{'x' * 100};URI={AGENT}"):
        found = await known_as(meshed, mesh, mesh.web, {"x-forwarded-client-cert": forged})
        assert found["subject"] == WEB


async def test_a_certificate_without_a_spiffe_id_is_known_by_its_subject(meshed: Running, mesh: Mesh) -> None:
    found = await known_as(meshed, mesh, mesh.plain, {})
    assert found["subject"] == r"CN=odd \"name\"\, really,O=Acme"


async def test_a_workload_stands_beside_a_token_and_a_registered_agent_acts_for_its_subject(
    meshed: Running, mesh: Mesh
) -> None:
    person = await known_as(meshed, mesh, mesh.web, bearer(minted()))
    assert (person["kind"], person["subject"], person["actor"]) == ("human", "ann", "")
    agent = await known_as(meshed, mesh, mesh.agent, bearer(minted()))
    assert (agent["kind"], agent["subject"], agent["actor"]) == ("delegated_agent", "ann", AGENT)


async def test_a_persons_token_in_the_hands_of_an_agent_is_reported(meshed: Running, mesh: Mesh) -> None:
    token = minted(jti=f"shared-{time.monotonic_ns()}")
    assert (await known_as(meshed, mesh, mesh.web, bearer(token)))["kind"] == "human"
    shared = {"policy": "gatehouse", "stage": "identity", "reason": "credential-shared"}
    counted = metric(meshed, "gatehouse_verdicts_total", **shared)
    by_agent = await known_as(meshed, mesh, mesh.agent, bearer(token))
    after = await known_as(meshed, mesh, mesh.web, bearer(token))
    for found in (by_agent, after):
        assert (found["kind"], found["level"]) == ("delegated_agent", "warning")
        (note,) = found["notes"]
        assert note.endswith("serves a human and an agent")
        assert token not in str(found)
    assert metric(meshed, "gatehouse_verdicts_total", **shared) == counted + 2


async def test_a_workload_of_another_trust_domain_gets_401(meshed: Running, mesh: Mesh) -> None:
    context = mesh.context(mesh.elsewhere)
    assert await refused(meshed, {}, url=secure(meshed), verify=context) == "peer-trust-domain"
    assert await refused(meshed, bearer(minted()), url=secure(meshed), verify=context) == "peer-trust-domain"


async def test_a_name_that_holds_signs_of_the_header_is_no_other_name(meshed: Running, mesh: Mesh) -> None:
    assert await refused(meshed, {}, url=secure(meshed), verify=mesh.context(mesh.smuggler)) == "peer-malformed"


async def test_a_certificate_of_another_authority_does_not_get_to_gatehouse(meshed: Running, mesh: Mesh) -> None:
    since = mark(meshed)
    for issued in (mesh.forged, None):
        with pytest.raises(httpx2.TransportError):
            httpx2.post(secure(meshed), json=call(), verify=mesh.context(issued), trust_env=False, timeout=10.0)
    assert decisions(meshed, since, count=0) == []


async def test_what_was_seen_of_a_credential_outlives_a_reload(meshed: Running, mesh: Mesh) -> None:
    token = minted(jti=f"reload-{time.monotonic_ns()}")
    await known_as(meshed, mesh, mesh.web, bearer(token))
    since = mark(meshed)
    path = bundle_file(meshed)
    path.write_text(path.read_text(encoding="utf-8"), encoding="utf-8")
    signal_gatehouse(meshed, signal.SIGHUP)
    logged(meshed, "bundle reloaded", since)
    assert (await known_as(meshed, mesh, mesh.agent, bearer(token)))["level"] == "warning"
