"""An MCP server as a protected resource, through a real Envoy: the client finds its way, the upstream sees no token.

Rules:
- The authorization server is a script: it registers anybody and grants what is asked for. Its tokens are the demo
  issuer's, which Envoy verifies; whose they are to be, and for what, is Gatehouse's to decide.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import httpx
import httpx2
import pytest
import yaml
from mcp import Client
from mcp.client.auth import OAuthClientProvider
from mcp.client.streamable_http import streamable_http_client
from mcp.shared.auth import AuthorizationCodeResult, OAuthClientInformationFull, OAuthClientMetadata, OAuthToken

from ext_proc.demo.processes import free_ports
from ext_proc.demo.stack import Stack
from tests.envoy.exchanges import HEADERS, answer_to, call
from tests.envoy.harness import Running, Stacks
from tests.envoy.observed import decisions, envoy_stat, mark, nothing_left
from tests.envoy.upstream import Connection, Request, Upstream, json_body

RESOURCE = "https://tools.example/mcp"
BUNDLE = """
apiVersion: gatehouse/v1
kind: Bundle
metadata: {name: oauth, revision: "1"}
routes:
  - {name: mcp, match: {path: /mcp}, protocol: mcp, policies: [resource]}
  - {name: metadata, match: {path: /.well-known/oauth-protected-resource}, protocol: mcp, policies: [resource]}
policies:
  - name: resource
    type: oauth-resource
    parameters:
      resource: RESOURCE
      authorization_servers: [ISSUER]
      require: ["mcp"]
      scopes:
        - {tools: ["delete_*"], require: ["tools:write"]}
      token: TOKEN
"""
SECRET = "Bearer upstreams-own-secret"
MODERN = "2026-07-28"


def bundle(resource: str = RESOURCE, issuer: str = "https://id.example", token: str = "strip") -> str:
    return BUNDLE.replace("RESOURCE", resource).replace("ISSUER", issuer).replace("TOKEN", token)


def forwarding(bootstrap: str) -> str:
    """Envoy verifies tokens and leaves them where they are, whoever they are for."""
    config = yaml.safe_load(bootstrap)
    (manager,) = config["static_resources"]["listeners"][0]["filter_chains"][0]["filters"]
    provider = manager["typed_config"]["http_filters"][0]["typed_config"]["providers"]["demo"]
    provider["forward"] = True
    del provider["audiences"]
    return str(yaml.safe_dump(config, sort_keys=False))


INJECTOR = """
- name: envoy.filters.http.credential_injector
  typed_config:
    "@type": type.googleapis.com/envoy.extensions.filters.http.credential_injector.v3.CredentialInjector
    overwrite: true
    credential:
      name: envoy.http.injected_credentials.generic
      typed_config:
        "@type": type.googleapis.com/envoy.extensions.http.injected_credentials.generic.v3.Generic
        credential: {name: github}
- name: envoy.filters.http.upstream_codec
  typed_config:
    "@type": type.googleapis.com/envoy.extensions.filters.http.upstream_codec.v3.UpstreamCodec
