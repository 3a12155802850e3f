"""The format of a bundle, as pydantic models: what an operator may write, and the reference's words for it.

Rules:
- An unknown key is an error everywhere.
- A field's description is its entry in docs/policies.md.
- A default that contradicts what is written gives way: `limits.event` to a smaller `limits.response_body`. (Two written
  values that contradict each other are an error, which checks.py finds.)

Not here: a policy's own parameters (its `Parameters` model), references between the parts (checks.py).
"""

from __future__ import annotations

import re
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, WithJsonSchema, model_validator

from ext_proc.bundle.identity_models import ClientPart, HeaderName, IdentityPart, MetadataIdentity
from ext_proc.bundle.page_models import PagesPart
from ext_proc.bundle.problems import near
from ext_proc.bundle.protocols import PROTOCOLS
from ext_proc.bundle.store_models import StorePart
from ext_proc.expressions import Expression
from ext_proc.limits import DEFAULTS, Limits
from ext_proc.units import Duration, Size

_SLUG = re.compile(r"[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?", re.ASCII)
_REVISION = re.compile(r"[A-Za-z0-9][A-Za-z0-9._+:-]{0,63}", re.ASCII)
_HOST = re.compile(r"\*|(?:\*\.)?[a-z0-9_-]{1,63}(?:\.[a-z0-9_-]{1,63})*", re.ASCII)
_METHOD = re.compile(r"[A-Z]{1,32}", re.ASCII)
_PREFIX = re.compile(r"x-[a-z0-9-]{0,60}[a-z0-9]-", re.ASCII)
# Envoy ignores changes to the first by default; the others are written by proxies before us, and copies are removed.
_FOREIGN_PREFIXES = ("x-envoy-", "x-forwarded-")


def _slug(text: str) -> str:
    if not _SLUG.fullmatch(text):
        raise ValueError("expected a name of 1 to 63 lower-case letters, digits and dashes, such as who-may-call")
    return text


def _policy_name(text: str) -> str:
    if text == "gatehouse":
        raise ValueError("expected another name: the trail calls the engine's own denials gatehouse")
    return _slug(text)


def _revision(text: str) -> str:
    if not _REVISION.fullmatch(text):
        raise ValueError("expected 1 to 64 letters, digits and . _ + : -")
    return text


def _path(text: str) -> str:
    if not text.startswith("/"):
        raise ValueError("expected a path that starts with /")
    if "?" in text or "#" in text:
        raise ValueError("expected a path without a query")
    return text


def _host(text: str) -> str:
    if not _HOST.fullmatch(text):
        raise ValueError("expected a lower-case host name without a port, such as mcp.example.com or *.example.com")
    return text


def _method(text: str) -> str:
    if not _METHOD.fullmatch(text):
        raise ValueError("expected an HTTP method in capitals, such as GET")
    return text


def _header_prefix(text: str) -> str:
    if not _PREFIX.fullmatch(text) or text.startswith(_FOREIGN_PREFIXES):
        raise ValueError(
            "expected a prefix such as x-gatehouse-: it starts with x-, ends with a dash, and is neither x-envoy- nor "
            "x-forwarded-"
        )
    return text


def _protocol(text: str) -> str:
    if text not in PROTOCOLS:
        raise ValueError(f"unknown protocol; known are {', '.join(sorted(PROTOCOLS))}{near(text, PROTOCOLS)}")
    return text


Slug = Annotated[str, AfterValidator(_slug), WithJsonSchema({"type": "string", "format": "name"})]
PolicyName = Annotated[str, AfterValidator(_policy_name), WithJsonSchema({"type": "string", "format": "name"})]
Revision = Annotated[str, AfterValidator(_revision)]
HttpPath = Annotated[str, AfterValidator(_path), WithJsonSchema({"type": "string", "format": "path"})]
Host = Annotated[str, AfterValidator(_host), WithJsonSchema({"type": "string", "format": "host"})]
Method = Annotated[str, AfterValidator(_method), WithJsonSchema({"type": "string", "format": "method"})]
HeaderPrefix = Annotated[str, AfterValidator(_header_prefix)]
ProtocolName = Annotated[str, AfterValidator(_protocol), WithJsonSchema({"enum": sorted(PROTOCOLS)})]


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Metadata(_Part):
    """The bundle's own name and revision."""

    name: Slug = Field(description="The bundle's name, for metrics and the admin endpoint.")
    revision: Revision | None = Field(
        default=None,
        description="Written into every decision; if left out, the first 12 hex digits of the SHA-256 of the text.",
    )


