"""oauth-resource: an MCP server as a protected resource of OAuth 2.1: metadata, challenges, scopes, audience.

Rules:
- The metadata of RFC 9728 is served here, without a token, on the path of the resource's metadata and on the
  well-known path alone: name the policy on a route for these paths, too.
- A caller that nobody vouches for is answered with 401 and a challenge that leads to the metadata (RFC 9728 section
  5.1, MCP authorization). It has an error in it only where a token was presented (RFC 6750 section 3).
- The token's audience must be the resource, by exact comparison, or one of `audience`; otherwise 401, invalid_token
  (RFC 8707; MCP: a server accepts no token that was not issued for it). An API key or a certificate has none: where
  such callers are to pass, `when: "identity.evidence != 'api_key'"` or the like leaves them out.
- Scopes are needed for all requests (`require`) and for what the entries of `scopes` fit; all that fit add up. Where
  one is missing the answer is 403, insufficient_scope, with every scope that the request needs, also those that the
  caller has, so that a client asks for all of them at once (MCP authorization: step-up).
- What the headers of revision 2026-07-28 say the request is, is decided before the body is asked for; and again when
  the body is there.
- The client's credentials do not reach the upstream (MCP: no token passthrough), unless `token: keep` says so: not in
  `authorization`, in `proxy-authorization`, nor in those that `headers` names: all in which `identity` reads
  credentials belong there. With `inject` the fact `credential` names which one Envoy puts in their place.
- A token in the query is refused, whatever `token` says: 400, invalid_request (MCP authorization: access token usage;
  RFC 6750 section 2.3). It would stand in the upstream's logs.

Not here: verifying tokens (`identity` in the bundle), who may call what otherwise (tool_access.py).
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from typing import Annotated, Any, Literal
from urllib.parse import unquote_plus, urlsplit

from pydantic import AfterValidator, BaseModel, Field, model_validator

from ext_proc.headers import is_token
from ext_proc.identity import Identity
from ext_proc.messages import HeadersOnly, McpCall, RequestHead
from ext_proc.policy import Context, Deny, HeaderMutation, Mutation, Policy, Respond, Verdict
from gatehouse_policies.mcp_headers import Told, told
from gatehouse_policies.name_globs import any_of

WELL_KNOWN = "/.well-known/oauth-protected-resource"  # RFC 9728 section 3

_SCOPE = re.compile(r"[\x21\x23-\x5b\x5d-\x7e]+")  # RFC 6749 section 3.3
_URL = re.compile(r"https?://[\x21\x23-\x5b\x5d-\x7e]+")
_PUBLIC = (("cache-control", "public, max-age=300"), ("access-control-allow-origin", "*"))


def _scope(text: str) -> str:
    if not _SCOPE.fullmatch(text):
        raise ValueError("expected a scope: printable ASCII without blanks, quotes and backslashes")
    return text


def _header(text: str) -> str:
    if not is_token(text):
        raise ValueError("expected a header name in lower case")
    return text


def _url(text: str) -> str:
    if not _URL.fullmatch(text) or not urlsplit(text).hostname or "#" in text:
        raise ValueError("expected an absolute http or https URL without a fragment")
    return text


def _resource(text: str) -> str:
    if "?" in _url(text):
        raise ValueError("expected a URL without a query")
    return text


Scope = Annotated[str, AfterValidator(_scope)]
Url = Annotated[str, AfterValidator(_url)]


class ScopeRule(BaseModel, extra="forbid"):
    """Scopes that some requests need; a rule with `methods` and `tools` is about what fits both."""

    methods: list[str] = Field(default=[], description="JSON-RPC methods or globs.")
    tools: list[str] = Field(default=[], description="Tool names or globs; the rule is about calls of these tools.")
    require: list[Scope] = Field(min_length=1, description="Scopes, all of which a caller needs.")

    @model_validator(mode="after")
    def _names_something(self) -> ScopeRule:
        if not (self.methods or self.tools):
            raise ValueError("an entry needs `methods` or `tools`; what all requests need is `require` of the policy")
        return self


class Inject(BaseModel, extra="forbid"):
    """Which credential goes to the upstream in the place of the client's."""

    inject: str = Field(
        pattern=r"^[a-z0-9][a-z0-9._-]{0,63}$",
        description="A name for Envoy's routes; it leaves as the header `x-gatehouse-credential`.",
    )


