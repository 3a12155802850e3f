"""`gatehouse tools`: what is pinned of servers' tools, what waits to be approved, and approving it.

Rules:
- It works on the store that the bundle names, as the service does, and makes none: what it finds is what is in force.
- What is approved is one digest: the one that was given, or the one whose text was shown before the question. What
  has been listed since stays held back.
- Who approved, and when, is kept. Where the bundle names a lock file it says the same afterwards.
- What is forgotten is as if it had never been listed: a tool is new, and a server's next listing is its first.
- Every failure is one sentence on standard error, and exit code 1.

Not here: how it is shown (tool_view.py), the lock file's writing (tool_lock.py), what a record is (ext_proc/pins),
options (cli.py).
"""

from __future__ import annotations

import asyncio
import getpass
import os
import sys
import time
from collections.abc import AsyncIterator, Callable, Collection, Coroutine, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

import msgspec

from ext_proc.bundle.load import examine
from ext_proc.errors import GatehouseError
from ext_proc.pins.canonical import HEX, PREFIX
from ext_proc.pins.ledger import SPACE, Ledger, Server, shard_of
from ext_proc.pins.lock import Lock, render_lock
from ext_proc.pins.records import QUARANTINED, Pin, Terms, Version, approved, growth, in_force
from ext_proc.scanning.names import skeleton
from ext_proc.scanning.visible import visible
from ext_proc.server import tool_lock
from ext_proc.server.stores import open_store
from ext_proc.server.tool_view import INSTRUCTIONS, Row, as_json, console, show_diff, show_table
from ext_proc.stores.keyspace import Keyspace
from ext_proc.stores.settings import EmbeddedSettings
from ext_proc.stores.store import StoreError

TYPE: Final = "tool-pinning"
LEAST_DIGITS: Final = 8  # of a digest that somebody names

_ATTEMPTS = 5
_MOST_VERSIONS = 4  # as the policy has it unless told otherwise
_TIMEOUT = 10.0  # seconds that an operation waits for the store: a person is more patient than an exchange

Ask = Callable[[str], bool]


class _Failed(GatehouseError):
    """Why it did not succeed, in a sentence."""


@dataclass(frozen=True, slots=True)
class Pins:
    """The pins of a bundle.

    Attributes:
        lock_file: where the bundle's lock file is; None where it names none.
        versions: the most definitions of a tool that are approved at once.
        trusts_first: whether what is there at first is trusted.
    """

    ledger: Ledger
    lock_file: Path | None
    versions: int
    trusts_first: bool

    async def rows(self, server: str | None) -> Sequence[Row]:
        """What is pinned, of one server or of all, in order."""
        found: list[Row] = []
        for name in await self.ledger.servers() if server is None else [server]:
            kept = await self.ledger.server(name)
            if kept.head is None and server is None:
                continue  # it is about to be kept
            if kept.head is None:
                raise _Failed(f"nothing is kept of a server {visible(name)!r}; known: {await self._known()}")
            if kept.head.instructions is not None:
                found.append(Row(name, None, kept.head.instructions))
            found += [Row(name, tool, pin) for tool, pin in sorted(kept.pins.items())]
        return found

    async def row(self, server: str, tool: str | None) -> Row:
        """One of them."""
        for row in await self.rows(server):
            if row.tool == tool:
                return row
        what = "said anything of itself" if tool is None else f"listed a tool {visible(tool)!r}"
        raise _Failed(f"{visible(server)} has never {what}")

    async def show(self, row: Row, shown: Version) -> None:
        """Prints one of a row's definitions against what was approved."""
        digests = [shown.digest, *(version.digest for version in row.pin.approved[-1:])]
        forms = {digest: await self.ledger.form(row.server, digest) for digest in digests}
        show_diff(row, shown, forms, console())

    async def approve(self, row: Row, digest: str, by: str, *, only: bool) -> Pin:
        """Approves one definition of a row; what is kept then."""
        for _ in range(_ATTEMPTS):
            kept = await self.ledger.server(row.server)
            if kept.head is None:
                break
            pin = kept.head.instructions if row.tool is None else kept.pin(row.tool)
            if pin is None or digest not in pin.digests:
                raise _Failed(f"{row.name}: {digest[:12]} has made room for what was listed since: look again")
            after = approved(pin, digest, by, time.time(), self.versions, only=only)
            if row.tool is not None:
                await self._claim(row.tool, row.server)
            if await self._change(kept, row.tool, pin, after):
                return after
        raise _Failed("others change the same pins: try again")

    async def forget(self, server: str, tools: Collection[str | None] | None) -> None:
        """Forgets tools of a server, None among them for the instructions; all of it where `tools` is None."""
        for _ in range(_ATTEMPTS):
            kept = await self.ledger.server(server)
            if tools is not None:
                tools = [tool for tool in tools if tool is None or kept.pin(tool) is not None]
            if await self.ledger.forget(kept, tools):
                break
        else:
            raise _Failed("others change the same pins: try again")
        await self.ledger.release(server, None if tools is None else [tool for tool in tools if tool is not None])
        if tools is None:
            await self.ledger.enlist(server, listed=False)

    async def _change(self, kept: Server, tool: str | None, before: Pin, after: Pin) -> bool:
        assert kept.head is not None  # there is a pin
        head = msgspec.structs.replace(kept.head, bytes=kept.head.bytes + growth(before, after))
        if tool is None:
            return await self.ledger.change(kept, msgspec.structs.replace(head, instructions=after), {}, {})
        return await self.ledger.change(kept, head, {tool: after}, {})

    async def _claim(self, tool: str, server: str) -> None:
        """Notes that the server has this name."""
        alike = skeleton(tool)
        for _ in range(_ATTEMPTS):
            known = await self.ledger.names([shard_of(alike)])
            if await self.ledger.claim(known, {alike: [(tool, server)]}):
                return
        raise _Failed("others change the same names: try again")

    async def _known(self) -> str:
        return ", ".join(visible(name) for name in await self.ledger.servers()) or "none"


