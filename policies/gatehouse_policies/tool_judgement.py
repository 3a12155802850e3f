"""Which tools of a page are held back: what was found in them, against what is pinned; and keeps what is new.

Rules:
- A name is taken before the pin that lets it through is written: of two servers that list one name at once, one has it.
  Who takes other names meanwhile is in nobody's way: many servers may be listed for the first time at once.
- Somebody who changes the same pins meanwhile is no fault: all is judged again by what they wrote, a few times.
- What is known already is not written again, and costs no more than a look. What is held back by what is known costs
  one more, into the store: it may have been approved in the last second.
- Past the most tools of a server nothing more is kept, and what is not kept is held back.
- A first listing is over with the page that its cursors lead to, from its first page on: a cursor that somebody made up
  ends nothing. A list of nothing begins none: the server may not be ready, or the caller may not see what there is.
- Hosts' clocks differ: a first listing may have begun in what is the future here.

Not here: what is found in a definition by itself (tool_examination.py), how a record changes (ext_proc/pins).
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar

import msgspec

from ext_proc.pins.canonical import canonical, definition_of
from ext_proc.pins.ledger import SPACE, Head, Ledger, Names, Server, shard_of
from ext_proc.pins.lock import Lock
from ext_proc.pins.records import Pin, Terms, allows, growth, listed
from ext_proc.policy import Context, StoreError
from ext_proc.scanning.names import skeleton
from gatehouse_policies.pinned_servers import PinnedServers
from gatehouse_policies.tool_examination import Examined
from gatehouse_policies.tool_names import AllNames

TOO_MANY = "too-many-tools"

_ATTEMPTS = 6
_PART = 256  # tools that are judged before others have their turn
_PART_NEW = 8  # the same, of those that are new
_LONGEST_NAME = 256  # characters of a name that is kept at all


@dataclass(frozen=True, slots=True)
class Place:
    """Where a page stands in a list: fingerprints of cursors, "" for none.

    Attributes:
        asked: of the cursor that it was asked for with; UNKNOWN where that is not known.
        follows: of the cursor of the next page.
    """

    asked: str = ""
    follows: str = ""

    UNKNOWN: ClassVar[str] = "?"


def fingerprint_of(cursor: object) -> str:
    """A few characters for a cursor; "" for None."""
    return "" if cursor is None else hashlib.sha256(canonical(cursor)).hexdigest()[:16]


@dataclass(frozen=True, slots=True)
class Judged:
    """What came of a page.

    Attributes:
        held: by name, why a tool is held back.
        finished: whether all tools were judged in the time that there was.
    """

    held: Mapping[str, Sequence[str]]
    finished: bool = True


@dataclass(slots=True)
class _Changes:
    """What is new of a server.

    Attributes:
        forms: by digest, canonical forms that are not kept yet.
        claims: by skeleton, names that the server takes.
    """

    head: Head
    pins: dict[str, Pin] = field(default_factory=dict)
    forms: dict[str, bytes] = field(default_factory=dict)
    claims: dict[str, list[tuple[str, str]]] = field(default_factory=dict)

    def keep(self, before: Pin | None, after: Pin, digest: str, definition: Any) -> None:
        """Notes what a record's change means for the definitions that are kept."""
        self.head = msgspec.structs.replace(self.head, bytes=self.head.bytes + growth(before, after))
        version = after.digests.get(digest)
        if version is not None and version.size and (before is None or digest not in before.digests):
            self.forms[digest] = canonical(definition)