"""
PROTOCOL = "envoy.extensions.upstreams.http.v3.HttpProtocolOptions"


def injecting(bootstrap: str) -> str:
    """The same, and a cluster of its own for requests that Gatehouse names the credential `github` for."""
    config = yaml.safe_load(forwarding(bootstrap))
    resources = config["static_resources"]
    (plain,) = (cluster for cluster in resources["clusters"] if cluster["name"] == "mcp")
    options = {
        "@type": f"type.googleapis.com/{PROTOCOL}",
        "explicit_http_config": {"http_protocol_options": {}},
        "http_filters": yaml.safe_load(INJECTOR),
    }
    resources["clusters"].append(
        {**plain, "name": "mcp-github", "typed_extension_protocol_options": {PROTOCOL: options}}
    )
    resources["secrets"] = [{"name": "github", "generic_secret": {"secret": {"inline_string": SECRET}}}]
    (manager,) = resources["listeners"][0]["filter_chains"][0]["filters"]
    routes = manager["typed_config"]["route_config"]["virtual_hosts"][0]["routes"]
    named = [{"name": "x-gatehouse-credential", "string_match": {"exact": "github"}}]
    routes.insert(
        0,
        {
            "name": "mcp-github",
            "match": {"path_separated_prefix": "/mcp", "headers": named},
            "route": {"cluster": "mcp-github", "timeout": "0s"},
            "request_headers_to_remove": ["x-gatehouse-credential"],
        },
    )
    return str(yaml.safe_dump(config, sort_keys=False))


@pytest.fixture
def scripted(gatehouse_stack: Stacks) -> Running:
    running = gatehouse_stack(bundle(), edit_bootstrap=forwarding)
    running.upstream.answer_with(json_body(answer_to(call())))
    return running


def posted(running: Running, sent: dict[str, Any], token: str = "", **headers: str) -> httpx.Response:
    lines = {**HEADERS, **{name.replace("_", "-"): value for name, value in headers.items()}}
    lines |= {"authorization": f"Bearer {token}"} if token else {}
    return httpx.post(running.stack.mcp_url, json=sent, headers=lines)


def token(running: Running, scope: str, audience: str = RESOURCE) -> str:
    return running.stack.token("ann", {"aud": audience, "scope": scope})


def test_a_raw_client_is_led_from_401_to_403_to_200(scripted: Running) -> None:
    first = posted(scripted, call("search"))
    leads_to = "https://tools.example/.well-known/oauth-protected-resource/mcp"
    assert (first.status_code, first.headers["content-type"]) == (401, "application/json")
    assert first.headers["www-authenticate"] == f'Bearer scope="mcp", resource_metadata="{leads_to}"'
    assert first.json()["error"]["data"]["reason"] == "token-needed"
    metadata = httpx.get(scripted.stack.url + urlsplit(leads_to).path)
    assert (metadata.status_code, metadata.headers["content-type"]) == (200, "application/json")
    assert metadata.json()["resource"] == RESOURCE
    assert metadata.json()["scopes_supported"] == ["mcp", "tools:write"]
    assert posted(scripted, call("search"), token(scripted, "mcp")).status_code == 200
    more = posted(scripted, call("delete_file"), token(scripted, "mcp"))
    assert (more.status_code, more.json()["id"]) == (403, 1)
    assert 'error="insufficient_scope"' in more.headers["www-authenticate"]
    assert 'scope="mcp tools:write"' in more.headers["www-authenticate"]
    assert posted(scripted, call("delete_file"), token(scripted, "tools:write mcp")).status_code == 200
    assert [request.header("authorization") for request in scripted.upstream.requests] == [None, None]


def test_a_token_for_another_server_is_refused(scripted: Running) -> None:
    answer = posted(scripted, call("search"), token(scripted, "mcp", "https://other.example/mcp"))
    assert answer.status_code == 401
    assert 'error="invalid_token"' in answer.headers["www-authenticate"]
    assert scripted.upstream.requests == []


def test_what_the_headers_say_is_refused_without_the_body(scripted: Running) -> None:
    ann = token(scripted, "mcp")
    nothing_left(scripted)
    before = envoy_stat(scripted, "http.clients.ext_proc.stream_msgs_sent")
    since = mark(scripted)
    named = {"mcp_protocol_version": MODERN, "mcp_method": "tools/call", "mcp_name": "delete_file"}
    assert posted(scripted, call("delete_file"), ann, **named).status_code == 403
    assert [decision["outcome"] for decision in decisions(scripted, since)] == ["refused"]
    assert envoy_stat(scripted, "http.clients.ext_proc.stream_msgs_sent") - before == 1, "its headers, and no body"


def test_a_token_that_is_kept_goes_on(gatehouse_stack: Stacks) -> None:
    running = gatehouse_stack(bundle(token="keep"), edit_bootstrap=forwarding)
    running.upstream.answer_with(json_body(answer_to(call())))
    sent = token(running, "mcp")
    assert posted(running, call("search"), sent).status_code == 200
    assert [request.header("authorization") for request in running.upstream.requests] == [f"Bearer {sent}"]


def test_envoys_credential_injector_puts_the_upstreams_own_in_its_place(gatehouse_stack: Stacks) -> None:
    running = gatehouse_stack(bundle(token="{inject: github}"), edit_bootstrap=injecting)
    running.upstream.answer_with(json_body(answer_to(call())))
    assert posted(running, call("search"), token(running, "mcp")).status_code == 200
    (request,) = running.upstream.requests
    assert [value for name, value in request.headers if name == "authorization"] == [SECRET]
    assert request.header("x-gatehouse-credential") is None
    forged = posted(running, call("search"), x_gatehouse_credential="github")
    assert forged.status_code == 401
    assert len(running.upstream.requests) == 1


class Grants:
    """A client's end of the flow, and what it was granted."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        self._state = ""
        self._tokens: OAuthToken | None = None
        self._client: OAuthClientInformationFull | None = None

    async def authorize(self, url: str) -> None:
        query = parse_qs(urlsplit(url).query)
        self.asked.append(query["scope"][0])
        self._state = query["state"][0]

    async def come_back(self) -> AuthorizationCodeResult:
        # The code is what is granted: the script knows no users.
        return AuthorizationCodeResult(code=self.asked[-1], state=self._state)

    async def get_tokens(self) -> OAuthToken | None:
        return self._tokens

    async def set_tokens(self, tokens: OAuthToken) -> None:
        self._tokens = tokens

    async def get_client_info(self) -> OAuthClientInformationFull | None:
        return self._client

    async def set_client_info(self, client_info: OAuthClientInformationFull) -> None:
        self._client = client_info


