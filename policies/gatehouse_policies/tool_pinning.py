"""tool-pinning: what a server says of its tools is what was approved, or the tool is hidden and cannot be called.

Rules:
- What is pinned, by server and tool, is all of the tool's entry in tools/list but `_meta`; and of a server its
  `instructions`. The digest is the SHA-256 of the canonical form (RFC 8785).
- `trust: first-use`: a server's first listing is trusted as a whole, up to its last page, and no longer than
  `first_use`. Its last page is the one that following the cursors leads to, and a list of nothing is none. Afterwards
  what is new or changed is quarantined. `trust: lock`: all that the lock file does not name is.
- What the lock file names is pinned to it. It is read when the bundle is loaded or reloaded.
- Quarantined means: taken out of every list, the one that shows the change too, and denied when called, until
  `gatehouse tools approve`. A server that goes back to what it said before stays quarantined: it has changed twice.
- What one list showed counts for all callers, and on all hosts that share the store: there within a second.
- A tool that was never listed is not called: nobody knows what it is.
- Also held back, at first use too: characters that people do not see (`hidden_characters`), text that speaks to the
  model (`instruction_like`), names that are not plain, names of another server's tool or like another tool's, and
  definitions that mention other servers' tools. What a person approved is approved with all of that.
- Instructions that are not approved are taken out of the answer. None at all is always right.
- It has to see what the server says, so it stands last on its route: answers go through the policies in reverse, and
  what another has hidden from one caller would be new with the next.
- A list that is longer than there is time for is denied, and looked at to its end all the same: who lists again gets
  it. That is done for a few lists at once; of more what was found is remembered.
- A cache may still hold a list from before a change: what it shows is denied when called. A list that something was
  taken out of says that it must not be kept (`ttlMs: 0`), so that what is approved is seen. It is the same for all
  callers, so its `cacheScope` stays.
- Reasons are short slugs, and hold nothing of the payload.

Not here: what is found in a definition (tool_examination.py, tool_names.py), the records and the lock file
(ext_proc/pins), looking at it and approving (`gatehouse tools`).
"""

from __future__ import annotations

import asyncio
import hashlib
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from dataclasses import astuple
from typing import Any, Literal

from pydantic import BaseModel, Field, field_validator, model_validator

from ext_proc.messages import DiscoverResult, HeadersOnly, InitializeResult, McpResult, ToolCall, ToolList, encode_json
from ext_proc.pins.ledger import MAX_DEFINITION, SPACE, Ledger, shard_of
from ext_proc.pins.lock import Lock, parse_lock
from ext_proc.pins.records import allows
from ext_proc.policy import BundleFile, Context, Deny, Mutation, Period, Policy, Verdict
from ext_proc.units import Size
from gatehouse_policies.pinned_servers import PinnedServers
from gatehouse_policies.tool_examination import Checks, Examined, stripped
from gatehouse_policies.tool_judgement import TOO_MANY, Judge, Judged, Place, fingerprint_of

_PART = 8  # definitions that are looked at before others have their turn
_SLICE = 0.1  # seconds after which what was judged of a long list is kept
_WAITS = 0.7  # of the time that there is; the rest is for the answer
_AT_ONCE = 4  # lists that are looked at beyond their exchanges
_REMEMBERED = 16_384  # definitions whose examination is remembered

# What was found in each definition, and what follows from it.
_Looked = tuple[Sequence[Examined], Judged]

_QUARANTINED = Deny("tool-quarantined", "this tool is held back until somebody has looked at what it says of itself")
_UNPINNED = Deny("tool-unpinned", "the gateway has not seen this tool in a list of the server: list the tools first")
_LISTS = Deny("tools-quarantined", "the server says something of its tools that nobody has approved")
_INSTRUCTIONS = Deny("instructions-quarantined", "the server says something of itself that nobody has approved")
_UNEXAMINED = Deny("tools-unexamined", "the gateway has not looked at all of these tools yet: list them again")


