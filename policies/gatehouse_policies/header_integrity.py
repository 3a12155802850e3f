"""header-integrity: the headers of MCP 2026-07-28 say what the body says, so that either may be decided by.

Rules:
- `MCP-Protocol-Version` and `Mcp-Method` stand once in every POST of that revision, `Mcp-Name` once where the method is
  aimed at a name, a URI or a task. What the headers alone show to be wrong is answered before the body is asked for.
- `MCP-Protocol-Version` repeats the version in `params._meta`, `Mcp-Method` the method, `Mcp-Name` what it is aimed at.
  A body that names its version in `_meta` is of a stateless revision, and needs the header, too.
- `Mcp-Param-*` repeats the arguments that the tool's listed schema marks with `x-mcp-header`: as text, or an integer as
  a number; an argument that is null or absent has no header. Headers that the schema does not know pass, and so do all
  of them while the tool was not listed, or where its wishes are invalid.
- No header of these stands twice: two readers would take two requests from it.
- Requests of earlier revisions need none of this. With `legacy: check` what they carry must fit all the same.
- It is answered with 400 and -32020 (MCP 2026-07-28, transports: server validation); the answer quotes nothing.
- Requests are compared as the policies before it left them: it stands before those that rewrite names or arguments.
- For clients that do not keep to this: `mode: shadow` records and lets pass.

Not here: headers that repeat what a policy rewrote (the codec's `mirrored_headers`).
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any, Literal

from pydantic import BaseModel, Field

from ext_proc.messages import HeadersOnly, McpCall, McpMessage, RequestHead, ToolCall, ToolList
from ext_proc.messages.mcp_headers import NAMED_BY
from ext_proc.policy import Context, Deny, Policy, Verdict
from gatehouse_policies.mcp_headers import (
    METHOD,
    NAME,
    VERSION,
    HeaderFault,
    method_of,
    speaks_modern,
    told,
    value_of,
)
from gatehouse_policies.tool_definitions import KnownTools, Learning, Mirrored, ToolDefinition

HEADER_MISMATCH = -32020

_PARAM = "Mcp-Param-"
_VERSION_IN_META = "io.modelcontextprotocol/protocolVersion"
_DECIMAL = re.compile(r"-?[0-9]+(\.0+)?", re.ASCII)
_ABSENT = object()
_ALL = "Mcp-Param-*"  # what the caller is told, for the rest of such a header's name is its own


class Parameters(BaseModel, extra="forbid"):
    """What is compared."""

    legacy: Literal["check", "ignore"] = Field(
        default="check",
        description="Requests of revisions before 2026-07-28 that carry these headers: `check` denies those that the "
        "body contradicts, for routes and caches may go by them; `ignore` does not look.",
    )
    arguments: Literal["check", "ignore"] = Field(
        default="check", description="Whether `Mcp-Param-*` is compared with the arguments."
    )
    learning: Learning = Field(default=Learning(), description="What is kept of servers' lists of tools.")


class HeaderIntegrity(Policy[Parameters, None]):
    """The headers say what the body says."""

    def __new__(cls, name: str, parameters: Parameters) -> HeaderIntegrity:
        # Schemas are looked up in the store; where arguments are not compared, nothing waits for it.
        kind: type[HeaderIntegrity] = (
            _WithArguments if parameters.arguments == "check" and cls is HeaderIntegrity else cls
        )
        return super().__new__(kind)

    def on_request_headers(self, ctx: Context[None]) -> Verdict:
        head = ctx.request
        if head.method != "POST" or not self._looks_at(head):
            return None
        for found in (told(head), method_of(head), value_of(head, NAME)):
            if isinstance(found, HeaderFault):
                return _denied(found.reason, found.message)
        seen = [name for name, _ in head.headers if name.startswith(_PARAM.lower())]
        if len(set(seen)) < len(seen):
            return _denied("header-duplicated", f"a header {_ALL} stands more than once")
        return None

    def by_headers(self, message: HeadersOnly, ctx: Context[None]) -> bool:
        return False  # it is the body that they are held to

    def on_request(self, message: McpMessage, ctx: Context[None]) -> Verdict:
        return self._compared(message, ctx.request)

    def _looks_at(self, head: RequestHead) -> bool:
        return self.parameters.legacy == "check" or speaks_modern(head)

    def _compared(self, message: McpMessage, head: RequestHead) -> Deny | None:
        """The denial of a message that the standard headers contradict."""
        params = message.params if isinstance(message, McpCall) else {}
        meta = params.get("_meta")
        modern = speaks_modern(head)
        told_version = meta.get(_VERSION_IN_META, _ABSENT) if isinstance(meta, Mapping) else _ABSENT
        if told_version is not _ABSENT and head.headers.get_all(VERSION.lower()) != (_as_line(told_version),):
            return _mismatch(VERSION)
        if not self._looks_at(head):
            return None
        method = method_of(head)
        if method != message.method and (modern or method is not None):
            return _mismatch(METHOD)
        name = value_of(head, NAME)
        expected = params.get(NAMED_BY.get(message.method, ""))
        if expected is None or (name is None and not modern):
            return None
        return None if name == expected else _mismatch(NAME)


class _WithArguments(HeaderIntegrity):
    """The same, with the headers that repeat arguments."""

    keeps_state = True

    def __init__(self, name: str, parameters: Parameters) -> None:
        super().__init__(name, parameters)
        self._known: KnownTools[Sequence[Mirrored]] = KnownTools(_mirrored, parameters.learning)

    async def on_request(self, message: McpMessage, ctx: Context[None]) -> Verdict:  # type: ignore[override]
        denial = self._compared(message, ctx.request)
        if denial is not None or not isinstance(message, ToolCall) or not self._mirrors(ctx.request):
            return denial
        mirrored = await self._known.get(message.name, ctx)
        if mirrored is None:
            ctx.because("the tool was not listed yet")
            return None
        for argument in mirrored:
            if not _repeats(ctx.request, argument, message.arguments):
                return _denied("header-mismatch", f"a header {_ALL} is not what the body says")
        return None

    async def on_response(self, message: ToolList, ctx: Context[None]) -> None:
        await self._known.learn(message, ctx)

    def _mirrors(self, head: RequestHead) -> bool:
        """Whether arguments must be repeated, or are and must fit."""
        if speaks_modern(head):
            return True
        return self.parameters.legacy == "check" and any(name.startswith(_PARAM.lower()) for name, _ in head.headers)


def _repeats(head: RequestHead, mirrored: Mirrored, arguments: Mapping[str, Any]) -> bool:
    """Whether a header and the argument that it repeats are both there and say the same, or neither is there."""
    found = value_of(head, _PARAM + mirrored.header)
    value: Any = arguments
    for step in mirrored.path:
        value = value.get(step) if isinstance(value, Mapping) else None
    text = _as_text(value)
    if text is None or found is None:
        return text is None and found is None
    if not isinstance(found, str):
        return False
    if mirrored.type == "integer" and _is_whole(value) and _DECIMAL.fullmatch(found):
        return _whole(found.partition(".")[0]) == int(value)
    return found == text


def _as_text(value: Any) -> str | None:
    """What a client writes for an argument; None for one that it cannot write, and for none."""
    if isinstance(value, bool):
        return "true" if value else "false"
    try:
        return str(value) if isinstance(value, str | int | float) else None
    except ValueError:  # an integer of thousands of digits
        return None


def _is_whole(value: Any) -> bool:
    return not isinstance(value, bool) and (isinstance(value, int) or (isinstance(value, float) and value.is_integer()))


def _whole(digits: str) -> int | None:
    try:
        return int(digits)
    except ValueError:  # thousands of digits
        return None


def _as_line(version: Any) -> bytes | None:
    return version.encode("utf-8", "surrogatepass") if isinstance(version, str) else None


def _mirrored(definition: ToolDefinition) -> tuple[Sequence[Mirrored], int]:
    mirrored = definition.mirrored or ()
    return mirrored, 128 * len(mirrored)


def _mismatch(header: str) -> Deny:
    return _denied("header-mismatch", f"the header {header} is not what the body says")


def _denied(reason: str, message: str) -> Deny:
    return Deny(reason, message, status=400, code=HEADER_MISMATCH)