class Parameters(BaseModel, extra="forbid"):
    """What the resource is, and what a caller needs."""

    resource: Annotated[str, AfterValidator(_resource)] = Field(
        description="The server's identifier: the URL by which clients know it, such as `https://tools.example/mcp`."
    )
    authorization_servers: list[Url] = Field(min_length=1, description="Issuers whose tokens are taken.")
    require: list[Scope] = Field(default=[], description="Scopes that every request needs.")
    scopes: list[ScopeRule] = Field(default=[], description="Scopes that some requests need, besides.")
    scopes_supported: list[Scope] | None = Field(
        default=None, description="Scopes that the metadata lists; all that are needed anywhere here unless set."
    )
    audience: list[str] = Field(default=[], description="Audiences that a token may have; `resource` alone if empty.")
    token: Literal["strip", "keep"] | Inject = Field(
        default="strip",
        description="What becomes of the client's credentials towards the upstream: `strip` removes `authorization`, "
        "`proxy-authorization` and `headers`, `keep` leaves them, and `{inject: NAME}` removes them and names the "
        "credential that Envoy is to put there.",
    )
    headers: list[Annotated[str, AfterValidator(_header)]] = Field(
        default=["x-api-key", "x-access-token"],
        max_length=32,
        description="More headers that hold credentials, in lower case: all that `identity` reads some from.",
    )
    name: str = Field(default="", max_length=200, description="The metadata's `resource_name`, for people.")
    documentation: Url | None = Field(default=None, description="The metadata's `resource_documentation`.")
    policy: Url | None = Field(default=None, description="The metadata's `resource_policy_uri`.")
    terms: Url | None = Field(default=None, description="The metadata's `resource_tos_uri`.")


