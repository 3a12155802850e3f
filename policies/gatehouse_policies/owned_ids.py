"""Ids that servers hand out, and whose they are: bound to a principal, prolonged while in use, bounded in number.

Rules:
- What several principals may have got (a task, a state) is kept with the principal: all of one principal's are in one
  group, and what is another's is not there.
- What one principal alone may have (a session, a context, a model's answer) is kept under its own digest: the first has
  it.
- What is used is prolonged, but not at each use.
- Kept are digests, within the caller's quota (caller_quota.py).

Not here: which ids there are, and what is said to who may not use one.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from ext_proc.policy import ABSENT, Context, Entry, Key, Write
from gatehouse_policies.caller_quota import Quota, principal

_AT_ONCE = 64  # keys of one operation
_REFRESHED = 8  # a binding is written anew once this part of its time has passed


class Bound(NamedTuple):
    """What is kept of an id.

    Attributes:
        principal: a digest; "" where the key itself is the principal's.
        affinity: where it was handed out; "" if that did not matter then.
        since: when this was written, in seconds since the Unix epoch.
    """

    principal: str
    affinity: str
    since: float

    def write(self) -> bytes:
        return json.dumps(self).encode()

    @classmethod
    def read(cls, entry: Entry) -> Bound:
        return cls(*json.loads(entry.value))


async def claim(key: Key, affinity: str, quota: Quota, ctx: Context[Any]) -> bool | None:
    """Binds what one principal alone may have, unless somebody has it: True if it is the caller's (now, or was before),
    False if it is another's, None where the quota leaves no place.

    Raises:
        StoreError: the store failed.
    """
    caller = principal(ctx)
    entry = await ctx.store.get(key)
    if entry is None:
        if not await quota.take(ctx):
            return None
        bound = Bound(caller, affinity, ctx.time)
        if await ctx.store.write([Write(key, bound.write(), quota.kept, expected=ABSENT)]):
            return True
        await quota.give_back(ctx)
        entry = await ctx.store.get(key)
    return entry is not None and Bound.read(entry).principal == caller


async def claim_all(keys: Sequence[Key], affinity: str, quota: Quota, ctx: Context[Any]) -> bool:
    """Binds those of the keys, all of one group, that nobody has; False where the quota leaves no place.

    Raises:
        StoreError: the store failed.
    """
    bound = Bound(principal(ctx), affinity, ctx.time).write()
    for start in range(0, len(keys), _AT_ONCE):
        part = keys[start : start + _AT_ONCE]
        there = await ctx.store.read(part)
        free = [key for key, entry in zip(part, there, strict=True) if entry is None]
        if not free:
            continue
        if (await ctx.store.count([quota.count(len(free), ctx)])).passed is not None:
            return False
        writes = [Write(key, bound, quota.kept, expected=ABSENT) for key in free]
        if await ctx.store.write(writes):
            continue
        # Somebody has one of them since just now.
        taken = [write for write in writes if not await ctx.store.write([write])]
        await ctx.store.count([quota.count(-len(taken), ctx)])
    return True


async def keep(found: Mapping[Key, Quota], affinity: str, ctx: Context[Any]) -> bool:
    """Binds what was handed out to the principal, by keys of its group; False where a quota leaves no place.

    Raises:
        StoreError: the store failed.
    """
    there = zip(found.values(), await ctx.store.read(list(found)), strict=True)
    new = Counter(q for q, entry in there if entry is None or q.needs_a_place(Bound.read(entry).since, ctx))
    if (await ctx.store.count([quota.count(amount, ctx) for quota, amount in new.items()])).passed is not None:
        return False
    bound = Bound("", affinity, ctx.time).write()
    await ctx.store.write([Write(key, bound, quota.kept) for key, quota in found.items()])
    return True


async def those_kept(keys: Mapping[str, Key], ctx: Context[Any]) -> frozenset[str]:
    """Those of the ids, each with its key, that are bound to the principal; the keys are of its group.

    Raises:
        StoreError: the store failed.
    """
    names, found = list(keys), []
    for start in range(0, len(names), _AT_ONCE):
        part = names[start : start + _AT_ONCE]
        entries = await ctx.store.read([keys[name] for name in part])
        found += [name for name, entry in zip(part, entries, strict=True) if entry is not None]
    return frozenset(found)


async def prolong(key: Key, entry: Entry, quota: Quota, ctx: Context[Any]) -> None:
    """Prolongs what is in use. Not at every use: that would be a write for each request.

    Raises:
        StoreError: the store failed.
    """
    bound = Bound.read(entry)
    if 0 <= ctx.time - bound.since < quota.kept / _REFRESHED:
        return
    takes = quota.needs_a_place(bound.since, ctx)
    if takes and not await quota.take(ctx):
        return  # it is used until it ends
    # Where it was deleted or written meanwhile, the version is another, and it stays as it is.
    renewed = bound._replace(since=ctx.time).write()
    written = await ctx.store.write([Write(key, renewed, quota.kept, expected=entry.version)])
    if takes and not written:
        await quota.give_back(ctx)