@pytest.fixture(scope="module")
def protected(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Stack, Upstream]]:
    """The demo's MCP server as a resource under the address that its client uses, and the authorization server."""
    (port,) = free_ports(1)
    folder: Path = tmp_path_factory.mktemp("oauth")
    with Upstream() as server:
        issuer = f"http://{server.address}"
        file = folder / "bundle.yaml"
        file.write_text(bundle(f"http://127.0.0.1:{port}/mcp", issuer), encoding="utf-8")
        with Stack(file, port=port, edit_bootstrap=forwarding) as stack:
            server.answer_with(authorization_server(issuer, stack))
            yield stack, server


def authorization_server(issuer: str, stack: Stack) -> Any:
    """The script: metadata (RFC 8414), registration (RFC 7591), tokens (RFC 6749)."""
    metadata = {
        "issuer": issuer,
        "authorization_endpoint": f"{issuer}/authorize",
        "token_endpoint": f"{issuer}/token",
        "registration_endpoint": f"{issuer}/register",
        "response_types_supported": ["code"],
        "code_challenge_methods_supported": ["S256"],
        "token_endpoint_auth_methods_supported": ["none"],
    }

    async def script(request: Request, connection: Connection) -> None:
        answer: dict[str, Any] = metadata
        if request.path == "/register":
            answer = {**json.loads(request.body), "client_id": "the-client"}
        elif request.path == "/token":
            form = parse_qs(request.body.decode())
            claims = {"aud": form["resource"][0], "scope": form["code"][0]}
            answer = {"access_token": stack.token("ann", claims), "token_type": "Bearer", "scope": form["code"][0]}
        await json_body(answer)(request, connection)

    return script


@pytest.mark.parametrize("wire", ["legacy", MODERN])
async def test_the_official_client_gets_a_token_and_steps_up(protected: tuple[Stack, Upstream], wire: str) -> None:
    stack, _ = protected
    grants = Grants()
    about = OAuthClientMetadata.model_validate(
        {"redirect_uris": ["http://127.0.0.1/back"], "token_endpoint_auth_method": "none"}
    )
    auth = OAuthClientProvider(stack.mcp_url, about, grants, grants.authorize, grants.come_back)
    async with (
        httpx2.AsyncClient(auth=auth, timeout=10.0, trust_env=False) as http,
        Client(streamable_http_client(stack.mcp_url, http_client=http), mode=wire) as client,
    ):
        assert "queue" in str((await client.call_tool("docs.read", {"name": "runbook"})).content)
        assert grants.asked == ["mcp"]
        assert "deleted" in str((await client.call_tool("delete_file", {"path": "/x"})).content)
        assert [set(scope.split()) for scope in grants.asked] == [{"mcp"}, {"mcp", "tools:write"}]
