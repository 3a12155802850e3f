"""What is kept of a tool's definitions, and how that changes when one is listed, and when somebody approves one.

Rules:
- A record is never changed: each step makes another one, or gives back the same where nothing is new.
- A pinned tool becomes quarantined with the first definition that is not approved, and stays so whatever is listed
  afterwards, until somebody approves: who flips back has changed twice.
- Several definitions may be approved at once, for deployments that roll. The oldest make room.
- What a lock file names is pinned to it, and to what was approved since under the same lock file. A record remembers
  what the lock file said, and is judged anew when that is something else.
- What was trusted on first use counts as long as it is trusted so: not once a lock file is asked for, nor once
  something is found in it.

Not here: where records are kept (ledger.py), what is found in a definition (the policy tool-pinning).
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import msgspec

FIRST_USE: Final = "first-use"
LOCK: Final = "lock-file"
PINNED: Final = "pinned"
QUARANTINED: Final = "quarantined"

# Why a definition is held back, beside what is found in it.
NEW: Final = "new"
CHANGED: Final = "changed"
UNLOCKED: Final = "unlocked"

MOST_BY: Final = 128  # characters of who approved


class Version(msgspec.Struct, frozen=True, omit_defaults=True):
    """One definition.

    Attributes:
        digest: of its canonical form.
        size: bytes of the form that are kept under the digest; 0 where it is not kept.
        since: when it was first listed, in seconds since the Unix epoch.
        by: who approved it: a person's name, FIRST_USE or LOCK; "" while nobody did.
        at: when, in seconds since the Unix epoch.
        lock: what the lock file said then; see `Terms.lock`.
    """

    digest: str
    size: int = 0
    since: float = 0.0
    by: str = ""
    at: float = 0.0
    lock: str = ""


class Pin(msgspec.Struct, frozen=True, omit_defaults=True):
    """What is kept of a tool, or of a server's instructions.

    Attributes:
        state: PINNED or QUARANTINED.
        since: when that began, in seconds since the Unix epoch.
        why: why it is quarantined, as slugs.
        approved: oldest first.
        offered: what was listed and is not approved; oldest first.
        lock: what the lock file said when this was judged.
    """

    state: str
    since: float
    why: tuple[str, ...] = ()
    approved: tuple[Version, ...] = ()
    offered: tuple[Version, ...] = ()
    lock: str = ""

    @property
    def digests(self) -> Mapping[str, Version]:
        """All of its definitions, by digest."""
        return {version.digest: version for version in (*self.approved, *self.offered)}


@dataclass(frozen=True, slots=True)
class Terms:
    """What a definition is judged by.

    Attributes:
        locked: the digests that a lock file has for it; None where it does not name it.
        trusts_first: whether what is there at the beginning is trusted (`trust: first-use`).
        opens: whether this is the beginning: a new name is trusted now.
        most: the most definitions that are approved at once, and that wait.
    """

    locked: tuple[str, ...] | None = None
    trusts_first: bool = True
    opens: bool = False
    most: int = 4

    @property
    def lock(self) -> str:
        """What the lock file says, in a few characters; "" where it does not name the tool."""
        return lock_of(self.locked)


def lock_of(locked: Sequence[str] | None) -> str:
    """See `Terms.lock`."""
    return "" if locked is None else hashlib.sha256(" ".join(sorted(locked)).encode()).hexdigest()[:16]


def listed(pin: Pin | None, digest: str, size: int, found: Sequence[str], terms: Terms, now: float) -> Pin:
    """The record after a definition was listed; the same one where it says that already.

    Args:
        pin: the record so far; None for a name that was never listed.
        size: bytes of the form that are going to be kept.
        found: what speaks against it, as slugs; nothing of it counts once a person has approved the definition.
        now: in seconds since the Unix epoch.
    """
    lock = terms.lock
    judged = pin is not None and pin.lock == lock
    known = {} if pin is None else {version.digest: version for version in pin.approved}
    if _is_approved(known.get(digest), digest, found, terms):
        if pin is not None and judged and digest in known:
            return pin  # pinned, or quarantined for something else that was listed
        version = known.get(digest) or Version(digest, size, now, LOCK, now, lock)
        if pin is not None and judged and pin.state == QUARANTINED:
            return msgspec.structs.replace(pin, approved=(*pin.approved, version)[-terms.most :])
        return _pinned(pin, version, terms.most, now, lock)
    if pin is None and terms.opens and terms.trusts_first and terms.locked is None and not found:
        return _pinned(None, Version(digest, size, now, FIRST_USE, now), terms.most, now, lock)
    why = tuple(dict.fromkeys((*_reasons(known, terms, bool(found)), *found)))
    waiting = () if pin is None else pin.offered
    if digest not in {version.digest for version in waiting}:
        # One that was approved and no longer counts waits like any other.
        waiting = (*waiting, known.get(digest) or Version(digest, size, now))[-terms.most :]
    if pin is not None and judged and pin.state == QUARANTINED:
        why = tuple(dict.fromkeys((*pin.why, *why)))
        changed = Pin(QUARANTINED, pin.since, why, pin.approved, waiting, lock)
        return pin if changed == pin else changed
    return Pin(QUARANTINED, now, why, () if pin is None else pin.approved, waiting, lock)


def growth(before: Pin | None, after: Pin) -> int:
    """How many bytes of definitions more are kept after a change."""
    old = {} if before is None else before.digests
    added = sum(version.size for digest, version in after.digests.items() if digest not in old)
    return added - sum(version.size for digest, version in old.items() if digest not in after.digests)


def allows(pin: Pin, locked: Sequence[str] | None, trusts_first: bool) -> bool:
    """Whether a tool may be used, as far as is known under this lock file.

    What was judged under another one counts where this one cannot say otherwise: it names all that may have been
    listed last.

    Args:
        trusts_first: see `Terms`.
    """
    if pin.state != PINNED:
        return False
    if locked is not None:
        return pin.lock == lock_of(locked) or all(version.digest in locked for version in pin.approved)
    return not pin.lock and (trusts_first or all(version.by != FIRST_USE for version in pin.approved))


def in_force(pin: Pin, terms: Terms) -> Sequence[Version]:
    """What is approved and still counts under these terms; oldest first."""
    return [version for version in pin.approved if _is_approved(version, version.digest, (), terms)]


def approved(pin: Pin, digest: str, by: str, now: float, most: int, *, only: bool = False) -> Pin:
    """The record after somebody approved one definition.

    What had waited before it is forgotten. What was listed for the first time after it still waits, and holds the tool
    back, for that is what the server says now, as far as is known; unless this one was approved already, which says
    that the server is back at it.

    Args:
        by: who, in at most MOST_BY characters.
        only: no other definition is approved any longer.

    Raises:
        KeyError: no such definition is known.
    """
    version = msgspec.structs.replace(pin.digests[digest], by=by[:MOST_BY], at=now, lock=pin.lock)
    waiting = [offer.digest for offer in pin.offered]
    later = pin.offered[waiting.index(digest) + 1 :] if digest in waiting else ()
    others = () if only else tuple(other for other in pin.approved if other.digest != digest)
    kept = (*others, version)[-most:]
    if later:
        return msgspec.structs.replace(pin, why=(CHANGED,), approved=kept, offered=later)
    return Pin(PINNED, now, approved=kept, lock=pin.lock)


def _is_approved(version: Version | None, digest: str, found: Sequence[str], terms: Terms) -> bool:
    if terms.locked is not None and digest in terms.locked:
        return True
    if version is None or version.by == LOCK:
        return False  # the lock file names it no longer
    if version.by == FIRST_USE:
        return terms.locked is None and terms.trusts_first and not found
    return terms.locked is None or version.lock == terms.lock


def _reasons(known: Mapping[str, Version], terms: Terms, found: bool) -> tuple[str, ...]:
    if terms.locked is not None or known:
        return (CHANGED,)
    if not terms.trusts_first:
        return (UNLOCKED,)
    return () if found and terms.opens else (NEW,)


def _pinned(pin: Pin | None, version: Version, most: int, now: float, lock: str) -> Pin:
    others = () if pin is None else tuple(other for other in pin.approved if other.digest != version.digest)
    return Pin(PINNED, now, approved=(*others, version)[-most:], lock=lock)