class LimitsPart(_Part):
    """What is taken in at most. A size is bytes (`65536`) or has a binary unit (`64KiB`); a duration has its unit."""

    request_body: Size = Field(
        default=DEFAULTS.request_body,
        description="The largest request body; a larger one is answered with 413. Where Envoy buffers the body, "
        "`envoy_buffer` bounds it too.",
    )
    response_body: Size = Field(
        default=DEFAULTS.response_body, description="The largest answer that is held whole to be decided."
    )
    event: Size = Field(
        default=DEFAULTS.event,
        description="The largest server-sent event; `response_body` where that is smaller.",
    )
    envoy_buffer: Size = Field(
        default=DEFAULTS.envoy_buffer,
        description="What Envoy buffers for the filter: its `per_connection_buffer_limit_bytes`; `request_body` where "
        "that is smaller.",
    )
    hold_back: Size = Field(
        default=DEFAULTS.hold_back,
        description="The most text held back in a stream; `event` where that is smaller.",
    )
    call: Size = Field(
        default=DEFAULTS.call,
        description="The most of a streamed answer that waits for the arguments of a call that a model proposes, where "
        "a policy decides by them. Past it they count as unknown.",
    )
    decision: Duration = Field(
        default=DEFAULTS.decision,
        description="The time for all hooks of one message. Envoy gives up after its `message_timeout` (200 ms unless "
        "set), so stay below it.",
    )
    hold: Duration = Field(
        default=DEFAULTS.hold,
        description="The longest that headers, of a request or an answer, wait for their body to be decided.",
    )
    json_depth: int = Field(
        default=DEFAULTS.json_depth, ge=1, le=256, description="The deepest nesting of arrays and objects."
    )
    json_values: int = Field(
        default=DEFAULTS.json_values,
        ge=1000,
        le=100_000_000,
        description="The most values, keys included, in one JSON document: each takes memory, however short it is.",
    )
    name: int = Field(
        default=DEFAULTS.name,
        ge=64,
        le=1_000_000,
        description="The longest name of a method, tool, prompt, resource (its URI) or model, in characters.",
    )
    batch: int = Field(default=DEFAULTS.batch, ge=1, le=1024, description="The most messages in one JSON-RPC batch.")
    expansion: int = Field(
        default=DEFAULTS.expansion,
        ge=2,
        le=10_000,
        description="The most bytes that a compressed body may make of each of its own; a bomb makes more.",
    )

    def resolved(self) -> Limits:
        """The limits, with defaults lowered to what is written."""
        values = {name: getattr(self, name) for name in type(self).model_fields}
        for smaller, larger in WITHIN:
            values[smaller] = min(values[smaller], values[larger])
        return Limits(**values)


# Each limit with one that it cannot exceed; in this order, so that what was lowered lowers the next.
WITHIN = (("event", "response_body"), ("envoy_buffer", "request_body"), ("hold_back", "event"))


class SecretSource(_Part):
    """Where one secret's value is; one of the two."""

    file: Annotated[str, Field(min_length=1)] | None = Field(
        default=None,
        description="A file of at most 64 KiB; one newline at its end is not part of the value. A relative path starts "
        "at the bundle's folder.",
    )
    env: Annotated[str, Field(min_length=1)] | None = Field(
        default=None, description="An environment variable of the service."
    )

    @model_validator(mode="after")
    def _one(self) -> SecretSource:
        if (self.file is None) == (self.env is None):
            raise ValueError("expected either file or env")
        return self


class MatchPart(_Part):
    """Which requests a route is for; at least one key, and every key that is given must fit."""

    path: HttpPath | None = Field(
        default=None,
        description="A prefix that ends at a segment: `/mcp` is for `/mcp` and `/mcp/x`, not for `/mcpx`; `/` is for "
        "all.",
    )
    exact: HttpPath | None = Field(default=None, description="The whole path; in place of `path`.")
    hosts: tuple[Host, ...] = Field(
        default=(), description="Host names without a port; `*.example.com` for those below."
    )
    headers: dict[HeaderName, str] = Field(default={}, description="Request headers by their exact value.")

    @model_validator(mode="after")
    def _something(self) -> MatchPart:
        if self.path is not None and self.exact is not None:
            raise ValueError("expected either path or exact")
        if not (self.path or self.exact or self.hosts or self.headers):
            raise ValueError("expected path, exact, hosts or headers; path: / is for everything")
        return self


