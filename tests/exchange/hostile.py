"""JSON-RPC as nobody should write it, and the policies that it must not pass: for Hypothesis, with and without Envoy.

Rules:
- Most of an input is MCP as it should be: what is wrong from the first byte on is refused by the first reader.
- What may go on is said here a second time, and in other words than the policies have.

Not here: what is asserted (test_hostile.py, tests/envoy/test_bad_input.py).
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import msgspec
from hypothesis import strategies as st

from ext_proc.engine.pipeline import Binding
from ext_proc.engine.route import Rulebook
from ext_proc.limits import Limits
from ext_proc.policy import Policy
from ext_proc.testing import rulebook_of
from gatehouse_policies.header_integrity import HeaderIntegrity
from gatehouse_policies.header_integrity import Parameters as Headers
from gatehouse_policies.loop_guard import LoopGuard
from gatehouse_policies.loop_guard import Parameters as Loops
from gatehouse_policies.oauth_resource import OAuthResource
from gatehouse_policies.oauth_resource import Parameters as Resource
from gatehouse_policies.session_binding import Parameters as Sessions
from gatehouse_policies.session_binding import SessionBinding
from gatehouse_policies.tool_access import Parameters as Access
from gatehouse_policies.tool_access import ToolAccess
from gatehouse_policies.tool_arguments import Parameters as Arguments
from gatehouse_policies.tool_arguments import ToolArguments

URL = "https://tools.example/mcp"
CALLER = {"iss": "https://id.example", "sub": "ann", "aud": URL, "scope": "mcp"}
ALLOWED_METHODS = frozenset({"initialize", "ping", "tools/list"})
RULES = [
    {"methods": ["initialize", "ping", "*/list", "notifications/*"], "allow": True},
    {"tools": ["search"], "allow": True},
]
SCHEMA = {
    "type": "object",
    "properties": {"query": {"type": "string", "maxLength": 8}},
    "required": ["query"],
    "additionalProperties": False,
}
LISTED = {
    "jsonrpc": "2.0",
    "id": 1,
    "result": {"tools": [{"name": "search", "inputSchema": SCHEMA}, {"name": "delete_file", "inputSchema": {}}]},
}


def rulebook() -> Rulebook:
    """One policy of each type, as a careful operator sets them, with all the time that a busy machine needs."""
    policies: list[Policy[Any, Any]] = [
        OAuthResource(
            "resource",
            Resource.model_validate({"resource": URL, "authorization_servers": [CALLER["iss"]], "require": ["mcp"]}),
        ),
        HeaderIntegrity("headers", Headers()),
        SessionBinding("sessions", Sessions()),
        ToolAccess("callers", Access.model_validate({"rules": RULES})),
        ToolArguments("shapes", Arguments()),
        LoopGuard("loops", Loops.model_validate({"calls_per_session": 1_000_000, "identical_calls": 1_000_000})),
    ]
    return rulebook_of(*(Binding(policy, timeout=600.0) for policy in policies), limits=Limits(decision=600.0))


def may_go_on(body: bytes) -> bool:
    """Whether an upstream may see this: read strictly, it is only what `RULES` and `SCHEMA` let pass."""
    value = msgspec.json.decode(body)
    return all(_is_allowed(message) for message in (value if isinstance(value, list) else [value]))


def _is_allowed(message: Mapping[str, Any]) -> bool:
    method = message.get("method")
    if method is None:
        return "result" in message or "error" in message
    if method == "tools/call":
        params = message["params"]
        arguments = params.get("arguments") or {}
        query = arguments.get("query")
        fits = arguments.keys() == {"query"} and isinstance(query, str) and len(query) <= 8
        return params["name"] == "search" and fits and "requestState" not in params
    return method in ALLOWED_METHODS or method.startswith("notifications/") or method.endswith("/list")


def is_json_rpc(body: bytes) -> bool:
    """Whether a client of JSON-RPC can read it: one answer, or some."""
    try:
        value = msgspec.json.decode(body)
    except msgspec.DecodeError:
        return False
    answers = value if isinstance(value, list) else [value]
    return bool(answers) and all(
        one["jsonrpc"] == "2.0" and ("error" in one) + ("result" in one) == 1 and "id" in one for one in answers
    )


_WORDS = [
    *("jsonrpc", "2.0", "id", "method", "params", "name", "arguments", "_meta", "uri", "taskId", "requestState"),
    *("tools/call", "tools/list", "Tools/Call", "resources/read", "tasks/get", "tasks/list", "subscriptions/listen"),
    *("search", "delete_file", "Search", "query", "Query", "notifications/x", "ref", "notifications", "taskIds", ""),
    *("io.modelcontextprotocol/protocolVersion", "2026-07-28", "file:///srv/../x", "a\0b", "\u202e", "x" * 300),
]
_scalars = st.one_of(
    st.sampled_from(_WORDS),
    st.none(),
    st.booleans(),
    st.integers(-(2**70), 2**70),
    st.floats(allow_nan=False, allow_infinity=False),
    st.text(max_size=12),
)
values = st.recursive(
    _scalars,
    lambda inner: st.one_of(
        st.lists(inner, max_size=4), st.dictionaries(st.one_of(st.sampled_from(_WORDS), st.text(max_size=4)), inner)
    ),
    max_leaves=12,
)


def _call(name: str, arguments: Any) -> dict[str, Any]:
    return {"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": {"name": name, "arguments": arguments}}


_good: list[dict[str, Any]] = [
    _call("search", {"query": "x"}),
    _call("delete_file", {"path": "/x"}),
    {"jsonrpc": "2.0", "id": 1, "method": "tools/list"},
    {"jsonrpc": "2.0", "id": "a", "method": "initialize", "params": {"protocolVersion": "2025-11-25"}},
    {"jsonrpc": "2.0", "id": 1, "method": "resources/read", "params": {"uri": "file:///x"}},
    {"jsonrpc": "2.0", "id": 1, "method": "tasks/get", "params": {"taskId": "t"}},
    {"jsonrpc": "2.0", "method": "notifications/cancelled", "params": {"requestId": 1}},
    {"jsonrpc": "2.0", "id": 1, "result": {"action": "accept"}},
]


@st.composite
def _spoilt(draw: st.DrawFn) -> Any:
    """A good message in which some places hold something else, or are gone, or new."""
    message: Any = json.loads(json.dumps(draw(st.sampled_from(_good))))
    for _ in range(draw(st.integers(0, 3))):
        at: Any = message
        while isinstance(at, dict) and at and draw(st.booleans()):
            inner = at[draw(st.sampled_from(sorted(at)))]
            if not isinstance(inner, dict):
                break
            at = inner
        name = draw(st.sampled_from([*sorted(at), *_WORDS])) if isinstance(at, dict) else ""
        if isinstance(at, dict) and draw(st.integers(0, 3)):
            at[name] = draw(values)
        elif isinstance(at, dict):
            at.pop(name, None)
    return message


@st.composite
def bodies(draw: st.DrawFn, batches: bool = True) -> bytes:
    """The bytes of a body: mostly JSON, with keys twice, in other cases and escaped; sometimes cut or changed."""
    kind = draw(st.integers(0, 9).filter(lambda kind: batches or kind != 2))
    if kind == 0:
        return draw(st.binary(max_size=60))
    if kind == 1:
        return json.dumps(draw(values)).encode()
    value = draw(st.lists(_spoilt(), max_size=4)) if kind == 2 else draw(_spoilt())
    text = json.dumps(value, ensure_ascii=draw(st.booleans()))
    for word in draw(st.lists(st.sampled_from(["name", "method", "id", "query", "arguments"]), max_size=2)):
        change = draw(st.sampled_from(['"{0}": 1, "{0}":', '"{1}":', '"{2}":', '"{2}": "search", "{0}":']))
        escaped = f"\\u{ord(word[0]):04x}{word[1:]}"
        text = text.replace(f'"{word}":', change.format(word, escaped, word.upper()), 1)
    body = text.encode("utf-8", "surrogatepass")
    if kind == 3:
        at = draw(st.integers(0, len(body)))
        body = body[:at] + draw(st.binary(max_size=3)) + body[at + draw(st.integers(0, 3)) :]
    return body if kind != 4 else body[: draw(st.integers(0, len(body)))]


def headers() -> st.SearchStrategy[dict[str, str]]:
    """Headers of MCP that may be of any revision, and lie."""
    told = {
        "mcp-protocol-version": st.sampled_from(["2025-03-26", "2025-11-25", "2026-07-28", "2026-07-28, 1", "x"]),
        "mcp-method": st.sampled_from(["tools/call", "tools/list", "=?base64?eA==?="]),
        "mcp-name": st.sampled_from(["search", "delete_file", "=?base64?c2VhcmNo?=", "=?base64?"]),
        "mcp-session-id": st.sampled_from(["of-nobody", "a b"]),
    }
    return st.fixed_dictionaries({}, optional=told)


# Keywords with values of their own kind and of any other; references that go round, up and away.
_REFS = ["#", "#/$defs/a", "#/properties/query", "http://127.0.0.1:1/x", "#nowhere", "%", "#/$defs/%00"]
_schema_values = st.one_of(_scalars, st.sampled_from(_REFS), st.sampled_from(["^(a+)+$", "(?=x)", "[", "\\p{L}" * 50]))
_KEYWORDS = [
    *("type", "properties", "required", "additionalProperties", "items", "enum", "const", "pattern", "maxLength"),
    *("$ref", "$dynamicRef", "$defs", "allOf", "anyOf", "oneOf", "not", "if", "then", "else", "$schema", "$id"),
    *("patternProperties", "propertyNames", "dependentSchemas", "unevaluatedProperties", "minItems", "multipleOf"),
    *("uniqueItems", "contains", "$anchor", "$dynamicAnchor", "prefixItems", "minimum", "x-mcp-header", "a", "query"),
]
schemas = st.recursive(
    _schema_values,
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(st.sampled_from(_KEYWORDS), inner)),
    max_leaves=25,
)