def show_list(bundle: Path, server: str | None, *, json: bool) -> int:
    """Prints what is pinned; the exit code."""

    async def run(pins: Pins) -> None:
        rows = await pins.rows(server)
        if json:
            print(as_json(rows))
        elif rows:
            show_table(rows, console())
        else:
            print("no server has listed tools yet")

    return _run(bundle, run)


def diff(bundle: Path, server: str, tool: str | None, digest: str | None) -> int:
    """Prints what waits against what was approved: of one tool, or of all of a server's that wait; the exit code.

    Args:
        digest: which definition of the tool, by its first digits; the one that was listed last unless given.
    """

    async def run(pins: Pins) -> None:
        if tool is None:
            rows = [row for row in await pins.rows(server) if row.pin.state == QUARANTINED]
        else:
            rows = [await pins.row(server, None if tool == INSTRUCTIONS else tool)]
        if not rows:
            print("nothing waits to be approved")
        for row in rows:
            await pins.show(row, row.pin.digests[_chosen(row, digest)])

    return _run(bundle, run)


def approve(
    bundle: Path,
    server: str,
    tools: Sequence[str],
    *,
    digest: str | None,
    everything: bool,
    yes: bool,
    by: str | None,
    only: bool,
    ask: Ask,
) -> int:
    """Approves definitions; the exit code.

    Args:
        tools: their names, or INSTRUCTIONS.
        digest: which definition of the only tool, by its first digits; without it each is shown and asked about.
        everything: all that waits of the server.
        yes: together with `everything`: nobody is asked.
        by: who approves; the user of this process unless given.
        only: nothing else of these tools stays approved.
        ask: asks a question.
    """

    async def run(pins: Pins) -> None:
        if everything:
            rows = [row for row in await pins.rows(server) if row.pin.state == QUARANTINED]
            chosen = [(row, row.shown.digest) for row in rows]
            if not chosen:
                print("nothing waits to be approved")
        else:
            rows = [await pins.row(server, None if tool == INSTRUCTIONS else tool) for tool in tools]
            chosen = [(row, _chosen(row, digest)) for row in rows]
        held: list[str] = []
        for row, wanted in chosen:
            if digest is None and not (everything and yes):
                await pins.show(row, row.shown)
                if not row.shown.size:
                    raise _Failed(f"{row.name}: what cannot be shown is approved by --digest only")
                if not ask(f"Approve {row.name} as {wanted[:12]}?"):
                    raise _Failed(f"{row.name} was not approved")
            after = await pins.approve(row, wanted, by or _user(), only=only)
            if pins.lock_file is not None:
                try:
                    tool_lock.change(pins.lock_file, _naming(row, wanted, pins.versions, only=only))
                except tool_lock.Unwritable as error:
                    raise _Failed(f"{row.name}: approved, but the lock file does not say so: {error}") from error
            print(f"approved {visible(row.server)} {row.name} {PREFIX}{wanted}")
            if after.state == QUARANTINED:
                held.append(f"{row.name} is still held back: {PREFIX}{after.offered[-1].digest} was listed after that")
        if chosen and pins.lock_file is not None:
            print(f"{pins.lock_file}: written")
        if held:
            raise _Failed("\n".join(held))

    return _run(bundle, run)


def forget(bundle: Path, server: str, tools: Sequence[str], *, yes: bool, ask: Ask) -> int:
    """Forgets tools of a server, or all of it; the exit code.

    Args:
        tools: their names, or INSTRUCTIONS; none for all that is kept of the server.
        yes: nobody is asked.
        ask: asks a question.
    """

    async def run(pins: Pins) -> None:
        rows = [await pins.row(server, None if tool == INSTRUCTIONS else tool) for tool in tools]
        if not rows and server not in await pins.ledger.servers():
            await pins.rows(server)  # which says so where there is nothing
        name = visible(server)
        what = ", ".join(row.name for row in rows) or "all of it, and trust what it lists next as its first listing"
        if not yes and not ask(f"Forget of {name}: {what}?"):
            raise _Failed("nothing was forgotten")
        await pins.forget(server, [row.tool for row in rows] or None)
        for row in rows:
            print(f"forgot {name} {row.name}")
        if not rows:
            print(f"forgot {name}")

    return _run(bundle, run)