class OAuthResource(Policy[Parameters, None]):
    """A protected resource."""

    def __init__(self, name: str, parameters: Parameters) -> None:
        super().__init__(name, parameters)
        place = urlsplit(parameters.resource)
        own = WELL_KNOWN + (place.path if place.path != "/" else "")
        self._paths = frozenset({WELL_KNOWN, own})
        self._metadata_url = f"{place.scheme}://{place.netloc}{own}"
        self._document = json.dumps(_metadata(parameters)).encode()
        self._audiences = frozenset(parameters.audience or [parameters.resource])
        self._rules = [
            (any_of(rule.methods), any_of(rule.tools) if rule.tools else None, tuple(rule.require))
            for rule in parameters.scopes
        ]
        self._change = _change(parameters.token, parameters.headers)

    def on_request_headers(self, ctx: Context[None]) -> Verdict:
        if ctx.request.path in self._paths:
            return self._serve(ctx.request.method)
        if ctx.request.path.startswith(WELL_KNOWN):
            return Respond(404, reason="metadata-unknown")
        if _in_query(ctx.request.query):
            words = "an access token stands in the header `authorization`, not in the query"
            return self._challenge(400, "token-in-query", words, self.parameters.require, "invalid_request")
        denial = self._unauthorized(ctx.identity, presented="authorization" in ctx.request.headers)
        if denial is not None:
            return denial
        return self._insufficient(self._needed_at_once(ctx.request), ctx.identity) or self._change

    def by_headers(self, message: HeadersOnly, ctx: Context[None]) -> bool | Deny:
        return self._insufficient(self._needed(message.method, message.target), ctx.identity) or True

    def on_request(self, message: McpCall, ctx: Context[None]) -> Verdict:
        return self._insufficient(self._needed(message.method, message.target), ctx.identity)

    def challenge(self, error: str) -> str:
        """The challenge where `identity` in the bundle refused the credential: it leads to the metadata, too."""
        denial = self._challenge(401, "token-needed", "a valid access token is needed", self.parameters.require, error)
        return dict(denial.headers)["www-authenticate"]

    def _needed_at_once(self, head: RequestHead) -> Sequence[str]:
        """The scopes that a request needs as far as its headers tell."""
        said = told(head)
        return self._needed(said.method, said.name) if isinstance(said, Told) else self.parameters.require

    def _needed(self, method: str, target: str) -> Sequence[str]:
        """All scopes that such a request needs, each once."""
        found = dict.fromkeys(self.parameters.require)
        for methods, tools, require in self._rules:
            if methods(method) and (tools is None or (method == "tools/call" and tools(target))):
                found |= dict.fromkeys(require)
        return tuple(found)

    def _unauthorized(self, identity: Identity, *, presented: bool) -> Deny | None:
        """Why the caller must bring another token, or one at all."""
        if not identity.verified:
            words = "a valid access token is needed" if presented else "an access token is needed"
            return self._challenge(401, "token-needed", words, self.parameters.require, "invalid_token" * presented)
        if not self._audiences & set(identity.audiences):
            words = "the access token is not for this server"
            return self._challenge(401, "audience-mismatch", words, self.parameters.require, "invalid_token")
        return None

    def _insufficient(self, needed: Sequence[str], identity: Identity) -> Deny | None:
        """Why the caller must ask for more scopes."""
        if set(needed) <= set(identity.scopes):
            return None
        words = "the access token lacks a scope that this needs"
        return self._challenge(403, "scope-missing", words, needed, "insufficient_scope")

    def _challenge(self, status: int, reason: str, words: str, scopes: Sequence[str], error: str) -> Deny:
        parts = {"error": error, "error_description": words if error else "", "scope": " ".join(scopes)}
        parts["resource_metadata"] = self._metadata_url
        challenge = ", ".join(f'{name}="{value}"' for name, value in parts.items() if value)
        return Deny(reason, words, status=status, headers=(("www-authenticate", f"Bearer {challenge}"),))

    def _serve(self, method: str) -> Respond:
        """The metadata (RFC 9728 section 3.2), for clients in browsers, too."""
        if method == "OPTIONS":
            allowed = (("access-control-allow-methods", "GET"), ("access-control-allow-headers", "*"))
            return Respond(204, (*_PUBLIC, *allowed), reason="metadata")
        if method not in ("GET", "HEAD"):
            return Respond(405, (("allow", "GET, HEAD, OPTIONS"),), reason="metadata")
        return Respond(200, (("content-type", "application/json"), *_PUBLIC), self._document, reason="metadata")


def _metadata(parameters: Parameters) -> dict[str, Any]:
    """The document (RFC 9728 section 2); what is not set is left out."""
    everywhere = [*parameters.require, *(scope for rule in parameters.scopes for scope in rule.require)]
    supported = parameters.scopes_supported
    values = {
        "resource": parameters.resource,
        "authorization_servers": parameters.authorization_servers,
        "scopes_supported": list(dict.fromkeys(everywhere)) if supported is None else supported,
        "bearer_methods_supported": ["header"],
        "resource_name": parameters.name,
        "resource_documentation": parameters.documentation,
        "resource_policy_uri": parameters.policy,
        "resource_tos_uri": parameters.terms,
    }
    return {name: value for name, value in values.items() if value}


def _change(token: str | Inject, headers: Sequence[str]) -> Mutation | None:
    if token == "keep":
        return None
    facts = {"credential": token.inject} if isinstance(token, Inject) else {}
    removed = dict.fromkeys(("authorization", "proxy-authorization", *headers))
    return Mutation(headers=HeaderMutation(remove=tuple(removed)), facts=facts)


def _in_query(query: str) -> bool:
    """Whether a query has a token, for any that reads it: `;` separates for some, and names can be escaped."""
    names = (part.partition("=")[0] for part in re.split("[&;]", query))
    return any(unquote_plus(name).strip().lower() == "access_token" for name in names)
