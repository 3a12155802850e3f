"""`gatehouse tools`: what is pinned of servers' tools, what waits to be approved, and approving it.

Rules:
- It works on the store that the bundle names, as the service does, and makes none: what it finds is what is in force.
- What is approved is one digest: the one that was given, or the one whose text was shown before the question. What
  has been listed since stays held back.
- Who approved, and when, is kept. Where the bundle names a lock file it says the same afterwards.
- Every failure is one sentence on standard error, and exit code 1.

Not here: how it is shown (tool_view.py), what a record is (ext_proc/pins), options (cli.py).
"""

from __future__ import annotations

import asyncio
import getpass
import os
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Callable, Coroutine, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

import msgspec

from ext_proc.bundle.load import examine
from ext_proc.bundle_file import MAX_BYTES
from ext_proc.errors import GatehouseError
from ext_proc.pins.canonical import HEX, PREFIX
from ext_proc.pins.ledger import SPACE, Ledger, Server, shard_of
from ext_proc.pins.lock import Lock, LockedServer, parse_lock, render_lock
from ext_proc.pins.records import QUARANTINED, Pin, approved, growth
from ext_proc.scanning.names import skeleton
from ext_proc.scanning.visible import visible
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
    """

    ledger: Ledger
    lock_file: Path | None
    versions: int

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

    async def show(self, row: Row) -> None:
        """Prints what waits of a row against what was approved."""
        digests = [row.shown.digest, *(version.digest for version in row.pin.approved[-1:])]
        forms = {digest: await self.ledger.form(row.server, digest) for digest in digests}
        show_diff(row, forms, console())

    async def approve(self, row: Row, digest: str, by: str, *, only: bool) -> None:
        """Approves one definition of a row."""
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
                return
        raise _Failed("others change the same pins: try again")

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


def diff(bundle: Path, server: str, tool: str | None) -> int:
    """Prints what waits against what was approved: of one tool, or of all of a server's that wait; the exit code."""

    async def run(pins: Pins) -> None:
        if tool is None:
            rows = [row for row in await pins.rows(server) if row.pin.state == QUARANTINED]
        else:
            rows = [await pins.row(server, None if tool == INSTRUCTIONS else tool)]
        if not rows:
            print("nothing waits to be approved")
        for row in rows:
            await pins.show(row)

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
        for row, wanted in chosen:
            if digest is None and not (everything and yes):
                await pins.show(row)
                if not row.shown.size:
                    raise _Failed(f"{row.name}: what cannot be shown is approved by --digest only")
                if not ask(f"Approve {row.name} as {wanted[:12]}?"):
                    raise _Failed(f"{row.name} was not approved")
            await pins.approve(row, wanted, by or _user(), only=only)
            if pins.lock_file is not None:
                _lock_in(pins.lock_file, row, wanted, pins.versions, only=only)
            print(f"approved {visible(row.server)} {row.name} {PREFIX}{wanted}")
        if chosen and pins.lock_file is not None:
            print(f"{pins.lock_file}: written")

    return _run(bundle, run)


def lock(bundle: Path, server: str | None, file: Path | None) -> int:
    """Writes all that is approved as a lock file, or prints it; the exit code."""

    async def run(pins: Pins) -> None:
        found: dict[str, LockedServer] = {}
        for row in await pins.rows(server):
            digests = tuple(version.digest for version in row.pin.approved)
            before = found.setdefault(row.server, LockedServer())
            if not digests:
                continue
            if row.tool is None:
                found[row.server] = replace(before, instructions=digests)
            else:
                found[row.server] = replace(before, tools={**before.tools, row.tool: digests})
        text = render_lock(Lock(found))
        if file is None:
            print(text, end="")
        else:
            _write(file, text)
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
    most = max(int(part.parameters.get("versions", _MOST_VERSIONS)) for part in parts)
    store = (await open_store(settings, True)).store
    try:
        yield Pins(Ledger(Keyspace(store, f"{'shadow.' if shadow else ''}shared.{SPACE}")), file, most)
    finally:
        await store.close()


def _run(bundle: Path, doing: Callable[[Pins], Coroutine[Any, Any, None]]) -> int:
    async def run() -> None:
        async with opened(bundle) as pins:
            await doing(pins)

    try:
        asyncio.run(run())
    except (_Failed, StoreError) as error:
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


def _lock_in(file: Path, row: Row, digest: str, most: int, *, only: bool) -> None:
    """Names a definition in the lock file."""
    try:
        text = file.read_bytes()
        if len(text) > MAX_BYTES:
            raise ValueError("it is too large")
        before = parse_lock(text)
    except (OSError, ValueError) as error:
        raise _Failed(f"approved, but {file} cannot be read, and does not say so: {error}") from error
    named = before.instructions(row.server) if row.tool is None else before.tool(row.server, row.tool)
    others = () if only or named is None else tuple(one for one in named if one != digest)
    _write(file, render_lock(before.approving(row.server, row.tool, (*others, digest)[-most:])))


def _write(file: Path, text: str) -> None:
    """Writes a file at once: who reads it finds the old one or the new one."""
    try:
        with tempfile.NamedTemporaryFile(
            "w", dir=file.parent, prefix=f".{file.name}.", delete=False, encoding="utf-8"
        ) as new:
            new.write(text)
        mode = file.stat().st_mode & 0o777 if file.exists() else 0o644
        os.chmod(new.name, mode)
        os.replace(new.name, file)
    except OSError as error:
        raise _Failed(f"cannot write {file}: {error.strerror}") from error


def _user() -> str:
    try:
        return getpass.getuser()
    except (OSError, KeyError):
        return f"uid {os.getuid()}"
