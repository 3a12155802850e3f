"""What servers said of their tools, kept for policies: schemas, annotations, mirrored arguments.

Rules:
- It is read from pages of tools/list and kept in the space SPACE, which policies share: under the server's name and the
  tool's. Of a server it is the last word that counts, whoever was told it.
- Kept is what policies decide by, and only if it can be used: a schema past its limit, or a name that stands twice in a
  page with two definitions, is kept as unusable, for what was known before no longer holds.
- Nothing is written that is there already. What a server can have kept is bounded, in tools of a page and in bytes. Of
  a long list that is new, as much is learned as there is time for, and the rest when it is listed again.
- What was read from the store is used again for a second; that something is there is believed for a minute, or until
  something else is read in its place, which another host wrote.

A record is a JSON object:

    v            1
    since        when it was written, in seconds since the Unix epoch
    digest       of all below
    input        `inputSchema`
    output       `outputSchema`, if there is one
    annotations  those of MCP's hints that are true or false
    mirrored     arguments with `x-mcp-header`: {"header", "path", "type"}; null where one of them is invalid, for then
                 clients mirror none (MCP 2026-07-28, transports)
    unusable     why there are no schemas: "too-large", or "ambiguous", and then there is nothing else either

Not here: what follows from it (tool_access.py, tool_arguments.py), whether a definition may change.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections import Counter, OrderedDict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar

import msgspec
from pydantic import BaseModel, Field, model_validator

from ext_proc.headers import is_token
from ext_proc.messages import ToolList, encode_json
from ext_proc.policy import Context, Count, Entry, Key, Period, Write
from ext_proc.schemas.dialects import DRAFT_2020_12
from ext_proc.units import Size

SPACE = "mcp-tools"
VERSION = 1
MAX_DEFINITION = 512 * 1024  # bytes; a value in the store is twice as large at most
HINTS = ("readOnlyHint", "destructiveHint", "idempotentHint", "openWorldHint")

_MIRROR = "x-mcp-header"
_MIRRORED_TYPES = frozenset({"string", "integer", "boolean"})
_AT_ONCE = 64  # keys of one operation
_BYTES_AT_ONCE = 1024 * 1024
_LONGEST_NAME = 256  # characters of a tool's name; MCP asks for at most 128
_MOST_SECONDS = 0.5  # seconds spent on one page, and never more than half of what its hook has
_REFRESHED = 8  # a record is written anew once this part of its time has passed
_FRESH = 1.0  # seconds for which what was read is used again
_BELIEVED = 60.0  # seconds for which what is known to be in the store is not looked at again
_REMEMBERED = 16_384  # tools of which that is known
_ROOM = 32 * 1024 * 1024  # bytes of what is at hand

T = TypeVar("T")


class Learning(BaseModel, extra="forbid"):
    """What is kept of the tools that servers list."""

    expires: Period = Field(default=30 * 86400.0, description="How long a tool is known after it was last listed.")
    tools: int = Field(default=2000, ge=1, le=20_000, description="The most tools of one page that are kept.")
    definition: Size = Field(
        default=256 * 1024, description="The largest schemas of one tool, as JSON; of larger ones nothing is known."
    )
    total: Size = Field(
        default=16 * 1024 * 1024, description="What one server can have kept anew within `expires`; then no more is."
    )

    @model_validator(mode="after")
    def _fits_a_value(self) -> Learning:
        if self.definition > MAX_DEFINITION:
            raise ValueError("definition: expected at most 512KiB")
        return self


class Mirrored(msgspec.Struct, frozen=True):
    """An argument that clients repeat in a header.

    Attributes:
        header: what follows `Mcp-Param-`, as the server wrote it.
        path: the names that lead to it from the arguments' root.
        type: "string", "integer" or "boolean".
    """

    header: str
    path: tuple[str, ...]
    type: str


class ToolDefinition(msgspec.Struct, frozen=True, omit_defaults=True):
    """A record; see the module."""

    v: int = 0  # that of the record; 0 in one that was not written yet
    since: float = 0.0
    digest: str = ""
    input: Any = None
    output: Any = None
    annotations: Mapping[str, bool] = {}
    mirrored: tuple[Mirrored, ...] | None = ()
    unusable: str = ""


class _Written(msgspec.Struct):
    """Of a record, what tells whether it is to be written anew."""

    v: int = 0
    since: float = 0.0
    digest: str = ""


@dataclass(slots=True)
class _Batch:
    """What is written in one operation.

    Attributes:
        size: bytes of the values.
        new: those of them that are not only written anew.
    """

    writes: list[Write] = field(default_factory=list)
    digests: dict[str, str] = field(default_factory=dict)
    size: int = 0
    new: int = 0


_DEFINITIONS = msgspec.json.Decoder(ToolDefinition)
_WRITTEN = msgspec.json.Decoder(_Written)


class KnownTools(Generic[T]):
    """The tools of all servers, as one policy needs them.

    Args:
        kept: makes of a definition what the policy decides by, and says about how many bytes that takes.
    """

    def __init__(self, kept: Callable[[ToolDefinition], tuple[T, int]], learning: Learning) -> None:
        self._kept = kept
        self._learning = learning
        # By server and tool: the digest that is in the store, and how long that is believed.
        self._written: OrderedDict[tuple[str, str], tuple[str, float]] = OrderedDict()
        # By server and tool: the version, until when it is fresh, what was made of it, and its bytes.
        self._at_hand: OrderedDict[tuple[str, str], tuple[int, float, T, int]] = OrderedDict()
        self._taken = 0

    async def get(self, name: str, ctx: Context[Any]) -> T | None:
        """What is known of a tool of the exchange's server; None where nothing is.

        Raises:
            StoreError: the store failed.
        """
        place = (ctx.server, name)
        found = self._at_hand.get(place)
        if found is not None and ctx.now < found[1]:
            return found[2]
        entry = await ctx.shared(SPACE).get(Key(*place))
        if entry is None:
            # Where the store lost it, the next list brings it back.
            self._written.pop(place, None)
            self._forget(place)
            return None
        if found is not None and found[0] == entry.version:
            self._at_hand[place] = (found[0], ctx.now + _FRESH, *found[2:])
            self._at_hand.move_to_end(place)
            return found[2]
        return self._take(place, entry, ctx.now)

    async def learn(self, page: ToolList, ctx: Context[Any]) -> None:
        """Keeps what a page says.

        Raises:
            StoreError: the store failed; nothing that was not written counts as known.
        """
        loop = asyncio.get_running_loop()
        until = loop.time() + min((ctx.deadline - ctx.now) / 2, _MOST_SECONDS)
        tools = [tool for tool in page.tools[: self._learning.tools] if len(tool["name"]) <= _LONGEST_NAME]
        repeated = self._repeated(tools)
        for start in range(0, len(tools), _AT_ONCE):
            changed: dict[str, ToolDefinition] = {}
            for tool in tools[start : start + _AT_ONCE]:
                name = tool["name"]
                definition = repeated.get(name) or define(tool, self._learning.definition)
                digest, believed = self._written.get((ctx.server, name), ("", 0.0))
                if digest != definition.digest or ctx.now >= believed:
                    changed[name] = definition
            if not changed:
                continue
            await self._write(changed, ctx)
            await asyncio.sleep(0)  # a long list is not the only exchange
            if loop.time() > until and start + _AT_ONCE < len(tools):
                ctx.because("the rest of a long list is learned when it is listed again")
                return

    def _repeated(self, tools: Sequence[Mapping[str, Any]]) -> Mapping[str, ToolDefinition]:
        """What stands for names that stand more than once: their definition, if it is the same each time."""
        count = Counter(tool["name"] for tool in tools)
        found: dict[str, ToolDefinition] = {}
        for tool in tools:
            if count[tool["name"]] > 1:
                definition = define(tool, self._learning.definition)
                if found.setdefault(tool["name"], definition).digest != definition.digest:
                    found[tool["name"]] = ToolDefinition(digest="ambiguous", unusable="ambiguous")
        return found

    async def _write(self, changed: Mapping[str, ToolDefinition], ctx: Context[Any]) -> None:
        """Writes those that the store does not have, in operations of a bounded size."""
        space = ctx.shared(SPACE)
        entries = await space.read([Key(ctx.server, name) for name in changed])
        batch = _Batch()
        for (name, definition), entry in zip(changed.items(), entries, strict=True):
            written = _Written() if entry is None else _WRITTEN.decode(entry.value)
            same = (written.v, written.digest) == (VERSION, definition.digest)
            if same and 0 <= ctx.time - written.since < self._learning.expires / _REFRESHED:
                self._remember(name, definition.digest, ctx)
                continue
            record = msgspec.structs.replace(definition, v=VERSION, since=ctx.time)
            value = encode_json(msgspec.to_builtins(record))
            if batch.size and batch.size + len(value) > _BYTES_AT_ONCE:
                await self._flush(batch, ctx)
                batch = _Batch()
            batch.writes.append(Write(Key(ctx.server, name), value, self._learning.expires))
            batch.digests[name] = definition.digest
            batch.size += len(value)
            batch.new += 0 if same else len(value)
        if batch.size:
            await self._flush(batch, ctx)

    async def _flush(self, batch: _Batch, ctx: Context[Any]) -> None:
        space = ctx.shared(SPACE)
        total = Count(Key(ctx.server, "bytes"), batch.new, self._learning.expires, self._learning.total)
        full = batch.new > 0 and (await space.count([total])).passed is not None
        if full:
            ctx.because("the server's tools take more than is kept of them")
            # What is known of them is no longer what the server says.
            await space.write([Write(write.key, None, None) for write in batch.writes])
        else:
            await space.write(batch.writes)
        for name, digest in batch.digests.items():
            self._forget((ctx.server, name))
            if not full:
                self._remember(name, digest, ctx)

    def _remember(self, name: str, digest: str, ctx: Context[Any]) -> None:
        self._written[ctx.server, name] = (digest, ctx.now + _BELIEVED)
        self._written.move_to_end((ctx.server, name))
        if len(self._written) > _REMEMBERED:
            self._written.popitem(last=False)

    def _take(self, place: tuple[str, str], entry: Entry, now: float) -> T | None:
        """Makes what the policy needs of a record; one of another version says nothing."""
        self._forget(place)
        written = _WRITTEN.decode(entry.value)
        if self._written.get(place, (written.digest,))[0] != written.digest:
            # Another host heard another word since: when this one hears its own again, that is the last.
            del self._written[place]
        if written.v != VERSION:
            return None
        made, size = self._kept(_DEFINITIONS.decode(entry.value))
        size += len(entry.value)
        self._at_hand[place] = (entry.version, now + _FRESH, made, size)
        self._taken += size
        while self._taken > _ROOM and len(self._at_hand) > 1:
            self._taken -= self._at_hand.popitem(last=False)[1][3]
        return made

    def _forget(self, place: tuple[str, str]) -> None:
        found = self._at_hand.pop(place, None)
        if found is not None:
            self._taken -= found[3]


def define(tool: Mapping[str, Any], most_bytes: int) -> ToolDefinition:
    """The definition that an entry of tools/list makes.

    Args:
        most_bytes: of its schemas, as JSON.
    """
    told = tool.get("annotations")
    annotations = {hint: told[hint] for hint in HINTS if isinstance(told, dict) and isinstance(told.get(hint), bool)}
    input, output = tool.get("inputSchema"), tool.get("outputSchema")
    source = encode_json([input, output, annotations])
    digest = hashlib.blake2b(source, digest_size=16).hexdigest()
    if len(source) > most_bytes:
        # Of its own, for with another limit the same schemas are another definition.
        digest = f"too-large-{digest}"
        return ToolDefinition(digest=digest, annotations=annotations, mirrored=None, unusable="too-large")
    return ToolDefinition(
        digest=digest,
        input=input,
        output=output,
        annotations=annotations,
        mirrored=mirrored_by(input) if _MIRROR.encode() in source else (),
    )


def mirrored_by(schema: Any) -> tuple[Mirrored, ...] | None:
    """The arguments that a schema asks clients to mirror; None where one of these wishes is invalid.

    Valid is a header's name, used once whatever its case, on a string, integer or boolean that `properties` alone lead
    to from the root (MCP 2026-07-28, transports: custom headers).
    """
    found: list[Mirrored] = []
    seen: set[str] = set()
    waiting: list[tuple[Any, tuple[str, ...] | None]] = [(schema, ())]
    while waiting:
        at, path = waiting.pop()
        if not isinstance(at, dict):
            continue
        if _MIRROR in at:
            header, type = at[_MIRROR], at.get("type")
            if not path or not isinstance(header, str) or not is_token(header.lower()) or header.lower() in seen:
                return None
            if not isinstance(type, str) or type not in _MIRRORED_TYPES:
                return None
            seen.add(header.lower())
            found.append(Mirrored(header, path, type))
        named = at.get("properties")
        properties = named if isinstance(named, dict) else {}
        waiting += [(inner, None if path is None else (*path, name)) for name, inner in properties.items()]
        others = {keyword: value for keyword, value in at.items() if keyword != "properties"}
        waiting += [(inner, None) for inner in DRAFT_2020_12.subschemas(others)]
    return tuple(sorted(found, key=lambda mirrored: mirrored.path))