class OpaquePart(_Part):
    """Traffic of a governed route that may pass unread; at least one key, and every key that is given must fit."""

    method: Method | None = Field(default=None, description="The HTTP method.")
    path: HttpPath | None = Field(default=None, description="A glob over the path.")
    content_type: str | None = Field(default=None, min_length=1, description="A glob over the media type.")

    @model_validator(mode="after")
    def _something(self) -> OpaquePart:
        if self.method is None and self.path is None and self.content_type is None:
            raise ValueError("expected method, path or content_type")
        return self


class RoutePart(_Part):
    """One governed route. The first that matches a request wins."""

    name: Slug = Field(description="The route's name, in decisions and metrics.")
    match: MatchPart = Field(description="Which requests it is for.")
    protocol: ProtocolName = Field(description="What its payloads are; see [which APIs](../CHANGELOG.md#known-limits).")
    server: Slug | None = Field(
        default=None,
        description="The upstream's name, for conditions (`server`) and for what policies learn of it; the route's "
        "name unless set. Routes to the same server share what was learned.",
    )
    policies: tuple[str, ...] = Field(
        default=(), description="Names of policies. Requests go through them in this order, answers in reverse."
    )
    allow_opaque: tuple[OpaquePart, ...] = Field(
        default=(),
        description="What may pass although it is no message of the protocol; the rest is denied where a policy "
        "enforces.",
    )
    headers: Literal["untrusted", "trusted"] = Field(
        default="untrusted",
        description="`trusted`: the upstream refuses requests whose headers contradict the body, as MCP 2026-07-28 has "
        "it; where the headers decide for every policy, the body of a request is not asked for.",
    )
    outcome: Literal["body", "policies"] = Field(
        default="body",
        description="`body` reads how an exchange ended from every answer; `policies` only from answers that a policy "
        "asks for, and from the status of all others.",
    )


class PolicyPart(_Part):
    """One policy, set up."""

    name: PolicyName = Field(description="Its name here; decisions and metrics carry it.")
    type: str = Field(
        min_length=1,
        description="A registered type (see below), or `module:Class` of a policy of your own.",
    )
    mode: Literal["enforce", "shadow", "off"] = Field(
        default="enforce", description="`shadow` decides and records, and changes nothing."
    )
    on_error: Literal["deny", "allow"] = Field(
        default="deny", description="What follows when the policy fails or is too late."
    )
    timeout: Duration = Field(default=0.050, description="For one call of a hook that does I/O (`async def`).")
    when: Expression | None = Field(
        default=None,
        description="The policy has a say only where this CEL expression over `identity`, `request`, `route`, "
        "`server`, `message` and `args` is true.",
    )
    parameters: dict[str, Any] = Field(default={}, description="The policy's own; see its type.")


class HeadersPart(_Part):
    """Request headers that carry facts for Envoy's routes."""

    prefix: HeaderPrefix = Field(
        default="x-gatehouse-",
        description="What their names start with. A client's headers with this prefix are always removed.",
    )


class Bundle(_Part):
    """One file: which requests are governed, and how."""

    apiVersion: Literal["gatehouse/v1"] = Field(description="The version of this format.")
    kind: Literal["Bundle"] = Field(description="What this file is.")
    metadata: Metadata = Field(description="The bundle's own name and revision.")
    limits: LimitsPart = Field(default=LimitsPart(), description="What is taken in at most.")
    secrets: dict[Slug, SecretSource] = Field(
        default={},
        description="Secrets by key id: where each is, never its value. A policy's parameter names the key id.",
    )
    store: StorePart = Field(
        default=StorePart(), description="Where policies keep what outlives an exchange: counters, leases, ledgers."
    )
    identity: tuple[IdentityPart, ...] = Field(
        default=(IdentityPart(metadata=MetadataIdentity()),),
        description="How callers are known, tried in order: the first that finds a credential of its own has the word, "
        "and one that does not hold is answered with 401.",
    )
    clients: tuple[ClientPart, ...] = Field(
        default=(), description="What is known of clients, by which people and agents are told apart; tried in order."
    )
    pages: PagesPart | None = Field(default=None, description="Where people find the pages of policies.")
    unmatched: Literal["pass", "deny"] = Field(
        default="pass", description="What happens to a request that no route matches: it passes untouched, or gets 404."
    )
    headers: HeadersPart = Field(
        default=HeadersPart(), description="Request headers that carry facts for Envoy's routes."
    )
    routes: tuple[RoutePart, ...] = Field(default=(), description="Tried in order.")
    policies: tuple[PolicyPart, ...] = Field(default=(), description="The policies that routes name.")