class Judge:
    """Judges by what is pinned.

    Args:
        lock: what is pinned by a file.
        trusts_first: whether a server's first listing is trusted.
        first_use: seconds that it may take.
        one_owner: whether a name is one server's alone.
        most_tools: of one server that are kept.
        most_bytes: of one server's definitions.
        most_versions: of one tool's definitions.
    """

    def __init__(
        self,
        pins: PinnedServers,
        lock: Lock,
        *,
        trusts_first: bool,
        first_use: float,
        one_owner: bool,
        most_tools: int,
        most_bytes: int,
        most_versions: int,
    ) -> None:
        self._pins = pins
        self._lock = lock
        self._trusts_first = trusts_first
        self._first_use = first_use
        self._most_tools = most_tools
        self._most_bytes = most_bytes
        self._most_versions = most_versions
        self._names = AllNames(one_owner)

    async def tools(
        self,
        tools: Sequence[Mapping[str, Any]],
        examined: Sequence[Examined],
        *,
        at: Place,
        until: float,
        ctx: Context[Any],
    ) -> Judged:
        """Which tools of a page are held back.

        Args:
            at: where the page stands.
            until: the event loop's time by which as many are judged as can be, and what is known of them is kept.

        Raises:
            StoreError: the store failed, or others changed the same pins again and again.
        """
        ledger = Ledger(ctx.shared(SPACE))
        numbers = {shard_of(tool["name"]) for tool in tools}
        for attempt in range(_ATTEMPTS):
            server = await self._pins.read(ctx.server, numbers, ledger, ctx.now, anew=attempt > 0)
            changes = _Changes(server.head or Head())
            opens = self._opens(changes.head, ctx.time)
            if attempt == 0 and opens and at.asked not in ("", changes.head.cursor):
                continue  # the page before may have been another host's
            judged = await self._compare(tools, examined, server, changes, opens, until, ledger, ctx, anew=attempt > 0)
            if judged is not None:
                if attempt == 0 and judged.held and not changes.pins:
                    continue
                if judged.finished:
                    changes.head = _after(changes.head, at, ctx.time, opens=opens, empty=not tools)
                if await self._write(server, changes, ledger):
                    return judged
            self._names.changed()
        raise StoreError("others change the same pins")

    async def instructions(self, told: object, examined: Examined, ctx: Context[Any]) -> Sequence[str]:
        """Why a server's instructions are held back; () where they are not.

        Raises:
            StoreError: as for `tools`.
        """
        ledger = Ledger(ctx.shared(SPACE))
        locked = self._lock.instructions(ctx.server)
        for attempt in range(_ATTEMPTS):
            server = await self._pins.read(ctx.server, (), ledger, ctx.now, anew=attempt > 0)
            head = server.head or Head()
            pin = head.instructions
            opens = self._opens(head, ctx.time)
            # None at all is always right; it is kept only at first, where what comes after it is a change.
            if told is None and not (pin is None and locked is None and self._trusts_first and opens):
                return ()
            size = examined.size if head.bytes + examined.size <= self._most_bytes else 0
            after = listed(pin, examined.digest, size, examined.found, self._terms(locked, opens), ctx.time)
            changes = _Changes(head)
            if after is not pin:
                changes.keep(pin, after, examined.digest, told)
                changes.head = msgspec.structs.replace(changes.head, instructions=after)
            if attempt == 0 and after is pin and not allows(after, locked, self._trusts_first):
                continue
            if await self._write(server, changes, ledger):
                return () if allows(after, locked, self._trusts_first) else after.why
        raise StoreError("others change the same pins")

    def _terms(self, locked: tuple[str, ...] | None, opens: bool) -> Terms:
        return Terms(locked, self._trusts_first, opens, self._most_versions)

    def _opens(self, head: Head, now: float) -> bool:
        """Whether what comes now belongs to the server's first listing."""
        return not head.closed and (not head.opened or abs(now - head.opened) < self._first_use)

    async def _compare(
        self,
        tools: Sequence[Mapping[str, Any]],
        examined: Sequence[Examined],
        server: Server,
        changes: _Changes,
        opens: bool,
        until: float,
        ledger: Ledger,
        ctx: Context[Any],
        *,
        anew: bool,
    ) -> Judged | None:
        """Which tools are held back, and `changes` filled in; None where a name was taken meanwhile."""
        held: dict[str, Sequence[str]] = {}
        loop, finished = asyncio.get_running_loop(), True
        known = None
        own: set[str] = set()
        for position, (tool, each) in enumerate(zip(tools, examined, strict=True)):
            if position and (position % _PART == 0 or len(changes.pins) % _PART_NEW == _PART_NEW - 1):
                await asyncio.sleep(0)  # a long list is not the only exchange
                if changes.pins and loop.time() > until:
                    finished = False
                    break
            name, locked = tool["name"], self._lock.tool(ctx.server, tool["name"])
            before = changes.pins.get(name) or server.pin(name)
            if not each.digest or (before is None and self._is_full(name, changes)):
                held[name] = (TOO_MANY,)
                continue
            terms, found = self._terms(locked, opens), each.found
            size = each.size if changes.head.bytes + each.size <= self._most_bytes else 0
            after = listed(before, each.digest, size, found, terms, ctx.time)
            if after is not before:
                if known is None:
                    known = await self._names.read(ledger, ctx.now, anew=anew)
                    own = {one["name"] for one in tools}.union(*(shard.pins for shard in server.shards.values()))
                found = (*found, *self._names.found(tool, ctx.server, known, changes.claims, own))
                after = listed(before, each.digest, size, found, terms, ctx.time)
                changes.keep(before, after, each.digest, definition_of(tool))
                if before is None:
                    changes.head = msgspec.structs.replace(changes.head, tools=changes.head.tools + 1)
                changes.pins[name] = after
                if allows(after, locked, self._trusts_first):
                    changes.claims.setdefault(skeleton(name), []).append((name, ctx.server))
            if not allows(after, locked, self._trusts_first):
                held[name] = after.why or (TOO_MANY,)
        if changes.claims:
            assert known is not None  # read before anything was claimed
            if not await self._claim(known, changes.claims, ledger, ctx.now):
                return None
        return Judged(held, finished)

    async def _claim(
        self, known: Mapping[int, Names], claims: Mapping[str, Sequence[tuple[str, str]]], ledger: Ledger, now: float
    ) -> bool:
        """Takes names; False where one of them, or one that looks like it, was taken meanwhile."""
        for _ in range(_ATTEMPTS):
            if await ledger.claim(known, claims):
                self._names.changed()
                return True
            before, known = known, await self._names.read(ledger, now, anew=True)
            shards = {alike: shard_of(alike) for alike in claims}
            if any(before[at].owners.get(alike) != known[at].owners.get(alike) for alike, at in shards.items()):
                return False
        return False

    async def _write(self, server: Server, changes: _Changes, ledger: Ledger) -> bool:
        """Keeps what is new; False where somebody else changed it meanwhile."""
        if not changes.pins and changes.head == server.head:
            return True
        self._pins.forget(server.name)
        return await ledger.change(server, changes.head, changes.pins, changes.forms)

    def _is_full(self, name: str, changes: _Changes) -> bool:
        return changes.head.tools >= self._most_tools or len(name) > _LONGEST_NAME


def _after(head: Head, at: Place, now: float, *, opens: bool, empty: bool) -> Head:
    """What is kept of a server as a whole after a page."""
    if head.closed or (empty and not head.opened):
        return head
    if not opens:
        return msgspec.structs.replace(head, closed=True, cursor="")
    head = msgspec.structs.replace(head, opened=head.opened or now)
    if at.asked not in ("", head.cursor):
        return head
    return msgspec.structs.replace(head, closed=not at.follows, cursor=at.follows)
