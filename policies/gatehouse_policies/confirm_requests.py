"""Requests for a yes that have a page, and the grants that they become: kept in the store, signed, used atomically.

Rules:
- A request has an id that nobody guesses. It names who asks, for whom, the server, the tool and the exact arguments,
  and is signed: what is shown is what was asked for, and a decision is one that was made here.
- Calls of one principal, actor, server and tool with equal arguments have one request, as long as it can be answered.
  It remembers the credentials that they came with, and those with which a client comes back to ask for the answer.
- It is decided once, by a compare-and-set: of two who decide at the same time, one does. A yes makes it the grant.
- A grant is used by counting, in one operation of the store that refuses what is past `uses`: of two calls that race
  for the last use, one goes on. After a no nothing is counted any more, whatever came before it.
- How many requests a caller begins within `expires` is bounded, and so is each.
- An undecided request ends after `expires`, and a grant as long after its yes; clocks may differ by LEEWAY. What was
  counted is kept longer than what it counts for, also where a bundle that is loaded meanwhile says other times.
- An undecided request is listed (confirm_lists.py).

Not here: who may decide (confirm_visitors.py), the page (confirm_page.py).
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Sequence
from typing import Any, Literal, NamedTuple

import msgspec

from ext_proc.identity import Identity
from ext_proc.policy import ABSENT, Context, Count, Entry, Key, Keyspace, StoreError, Write
from gatehouse_policies.caller_quota import Quota, digest
from gatehouse_policies.confirm_keys import Keys, Signature
from gatehouse_policies.confirm_lists import Lists
from gatehouse_policies.confirm_states import LEEWAY, Asked, RequestState, continued, new_id

_PURPOSE = "request"
_ATTEMPTS = 4
_MOST_CREDENTIALS = 16  # of the calls that have one request
_LONGEST = 512  # characters of a name that is shown, and of why somebody said no

Decision = Literal["", "approved", "denied", "withdrawn"]


class Request(msgspec.Struct, frozen=True):
    """A request, or the grant that it became; times in seconds since the Unix epoch.

    Attributes:
        principal: the caller's `identity.key`; `subject`, `issuer`, `actor` and `client` are as they are shown.
        credentials: fingerprints of what the calls came with.
        key, by: as of `Asked`.
        arguments: their canonical form.
        until: when it can no longer be decided, and once it is, when it ends.
        decision: "withdrawn" is the no of who was sent to the page.
        why: what a person said with a no, for the model.
        decider: the `identity.key` of who decided; `decider_name` is as it is shown, "" where no person was seen to.
    """

    id: str
    principal: str
    subject: str
    issuer: str
    actor: str
    client: str
    credentials: tuple[str, ...]
    server: str
    tool: str
    arguments: str
    key: str
    by: str
    uses: int
    asked: float
    until: float
    decision: Decision = ""
    decider: str = ""
    decider_name: str = ""
    decided: float = 0.0
    why: str = ""

    def holds(self, time: float) -> bool:
        """Whether it has not ended."""
        return time < self.until + LEEWAY


class _Sealed(msgspec.Struct):
    """How a request is kept."""

    body: str
    key: str
    mac: str


class Kept(NamedTuple):
    """A request and the version of its record."""

    request: Request
    version: int


_REQUESTS = msgspec.json.Decoder(Request)
_SEALS = msgspec.json.Decoder(_Sealed)


class TooMany(Exception):
    """The caller began too many requests."""


class Requests:
    """The requests of one policy.

    Args:
        expires: see the module, in seconds.
        uses: that a yes is good for.
        most: requests that one caller begins within `expires`; as many continuations are kept.
        personal: whether principals decide about their own; each then has a list.
    """

    def __init__(self, keys: Keys, expires: float, uses: int, most: int, *, personal: bool) -> None:
        self._keys = keys
        self._expires = expires
        self._uses = uses
        self._personal = personal
        self._lists = Lists()
        # From the first moment of a request to the last of its grant.
        self._kept = 2 * expires + 4 * LEEWAY
        self._quota = Quota("requests", expires, most)
        self._continuations = Quota("continuations", expires, most)

    async def get(self, id: str, store: Keyspace, time: float) -> Kept | None:
        """The request with an id; None where there is none that counts.

        Raises:
            StoreError: the store failed.
        """
        entry = await store.get(_record(id))
        return None if entry is None else await self._open(entry, id, store, time)

    async def of(self, call: Asked, ctx: Context[Any]) -> Kept | None:
        """The last request that a call has; None where none counts.

        Raises:
            StoreError: the store failed.
        """
        entry = await ctx.store.get(Key(call.principal, call.key))
        return None if entry is None else await self._of(entry, call, ctx)

    async def begin(self, call: Asked, ctx: Context[Any]) -> Request:
        """The undecided request of a call; a new one where it has none.

        Raises:
            TooMany: see there.
            StoreError: the store failed, or others write the same again and again.
        """
        place = Key(call.principal, call.key)
        for _ in range(_ATTEMPTS):
            entry = await ctx.store.get(place)
            kept = None if entry is None else await self._of(entry, call, ctx)
            if kept is not None and not kept.request.decision:
                request = await self.join(kept, ctx)
                if request.decision:
                    continue
                return request
            if not await self._quota.take(ctx):
                raise TooMany
            request = self._new(new_id(), call, ctx)
            await self._write(request, ABSENT, ctx.store, ctx.time)
            if await self._point(place, request.id, ABSENT if entry is None else entry.version, ctx):
                await self._lists.add(self._list_of(request), request, ctx.store, ctx.time)
                return request
            # Another call of the same began one at this moment: that is the one.
            await ctx.store.write([Write(_record(request.id), None, None)])
            await self._quota.give_back(ctx)
        raise StoreError("a request was written by others again and again")

    async def join(self, kept: Kept, ctx: Context[Any]) -> Request:
        """The request, which remembers the credential of this call too, unless it is decided.

        Raises:
            TooMany: it remembers too many.
            StoreError: the store failed, or it ended meanwhile.
        """
        for _ in range(_ATTEMPTS):
            request = kept.request
            if request.decision or ctx.identity.credential in request.credentials:
                return request
            if len(request.credentials) >= _MOST_CREDENTIALS:
                raise TooMany
            seen = (*request.credentials, ctx.identity.credential)
            joined = msgspec.structs.replace(request, credentials=seen)
            if await self._write(joined, kept.version, ctx.store, ctx.time):
                return joined
            again = await self.get(request.id, ctx.store, ctx.time)
            if again is None:
                break
            kept = again
        raise StoreError("a request was written by others again and again")

    async def waiting(self, visitor: Identity, by: str, store: Keyspace, time: float) -> Sequence[Request]:
        """The requests that are listed for a visitor and not decided, the newest first; whether they may be shown is
        for the caller to say.

        Args:
            by: as of `Asked`.

        Raises:
            StoreError: the store failed.
        """
        found = []
        for id in await self._lists.ids(_whose(visitor.key) if self._personal else by, store, time):
            kept = await self.get(id, store, time)
            if kept is not None and not kept.request.decision:
                found.append(kept.request)
        return found

    async def decide(
        self, kept: Kept, decision: Decision, who: Identity, store: Keyspace, time: float, why: str = ""
    ) -> tuple[Request, bool]:
        """The request as it is decided, and whether it is this that decided it.

        Raises:
            StoreError: the store failed, or it ended meanwhile.
        """
        for _ in range(_ATTEMPTS):
            if kept.request.decision:
                return kept.request, False
            decided = msgspec.structs.replace(
                kept.request,
                decision=decision,
                decider=who.key,
                decider_name=who.subject[:_LONGEST] if decision != "withdrawn" else "",
                decided=time,
                until=time + self._expires,
                why=" ".join(why.split())[:_LONGEST],
            )
            if await self._write(decided, kept.version, store, time):
                with contextlib.suppress(StoreError):  # it is decided: what is listed still is looked at again
                    await self._lists.remove(self._list_of(decided), decided.id, store, time)
                return decided, True
            # A call may have added its credential: then who decides is no more the same, and has to look again.
            again = await self.get(kept.request.id, store, time)
            if again is None or again.request.credentials != kept.request.credentials:
                break
            kept = again
        raise StoreError("a request was written by others meanwhile")

    async def keep(self, state: RequestState, call: Asked, decision: Decision, ctx: Context[Any]) -> None:
        """Keeps what a client's person decided in a form, for the same calls to come: under the id of its state.

        Raises:
            TooMany: see there.
            StoreError: the store failed.
        """
        if not await self._quota.take(ctx):
            raise TooMany
        decided = msgspec.structs.replace(
            self._new(state.id, call, ctx),
            uses=state.uses,
            decision=decision,
            decider=call.identity.key,
            decided=ctx.time,
            until=ctx.time + state.holds,
        )
        if await self._write(decided, ABSENT, ctx.store, ctx.time):
            await self._point(Key(call.principal, call.key), state.id, None, ctx)
        else:
            await self._quota.give_back(ctx)  # it was kept with an earlier use

    async def use(self, id: str, uses: int, ends: float, store: Keyspace, time: float) -> bool:
        """Takes one use; False where there is none left, or a no was said.

        Args:
            ends: when what is used is over, in seconds since the Unix epoch.

        Raises:
            StoreError: the store failed: whether it was taken is not known.
        """
        kept = _longer(ends, time)
        counted = await store.count([Count(_used(id), 1, kept, uses), Count(_refused(id), 0, kept, 0)])
        return counted.passed is None

    async def refuse(self, state: RequestState, store: Keyspace, time: float) -> None:
        """Says no: nothing is used after it.

        Raises:
            StoreError: the store failed.
        """
        await store.count([Count(_refused(state.id), 1, _longer(state.ends, time))])

    async def continues(self, call: Asked, state: object, ctx: Context[Any]) -> bool:
        """Keeps that a confirmed call goes on with what its server handed out; False where there is no place left.

        Raises:
            StoreError: the store failed.
        """
        if not await self._continuations.take(ctx):
            return False
        await ctx.store.write([Write(Key(call.principal, continued(call, state)), call.by.encode(), self._expires)])
        return True

    async def goes_on(self, call: Asked, state: object, ctx: Context[Any]) -> bool:
        """Whether a call is the next part of a confirmed one; once for each that its server handed out.

        Raises:
            StoreError: the store failed.
        """
        key = Key(call.principal, continued(call, state))
        entry = await ctx.store.get(key)
        if entry is None or entry.value != call.by.encode():
            return False
        return await ctx.store.write([Write(key, None, None, expected=entry.version)])

    async def _of(self, entry: Entry, call: Asked, ctx: Context[Any]) -> Kept | None:
        """The request that an entry of the principal's points to, if it is this call's."""
        kept = await self.get(json.loads(entry.value), ctx.store, ctx.time)
        if kept is None or (kept.request.principal, kept.request.key, kept.request.by) != (
            call.identity.key,
            call.key,
            call.by,
        ):
            return None
        return kept

    async def _point(self, place: Key, id: str, version: int | None, ctx: Context[Any]) -> bool:
        value = json.dumps(id).encode()
        return await ctx.store.write([Write(place, value, self._kept, expected=version)])

    def _list_of(self, request: Request) -> str:
        return _whose(request.principal) if self._personal else request.by

    def _new(self, id: str, call: Asked, ctx: Context[Any]) -> Request:
        who = call.identity
        return Request(
            id=id,
            principal=who.key,
            subject=who.subject[:_LONGEST],
            issuer=who.issuer[:_LONGEST],
            actor=who.actor[:_LONGEST],
            client=who.client[:_LONGEST],
            credentials=(who.credential,),
            server=call.server,
            tool=call.tool,
            arguments=call.arguments,
            key=call.key,
            by=call.by,
            uses=self._uses,
            asked=ctx.time,
            until=ctx.time + self._expires,
        )

    async def _write(self, request: Request, version: int, store: Keyspace, time: float) -> bool:
        body = msgspec.json.encode(request).decode()
        signature = await self._keys.sign(_PURPOSE, body, store, time)
        value = msgspec.json.encode(_Sealed(body, signature.key, signature.mac))
        left = max(request.until - time, 0.0) + 2 * LEEWAY
        return await store.write([Write(_record(request.id), value, left, expected=version)])

    async def _open(self, entry: Entry, id: str, store: Keyspace, time: float) -> Kept | None:
        """A record's request, if it was signed here, is the one with this id, and has not ended."""
        sealed = _SEALS.decode(entry.value)
        if not await self._keys.verifies(Signature(sealed.key, sealed.mac), _PURPOSE, sealed.body, store, time):
            return None
        request = _REQUESTS.decode(sealed.body)
        return Kept(request, entry.version) if request.id == id and request.holds(time) else None


def _longer(ends: float, time: float) -> float:
    """For how long to keep what must outlive what ends then."""
    return max(ends - time, 0.0) + 4 * LEEWAY


def _whose(principal: str) -> str:
    return digest("principal", principal)


def _record(id: str) -> Key:
    return Key(digest("request", id), "request")


def _used(id: str) -> Key:
    return Key(digest("request", id), "used")


def _refused(id: str) -> Key:
    return Key(digest("request", id), "refused")