def lock(bundle: Path, server: str | None, file: Path | None) -> int:
    """Writes all that is approved into a lock file, or prints it as one; the exit code."""

    async def run(pins: Pins) -> None:
        rows = await pins.rows(server)
        now = tool_lock.read(pins.lock_file) if pins.lock_file is not None else Lock()

        def locked(before: Lock) -> Lock:
            for row in rows:
                named = _named(now, row)
                terms = Terms(locked=named, trusts_first=pins.trusts_first)
                # What the file names and was never listed stays: it is what will be listed.
                waits = [one for one in _named(before, row) or () if one not in row.pin.digests]
                digests = (*waits, *(version.digest for version in in_force(row.pin, terms)))
                if digests:
                    before = before.approving(row.server, row.tool, digests)
            return before

        if file is None:
            print(render_lock(locked(Lock())), end="")
        else:
            tool_lock.change(file, locked)
            print(f"{file}: written")

    return _run(bundle, run)


@asynccontextmanager
async def opened(bundle: Path) -> AsyncIterator[Pins]:
    """The pins in the store that a bundle names.

    Raises:
        _Failed: why there are none.
        StoreError: the store failed.
    """
    examined = examine(bundle)
    if examined.bundle is None or examined.rulebook is None:
        raise _Failed("\n".join(f"{bundle}: error: {problem}" for problem in examined.problems))
    used = {name for route in examined.bundle.routes for name in route.policies}
    on = [part for part in examined.bundle.policies if part.name in used and part.mode != "off"]
    parts = [part for part in on if part.type == TYPE]
    settings = examined.rulebook.store
    if not parts or settings is None:
        raise _Failed(f"{bundle}: no policy of type {TYPE} is on a route")
    if isinstance(settings, EmbeddedSettings):
        if not settings.path.exists():
            raise _Failed(
                f"there is no store at {settings.path}: nothing is kept yet, or the service keeps it elsewhere, "
                "because it runs as another user or with another STATE_DIRECTORY; store.embedded.path says where"
            )
        settings = replace(settings, timeout=_TIMEOUT)
    else:
        settings = replace(settings, timeout=_TIMEOUT, connect_timeout=_TIMEOUT)
    # What a shadow policy keeps is its own; where one enforces, that is what counts.
    shadow = all(part.mode == "shadow" for part in parts)
    named = [part.parameters.get("lock_file") for part in parts]
    file = next((bundle.parent / name for name in named if isinstance(name, str)), None)
    trusts_first = any(part.parameters.get("trust", "first-use") == "first-use" for part in parts)
    most = max(int(part.parameters.get("versions", _MOST_VERSIONS)) for part in parts)
    store = (await open_store(settings, True)).store
    try:
        ledger = Ledger(Keyspace(store, f"{'shadow.' if shadow else ''}shared.{SPACE}"))
        yield Pins(ledger, file, most, trusts_first)
    finally:
        await store.close()


def _run(bundle: Path, doing: Callable[[Pins], Coroutine[Any, Any, None]]) -> int:
    async def run() -> None:
        async with opened(bundle) as pins:
            await doing(pins)

    try:
        asyncio.run(run())
    except (_Failed, tool_lock.Unwritable, StoreError) as error:
        print(error, file=sys.stderr)
        return 1
    return 0


def _chosen(row: Row, digest: str | None) -> str:
    """The digest that is meant."""
    if digest is None:
        return row.shown.digest
    wanted = digest.removeprefix(PREFIX).lower()
    if not LEAST_DIGITS <= len(wanted) <= HEX or wanted.strip("0123456789abcdef"):
        raise _Failed(f"expected a digest, or at least its first {LEAST_DIGITS} hexadecimal digits")
    found = [known for known in row.pin.digests if known.startswith(wanted)]
    if len(found) != 1:
        raise _Failed(f"{row.name}: {len(found)} of its definitions have a digest that begins with {wanted}")
    return found[0]


def _named(lock: Lock, row: Row) -> tuple[str, ...] | None:
    """What a lock file has of a row."""
    return lock.instructions(row.server) if row.tool is None else lock.tool(row.server, row.tool)


def _naming(row: Row, digest: str, most: int, *, only: bool) -> Callable[[Lock], Lock]:
    """Names a definition in a lock file."""

    def named(before: Lock) -> Lock:
        others = () if only else tuple(one for one in _named(before, row) or () if one != digest)
        return before.approving(row.server, row.tool, (*others, digest)[-most:])

    return named


def _user() -> str:
    try:
        return getpass.getuser()
    except (OSError, KeyError):
        return f"uid {os.getuid()}"