class Parameters(BaseModel, extra="forbid"):
    """What is trusted, and what is held back."""

    trust: Literal["first-use", "lock"] = Field(
        default="first-use",
        description="What is trusted of what the lock file does not name: what is there at first, or nothing.",
    )
    lock_file: BundleFile | None = Field(
        default=None,
        description="A file with approved digests, as `gatehouse tools lock` writes it; meant to be kept in Git.",
    )
    on_change: Literal["quarantine", "deny", "note"] = Field(
        default="quarantine",
        description="What becomes of what is not approved: hidden and not called; or the whole list is denied as well; "
        "or it is only recorded.",
    )
    hidden_characters: Literal["deny", "strip", "allow"] = Field(
        default="deny",
        description="Characters that people do not see, in definitions and instructions: held back; taken out of what "
        "clients get; or not looked for.",
    )
    instruction_like: Literal["quarantine", "note"] = Field(
        default="quarantine", description="Text in definitions and instructions that tells a model what to do."
    )
    one_owner: bool = Field(default=True, description="Whether two servers must not have tools of one name.")
    plain_names: bool = Field(
        default=True, description="Whether a tool's name must be of at most 128 ASCII letters, digits and `_ - . /`."
    )
    first_use: Period = Field(
        default=300.0, description="How long a server's first listing may take, from its first page on."
    )
    tools: int = Field(
        default=2000, ge=1, le=10_000, description="The most tools of one server that are known; others stay hidden."
    )
    definition: Size = Field(default=256 * 1024, description="The largest definition; a larger one is held back.")
    total: Size = Field(
        default=16 * 1024 * 1024,
        description="What is kept of one server's definitions, for `gatehouse tools diff`; of more only digests are.",
    )
    versions: int = Field(
        default=4, ge=1, le=16, description="The most definitions of one tool that are approved at once, or wait."
    )

    @field_validator("lock_file")
    @classmethod
    def _is_a_lock_file(cls, file: BundleFile | None) -> BundleFile | None:
        if file is not None:
            try:
                parse_lock(file.data)
            except ValueError as error:
                raise ValueError(f"{file.path} is no lock file: {error}") from None
        return file

    @model_validator(mode="after")
    def _usable(self) -> Parameters:
        if self.trust == "lock" and self.lock_file is None:
            raise ValueError("trust: lock needs a lock_file")
        if self.definition > MAX_DEFINITION:
            raise ValueError("definition: expected at most 512KiB")
        return self


class ToolPinning(Policy[Parameters, None]):
    """What a server says of its tools is what was approved."""

    keeps_state = True
    sees_answers_first = True

    def __init__(self, name: str, parameters: Parameters) -> None:
        super().__init__(name, parameters)
        file = parameters.lock_file
        self._lock = Lock() if file is None else parse_lock(file.data)
        self._trusts_first = parameters.trust == "first-use"
        self._checks = Checks(
            parameters.hidden_characters, parameters.instruction_like, parameters.plain_names, parameters.definition
        )
        self._pins = PinnedServers()
        self._judge = Judge(
            self._pins,
            self._lock,
            trusts_first=self._trusts_first,
            first_use=parameters.first_use,
            one_owner=parameters.one_owner,
            most_tools=parameters.tools,
            most_bytes=parameters.total,
            most_versions=parameters.versions,
        )
        # By a digest of an entry as it came, `_meta` and all.
        self._examined: OrderedDict[bytes, Examined] = OrderedDict()
        # By a digest of a page, of its server and of its place: what outlives its exchange is waited for by the next.
        self._looking: dict[bytes, asyncio.Task[_Looked]] = {}

    async def close(self) -> None:
        looking = list(self._looking.values())
        for task in looking:
            task.cancel()
        await asyncio.gather(*looking, return_exceptions=True)

    def by_headers(self, message: HeadersOnly, ctx: Context[None]) -> bool | Deny | None:
        return False  # what is known of the tool stands in the store

    async def on_request(self, message: ToolCall, ctx: Context[None]) -> Verdict:
        name = message.name
        pin = None
        for anew in (False, True):  # nobody is denied by what was approved in the last second
            server = await self._pins.read(ctx.server, (shard_of(name),), Ledger(ctx.shared(SPACE)), ctx.now, anew=anew)
            pin = server.pin(name)
            if pin is not None and allows(pin, self._lock.tool(ctx.server, name), self._trusts_first):
                return None
        denial = _QUARANTINED if pin is not None and pin.why else _UNPINNED
        if self.parameters.on_change != "note":
            return denial
        ctx.because(f"noted: {denial.reason}")
        return None

    async def on_response(self, message: ToolList | InitializeResult | DiscoverResult, ctx: Context[None]) -> Verdict:
        if isinstance(message, ToolList):
            return await self._listed(message, ctx)
        return await self._introduced(message, ctx)

    async def _listed(self, page: ToolList, ctx: Context[None]) -> Verdict:
        """A page without what is held back."""
        tools = page.tools
        looked = await self._look(page, ctx)
        if looked is None:
            return self._unexamined(ctx)
        examined, judged = looked
        held = [tool["name"] in judged.held for tool in tools]
        noted = {slug for each in examined for slug in each.noted}
        self._tell(judged, sum(held), len(tools), noted, ctx)
        if not any(held):
            held = []
        elif self.parameters.on_change == "deny":
            return _LISTS
        elif self.parameters.on_change == "note":
            held = []
        strips = any(each.strips for each in examined)
        if not held and not strips:
            return None
        kept = [
            _without_hidden(tool) if each.strips else tool
            for tool, each, hides in zip(tools, examined, held or [False] * len(tools), strict=True)
            if not hides
        ]
        return Mutation(message=_changed(page, {"tools": kept}, expires=bool(held)))

    async def _introduced(self, message: InitializeResult | DiscoverResult, ctx: Context[None]) -> Verdict:
        """An answer without instructions that are held back."""
        told = message.result.get("instructions")
        examined = self._checks.of_instructions(told)
        held = await self._judge.instructions(told, examined, ctx)
        if examined.noted:
            ctx.because(f"noted: {', '.join(examined.noted)}")
        if held and self.parameters.on_change == "note":
            ctx.because(f"noted: {', '.join(held)}")
        elif held:
            ctx.because(f"held back the instructions: {', '.join(held)}")
            if self.parameters.on_change == "deny":
                return _INSTRUCTIONS
            return Mutation(message=_changed(message, {"instructions": None}, expires=True))
        if not examined.strips:
            return None
        return Mutation(message=_changed(message, {"instructions": stripped(told)}, expires=False))

    async def _look(self, page: ToolList, ctx: Context[None]) -> _Looked | None:
        """What there is to say of a page; None where there is not enough time, and then it is known soon."""
        keys = [hashlib.blake2b(encode_json(tool), digest_size=16).digest() for tool in page.tools]
        where = encode_json([ctx.server, *astuple(_place_of(page))])
        key = hashlib.blake2b(b"".join([where, *keys]), digest_size=16).digest()
        task = self._looking.get(key)
        if task is None:
            task = asyncio.get_running_loop().create_task(self._looks(page, keys, ctx))
            if len(self._looking) < _AT_ONCE:
                self._looking[key] = task
            task.add_done_callback(lambda done: self._looked(key, done))
        try:
            await asyncio.wait([task], timeout=(ctx.deadline - ctx.now) * _WAITS)
        finally:
            if self._looking.get(key) is not task:
                task.cancel()  # if it goes on; what was found in each definition is remembered
        return task.result() if task.done() else None

    async def _looks(self, page: ToolList, keys: Sequence[bytes], ctx: Context[None]) -> _Looked:
        loop = asyncio.get_running_loop()
        examined = await self._examine(page.tools, keys)
        while True:
            until = loop.time() + _SLICE
            judged = await self._judge.tools(page.tools, examined, at=_place_of(page), until=until, ctx=ctx)
            if judged.finished:
                return examined, judged

    def _looked(self, key: bytes, done: asyncio.Task[_Looked]) -> None:
        if self._looking.get(key) is done:
            del self._looking[key]
        if not done.cancelled():
            done.exception()  # whoever still waits is told; nobody else has to be

    async def _examine(self, tools: Sequence[Mapping[str, Any]], keys: Sequence[bytes]) -> Sequence[Examined]:
        """What there is to say of each tool by itself; what is known is remembered by its key."""
        found: list[Examined] = []
        new = 0
        for tool, key in zip(tools[: self.parameters.tools], keys, strict=False):
            known = self._examined.get(key)
            if known is None:
                new += 1
                if new % _PART == 0:
                    await asyncio.sleep(0)  # a long list is not the only exchange
                known = self._examined[key] = self._checks.of_tool(tool)
                if len(self._examined) > _REMEMBERED:
                    self._examined.popitem(last=False)
            else:
                self._examined.move_to_end(key)
            found.append(known)
        return found + [_BEYOND] * (len(tools) - len(found))

    def _unexamined(self, ctx: Context[None]) -> Verdict:
        """What becomes of a list that was not looked at in time."""
        if self.parameters.on_change != "note" or self.parameters.hidden_characters == "strip":
            return _UNEXAMINED
        ctx.because(f"noted: {_UNEXAMINED.reason}")
        return None

    def _tell(self, judged: Judged, held: int, listed: int, noted: set[str], ctx: Context[None]) -> None:
        if held:
            verb = "noted" if self.parameters.on_change == "note" else "held back"
            slugs = sorted({slug for name in judged.held for slug in judged.held[name]})
            ctx.because(f"{verb} {held} of {listed} tools: {', '.join(slugs)}")
            ctx.measure("tools_held_back", held)
        elif noted:
            ctx.because(f"noted: {', '.join(sorted(noted))}")


_BEYOND = Examined("", 0, (TOO_MANY,))


def _place_of(page: ToolList) -> Place:
    """Where a page stands in its list; nowhere if it is not known what it answers."""
    asked = Place.UNKNOWN if page.request is None else fingerprint_of(page.request.params.get("cursor"))
    return Place(asked, fingerprint_of(page.result.get("nextCursor")))


def _without_hidden(tool: Mapping[str, Any]) -> Mapping[str, Any]:
    return {key: value if key == "_meta" else stripped(value) for key, value in tool.items()}


def _changed(message: McpResult, parts: Mapping[str, Any], *, expires: bool) -> McpResult:
    """The answer with other parts; one that is None is taken out.

    Args:
        expires: a cache must not keep it: what is held back may be approved at any time.
    """
    result = {key: value for key, value in {**message.result, **parts}.items() if value is not None}
    if expires and "ttlMs" in result:
        result["ttlMs"] = 0
    return message.with_result(result)
